//! What holds for every fleet with declared capacity.

use crate::{
    board::{Board, source},
    fixture::{cases, clusters},
};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;
use tidegate_engine::{
    Budget, OfferWeight, OrderRule, Pass, Plan, PoolBudget, Shares, Source, Spread, Standing, Stream, Target,
    Tier, WhenExhausted, Written, spend,
};
use tidegate_model::{Fraction, Phase};

pub(crate) const CASES: u32 = 10_000;
const PLACES: [&str; 7] = ["east/a", "east/b", "east-2/c", "west/x", "west/z", "west-2/w", "eu/y"];

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 8 => 0..1_000_000_u64, 2 => 0..1_000_000_000_000_u64, 1 => Just(u64::MAX)]
}

pub(crate) fn pools() -> impl Strategy<Value = Vec<PoolBudget>> {
    let standing = prop_oneof![Just(Standing::Settled), Just(Standing::Returning), Just(Standing::Shifted)];
    let gate = prop_oneof![4 => Just(u64::MAX), 1 => amount()];
    // Now and then two limits that differ by next to nothing, so that a pass begins with hardly any room somewhere.
    let limits = prop_oneof![
        4 => (amount(), amount()).prop_map(|(one, other)| (one.min(other), one.max(other))),
        1 => (amount(), 0..3_u64).prop_map(|(within, more)| (within, within.saturating_add(more))),
    ];
    let pool = (limits, prop_oneof![3 => Just(0), 1 => amount()], gate, standing);
    let pool = pool.prop_map(|((within, ceiling), taken, gate, standing)| PoolBudget {
        within,
        ceiling,
        taken,
        gate,
        standing,
        heard: true,
    });
    vec(pool, 0..7)
}

pub(crate) fn streams() -> impl Strategy<Value = Vec<Stream>> {
    let tiers = Just((0..7_usize).collect::<Vec<_>>()).prop_shuffle();
    let weight = prop_oneof![Just(0u64), 1..5u64, Just(1_000_000_000_000u64)];
    // What is healthy is at least what is healthy and admitted.
    let weight = (weight.clone(), weight)
        .prop_map(|(within, beyond)| OfferWeight { within, beyond: beyond.max(within) });
    let weights = proptest::option::weighted(0.5, vec(weight, 7));
    let stream = (amount(), any::<bool>(), tiers, 0..=7_usize, 1..4_usize, weights);
    let stream = stream.prop_map(|(demand, own, order, many, width, weights)| Stream {
        demand,
        own,
        tiers: order[..many].chunks(width).map(<[usize]>::to_vec).collect(),
        weights: weights.map(|it| it[..many].chunks(width).map(<[_]>::to_vec).collect()).unwrap_or_default(),
    });
    vec(stream, 0..8)
}

fn exhausted() -> impl Strategy<Value = WhenExhausted> {
    prop_oneof![Just(WhenExhausted::Spread), Just(WhenExhausted::Shed)]
}

pub(crate) const BILLION: u64 = 1_000_000_000_000_000;

fn pool_state() -> impl Strategy<Value = (u32, u32, Fraction, Phase)> {
    let phases = [Phase::Serving, Phase::Reduced, Phase::Out, Phase::Holding, Phase::Ramping, Phase::Shifted];
    let admit = prop_oneof![2 => Just(Fraction::ONE), 1 => Just(Fraction::ZERO), 2 => (0..=1_000_000_u32).prop_map(|it| Fraction::from_ppm(it).unwrap())];
    (0..12_u32, 0..12_u32, admit, proptest::sample::select(phases.to_vec()))
}

/// The sources of some clusters reach some clusters only, in one tier each or all in one.
fn order() -> impl Strategy<Value = Written<OrderRule>> {
    let some = || proptest::sample::subsequence(vec!["east", "east-2", "west", "west-2", "eu"], 1..=3);
    (some(), some(), any::<bool>()).prop_map(|(from, to, together)| {
        let tiers = to.chunks(if together { to.len() } else { 1 });
        let to = std::iter::once(Tier::SameZone).chain(tiers.map(|it| Tier::Only(clusters(it)))).collect();
        Written::default_value(OrderRule { from: clusters(&from), to })
    })
}

