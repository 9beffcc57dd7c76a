//! Replicas of an agent: votes on endpoints, and what one takes over from others.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{World, address, cluster, percent, service};
use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::{Due, Event, Snapshot, ToldBy};
use tidegate_model::{Phase, PoolStatus};

fn shop() -> World {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 2).until(10.0).forget_history();
    world
}

/// Another replica tells what it found of the endpoints of zone a, now.
fn hears(world: &mut World, replica: &str, found: [bool; 2]) {
    let verdicts = BTreeMap::from([(address("a", 1), found[0]), (address("a", 2), found[1])]);
    let (replica, at) = (replica.into(), world.now);
    let verdicts = BTreeMap::from([(service("web"), verdicts)]);
    world.handle(Event::ReplicaObserved { replica, verdicts, at });
}

/// It tells what is new, or that all still holds.
fn hears_news(world: &mut World, replica: &str, news: &[(u8, Option<bool>)]) {
    let of = |(number, found): &(u8, Option<bool>)| (service("web"), address("a", *number), *found);
    let (replica, at) = (replica.into(), world.now);
    world.handle(Event::ReplicaTold { replica, news: news.iter().map(of).collect(), at });
}

#[test]
fn a_replica_that_tells_only_what_is_new_keeps_its_other_votes() {
    let mut world = shop();
    hears(&mut world, "r1", [true, true]);
    hears(&mut world, "r2", [true, true]);
    world.check_all("web", "a", false);
    hears_news(&mut world, "r1", &[(1, Some(false))]);
    assert_eq!(world.pool("web", "a"), "Serving 1/2 100 %");
    world.until(10.9);
    hears_news(&mut world, "r1", &[]);
    hears_news(&mut world, "r2", &[]);
    world.until(11.5);
    assert_eq!(world.pool("web", "a"), "Serving 1/2 100 %", "a word that all holds renews every vote");
    hears_news(&mut world, "r2", &[(2, None)]);
    assert_eq!(world.pool("web", "a"), "Serving 1/2 100 %", "one against one leaves it as it was");
    hears_news(&mut world, "r1", &[(2, None)]);
    assert_eq!(world.pool("web", "a"), "Out 0/2 0 %", "only our own word is left on the second");
}

#[test]
fn news_of_a_replica_whose_word_is_stale_means_nothing() {
    let mut world = shop();
    hears_news(&mut world, "r1", &[(1, Some(false)), (2, Some(false))]);
    assert!(!world.engine.hears("r1"));
    world.check_all("web", "a", true);
    hears(&mut world, "r1", [true, true]);
    assert!(world.engine.hears("r1"));
    world.until(11.0);
    assert!(!world.engine.hears("r1"), "it has to tell all of it again");
    hears_news(&mut world, "r1", &[(1, Some(false))]);
    assert_eq!((world.pool("web", "a").as_str(), world.engine.hears("r1")), ("Serving 2/2 100 %", false));
}

fn statuses(world: &World) -> Vec<PoolStatus> {
    world.engine.statuses(world.now).collect()
}

#[test]
fn one_of_three_replicas_that_is_isolated_moves_nothing() {
    let mut world = shop();
    hears(&mut world, "r1", [true, true]);
    hears(&mut world, "r2", [false, false]);
    assert_eq!(world.pool("web", "a"), "Serving 2/2 100 %", "its minority opinion moves nothing");
    world.check_all("web", "a", false);
    assert_eq!(world.pool("web", "a"), "Out 0/2 0 %", "two of three say down");
}

#[test]
fn a_replica_that_is_cut_off_itself_is_outvoted_by_the_others() {
    let mut world = shop();
    hears(&mut world, "r1", [true, true]);
    hears(&mut world, "r2", [true, true]);
    world.check_all("web", "a", false);
    assert_eq!(world.pool("web", "a"), "Serving 2/2 100 %");
    hears(&mut world, "r1", [false, true]);
    assert_eq!(world.pool("web", "a"), "Serving 1/2 100 %", "of the first two of three say down now");
}

#[test]
fn a_stale_replica_has_no_vote() {
    let mut world = shop();
    hears(&mut world, "r1", [true, true]);
    hears(&mut world, "r2", [true, true]);
    world.check_all("web", "a", false);
    assert_eq!(world.engine.next_deadline().unwrap().due, Due::Replica("r1".into()));
    world.until(10.9);
    assert_eq!(world.pool("web", "a"), "Serving 2/2 100 %");
    world.until(11.0);
    assert_eq!(world.pool("web", "a"), "Out 0/2 0 %", "only our own word is left");
    assert_eq!(world.engine.next_deadline(), None);
}

