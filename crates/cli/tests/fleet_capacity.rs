//! Declared capacity on a real fleet, real Envoys under load: what is asked for is measured, what a zone cannot take goes
//! on to the next tier, retries are no demand, and what nobody can take is shed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{
    course::{Course, EAST, RATE, WEST, cluster, share, spec},
    until,
};
use tidegate_lab::{
    fleet::FleetSpec,
    load::LoadMethod,
    toy::{Toy, ToyMode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const WEB: &str = "shop/web";
const SOURCE: &str = "us-east/us-east-1a";

/// One service, so that all of an edge's load is its demand, and endpoints that take so many requests per second.
fn declared(per_endpoint: u32, more: &Value) -> FleetSpec {
    let mut spec = spec();
    spec.services.retain(|service| service.to_string() == WEB);
    // An endpoint that answers 503 is alive for a check of its port: it is asked again and again.
    let check = json!({"type": "TCP", "interval": "500ms", "timeout": "2s"});
    spec.policy.more.insert("healthCheck".to_owned(), json!({"active": check}));
    spec.policy.more.insert("capacity".to_owned(), json!({"requestsPerSecond": per_endpoint}));
    spec.policy.more.extend(more.as_object().unwrap().clone());
    spec
}

/// What is asked of the service in each zone of a cluster, in requests per second, and how old that is.
async fn demand(course: &Course, name: &str) -> Vec<(String, f64, u64)> {
    let admin = course.fleet().addresses(&cluster(name)).unwrap().agent_admin;
    let path = format!("/api/v1/explain/{WEB}");
    let text = until("the agent to explain", async || {
        let answer = tidegate_lab::fetch::get(admin, None, &path, Duration::from_secs(2)).await.ok()?;
        answer.0.is_success().then_some(answer.1)
    });
    let explanation: Value = serde_json::from_slice(&text.await).unwrap();
    let zones = explanation["demand"].as_array().unwrap().iter();
    zones
        .map(|it| {
            let rps = it["load"]["rate"]["rps"].as_f64().unwrap() / 1000.0;
            (it["zone"].as_str().unwrap().to_owned(), rps, it["ageMs"].as_u64().unwrap())
        })
        .collect()
}

async fn asked(course: &Course, name: &str, zone: &str) -> Option<f64> {
    demand(course, name).await.into_iter().find(|(of, ..)| of == zone).map(|(_, rps, _)| rps)
}

/// Waits until the demand of us-east's edge is what its load is, give or take a tenth.
async fn until_measured(course: &Course) {
    let rate = f64::from(RATE);
    until("demand to be measured", async || {
        let rps = asked(course, EAST, "us-east-1a").await?;
        ((rps - rate).abs() < rate / 10.0).then_some(())
    })
    .await;
}

/// The shares of us-east's edge, in 1/10000: its own zone, the next one, the other region.
async fn shares(course: &Course) -> [u32; 3] {
    let plans = course.plans(EAST).await;
    ["zone us-east-1a", "zone us-east-1b", "cluster us-west"].map(|target| share(&plans, WEB, SOURCE, target))
}

fn near(found: u32, wanted: u32) -> bool {
    found.abs_diff(wanted) <= 600
}

/// How many requests the endpoints have received, tries and all.
fn received(course: &Course) -> u64 {
    course.fleet().toys().iter().map(Toy::requests).sum()
}

/// Waits until five seconds of requests are served in these parts of 10000. The first connections to a far region may be
/// slower than the per-try timeout on a busy machine: then Envoy keeps away from its gateway for 10 s.
async fn until_served_as_planned(course: &Course, planned: [u32; 3]) {
    let mut found = [0; 3];
    for _ in 0..8 {
        let before = course.requests(EAST).len();
        course.flow(&[EAST], 5).await;
        let requests = course.requests(EAST).split_off(before);
        found = ["us-east-1a", "us-east-1b", "us-west"].map(|place| {
            let served = requests.iter().filter_map(|it| it.served.as_ref());
            let there = served.filter(|by| by.zone.starts_with(place)).count();
            u32::try_from(there * 10_000 / requests.len()).unwrap()
        });
        if found.iter().zip(planned).all(|(found, planned)| near(*found, planned)) {
            return;
        }
    }
    panic!("{found:?} of 10000 were served, {planned:?} are planned");
}

#[tokio::test(flavor = "multi_thread")]
async fn demand_above_a_zones_budget_overflows_and_a_storm_of_retries_does_not_count() {
    let test = "demand_above_a_zones_budget_overflows_and_a_storm_of_retries_does_not_count";
    // 80 requests/s per zone at the target of 80 %, of 200 that come.
    let Some(mut course) = Course::start(test, declared(50, &json!({}))).await else { return };
    for name in [EAST, WEST] {
        course.until_peers_are_heard(name).await;
    }
    assert_eq!(shares(&course).await, [10_000, 0, 0], "nothing is asked for yet");
    course.load(&[EAST], LoadMethod::Get).await;
    until_measured(&course).await;
    until("the overflow to be planned", async || {
        let found = shares(&course).await;
        found.iter().zip([4000, 4000, 2000]).all(|(found, wanted)| near(*found, wanted)).then_some(())
    })
    .await;
    until_served_as_planned(&course, [4000, 4000, 2000]).await;
    assert!(course.failed(&[EAST]).is_empty());

    // What comes over the east-west gateway is no demand of that cluster. It is told what others ask for.
    let west = demand(&course, WEST).await;
    assert!(west.iter().all(|(_, rps, _)| *rps < 10.0), "{west:?}");

    // All endpoints answer 503: each request is tried as often as the policy allows, at the edge and behind.
    let homes = shares(&course).await;
    for toy in course.fleet().toys() {
        toy.set(ToyMode::Status503).await.unwrap();
    }
    course.flow(&[EAST], 1).await;
    let (tries, asked_before) = (received(&course), course.requests(EAST).len());
    for _ in 0..5 {
        course.flow(&[EAST], 1).await;
        let rps = asked(&course, EAST, "us-east-1a").await.unwrap();
        assert!(rps < f64::from(RATE) * 1.2, "{rps} requests/s are told, {RATE} come");
        for (found, wanted) in shares(&course).await.into_iter().zip(homes) {
            assert!(near(found, wanted), "{found} instead of {wanted}");
        }
    }
    let (tries, requests) = (received(&course) - tries, course.requests(EAST).len() - asked_before);
    assert!(tries > 2 * requests as u64, "a storm: {tries} tries of {requests} requests");
    course.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_take_is_shed_and_an_agent_that_restarts_goes_on_shedding() {
    let test = "what_nobody_can_take_is_shed_and_an_agent_that_restarts_goes_on_shedding";
    // 32 requests/s per zone, 128 in the fleet, of 200 that come.
    let more = json!({"whenExhausted": "Shed"});
    let Some(mut course) = Course::start(test, declared(20, &more)).await else { return };
    for name in [EAST, WEST] {
        course.until_peers_are_heard(name).await;
    }
    course.load(&[EAST], LoadMethod::Get).await;
    until_measured(&course).await;
    let shed = async || {
        let status = course.status(EAST).await;
        let mut plans = status["plans"].as_array().unwrap().iter();
        let plan = plans.find(|plan| plan["source"] == SOURCE).unwrap();
        u32::try_from(plan["shed"].as_u64().unwrap()).unwrap()
    };
    until("what cannot be taken to be shed", async || near(shed().await, 3600).then_some(())).await;
    let of_all = async |what: &str| {
        let before = course.requests(EAST).len();
        course.flow(&[EAST], 5).await;
        let requests = course.requests(EAST).split_off(before);
        let failed = requests.iter().filter(|it| !it.sample.outcome.is_success()).count();
        let failed = u32::try_from(failed * 10_000 / requests.len()).unwrap();
        assert!(near(failed, 3600), "{what}: {failed} of 10000 were turned away");
    };
    of_all("shed").await;
    // What is shed is asked for all the same: if it were not, the plan would swing.
    until_measured(&course).await;
    let edge = course.fleet().addresses(&cluster(EAST)).unwrap().edge.unwrap().access;
    until("an answer that says when to come again", async || {
        let answer = raw_get(edge).await?.to_ascii_lowercase();
        (answer.starts_with("http/1.1 503") && answer.contains("\r\nretry-after: 1\r\n")).then_some(())
    })
    .await;

    let restarted = course.clock().now();
    course.restart_agent(EAST).await;
    let events = course.events(EAST).await;
    let first = events.iter().find(|event| event.kind == "planChanged" && course.time(event) >= restarted);
    let after = first.unwrap().after.clone().unwrap();
    let kept: u32 = after.values().sum();
    assert!(near(kept, 6400), "planned with the demand that was saved: {after:?}");
    of_all("after the restart").await;
    course.stop().await;
}

/// The head and body of an answer to a request for the service.
async fn raw_get(edge: std::net::SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(edge).await.ok()?;
    let request = "GET / HTTP/1.1\r\nhost: web.shop.example\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}
