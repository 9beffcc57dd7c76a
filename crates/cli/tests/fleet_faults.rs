//! Faults on a real fleet, real Envoys under load: what is lost, who serves instead, in which order it was decided.
//!
//! Nothing here asserts how long something takes: the machines are noisy. The demo measures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};
use support::{
    course::{Course, EAST, EUROPE, Plans, RATE, Request, WEST, by_source, cluster, moves, share, spec},
    until,
};
use tidegate_lab::{
    fleet::{Fault, Process, ProcessFault, agent::AgentEvent},
    load::LoadMethod,
    measure::{self, PlanMove},
    toy::ToyMode,
};
use tidegate_model::Time;

const EDGES: [&str; 3] = [EAST, WEST, EUROPE];
/// The edges that live when us-east is lost.
const LIVING: [&str; 2] = [WEST, EUROPE];
const ZONE: &str = "us-east-1a";
const EAST_SOURCE: &str = "us-east/us-east-1a";
const EUROPE_SOURCE: &str = "eu-west/eu-west-1a";
/// A push to Envoy, on a machine that does much else.
const PUSH_SLACK: Duration = Duration::from_secs(1);

/// When a fault struck, when all who had to know knew, when it was undone, and when plans were at home again.
#[derive(Clone, Copy, Debug)]
struct Lost {
    fault: Time,
    known: Time,
    restored: Time,
    stable: Time,
}

/// Where requests go without a fault.
async fn homes(course: &Course) -> Plans {
    let mut homes = Plans::new();
    for name in EDGES {
        course.until_peers_are_heard(name).await;
        homes.extend(course.plans(name).await);
    }
    homes
}

async fn until_home(course: &Course, homes: &Plans) {
    for name in EDGES {
        course
            .until_plans(&format!("{name} to be at home again"), name, |plans| {
                plans.iter().all(|(key, shares)| homes[key] == *shares)
            })
            .await;
        course.until_peers_are_heard(name).await;
    }
    course.flow(&EDGES, 2).await;
}

/// Whether no service's requests go from `source` to `target`.
fn none_goes(plans: &Plans, source: &str, target: &str) -> bool {
    let mut services = plans.keys().filter(|(_, from)| from == source);
    services.all(|(service, _)| share(plans, service, source, target) == 0)
}

async fn lose_zone(course: &Course, homes: &Plans) -> Lost {
    let zone = ZONE.parse().unwrap();
    let fault = course.fleet().fault(Fault::Zone { zone, mode: ToyMode::Refuse }).await.unwrap();
    course
        .until_plans("the plans to leave the zone", EAST, |it| none_goes(it, EAST_SOURCE, "zone us-east-1a"))
        .await;
    let events = course.events(EAST).await;
    let known = events.iter().filter(|it| it.state.as_deref() == Some("down")).map(|it| course.time(it));
    let known = known.max().unwrap();
    course.flow(&EDGES, 2).await;
    let restored = course.fleet().restore().await.unwrap();
    until_home(course, homes).await;
    Lost { fault, known, restored, stable: course.clock().now() }
}

fn is_unreachable(event: &AgentEvent) -> bool {
    event.kind == "peerChanged"
        && event.peer.as_deref() == Some(EAST)
        && event.state.as_deref() == Some("Unreachable")
}

async fn lose_region(course: &Course, homes: &Plans) -> Lost {
    let fault = course.fleet().fault(Fault::Region { region: EAST.parse().unwrap() }).await.unwrap();
    let mut known = fault;
    for name in LIVING {
        known = known.max(course.reported(name, fault, is_unreachable).await);
    }
    course
        .until_plans("the plans to leave the region", EUROPE, |it| {
            none_goes(it, EUROPE_SOURCE, "cluster us-east")
        })
        .await;
    // Longer than the 5 s within which a peer that returns is forgiven its silence.
    course.flow(&LIVING, 7).await;
    let restored = course.fleet().restore().await.unwrap();
    until_home(course, homes).await;
    Lost { fault, known, restored, stable: course.clock().now() }
}

/// The moves that an agent's timeline shows within a fault, by service and source.
async fn moves_within(
    course: &Course,
    name: &str,
    homes: &Plans,
    lost: Lost,
) -> BTreeMap<(String, String), Vec<PlanMove>> {
    let mut all = moves(&course.events(name).await, homes, course.clock());
    all.retain(|it| (lost.fault..lost.stable).contains(&it.at));
    by_source(&all)
}

