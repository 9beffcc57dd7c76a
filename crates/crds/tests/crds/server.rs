//! An API server with the definitions in force, and what it says to objects.

use kube::{
    Api, Client, Config,
    api::{DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective},
    config::{KubeConfigOptions, Kubeconfig},
    core::ApiResource,
};
use serde_json::Value;
use std::{path::PathBuf, process::Command};
use tidegate_apiserver::{ApiServer, Options};

/// A server with the definitions, and a client of it.
pub(crate) struct Server {
    pub(crate) api: ApiServer,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    /// `None` where there is no server to test with, which was told.
    pub(crate) fn start() -> Option<Self> {
        let api = ApiServer::start_or_skip(&Options::default())?;
        let deploy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
        run(api.kubectl().args(["apply", "--server-side", "-k"]).arg(deploy));
        run(api.kubectl().args(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(api.kubeconfig()).unwrap();
            let config =
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        Some(Self { api, client, runtime })
    }

    /// What the server says to this object without storing it: an error is its message.
    pub(crate) fn try_out(&self, object: &Value) -> Result<(), String> {
        self.apply(object, &PatchParams { dry_run: true, ..params() }, false)
    }

    /// Stores an object, or its status.
    pub(crate) fn keep(&self, object: &Value, status: bool) {
        self.apply(object, &params(), status).unwrap();
    }

    fn apply(&self, object: &Value, params: &PatchParams, status: bool) -> Result<(), String> {
        let kind = object["kind"].as_str().unwrap();
        let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
        let plural = match kind {
            "FailoverPolicy" => "failoverpolicies".to_owned(),
            _ => format!("{}s", kind.to_lowercase()),
        };
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        let api: Api<DynamicObject> = match kind {
            "FleetCluster" | "FailoverProfile" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let patch = Patch::Apply(object);
        let answer = self.runtime.block_on(async {
            match status {
                true => api.patch_status(name, params, &patch).await,
                false => api.patch(name, params, &patch).await,
            }
        });
        match answer {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(other) => panic!("{other}"),
        }
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some("test".to_owned()),
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    }
}

/// Runs a command that must succeed, and returns what it wrote.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
