//! Traffic shifts: away at once, back by the ramp, and never from the last healthy place without a word.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{Board, World, cluster, region, service, text, zone};
use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::{
    Decision, Due, Event, Location, MAX_SHIFT, Rule, Shift, ShiftChange, ShiftTarget, ShiftedBy, Tier,
    Written,
};
use tidegate_model::{Locality, Phase};

fn shop() -> World {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 10).remote("west", "web", 10, 100.0, Phase::Serving);
    world.until(10.0).forget_history();
    world
}

fn in_zone(name: &str) -> Location {
    Location::Zone(Locality { region: region("us-east"), zone: zone(name) })
}

/// An operator moves everything away for an hour.
fn away(location: Location) -> Shift {
    Shift {
        name: "s".to_owned(),
        target: ShiftTarget { location, service: None },
        percent: 100,
        remaining: Duration::from_secs(3600),
        by: ShiftedBy::Operator,
        comment: "rack work".to_owned(),
        force: false,
    }
}

fn changes(world: &World) -> Vec<ShiftChange> {
    let change = |it: &Decision| match it {
        Decision::Shift(it) => Some(it.change),
        _ => None,
    };
    world.decisions.iter().filter_map(change).collect()
}

fn reason(world: &World, target: &str) -> (Rule, String) {
    let reason = world.plan("web", "a").reasons.iter().find(|it| it.target.to_string() == target).unwrap();
    (reason.rule, reason.to_string())
}

#[test]
fn a_pool_that_is_gone_takes_its_shift_along_when_it_goes() {
    let mut world = shop();
    world.add("new", &["a", "b"], 1).check_all("new", "b", true);
    world.handle(Event::Shift(away(in_zone("a"))));
    let kept = |world: &World| {
        let saved = serde_json::to_value(world.engine.save(world.now)).unwrap();
        saved["services"]["shop/new"]["steering"]["aways"].as_array().unwrap().len()
    };
    assert_eq!(kept(&world), 1);
    // Nothing of it in zone a was ever healthy, so nothing is missed there.
    world.discover("new", |endpoints| endpoints.retain(|_, (its_zone, _)| its_zone.as_str() == "b"));
    assert_eq!(kept(&world), 0);
}

#[test]
fn a_zone_is_emptied_at_once_and_comes_back_by_the_ramp_without_hold_down() {
    let mut world = shop();
    world.handle(Event::Shift(away(in_zone("a"))));
    assert_eq!(world.pool("web", "a"), "Shifted 10/10 0 %");
    assert_eq!(world.shares("web", "a"), "zone b 10000");
    let standby: Vec<String> = world.plan("web", "a").standby.iter().map(text).collect();
    assert_eq!(standby, ["cluster west 10000"], "a shifted pool does not stand by");
    assert_eq!(
        reason(&world, "zone a"),
        (
            Rule::Shifted,
            "zone a (us-east) gets 0 %: Shifted, 10 of 10 healthy, admit 0 %; its traffic was moved away; an \
             operator moved 100 % of the traffic away from zone us-east/a (shift s: rack work) [default]"
                .to_owned()
        )
    );
    world.until(100.0);
    world.handle(Event::ShiftEnded("s".to_owned()));
    assert_eq!(world.pool("web", "a"), "Ramping 10/10 10 %");
    assert_eq!(world.shares("web", "a"), "zone a 1000, zone b 9000");
    assert_eq!(world.until(110.0).shares("web", "a"), "zone a 5000, zone b 5000");
    assert_eq!(world.until(120.0).pool("web", "a"), "Serving 10/10 100 %");
    world.settle();
    assert_eq!(fixture::runs(&world.history("web", "a")), [1, 3]);
    assert_eq!(changes(&world), [ShiftChange::Started, ShiftChange::Ended]);
}

