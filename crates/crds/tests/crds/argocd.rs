//! What Argo CD is told of our kinds: its scripts run in a real Lua, with the libraries that Argo CD gives them, on objects that
//! come from an API server.

use crate::{
    refused,
    server::{Server, run},
};
use mlua::{Lua, LuaOptions, LuaSerdeExt as _, StdLib};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf};
use tidegate_install::yaml;

/// The kinds, each with its script in `deploy/argocd/health`.
const SCRIPTS: [(&str, &str); 7] = [
    ("FailoverPolicy", "policy"),
    ("FailoverProfile", "policy"),
    ("FleetCluster", "FleetCluster"),
    ("GatewayTemplate", "policy"),
    ("TrafficShift", "TrafficShift"),
    ("Drill", "Drill"),
    ("DrillSchedule", "DrillSchedule"),
];

fn deploy() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn script(kind: &str) -> String {
    let (_, name) = SCRIPTS.iter().find(|(known, _)| *known == kind).unwrap();
    fs::read_to_string(deploy().join(format!("argocd/health/{name}.lua"))).unwrap()
}

/// Status and message that Argo CD would show.
fn health(object: &Value) -> (String, String) {
    // Argo CD loads the base library and tables, not those of texts or files.
    let lua = Lua::new_with(StdLib::TABLE, LuaOptions::default()).unwrap();
    // JSON without nulls, as the API writes it; empty lists and mappings are both tables.
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    let found: mlua::Table = lua.load(script(object["kind"].as_str().unwrap())).eval().unwrap();
    (found.get("status").unwrap(), found.get("message").unwrap())
}

#[test]
fn the_configuration_of_argo_cd_holds_the_scripts() {
    let mut data = serde_json::Map::new();
    for (kind, _) in SCRIPTS {
        data.insert(format!("resource.customizations.health.tidegate.dev_{kind}"), json!(script(kind)));
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "namespace": "argocd", "labels": {"app.kubernetes.io/name": "argocd-cm", "app.kubernetes.io/part-of": "argocd"}},
        "data": data,
    });
    let header = "# Generated from deploy/argocd/health: `UPDATE_GENERATED=1 cargo test -p tidegate-crds` writes it anew.\n";
    let fresh = format!("{header}{}", yaml::document(&object));
    let path = deploy().join("argocd/argocd-cm.yaml");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == fresh,
        "deploy/argocd/argocd-cm.yaml is old: run `UPDATE_GENERATED=1 cargo test -p tidegate-crds`"
    );
    let back: Value = serde_saphyr::from_str(&found).unwrap();
    assert_eq!(back, object);
}

fn condition(kind: &str, status: &str, generation: i64) -> Value {
    json!({"type": kind, "status": status, "reason": "Because", "message": "so it is", "observedGeneration": generation, "lastTransitionTime": "2026-11-01T12:00:00Z"})
}

