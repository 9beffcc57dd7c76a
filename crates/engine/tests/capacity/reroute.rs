//! Re-routing: who has a choice moves on, so that who has none is served. Against cuts of the network, which need no ways.

use crate::{
    fixture::cases,
    properties::{BILLION, CASES, pools, streams},
};
use proptest::prelude::*;
use tidegate_engine::{
    Move, OfferWeight, Pass, PoolBudget, Spending, Standing, Stream, WhenExhausted, spend,
};

/// What is served within ceilings.
pub(crate) fn served(streams: &[Stream], pools: &[PoolBudget]) -> u128 {
    let left = spend(streams, pools, WhenExhausted::Shed).left;
    let sum = |amounts: &mut dyn Iterator<Item = u64>| amounts.map(u128::from).sum::<u128>();
    sum(&mut streams.iter().map(|it| it.demand.min(BILLION))) - sum(&mut left.into_iter())
}

/// The most that any assignment serves when each pool takes `room`, and of own streams no more than `gate`: the
/// smallest cut. Each set of streams is tried as those whose demand is not cut off; then whatever they reach is.
fn most(streams: &[Stream], room: &[u64], gate: &[u64]) -> u128 {
    let who = |pool: usize, own: bool| -> u32 {
        let reaches = |it: &Stream| it.own == own && it.tiers.iter().flatten().any(|at| *at == pool);
        streams.iter().enumerate().map(|(at, it)| u32::from(reaches(it)) << at).sum()
    };
    let reach: Vec<[u32; 2]> = (0..room.len()).map(|pool| [who(pool, false), who(pool, true)]).collect();
    let cut = |kept: u32| -> u128 {
        let demand = streams.iter().enumerate().filter(|(at, _)| kept & (1 << at) == 0);
        let demand: u128 = demand.map(|(_, it)| u128::from(it.demand.min(BILLION))).sum();
        let pools = reach.iter().zip(room.iter().zip(gate)).map(|([others, own], (room, gate))| {
            match (others & kept, own & kept) {
                (0, 0) => 0,
                (0, _) => *room.min(gate),
                _ => *room,
            }
        });
        demand + pools.map(u128::from).sum::<u128>()
    };
    (0..1 << streams.len()).map(cut).min().unwrap()
}

fn room(pools: &[PoolBudget], limit: impl Fn(&PoolBudget) -> u64) -> Vec<u64> {
    pools.iter().map(|it| limit(it).min(BILLION).saturating_sub(it.taken.min(BILLION))).collect()
}

fn is_shifted(pool: &PoolBudget) -> bool {
    pool.standing == Standing::Shifted
}

fn stream(demand: u64, own: bool, tiers: &[&[usize]]) -> Stream {
    Stream { demand, own, tiers: tiers.iter().map(|it| it.to_vec()).collect(), ..Stream::default() }
}

fn pool(within: u64, ceiling: u64, standing: Standing) -> PoolBudget {
    PoolBudget { within, ceiling, taken: 0, gate: u64::MAX, standing, heard: true }
}