#[test]
fn a_part_of_the_traffic_is_moved_and_the_phase_stays() {
    let mut world = shop();
    world.handle(Event::Shift(Shift { percent: 40, ..away(in_zone("a")) }));
    assert_eq!(world.pool("web", "a"), "Serving 10/10 60 %");
    assert_eq!(world.shares("web", "a"), "zone a 6000, zone b 4000");
    assert!(
        reason(&world, "zone a").1.contains("moved 40 % of the traffic away"),
        "{:?}",
        reason(&world, "zone a")
    );
    world.check("web", "a", 1, false).check("web", "a", 2, false).check("web", "a", 3, false);
    world.check("web", "a", 4, false).check("web", "a", 5, false).until(20.0);
    assert_eq!(world.pool("web", "a"), "Reduced 5/10 42.86 %", "60 % of what health allows");
}

#[test]
fn a_shift_of_one_service_leaves_the_others() {
    let mut world = shop();
    world.add_up("pay", &["a", "b"], 2);
    let target = ShiftTarget { location: in_zone("a"), service: Some(service("web")) };
    world.handle(Event::Shift(Shift { target, ..away(in_zone("a")) }));
    assert_eq!(world.shares("web", "a"), "zone b 10000");
    assert_eq!(world.shares("pay", "a"), "zone a 10000");
}

#[test]
fn a_shift_ends_by_itself_when_its_time_is_over() {
    let mut world = shop();
    world.handle(Event::Shift(Shift { remaining: Duration::from_secs(60), ..away(in_zone("a")) }));
    assert_eq!(world.engine.next_deadline().unwrap().due, Due::Shift("s".to_owned()));
    assert_eq!(world.until(69.9).shares("web", "a"), "zone b 10000");
    assert_eq!(world.until(70.0).shares("web", "a"), "zone a 1000, zone b 9000");
    assert_eq!(changes(&world), [ShiftChange::Started, ShiftChange::Expired]);
    world.handle(Event::Shift(Shift { remaining: MAX_SHIFT * 2, ..away(in_zone("a")) }));
    assert_eq!(world.engine.shifts(world.now).next().unwrap().remaining, MAX_SHIFT);
}

#[test]
fn one_shift_per_target_an_operators_before_a_drills_and_the_later_before_the_earlier() {
    let mut world = shop();
    let drill = || Shift { by: ShiftedBy::Drill, percent: 95, ..away(in_zone("a")) };
    world.handle(Event::Shift(drill()));
    world.handle(Event::Shift(Shift { percent: 20, ..away(in_zone("a")) }));
    assert_eq!(world.pool("web", "a"), "Ramping 10/10 10 %", "a smaller one lets traffic back by the ramp");
    assert_eq!(world.until(30.0).pool("web", "a"), "Serving 10/10 80 %");
    world.handle(Event::Shift(drill()));
    assert_eq!(world.pool("web", "a"), "Serving 10/10 80 %");
    world.handle(Event::Shift(Shift { percent: 70, ..away(in_zone("a")) }));
    assert_eq!(world.pool("web", "a"), "Serving 10/10 30 %");
    assert_eq!(world.engine.shifts(world.now).count(), 1);
    use ShiftChange::{Outranked, Started};
    assert_eq!(changes(&world), [Started, Started, Outranked, Started]);
}

#[test]
fn of_several_shifts_over_a_pool_the_largest_counts_alone() {
    let mut world = shop();
    world.handle(Event::Shift(Shift { percent: 50, ..away(Location::Region(region("us-east"))) }));
    world.handle(Event::Shift(Shift { percent: 20, ..away(in_zone("a")) }));
    assert_eq!(world.pool("web", "a"), "Serving 10/10 50 %");
    assert_eq!(world.pool("web", "b"), "Serving 10/10 50 %");
}

