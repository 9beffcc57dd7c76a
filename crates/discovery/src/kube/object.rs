//! One object as it comes from the API: where it belongs, which version it is, and what is kept of it.

use super::{
    kinds::{Watched, of_use},
    state::Version,
};
use serde::Deserialize;

/// An object that came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its name as a source of the loader.
    pub(crate) path: String,
    pub(crate) version: Version,
    /// What is kept of it, as JSON; `None` if it is gone, or of no use.
    pub(crate) text: Option<Box<str>>,
}

/// A line of a watch.
#[derive(Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(rename = "type")]
    pub(crate) what: &'a str,
    #[serde(borrow)]
    pub(crate) object: &'a serde_json::value::RawValue,
}

/// The head of an object.
#[derive(Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(borrow)]
    pub(crate) metadata: Meta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta<'a> {
    #[serde(default)]
    pub(crate) name: &'a str,
    #[serde(default)]
    namespace: Option<&'a str>,
    #[serde(default)]
    pub(crate) resource_version: &'a str,
    #[serde(default)]
    annotations: Option<Marks>,
}

#[derive(Deserialize)]
struct Marks {
    #[serde(rename = "k8s.io/initial-events-end", default)]
    all_told: Option<String>,
}

impl Meta<'_> {
    /// Whether a bookmark says that all objects were told.
    pub(crate) fn all_told(&self) -> bool {
        self.annotations.as_ref().and_then(|it| it.all_told.as_deref()) == Some("true")
    }
}

/// Reads an object; a `gone` one is not looked into.
///
/// # Errors
/// If it is none: a server or what stands before it sends something else.
pub(crate) fn read(
    kind: &Watched,
    api_version: &str,
    raw: &str,
    gone: bool,
) -> Result<Change, serde_json::Error> {
    let Head { metadata } = serde_json::from_str(raw)?;
    let path = kind.path(metadata.namespace, metadata.name);
    let version = metadata.resource_version.to_owned();
    if gone {
        return Ok(Change { path, version, text: None });
    }
    // Items of a list say neither.
    let head = format!(r#""apiVersion":"{api_version}","kind":"{}","#, kind.kind);
    let text = of_use(kind, kind.keep.text(raw, &head)?)?;
    Ok(Change { path, version, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::kinds::ALL;
    use serde_json::Value;

    fn change(kind: &str, json: &str) -> Change {
        let watched = ALL.iter().find(|it| it.kind == kind).unwrap();
        read(watched, "v1", json, false).unwrap()
    }

    #[test]
    fn an_object_is_named_by_kind_namespace_and_name() {
        let json = r#"{"metadata":{"name":"web","namespace":"shop","resourceVersion":"7"},
                       "spec":{"ports":[{"port":53,"protocol":"UDP"},{"port":80}]}}"#;
        let Change { path, version, text } = change("Service", json);
        assert_eq!((path.as_str(), version.as_str()), ("kubernetes: Service shop/web", "7"));
        let kept: Value = serde_json::from_str(&text.unwrap()).unwrap();
        assert_eq!(kept["kind"], "Service");
        assert_eq!(kept["spec"]["ports"], serde_json::json!([{"port": 80}]));
        assert_eq!(change("Node", r#"{"metadata":{"name":"n"}}"#).path, "kubernetes: Node n");
    }

    #[test]
    fn what_every_cluster_is_full_of_and_nobody_serves_is_left_out() {
        let udp =
            r#"{"metadata":{"name":"dns","namespace":"a"},"spec":{"ports":[{"port":53,"protocol":"UDP"}]}}"#;
        assert_eq!(change("Service", udp).text, None);
        let alias = r#"{"metadata":{"name":"x","namespace":"a"},"spec":{"type":"ExternalName","ports":[{"port":5}]}}"#;
        assert_eq!(change("Service", alias).text, None);
        let owned = r#"{"metadata":{"name":"x","namespace":"a","ownerReferences":[{"kind":"Deployment","controller":true}]},
                        "spec":{"replicas":2}}"#;
        assert_eq!(change("ReplicaSet", owned).text, None);
        assert!(
            change("ReplicaSet", r#"{"metadata":{"name":"x","namespace":"a"},"spec":{"replicas":2}}"#)
                .text
                .is_some()
        );
    }
}
