//! What a drill breaks at a gateway, and that nothing else is touched by it.

use super::{
    faults::edge,
    gateway::{Gateway, envoys},
    load::{Answer, ask, http1},
    toy::{Toy, addresses},
};
use crate::fixtures::{World, plan};
use hyper::{Method, body::Bytes};
use std::{path::Path, time::Duration};
use tidegate_api::{GatewayRole, ServicePolicy};
use tidegate_envoy::{DRILL_HEADER, FaultKind, GatewayFault, Resource, gateway_fault, without_fault};

const LATE: Duration = Duration::from_millis(200);
/// Envoy counts from when its loop last looked at the clock: a delay may be some milliseconds short.
const SHORT: Duration = Duration::from_millis(20);

fn fault(kind: FaultKind, percent: u32, marked: Option<&str>) -> GatewayFault {
    let service = Some("shop/web".parse().unwrap());
    GatewayFault { kind, service, percent, marked: marked.map(str::to_owned) }
}

async fn many(gateway: &Gateway, count: usize, headers: &[(&str, &str)]) -> Vec<Answer> {
    let (http, mut answers) = (http1(), Vec::new());
    for _ in 0..count {
        let url = format!("http://{}/", gateway.address);
        answers.push(ask(&http, Method::GET, url, headers, Bytes::new()).await);
    }
    answers
}

fn with_status(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// How often a listener was made or changed.
async fn listeners(gateway: &Gateway) -> Vec<String> {
    let stats = gateway.admin("/stats?filter=listener_manager").await;
    let counted = ["listener_added", "listener_modified", "listener_in_place_updated", "lds.update_success"];
    stats.lines().filter(|line| counted.iter().any(|it| line.contains(it))).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_breaks_requests_at_a_gateway_and_changes_no_listener() {
    for envoy in envoys("a_drill_breaks_requests_at_a_gateway_and_changes_no_listener") {
        broken(&envoy).await;
    }
}

async fn broken(envoy: &Path) {
    let toys = Toy::several("a", 1).await;
    let world = World::default().zone("a", addresses(&toys, 1));
    let serving = plan(&[("zone:a", 10_000)], &[]);
    let base = edge(&serving, &world, &ServicePolicy::default(), None);
    let with = |slots: [Resource; 2]| base.iter().cloned().chain(slots).collect::<Vec<_>>();
    let mut gateway = Gateway::start(envoy, GatewayRole::Edge, with([0, 1].map(without_fault))).await;
    assert_eq!(with_status(&many(&gateway, 50, &[]).await, 200), 50);
    let before = listeners(&gateway).await;

    let abort = fault(FaultKind::Abort(503), 30, None);
    gateway.update(with([gateway_fault(0, &abort), without_fault(1)])).await;
    let aborted = with_status(&many(&gateway, 1000, &[]).await, 503);
    // 30 % of 1000: five standard deviations are 72.
    assert!((228..=372).contains(&aborted), "{aborted} of 1000");

    let delay = fault(FaultKind::Delay(LATE), 100, Some("d1"));
    gateway.update(with([without_fault(0), gateway_fault(1, &delay)])).await;
    let late = |answers: &[Answer]| answers.iter().filter(|answer| answer.took + SHORT >= LATE).count();
    let marked = many(&gateway, 5, &[(DRILL_HEADER, "d1")]).await;
    assert_eq!((late(&marked), with_status(&marked, 200)), (5, 5), "it is late and right");
    assert!(marked.iter().all(|answer| answer.took < LATE + Duration::from_secs(1)));
    assert_eq!(late(&many(&gateway, 20, &[]).await), 0, "what is not marked is not touched");
    assert_eq!(late(&many(&gateway, 20, &[(DRILL_HEADER, "d2")]).await), 0, "nor another drill's");

    let elsewhere = GatewayFault { service: Some("shop/other".parse().unwrap()), ..abort.clone() };
    let elsewhere = GatewayFault { percent: 100, ..elsewhere };
    gateway.update(with([gateway_fault(0, &elsewhere), without_fault(1)])).await;
    assert_eq!(with_status(&many(&gateway, 50, &[]).await, 200), 50, "another service's");

    let all = GatewayFault { service: None, percent: 100, ..fault(FaultKind::Abort(418), 100, None) };
    gateway.update(with([gateway_fault(0, &all), without_fault(1)])).await;
    assert_eq!(with_status(&many(&gateway, 20, &[]).await, 418), 20, "every service's");

    gateway.update(with([0, 1].map(without_fault))).await;
    assert_eq!(with_status(&many(&gateway, 200, &[]).await, 200), 200, "off again");
    assert_eq!(listeners(&gateway).await, before, "no listener changed");
}