fn fleet() -> impl Strategy<Value = Board> {
    let load = prop_oneof![3 => 0..2_000_000_u64, 1 => Just(0), 1 => 0..20_000_u64];
    let place = (pool_state(), load);
    let residency = proptest::option::weighted(
        0.3,
        proptest::sample::subsequence(vec!["us-east", "us-west", "eu"], 0..=3),
    );
    let spread = prop_oneof![3 => Just(Spread::Waterfall), 1 => Just(Spread::Spray)];
    let arrivals = vec((0..PLACES.len(), 0..PLACES.len(), 0..2000_u64), 0..4);
    let per_endpoint = prop_oneof![Just(100_000_u64), 1..1_000_000_u64];
    let drawn = (vec(place, 7), exhausted(), residency, spread, arrivals, per_endpoint, any::<[bool; 3]>());
    (drawn, vec(order(), 0..3)).prop_map(
        |((places, exhausted, residency, spread, arrivals, per_endpoint, cuts), orders)| {
            let lines = PLACES.map(|place| format!("{place} 1/1"));
            let mut board = Board::new(&lines.each_ref().map(String::as_str));
            for (pool, ((healthy, expected, admit, phase), _)) in board.pools.iter_mut().zip(&places) {
                (pool.healthy, pool.expected, pool.admit, pool.phase) = (*healthy, *expected, *admit, *phase);
            }
            for (at, (_, load)) in PLACES.iter().zip(&places) {
                board.demand.insert(source(at), *load);
            }
            board.policy.when_exhausted.value = exhausted;
            board.policy.residency = residency.map(|names| {
                tidegate_engine::Written::default_value(
                    names.into_iter().map(crate::fixture::region).collect(),
                )
            });
            board.policy.failover = orders;
            let cluster = |at: usize| PLACES[at].split('/').next().unwrap();
            for (at, from, rps) in arrivals {
                board = board.arrive(cluster(at), cluster(from), rps);
            }
            for ((a, b), cut) in [("east", "eu"), ("east", "west"), ("east-2", "eu")].into_iter().zip(cuts) {
                if cut {
                    board = board.cut(a, b);
                }
            }
            board.capacity(|it| {
                it.spread.value = spread;
                it.per_endpoint.value = it.per_endpoint.value.like(per_endpoint);
            })
        },
    )
}

fn sum(shares: &Shares) -> u32 {
    shares.values().map(|share| share.parts()).sum()
}

