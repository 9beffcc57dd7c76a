//! What a service's manifests say of its endpoints reaches the gateways, and nothing else does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{sync::Arc, time::Duration};
use tidegate_agent::core::{Core, Input, Output};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_model::Time;
use tidegate_xds::{Change, ResourceType};

/// A service whose port speaks `protocol`, under a policy with these fields.
fn config(protocol: &str, policy: &str) -> Arc<Config> {
    config_beside("", protocol, policy)
}

/// The same beside other clusters.
fn config_beside(others: &str, protocol: &str, policy: &str) -> Arc<Config> {
    let text = format!(
        "{others}
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
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: ew, namespace: infra}}
spec: {{gatewayClassName: tidegate-eastwest, listeners: [{{name: ew, port: 15443, protocol: HTTP}}]}}
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

/// A core of a cluster with a gateway in zone a.
fn core() -> Core {
    let mut core = Core::new("east".parse().unwrap(), None, Time::ZERO);
    core.handle(Input::Gateway("a".parse().unwrap()), Time::ZERO);
    core
}

fn clusters(output: &Output) -> usize {
    let is_cluster = |change: &&Change| matches!(change, Change::Set { kind: ResourceType::Cluster, .. });
    output.xds.iter().filter(is_cluster).count()
}

#[test]
fn clusters_are_made_anew_when_the_protocol_or_a_limit_changes_and_for_no_other_field() {
    let mut core = core();
    let mut made = |protocol: &str, policy: &str| {
        clusters(
            &core.handle(Input::Manifests(config(protocol, policy)), Time::ZERO + Duration::from_millis(1)),
        )
    };
    let (both, and_clients) = (2, 3);
    assert_eq!(made("http", "retry: {attempts: 2}"), both, "the edge's and the east-west gateway's");
    assert_eq!(made("http", "retry: {attempts: 3}"), 0);
    assert_eq!(made("http", "failoverThreshold: {percentage: 60}"), 0);
    assert_eq!(made("kubernetes.io/h2c", "failoverThreshold: {percentage: 60}"), and_clients);
    assert_eq!(made("kubernetes.io/h2c", "circuitBreaker: {maxConnections: 9}"), and_clients);
    assert_eq!(made("kubernetes.io/h2c", "circuitBreaker: {maxConnections: 9}"), 0);
}

/// The limit for making a connection follows from it, and a change of it waits its turn as one of the limits does.
#[test]
fn an_edge_cluster_is_made_anew_when_the_farthest_region_is_another() {
    let west = |region: &str, fields: &str| {
        format!(
            "
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {{name: west}}
spec: {{region: {region}{fields}}}
---"
        )
    };
    const REACHED: &str = ", eastWestGateways: [{address: 10.0.9.1, port: 15443}]";
    let away = |rtt: &str| format!(", proximity: [{{region: east, rtt: {rtt}}}]");
    let mut core = core();
    let mut at = Time::ZERO;
    let mut made = |others: &str| {
        at = at + Duration::from_secs(1);
        let config = config_beside(others, "http", "retry: {attempts: 2}");
        let farthest = config.farthest_from(&"east".parse().unwrap());
        (farthest, clusters(&core.handle(Input::Manifests(config), at)))
    };
    let ms = |ms| Some(Duration::from_millis(ms));
    assert_eq!(made(""), (ms(0), 2));
    assert_eq!(made(&west("west", &(REACHED.to_owned() + &away("65ms")))), (ms(65), 2));
    assert_eq!(made(&west("west", &(REACHED.to_owned() + &away("65ms")))), (ms(65), 0));
    assert_eq!(made(&west("west", &(REACHED.to_owned() + &away("200ms")))), (ms(200), 2));
    assert_eq!(made(&west("west", REACHED)), (None, 2), "nobody says how far it is");
    assert_eq!(made(&west("east", REACHED)), (ms(0), 2), "the same region");
    assert_eq!(made(&west("west", &away("65ms"))), (ms(0), 0), "nobody can reach it");
}

#[test]
fn grpc_clients_are_told_of_services_that_speak_http2_as_long_as_they_do() {
    let mut core = core();
    let mut told = |protocol: &str, policy: &str| -> Vec<String> {
        let output =
            core.handle(Input::Manifests(config(protocol, policy)), Time::ZERO + Duration::from_millis(1));
        let of_clients = output.xds.iter().filter_map(|change| match change {
            Change::Set { scope, kind, name, .. } => {
                (scope.to_string() == "grpc/a").then(|| format!("{kind:?} {name}"))
            }
            Change::Remove { scope, kind, name } => {
                (scope.to_string() == "grpc/a").then(|| format!("no {kind:?} {name}"))
            }
        });
        of_clients.collect()
    };
    let policy = "retry: {attempts: 2}";
    assert_eq!(told("http", policy), [""; 0]);
    let all = ["Listener web.shop", "Cluster shop/web", "Endpoint shop/web@a"];
    assert_eq!(told("grpc", policy), all);
    assert_eq!(told("http", policy), all.map(|name| format!("no {name}")));
}
