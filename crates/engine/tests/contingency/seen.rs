//! The fleet as an agent sees it: what-if asks the planner what the engine asks it.

use crate::fixture::{World, cluster, service, source};
use tidegate_engine::{Clients, FleetState, contingency, plans};
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
