//! Two replicas of each agent, real Envoys and load: a replica dies, is frozen, starts anew, and a zone is lost.
//!
//! Nothing here asserts how long something takes: the machines are noisy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use support::{
    course::{Course, EAST, EUROPE, WEST, cluster, spec},
    until,
};
use tidegate_lab::{
    fetch,
    fleet::{Fault, Process, ProcessFault},
    load::LoadMethod,
    toy::ToyMode,
};

const CLUSTERS: [&str; 2] = [EAST, WEST];
/// A load on more would measure the machine.
const LOADED: [&str; 1] = [EAST];
const ANSWER: Duration = Duration::from_secs(5);

/// Where the two agents of us-east are asked.
fn admins(course: &Course) -> [SocketAddr; 2] {
    let addresses = course.fleet().addresses(&cluster(EAST)).unwrap();
    [addresses.agent_admin, addresses.second_agent.unwrap().1]
}

async fn status(admin: SocketAddr) -> Option<Value> {
    fetch::get_json(admin, "/api/v1/status", ANSWER).await.ok()
}

fn connected(status: &Value) -> usize {
    status["gateways"].as_array().unwrap().iter().filter(|it| it["connected"] == true).count()
}

/// Waits until this agent alone serves both gateways of us-east.
async fn until_all_come_to(admin: SocketAddr) {
    until("both gateways to come to the other replica", async || {
        (connected(&status(admin).await?) == 2).then_some(())
    })
    .await;
}

async fn until_heard(admin: SocketAddr, others: u64) {
    until("the other replica to be heard", async || {
        (status(admin).await?["replicas"]["heard"].as_u64()? == others).then_some(())
    })
    .await;
}

/// What both say of a part of their status, once they say the same.
async fn same(course: &Course, part: &str) -> Value {
    let [one, other] = admins(course);
    until("both replicas to say the same", async || {
        let (one, other) = (status(one).await?[part].clone(), status(other).await?[part].clone());
        (one == other).then_some(one)
    })
    .await
}

/// How often plans moved, and how often us-east was out of reach, in what all agents tell.
async fn told(course: &Course) -> (usize, usize) {
    let (mut moved, mut unreachable) = (0, 0);
    for name in CLUSTERS {
        let events = course.fleet().decisions(&cluster(name), 0).await.unwrap();
        moved += events.iter().filter(|it| it.kind == "planChanged" && it.before.is_some()).count();
        unreachable += events.iter().filter(|it| it.state.as_deref() == Some("Unreachable")).count();
    }
    (moved, unreachable)
}

fn of_east(process: Process, fault: ProcessFault) -> Fault {
    Fault::Process { cluster: cluster(EAST), process, fault }
}

async fn hold_downs(admin: SocketAddr) -> Vec<(String, u64)> {
    let status = status(admin).await.unwrap();
    let pools = status["pools"].as_array().unwrap().iter();
    let holding = pools.filter(|it| it["cluster"] == EAST && it["phase"] == "Holding");
    holding
        .map(|it| (it["service"].as_str().unwrap().to_owned(), it["holdRemainingMs"].as_u64().unwrap()))
        .collect()
}

async fn shifts(admin: SocketAddr) -> Option<Vec<String>> {
    let shifts = fetch::get_json(admin, "/api/v1/shifts", ANSWER).await.ok()?;
    shifts.as_array()?.iter().map(|it| Some(it["awayFrom"].as_str()?.to_owned())).collect()
}

