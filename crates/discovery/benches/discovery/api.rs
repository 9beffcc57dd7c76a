//! Where the benchmark writes its objects: a real API server, or a stand-in for a faster one.

use http::Request;
use kube::Client;
use serde_json::{Value, json};
use std::{io::Write as _, process::Stdio, sync::Arc};
use tidegate_apiserver::{ApiServer, Served, StandIn};
use tidegate_discovery::kube::KubeAccess;

const OURS: &str = "tidegate.dev";
const GATEWAYS: &str = "gateway.networking.k8s.io";

/// What there are objects of.
pub(crate) const KINDS: [Served; 7] = [
    Served { group: "", version: "v1", kind: "Namespace", plural: "namespaces" },
    Served { group: "", version: "v1", kind: "Service", plural: "services" },
    Served { group: "discovery.k8s.io", version: "v1", kind: "EndpointSlice", plural: "endpointslices" },
    Served { group: OURS, version: "v1alpha1", kind: "FleetCluster", plural: "fleetclusters" },
    Served { group: OURS, version: "v1alpha1", kind: "FailoverPolicy", plural: "failoverpolicies" },
    Served { group: GATEWAYS, version: "v1", kind: "Gateway", plural: "gateways" },
    Served { group: GATEWAYS, version: "v1", kind: "HTTPRoute", plural: "httproutes" },
];

/// An API.
#[derive(Clone)]
pub(crate) enum Api {
    Real(Client),
    StandIn(Arc<StandIn>),
}

impl Api {
    /// A real one, with definitions of the kinds that it does not know by itself.
    pub(crate) async fn of(server: &ApiServer) -> Self {
        let own = KINDS.iter().filter(|it| [OURS, GATEWAYS].contains(&it.group));
        apply(server, &own.map(definition).collect::<String>());
        let mut wait = server.kubectl();
        wait.args(["wait", "--for=condition=Established", "crd", "--all"]).stdout(Stdio::null());
        assert!(wait.status().unwrap().success());
        let access = KubeAccess { kubeconfig: Some(server.kubeconfig()), context: None };
        Self::Real(access.client().await.unwrap().0)
    }

    pub(crate) async fn create(&self, plural: &str, object: &Value) {
        match self {
            Self::Real(client) => {
                let namespace = object["metadata"]["namespace"].as_str();
                write(client, "POST", &address(plural, namespace), object).await;
            }
            Self::StandIn(server) => server.set(plural, object.clone()),
        }
    }

    /// Lets a slice have these endpoints.
    pub(crate) async fn change(&self, slice: Value) {
        match self {
            Self::Real(_) => {
                let name = slice["metadata"]["name"].as_str().unwrap();
                self.patch(name, &json!({"endpoints": slice["endpoints"]})).await;
            }
            Self::StandIn(server) => server.set("endpointslices", slice),
        }
    }

    /// Patches a slice of a real one.
    pub(crate) async fn patch(&self, name: &str, body: &Value) {
        let Self::Real(client) = self else { unreachable!("a stand-in is not patched") };
        write(client, "PATCH", &format!("{}/{name}", address("endpointslices", Some("shop"))), body).await;
    }
}

fn address(plural: &str, namespace: Option<&str>) -> String {
    let Served { group, version, .. } = KINDS.iter().find(|it| it.plural == plural).unwrap();
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let namespace = namespace.map(|it| format!("/namespaces/{it}")).unwrap_or_default();
    format!("{root}{namespace}/{plural}")
}

async fn write(client: &Client, method: &str, address: &str, body: &Value) {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(address).header("content-type", kind);
    let request = request.body(serde_json::to_vec(body).unwrap()).unwrap();
    client.request_text(request).await.unwrap();
}

fn apply(server: &ApiServer, text: &str) {
    let mut command = server.kubectl();
    command.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn definition(Served { group, version, kind, plural }: &Served) -> String {
    let scope = if *kind == "FleetCluster" { "Cluster" } else { "Namespaced" };
    format!(
        "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {{name: {plural}.{group}, annotations: {{api-approved.kubernetes.io: 'unapproved, for a benchmark'}}}}\n\
         spec:\n  group: {group}\n  scope: {scope}\n  names: {{kind: {kind}, plural: {plural}}}\n  versions:\n  \
         - {{name: {version}, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}\n"
    )
}
