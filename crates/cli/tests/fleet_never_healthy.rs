//! Endpoints that never passed a check are the last resort where nothing else is left: a check may be wrong, and a refusal
//! certainly is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use http::StatusCode;
use serde_json::json;
use std::time::Duration;
use support::course::{Course, EAST, WEST, cluster, share, spec};
use tidegate_lab::{
    fetch,
    fleet::{Fault, FleetSpec},
    toy::ToyMode,
};

const SERVICE: &str = "shop/web";
const SOURCE: &str = "us-east/us-east-1a";

/// Two regions with one service, whose checks pass only where its answer, which names the zone, says `expected`.
fn checked_for(expected: &str) -> FleetSpec {
    let mut spec = spec();
    spec.clusters.retain(|it| [EAST, WEST].contains(&it.name.as_str()));
    spec.services.retain(|it| it.to_string() == SERVICE);
    let active =
        json!({"type": "HTTP", "path": "/", "expectedBody": {"contains": expected}, "interval": "500ms"});
    spec.policy.more.insert("healthCheck".to_owned(), json!({ "active": active }));
    spec
}

/// The answers of twenty requests through the edge of us-east.
async fn answers(course: &Course) -> Vec<StatusCode> {
    let edge = course.fleet().addresses(&cluster(EAST)).unwrap().edge.unwrap().access;
    let mut answers = Vec::new();
    for _ in 0..20 {
        let answer = fetch::get(edge, Some("web.shop.example"), "/", Duration::from_secs(10)).await;
        answers.push(answer.unwrap().0);
    }
    answers
}

async fn lose(course: &Course, zone: &str) {
    let fault = Fault::Zone { zone: zone.parse().unwrap(), mode: ToyMode::Refuse };
    course.fleet().fault(fault).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_never_passed_a_check_is_served_all_the_same() {
    let test = "a_service_that_never_passed_a_check_is_served_all_the_same";
    // Each edge has answered 200 once it has started.
    let Some(course) = Course::start(test, checked_for("what nobody says")).await else { return };
    course
        .until_plans("all pools to be tried", EAST, |plans| {
            let zones = ["zone us-east-1a", "zone us-east-1b"];
            zones.iter().all(|zone| share(plans, SERVICE, SOURCE, zone) == 2500)
                && share(plans, SERVICE, SOURCE, "cluster us-west") == 5000
        })
        .await;
    assert_eq!(answers(&course).await, [StatusCode::OK; 20]);
    course.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_were_never_healthy_serve_when_home_dies() {
    let test = "places_that_were_never_healthy_serve_when_home_dies";
    let Some(course) = Course::start(test, checked_for("in us-east-1a")).await else { return };
    course.until_peers_are_heard(EAST).await;
    course
        .until_plans("home to serve alone", EAST, |plans| {
            share(plans, SERVICE, SOURCE, "zone us-east-1a") == 10_000
        })
        .await;
    lose(&course, "us-east-1a").await;
    course
        .until_plans("the other places to be tried", EAST, |plans| {
            share(plans, SERVICE, SOURCE, "zone us-east-1b") == 2500
                && share(plans, SERVICE, SOURCE, "cluster us-west") == 5000
        })
        .await;
    assert_eq!(answers(&course).await, [StatusCode::OK; 20], "the other zone was never healthy");
    lose(&course, "us-east-1b").await;
    // Nothing is left but the other region, by its one gateway. Envoy draws four of five hosts for the tries of a request,
    // so one in five is expected to fail; all of them would without the last resort.
    let answers = answers(&course).await;
    let served = answers.iter().filter(|status| **status == StatusCode::OK).count();
    assert!(served >= 5, "nor was the other region: {answers:?}");
    course.stop().await;
}
