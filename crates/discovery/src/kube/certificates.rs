//! Certificates from the Secrets that the agent was told of, where it may not read all. They are asked for again and again, since
//! a watch of each would need a right more and be told apart: a round of all places is one list of the kind, and what it does not
//! name is gone. A shell: what to do with what comes is decided by the shelf.

use super::{
    board,
    kinds::{ALL, Watched},
    object::{self, Change},
    request::{self, Page},
    shelf::Told,
    state::{Failure, Verdict},
    watch::Shared,
};
use std::{fmt, str::FromStr, time::Duration};
use tokio::time::sleep;

/// How soon a certificate that was renewed is in force.
const EVERY: Duration = Duration::from_secs(10);
/// The most places that are asked for.
pub const MAX_PLACES: usize = 64;
/// Secrets of a page, and the most pages of a namespace.
const PAGE: usize = 100;
const MAX_PAGES: usize = 20;

/// Where certificates are: a Secret, or all of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretPlace {
    /// The namespace.
    pub namespace: String,
    /// The Secret's name; without one, all of the namespace.
    pub name: Option<String>,
}

/// What names no such place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a namespace nor NAMESPACE/NAME of a Secret")]
pub struct NoPlace(String);

impl FromStr for SecretPlace {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        // As they stand in addresses.
        let good = |it: &str| {
            (1..=253).contains(&it.len())
                && it.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
                && it.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        let (namespace, name) = text.split_once('/').map_or((text, None), |(it, name)| (it, Some(name)));
        if !good(namespace) || name.is_some_and(|it| !good(it)) {
            return Err(NoPlace(text.to_owned()));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.map(str::to_owned) })
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.namespace),
            None => f.write_str(&self.namespace),
        }
    }
}

/// Whether it is the kind that is read here.
pub(super) fn is_kind(kind: &Watched) -> bool {
    kind.kind == "Secret"
}

/// Reads the places until nobody follows any more.
pub(super) async fn follow(shared: Shared, places: Vec<SecretPlace>) {
    let Some(kind) = ALL.iter().find(|it| is_kind(it)) else { return };
    let mut failing = false;
    loop {
        let mut tell = vec![Told::Verdict(kind, Verdict::Begins)];
        let (changes, failed) = round(&shared, kind, &places).await;
        tell.push(Told::Objects(kind, changes));
        match failed {
            None => {
                shared.board.heard();
                tell.push(Told::Verdict(kind, Verdict::Complete));
                if std::mem::take(&mut failing) {
                    shared.board.fails(kind.kind, None);
                    tell.push(Told::Failing(kind.kind, None));
                }
            }
            Some(failure) => {
                let problem = board::problem(shared.kinds, &shared.url, Some(kind), &failure);
                failing |= problem.is_some();
                if problem.as_ref().is_some_and(|it| shared.board.fails(kind.kind, Some(it))) {
                    tell.push(Told::Failing(kind.kind, problem));
                }
            }
        }
        for told in tell {
            if shared.told.send(told).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = shared.told.closed() => return,
        }
    }
}

/// What can be read, and why that is not all.
async fn round(
    shared: &Shared,
    kind: &'static Watched,
    places: &[SecretPlace],
) -> (Vec<Change>, Option<Failure>) {
    let (mut changes, mut failed) = (Vec::new(), None);
    for SecretPlace { namespace, name } in places.iter().take(MAX_PLACES) {
        let address = format!("/api/v1/namespaces/{namespace}/{}", kind.plural);
        let read = match name {
            Some(name) => one(shared, kind, &format!("{address}/{name}"), &mut changes).await,
            None => all(shared, kind, &address, &mut changes).await,
        };
        failed = failed.or(read.err());
    }
    (changes, failed)
}

async fn one(
    shared: &Shared,
    kind: &Watched,
    address: &str,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    match request::get(&shared.client, address, shared.pace.answer).await {
        Ok(bytes) => changes.push(read(kind, request::parse(&bytes)?)?),
        // There is none of this name.
        Err(Failure::NotServed) => {}
        Err(failure) => return Err(failure),
    }
    Ok(())
}

async fn all(
    shared: &Shared,
    kind: &Watched,
    address: &str,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    let mut after = String::new();
    for _ in 0..MAX_PAGES {
        let address = format!("{address}?limit={PAGE}{after}");
        let bytes = request::get(&shared.client, &address, shared.pace.answer).await?;
        let page: Page<'_> = request::parse(&bytes)?;
        for raw in &page.items {
            changes.push(read(kind, raw)?);
        }
        match page.metadata.more.filter(|more| !more.is_empty()) {
            Some(more) => after = format!("&continue={more}"),
            None => return Ok(()),
        }
    }
    Err(Failure::Away(format!("{address} has more than {} Secrets", PAGE * MAX_PAGES)))
}