#[test]
fn a_shift_that_moves_nothing_or_too_much_is_refused() {
    let mut world = shop();
    world.handle(Event::Shift(Shift { percent: 0, ..away(in_zone("a")) }));
    world.handle(Event::Shift(Shift { percent: 101, ..away(in_zone("a")) }));
    assert_eq!(changes(&world), [ShiftChange::Invalid; 2]);
    assert_eq!(world.engine.shifts(world.now).count(), 0);
    assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
}

#[test]
fn the_last_healthy_place_of_a_service_is_not_drained_without_force() {
    let mut world = shop();
    world.unreachable("west").check_all("web", "b", false);
    world.handle(Event::Shift(away(in_zone("a"))));
    assert_eq!(world.shares("web", "a"), "zone a 10000");
    assert_eq!(reason(&world, "zone a").0, Rule::LastPlace);
    assert!(reason(&world, "zone a").1.contains("no other healthy place of it is left"));
    let refused = |world: &World| world.engine.refused_shifts();
    assert_eq!(refused(&world), BTreeMap::from([("s".to_owned(), vec![service("web")])]));
    world.handle(Event::Shift(Shift { force: true, ..away(in_zone("a")) }));
    assert_eq!(world.pool("web", "a"), "Shifted 10/10 0 %");
    assert_eq!(world.shares("web", "a"), "zone a 10000", "pass 3: it serves before anything panics");
    assert!(refused(&world).is_empty());
    assert!(!world.plan("web", "a").last_resort);
}

#[test]
fn a_shift_that_was_refused_acts_once_there_is_another_place_and_goes_on_acting() {
    let mut world = shop();
    world.unreachable("west").check_all("web", "b", false);
    world.handle(Event::Shift(away(in_zone("a"))));
    assert_eq!(world.engine.refused_shifts()["s"], [service("web")]);
    world.decisions.clear();
    world.check_all("web", "b", true);
    assert_eq!(world.pool("web", "a"), "Shifted 10/10 0 %");
    assert_eq!(world.shares("web", "a"), "zone b 10000", "b is healthy, so its hold-down does not matter");
    assert!(world.engine.refused_shifts().is_empty());
    let told = world.decisions.iter().any(|it| match it {
        Decision::Pool { status, note: Some(note), .. } => {
            status.phase == Phase::Shifted && note.contains("shift s: rack work")
        }
        _ => false,
    });
    assert!(told, "not without a word: {:?}", world.decisions);
    world.check_all("web", "b", false);
    assert_eq!(world.shares("web", "a"), "zone a 10000", "shifted pools are used before panic");
    assert_eq!(world.pool("web", "a"), "Shifted 10/10 0 %");
}

#[test]
fn two_shifts_do_not_empty_both_places_of_a_service() {
    let mut world = shop();
    world.unreachable("west");
    world.handle(Event::Shift(away(in_zone("a"))));
    world.handle(Event::Shift(Shift { name: "t".to_owned(), ..away(in_zone("b")) }));
    assert_eq!(world.pool("web", "a"), "Shifted 10/10 0 %");
    assert_eq!(world.pool("web", "b"), "Serving 10/10 100 %");
    assert_eq!(reason(&world, "zone b").0, Rule::LastPlace);
}

#[test]
fn a_place_that_residency_forbids_is_no_other_place() {
    let mut world = shop();
    world.policy.residency = Some(Written::default_value([region("us-east")].into()));
    world.discover("web", |_| {});
    world.handle(Event::Shift(away(Location::Cluster(cluster("east")))));
    assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
    assert_eq!(reason(&world, "zone a").0, Rule::LastPlace);
}

