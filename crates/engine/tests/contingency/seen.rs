//! The fleet as an agent sees it: what-if asks the planner what the engine asks it.

use crate::fixture::{World, cluster, service, source};
use std::collections::BTreeMap;
use tidegate_engine::{
    Capacity, Clients, Event, Fate, FleetState, Load, Resilience, Shift, ShiftTarget, ShiftedBy, Unit, away,
    contingency, outlook, plans,
};
use tidegate_model::Phase;

/// The plans of what-if are the engine's.
fn agree(world: &World) {
    let state = FleetState::seen_by(&world.engine, world.now);
    for (name, plans) in plans(&state) {
        let engine: Vec<_> = world.engine.plans(&name).cloned().collect();
        assert_eq!(plans.into_values().collect::<Vec<_>>(), engine, "{name}");
    }
}

#[test]
fn an_agents_view_gives_its_plans_through_fault_and_recovery() {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 10).remote("west", "web", 10, 100.0, Phase::Serving).until(10.0);
    agree(&world);
    for n in 1..=5 {
        world.check("web", "a", n, false);
    }
    agree(world.until(15.0));
    world.check_all("web", "a", false).check_all("web", "b", false);
    agree(&world);
    assert_eq!(world.shares("web", "a"), "cluster west 10000");
    world.unreachable("west");
    agree(&world);
    world.reachable("west", false);
    agree(&world);
    world.check_all("web", "a", true);
    for second in 16..80 {
        agree(world.until(f64::from(second)));
    }
}

#[test]
fn an_agent_answers_for_its_own_callers() {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 10).remote("west", "web", 10, 100.0, Phase::Serving).until(10.0);
    let state = FleetState::seen_by(&world.engine, world.now);
    let sources: Vec<_> = state.services[&service("web")].demand.keys().cloned().collect();
    assert_eq!(sources, [source("a"), source("b")]);
    assert_eq!(state.clusters.len(), 3);
    let found = contingency(&state, &["cluster/west".parse().unwrap()], Clients::Move);
    assert!(found.holds());
    let found = contingency(&state, &["zone/us-east/a".parse().unwrap()], Clients::Move);
    assert!(found.holds() && found.worst_factor().unwrap().1.cluster == cluster("east"));
}

#[test]
fn declared_capacity_and_measured_demand_show_who_is_used_how_much() {
    let mut world = World::new();
    world.policy.capacity = Some(Capacity::per_endpoint(Load::Rate { rps: 100_000 }));
    world.add_up("web", &["a", "b"], 10).remote("west", "web", 10, 100.0, Phase::Serving);
    for (zone, rps) in [("a", 1_200_000), ("b", 400_000)] {
        let rates = BTreeMap::from([(service("web"), Load::Rate { rps })]);
        world.handle(Event::Demand { source: source(zone), rates });
    }
    agree(&world);
    assert_eq!(world.shares("web", "a"), "zone a 6667, zone b 3333");
    let state = FleetState::seen_by(&world.engine, world.now);
    let found = contingency(&state, &["zone/us-east/a".parse().unwrap()], Clients::Move);
    let outcome = &found.services[0];
    assert_eq!(outcome.unit, Unit::Rate);
    // All 1600 come in at b now: 800 stay there, 800 go to west, as far as shares can tell; nobody is above 80 %.
    let of = |zone: &str| outcome.pools.iter().find(|it| it.locality.zone.as_str() == zone).unwrap();
    let near = |found: u64, wanted: u64| found.abs_diff(wanted) <= wanted / 1000;
    assert!(near(of("b").before, 800_000) && near(of("b").after, 800_000), "{:?}", of("b"));
    assert!(of("b").utilization_after.is_some_and(|part| near(part, 800_000)));
    assert!(near(outcome.pools.iter().map(|it| it.after).sum(), 1_600_000));
    assert!(found.holds());
}

fn shift(zone: &str, percent: u32) -> Shift {
    let location = format!("zone/us-east/{zone}").parse().unwrap();
    Shift {
        name: zone.to_owned(),
        target: ShiftTarget { location, service: None },
        percent,
        remaining: std::time::Duration::from_secs(600),
        by: ShiftedBy::Operator,
        comment: "test".to_owned(),
        force: false,
    }
}

#[test]
fn what_a_shift_would_do_is_what_it_does() {
    for percent in [100, 50] {
        let mut world = World::new();
        world.add_up("web", &["a", "b"], 10).remote("west", "web", 10, 100.0, Phase::Serving).until(10.0);
        let told = outlook(world.engine.clone(), &shift("a", percent), world.now);
        let before = world.shares("web", "a");
        let outcome = &told.moves.services[0];
        assert_eq!((outcome.fate, told.refused.len()), (Fate::FailsOver, 0));
        world.handle(Event::Shift(shift("a", percent)));
        assert_ne!(world.shares("web", "a"), before);
        for it in &outcome.sources {
            let plan = world.engine.plans(&service("web")).find(|plan| plan.source == it.source).unwrap();
            assert_eq!(it.after, plan.shares, "{percent} %");
        }
        let total = |of: fn(&tidegate_engine::PoolLoad) -> u64| outcome.pools.iter().map(of).sum::<u64>();
        assert_eq!(total(|it| it.before), total(|it| it.after), "nothing is lost on the way");
    }
}

#[test]
fn a_shift_away_from_the_last_healthy_place_is_told_to_be_refused_and_leaves_less_to_lose() {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 10).until(10.0);
    let harm = |told: &[tidegate_engine::Contingency]| told.iter().map(|it| it.stranded.len()).sum::<usize>();
    let told = outlook(world.engine.clone(), &shift("a", 100), world.now);
    assert_eq!(told.before.len(), told.after.len());
    assert!(harm(&told.after) >= harm(&told.before));
    world.check_all("web", "b", false);
    let told = outlook(world.engine.clone(), &shift("a", 100), world.now);
    assert_eq!(told.refused, [service("web")]);
    assert_eq!(told.moves.services[0].fate, Fate::Untouched);
}

#[test]
fn what_is_away_is_told_by_where_it_would_be_if_all_were_well() {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 10).add_up("lone", &["a"], 10).until(10.0);
    let look = |world: &World| Resilience::of(&FleetState::seen_by(&world.engine, world.now));
    let aways = |world: &World, homes: &Resilience, name: &str| -> Vec<u32> {
        let service = service(name);
        let plans = world.engine.plans(&service);
        plans.map(|it| away(&homes.homes[&service][&it.source], &it.shares).parts()).collect()
    };
    let whole = look(&world);
    assert_eq!(aways(&world, &whole, "web"), [0, 0]);
    assert_eq!(aways(&world, &whole, "lone"), [0, 0], "what has only one place is at home there");
    assert!(!whole.risks.contains_key(&service("web")));
    let alone = &whole.risks[&service("lone")].stranded_by;
    assert!(alone.iter().any(|it| it.to_string() == "zone/us-east/a"), "{alone:?}");
    world.check_all("web", "a", false);
    let broken = look(&world);
    assert_eq!(broken.homes, whole.homes, "a fault does not move a home");
    assert_eq!(aways(&world, &broken, "web"), [10_000, 0]);
    assert!(!broken.risks[&service("web")].stranded_by.is_empty(), "one more loss is too much");
}
