//! No field of policy is passed over in silence, for no target; and the same input gives the same output.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_api::{Config, Loader, SourceFile, plain_objects, policy_fields};
use tidegate_model::ClusterName;
use tidegate_render::{Account, Fate, Input, Rendered, Target, render};

/// A field, and its value.
type Valued = (&'static str, Value);

/// A value for each field, none of them the default; and what it needs beside it to mean anything.
fn values() -> Vec<(&'static str, Value, Option<Valued>)> {
    let latency = || Some(("healthCheck.passive.latency.consecutive", json!(4)));
    let errors = || Some(("healthCheck.passive.errors.percentage", json!(40)));
    let capacity = || Some(("capacity.requestsPerSecond", json!(100)));
    let failover =
        json!([{"to": [{"type": "Only", "regions": ["east"]}, {"type": "Only", "regions": ["west"]}]}]);
    vec![
        ("failover", failover, None),
        ("failoverThreshold", json!({"percentage": 50}), None),
        ("minimumHealthy", json!({"percentage": 10}), None),
        ("failoverDelay.partialLoss", json!("5s"), None),
        ("residency", json!({"regions": ["east"]}), None),
        ("capacity.requestsPerSecond", json!(50), None),
        ("capacity.concurrency", json!(50), None),
        ("capacity.targetUtilization", json!(60), capacity()),
        ("spread", json!("Spray"), capacity()),
        ("healthCheck.active.type", json!("HTTP"), None),
        ("healthCheck.active.interval", json!("3s"), None),
        ("healthCheck.active.timeout", json!("300ms"), None),
        ("healthCheck.active.unhealthyThreshold", json!(4), None),
        ("healthCheck.active.healthyThreshold", json!(5), None),
        ("healthCheck.passive.latency", json!({}), None),
        ("healthCheck.passive.latency.ratio", json!(4), latency()),
        ("healthCheck.passive.latency.minimumDifference", json!("90ms"), latency()),
        ("healthCheck.passive.latency.maxEjectionPercent", json!(20), latency()),
        ("healthCheck.passive.latency.minimumSiblings", json!(5), latency()),
        ("healthCheck.passive.latency.consecutive", json!(5), None),
        ("healthCheck.passive.errors", json!({}), None),
        ("healthCheck.passive.errors.percentage", json!(30), None),
        ("healthCheck.passive.errors.minimumRequests", json!(40), errors()),
        ("healthCheck.passive.errors.window", json!("7s"), errors()),
        ("healthCheck.passive.errors.ejection", json!("70s"), errors()),
        ("healthCheck.passive.errors.maxEjectionPercent", json!(33), errors()),
        ("failback.mode", json!("Manual"), None),
        ("failback.holdDown", json!("45s"), None),
        ("failback.maxHoldDown", json!("20m"), None),
        ("failback.ramp.steps", json!([20, 100]), None),
        ("failback.ramp.interval", json!("4s"), None),
        ("failback.requireHeadroom", json!(false), None),
        ("drain.timeout", json!("5s"), None),
        ("drain.maxAge", json!("10m"), None),
        ("retry.perTryTimeout", json!("400ms"), None),
        ("retry.attempts", json!(5), None),
        ("retry.budget.percentage", json!(20), None),
        ("retry.budget.minimum", json!(30), None),
        ("circuitBreaker.maxConnections", json!(100), None),
        ("circuitBreaker.maxPendingRequests", json!(101), None),
        ("circuitBreaker.maxParallelRequests", json!(102), None),
        ("circuitBreaker.maxRequestsPerConnection", json!(103), None),
        ("slowStart.window", json!("15s"), None),
        ("whenExhausted", json!("Shed"), None),
        ("proximity.by", json!("Measured"), None),
    ]
}

/// Sets a field by its path.
fn set(spec: &mut Value, path: &str, value: Value) {
    let pointer = path.split('.').fold(spec, |at, key| &mut at[key]);
    match (pointer.as_object_mut(), value) {
        // `errors: {}` beside `errors.percentage`.
        (Some(map), Value::Object(more)) => map.extend(more),
        (_, value) => *pointer = value,
    }
}

const FLEET: &str = r#"
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: east}
spec: {region: east, eastWestGateways: [{address: 192.0.2.1}], proximity: [{region: west, rtt: 60ms}]}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: west}
spec: {region: west, eastWestGateways: [{address: 192.0.2.2}, {address: gw.west.example, port: 443}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: tidegate-edge
  addresses: [{type: IPAddress, value: 192.0.2.9}]
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
"#;

fn service(region: &str, net: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints:\n- {{addresses: [{net}.1], zone: {region}-a}}\n\
         - {{addresses: [{net}.2], zone: {region}-b}}\n"
    )
}

/// The policy with these fields, as text in which each field has a line of its own.
fn policy(fields: &[(&str, Value)]) -> String {
    let mut spec = json!({"targetRefs": [{"kind": "Service", "name": "web"}]});
    for (path, value) in fields {
        set(&mut spec, path, value.clone());
    }
    let policy = json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "FailoverPolicy",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": spec,
    });
    serde_json::to_string_pretty(&policy).unwrap()
}

