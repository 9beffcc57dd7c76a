//! What must hold whatever the plan is.

use crate::fixtures::{World, edge, gateway, hosts, listener, plan, region, rule, service, zone};
use envoy_types::pb::envoy::config::{
    cluster::v3::Cluster,
    endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints},
    route::v3::{RouteConfiguration, route::Action},
};
use prost::Message;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidegate_api::{PathMatch, Upstream};
use tidegate_engine::Plan;
use tidegate_envoy::{
    EndpointHealth::{Healthy, Unhealthy},
    Resource, eastwest_cluster, eastwest_endpoints, edge_cluster, edge_endpoints, edge_listener, edge_routes,
};

/// Envoy's numbers of these health states.
const HEALTHY: i32 = 1;
const UNHEALTHY: i32 = 2;

fn world() -> World {
    World::default()
        .zone("a", hosts(1, 3, Healthy))
        .zone("b", hosts(2, 3, Healthy))
        .zone("c", hosts(3, 3, Unhealthy))
        .cluster("east", "us", &["192.0.2.1:15443", "192.0.2.2:15443"])
        .cluster("far", "ap", &["192.0.2.2:15443", "192.0.2.3:15443"])
}

fn assignment(plan: &Plan, world: &World) -> ClusterLoadAssignment {
    ClusterLoadAssignment::decode(edge_endpoints(plan, &world.view()).body).unwrap()
}

/// Per locality: priority, name, weight, number of hosts.
fn outline(assignment: &ClusterLoadAssignment) -> Vec<(u32, String, u32, usize)> {
    let name = |entry: &LocalityLbEndpoints| {
        let at = entry.locality.clone().unwrap();
        format!("{}/{}/{}", at.region, at.zone, at.sub_zone)
    };
    assignment
        .endpoints
        .iter()
        .map(|entry| {
            (
                entry.priority,
                name(entry),
                entry.load_balancing_weight.unwrap().value,
                entry.lb_endpoints.len(),
            )
        })
        .collect()
}

fn entry(priority: u32, name: &str, weight: u32, hosts: usize) -> (u32, String, u32, usize) {
    (priority, name.to_owned(), weight, hosts)
}

/// TCP and TLS take a round trip each, a tunnel one more. East-west gateways reach their own cluster only.
#[test]
fn connections_may_take_as_long_as_the_farthest_region_is_away() {
    let timeout = |resource: &Resource| {
        let timeout = Cluster::decode(resource.body.clone()).unwrap().connect_timeout.unwrap();
        u64::try_from(timeout.seconds).unwrap() * 1000 + u64::try_from(timeout.nanos).unwrap() / 1_000_000
    };
    let far = |ms: Option<u64>, tunnelled| Upstream {
        farthest: ms.map(Duration::from_millis),
        tunnelled,
        ..Upstream::default()
    };
    for (farthest, tunnelled, expected) in [
        (Some(0), false, 150),
        (Some(65), false, 150),
        (Some(140), false, 300),
        (Some(65), true, 215),
        (Some(600), false, 1220),
        (None, false, 400),
        (None, true, 400),
    ] {
        let edge = edge_cluster(&service(), &zone("a"), &far(farthest, tunnelled));
        assert_eq!(timeout(&edge), expected, "{farthest:?} {tunnelled}");
        assert_eq!(timeout(&eastwest_cluster(&service(), &far(farthest, tunnelled))), 150);
    }
}

#[test]
fn a_try_lasts_as_long_as_the_farthest_region_needs() {
    let per_try = |farthest: Option<u64>| -> Vec<u64> {
        let edge = edge(vec![("shop/web", &[], vec![rule(&[PathMatch::Prefix("/".into())], "shop/web")])]);
        let farthest = farthest.map(Duration::from_millis);
        let routes = edge_routes(&gateway(), &edge, &listener(), &|_| None, farthest);
        let routes = RouteConfiguration::decode(routes.body).unwrap();
        let routes = routes.virtual_hosts.into_iter().flat_map(|host| host.routes);
        let policies = routes.filter_map(|route| match route.action? {
            Action::Route(action) => action.retry_policy,
            _ => None,
        });
        let limits = policies.filter_map(|policy| policy.per_try_timeout);
        limits.map(|it| u64::try_from(it.seconds * 1000 + i64::from(it.nanos) / 1_000_000).unwrap()).collect()
    };
    for (farthest, expected) in
        [(None, 150), (Some(0), 150), (Some(20), 150), (Some(65), 160), (Some(220), 470)]
    {
        assert_eq!(per_try(farthest), [expected], "{farthest:?}: safe methods, and no others");
    }
}

#[test]
fn shares_are_weights_and_each_standby_entry_is_a_priority() {
    let plan = plan(
        &[("zone:a", 3_000), ("zone:b", 7_000)],
        &[&[("zone:c", 10_000)], &[("cluster:east", 4_000), ("cluster:far", 6_000)]],
    );
    assert_eq!(
        outline(&assignment(&plan, &world())),
        [
            entry(0, "eu/a/", 3_000, 3),
            entry(0, "eu/b/", 7_000, 3),
            entry(1, "eu/c/", 10_000, 3),
            entry(2, "us//east", 4_000, 2),
            // Its first gateway is one of east's already.
            entry(2, "ap//far", 6_000, 1),
        ]
    );
}

