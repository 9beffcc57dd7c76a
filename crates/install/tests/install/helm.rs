//! The chart, rendered by Helm itself, says the same as `tidegate install`, object by object.
//!
//! Helm comes as the Python package `helm-python-sdk`: TIDEGATE_HELM names the folder that it is in, which `cargo xtask test` fetches.
//! Without it the tests say that they were skipped; with CI=true they fail.

use crate::generated::chart;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, process::Command};
use tidegate_install::{agent, gateways, hub, values::Many, values::When};

/// The objects that Helm makes of the chart with these values, or `None` without a Helm, which was told.
fn rendered(values: &Value) -> Option<Result<Vec<Value>, String>> {
    let packages = crate::tool("TIDEGATE_HELM", "the folder of the Python package helm-python-sdk")?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/install/render.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(chart())
        .arg(file)
        .env("PYTHONPATH", packages)
        .env("HOME", folder.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        return Some(Err(text(&output.stderr)));
    }
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text(&output.stdout)).unwrap();
    Some(Ok(documents.into_iter().filter(|it| !it.is_null()).collect()))
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let name =
        |it: &Value| format!("{} {} {}", it["kind"], it["metadata"]["namespace"], it["metadata"]["name"]);
    let named: BTreeMap<String, Value> = objects.into_iter().map(|it| (name(&it), it)).collect();
    assert_eq!(named.len(), count, "an object comes twice");
    named
}

fn assert_same(values: &Value, installed: Vec<Value>) {
    let Some(found) = rendered(values) else { return };
    let (found, wanted) = (by_name(found.unwrap()), by_name(installed));
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (name, object) in &wanted {
        assert_eq!(&found[name], object, "{name}");
    }
}

#[test]
fn the_chart_says_what_the_command_says() {
    let image = "registry.example/tidegate:0.1.0";
    let values = json!({"image": image, "cluster": "us-east"});
    assert_same(&values, agent::objects(&crate::agent()));
    let all = json!({
        "image": image,
        "cluster": "us-east",
        "agent": {"replicas": 3, "hub": "hub.example:18100", "readAllSecrets": true},
        "hub": {"enabled": true, "git": "https://git.example/fleet.git", "service": "ClusterIP"},
        "gateways": {
            "enabled": true, "namespace": "infra", "region": "us-east", "zones": ["us-east-1a", "us-east-1b"], "ports": [8080, 8443],
            "credentials": "edge-credentials", "drainSeconds": 60,
        },
    });
    let gateways = gateways::Options {
        credentials: "edge-credentials".to_owned(),
        with_credentials: When::Known(true),
        drain_seconds: 60.into(),
        agents: Many::These(vec![0.into(), 1.into(), 2.into()]),
        ..crate::gateways()
    };
    let installed =
        [agent::objects(&crate::joined()), hub::objects(&crate::git()), gateways::objects(&gateways)]
            .concat();
    assert_same(&all, installed);
    let certificates = json!([
        {"namespace": "infra"}, {"namespace": "shop", "name": "edge-tls"}, {"namespace": "shop", "name": "other-tls"},
    ]);
    let certified =
        json!({"image": image, "cluster": "us-east", "agent": {"readCertificates": certificates}});
    assert_same(&certified, agent::objects(&crate::certified()));
    let of_kubernetes =
        json!({"image": image, "agent": {"enabled": false}, "hub": {"enabled": true, "kubernetes": true}});
    assert_same(&of_kubernetes, hub::objects(&crate::of_kubernetes()));
}

#[test]
fn the_defaults_of_the_chart_are_those_of_the_command() {
    let values = json!({
        "image": "registry.example/tidegate:0.1.0",
        "cluster": "us-east",
        "agent": {"enabled": false},
        "hub": {"enabled": true},
        "gateways": {"enabled": true, "namespace": "infra", "region": "us-east", "zones": ["us-east-1a"]},
    });
    let gateways = gateways::Options {
        zones: Many::These(vec!["us-east-1a".to_owned()]),
        ports: Many::These(vec![8080.into()]),
        ..crate::gateways()
    };
    assert_same(&values, [hub::objects(&crate::hub()), gateways::objects(&gateways)].concat());
}

#[test]
fn values_that_lack_something_or_are_wrong_are_told() {
    for (values, said) in [
        (json!({"cluster": "us-east"}), "set image"),
        (json!({"image": "registry.example/tidegate:0.1.0"}), "set cluster"),
        (
            json!({"image": "x:1", "cluster": "a", "gateways": {"enabled": true, "region": "a"}}),
            "set gateways.zones",
        ),
        (json!({"image": "x:1", "hub": {"enabled": true, "kubernetes": true, "git": "https://a"}}), "hub"),
    ] {
        let Some(found) = rendered(&values) else { return };
        let error = found.expect_err("something is missing");
        assert!(error.contains(said), "{error}");
    }
}
