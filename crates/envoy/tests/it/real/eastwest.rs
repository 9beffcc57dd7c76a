//! The way in from other clusters.

use super::{
    gateway::{Gateway, envoy, envoys},
    load::{Http, ask, by, http1, http2},
    toy::{Mode, Toy, addresses},
    untrusted::CONTROLS,
};
use crate::fixtures::{World, gateway, listener, region};
use hyper::{Method, body::Bytes};
use std::{collections::BTreeSet, path::Path};
use tidegate_api::{GatewayRole, Upstream};
use tidegate_envoy::{
    Entrance, Resource, SERVICE_HEADER, eastwest_cluster, eastwest_endpoints, eastwest_listener,
    eastwest_routes,
};

fn resources(services: &[(&str, &World)]) -> Vec<Resource> {
    let mut resources = vec![
        eastwest_listener(&gateway(), &listener(), Entrance::Plain),
        eastwest_routes(&gateway(), &listener(), &BTreeSet::new()),
    ];
    for (name, world) in services {
        let name = name.parse().unwrap();
        resources.push(eastwest_cluster(&name, &Upstream::default()));
        resources.push(eastwest_endpoints(&name, &region(), &world.zones));
    }
    resources
}

async fn ask_for(http: &Http, gateway: &Gateway, service: Option<&str>, path: &str) -> super::load::Answer {
    let header = service.map(|service| (SERVICE_HEADER, service));
    ask(http, Method::GET, format!("http://{}{path}", gateway.address), header.as_slice(), Bytes::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_chooses_the_service_and_an_unknown_one_gets_404() {
    for envoy in envoys("the_header_chooses_the_service_and_an_unknown_one_gets_404") {
        the_header_chooses(&envoy).await;
    }
}

async fn the_header_chooses(envoy: &Path) {
    let (web, cart) = (Toy::several("web", 2).await, Toy::several("cart", 1).await);
    let web_world = World::default().zone("a", addresses(&web, 2));
    let cart_world = World::default().zone("b", addresses(&cart, 1));
    let services = [("shop/web", &web_world), ("shop/cart", &cart_world)];
    let gateway = Gateway::start(envoy, GatewayRole::EastWest, resources(&services)).await;

    for http in [http1(), http2()] {
        for (service, name) in [("shop/web", "web"), ("shop/cart", "cart")] {
            let answer = ask_for(&http, &gateway, Some(service), "/any/%2Fpath").await;
            assert_eq!((answer.status, answer.body.as_str()), (200, name));
        }
        let answer = ask_for(&http, &gateway, Some("shop/none"), "/").await;
        let text = "The service shop/none is not known to this east-west gateway.\n";
        assert_eq!((answer.status, answer.body.as_str()), (404, text));
        // The agent is no service, whatever a header says.
        for service in [None, Some("tidegate-agent"), Some("a/b/c")] {
            let answer = ask_for(&http, &gateway, service, "/").await;
            let text =
                "An east-west gateway serves requests whose x-tidegate-service header is NAMESPACE/NAME.\n";
            assert_eq!((answer.status, answer.body.as_str()), (404, text));
        }
    }
    // The agent answers here, which in this test is an ADS server that knows no peer links.
    let answer = ask_for(&http2(), &gateway, None, "/tidegate.link.v1.PeerLink/Connect").await;
    assert_eq!((answer.status, answer.headers["grpc-status"].to_str().unwrap()), (200, "12"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_endpoints_share_alike_whatever_their_zone_lost_and_a_failing_one_costs_nothing() {
    let test = "healthy_endpoints_share_alike_whatever_their_zone_lost_and_a_failing_one_costs_nothing";
    let Some(envoy) = envoy(test) else { return };
    let (a, b) = (Toy::several("a", 4).await, Toy::several("b", 3).await);
    let world = World::default().zone("a", addresses(&a, 1)).zone("b", addresses(&b, 3));
    let gateway = Gateway::start(&envoy, GatewayRole::EastWest, resources(&[("shop/web", &world)])).await;
    let http = http1();
    let mut answers = Vec::new();
    for _ in 0..400 {
        answers.push(ask_for(&http, &gateway, Some("shop/web"), "/").await);
    }
    let counts = by(&answers);
    eprintln!("a has 1 of 4 healthy, b 3 of 3: {counts:?}");
    assert!(counts["a"].abs_diff(100) < 50 && counts["b"].abs_diff(300) < 50, "{counts:?}");

    a[0].set(Mode::Answer(503));
    b[0].kill();
    for _ in 0..100 {
        assert_eq!(ask_for(&http, &gateway, Some("shop/web"), "/").await.status, 200);
    }

    let url = format!("http://{}/", gateway.address);
    for number in 0..50 {
        let id = format!("post-{number}");
        let headers = [&CONTROLS[..], &[(SERVICE_HEADER, "shop/web"), ("x-request-id", &id)]].concat();
        ask(&http, Method::POST, url.clone(), &headers, Bytes::from_static(b"order")).await;
    }
    let posts: Vec<_> = a
        .iter()
        .chain(&b)
        .flat_map(Toy::seen)
        .map(|seen| seen.id)
        .filter(|id| id.starts_with("post-"))
        .collect();
    assert_eq!(posts.iter().collect::<BTreeSet<_>>().len(), posts.len(), "a POST was done twice");
}
