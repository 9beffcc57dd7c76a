//! What gRPC clients are told, as text: what they would refuse is not in it.

use crate::fixtures::{World, hosts, plan, region, service, zone};
use envoy_types::pb::envoy::config::{
    cluster::v3::{Cluster, cluster::LbPolicy},
    core::v3::HealthStatus,
    endpoint::v3::{ClusterLoadAssignment, LbEndpoint},
    listener::v3::Listener,
};
use prost::Message;
use tidegate_envoy::{
    EndpointHealth::{Healthy, Unhealthy},
    grpc_bootstrap, grpc_cluster, grpc_endpoints, grpc_listener, is_grpc,
};

#[test]
fn a_grpc_library_is_known_by_its_name() {
    for (name, expected) in
        [("gRPC C-core", true), ("grpc-java", true), ("gRPC Go", true), ("envoy", false), ("", false)]
    {
        assert_eq!(is_grpc(name), expected, "{name}");
    }
}

#[test]
fn the_listener_and_the_cluster_are_of_the_kinds_that_grpc_takes() {
    let listener = grpc_listener(&service());
    assert_eq!(listener.name, "web.shop");
    let message = Listener::decode(listener.body).unwrap();
    assert!(message.api_listener.unwrap().api_listener.unwrap().type_url.ends_with(".HttpConnectionManager"));
    assert!(message.address.is_none() && message.filter_chains.is_empty());
    let cluster = Cluster::decode(grpc_cluster(&service(), &zone("a")).body).unwrap();
    assert_eq!((cluster.name.as_str(), cluster.lb_policy()), ("shop/web", LbPolicy::RoundRobin));
    assert_eq!(cluster.eds_cluster_config.unwrap().service_name, "shop/web@a");
}

#[test]
fn other_clusters_are_left_out_and_leave_no_gap_in_the_priorities() {
    let world = World::default().zone("a", hosts(1, 2, Healthy)).zone("b", hosts(2, 2, Healthy)).cluster(
        "east",
        "us",
        &["10.9.9.9:15443"],
    );
    let plan = plan(
        &[("zone:a", 4_000), ("cluster:east", 6_000)],
        &[&[("cluster:east", 10_000)], &[("zone:b", 10_000)]],
    );
    let message = ClusterLoadAssignment::decode(grpc_endpoints(&plan, &world.zones).body).unwrap();
    let tiers: Vec<_> = message
        .endpoints
        .iter()
        .map(|it| (it.priority, it.locality.as_ref().unwrap().zone.as_str(), it.lb_endpoints.len()))
        .collect();
    assert_eq!(tiers, [(0, "a", 2), (1, "b", 2)]);
    assert!(
        message.endpoints.iter().all(|it| it.load_balancing_weight.is_some_and(|weight| weight.value > 0))
    );
}

#[test]
fn as_a_last_resort_every_endpoint_is_tried() {
    let world = World::default().zone("a", hosts(1, 2, Unhealthy));
    let mut plan = plan(&[("zone:a", 10_000)], &[]);
    for (last_resort, expected) in [(false, HealthStatus::Unhealthy), (true, HealthStatus::Healthy)] {
        plan.last_resort = last_resort;
        let message = ClusterLoadAssignment::decode(grpc_endpoints(&plan, &world.zones).body).unwrap();
        let health: Vec<_> =
            message.endpoints[0].lb_endpoints.iter().map(LbEndpoint::health_status).collect();
        assert_eq!(health, [expected, expected]);
    }
}

#[test]
fn the_bootstrap_says_where_the_agent_is_and_where_the_client_runs() {
    let bootstrap = grpc_bootstrap("127.0.0.1:18000".parse().unwrap(), "cart-1", &region(), &zone("a"));
    assert_eq!(bootstrap["xds_servers"][0]["server_uri"], "127.0.0.1:18000");
    assert_eq!(bootstrap["node"]["locality"]["zone"], "a");
    assert_eq!(bootstrap["node"]["id"], "cart-1");
}
