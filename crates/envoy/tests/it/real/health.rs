//! Whether a gateway can serve a service, as its clients' balancers are told.

use super::{
    gateway::{Gateway, envoys},
    load::{ask, http1},
    toy::{Mode, Toy, addresses},
};
use crate::fixtures::{World, edge, gateway, listener, plan, rule, service, zone};
use hyper::{Method, body::Bytes};
use std::{path::Path, time::Duration};
use tidegate_api::{GatewayRole, PathMatch, Upstream};
use tidegate_engine::Plan;
use tidegate_envoy::{
    HEALTH_PREFIX, Resource, edge_cluster, edge_endpoints, edge_listener, edge_routes, health_cluster,
    health_listener, routed_services,
};

fn resources(plan: &Plan, world: &World) -> Vec<Resource> {
    let rules = || vec![rule(&[PathMatch::Prefix("/".into())], "shop/web")];
    let edge = edge(vec![("shop/web", &["web.example"], rules())]);
    vec![
        // The first one is where the test asks.
        edge_listener(&gateway(), &listener()),
        edge_routes(&gateway(), &edge, &listener(), &|_| None, None),
        health_cluster(&gateway()),
        health_listener(&gateway(), &routed_services(&edge)),
        edge_cluster(&service(), &zone("a"), &Upstream::default()),
        edge_endpoints(plan, &world.view()),
    ]
}

async fn health(gateway: &Gateway, service: &str, host: &str) -> u16 {
    let url = format!("http://{}{HEALTH_PREFIX}{service}", gateway.address);
    ask(&http1(), Method::GET, url, &[("host", host)], Bytes::new()).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_of_a_service_follows_the_plan_and_what_this_envoy_sees_itself() {
    for envoy in envoys("health_of_a_service_follows_the_plan_and_what_this_envoy_sees_itself") {
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
    // The agent has not heard of it: this Envoy itself finds that nothing answers.
    toys.iter().for_each(|toy| toy.set(Mode::Answer(503)));
    let found = async {
        let url = format!("http://{}/", gateway.address);
        while health(&gateway, "shop/web", "web.example").await != 503 {
            ask(&http1(), Method::GET, url.clone(), &[("host", "web.example")], Bytes::new()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("it is found");
}
