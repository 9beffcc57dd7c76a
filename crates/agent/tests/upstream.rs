//! What a service's manifests say of its endpoints reaches the gateways, and nothing else does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{sync::Arc, time::Duration};
use tidegate_agent::core::{Core, Input, Output};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_model::Time;
use tidegate_xds::{Change, ResourceType};

/// A service whose port speaks `protocol`, under a policy with these fields.
fn config(protocol: &str, policy: &str) -> Arc<Config> {
    let text = format!(
        "
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {{name: east}}
spec: {{region: east}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{ports: [{{name: http, port: 80, appProtocol: {protocol}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: [127.0.1.1], zone: a}}]
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {{name: web, namespace: shop}}
spec: {{targetRefs: [{{kind: Service, name: web}}], {policy}}}
"
    );
    let loaded =
        Loader::new("east".parse().unwrap()).load(&[SourceFile { path: "all.yaml".to_owned(), text }]);
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.config)
}

fn clusters(output: &Output) -> usize {
    let is_cluster = |change: &&Change| matches!(change, Change::Set { kind: ResourceType::Cluster, .. });
    output.xds.iter().filter(is_cluster).count()
}

#[test]
fn clusters_are_made_anew_when_the_protocol_or_a_limit_changes_and_for_no_other_field() {
    let mut core = Core::new("east".parse().unwrap(), None, Time::ZERO);
    let mut made = |protocol: &str, policy: &str| {
        clusters(
            &core.handle(Input::Manifests(config(protocol, policy)), Time::ZERO + Duration::from_millis(1)),
        )
    };
    let both = 2;
    assert_eq!(made("http", "retry: {attempts: 2}"), both, "the edge's and the east-west gateway's");
    assert_eq!(made("http", "retry: {attempts: 3}"), 0);
    assert_eq!(made("http", "failoverThreshold: {percentage: 60}"), 0);
    assert_eq!(made("kubernetes.io/h2c", "failoverThreshold: {percentage: 60}"), both);
    assert_eq!(made("kubernetes.io/h2c", "circuitBreaker: {maxConnections: 9}"), both);
    assert_eq!(made("kubernetes.io/h2c", "circuitBreaker: {maxConnections: 9}"), 0);
}
