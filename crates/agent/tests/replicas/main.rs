//! Several replicas of one agent, each a core of its own, in virtual time: what each finds is told to the others as the link
//! would, and all must give their gateways the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod fleet;

use fleet::{CAPACITY, Fleet, first_word, web};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tidegate_agent::{
    core::Input,
    journal::{Header, Journal, Limits, read, replay},
};
use tidegate_engine::Load;
use tidegate_model::PeerBoot;

#[test]
fn a_replica_that_is_cut_off_from_the_endpoints_moves_nothing_while_two_see_them() {
    let mut fleet = Fleet::new(3, "");
    (1..=4).for_each(|last| fleet.sees(1, last, false));
    fleet.run(30_000);
    assert_eq!(fleet.moves(), 0);
    assert_eq!(fleet.pool(1, "a"), "Serving 2/2", "it is outvoted in its own eyes, too");
    fleet.assert_alike();
}

#[test]
fn one_of_two_that_is_cut_off_moves_nothing_either() {
    let mut fleet = Fleet::new(2, "");
    (1..=4).for_each(|last| fleet.sees(0, last, false));
    fleet.run(30_000);
    assert_eq!(fleet.moves(), 0, "a tie leaves endpoints as they were");
    fleet.assert_alike();
}

#[test]
fn a_zone_that_is_lost_is_left_alike_and_comes_back_alike() {
    let mut fleet = Fleet::new(3, "");
    // Each finds it a little later than the one before.
    for index in 0..3 {
        fleet.run(70);
        (1..=2).for_each(|last| fleet.sees(index, last, false));
    }
    fleet.run(100);
    for index in 0..3 {
        assert_eq!(
            (fleet.plan(index, "a"), fleet.pool(index, "a")),
            ("zone b 100 %".into(), "Out 0/2".into())
        );
    }
    fleet.assert_alike();
    for index in 0..3 {
        fleet.run(70);
        (1..=2).for_each(|last| fleet.sees(index, last, true));
    }
    fleet.run(60_000);
    assert_eq!(fleet.plan(0, "a"), "zone a 100 %");
    fleet.assert_alike();
}

#[test]
fn a_zone_that_takes_a_replica_with_it_is_left_by_the_other_one() {
    let mut fleet = Fleet::new(2, "");
    fleet.kill(1);
    (1..=2).for_each(|last| fleet.sees(0, last, false));
    fleet.run(1_100);
    assert_eq!(fleet.plan(0, "a"), "zone b 100 %", "the word of the dead one counts for a second");
}

#[test]
fn a_replica_that_dies_moves_nothing() {
    let mut fleet = Fleet::new(2, "");
    fleet.kill(1);
    fleet.run(30_000);
    assert_eq!(fleet.moves(), 0);
}

#[test]
fn a_replica_that_starts_in_mid_hold_down_goes_on_with_it() {
    let mut fleet = Fleet::new(2, "");
    let old = fleet.all[1].core.save(fleet.now);
    for last in 1..=2 {
        fleet.all_see(last, false);
    }
    fleet.run(5_000);
    for last in 1..=2 {
        fleet.all_see(last, true);
    }
    fleet.run(10_000);
    assert_eq!(fleet.pool(0, "a"), "Holding 2/2");
    fleet.kill(1);
    fleet.run(2_000);
    // One with an old disk, and one with none.
    fleet.start(old);
    fleet.start(None);
    for index in 2..4 {
        (1..=4).for_each(|last| fleet.sees(index, last, true));
    }
    assert_eq!((fleet.pool(2, "a"), fleet.pool(3, "a")), ("Holding 2/2".into(), "Holding 2/2".into()));
    fleet.run(100);
    fleet.assert_alike();
    // 12 of 30 s are over.
    fleet.run(17_000);
    assert_eq!(fleet.pool(2, "a"), "Holding 2/2");
    fleet.run(1_500);
    for index in [0, 2, 3] {
        assert_eq!(fleet.pool(index, "a"), "Ramping 2/2");
    }
    fleet.run(30_000);
    fleet.assert_alike();
    assert_eq!(fleet.plan(3, "a"), "zone a 100 %");
}

#[test]
fn what_one_that_was_cut_off_says_of_the_pools_drains_nobody() {
    let mut fleet = Fleet::new(2, "");
    let mut lonely = Fleet::new(1, "");
    (1..=4).for_each(|last| lonely.sees(0, last, false));
    lonely.run(1_000);
    (1..=4).for_each(|last| lonely.sees(0, last, true));
    lonely.run(1_000);
    assert_eq!(lonely.pool(0, "a"), "Holding 2/2");
    let (word, now) = (first_word(&lonely.all[0], lonely.now), fleet.now);
    fleet.all[0].hear(PeerBoot(77), &word, now);
    fleet.run(5_000);
    assert_eq!((fleet.pool(0, "a").as_str(), fleet.moves()), ("Serving 2/2", 0));
}