fn rendered(target: Target, policy: &str) -> Rendered {
    rendered_of(target, policy, |text| text)
}

/// With the other files changed before.
fn rendered_of(target: Target, policy: &str, change: impl Fn(String) -> String) -> Rendered {
    let cluster: ClusterName = "east".parse().unwrap();
    let mut fleet: BTreeMap<ClusterName, Config> = BTreeMap::new();
    let (mut written, mut objects) = (BTreeMap::new(), Vec::new());
    for (name, net) in [("east", "10.0.1"), ("west", "10.0.2")] {
        let texts = [
            ("fleet.yaml", change(FLEET.to_owned())),
            ("policy.json", policy.to_owned()),
            ("web.yaml", change(service(name, net))),
        ];
        let files = texts.map(|(path, text)| SourceFile { path: path.to_owned(), text });
        let mut loader = Loader::new(name.parse().unwrap());
        let loaded = loader.load(&files);
        let errors: Vec<_> = loaded.problems.iter().filter(|it| it.is_error()).collect();
        assert!(errors.is_empty(), "{errors:?} in {policy}");
        if name == "east" {
            let services = loaded.config.services.keys();
            written = services.map(|name| (name.clone(), loader.written_for(name))).collect();
            objects = files.iter().flat_map(plain_objects).collect();
        }
        fleet.insert(name.parse().unwrap(), loaded.config);
    }
    render(target, &Input { cluster: &cluster, fleet: &fleet, written: &written, objects: &objects })
}

/// The accounts of a field that somebody wrote.
fn accounts<'r>(rendered: &'r Rendered, field: &str) -> Vec<&'r Account> {
    rendered.report.accounts.iter().filter(|it| !it.default && it.field == field).collect()
}

#[test]
fn every_field_has_a_value_here() {
    let known: BTreeSet<&str> = policy_fields().into_iter().collect();
    let here: BTreeSet<&str> = values().into_iter().map(|(field, ..)| field).collect();
    assert_eq!(
        here, known,
        "a field came or went: say what becomes of it in each target, and give it a value here"
    );
}

#[test]
fn every_field_is_said_or_told_with_its_line_and_by_a_rule_of_its_own() {
    for target in Target::ALL {
        for (field, value, company) in values() {
            let mut fields: Vec<(&str, Value)> = company.clone().into_iter().collect();
            let without = rendered(target, &policy(&fields));
            fields.push((field, value));
            let text = policy(&fields);
            let with = rendered(target, &text);
            let accounts = accounts(&with, field);
            assert!(!accounts.is_empty(), "{target}: {field} is passed over");
            for account in &accounts {
                // Of `{percentage: 50}` it is the line of the number.
                let lines: Vec<&str> = text.lines().collect();
                let key = format!("\"{}\"", field.rsplit('.').next().unwrap());
                let at = account.line as usize - 1;
                assert!(
                    lines[at - 1..=at].concat().contains(&key),
                    "{target}: {field} is not at line {}",
                    account.line
                );
                let (Fate::Lost(how) | Fate::Approximated(how) | Fate::Said(how)) = &account.fate;
                assert!(!how.starts_with("nothing in "), "{target}: {field} has no rule: {how}");
            }
            // What is said is in the objects, and what is lost alone is not.
            let changed = with.objects != without.objects;
            let is = |fate: fn(&Fate) -> bool| accounts.iter().any(|it| fate(&it.fate));
            if is(|fate| matches!(fate, Fate::Said(_))) {
                assert!(changed, "{target}: {field} is said, and nothing changes");
            }
            if accounts.iter().all(|it| matches!(it.fate, Fate::Lost(_))) {
                assert!(!changed, "{target}: {field} is lost, and something changes");
            }
        }
    }
}

