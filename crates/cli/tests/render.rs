//! `tidegate render`: what it writes is valid for whom it is written, and what it tells beside it. The expected texts are
//! snapshots; the schemas are those that the targets publish.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::fs;
use support::{
    command::{Ran, finish, tidegate},
    schemas, workspace,
};

const FLEET: &str = "crates/cli/tests/render/fleet";
const TARGETS: [&str; 3] = ["istio", "envoy-gateway", "gateway-api"];

/// Runs at the root of the workspace, so that paths are as a reader would type them.
fn render(arguments: &[&str]) -> Ran {
    finish(tidegate().current_dir(workspace()).arg("render").args(arguments))
}

/// The objects that are rendered for all clusters of some manifests.
fn objects(target: &str, manifests: &str) -> Vec<Value> {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().display().to_string();
    let ran = render(&["--target", target, "--out", &folder, "-o", "json", manifests]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut objects = Vec::new();
    for line in ran.stdout.lines() {
        let text = fs::read_to_string(line).unwrap();
        let rendered: Value = serde_json::from_str(&text).unwrap();
        objects.extend(rendered["objects"].as_array().unwrap().iter().cloned());
    }
    objects
}

fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let found = objects.iter().find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn what_is_rendered_and_told_is_as_recorded() {
    for target in TARGETS {
        for (name, manifests, cluster) in
            [("fleet", FLEET, "east"), ("two-regions", "examples/two-regions", "us-east")]
        {
            let ran = render(&["--target", target, "--cluster", cluster, manifests]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            insta::assert_snapshot!(
                format!("render-{target}-{name}"),
                format!("{}\n{}", ran.stderr, ran.stdout)
            );
            let again = render(&["--target", target, "--cluster", cluster, manifests]);
            assert_eq!((again.stdout, again.stderr), (ran.stdout, ran.stderr));
        }
    }
}

#[test]
fn what_is_rendered_is_valid_by_the_schemas_of_the_targets() {
    let test = "what_is_rendered_is_valid_by_the_schemas_of_the_targets";
    let mut all = Vec::new();
    for target in TARGETS {
        for manifests in [
            FLEET,
            "examples/two-regions",
            "examples/weighted-regions",
            "examples/one-cluster",
            "examples/edge-tier",
        ] {
            all.extend(objects(target, manifests));
        }
    }
    let kinds: std::collections::BTreeSet<&str> = all.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    let expected = [
        "Backend",
        "BackendTrafficPolicy",
        "DestinationRule",
        "EndpointSlice",
        "GRPCRoute",
        "HTTPRoute",
        "Service",
        "ServiceEntry",
        "VirtualService",
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    let Some(findings) = schemas::findings(test, "objects", &serde_json::to_string(&all).unwrap()) else {
        return;
    };
    assert_eq!(findings, [""; 0]);
    // The schemas are asked: a wrong type and a field that none of them has are found.
    let mut wrong = all[0].clone();
    wrong["spec"]["trafficPolicy"]["outlierDetection"]["interval"] = 5.into();
    let mut unknown = all[0].clone();
    unknown["spec"]["trafficPolicy"]["outlierDetection"]["intervall"] = "5s".into();
    for object in [wrong, unknown] {
        let text = serde_json::to_string(&[object]).unwrap();
        assert_ne!(schemas::findings(test, "objects", &text).unwrap(), [""; 0]);
    }
}

#[test]
fn istio_is_told_the_order_by_labels_and_weights_by_zone() {
    let objects = objects("istio", FLEET);
    let entry = find(&objects, "ServiceEntry", "web-fleet");
    let ranks = |address: &str| {
        let endpoints = entry["spec"]["endpoints"].as_array().unwrap();
        let labels = &endpoints.iter().find(|it| it["address"] == address).unwrap()["labels"];
        labels.as_object().unwrap().keys().filter(|key| key.starts_with("tidegate.dev/rank-")).count()
    };
    let order =
        ["web.shop.svc.cluster.local", "192.0.2.2", "2001:db8::2", "gw.west.example", "lb.eu.example"]
            .map(ranks);
    assert_eq!(order, [2, 1, 1, 1, 0]);
    let rule = find(&objects, "DestinationRule", "web-fleet");
    let locality = &rule["spec"]["trafficPolicy"]["loadBalancer"]["localityLbSetting"];
    assert_eq!(
        locality["failoverPriority"],
        serde_json::json!(["tidegate.dev/rank-1=yes", "tidegate.dev/rank-2=yes"])
    );
    let pay = find(&objects, "DestinationRule", "pay");
    let distribute = &pay["spec"]["trafficPolicy"]["loadBalancer"]["localityLbSetting"]["distribute"];
    let parts = serde_json::json!({"us-east/us-east-1a/*": 67, "us-east/us-east-1b/*": 33});
    assert_eq!(distribute[0]["to"], parts);
    // Residency keeps the others out: they reach east, and nobody reaches them.
    let entries =
        objects.iter().filter(|it| it["kind"] == "ServiceEntry" && it["metadata"]["name"] == "pay-fleet");
    let endpoints: Vec<&Value> = entries.flat_map(|it| it["spec"]["endpoints"].as_array().unwrap()).collect();
    assert_eq!(endpoints.len(), 2);
    assert!(endpoints.iter().all(|it| it["address"] == "192.0.2.1"), "{endpoints:?}");
}

#[test]
fn a_route_of_several_policies_is_cut_and_keeps_what_it_says() {
    let objects = objects("envoy-gateway", FLEET);
    for (name, path) in [("shop-1", "/cart"), ("shop-2", "/old")] {
        let route = find(&objects, "HTTPRoute", name);
        assert_eq!(route["spec"]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(route["spec"]["rules"][0]["matches"][0]["path"]["value"], path);
        assert_eq!(
            (&route["spec"]["hostnames"][0], &route["metadata"]["labels"]["team"]),
            (&"shop.example".into(), &"shop".into())
        );
    }
    let shared = &find(&objects, "HTTPRoute", "shop-3")["spec"]["rules"][0]["backendRefs"];
    let weights: Vec<(&str, u64)> = shared
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["weight"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        weights,
        [("web", 90), ("web-west", 90), ("web-eu", 90), ("cart", 9), ("cart-west", 1), ("cart-eu", 10)]
    );
    // A cluster that stands by is a fallback, one that serves beside is not.
    assert_eq!(find(&objects, "Backend", "web-west")["spec"]["fallback"], true);
    assert_eq!(find(&objects, "Backend", "cart-west")["spec"].get("fallback"), None);
    // It mixes no names with addresses.
    let endpoints = find(&objects, "Backend", "web-west")["spec"]["endpoints"].as_array().unwrap();
    assert!(endpoints.len() == 2 && endpoints.iter().all(|it| it.get("ip").is_some()), "{endpoints:?}");
    let policy = find(&objects, "BackendTrafficPolicy", "shop-3");
    assert_eq!(policy["spec"]["healthCheck"]["panicThreshold"], 0);
    assert_eq!(policy["spec"]["targetRefs"][0]["name"], "shop-3");
}

#[test]
fn the_yaml_says_the_same_as_the_json() {
    for target in TARGETS {
        let arguments = ["--target", target, "--cluster", "east", FLEET];
        let yaml = tidegate_api::SourceFile { path: String::new(), text: render(&arguments).stdout };
        let json: Value =
            serde_json::from_str(&render(&[&arguments[..], &["-o", "json"]].concat()).stdout).unwrap();
        assert_eq!(Value::from(tidegate_api::plain_objects(&yaml)), json["east"]["objects"]);
    }
}

#[test]
fn strictness_fails_on_what_somebody_wrote_and_is_lost() {
    for target in TARGETS {
        let arguments = ["--target", target, "--cluster", "east", FLEET];
        assert_eq!(render(&arguments).code, Some(0));
        let ran = render(&[&["--strict"], &arguments[..]].concat());
        assert_eq!(ran.code, Some(1));
        assert!(ran.stderr.contains("LOST"), "{ran:?}");
    }
    // Nothing of the example is lost to Istio but its checks; without those it is all said or near.
    let example = tempfile::tempdir().unwrap();
    for name in ["cluster.yaml", "services.yaml"] {
        fs::copy(workspace().join("examples/one-cluster").join(name), example.path().join(name)).unwrap();
    }
    let ran = render(&["--strict", "--target", "istio", &example.path().display().to_string()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn a_question_that_cannot_be_answered_says_what_to_do() {
    for (arguments, told) in [
        (vec!["--target", "istio", FLEET], "hint: say --cluster NAME, or --out DIR for all of them"),
        (
            vec!["--target", "istio", "--cluster", "eats", FLEET],
            "hint: the clusters are, the nearest name first: east",
        ),
        (vec!["--target", "istoi", FLEET], "there are istio, envoy-gateway and gateway-api"),
        (vec!["--target", "istio", "/nowhere"], "hint: is the path right?"),
    ] {
        let ran = render(&arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
}
