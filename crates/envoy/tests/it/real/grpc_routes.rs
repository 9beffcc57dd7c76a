//! gRPC through gateways: a real server and a real client (Python's), which do not know of them.

use super::{
    gateway::{Gateway, envoys},
    grpc::{Toy, backend, packages},
};
use crate::fixtures::{World, edge, gateway, listener, plan, region, rule, service, to, zone};
use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc};
use tidegate_api::{GatewayRole, HttpMatch, HttpRule, PathMatch, Protocol, RouteKind, Upstream};
use tidegate_envoy::{
    EndpointHealth::Healthy, Entrance, eastwest_cluster, eastwest_endpoints, eastwest_listener,
    eastwest_routes, edge_cluster, edge_endpoints, edge_listener, edge_routes,
};

fn http2() -> Upstream {
    Upstream { protocol: Protocol::Http2, ..Upstream::default() }
}

async fn east_west(envoy: &Path, at: SocketAddr) -> Gateway {
    let world = World::default().zone("b", [(at, Healthy)]);
    let resources = vec![
        eastwest_listener(&gateway(), &listener(), Entrance::Plain),
        eastwest_routes(&gateway(), &listener(), &BTreeSet::new()),
        eastwest_cluster(&service(), &http2()),
        eastwest_endpoints(&service(), &region(), &world.zones),
    ];
    Gateway::start(envoy, GatewayRole::EastWest, resources).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_calls_are_routed_by_method_fail_over_to_another_cluster_and_are_not_repeated() {
    let test = "grpc_calls_are_routed_by_method_fail_over_to_another_cluster_and_are_not_repeated";
    let Some(packages) = packages(test) else { return };
    for envoy in envoys(test) {
        routed(&envoy, &packages).await;
    }
}

async fn routed(envoy: &Path, packages: &Path) {
    let (mut here, at_here) = backend(packages, "here", 0).await;
    let (_there, at_there) = backend(packages, "there", 0).await;
    let east = east_west(envoy, at_there).await;
    let world =
        World::default().zone("a", [(at_here, Healthy)]).cluster("east", "us", &[&east.address.to_string()]);
    let plan = plan(&[("zone:a", 10_000)], &[&[("cluster:east", 10_000)]]);
    let calls = |path, backend| HttpRule {
        matches: vec![HttpMatch::path(path)],
        backends: vec![to(backend, 1)],
        ..rule(&[], "none")
    };
    let rules = vec![
        calls(PathMatch::GrpcMethod("Where".into()), "shop/web"),
        calls(PathMatch::Prefix("/toy.Slow".into()), "shop/web"),
        calls(PathMatch::Prefix("/".into()), "none"),
    ];
    let mut routes = edge(vec![("shop/calls", &[], rules)]);
    Arc::make_mut(&mut routes.routes[0]).kind = RouteKind::Grpc;
    let resources = vec![
        edge_listener(&gateway(), &listener()),
        edge_routes(&gateway(), &routes, &listener(), &|_| None, None),
        edge_cluster(&service(), &zone("a"), &http2()),
        edge_endpoints(&plan, &world.view()),
    ];
    let edge = Gateway::start(envoy, GatewayRole::Edge, resources).await;
    let target = edge.address.to_string();
    let mut client = Toy::start(packages, &["ask", &target], "{}");
    client.until("here").await;
    assert_eq!(client.next(20).await, vec!["here"; 20]);

    // A server's own UNAVAILABLE may come after it worked: each call is one call.
    let mut failing = Toy::start(packages, &["ask", &target, "/toy.Slow/Fail"], "{}");
    let errors = failing.next(10).await;
    for (at, error) in errors.iter().enumerate() {
        assert_eq!(*error, format!("error: StatusCode.UNAVAILABLE here call {}", at + 1));
    }
    drop(failing);
    let mut nobody = Toy::start(packages, &["ask", &target, "/toy.None/Such"], "{}");
    assert!(nobody.next(1).await[0].starts_with("error: StatusCode.UNKNOWN"), "500 has no better gRPC code");

    // The one here dies. What could not be sent is sent again, to the other cluster.
    here.kill().await;
    let errors = client.until("there").await;
    assert!(errors.len() <= 1, "only a call in progress may fail: {errors:?}");
    assert_eq!(client.next(50).await, vec!["there"; 50]);
}
