//! Clusters whose views of each other disagree: what comes to an east-west gateway from another cluster is served by an
//! endpoint of its own or refused at once, whatever its agent believes. It never goes on to another cluster.

use super::{
    CLUSTERS, Missed,
    fleet::{Fleet, Setup},
    hops::{Ended, assert_none_is_second, work},
    support::wait_until,
    watch::Watch,
};
use rustix::process::Signal;
use tidegate_lab::{measure::SLOW, toy::ToyMode};

/// Waits until the plans of a cluster send `front` to these places only.
fn until_sent_to(fleet: &Fleet, cluster: &str, wanted: &str) {
    wait_until(&format!("{cluster} to send front to {wanted}"), || {
        let plans = fleet.plans(cluster)?;
        let own: Vec<_> = plans.iter().filter(|((service, _), _)| service == "shop/front").collect();
        own.iter().all(|(_, shares)| shares.keys().all(|it| it.contains(wanted))).then_some(())
    });
}

/// The agent of c3 is frozen, so its view is old: it sends `front` to c1 and c2. In the view of c1 its own `front` is out,
/// and it sends its own clients to c2.
fn stale(
    fleet: &Fleet,
    what: &str,
    out: impl FnOnce(&Fleet),
    mended: impl FnOnce(&Fleet),
    missed: &mut Missed,
) -> Ended {
    let begun = fleet.clock.now();
    // Its Envoy, too, comes back to c1 after what was before.
    wait_until("c3 to be served by c1", || {
        Ended::since(fleet, "c3", "front", begun).served.contains_key("c1").then_some(())
    });
    let watch = Watch::start(fleet, what);
    fleet.signal_agent("c3", Signal::STOP);
    out(fleet);
    // The Envoy of c3 soon finds out for itself what its agent does not know, and tries again now and then.
    let before = work(fleet, "c1", "front");
    until_sent_to(fleet, "c1", "c2");
    let from = fleet.clock.now();
    fleet.flow(4);
    let (at_c1, at_c3) = (Ended::since(fleet, "c1", "front", from), Ended::since(fleet, "c3", "front", from));
    let came = work(fleet, "c1", "front") - before;
    eprintln!(
        "MEASURED {what}: entered in c1 {at_c1:?}, in c3 {at_c3:?}; the east-west gateway of c1 counts {came}"
    );
    assert_none_is_second(fleet);
    if came == 0 {
        missed.0.push(format!("{what}: nothing came to the east-west gateway of c1"));
    }
    if at_c1.servers() != ["c2"] {
        missed.0.push(format!("{what}: c1 sends its own clients to c2: {at_c1:?}"));
    }
    mended(fleet);
    fleet.signal_agent("c3", Signal::CONT);
    let seen = watch.end(fleet);
    missed.nothing_bad(&seen, &[]);
    at_c3
}

#[test]
fn no_request_makes_a_second_hop_while_views_disagree() {
    let test = "no_request_makes_a_second_hop_while_views_disagree";
    let Some(fleet) = Fleet::start(test, &Setup::default()) else { return };
    let mut missed = Missed::default();
    let front_of_c1 = |mode| move |fleet: &Fleet| fleet.set_toys("c1", "front", mode);

    let shift = [
        "shift",
        "away",
        "--yes",
        "--cluster",
        "c1",
        "--service",
        "shop/front",
        "--for",
        "10m",
        "--comment",
        "test",
    ];
    let back = |fleet: &Fleet| drop(fleet.ask_agent("c1", &["shift", "end", "cluster-c1-shop-front"]));
    let held = |fleet: &Fleet| drop(fleet.ask_agent("c1", &shift));
    let served = stale(&fleet, "front of c1 is held, and c3 does not know", held, back, &mut missed);
    if served.servers() != ["c1", "c2"] {
        missed.0.push(format!("what is held in the view of c1 serves what comes to it: {served:?}"));
    }

    for (what, mode) in [
        ("front of c1 is dead, and c3 does not know", ToyMode::Refuse),
        ("front of c1 answers 503, and c3 does not know", ToyMode::Status503),
        ("front of c1 hangs, and c3 does not know", ToyMode::Hang),
    ] {
        let served = stale(&fleet, what, front_of_c1(mode), front_of_c1(ToyMode::Serve), &mut missed);
        if served.servers() != ["c2"] {
            missed.0.push(format!("{what}: c3 is served by c2: {served:?}"));
        }
    }
    each_believes_in_the_other(&fleet, &mut missed);
    missed.report();
}

/// Both are out; c1 believes that c2 serves, and c2 that c1 does: what one sends to the other must not come back.
fn each_believes_in_the_other(fleet: &Fleet, missed: &mut Missed) {
    let what = "front is out in c1 and c2, and each sends it to the other";
    let watch = Watch::start(fleet, what);
    fleet.signal_agent("c2", Signal::STOP);
    for cluster in ["c1", "c2"] {
        fleet.set_toys(cluster, "front", ToyMode::Status503);
    }
    until_sent_to(fleet, "c1", "c2");
    let (from, before) = (fleet.clock.now(), ["c1", "c2"].map(|it| work(fleet, it, "front")));
    fleet.flow(4);
    let ended = CLUSTERS.map(|it| Ended::since(fleet, it, "front", from));
    let after = ["c1", "c2"].map(|it| work(fleet, it, "front"));
    let came = [after[0] - before[0], after[1] - before[1]];
    eprintln!("MEASURED {what}: {ended:?}; the east-west gateways of c1 and c2 count {came:?}");
    assert_none_is_second(fleet);
    if came.contains(&0) {
        missed.0.push(format!("{what}: that did not happen: {came:?} came"));
    }
    for (cluster, it) in CLUSTERS.iter().zip(&ended) {
        if !it.served.is_empty() || it.failed.keys().any(|it| it != "503") || it.longest > SLOW {
            missed.0.push(format!("{what}: {cluster} is refused, and at once: {it:?}"));
        }
    }
    for cluster in ["c1", "c2"] {
        fleet.set_toys(cluster, "front", ToyMode::Serve);
    }
    fleet.signal_agent("c2", Signal::CONT);
    let seen = watch.end(fleet);
    missed.nothing_bad(&seen, &CLUSTERS.map(|it| (it, "front")));
}