/// What each stream gets of each pool.
fn amounts(spending: &Spending, streams: usize, pools: usize) -> Vec<Vec<u64>> {
    let of = |stream| (0..pools).map(|pool| spending.amount(stream, pool).0).collect();
    (0..streams).map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(CASES), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_served_is_the_most_that_any_assignment_serves(streams in streams(), pools in pools()) {
        let open = vec![u64::MAX; pools.len()];
        let all = most(&streams, &room(&pools, |it| it.ceiling), &open);
        prop_assert_eq!(served(&streams, &pools), all);
        // The same by the end of each pass: later ones begin only where the ones before cannot do.
        let spending = spend(&streams, &pools, WhenExhausted::Shed);
        let settled = most(&streams, &room(&pools, |it| if is_shifted(it) { 0 } else { it.ceiling }), &open);
        let shifted = pools.iter().zip(&spending.loads).filter(|(it, _)| is_shifted(it));
        let shifted: u128 = shifted.map(|(it, load)| u128::from(load - it.taken.min(BILLION))).sum();
        prop_assert_eq!(shifted, all - settled, "no more goes where traffic was moved away from than has to");
        let within = room(&pools, |it| if is_shifted(it) { 0 } else { it.within });
        let gates: Vec<u64> = pools.iter().map(|it| it.gate).collect();
        let demand: u128 = streams.iter().map(|it| u128::from(it.demand.min(BILLION))).sum();
        let beyond = (0..streams.len() * pools.len()).any(|cell| {
            spending.amount(cell % streams.len(), cell / streams.len()).1 > Some(Pass::WithinAdmit)
        });
        prop_assert_eq!(beyond, most(&streams, &within, &gates) < demand && all > most(&streams, &within, &gates));
    }

    #[test]
    fn adding_health_never_lowers_what_is_served(
        streams in streams(),
        pools in pools(),
        better in 0..7_usize,
        more in prop_oneof![1..1_000_000_u64, 1..1_000_000_000_000_u64],
        admitted in 0..=4_u64,
    ) {
        let mut after = pools.clone();
        if let Some(pool) = after.get_mut(better) {
            pool.ceiling = pool.ceiling.saturating_add(more);
            pool.within = pool.within.saturating_add(more / 4 * admitted);
        }
        prop_assert!(served(&streams, &after) >= served(&streams, &pools));
        // Nor does a way that ramps, or a pool that comes back from where it was.
        let mut open = after.clone();
        if let Some(pool) = open.get_mut(better) {
            (pool.gate, pool.standing) = (u64::MAX, Standing::Settled);
        }
        prop_assert!(served(&streams, &open) >= served(&streams, &after));
    }

    /// Else demand that sways would send others back and forth. A share of a full pool may change by some units besides.
    #[test]
    fn a_small_change_of_demand_moves_little(
        mut streams in streams(),
        pools in pools(),
        at in 0..8_usize,
        by in 1..10_000_u64,
    ) {
        let before = amounts(&spend(&streams, &pools, WhenExhausted::Shed), streams.len(), pools.len());
        streams.iter_mut().skip(at).take(1).for_each(|it| it.demand = it.demand.saturating_add(by));
        let after = amounts(&spend(&streams, &pools, WhenExhausted::Shed), streams.len(), pools.len());
        for (before, after) in before.iter().flatten().zip(after.iter().flatten()) {
            prop_assert!(before.abs_diff(*after) <= 10 * by + 64, "{before} {after}");
        }
    }

    #[test]
    fn moves_say_who_moved_on_for_whom(streams in streams(), pools in pools()) {
        let spending = spend(&streams, &pools, WhenExhausted::Shed);
        for it in &spending.moves {
            let reaches = |pool: usize| streams[it.stream].tiers.iter().flatten().any(|at| *at == pool);
            prop_assert!(it.amount > 0 && it.stream != it.served && it.from != it.to);
            prop_assert!(reaches(it.from) && reaches(it.to));
        }
        prop_assert!(spending.moves.is_sorted_by_key(|it: &Move| (it.stream, it.from, it.to, it.served)));
        for (stream, amounts) in amounts(&spending, streams.len(), pools.len()).iter().enumerate() {
            for (pool, amount) in amounts.iter().enumerate() {
                prop_assert_eq!(*amount > 0, spending.amount(stream, pool).1.is_some());
            }
        }
    }
}

/// Both want 100, and the choosy one reaches pool 1 only. While that admits 50 of 100, each gets 25 there, the free one
/// takes its other 75 at pool 0, which comes back, and the choosy one the other 50 of pool 1: 175. Once pool 1 admits
/// 100 of 110 each gets 50 there, pool 0 gives the free one the other 50, and the choosy one finds 10 more: 160.
#[test]
fn a_source_that_has_a_choice_leaves_what_another_one_needs() {
    let streams = [stream(100, false, &[&[1]]), stream(100, false, &[&[1], &[0]])];
    let returning = pool(0, 100, Standing::Returning);
    let before = [returning, pool(50, 100, Standing::Settled)];
    assert_eq!(served(&streams, &before), 200, "50 more at pool 1, and the free one's 25 move on to pool 0");
    let after = [returning, pool(100, 110, Standing::Settled)];
    assert_eq!(served(&streams, &after), 200);
}