/// An object of this kind that is right, its status, and the health that it should have.
fn cases() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let all = |accepted: &str, programmed: &str, generation: i64| {
        let both =
            [condition("Accepted", accepted, generation), condition("Programmed", programmed, generation)];
        json!({"conditions": both})
    };
    let connected = |status: &str| json!({"conditions": [condition("Accepted", "True", 1), condition("Joined", "True", 1), condition("Connected", status, 1)]});
    let ran = |result: &str| json!({"lastRun": {"id": "one", "result": result, "startedAt": "2026-11-01T12:00:00Z", "message": "rto 7s, at most 5s"}});
    vec![
        ("FailoverPolicy", Value::Null, "Progressing", "nobody has said"),
        ("FailoverPolicy", json!({"conditions": []}), "Progressing", "not in force yet"),
        ("FailoverPolicy", all("True", "True", 1), "Healthy", "in force"),
        ("FailoverPolicy", all("True", "False", 1), "Progressing", "Because: so it is"),
        ("FailoverPolicy", all("False", "False", 1), "Degraded", "Because: so it is"),
        ("FailoverPolicy", all("True", "True", 0), "Progressing", "not looked at yet"),
        ("FailoverProfile", all("True", "True", 1), "Healthy", "in force"),
        (
            "GatewayTemplate",
            json!({"conditions": [condition("Accepted", "True", 1), condition("ResolvedRefs", "True", 1)]}),
            "Healthy",
            "accepted",
        ),
        ("GatewayTemplate", json!({"conditions": []}), "Progressing", "not in force yet"),
        ("FleetCluster", json!({"conditions": [condition("Accepted", "True", 1)]}), "Healthy", "accepted"),
        (
            "FleetCluster",
            json!({"conditions": [condition("ResolvedRefs", "False", 1)]}),
            "Degraded",
            "Because",
        ),
        ("TrafficShift", all("True", "True", 1), "Healthy", "moved away"),
        ("TrafficShift", all("True", "False", 1), "Progressing", "no agent has begun"),
        ("GatewayTemplate", all("False", "False", 1), "Degraded", "Because"),
        ("FleetCluster", Value::Null, "Progressing", "nobody has said"),
        ("FleetCluster", connected("True"), "Healthy", "agents are heard"),
        ("FleetCluster", connected("False"), "Degraded", "Because"),
        ("FleetCluster", json!({"conditions": [condition("Joined", "False", 1)]}), "Progressing", "Because"),
        ("TrafficShift", Value::Null, "Progressing", "no agent has begun"),
        ("TrafficShift", json!({"phase": "Active"}), "Healthy", "moved away"),
        ("TrafficShift", json!({"phase": "Ended"}), "Healthy", "remove it"),
        (
            "TrafficShift",
            json!({"phase": "Refused", "conditions": [condition("Accepted", "False", 1)]}),
            "Degraded",
            "Because",
        ),
        ("Drill", Value::Null, "Healthy", "not run yet"),
        ("Drill", ran("Running"), "Progressing", "it runs"),
        ("Drill", ran("Failed"), "Degraded", "Failed: rto 7s"),
        ("Drill", ran("Passed"), "Healthy", "rto"),
        ("Drill", json!({"conditions": [condition("Accepted", "False", 1)]}), "Degraded", "Because"),
        ("DrillSchedule", Value::Null, "Healthy", "waits for its time"),
        (
            "DrillSchedule",
            json!({"conditions": [condition("ResolvedRefs", "False", 1)]}),
            "Degraded",
            "Because",
        ),
    ]
}

#[test]
fn argo_cd_shows_the_health_of_objects_from_an_api_server() {
    let Some(server) = Server::start() else { return };
    let right = refused::right();
    let mut kinds = BTreeSet::new();
    for (at, (kind, status, wanted, message)) in cases().into_iter().enumerate() {
        let name = format!("case-{at}");
        let mut object = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": right[kind]});
        server.keep(&object, false);
        if !status.is_null() {
            object["status"] = status;
            server.keep(&object, true);
        }
        let text = run(server.api.kubectl().args(["get", kind, &name, "-o", "json"]));
        let found = health(&serde_json::from_str(&text).unwrap());
        assert_eq!(found.0, wanted, "{kind} {}: {}", object["status"], found.1);
        assert!(found.1.contains(message), "{kind} {}: {}", object["status"], found.1);
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), SCRIPTS.len());
    let mut off = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "DrillSchedule", "metadata": {"name": "off"}, "spec": right["DrillSchedule"]});
    off["spec"]["suspend"] = json!(true);
    assert_eq!(health(&off).0, "Suspended");
}

#[test]
fn what_the_examples_of_argo_cd_and_flux_name_is_there() {
    let mut paths = 0;
    for file in ["argocd/application.yaml", "argocd/applicationset.yaml", "flux/tidegate.yaml"] {
        let text = fs::read_to_string(deploy().join(file)).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        for document in documents {
            for pointer in [
                "/spec/source/path",
                "/spec/template/spec/source/path",
                "/spec/path",
                "/spec/chart/spec/chart",
            ] {
                let path = document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                if path.contains("deploy/") {
                    assert!(deploy().join("..").join(path).is_dir(), "{file} names {path}");
                    paths += 1;
                }
            }
        }
    }
    assert_eq!(paths, 5, "places in this repository");
}
