//! Passive health on a real fleet: an endpoint whose checks are well and whose requests fail.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use std::time::Duration;
use support::{
    course::{Course, EAST, cluster, spec},
    until,
};
use tidegate_lab::{
    fetch,
    load::LoadMethod,
    toy::{Toy, ToyMode},
};

const ZONE: &str = "us-east-1a";

fn zone(course: &Course) -> Vec<&Toy> {
    let here = |toy: &&Toy| toy.spec().zone.as_str() == ZONE && toy.spec().service.to_string() == "shop/web";
    course.fleet().toys().iter().filter(here).collect()
}

/// How many endpoints of the service are healthy in the zone, by the agent's word.
async fn healthy(course: &Course) -> u64 {
    let status = course.status(EAST).await;
    let mut pools = status["pools"].as_array().unwrap().iter();
    let pool = pools.find(|it| it["zone"] == ZONE && it["service"] == "shop/web").unwrap();
    pool["healthy"].as_u64().unwrap()
}

/// Whether the east-west gateway, which sends no request there, was told that an endpoint is out.
async fn east_west_knows(course: &Course, toy: &Toy) -> bool {
    let admin = course.fleet().addresses(&cluster(EAST)).unwrap().east_west.unwrap().1;
    let clusters = fetch::get(admin, None, "/clusters", Duration::from_secs(2)).await.unwrap().1;
    let line = format!("{}::health_flags::/failed_eds_health", toy.address());
    String::from_utf8_lossy(&clusters).contains(&line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_gateway_finds_protects_all_and_a_whole_pool_is_never_ejected() {
    let test = "what_one_gateway_finds_protects_all_and_a_whole_pool_is_never_ejected";
    let mut spec = spec();
    spec.services.retain(|service| service.to_string() == "shop/web");
    let health = json!({
        "active": {"type": "TCP", "interval": "500ms", "timeout": "2s"},
        // Envoys stop sending to what answers 503 three times in a row.
        "passive": {"errors": {"minimumRequests": 3, "ejection": "5s"}},
    });
    spec.policy.more.insert("healthCheck".to_owned(), health);
    let Some(mut course) = Course::start(test, spec).await else { return };
    course.load(&[EAST], LoadMethod::Get).await;
    let bad = zone(&course)[0].address();
    zone(&course)[0].set(ToyMode::Status503).await.unwrap();
    until("the endpoint to be ejected", async || (healthy(&course).await == 1).then_some(())).await;
    let told = course.events(EAST).await.into_iter().rfind(|it| it.kind == "endpointChanged").unwrap();
    let reason = told.reason.unwrap();
    assert!(reason.starts_with("errors: "), "{reason}");
    assert!(reason.contains("requests failed in 10 s at this cluster's gateways"), "{reason}");
    until("the east-west gateway to know", async || {
        east_west_knows(&course, zone(&course)[0]).await.then_some(())
    })
    .await;

    // Now its sibling too: of the pool one stays, and the other zone serves what fails here.
    zone(&course)[1].set(ToyMode::Status503).await.unwrap();
    let seen = course.clock().now();
    course.flow(&[EAST], 3).await;
    assert!(healthy(&course).await >= 1, "the pool is not ejected as a whole");
    for toy in zone(&course) {
        toy.set(ToyMode::Serve).await.unwrap();
    }
    until("both to be back", async || (healthy(&course).await == 2).then_some(())).await;
    let events = course.events(EAST).await;
    let is_back = |reason: &String| reason.starts_with("let back: ");
    let mut back = events.iter().filter(|it| it.reason.as_ref().is_some_and(is_back));
    assert!(back.any(|it| course.time(it) >= seen));
    course.settle().await;
    let failed = course.failed(&[EAST]);
    assert!(failed.is_empty(), "{} GETs failed, the first {:?}; {bad} was bad", failed.len(), failed.first());
    course.stop().await;
}
