//! A fleet of the lab with a hub, and links of it that are cut.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;
use support::{
    TIDEGATE,
    course::{Course, cluster},
    envoy, until,
};
use tidegate_lab::{
    fleet::{Binaries, Fault, Fleet, FleetSpec},
    load::LoadMethod,
    wan::Site,
};

/// The cluster in front of the others.
const EDGE: &str = "us-central-1";
const CLUSTERS: [&str; 4] = ["us-central-1", "us-east-1", "us-east-2", "us-west-1"];
/// A fleet comes up in seconds; on a machine that builds at the same time it takes longer.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Waits until exactly these clusters follow a hold-down of so many seconds.
async fn until_followed(fleet: &Fleet, seconds: u32, by: &[&str]) {
    until(&format!("a hold-down of {seconds} s to be in force in {by:?} alone"), async || {
        let mut follow = Vec::new();
        for name in CLUSTERS {
            let rule = fleet.rule(&cluster(name), "failback.holdDown").await.ok()??;
            if rule.starts_with(&format!("failback.holdDown {seconds}s")) {
                follow.push(name);
            }
        }
        (follow == by).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_cut_from_the_hub_keeps_its_policy_and_catches_up() {
    let test = "a_cluster_that_is_cut_from_the_hub_keeps_its_policy_and_catches_up";
    let Some(envoy) = envoy(test) else { return };
    if !cfg!(target_os = "linux") {
        return support::skipped(test, "each gateway has a loopback address of its own, which needs Linux");
    }
    let binaries = Binaries { tidegate: TIDEGATE.into(), envoy };
    let mut fleet = Fleet::start_joined(FleetSpec::tiers(), &binaries).await.unwrap();
    fleet.ready(START_LIMIT).await.unwrap();
    until_followed(&fleet, 3, &CLUSTERS).await;

    // Certificates have just come, and the ways between clusters begin anew with them.
    support::until("all peers to be reached", async || {
        let status = fleet.agent_status(&cluster("us-central-1")).await.ok()?;
        let peers = status["peers"].as_array()?;
        (peers.len() == 3 && peers.iter().all(|it| it["state"] == "Reachable")).then_some(())
    })
    .await;
    let cut = Fault::Link { between: [Site::Cluster(cluster("us-east-1")), Site::Hub] };
    fleet.fault(cut.clone()).await.unwrap();
    let mut policy = fleet.spec().policy.clone();
    policy.hold_down = Duration::from_secs(7);
    fleet.change_policy(policy).unwrap();
    until_followed(&fleet, 7, &["us-central-1", "us-east-2", "us-west-1"]).await;
    // It is cut from the hub alone: the others still reach it.
    let status = fleet.agent_status(&cluster("us-central-1")).await.unwrap();
    let peers = status["peers"].as_array().unwrap();
    assert!(peers.len() == 3 && peers.iter().all(|it| it["state"] == "Reachable"), "{}", status["peers"]);

    fleet.mend(&cut).await.unwrap();
    until_followed(&fleet, 7, &CLUSTERS).await;
    assert!(fleet.mend(&cut).await.is_err(), "it is mended already");
    let nowhere = Fault::Link { between: [Site::Cluster(cluster("us-north")), Site::Hub] };
    let refused = fleet.fault(nowhere).await.unwrap_err().to_string();
    assert_eq!(refused, "the fleet has no link us-north - hub");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_from_the_moment_that_a_joined_fleet_is_ready() {
    let test = "no_request_fails_from_the_moment_that_a_joined_fleet_is_ready";
    let Some(mut course) = Course::start(test, FleetSpec::tiers()).await else { return };
    for name in CLUSTERS {
        for peer in course.status(name).await["peers"].as_array().unwrap() {
            assert_eq!(peer["state"], "Reachable", "{name} is ready before it hears {}", peer["cluster"]);
        }
    }
    course.load(&[EDGE], LoadMethod::Get).await;
    course.flow(&[EDGE], 3).await;
    let failed = course.failed(&[EDGE]);
    assert!(failed.is_empty(), "{} failed, first {:?}", failed.len(), failed.first());

    // What it plans at first is what it serves by: it did not answer gateways before it had heard anybody.
    let events = course.fleet().decisions(&cluster(EDGE), 0).await.unwrap();
    let plans = events.iter().filter_map(|event| event.after.as_ref());
    assert!(plans.clone().count() > 0 && plans.clone().all(|shares| !shares.is_empty()), "{events:?}");
    course.stop().await;
}