fn read(kind: &Watched, raw: &serde_json::value::RawValue) -> Result<Change, Failure> {
    // What is no certificate comes back as gone, which it is.
    object::read(kind, "v1", raw.get(), false)
        .map_err(|error| Failure::Away(format!("its answer cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A right to read, of a Secret or of all in a namespace.
    fn right(namespace: &str, rule: &str) -> String {
        format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: it, namespace: {namespace}}}\n\
             rules: [{{apiGroups: [''], resources: [secrets], {rule}}}]\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: it, namespace: {namespace}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: it}}\nsubjects: [{{kind: User, name: agent}}]\n"
        )
    }

    fn secret(namespace: &str, name: &str, kind: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Secret\ntype: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             data: {{tls.crt: eA==, tls.key: eA==}}\n"
        )
    }

    async fn next_round(taken: &mut tokio::sync::mpsc::Receiver<Told>) -> (Vec<String>, bool) {
        let mut there = Vec::new();
        loop {
            let told = tokio::time::timeout(EVERY * 3, taken.recv()).await.unwrap().unwrap();
            match told {
                Told::Objects(kind, changes) if is_kind(kind) => {
                    there = changes.into_iter().filter(|it| it.text.is_some()).map(|it| it.path).collect();
                }
                Told::Verdict(kind, Verdict::Complete) if is_kind(kind) => return (there, true),
                Told::Failing("Secret", Some(_)) => return (there, false),
                _ => {}
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn certificates_are_read_where_that_is_allowed_and_what_is_not_is_told() {
        let rights = tidegate_apiserver::Options { rbac: true, users: vec!["agent".to_owned()] };
        let Some(server) = tidegate_apiserver::ApiServer::start_or_skip(&rights) else { return };
        let tls = "kubernetes.io/tls";
        let objects = [
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: infra}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
            &right("infra", "verbs: [get, list]"),
            &right("shop", "verbs: [get], resourceNames: [edge]"),
            &secret("infra", "a", tls),
            &secret("infra", "password", "Opaque"),
            &secret("shop", "edge", tls),
            &secret("shop", "other", tls),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), objects.concat()).unwrap();
        let applied = server.kubectl().args(["apply", "-f"]).arg(file.path()).output().unwrap();
        assert!(applied.status.success(), "{applied:?}");
        let kubeconfig = Some(server.kubeconfig_of("agent"));
        let access = crate::kube::KubeAccess { kubeconfig, context: None };
        let (client, url) = access.client().await.unwrap();
        let options = |places: &[&str]| crate::kube::KubeOptions {
            client: client.clone(),
            url: url.clone(),
            certificates: places.iter().map(|it| it.parse().unwrap()).collect(),
            saved: None,
            pace: crate::kube::Pace::default(),
        };
        let cluster = crate::kube::kinds::Kinds::Cluster;
        let (mut taken, _) = crate::kube::watch_all(&options(&["infra", "shop/edge", "shop/none"]), cluster);
        // What is not there may not be asked for either; the others are.
        let both = ["kubernetes: Secret infra/a", "kubernetes: Secret shop/edge"];
        assert_eq!(next_round(&mut taken).await, (both.map(str::to_owned).into(), false));
        let (mut taken, _) = crate::kube::watch_all(&options(&["infra", "shop/edge"]), cluster);
        assert_eq!(next_round(&mut taken).await, (both.map(str::to_owned).into(), true));
        let gone = server.kubectl().args(["delete", "secret", "-n", "infra", "a"]).output().unwrap();
        assert!(gone.status.success(), "{gone:?}");
        assert_eq!(next_round(&mut taken).await, (vec![both[1].to_owned()], true));
    }

    #[test]
    fn a_place_is_a_namespace_or_a_secret_in_one() {
        let of = |text: &str| text.parse::<SecretPlace>().map(|it| it.to_string());
        for text in ["infra", "infra/edge-tls", "infra/edge.example"] {
            assert_eq!(of(text).as_deref(), Ok(text));
        }
        for text in ["", "/", "infra/", "/x", "a/b/c", "Infra", "a?b", "../x", "a b"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