fn count(moves: &[PlanMove]) -> (u32, u32) {
    let counted = measure::moves(moves, Time::ZERO, Time::from_millis(u64::from(u32::MAX)));
    (counted.away, counted.back)
}

/// The home shares that a plan went through.
fn steps(moves: &[PlanMove]) -> Vec<u32> {
    moves.iter().map(|it| it.home_share_after).collect()
}

/// Requests that were due within a time, with who served them.
fn due_within(requests: &[Request], from: Time, until: Time) -> impl Iterator<Item = &Request> {
    requests.iter().filter(move |it| (from..until).contains(&it.sample.due()))
}

#[tokio::test(flavor = "multi_thread")]
async fn zone_refused_then_region_black_holed_lose_no_safe_request() {
    let test = "zone_refused_then_region_black_holed_lose_no_safe_request";
    let Some(mut course) = Course::start(test, spec()).await else { return };
    course.load(&EDGES, LoadMethod::Get).await;
    let homes = homes(&course).await;
    let zone = lose_zone(&course, &homes).await;
    let region = lose_region(&course, &homes).await;
    course.settle().await;

    // The edge in the lost region is cut off from its clients; until then it lives.
    let mut failed = course.failed(&EDGES);
    failed.retain(|it| it.edge != EAST || it.sample.ended() < region.fault);
    assert!(failed.is_empty(), "{failed:?}");

    for (name, lost) in EDGES.into_iter().flat_map(|name| [(name, zone), (name, region)]) {
        for (key, moves) in moves_within(&course, name, &homes, lost).await {
            assert_eq!(count(&moves), (1, 1), "{key:?} of {name}: {moves:#?}");
        }
    }
    let services = course.fleet().spec().services.len();
    let left_zone = moves_within(&course, EAST, &homes, zone).await;
    assert_eq!(left_zone.len(), services, "only what enters in the lost zone moves: {left_zone:#?}");
    for ((service, source), moves) in &left_zone {
        assert_eq!(source, EAST_SOURCE);
        assert_eq!(steps(moves), [0, 1000, 5000, 10_000], "{service}");
    }
    assert_eq!(moves_within(&course, EUROPE, &homes, region).await.len(), services);
    for name in [EAST, WEST] {
        let moves = moves_within(&course, name, &homes, region).await;
        assert!(moves.is_empty(), "{name} serves its own, whatever it hears of others: {moves:#?}");
    }

    let events = course.events(EUROPE).await;
    let since = |event: &&AgentEvent| course.time(event) >= region.fault;
    let verdict = events.iter().filter(since).find(|event| is_unreachable(event)).unwrap();
    let plan = events.iter().filter(since).find(|event| event.kind == "planChanged").unwrap();
    assert!(verdict.seq < plan.seq, "the silence is the cause: {verdict:?}, {plan:?}");

    let east = course.requests(EAST);
    for request in due_within(&east, zone.known + PUSH_SLACK, zone.restored) {
        assert_eq!(request.served.as_ref().unwrap().zone, "us-east-1b", "{request:?}");
    }
    let europe = course.requests(EUROPE);
    for request in due_within(&europe, region.known + PUSH_SLACK, region.restored) {
        assert_eq!(request.served.as_ref().unwrap().cluster, WEST, "{request:?}");
    }
    course.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_are_never_done_twice_and_only_those_in_flight_fail() {
    let test = "posts_are_never_done_twice_and_only_those_in_flight_fail";
    let Some(mut course) = Course::start(test, spec()).await else { return };
    course.load(&EDGES, LoadMethod::Post).await;
    let homes = homes(&course).await;
    let zone = lose_zone(&course, &homes).await;
    let region = lose_region(&course, &homes).await;
    course.settle().await;

    let ledger = course.fleet().ledger();
    assert!(ledger.requests() > usize::try_from(RATE).unwrap(), "the ledger saw {}", ledger.requests());
    assert_eq!((ledger.repeated(), ledger.unnamed(), ledger.overflow()), (Vec::new(), 0, 0));

    let failed = course.failed(&[WEST]);
    assert!(failed.is_empty(), "no request of us-west had to do with us-east: {failed:?}");
    for request in course.failed(&[EAST, EUROPE]) {
        let sample = request.sample;
        let was_in_flight =
            |lost: Lost| sample.ended() >= lost.fault && sample.due() < lost.known + PUSH_SLACK;
        let is_cut_off = request.edge == EAST && sample.ended() >= region.fault;
        assert!(
            was_in_flight(zone) || was_in_flight(region) || is_cut_off,
            "{request:?}\n{zone:?}\n{region:?}"
        );
    }
    course.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_in_steady_traffic_loses_no_request() {
    let test = "an_agent_killed_in_steady_traffic_loses_no_request";
    let Some(mut course) = Course::start(test, spec()).await else { return };
    course.load(&EDGES, LoadMethod::Get).await;
    let homes = homes(&course).await;
    let (agent, kill) = (Process::Agent, ProcessFault::Kill);
    let killed = course
        .fleet()
        .fault(Fault::Process { cluster: cluster(EAST), process: agent, fault: kill })
        .await
        .unwrap();
    for name in LIVING {
        let is_down = |event: &AgentEvent| event.state.as_deref() == Some("AgentDown");
        course.reported(name, killed, is_down).await;
    }
    course.flow(&EDGES, 3).await;
    let failed = course.failed(&EDGES);
    assert!(failed.is_empty(), "{failed:?}");
    for (key, shares) in course.plans(EUROPE).await {
        assert_eq!(shares, homes[&key], "an agent that is down is no place that is down");
    }

    // What is lost while the agent is dead is Envoy's: first a neighbour serves, then the next zone.
    for number in [0, 1] {
        let name = format!("web-{ZONE}-{number}");
        course.fleet().fault(Fault::Endpoint { name, mode: ToyMode::Refuse }).await.unwrap();
        course.flow(&EDGES, 3).await;
        let failed = course.failed(&EDGES);
        assert!(failed.is_empty(), "with {} endpoints lost: {failed:?}", number + 1);
    }
    let restored = course.fleet().restore().await.unwrap();
    course.until_ready(EAST).await;
    let is_back = |event: &AgentEvent| matches!(event.state.as_deref(), Some("AgentBack" | "Restarted"));
    course.reported(EUROPE, restored, is_back).await;
    course.flow(&EDGES, 2).await;
    course.settle().await;
    let failed = course.failed(&EDGES);
    assert!(failed.is_empty(), "{failed:?}");
    course.stop().await;
}

/// How long after a change of the manifests the agent is killed, in milliseconds: before it is read, while it is planned,
/// pushed, acknowledged and saved, and after all that.
const KILLED_AFTER_MS: [u64; 10] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 512];

/// Takes an endpoint out of the manifests of the cluster, or puts it back.
fn set_listed(endpoints: &Path, all: &str, name: &str, is_listed: bool) {
    let slices = all.split("---\n").filter(|slice| is_listed || !slice.contains(name));
    let text = slices.collect::<Vec<_>>().join("---\n");
    assert_eq!(text == all, is_listed, "{name} is one of {all}");
    // As an editor and a Git checkout do it: at once.
    let new = endpoints.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, endpoints).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_at_any_step_of_an_update_loses_no_request_and_envoys_converge() {
    let test = "an_agent_killed_at_any_step_of_an_update_loses_no_request_and_envoys_converge";
    let Some(mut course) = Course::start(test, spec()).await else { return };
    course.load(&[EAST], LoadMethod::Get).await;
    homes(&course).await;
    let endpoints = course.fleet().files().join("manifests").join(EAST).join("endpoints.yaml");
    let all = fs::read_to_string(&endpoints).unwrap();
    let name = format!("web-{ZONE}-0");
    let toy = course.fleet().toys().iter().find(|toy| toy.spec().name == name).unwrap();
    for (round, delay) in KILLED_AFTER_MS.into_iter().enumerate() {
        let is_listed = round % 2 == 1;
        set_listed(&endpoints, &all, &name, is_listed);
        // The moment is what is tested: nothing tells from outside which step the agent has reached.
        tokio::time::sleep(Duration::from_millis(delay)).await;
        course.restart_agent(EAST).await;
        until(&format!("round {round}: requests to follow the manifests"), async || {
            let before = toy.requests();
            course.flow(&[EAST], 1).await;
            ((toy.requests() > before) == is_listed).then_some(())
        })
        .await;
    }
    course.settle().await;
    let failed = course.failed(&[EAST]);
    assert!(failed.is_empty(), "{failed:?}");
    course.stop().await;
}

/// Makes all endpoints of the zone answer so; unlike a fault of the fleet it stays when an agent is restarted.
async fn set_zone(course: &Course, mode: ToyMode) {
    for toy in course.fleet().toys().iter().filter(|toy| toy.spec().zone.as_str() == ZONE) {
        toy.set(mode).await.unwrap();
    }
}

/// Requests that the zone's endpoints have received, health checks left out.
fn received(course: &Course) -> u64 {
    let toys = course.fleet().toys().iter().filter(|toy| toy.spec().zone.as_str() == ZONE);
    toys.map(tidegate_lab::toy::Toy::requests).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_restarts_keeps_dead_endpoints_out_and_hold_downs_running() {
    let test = "an_agent_that_restarts_keeps_dead_endpoints_out_and_hold_downs_running";
    let mut spec = spec();
    spec.policy.hold_down = Duration::from_secs(10);
    let Some(mut course) = Course::start(test, spec).await else { return };
    course.load(&EDGES, LoadMethod::Get).await;
    let homes = homes(&course).await;

    // Endpoints that answer 503 count what they receive; ones that refuse could not.
    set_zone(&course, ToyMode::Status503).await;
    course
        .until_plans("the plans to leave the zone", EAST, |it| none_goes(it, EAST_SOURCE, "zone us-east-1a"))
        .await;
    let is_told =
        |plans: &Plans| plans.keys().all(|(it, from)| share(plans, it, from, "cluster us-west") > 0);
    course.until_plans("eu-west to hear of it", EUROPE, is_told).await;
    let (away, away_in_europe) = (course.plans(EAST).await, course.plans(EUROPE).await);
    course.flow(&EDGES, 1).await;
    let before = received(&course);
    course.restart_agent(EAST).await;
    course.flow(&EDGES, 2).await;
    assert_eq!(received(&course), before, "a dead endpoint got requests because its agent is new");
    assert_eq!(course.plans(EAST).await, away);
    assert_eq!(course.plans(EUROPE).await, away_in_europe);
    for event in course.events(EAST).await.iter().filter(|event| event.kind == "planChanged") {
        let key = (event.service.clone().unwrap(), event.source.clone().unwrap());
        assert_eq!(event.after.as_ref(), Some(&away[&key]), "a new agent moved something: {event:?}");
    }

    set_zone(&course, ToyMode::Serve).await;
    let restored = course.clock().now();
    let held = support::until("all pools of the zone to be held down for a while", async || {
        let pools = course.pools(EAST, ZONE).await;
        let is_held = |remaining: u64| (1..=7000).contains(&remaining);
        pools.iter().all(|pool| pool.phase == "Holding" && is_held(pool.hold_remaining_ms)).then_some(pools)
    })
    .await;
    course.restart_agent(EAST).await;
    let asked = course.clock().now();
    let still_held = course.pools(EAST, ZONE).await;
    assert_eq!(held.len(), still_held.len());
    for (before, after) in held.iter().zip(&still_held) {
        assert_eq!((&before.service, after.phase.as_str(), after.admit), (&after.service, "Holding", 0.0));
        // What was on disk is up to a second old.
        let (most, left) = (before.hold_remaining_ms + 1000, after.hold_remaining_ms);
        assert!((1..=most).contains(&left), "{before:?}, {after:?}");
    }

    until_home(&course, &homes).await;
    course.settle().await;
    let events = course.events(EAST).await;
    let mut first_back = course.clock().now();
    for pool in &still_held {
        let is_it = |event: &&AgentEvent| event.service.as_ref() == Some(&pool.service);
        let ramps = |event: &&AgentEvent| event.phase.as_deref() == Some("Ramping");
        let ramping = events.iter().filter(is_it).find(ramps).unwrap();
        let earliest = asked + Duration::from_millis(pool.hold_remaining_ms.saturating_sub(1));
        let at = course.time(ramping);
        assert!(at >= earliest, "{}: back at {at:?}, held until {earliest:?}", pool.service);
        first_back = first_back.min(at);
        for event in events.iter().filter(is_it).filter(|event| course.time(event) < at) {
            let shares = event.after.iter().filter(|_| event.source.as_deref() == Some(EAST_SOURCE));
            assert!(shares.clone().all(|it| !it.contains_key("zone us-east-1a")), "{event:?}");
        }
    }
    let east = course.requests(EAST);
    for request in due_within(&east, restored, first_back).filter(|it| it.sample.ended() < first_back) {
        assert_ne!(request.served.as_ref().unwrap().zone, ZONE, "{request:?}");
    }
    let failed = course.failed(&EDGES);
    assert!(failed.is_empty(), "{failed:?}");
    course.stop().await;
}
