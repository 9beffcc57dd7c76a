//! What the manifests say of nodes and workloads, and what the core expects of pools by it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::sync::Arc;
use tidegate_agent::core::{Core, Input, Output, Publish};
use tidegate_api::{Loader, SourceFile};
use tidegate_model::Time;

/// A service whose readiness alone counts, with these endpoints; beside it whatever else.
fn manifests(endpoints: &str, more: &str) -> Input {
    let loaded = Loader::new("east".parse().unwrap()).load(&[file(endpoints, more)]);
    assert_eq!(loaded.problems, []);
    Input::Manifests(Arc::new(loaded.config))
}

fn file(endpoints: &str, more: &str) -> SourceFile {
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: east}}\nspec: {{region: east}}\n\
         ---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: fleet, namespace: infra}}\n\
         spec: {{targetRefs: [{{kind: Fleet, name: default}}], healthCheck: {{active: {{type: None}}}}}}\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{endpoints}]\n{more}"
    );
    SourceFile { path: "fleet.yaml".into(), text }
}

fn workload(replicas: u32) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{replicas: {replicas}, template: {{metadata: {{labels: {{app: web}}}}}}}}\n"
    )
}

const A: &str = "{addresses: [10.0.1.1], zone: a, nodeName: n1}";
const B: &str = "{addresses: [10.0.2.1], zone: b, nodeName: n2}";

/// What is expected in each zone after these manifests, a second apart.
fn expected(steps: Vec<Input>) -> Vec<(String, u32)> {
    let mut core = Core::new("east".parse().unwrap(), None, Time::ZERO);
    let mut now = Time::ZERO;
    for step in steps {
        core.handle(step, now);
        now = now + std::time::Duration::from_secs(1);
    }
    core.pool_views(now).into_iter().map(|pool| (pool.zone.to_string(), pool.expected)).collect()
}

fn zones(found: &[(&str, u32)]) -> Vec<(String, u32)> {
    found.iter().map(|(zone, expected)| ((*zone).to_owned(), *expected)).collect()
}

#[test]
fn a_workload_that_wants_fewer_is_scaled_in_and_one_that_does_not_has_lost_some() {
    let both = format!("{A}, {B}");
    let told = |replicas: u32| {
        let whole = manifests(&both, &workload(2));
        expected(vec![whole, manifests(B, &workload(replicas))])
    };
    assert_eq!(told(2), zones(&[("a", 1), ("b", 1)]), "it is missing");
    assert_eq!(told(1).last().unwrap(), &("b".to_owned(), 1));
    assert!(!told(1).contains(&("a".to_owned(), 1)), "it is not wanted: {:?}", told(1));
    let unknown = expected(vec![manifests(&both, ""), manifests(B, "")]);
    assert_eq!(unknown, zones(&[("a", 1), ("b", 1)]), "nobody says how many there should be");
}

#[test]
fn what_terminates_on_a_node_that_is_not_ready_was_lost_and_not_removed() {
    let going = "{addresses: [10.0.1.1], zone: a, nodeName: n1, conditions: {terminating: true}}";
    let node = |ready: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1}}\n\
             status: {{conditions: [{{type: Ready, status: \"{ready}\"}}]}}\n"
        )
    };
    let told = |ready: &str| {
        let before = manifests(&format!("{A}, {B}"), &node("True"));
        expected(vec![before, manifests(&format!("{going}, {B}"), &node(ready)), manifests(B, &node(ready))])
    };
    assert!(!told("True").contains(&("a".to_owned(), 1)), "it was removed on purpose: {:?}", told("True"));
    assert_eq!(told("Unknown"), zones(&[("a", 1), ("b", 1)]), "its node is silent: it was lost");
}

/// What other clusters are told of the service by this: of how many pools; `None` if nothing.
fn told(output: &Output) -> Option<usize> {
    match output.publish.as_ref()? {
        Publish::All(statuses) => Some(statuses.len()),
        Publish::Changed(services) => services.get(&"shop/web".parse().unwrap()).map(Vec::len),
    }
}

#[test]
fn other_clusters_are_told_only_of_what_is_exported() {
    let mut core = Core::new("east".parse().unwrap(), None, Time::ZERO);
    let mut loader = Loader::new("east".parse().unwrap()).only_exported();
    loader.set_file(&file(A, ""));
    loader.update();
    let first = core.handle(Input::Manifests(Arc::new(loader.config().clone())), Time::ZERO);
    assert_eq!(told(&first), Some(0));
    let text = "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\n\
                metadata: {name: web, namespace: shop}\n";
    loader.set_file(&SourceFile { path: "export.yaml".to_owned(), text: text.to_owned() });
    let change = Arc::new(loader.update().change);
    assert_eq!(told(&core.handle(Input::ManifestsChanged(change), Time::ZERO)), Some(1));
    loader.remove("export.yaml");
    let change = Arc::new(loader.update().change);
    assert_eq!(
        told(&core.handle(Input::ManifestsChanged(change), Time::ZERO)),
        Some(0),
        "it is gone for them"
    );
    // What changes of it afterwards is nobody else's business.
    loader.set_file(&file(&format!("{A}, {B}"), ""));
    let change = Arc::new(loader.update().change);
    let output = core.handle(Input::ManifestsChanged(change), Time::ZERO);
    assert!(told(&output).is_none_or(|pools| pools == 0));
    assert_eq!(core.pool_views(Time::ZERO).len(), 2);
}
