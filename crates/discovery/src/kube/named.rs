//! Objects of which only those are read that others name: the `ConfigMap`s with the authorities of `BackendTLSPolicy`s. A cluster is full
//! of others, which are nobody's business, so they are asked for one by one; the right to `get` suffices.

use super::{
    board,
    kinds::{NAMED, Watched},
    object::{self, Change},
    request,
    shelf::Told,
    state::{Failure, Verdict},
    watch::Shared,
};
use serde::Deserialize;
use std::{collections::BTreeSet, time::Duration};
use tokio::{sync::watch, time::sleep};

/// Each is asked for so often: authorities are replaced days before they expire.
const EVERY: Duration = Duration::from_secs(5);
/// So many are asked for; those beyond are not there for the agent, and their policies say so.
const MOST: usize = 256;
/// The kind whose objects name some.
pub(super) const NAMING: &str = "BackendTLSPolicy";

/// Namespace and name.
pub(crate) type Name = (String, String);

#[derive(Deserialize)]
struct Policy {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct Spec {
    validation: Validation,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Validation {
    #[serde(default)]
    ca_certificate_refs: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    kind: String,
    name: String,
}

/// What these policies name, as they are kept, as JSON. One that does not look like one names nothing: the loader says why.
pub(super) fn by<'a>(policies: impl Iterator<Item = &'a str>) -> BTreeSet<Name> {
    let read = policies.filter_map(|text| serde_json::from_str::<Policy>(text).ok());
    let named = read.flat_map(|Policy { metadata, spec }| {
        let maps = spec.validation.ca_certificate_refs.into_iter().filter(|it| it.kind == NAMED.kind);
        maps.map(move |it| (metadata.namespace.clone(), it.name))
    });
    named.take(MOST).collect()
}

/// Asks for what is named, until nobody follows any more. What is not named any more the shelf drops.
pub(super) async fn follow(shared: Shared, mut names: watch::Receiver<BTreeSet<Name>>) {
    while !shared.told.is_closed() {
        let wanted = names.borrow_and_update().clone();
        let (mut changes, mut failed) = (Vec::new(), None);
        for name in &wanted {
            match ask(&shared, name).await {
                Ok(change) => changes.push(change),
                Err(failure) => failed = Some(failure),
            }
        }
        let answered = !wanted.is_empty() && failed.is_none();
        tell(&shared, changes, failed, answered).await;
        tokio::select! {
            changed = names.changed() => if changed.is_err() { return },
            () = sleep(EVERY) => {}
            () = shared.told.closed() => {}
        }
    }
}

async fn tell(shared: &Shared, changes: Vec<Change>, failed: Option<Failure>, answered: bool) {
    let problem = failed.and_then(|it| board::problem(shared.kinds, &shared.url, Some(&NAMED), &it));
    let mut told = Vec::new();
    if !changes.is_empty() {
        told.push(Told::Objects(&NAMED, changes));
    }
    if shared.board.fails(NAMED.kind, problem.as_ref()) {
        told.push(Told::Failing(NAMED.kind, problem));
    }
    if answered {
        told.push(Told::Verdict(&NAMED, Verdict::Complete));
    }
    for it in told {
        // Whoever is gone needs not be told.
        let _ = shared.told.send(it).await;
    }
}

/// How an object is now. What is not there is gone; what was not answered stays as it was.
async fn ask(shared: &Shared, name: &Name) -> Result<Change, Failure> {
    let kind: &Watched = &NAMED;
    let address = format!("{}/{}", kind.address_in(&name.0, kind.versions[0]), name.1);
    match request::get(&shared.client, &address, shared.pace.answer).await {
        Ok(bytes) => {
            shared.board.heard();
            let odd = |why: String| Failure::Away(format!("its answer cannot be read: {why}"));
            let text = std::str::from_utf8(&bytes).map_err(|error| odd(error.to_string()))?;
            object::read(kind, &kind.api_version(kind.versions[0]), text, false)
                .map_err(|it| odd(it.to_string()))
        }
        Err(Failure::NotServed) => Ok(Change { path: path(name), version: String::new(), text: None }),
        Err(failure) => Err(failure),
    }
}

pub(super) fn path((namespace, name): &Name) -> String {
    NAMED.path(Some(namespace), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_maps_are_named_by_policies_and_secrets_are_not() {
        let policy = |refs: &str| {
            format!(
                r#"{{"kind":"BackendTLSPolicy","metadata":{{"name":"p","namespace":"shop"}},"spec":{{"targetRefs":[],"validation":{{"hostname":"a",{refs}}}}}}}"#
            )
        };
        let texts = [
            policy(
                r#""caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"ca"},{"group":"","kind":"Secret","name":"no"}]"#,
            ),
            policy(r#""wellKnownCACertificates":"System""#),
            r#"{"metadata":{},"spec":{}}"#.to_owned(),
        ];
        let found = by(texts.iter().map(String::as_str));
        assert_eq!(found, BTreeSet::from([("shop".to_owned(), "ca".to_owned())]));
        let many: Vec<String> = (0..300)
            .map(|n| policy(&format!(r#""caCertificateRefs":[{{"kind":"ConfigMap","name":"ca-{n}"}}]"#)))
            .collect();
        assert_eq!(by(many.iter().map(String::as_str)).len(), MOST);
    }
}