#[test]
fn the_own_region_and_other_clusters_can_be_left() {
    let mut world = shop();
    world.handle(Event::Shift(away(Location::Region(region("us-east")))));
    assert_eq!(world.shares("web", "a"), "cluster west 10000");
    world.handle(Event::ShiftEnded("s".to_owned()));
    world.settle();
    world.handle(Event::Shift(away(Location::Region(region("us-west")))));
    world.check_all("web", "a", false).check_all("web", "b", false);
    assert_eq!(world.shares("web", "a"), "cluster west 10000", "pass 3");
    assert_eq!(reason(&world, "cluster west").0, Rule::BeyondAdmit);
    let mut part = shop();
    part.handle(Event::Shift(Shift { percent: 50, ..away(Location::Cluster(cluster("west"))) }));
    part.remote("west", "web", 10, 50.0, Phase::Serving);
    part.check_all("web", "a", false).check_all("web", "b", false);
    let west =
        part.plan("web", "a").reasons.iter().find(|it| it.target.to_string() == "cluster west").unwrap();
    assert_eq!(west.admit.to_string(), "50 %", "a shift that its owner tells of too counts once");
}

#[test]
fn an_order_that_names_only_a_shifted_place_still_serves_from_it() {
    let board = Board::new(&["zone a 10/10@0% Shifted", "zone b 0/10", "cluster west us-west 10/10"]);
    assert_eq!(board.shares(), "cluster west 10000");
    let only = board.order(&[Tier::SameZone]);
    assert_eq!((only.shares(), only.plan().last_resort), ("zone a 10000".to_owned(), false));
    assert_eq!(only.rule("zone a"), Rule::BeyondAdmit);
    let holding = Board::new(&["zone a 10/10@0% Shifted", "zone b 10/10@0% Holding"]);
    assert_eq!(holding.shares(), "zone b 10000", "pass 2 before pass 3");
}

#[test]
fn a_pool_that_fails_while_its_traffic_is_away_comes_back_by_its_hold_down_too() {
    let mut world = shop();
    world.handle(Event::Shift(away(in_zone("a"))));
    world.check_all("web", "a", false).until(20.0).check_all("web", "a", true);
    world.handle(Event::ShiftEnded("s".to_owned()));
    assert_eq!(world.pool("web", "a"), "Holding 10/10 0 %");
    assert_eq!(world.until(50.0).pool("web", "a"), "Ramping 10/10 10 %");
    world.settle();
    assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
}

#[test]
fn a_zone_that_is_scaled_in_while_its_traffic_is_away_does_not_come_back_whole() {
    let mut world = shop();
    world.handle(Event::Shift(away(in_zone("a"))));
    world.terminate("web", "a", 3..=10).until(60.0).vanish("web", "a", 3..=10).until(100.0);
    world.handle(Event::ShiftEnded("s".to_owned()));
    world.until(2000.0);
    assert_eq!(world.pool("web", "a"), "Out 2/10 0 %");
    assert_eq!(world.shares("web", "a"), "zone b 10000");
}

#[test]
fn a_restart_keeps_a_shift_with_what_remains_of_it_and_a_return_that_is_under_way() {
    let mut world = shop();
    world.handle(Event::Shift(Shift { remaining: Duration::from_secs(100), ..away(in_zone("a")) }));
    world.until(50.0);
    let mut after = world.restarted();
    after.add("web", &["a", "b"], 10);
    assert_eq!(after.pool("web", "a"), "Shifted 10/10 0 %");
    assert_eq!(after.engine.shifts(after.now).next().unwrap().remaining, Duration::from_secs(60));
    assert_eq!(after.until(60.0).pool("web", "a"), "Ramping 10/10 10 %");
    after.until(65.0);
    let mut again = after.restarted();
    again.add("web", &["a", "b"], 10);
    assert_eq!(again.pool("web", "a"), "Ramping 10/10 10 %");
    assert_eq!(again.until(5.0).pool("web", "a"), "Ramping 10/10 50 %");
}

#[test]
fn a_save_before_the_first_event_keeps_the_shifts() {
    let mut world = shop();
    world.handle(Event::Shift(away(in_zone("a"))));
    let saved = world.engine.save(world.now);
    let engine = tidegate_engine::Engine::new(cluster("east"), region("us-east"), saved.clone());
    assert_eq!(engine.save(world.now), saved);
}
