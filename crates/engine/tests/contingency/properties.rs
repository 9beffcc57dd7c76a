//! What holds for every fleet.

use crate::{
    drawn::policy,
    fixture::{cases, cluster, service, zone},
    fleet::{FLEET, fleet},
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::sync::Arc;
use tidegate_engine::{
    Clients, Contingency, FleetService, FleetState, Location, PoolFigures, Shares, Source, SourceOutcome,
    Target, contingency, n_minus_1, n_minus_2, plans,
};
use tidegate_model::{Fraction, Phase, Share};

fn figures() -> impl Strategy<Value = PoolFigures> {
    let phases = vec![Phase::Serving, Phase::Reduced, Phase::Out, Phase::Holding, Phase::Ramping];
    (0..6u32, 0..6u32, 0..=4u32, select(phases)).prop_map(|(expected, healthy, quarters, phase)| {
        let healthy = healthy.min(expected);
        // As an owner tells it: who is out is given nothing, who serves everything, and all others something between.
        let phase = match (expected, healthy) {
            (0, _) => Phase::Empty,
            (_, 0) => Phase::Out,
            _ => phase,
        };
        let quarters = match phase {
            Phase::Serving => 4,
            Phase::Out => 0,
            Phase::Reduced => quarters.clamp(1, 3),
            Phase::Empty => quarters,
            _ => quarters.min(3),
        };
        PoolFigures {
            expected,
            healthy,
            admit: Fraction::from_ppm(quarters * 250_000).unwrap(),
            phase,
            capacity: None,
        }
    })
}

fn any_fleet() -> impl Strategy<Value = FleetState> {
    let pool = (0..2usize, 0..FLEET.len(), 0..3usize, figures());
    (vec(pool, 1..12), [policy(), policy()], vec((0..FLEET.len(), 0..FLEET.len()), 0..2)).prop_map(
        |(pools, policies, cut)| {
            let names = ["pay", "web"];
            let zones = ["a", "b", "c"];
            let all: Vec<String> = pools
                .iter()
                .map(|(name, of, at, _)| format!("{} {} {} 1/1", names[*name], FLEET[*of].0, zones[*at]))
                .collect();
            let mut state = fleet(&all.iter().map(String::as_str).collect::<Vec<_>>());
            for (name, of, at, figures) in pools {
                let known = state.services.get_mut(&service(names[name])).unwrap();
                known.policy = Arc::new(policies[name].clone());
                known.pools.insert((cluster(FLEET[of].0), zone(zones[at])), figures);
            }
            for (from, to) in cut.into_iter().filter(|(from, to)| from != to) {
                if let Some(member) = state.clusters.get_mut(&cluster(FLEET[from].0)) {
                    member.unreachable.insert(cluster(FLEET[to].0));
                }
            }
            state
        },
    )
}

fn lies_in(location: &Location, of: &str, at: &str) -> bool {
    match location {
        Location::Zone(it) => it.zone.as_str() == at && FLEET.contains(&(of, it.region.as_str())),
        Location::Cluster(it) => it.as_str() == of,
        Location::Region(it) => FLEET.contains(&(of, it.as_str())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(400)))]

    #[test]
    fn losing_nothing_gives_the_plans_as_they_stand(state in any_fleet()) {
        let found = contingency(&state, &[], Clients::Move);
        prop_assert!(found.stranded.is_empty());
        let plans = plans(&state);
        for service in &found.services {
            for source in &service.sources {
                let plan = &plans[&service.service][&source.source];
                prop_assert_eq!(&source.before, &plan.shares);
                prop_assert_eq!(&source.after, &plan.shares);
                prop_assert_eq!(source.shed, plan.shed);
            }
            prop_assert!(service.pools.iter().all(|pool| pool.before == pool.after));
        }
    }

    #[test]
    fn nothing_is_given_to_what_is_lost_and_nothing_is_forgotten(state in any_fleet()) {
        let pairs = n_minus_2(&state, Clients::Move, 40);
        for found in n_minus_1(&state, Clients::Move).into_iter().chain(pairs) {
            for service in &found.services {
                for pool in service.pools.iter().filter(|pool| pool.lost) {
                    prop_assert_eq!(pool.after, 0);
                }
                for source in service.sources.iter().filter(|source| !source.lost) {
                    let sum: u32 = source.after.values().map(|share| share.parts()).sum();
                    prop_assert_eq!(sum + source.shed.parts(), Share::ALL.parts());
                    for target in source.after.keys() {
                        let pools = state.services[&service.service].pools.keys();
                        let mut behind = pools.filter(|(of, at)| match target {
                            Target::Zone(it) => *of == source.source.cluster && it == at,
                            Target::Cluster(it) => it == of,
                        });
                        let is_left = |(of, at): &(_, _)| !found.lost.iter().any(|it| lies_in(it, &as_text(of), &as_text(at)));
                        prop_assert!(behind.any(is_left), "{target} is lost: {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn losing_what_serves_a_source_nothing_changes_nothing_for_it(state in any_fleet()) {
        for found in n_minus_1(&state, Clients::Move) {
            for service in &found.services {
                let served_there = |source: &Source, targets: &Shares| targets.keys().any(|target| {
                    let mut pools = state.services[&service.service].pools.keys();
                    pools.any(|(of, at)| found.lost.iter().any(|it| lies_in(it, of.as_str(), at.as_str())) && match target {
                        Target::Zone(it) => *of == source.cluster && it == at,
                        Target::Cluster(it) => it == of,
                    })
                });
                // Beyond admit, who is asked first depends on how all the others stand.
                let wholly_serving = |source: &Source, targets: &Shares| targets.keys().all(|target| {
                    let pools = state.services[&service.service].pools.iter();
                    let mut behind = pools.filter(|((of, at), _)| match target {
                        Target::Zone(it) => *of == source.cluster && it == at,
                        Target::Cluster(it) => it == of,
                    });
                    behind.all(|(_, it)| it.admit.is_one() && it.healthy > 0 && it.phase == Phase::Serving)
                });
                let kept = |it: &&SourceOutcome| {
                    !it.lost && !served_there(&it.source, &it.before) && wholly_serving(&it.source, &it.before)
                };
                for it in service.sources.iter().filter(kept) {
                    prop_assert_eq!(&it.before, &it.after, "{} from {} by {:?}", service.service, it.source, found.lost);
                }
            }
        }
    }

    #[test]
    fn the_order_in_which_a_fleet_is_told_decides_nothing(state in any_fleet()) {
        let mut told = FleetState::default();
        for (name, member) in state.clusters.iter().rev() {
            told.clusters.insert(name.clone(), member.clone());
        }
        for (name, known) in state.services.iter().rev() {
            let demand = known.demand.iter().rev().map(|(source, rate)| (source.clone(), *rate)).collect();
            told.services.insert(name.clone(), FleetService { demand, ..known.clone() });
        }
        let lose: Vec<Location> = state.locations().into_iter().take(2).collect();
        let back: Vec<Location> = lose.iter().rev().cloned().collect();
        let json = |found: &Contingency| serde_json::to_string(found).unwrap();
        let (a, b) = (contingency(&state, &lose, Clients::Move), contingency(&told, &back, Clients::Move));
        prop_assert_eq!(json(&a), json(&b));
        let read: Contingency = serde_json::from_str(&json(&a)).unwrap();
        prop_assert_eq!(read, a);
    }
}

fn as_text(name: &impl ToString) -> String {
    name.to_string()
}
