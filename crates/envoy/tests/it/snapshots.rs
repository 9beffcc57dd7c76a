//! What each resource says, to be read by people when it changes.

use crate::{
    dump::text,
    fixtures::{World, edge, gateway, hosts, listener, plan, region, rule, service, zone},
};
use std::{collections::BTreeSet, time::Duration};
use tidegate_api::{HttpRule, Limits, PathMatch, Protocol, Retry, ServicePolicy, Upstream};
use tidegate_envoy::{
    EndpointHealth::{Healthy, Terminating, Unhealthy},
    Entrance, eastwest_cluster, eastwest_endpoints, eastwest_listener, eastwest_routes, edge_cluster,
    edge_endpoints, edge_listener, edge_routes,
};

fn world() -> World {
    World::default()
        .zone("a", [hosts(1, 1, Healthy), hosts(2, 1, Unhealthy), hosts(3, 1, Terminating)].concat())
        .zone("b", hosts(4, 1, Healthy))
        .cluster("east", "us", &["192.0.2.1:15443", "[2001:db8::1]:15443"])
}

#[test]
fn the_cluster_of_a_service_at_an_edge() {
    insta::assert_snapshot!(text(&edge_cluster(&service(), &zone("a"), &Upstream::default())));
}

#[test]
fn the_cluster_of_a_service_at_an_east_west_gateway() {
    insta::assert_snapshot!(text(&eastwest_cluster(&service(), &Upstream::default())));
}

#[test]
fn the_cluster_of_a_grpc_service_with_limits_of_its_own() {
    let limits = Limits {
        max_connections: Some(10),
        max_pending_requests: Some(20),
        max_parallel_requests: Some(30),
        max_requests_per_connection: Some(40),
        retry_budget_percent: Some(20),
        retry_budget_minimum: Some(3),
        slow_start: Some(Duration::from_secs(30)),
    };
    let upstream = Upstream {
        protocol: Protocol::Http2,
        tunnelled: false,
        server_name: None,
        secure: false,
        limits,
        farthest: Some(Duration::from_millis(140)),
    };
    insta::assert_snapshot!(text(&edge_cluster(&service(), &zone("a"), &upstream)));
}

#[test]
fn the_cluster_of_a_service_whose_endpoints_speak_tls() {
    let upstream = Upstream { server_name: Some("web.shop.example".to_owned()), ..Upstream::default() };
    insta::assert_snapshot!(text(&edge_cluster(&service(), &zone("a"), &upstream)));
}

#[test]
fn a_plan_with_a_remote_standby_and_a_part_shed() {
    let plan = plan(&[("zone:a", 6_000), ("zone:b", 3_000)], &[&[("cluster:east", 10_000)]]);
    insta::assert_snapshot!(text(&edge_endpoints(&plan, &world().view())));
}

#[test]
fn the_endpoints_of_a_service_at_an_east_west_gateway() {
    insta::assert_snapshot!(text(&eastwest_endpoints(&service(), &region(), &world().zones)));
}

#[test]
fn a_listener_of_an_edge() {
    insta::assert_snapshot!(text(&edge_listener(&gateway(), &listener())));
}

#[test]
fn a_listener_of_an_east_west_gateway() {
    insta::assert_snapshot!(text(&eastwest_listener(&gateway(), &listener(), Entrance::Plain)));
}

#[test]
fn the_routes_of_an_edge() {
    let stream = PathMatch::Prefix("/stream".into());
    let slow = HttpRule { timeout: Some(Duration::ZERO), ..rule(&[stream], "shop/feed") };
    let edge = edge(vec![
        ("shop/all", &["shop.example.com"], vec![rule(&[PathMatch::Prefix("/".into())], "shop/web")]),
        ("shop/more", &["*.example.com"], vec![rule(&[PathMatch::Exact("/cart".into())], "shop/cart"), slow]),
    ]);
    let patient = ServicePolicy {
        retry: Retry { per_try_timeout: Duration::from_millis(700), attempts: 1 },
        ..ServicePolicy::default()
    };
    let policy_of = |name: &tidegate_model::ServiceName| (name.name() == "feed").then_some(&patient);
    insta::assert_snapshot!(text(&edge_routes(&gateway(), &edge, &listener(), &policy_of, None)));
}

#[test]
fn the_routes_of_an_east_west_gateway() {
    insta::assert_snapshot!(text(&eastwest_routes(&gateway(), &listener(), &BTreeSet::from([service()]))));
}
