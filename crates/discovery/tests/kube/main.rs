//! Watching a real Kubernetes API server: every change arrives, and no failure of the API makes anything of nothing.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see helpers outside #[test]"
)]

mod faults;
mod proxy;
mod world;

use tidegate_apiserver::{ApiServer, Options};
use tidegate_discovery::kube::{AccessError, KubeAccess};
use world::{Followed, apply, define, definitions, fleet, home, kubectl, options, service, slice};

const TWO: [(&str, Option<&str>, &str); 2] =
    [("10.0.0.1", Some("a"), "node-1"), ("10.0.0.2", Some("b"), "node-2")];

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_the_api_become_the_configuration() {
    let Some(server) = ApiServer::start_or_skip(&Options::default()) else { return };
    define(&server, &fleet());
    apply(&server, &(home() + &service("web") + &slice("web-1", "web", &TWO)));
    let mut followed = Followed::start(options(server.kubeconfig(), None).await).await;
    assert_eq!(followed.snapshot.problems_text(), "");
    assert_eq!(followed.endpoints("web"), ["10.0.0.1@a", "10.0.0.2@b"]);
    // A kind that is not installed is not there, and no problem.
    assert_eq!(followed.board.view().watches["Gateway"], "Absent");

    apply(&server, &slice("web-2", "web", &[("10.0.0.3", Some("c"), "node-3")]));
    followed.until("another slice", |it| world::endpoints(&it.config, "web").len() == 3).await;
    kubectl(&server, &["delete", "endpointslice", "-n", "shop", "web-1"], "");
    followed.until("a slice is gone", |it| world::endpoints(&it.config, "web") == ["10.0.0.3@c"]).await;
    // A mistake is told by the name of the object, and the rest is as it was.
    apply(&server, &slice("web-3", "web", &[("10.0.0.4", None, "nowhere")]));
    followed.until("a problem", |it| !it.problems.is_empty()).await;
    assert_eq!(followed.snapshot.problems[0].file, "kubernetes: EndpointSlice shop/web-3");
    assert_eq!(followed.endpoints("web"), ["10.0.0.3@c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_installed_later_is_watched_then() {
    let Some(server) = ApiServer::start_or_skip(&Options::default()) else { return };
    define(&server, &fleet());
    apply(&server, &(home() + &service("web")));
    let mut followed = Followed::start(options(server.kubeconfig(), None).await).await;
    define(&server, &definitions("tidegate.dev", "v1alpha1", &[("TrafficShift", "trafficshifts", true)]));
    apply(
        &server,
        "apiVersion: tidegate.dev/v1alpha1\nkind: TrafficShift\nmetadata: {name: away, namespace: shop}\n\
         spec: {awayFrom: {zone: a}, duration: 1h, comment: a test}\n",
    );
    followed
        .until("the shift", |it| it.config.shifts.contains_key("shop/away") || !it.problems.is_empty())
        .await;
    followed.stands("TrafficShift", "Following").await;
    // And what is uninstalled is gone, once it has been so for a while.
    kubectl(&server, &["delete", "crd", "trafficshifts.tidegate.dev"], "");
    followed.until("no shift", |it| it.config.shifts.is_empty() && it.problems.is_empty()).await;
    followed.stands("TrafficShift", "Absent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named() {
    let rights = Options { rbac: true, users: vec!["agent".to_owned()] };
    let Some(server) = ApiServer::start_or_skip(&rights) else { return };
    define(&server, &fleet());
    apply(&server, &(home() + &service("web") + &slice("web-1", "web", &TWO)));
    let role = |resources: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: agent}}\nrules:\n\
             - {{apiGroups: ['', apps, discovery.k8s.io, tidegate.dev], resources: [{resources}], verbs: [get, list, watch]}}\n\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: agent}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: agent}}\n\
             subjects: [{{kind: User, name: agent}}]\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: look}}\n\
             rules: [{{nonResourceURLs: ['/api', '/api/*', '/apis', '/apis/*'], verbs: [get]}}]\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: look}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: look}}\n\
             subjects: [{{kind: User, name: agent}}]\n"
        )
    };
    let all = "services, endpointslices, nodes, namespaces, secrets, deployments, statefulsets, replicasets, fleetclusters";
    apply(&server, &role(all));
    let mut followed = Followed::start(options(server.kubeconfig_of("agent"), None).await).await;
    assert_eq!(followed.endpoints("web").len(), 2);
    // An agent that starts without a right does not take what it may not see for nothing: it waits, and says for what.
    apply(&server, &role(&all.replace("endpointslices, ", "")));
    let waiting = Followed::start(options(server.kubeconfig_of("agent"), None).await);
    let waits = tokio::time::timeout(std::time::Duration::from_secs(2), waiting).await;
    assert!(waits.is_err(), "starts without its endpoints");
    // One that runs goes on with what it has. Its watch is open, and is judged when it is renewed; cut it.
    let mut server = server;
    server.restart().unwrap();
    followed
        .until("the right is named", |it| it.problems_text().contains("endpointslices.discovery.k8s.io"))
        .await;
    let text = followed.snapshot.problems_text();
    assert!(text.contains("get, list and watch on endpointslices.discovery.k8s.io"), "{text}");
    assert_eq!(followed.endpoints("web").len(), 2);
    apply(&server, &role(all));
    followed.until("all is well", |it| it.problems.is_empty()).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_kubeconfig_is_said_with_what_to_do() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("config");
    let access = |context: Option<&str>| KubeAccess {
        kubeconfig: Some(path.clone()),
        context: context.map(str::to_owned),
    };
    let missing = access(None).client().await.err().unwrap();
    assert!(matches!(missing, AccessError::Kubeconfig { .. }), "{missing}");
    std::fs::write(
        &path,
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n\
         users: [{name: u, user: {token: t}}]\n\
         contexts: [{name: here, context: {cluster: c, user: u}}, {name: there, context: {cluster: c, user: u}}]\n",
    )
    .unwrap();
    let unknown = access(Some("nowhere")).client().await.err().unwrap().to_string();
    assert!(unknown.contains("no context \"nowhere\"; it has here, there"), "{unknown}");
    assert!(access(None).client().await.is_ok());
    assert!(access(Some("there")).client().await.is_ok());
}