#[test]
fn a_field_without_a_rule_is_lost_all_the_same() {
    let cluster: ClusterName = "east".parse().unwrap();
    let fleet_file = SourceFile { path: "fleet.yaml".to_owned(), text: FLEET.to_owned() };
    let web = SourceFile { path: "web.yaml".to_owned(), text: service("east", "10.0.1") };
    let config = Loader::new(cluster.clone()).load(&[fleet_file, web]).config;
    let name = config.services.keys().next().unwrap().clone();
    let origin = tidegate_engine::Origin::file("FailoverPolicy shop/web", "policy.yaml", 7);
    let written = BTreeMap::from([(name, vec![("field.of.the.future", origin)])]);
    let fleet = BTreeMap::from([(cluster.clone(), config)]);
    let rendered =
        render(Target::Istio, &Input { cluster: &cluster, fleet: &fleet, written: &written, objects: &[] });
    let [account] = accounts(&rendered, "field.of.the.future")[..] else { panic!("{:?}", rendered.report) };
    assert_eq!((account.line, &account.fate), (7, &Fate::Lost("nothing in Istio stands for it".to_owned())));
    assert_eq!(rendered.report.lost().count(), 1);
}

#[test]
fn a_cluster_that_cannot_be_written_is_told() {
    // By name alone, beside this cluster: no EndpointSlice, and no port to ask for.
    let together =
        json!([{"to": [{"type": "Only", "clusters": ["east", "west"], "weights": {"east": 1, "west": 1}}]}]);
    let text = policy(&[("failover", together)]);
    for (target, what, without) in [
        (Target::GatewayApi, "cluster west gets no part", "{address: 192.0.2.2}, "),
        (
            Target::Istio,
            "no ServiceEntry leads to other clusters",
            "{ports: [{name: http, port: 80, targetPort: 8080}]}",
        ),
    ] {
        let full = rendered_of(target, &text, |it| it);
        let is_told = |rendered: &Rendered| {
            rendered.report.lost().any(|it| matches!(&it.fate, Fate::Lost(why) if why.contains(what)))
        };
        assert!(!is_told(&full), "{target}: {:?}", full.report);
        let with = if without.starts_with("{ports") { "{}" } else { "" };
        let less = rendered_of(target, &text, |it| it.replace(without, with));
        assert!(is_told(&less), "{target}: {:?}", less.report);
        assert!(less.objects.len() < full.objects.len(), "{target}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is written together, each field has an account, and nothing that nobody wrote has one.
    #[test]
    fn fields_together_are_each_accounted_for(chosen in proptest::collection::vec(any::<bool>(), 45), target in 0_usize..3) {
        let target = Target::ALL[target];
        let all = values();
        let mut fields: Vec<(&str, Value)> = Vec::new();
        for ((field, value, company), _) in all.into_iter().zip(&chosen).filter(|(_, chosen)| **chosen) {
            let rate = |fields: &[(&str, Value)]| fields.iter().any(|(it, _)| *it == "capacity.requestsPerSecond");
            // An endpoint is limited by one of them.
            if field == "capacity.concurrency" {
                continue;
            }
            fields.extend(company.filter(|(it, _)| *it != "capacity.requestsPerSecond" || !rate(&fields)));
            fields.push((field, value));
        }
        let written: BTreeSet<&str> = fields.iter().map(|(field, _)| *field).collect();
        let text = policy(&fields);
        let first = rendered(target, &text);
        let told: BTreeSet<&str> = first.report.accounts.iter().filter(|it| !it.default).map(|it| it.field.as_str()).collect();
        for field in &written {
            prop_assert!(told.contains(field), "{} is passed over by {}", field, target);
        }
        // `latency` and `errors` are switched on by their parts, too.
        let parents = ["healthCheck.passive.latency", "healthCheck.passive.errors"];
        for field in told.iter().filter(|field| !parents.contains(field)) {
            prop_assert!(written.contains(field), "{} was not written", field);
        }
        prop_assert_eq!(first.yaml(), rendered(target, &text).yaml());
    }
}