#[test]
fn one_that_was_frozen_takes_over_how_the_pools_stand() {
    let mut fleet = Fleet::new(2, "");
    fleet.all[1].alive = false;
    (1..=2).for_each(|last| fleet.sees(0, last, false));
    fleet.run(3_000);
    (1..=2).for_each(|last| fleet.sees(0, last, true));
    fleet.run(1_000);
    assert_eq!(fleet.pool(0, "a"), "Holding 2/2");
    // It wakes, saw nothing of it, and its links are made anew.
    fleet.all[1].alive = true;
    fleet.run(500);
    assert_eq!(fleet.pool(1, "a"), "Serving 2/2");
    let word = first_word(&fleet.all[0], fleet.now);
    let (boot, now) = (fleet.all[0].boot, fleet.now);
    fleet.all[1].hear(boot, &word, now);
    assert_eq!(fleet.pool(1, "a"), "Holding 2/2");
}

fn demand(fleet: &mut Fleet, index: usize, rps: u64) {
    let rates = BTreeMap::from([(web(), Load::Rate { rps: rps * 1000 })]);
    fleet.finds(index, Input::Demand { zone: "a".parse().unwrap(), rates });
}

fn asked_for(fleet: &Fleet, index: usize) -> u64 {
    let (demand, _) = fleet.all[index].core.demand();
    demand.values().map(|load| load.thousandths() / 1000).sum()
}

#[test]
fn what_replicas_measure_adds_up_and_counts_a_while_after_one_fell_silent() {
    let mut fleet = Fleet::new(2, CAPACITY);
    for _ in 0..120 {
        demand(&mut fleet, 0, 50);
        demand(&mut fleet, 1, 30);
        fleet.run(1_000);
    }
    assert_eq!((asked_for(&fleet, 0), asked_for(&fleet, 1)), (80, 80));
    fleet.kill(1);
    for _ in 0..6 {
        fleet.run(1_000);
        demand(&mut fleet, 0, 50);
    }
    assert_eq!(asked_for(&fleet, 0), 80, "its gateways are not here yet");
    for _ in 0..120 {
        fleet.run(1_000);
        demand(&mut fleet, 0, 80);
    }
    assert_eq!(asked_for(&fleet, 0), 80, "what came over is not counted twice");
}

#[test]
fn a_replay_decides_what_replicas_decided() {
    let mut fleet = Fleet::new(2, CAPACITY);
    demand(&mut fleet, 1, 100);
    (1..=2).for_each(|last| fleet.all_see(last, false));
    fleet.run(2_000);
    fleet.kill(1);
    fleet.run(10_000);
    let folder = tempfile::tempdir().unwrap();
    let header = Header::first("east".parse().unwrap(), None, 1);
    let limits = Limits { queue: 1_000_000, bytes_per_second: u64::MAX, ..Limits::default() };
    let (mut journal, writer) = Journal::new(folder.path().to_owned(), header, limits);
    let one = &mut fleet.all[0];
    for (at, input, output) in std::mem::take(&mut one.noted) {
        journal.note(at, input, output.records, &one.core);
    }
    drop(journal);
    writer.run();
    let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let replayed = replay(&[read(&path).unwrap()], true);
    assert!(replayed.exact && replayed.inputs > 100, "{}", replayed.inputs);
    assert_eq!(replayed.difference, None);
}

#[derive(Clone, Debug)]
enum Step {
    /// An endpoint changes, and each replica finds it after so many steps of 10 ms.
    Changes(u8, bool, [u8; 3]),
    /// One replica alone errs about an endpoint for a while.
    Errs(usize, u8, u16),
    Passes(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..=4_u8, any::<bool>(), [0..100_u8, 0..100, 0..100])
            .prop_map(|(last, up, late)| Step::Changes(last, up, late)),
        (0..3_usize, 1..=4_u8, 1..5_000_u16).prop_map(|(index, last, ms)| Step::Errs(index, last, ms)),
        (1..20_000_u16).prop_map(Step::Passes),
    ]
}

fn play(steps: Vec<Step>) {
    let mut fleet = Fleet::new(3, "");
    let mut truth: BTreeMap<u8, bool> = (1..=4).map(|last| (last, true)).collect();
    for step in steps {
        match step {
            Step::Changes(last, up, late) => {
                truth.insert(last, up);
                for tick in 0..100 {
                    (0..3).filter(|index| late[*index] == tick).for_each(|index| fleet.sees(index, last, up));
                    fleet.run(10);
                }
            }
            Step::Errs(index, last, ms) => {
                fleet.sees(index, last, !truth[&last]);
                fleet.run(ms.into());
                fleet.sees(index, last, truth[&last]);
            }
            Step::Passes(ms) => fleet.run(ms.into()),
        }
    }
    // Hold-downs double up to ten minutes.
    fleet.run(900_000);
    fleet.assert_alike();
    let down: BTreeSet<u8> = truth.into_iter().filter(|(_, up)| !up).map(|(last, _)| last).collect();
    let plan = fleet.plan(0, "a");
    if down.is_empty() {
        assert_eq!(plan, "zone a 100 %");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn replicas_tell_their_gateways_the_same_after_any_history(
        steps in prop::collection::vec(step(), 1..12)
    ) {
        play(steps);
    }
}