fn tidegate_shift(admin: SocketAddr, arguments: &[&str]) {
    let admin = admin.to_string();
    let done = std::process::Command::new(support::TIDEGATE)
        .arg("shift")
        .args(arguments)
        .args(["--admin", &admin])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// No hub runs here: one asked agent suffices, and another one ends it.
async fn a_shift_reaches_all(course: &Course) {
    let addresses = |name: &str| course.fleet().addresses(&cluster(name)).unwrap();
    let all = CLUSTERS.map(addresses).map(|it| [it.agent_admin, it.second_agent.unwrap().1]).concat();
    let until_all_say = async |wanted: &[&str]| {
        for admin in &all {
            until("the shift to reach an agent", async || (shifts(*admin).await? == wanted).then_some(()))
                .await;
        }
    };
    tidegate_shift(
        all[1],
        &["away", "--yes", "--zone", "us-east-1b", "--for", "30m", "--comment", "rack work"],
    );
    until_all_say(&["zone us-east/us-east-1b"]).await;
    tidegate_shift(all[2], &["end", "zone-us-east-1b"]);
    until_all_say(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_freezes_or_starts_costs_no_request_and_moves_nothing() {
    let test = "a_replica_that_dies_freezes_or_starts_costs_no_request_and_moves_nothing";
    let mut spec = spec();
    spec.second_agents = true;
    // Two clusters and one service: eight processes more would measure the machine.
    spec.clusters.retain(|it| it.name.as_str() != EUROPE);
    spec.round_trips.retain(|it| it.between.iter().all(|region| region.as_str() != EUROPE));
    spec.services.truncate(1);
    spec.policy.hold_down = Duration::from_secs(20);
    let Some(mut course) = Course::start(test, spec).await else { return };
    let [first, second] = admins(&course);
    until_heard(first, 1).await;
    until_heard(second, 1).await;
    for name in CLUSTERS {
        course.until_peers_are_heard(name).await;
    }
    course.load(&LOADED, LoadMethod::Get).await;
    same(&course, "plans").await;
    let spread = connected(&status(first).await.unwrap()) + connected(&status(second).await.unwrap());
    assert_eq!(spread, 2, "each gateway keeps to one replica");
    let before = told(&course).await;

    // The second one is killed, and starts again.
    course.fleet().fault(of_east(Process::SecondAgent, ProcessFault::Kill)).await.unwrap();
    until_all_come_to(first).await;
    course.flow(&LOADED, 3).await;
    course.fleet().restore().await.unwrap();
    until_heard(first, 1).await;
    until_heard(second, 1).await;
    same(&course, "plans").await;

    // It is frozen, and goes on. No gateway is there, so that both stay where they are.
    course.fleet().fault(of_east(Process::SecondAgent, ProcessFault::Freeze)).await.unwrap();
    until_heard(first, 0).await;
    course.flow(&LOADED, 3).await;
    course.fleet().restore().await.unwrap();
    until_heard(first, 1).await;
    until_heard(second, 1).await;
    // Now that with the gateways.
    course.fleet().fault(of_east(Process::Agent, ProcessFault::Freeze)).await.unwrap();
    until_all_come_to(second).await;
    course.flow(&LOADED, 3).await;
    course.fleet().restore().await.unwrap();
    until_heard(first, 1).await;
    until_heard(second, 1).await;
    course.settle().await;
    assert_eq!(told(&course).await, before, "nothing moved, and nobody was out of reach");
    assert!(course.failed(&LOADED).is_empty(), "{:?}", course.failed(&LOADED));

    // A zone is lost: both leave it, and hold it down when it is back.
    let zone = Fault::Zone { zone: "us-east-1a".parse().unwrap(), mode: ToyMode::Status503 };
    course.fleet().fault(zone).await.unwrap();
    until("both replicas to leave the zone", async || {
        let plans = same(&course, "plans").await;
        plans.as_array()?.iter().all(|plan| plan["shares"].get("zone us-east-1a").is_none()).then_some(())
    })
    .await;
    course.fleet().restore().await.unwrap();
    for admin in [first, second] {
        until("the hold-down", async || (hold_downs(admin).await.len() == 1).then_some(())).await;
    }
    // One that starts in the middle of it goes on with it.
    course.fleet().fault(of_east(Process::SecondAgent, ProcessFault::Kill)).await.unwrap();
    course.fleet().restore().await.unwrap();
    until("the other to be ready", async || {
        (status(second).await?["pending"].as_array()?.is_empty()).then_some(())
    })
    .await;
    let (went_on, kept) = (hold_downs(second).await, hold_downs(first).await);
    assert_eq!(went_on.len(), 1);
    for ((service, it), (_, other)) in went_on.iter().zip(&kept) {
        assert!(it.abs_diff(*other) < 3000, "{service}: {it} ms and {other} ms remain");
    }
    course.settle().await;
    assert!(course.failed(&LOADED).is_empty(), "{:?}", course.failed(&LOADED));
    a_shift_reaches_all(&course).await;
    course.stop().await;
}
