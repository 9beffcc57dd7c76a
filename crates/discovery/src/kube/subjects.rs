//! The objects of an API that have a status, as they were decided about, with what is wrong with them. Nothing is written here.

use super::{
    kinds::{ALL, GATEWAYS, OURS, Watched},
    shelf::Shelf,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use tidegate_api::Problem;

/// An object that has a status.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Such as `tidegate.dev/v1alpha1`.
    pub api_version: String,
    /// Such as `FailoverPolicy`.
    pub kind: &'static str,
    /// As addresses name it.
    pub plural: &'static str,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`.
    pub uid: Option<String>,
    /// Its `metadata.generation`: which content was decided about.
    pub generation: Option<i64>,
    /// How problems name its source.
    pub path: String,
    /// Its `spec`.
    pub spec: Value,
}

/// What was decided about, and what is wrong: always of the same moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// The objects.
    pub subjects: Arc<Vec<Subject>>,
    /// All that is wrong, of other sources too.
    pub problems: Arc<Vec<Problem>>,
}

impl Watched {
    /// Whether objects of it have a status that says what became of them.
    pub(crate) fn has_status(&self) -> bool {
        self.group == OURS || (self.group == GATEWAYS && self.kind != "ReferenceGrant")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    api_version: String,
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    uid: Option<String>,
    generation: Option<i64>,
}

/// All that are held.
pub(crate) fn of(shelf: &Shelf) -> Vec<Subject> {
    let kinds = ALL.iter().filter(|watched| watched.has_status());
    let held =
        kinds.flat_map(|watched| shelf.of_kind(watched).map(move |(path, text)| (watched, path, text)));
    held.filter_map(|(watched, path, text)| read(watched, path, text)).collect()
}

/// What is kept of an object, as JSON, as a subject; `None` if it has no name.
pub(crate) fn read(watched: &Watched, path: &str, text: &str) -> Option<Subject> {
    let Object { api_version, metadata, spec } = serde_json::from_str(text).ok()?;
    let Metadata { name, namespace, uid, generation } = metadata;
    let (kind, plural, path) = (watched.kind, watched.plural, path.to_owned());
    Some(Subject { api_version, kind, plural, namespace, name, uid, generation, path, spec })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::{object, shelf::Told, state::Verdict};
    use tidegate_api::Loader;

    #[test]
    fn objects_with_a_status_are_told_with_what_they_say_and_others_are_not() {
        let watched = |kind| ALL.iter().find(|it| it.kind == kind).unwrap();
        let (mut shelf, mut loader) = (Shelf::default(), Loader::new("one".parse().unwrap()));
        let policy = r#"{"metadata":{"name":"web","namespace":"shop","uid":"u","generation":4,"resourceVersion":"9"},
            "spec":{"targetRefs":[{"kind":"Service","name":"web"}]},"status":{"conditions":[]}}"#;
        let service = r#"{"metadata":{"name":"web","namespace":"shop","resourceVersion":"8"},"spec":{"ports":[{"port":80}]}}"#;
        for (kind, version, json) in
            [("FailoverPolicy", "tidegate.dev/v1alpha1", policy), ("Service", "v1", service)]
        {
            let change = object::read(watched(kind), version, json, false).unwrap();
            shelf.take(Told::Verdict(watched(kind), Verdict::Begins), &mut loader);
            shelf.take(Told::Objects(watched(kind), vec![change]), &mut loader);
        }
        let [subject] = &of(&shelf)[..] else { panic!("one subject") };
        assert_eq!(
            (subject.kind, subject.plural, &*subject.name),
            ("FailoverPolicy", "failoverpolicies", "web")
        );
        assert_eq!((subject.uid.as_deref(), subject.generation), (Some("u"), Some(4)));
        assert_eq!(
            (&*subject.path, &*subject.api_version),
            ("kubernetes: FailoverPolicy shop/web", "tidegate.dev/v1alpha1")
        );
        assert_eq!(subject.spec["targetRefs"][0]["name"], "web");
        loader.update();
        assert!(
            loader.problems().iter().all(|it| !it.is_error() || it.file.is_empty()),
            "{:?}",
            loader.problems()
        );
    }
}