#[test]
fn a_target_that_comes_again_stays_in_its_first_priority() {
    let plan = plan(&[("zone:a", 10_000)], &[&[("zone:a", 5_000), ("zone:b", 5_000)], &[("zone:b", 10_000)]]);
    assert_eq!(
        outline(&assignment(&plan, &world())),
        [entry(0, "eu/a/", 10_000, 3), entry(1, "eu/b/", 5_000, 3)]
    );
}

#[test]
fn priorities_have_no_gaps_where_a_target_has_no_address() {
    let plan = plan(&[("zone:none", 10_000)], &[&[("cluster:none", 10_000)], &[("zone:b", 10_000)]]);
    assert_eq!(outline(&assignment(&plan, &world())), [entry(0, "eu/b/", 10_000, 3)]);
}

#[test]
fn all_shed_is_an_empty_assignment() {
    let assignment = assignment(&plan(&[], &[&[("zone:b", 10_000)]]), &world());
    assert!(assignment.endpoints.is_empty());
    assert!(assignment.policy.unwrap().drop_overloads.is_empty());
}

#[test]
fn a_last_resort_has_no_healthy_host_that_would_take_all() {
    let mut plan = plan(&[("zone:c", 5_000), ("cluster:east", 5_000)], &[]);
    let states = |plan: &Plan| {
        let hosts = assignment(plan, &world()).endpoints.into_iter().flat_map(|entry| entry.lb_endpoints);
        hosts.map(|host| host.health_status).collect::<BTreeSet<_>>()
    };
    assert_eq!(states(&plan), BTreeSet::from([HEALTHY, UNHEALTHY]));
    plan.last_resort = true;
    assert_eq!(states(&plan), BTreeSet::from([UNHEALTHY]));
}

#[test]
fn an_east_west_gateway_knows_no_other_cluster() {
    let resource = eastwest_endpoints(&service(), &region(), &world().zones);
    assert_eq!(resource.name, "shop/web@local");
    assert_eq!(
        outline(&ClusterLoadAssignment::decode(resource.body).unwrap()),
        [entry(0, "eu/a/", 3, 3), entry(0, "eu/b/", 3, 3), entry(0, "eu/c/", 3, 3)]
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    // Hash maps draw a new order each time they are made: a hundred of them would show it.
    let all = || -> Vec<Resource> {
        let plan = plan(&[("zone:a", 3_000), ("zone:b", 6_000)], &[&[("cluster:east", 10_000)]]);
        let edge = edge(vec![("shop/web", &[], vec![rule(&[PathMatch::Prefix("/".into())], "shop/web")])]);
        vec![
            edge_endpoints(&plan, &world().view()),
            edge_cluster(&service(), &zone("a"), &Upstream::default()),
            edge_listener(&gateway(), &listener()),
            edge_routes(&gateway(), &edge, &listener(), &|_| None, None),
        ]
    };
    let first = all();
    assert!((0..100).all(|_| all() == first));
}

#[test]
fn a_host_has_its_matches_in_order_of_precedence_each_as_a_safe_and_an_unsafe_route() {
    let prefix = |path: &str| PathMatch::Prefix(path.to_owned());
    let exact = |path: &str| PathMatch::Exact(path.to_owned());
    let mut edge = edge(vec![
        ("shop/one", &[], vec![rule(&[prefix("/"), prefix("/a")], "shop/web")]),
        ("shop/two", &[], vec![rule(&[prefix("/a/b"), exact("/a")], "shop/cart")]),
        ("shop/three", &["a.org", "b.org"], vec![rule(&[prefix("/")], "shop/cart")]),
        ("shop/four", &[], vec![rule(&[prefix("/")], "shop/cart")]),
    ]);
    Arc::make_mut(&mut edge.routes[3]).listeners = Arc::new(BTreeSet::from(["another".to_owned()]));
    let resource = edge_routes(&gateway(), &edge, &listener(), &|_| None, None);
    assert_eq!(resource.name, "infra/edge/http");
    let config = RouteConfiguration::decode(resource.body).unwrap();
    let hosts = config.virtual_hosts.iter().map(|host| {
        let routes = host.routes.iter().map(|route| route.name.as_str());
        (host.domains.join(" "), routes.collect::<Vec<_>>())
    });
    assert_eq!(
        hosts.collect::<Vec<_>>(),
        [
            (
                "*".to_owned(),
                vec![
                    "health",
                    "shop/two exact /a safe",
                    "shop/two exact /a unsafe",
                    "shop/two prefix /a/b safe",
                    "shop/two prefix /a/b unsafe",
                    "shop/one prefix /a safe",
                    "shop/one prefix /a unsafe",
                    "shop/one prefix / safe",
                    "shop/one prefix / unsafe",
                ]
            ),
            ("a.org".to_owned(), vec!["health", "shop/three prefix / safe", "shop/three prefix / unsafe"]),
            ("b.org".to_owned(), vec!["health", "shop/three prefix / safe", "shop/three prefix / unsafe"]),
        ]
    );
}
