//! What the tests do to an API server, and how they follow what is made of it.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tidegate_api::Config;
use tidegate_apiserver::ApiServer;
use tidegate_discovery::{
    Snapshot, Sources, Updates,
    kube::{Board, KubeAccess, KubeOptions, Pace},
};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A pace at which a test need not wait long; the rules are the same.
pub(crate) const QUICK: Pace = Pace {
    first_pause: Duration::from_millis(50),
    longest_pause: Duration::from_millis(500),
    settle: Duration::from_secs(2),
    discovery: Duration::from_millis(500),
    silence: Duration::from_secs(20),
    watch: Duration::from_secs(300),
    answer: Duration::from_secs(5),
};

/// Resource definitions for these kinds, that let everything pass.
pub(crate) fn definitions(group: &str, version: &str, kinds: &[(&str, &str, bool)]) -> String {
    let mut text = String::new();
    for (kind, plural, namespaced) in kinds {
        let scope = if *namespaced { "Namespaced" } else { "Cluster" };
        let annotation = r#""api-approved.kubernetes.io": "unapproved, for a test""#;
        write!(
            text,
            r#"---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}, annotations: {{{annotation}}}}}
spec:
  group: {group}
  scope: {scope}
  names: {{kind: {kind}, plural: {plural}, singular: {singular}}}
  versions:
  - name: {version}
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"#,
            singular = kind.to_lowercase()
        )
        .unwrap();
    }
    text
}

/// What every test begins with.
pub(crate) fn fleet() -> String {
    definitions("tidegate.dev", "v1alpha1", &[("FleetCluster", "fleetclusters", false)])
}

pub(crate) fn home() -> String {
    "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: home}\nspec: {region: here}\n---\n\
     apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
        .to_owned()
}

pub(crate) fn service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80}}]}}\n"
    )
}

/// A slice with endpoints: address, zone (or none) and node.
pub(crate) fn slice(name: &str, service: &str, endpoints: &[(&str, Option<&str>, &str)]) -> String {
    let mut text = format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080, protocol: TCP}}]\nendpoints:\n"
    );
    for (address, zone, node) in endpoints {
        let zone = zone.map(|zone| format!(", zone: {zone}")).unwrap_or_default();
        writeln!(text, "- {{addresses: [{address}], conditions: {{ready: true}}, nodeName: {node}{zone}}}")
            .unwrap();
    }
    if endpoints.is_empty() {
        text = text.replace("endpoints:\n", "endpoints: []\n");
    }
    text
}

/// `kubectl apply` of this text.
pub(crate) fn apply(server: &ApiServer, text: &str) {
    kubectl(server, &["apply", "--server-side", "--force-conflicts", "-f", "-"], text);
}

/// `kubectl` with these words and this text to read.
pub(crate) fn kubectl(server: &ApiServer, words: &[&str], text: &str) {
    let mut command = server.kubectl();
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "kubectl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Applies definitions and waits until they are served.
pub(crate) fn define(server: &ApiServer, text: &str) {
    apply(server, text);
    kubectl(server, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=20s"], "");
}

/// What somebody who follows an API knows.
pub(crate) struct Followed {
    pub(crate) snapshot: Snapshot,
    updates: Updates,
    pub(crate) board: Board,
    _stop: DropGuard,
}

pub(crate) async fn options(kubeconfig: PathBuf, saved: Option<&Path>) -> KubeOptions {
    let access = KubeAccess { kubeconfig: Some(kubeconfig), context: None };
    let (client, url) = access.client().await.unwrap();
    KubeOptions { client, url, certificates: Vec::new(), saved: saved.map(Path::to_owned), pace: QUICK }
}

impl Followed {
    pub(crate) async fn start(options: KubeOptions) -> Self {
        let stop = CancellationToken::new();
        let sources = Sources { kube: Some(options), ..Sources::default() };
        let started = sources.watch("home".parse().unwrap(), stop.clone());
        let (snapshot, updates, board) = timeout(Duration::from_secs(30), started).await.unwrap().unwrap();
        Self { snapshot, updates, board: board.unwrap(), _stop: stop.drop_guard() }
    }

    /// What there is of a service, as `ADDRESS@ZONE`.
    pub(crate) fn endpoints(&self, service: &str) -> Vec<String> {
        endpoints(&self.snapshot.config, service)
    }

    /// Follows until what is known is as it should be.
    pub(crate) async fn until(&mut self, what: &str, mut is_so: impl FnMut(&Snapshot) -> bool) {
        let limit = tokio::time::Instant::now() + Duration::from_secs(30);
        while !is_so(&self.snapshot) {
            let update = tokio::time::timeout_at(limit, self.updates.next()).await;
            let Ok(update) = update else {
                panic!("never: {what}\n{:?}\n{:#?}", self.board.view(), self.snapshot)
            };
            self.snapshot.apply(update.expect("goes on"));
        }
    }

    /// Follows for so long; panics as soon as what is known is not as it should be.
    pub(crate) async fn holds(
        &mut self,
        long: Duration,
        what: &str,
        mut is_so: impl FnMut(&Snapshot) -> bool,
    ) {
        let limit = tokio::time::Instant::now() + long;
        loop {
            assert!(is_so(&self.snapshot), "not any more: {what}\n{:#?}", self.snapshot);
            let Ok(update) = tokio::time::timeout_at(limit, self.updates.next()).await else { return };
            self.snapshot.apply(update.expect("goes on"));
        }
    }

    /// Waits until the watch of a kind stands so.
    pub(crate) async fn stands(&self, kind: &str, word: &str) {
        let stands = async {
            while self.board.view().watches.get(kind).map(String::as_str) != Some(word) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let arrived = timeout(Duration::from_secs(30), stands).await;
        assert!(arrived.is_ok(), "{kind} is never {word}: {:?}", self.board.view());
    }
}

pub(crate) fn endpoints(config: &Config, service: &str) -> Vec<String> {
    let service = config.services.get(&format!("shop/{service}").parse().unwrap());
    let endpoints = service.into_iter().flat_map(|it| &it.endpoints);
    endpoints.map(|(address, it)| format!("{}@{}", address.ip(), it.zone)).collect()
}
