//! Whether a gateway can serve a service, as its clients' balancers are told.

use super::{
    gateway::{Gateway, envoys},
    load::{ask, http1},
    toy::{Toy, addresses},
};
use crate::fixtures::{World, edge, gateway, listener, plan, rule, service, zone};
use hyper::{Method, body::Bytes};
use std::path::Path;
use tidegate_api::{GatewayRole, PathMatch, Upstream};
use tidegate_engine::Plan;
use tidegate_envoy::{
    HEALTH_PREFIX, Resource, edge_cluster, edge_endpoints, edge_listener, edge_routes, health_cluster,
    health_listener, health_routes, health_runtime, routed_services, serves,
};

/// As the agent tells it.
fn resources(plan: &Plan, world: &World) -> Vec<Resource> {
    let shop = service();
    let rules = || vec![rule(&[PathMatch::Prefix("/".into())], "shop/web")];
    let edge = edge(vec![("shop/web", &["web.example"], rules())]);
    vec![
        // The first one is where the test asks.
        edge_listener(&gateway(), &listener()),
        edge_routes(&gateway(), &edge, &listener(), &|_| None, None),
        health_cluster(&gateway()),
        health_listener(&gateway()),
        health_routes(&gateway(), &routed_services(&edge)),
        health_runtime((!serves(plan, &world.view())).then_some(&shop)),
        edge_cluster(&service(), &zone("a"), &Upstream::default()),
        edge_endpoints(plan, &world.view()),
    ]
}

async fn health(gateway: &Gateway, service: &str, host: &str) -> u16 {
    let url = format!("http://{}{HEALTH_PREFIX}{service}", gateway.address);
    ask(&http1(), Method::GET, url, &[("host", host)], Bytes::new()).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_of_a_service_follows_the_plan() {
    for envoy in envoys("health_of_a_service_follows_the_plan") {
        followed(&envoy).await;
    }
}

async fn followed(envoy: &Path) {
    let toys = Toy::several("a", 2).await;
    let good = World::default().zone("a", addresses(&toys, 2));
    let serving = plan(&[("zone:a", 10_000)], &[]);
    let mut gateway = Gateway::start(envoy, GatewayRole::Edge, resources(&serving, &good)).await;
    for host in ["web.example", "10.0.0.1", "other.example"] {
        assert_eq!(health(&gateway, "shop/web", host).await, 200, "{host}");
        assert_eq!(health(&gateway, "shop/none", host).await, 404, "{host}");
    }
    for (what, plan, healthy, status) in [
        ("half of it is lost", &serving, 1, 200),
        ("all of it is lost", &serving, 0, 503),
        ("it is shed", &plan(&[], &[]), 2, 503),
        ("it is back", &serving, 2, 200),
    ] {
        let world = World::default().zone("a", addresses(&toys, healthy));
        gateway.update(resources(plan, &world)).await;
        assert_eq!(health(&gateway, "shop/web", "web.example").await, status, "{what}");
    }
    // While it drains, a balancer is to send its clients elsewhere, whatever is asked for.
    let fail = format!("http://{}/healthcheck/fail", gateway.admin);
    ask(&http1(), Method::POST, fail, &[], Bytes::new()).await;
    for asked in ["shop/web", "shop/none"] {
        assert_eq!(health(&gateway, asked, "web.example").await, 503, "{asked}");
    }
}
