//! Demand fed back second by second: after a step the shares settle, and nothing swings.

use crate::fixture::regions;
use crate::trio::{PLACES, Trio};
use tidegate_engine::{Capacity, Load, OrderRule, Policy, Rule, Tier, WhenExhausted, Written};

fn policy(exhausted: WhenExhausted) -> Policy {
    let mut policy =
        Policy { capacity: Some(Capacity::per_endpoint(Load::Rate { rps: 100_000 })), ..Policy::default() };
    policy.when_exhausted.value = exhausted;
    policy
}

/// From ten recomputations after a step on, every share is within the dead band of where it ends, and ends there.
fn settles(trio: &mut Trio, what: &str) {
    let watched: Vec<Vec<u64>> = (0..50)
        .map(|_| {
            trio.step(1);
            trio.shares()
        })
        .collect();
    let (last, settled) = (watched.last().unwrap(), watched[25..].iter());
    assert!(settled.clone().all(|shares| shares == last), "{what}: {watched:?}");
    for shares in &watched[9..] {
        let close = |(share, end): (&u64, &u64)| share.abs_diff(*end) <= 100;
        assert!(shares.iter().zip(last).all(close), "{what}: {shares:?} {last:?}");
    }
}

#[test]
fn after_a_step_of_demand_near_the_limit_the_shares_settle_within_ten_recomputations() {
    for exhausted in [WhenExhausted::Spread, WhenExhausted::Shed] {
        let mut trio = Trio::new(&policy(exhausted), [700, 700, 700]);
        settles(&mut trio, "at rest");
        for offered in
            [[1000, 700, 700], [1200, 790, 400], [1600, 790, 790], [500, 2000, 100], [750, 760, 770]]
        {
            trio.offered.values_mut().zip([offered[0], offered[2], offered[1]]).for_each(|(it, to)| *it = to);
            settles(&mut trio, &format!("{offered:?}"));
        }
    }
}

#[test]
fn two_clusters_that_cannot_hear_each_other_settle_on_what_the_third_takes() {
    let mut trio = Trio::new(&policy(WhenExhausted::Shed), [500, 200, 500]);
    trio.step(5);
    trio.cut("east", "eu");
    trio.check("east", 10, false);
    trio.check("eu", 10, false);
    trio.step(10);
    let settled = trio.shares();
    for _ in 0..15 {
        trio.step(1);
        assert!(trio.load("west/b") <= 808, "{} {:?}", trio.load("west/b"), trio.shares());
        assert!(trio.shares().iter().zip(&settled).all(|(a, b)| a.abs_diff(*b) <= 100));
    }
    assert!(trio.load("west/b") >= 760, "what is there is used: {}", trio.load("west/b"));
}

#[test]
fn no_place_is_planned_beyond_its_budget_while_another_has_room() {
    let mut trio = Trio::new(&policy(WhenExhausted::Spread), [700, 700, 700]);
    trio.offered.values_mut().zip([1300, 400, 600]).for_each(|(it, to)| *it = to);
    trio.step(60);
    for place in PLACES {
        assert!(trio.load(place) <= 812, "{place}: {}", trio.load(place));
    }
}

/// eu reaches itself and east, which reaches everything: what eu has over is served at east, and east moves on to west.
#[test]
fn who_moves_on_for_another_settles_within_ten_recomputations_and_stays() {
    for exhausted in [WhenExhausted::Spread, WhenExhausted::Shed] {
        let mut policy = policy(exhausted);
        let to = vec![Tier::SameRegion, Tier::Only(regions(&["us-east"]))];
        policy.failover.push(Written::default_value(OrderRule { from: regions(&["eu"]), to }));
        let mut trio = Trio::new(&policy, [500, 300, 500]);
        settles(&mut trio, "at rest");
        for offered in [[700, 300, 1000], [1000, 300, 1000], [800, 700, 900], [900, 300, 1150]] {
            trio.offered.values_mut().zip([offered[0], offered[2], offered[1]]).for_each(|(it, to)| *it = to);
            settles(&mut trio, &format!("{offered:?}"));
            let plan = trio.plan("east/a");
            let rule = plan.reasons.iter().find(|it| it.target == "zone a".parse().unwrap()).unwrap().rule;
            assert_eq!(rule, Rule::MadeRoom, "{offered:?}: {plan:#?}");
            let most = PLACES.map(|place| trio.load(place)).into_iter().max().unwrap();
            assert!(most <= 808, "{offered:?}: {most} {:?}", trio.shares());
        }
        // Half of east goes, and comes back by its ramp; where everybody ends is where everybody was.
        trio.offered.values_mut().zip([700, 1000, 300]).for_each(|(it, to)| *it = to);
        settles(&mut trio, "before the fault");
        let before = trio.shares();
        trio.check("east", 5, false);
        settles(&mut trio, "half of east is gone");
        trio.check("east", 5, true);
        trio.step(120);
        settles(&mut trio, "east is whole again");
        let close = |(now, then): (&u64, &u64)| now.abs_diff(*then) <= 100;
        assert!(trio.shares().iter().zip(&before).all(close), "{before:?} {:?}", trio.shares());
    }
}
