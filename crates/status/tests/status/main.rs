//! Leases, statuses and events against a real Kubernetes API server; what that does not do when asked, against a stand-in.

mod busy;
mod events;
mod leases;
mod rights;
mod writes;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use std::{future::Future, path::Path, time::Duration};
use tidegate_apiserver::{ApiServer, Options};
use tidegate_status::writer::Object;
use tokio::time::{Instant, sleep};

fn server() -> Option<ApiServer> {
    ApiServer::start_or_skip(&Options::default())
}

async fn client(server: &ApiServer) -> Client {
    client_of(&server.kubeconfig()).await
}

async fn client_of(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config =
        Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

/// Until `done` is true; servers tell nobody of what the test waits for.
async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Installs a kind with a status, and makes one of it, named `one`.
async fn install(client: &Client) -> (Object, Api<DynamicObject>) {
    let crds = ApiResource {
        group: "apiextensions.k8s.io".into(),
        version: "v1".into(),
        api_version: "apiextensions.k8s.io/v1".into(),
        kind: "CustomResourceDefinition".into(),
        plural: "customresourcedefinitions".into(),
    };
    let condition = json!({"type": "object", "required": ["type", "status"], "properties": {
        "type": {"type": "string"}, "status": {"type": "string"}, "reason": {"type": "string"}, "message": {"type": "string"},
        "observedGeneration": {"type": "integer"}, "lastTransitionTime": {"type": "string", "format": "date-time"}}});
    let conditions = json!({"type": "array", "items": condition,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]});
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"said": {"type": "string"}}},
        "status": {"type": "object", "properties": {"conditions": conditions}}}});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.dev"},
        "spec": {"group": "example.dev", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema}}]}});
    let params = PatchParams::apply("test").force();
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &crds);
    api.patch("things.example.dev", &params, &Patch::Apply(&crd)).await.expect("a kind");
    let object = Object {
        api_version: "example.dev/v1".into(),
        kind: "Thing".into(),
        plural: "things".into(),
        namespace: Some("default".into()),
        name: "one".into(),
    };
    let kind = ApiResource {
        group: "example.dev".into(),
        version: "v1".into(),
        api_version: "example.dev/v1".into(),
        kind: "Thing".into(),
        plural: "things".into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    let thing = json!({"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"said": "a"}});
    until("the kind is served", || async { api.patch("one", &params, &Patch::Apply(&thing)).await.is_ok() })
        .await;
    (object, api)
}

fn accepted(status: &str) -> Value {
    json!({"conditions": [{"type": "Accepted", "status": status, "reason": "Because", "message": "m", "observedGeneration": 1}]})
}

async fn version(api: &Api<DynamicObject>) -> String {
    api.get("one").await.expect("is there").metadata.resource_version.expect("has a version")
}

fn second_of(value: &Value) -> i64 {
    let text = value.as_str().expect("a time");
    text.parse::<Timestamp>().expect("a time").as_second()
}