#[test]
fn a_tie_leaves_an_endpoint_as_it_was() {
    let mut world = shop();
    hears(&mut world, "r1", [false, false]);
    assert_eq!(world.pool("web", "a"), "Serving 2/2 100 %");
    world.check_all("web", "a", false);
    assert_eq!(world.pool("web", "a"), "Out 0/2 0 %");
    world.check_all("web", "a", true);
    assert_eq!(world.pool("web", "a"), "Out 0/2 0 %");
    hears(&mut world, "r1", [true, true]);
    assert_eq!(world.pool("web", "a"), "Holding 2/2 0 %");
}

#[test]
fn a_replica_that_restarts_in_mid_hold_down_takes_the_others_word_before_its_disk() {
    let mut world = shop();
    let old = world.restarted();
    world.check_all("web", "a", false).until(20.0).check_all("web", "a", true).until(30.0);
    let json = serde_json::to_string(&world.engine.snapshot(world.now)).unwrap();
    let snapshot: Snapshot = serde_json::from_str(&json).unwrap();
    let mut after = old.restarted();
    after.handle(Event::Merge(snapshot.clone()));
    after.handle(Event::Merge(Snapshot::of(ToldBy::Peer, [])));
    after.add("web", &["a", "b"], 2);
    assert_eq!(after.pool("web", "a"), "Holding 2/2 0 %", "its own disk said Serving");
    assert_eq!(after.hold_remaining("web", "a"), Duration::from_secs(20));
    // The other way round: its disk is the older story.
    let mut healed = world.restarted();
    healed.handle(Event::Merge(shop().engine.snapshot(world.now)));
    healed.add("web", &["a", "b"], 2);
    assert_eq!(healed.pool("web", "a"), "Serving 2/2 100 %");
}

#[test]
fn peers_know_what_they_were_told_when_replicas_and_disk_do_not() {
    let mut world = shop();
    world.check_all("web", "a", false).until(20.0).check_all("web", "a", true).until(30.0);
    let mut after = World::new();
    after.handle(Event::Merge(Snapshot::of(ToldBy::Peer, statuses(&world))));
    after.add_up("web", &["a", "b"], 2);
    assert_eq!(after.pool("web", "a"), "Holding 2/2 0 %");
    assert_eq!(
        after.hold_remaining("web", "a"),
        Duration::from_secs(30),
        "whether it was healthy they did not say"
    );
    let mut known = World::new();
    known.handle(Event::Merge(shop().engine.snapshot(world.now)));
    known.handle(Event::Merge(Snapshot::of(ToldBy::Peer, statuses(&world))));
    known.add_up("web", &["a", "b"], 2);
    assert_eq!(known.pool("web", "a"), "Serving 2/2 100 %", "a replica's word stands before a peer's");
}

#[test]
fn a_replica_that_lost_its_disk_goes_on_with_a_hold_down_when_others_observe_health() {
    let mut world = shop();
    world.check_all("web", "a", false).until(20.0).check_all("web", "a", true).until(30.0);
    let mut after = World::new();
    after.handle(Event::Merge(world.engine.snapshot(world.now)));
    hears(&mut after, "r1", [true, true]);
    after.add("web", &["a", "b"], 2);
    assert_eq!(after.pool("web", "a"), "Holding 2/2 0 %");
    assert_eq!(after.hold_remaining("web", "a"), Duration::from_secs(20));
}

#[test]
fn admits_merge_by_the_minimum_and_hold_downs_by_the_longest() {
    let at = |down: f64, now: f64| {
        let mut world = shop();
        world.until(down).check_all("web", "a", false).check_all("web", "a", true).until(now);
        world
    };
    let mut one = at(15.0, 40.0);
    assert_eq!(one.hold_remaining("web", "a"), Duration::from_secs(5));
    one.handle(Event::Merge(at(30.0, 40.0).engine.snapshot(one.now)));
    assert_eq!(one.hold_remaining("web", "a"), Duration::from_secs(20));
    let mut whole = shop();
    whole.until(40.0);
    whole.handle(Event::Merge(one.engine.snapshot(one.now)));
    assert_eq!(whole.pool("web", "a"), "Holding 2/2 0 %");
    one.handle(Event::Merge(shop().engine.snapshot(one.now)));
    assert_eq!(one.pool("web", "a"), "Holding 2/2 0 %", "nobody gives back what another holds");
}

#[test]
fn an_observers_reach_times_its_owners_admit_is_what_it_sends() {
    let mut world = World::new();
    world.remote("west", "web", 10, 50.0, Phase::Reduced).add("web", &[], 0);
    let admit = |world: &World| {
        let reasons = &world.plan("web", "a").reasons;
        reasons.iter().find(|it| it.target.to_string() == "cluster west").unwrap().admit
    };
    assert_eq!(admit(&world), percent(50.0));
    world.unreachable("west").until(10.0).reachable("west", false).until(40.0);
    assert_eq!(admit(&world), percent(5.0), "10 % of our way times 50 % of its own");
    assert!(
        world
            .engine
            .remote_pools()
            .all(|it| it.cluster == cluster("west") && it.status.admit == percent(50.0))
    );
}