fn hold(board: &Board, plan: &Plan) {
    assert_eq!(sum(&plan.shares) + plan.shed.parts(), 10_000, "{plan:#?}");
    assert!(plan.shares.values().all(|share| !share.is_none()));
    let healthy = |target: &tidegate_engine::Target| {
        let seen = board.seen_from(&plan.source.cluster);
        let it = seen.into_iter().find(|it| it.target == *target).unwrap();
        let any = it.pools.values().any(|pool| pool.healthy > 0 && pool.expected > 0);
        (it.reachable && any, it.region, it.cluster)
    };
    let only = board.policy.residency.as_ref().map(|it| &it.value);
    for target in plan.shares.keys().chain(plan.standby.iter().flat_map(Shares::keys)) {
        let (_, region, cluster) = healthy(target);
        assert!(only.is_none_or(|only| only.allows(&region, &cluster)), "residency: {plan:#?}");
    }
    if plan.reasons.iter().any(|it| it.tier.is_some() && healthy(&it.target).0) {
        assert!(!plan.last_resort && plan.shares.keys().all(|target| healthy(target).0), "{plan:#?}");
        let spreads = board.policy.when_exhausted.value == WhenExhausted::Spread;
        assert!(!spreads || plan.shed.is_none(), "{plan:#?}");
    }
    let mut used: std::collections::BTreeSet<_> = plan.shares.keys().collect();
    for tier in plan.standby.iter() {
        assert_eq!(sum(tier), 10_000, "{plan:#?}");
        for target in tier.keys() {
            assert!(used.insert(target) && healthy(target).0, "{target} stands by: {plan:#?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(CASES), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_waterfall_gives_out_exactly_what_is_asked_and_never_more_than_a_budget_within_admit(
        streams in streams(),
        mut pools in pools(),
        exhausted in exhausted(),
        silent in 0..14_usize,
    ) {
        pools.iter_mut().skip(silent).take(1).for_each(|pool| pool.heard = false);
        let spending = spend(&streams, &pools, exhausted);
        prop_assert_eq!(&spending, &spend(&streams, &pools, exhausted));
        let given = |stream: usize| (0..pools.len()).map(move |pool| (stream, pool));
        for (at, stream) in streams.iter().enumerate() {
            let sum: u64 = given(at).map(|(stream, pool)| spending.amount(stream, pool).0).sum();
            prop_assert_eq!(sum + spending.left[at], stream.demand.min(BILLION), "exact");
            for (_, pool) in given(at).filter(|(stream, pool)| spending.amount(*stream, *pool).0 > 0) {
                prop_assert!(stream.tiers.iter().flatten().any(|it| *it == pool), "only where it may go");
                prop_assert!(pools[pool].ceiling > 0, "only where something is healthy");
            }
        }
        for (at, pool) in pools.iter().enumerate() {
            let given = || (0..streams.len()).map(|stream| spending.amount(stream, at));
            let sum: u64 = given().map(|(amount, _)| amount).sum();
            prop_assert_eq!(spending.loads[at], sum + pool.taken.min(BILLION), "exact");
            let last = given().filter_map(|(_, pass)| pass).max();
            let (within, ceiling) = (pool.within.min(BILLION), pool.ceiling.min(BILLION));
            if last == Some(Pass::WithinAdmit) {
                prop_assert!(spending.loads[at] <= within, "beyond its budget");
                let own = (0..streams.len()).filter(|it| streams[*it].own);
                let own: u64 = own.map(|it| spending.amount(it, at).0).sum();
                prop_assert!(own <= pool.gate, "beyond its gate");
            } else if last.is_some_and(|pass| pass < Pass::BeyondBudget) {
                prop_assert!(spending.loads[at] <= ceiling, "beyond its healthy endpoints");
            }
            // Nobody is left with something while a pool that it reaches has room.
            let open = spending.loads[at] < ceiling;
            for (stream, it) in streams.iter().enumerate().filter(|_| open) {
                let reaches = it.tiers.iter().flatten().any(|pool| *pool == at);
                prop_assert!(!reaches || spending.left[stream] == 0, "room is left");
                let beyond = (0..pools.len()).any(|pool| spending.amount(stream, pool).1 == Some(Pass::BeyondBudget));
                prop_assert!(!reaches || !beyond, "room is left");
            }
        }
    }

    #[test]
    fn plans_hold_for_any_fleet(board in fleet(), turn in 0..7_usize, at in 0..4_usize) {
        let own = ["east", "east-2", "west", "eu"][at];
        let plans = board.plans(own, &BTreeMap::new());
        plans.values().for_each(|plan| hold(&board, plan));
        prop_assert_eq!(&board.plans(own, &plans), &plans, "planning again changes nothing");
        let mut turned = board.clone();
        turned.pools.rotate_left(turn);
        prop_assert_eq!(&turned.plans(own, &BTreeMap::new()), &plans, "the order of the pools decides nothing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(CASES / 5), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_hears_the_same_plans_the_same_for_everybody(mut board in fleet()) {
        board.cut.clear();
        // What a place is sent, as the sources that look at it have it in their plans.
        let mut loads: BTreeMap<&str, Budget> = BTreeMap::new();
        let mut sources = 0;
        for own in ["east", "east-2", "west", "west-2", "eu"] {
            for plan in board.plans(own, &BTreeMap::new()).into_values() {
                sources += 1;
                for (reason, budget) in plan.reasons.iter().filter_map(|it| Some((it, it.budget.as_deref().copied()?))) {
                    // Clusters of one zone are told of alike by those who are in them and by others.
                    let place = ["east-2/c", "west-2/w", "eu/y"].into_iter().find(|place| {
                        let (cluster, zone) = place.split_once('/').unwrap();
                        match &reason.target {
                            Target::Zone(it) => it.as_str() == zone && plan.source.cluster.as_str() == cluster,
                            Target::Cluster(it) => it.as_str() == cluster,
                        }
                    });
                    let Some(place) = place else { continue };
                    prop_assert_eq!(*loads.entry(place).or_insert(budget), budget, "{} {:#?}", place, plan);
                }
            }
        }
        prop_assert_eq!(sources, PLACES.len());
    }

    /// Sheds are rounded down to a ten-thousandth of a source's demand, which is a hundredth of a request at least.
    #[test]
    fn adding_an_endpoint_never_lowers_what_the_plans_serve(mut board in fleet(), better in 0..7_usize) {
        board.cut.clear();
        board.arrivals.clear();
        board.policy.when_exhausted.value = WhenExhausted::Shed;
        let asked = |at: &Source| board.demand[at].max(10);
        let rounding: u64 = board.demand.keys().map(asked).sum();
        let shed = |board: &Board| -> u64 {
            let plans = ["east", "east-2", "west", "west-2", "eu"].map(|own| board.plans(own, &BTreeMap::new()));
            plans.iter().flatten().map(|(at, plan)| asked(at) * u64::from(plan.shed.parts())).sum()
        };
        // More are healthy than are expected only while replicas are taken away.
        board.pools.iter_mut().for_each(|pool| pool.expected = pool.expected.max(pool.healthy + 1));
        let mut better_off = board.clone();
        better_off.pools[better].healthy += 1;
        prop_assert!(shed(&better_off) <= shed(&board) + rounding, "{:?}", board);
    }
}
