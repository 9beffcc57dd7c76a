//! What clients send does not change how the gateway treats them.

use super::{
    faults::edge,
    gateway::{Gateway, envoy},
    load::{ask, http1},
    toy::{Mode, Toy, addresses},
};
use crate::fixtures::{World, plan};
use hyper::{Method, body::Bytes};
use std::time::Duration;
use tidegate_api::{GatewayRole, Retry, ServicePolicy};

/// All headers by which Envoy would let a trusted client choose.
pub(crate) const CONTROLS: [(&str, &str); 9] = [
    ("x-envoy-retry-on", "5xx,reset,retriable-4xx"),
    ("x-envoy-retry-grpc-on", "internal,unavailable"),
    ("x-envoy-max-retries", "7"),
    ("x-envoy-retriable-status-codes", "500,503"),
    ("x-envoy-retriable-header-names", "content-length"),
    ("x-envoy-hedge-on-per-try-timeout", "true"),
    ("x-envoy-upstream-rq-timeout-ms", "50"),
    ("x-envoy-upstream-rq-per-try-timeout-ms", "20"),
    ("x-envoy-internal", "true"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_clients_change_no_retries_and_no_timeouts() {
    let Some(envoy) = envoy("headers_of_clients_change_no_retries_and_no_timeouts") else { return };
    let a = Toy::several("a", 4).await;
    let world = World::default().zone("a", addresses(&a, 4));
    let policy = ServicePolicy {
        retry: Retry { per_try_timeout: Duration::from_millis(600), attempts: 1 },
        ..ServicePolicy::default()
    };
    let plan = plan(&[("zone:a", 10_000)], &[]);
    let gateway = Gateway::start(&envoy, GatewayRole::Edge, edge(&plan, &world, &policy, None)).await;
    let http = http1();
    let url = format!("http://{}/", gateway.address);
    let tries = |id: &str| a.iter().flat_map(Toy::seen).filter(|seen| seen.id == id).count();
    let ask = async |method, id| {
        let headers = [&CONTROLS[..], &[("x-request-id", id), ("x-tidegate-service", "other/one")]].concat();
        ask(&http, method, url.clone(), &headers, Bytes::new()).await
    };

    a.iter().for_each(|toy| toy.set(Mode::Answer(503)));
    assert_eq!(ask(Method::POST, "post").await.status, 503);
    assert_eq!(tries("post"), 1, "an unsafe request is not tried again");
    assert_eq!(ask(Method::GET, "get").await.status, 503);
    assert_eq!(tries("get"), 2, "one retry by policy, not seven");

    a.iter().for_each(|toy| toy.set(Mode::Late(Duration::from_millis(300))));
    for (method, id) in [(Method::GET, "late get"), (Method::POST, "late post")] {
        let answer = ask(method, id).await;
        assert_eq!((answer.status, tries(id)), (200, 1), "{id}: neither 50 nor 20 ms");
    }

    let seen = a.iter().flat_map(Toy::seen).find(|seen| seen.id == "late get").unwrap();
    assert_eq!(seen.headers["x-tidegate-service"], "shop/web", "the gateway's word, not the client's");
    for (name, _) in CONTROLS {
        assert!(!seen.headers.contains_key(name), "{name} reached the service");
    }
}