/// Found by the property above, once in a million cases: the last unit of room of pool 0 drew all that the first one
/// offers there, so the other one had pool 1 to itself; without it they shared.
#[test]
fn a_pool_with_next_to_no_room_draws_no_more_than_that() {
    let weight = |weight| OfferWeight { within: weight, beyond: weight };
    let mut weighing = stream(1000, false, &[&[0, 1]]);
    weighing.weights = vec![vec![weight(1), weight(0)]];
    let streams = [weighing, stream(1000, false, &[&[1]])];
    let given = |room| {
        let pools = [pool(room, room, Standing::Settled), pool(1000, 1000, Standing::Settled)];
        amounts(&spend(&streams, &pools, WhenExhausted::Shed), 2, 2)
    };
    assert_eq!(given(0), [[0, 500], [0, 500]]);
    assert_eq!(given(1), [[1, 500], [0, 500]]);
    assert_eq!(given(600), [[600, 286], [0, 714]]);
}

#[test]
fn of_two_who_can_move_on_the_one_from_farther_away_does() {
    // Pool 0 is full of its own stream and of one that has it second. Both reach pool 1, the last one does not.
    let streams = [
        stream(60, false, &[&[0], &[1]]),
        stream(40, false, &[&[2], &[0], &[1]]),
        stream(50, false, &[&[3], &[0]]),
    ];
    let full = |within| pool(within, within, Standing::Settled);
    let pools = [full(100), full(100), full(0), full(0)];
    let spending = spend(&streams, &pools, WhenExhausted::Shed);
    // 40 left of pool 0 are offered 40 and 50: 18 and 22. Then the far one leaves its 18, and 10 of the near one follow.
    assert_eq!(amounts(&spending, 3, 4), [[50, 10, 0, 0], [0, 40, 0, 0], [50, 0, 0, 0]]);
    let moved = |stream, amount| Move { stream, from: 0, to: 1, served: 2, amount };
    assert_eq!(spending.moves, [moved(0, 10), moved(1, 18)]);
}

#[test]
fn a_chain_of_moves_serves_who_is_left_over() {
    // Each reaches its own pool and the next one; only the last pool has room.
    let mut streams: Vec<Stream> = (0..6).map(|n| stream(100, false, &[&[n], &[n + 1]])).collect();
    streams.push(stream(30, false, &[&[0]]));
    let mut pools = vec![pool(100, 100, Standing::Settled); 6];
    pools.push(pool(30, 30, Standing::Settled));
    let spending = spend(&streams, &pools, WhenExhausted::Shed);
    assert_eq!((spending.left, spending.loads[6]), (vec![0; 7], 30));
    // Pool 0 is shared, so its first stream has a rest too: five move on for that, six for the rest of the last one.
    let moved = |served| spending.moves.iter().filter(|it| it.served == served).count();
    assert_eq!((moved(0), moved(6), spending.moves.len()), (5, 6, 11));
}

#[test]
fn a_gate_holds_for_who_is_moved_on() {
    let gated = PoolBudget { gate: 20, ..pool(100, 100, Standing::Settled) };
    let pools = [pool(100, 100, Standing::Settled), gated, pool(100, 100, Standing::Settled)];
    // The own one with a choice fills pool 0; the gate lets 20 of it on, then pool 2 takes the rest.
    let streams = [stream(100, true, &[&[0], &[1], &[2]]), stream(50, true, &[&[0]])];
    let spending = spend(&streams, &pools, WhenExhausted::Shed);
    let got = amounts(&spending, 2, 3);
    assert_eq!(got[1], [50, 0, 0]);
    assert_eq!((got[0][0], got[0][1]), (50, 20));
    assert!((0..3).all(|pool| spending.amount(0, pool).1 <= Some(Pass::WithinAdmit)));
}

#[test]
fn nobody_is_counted_on_to_move_to_a_cluster_that_is_not_heard() {
    let streams = [stream(100, false, &[&[0], &[1]]), stream(100, true, &[&[0]])];
    let full = pool(100, 100, Standing::Settled);
    let spending = spend(&streams, &[full, PoolBudget { heard: false, ..full }], WhenExhausted::Shed);
    assert_eq!((spending.left, spending.moves), (vec![0, 50], vec![]));
}
