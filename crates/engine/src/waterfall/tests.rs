#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::{collection::vec, prelude::*};
use std::env;

/// `PROPTEST_CASES` asks for another number (`cargo xtask soak engine` does).
fn cases() -> u32 {
    env::var("PROPTEST_CASES").map_or(10_000, |cases| cases.parse().unwrap())
}

fn pools() -> impl Strategy<Value = Vec<PoolBudget>> {
    let standing = prop_oneof![Just(Standing::Settled), Just(Standing::Returning), Just(Standing::Shifted)];
    let gate = prop_oneof![3 => Just(u64::MAX), 1 => 0..1000_u64];
    let pool = (0..1000_u64, 0..1000_u64, 0..100_u64, gate, standing);
    let pool = pool.prop_map(|(within, more, taken, gate, standing)| PoolBudget {
        within,
        ceiling: within + more,
        taken,
        gate,
        standing,
        heard: true,
    });
    vec(pool, 1..6)
}

fn streams() -> impl Strategy<Value = Vec<Stream>> {
    let tiers = vec(0..6_usize, 0..6);
    let stream = (0..1000_u64, any::<bool>(), tiers).prop_map(|(demand, own, mut pools)| {
        pools.sort_unstable();
        pools.dedup();
        Stream { demand, own, tiers: pools.into_iter().map(|pool| vec![pool]).collect(), ..Stream::default() }
    });
    vec(stream, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_moved_on_unless_that_serves_somebody(streams in streams(), pools in pools()) {
        let mut plain = Pouring::new(&streams, &pools);
        let within = |it: &PoolBudget| if it.standing == Standing::Shifted { 0 } else { it.within };
        let room = |pouring: &Pouring<'_>| -> Vec<u64> {
            let rooms = pools.iter().zip(&pouring.spending.loads);
            rooms.map(|(it, load)| within(it).saturating_sub(*load)).collect()
        };
        let mut open = room(&plain);
        let mut gates: Vec<u64> = pools.iter().map(|it| it.gate).collect();
        plain.pour(Pass::WithinAdmit, &mut open, &mut gates);
        if plain.is_done() {
            prop_assert_eq!(&plain.spending, &spend(&streams, &pools, WhenExhausted::Shed), "bit by bit");
        }
        let mut routed = Pouring::new(&streams, &pools);
        routed.pass(Pass::WithinAdmit, &within, pools.iter().map(|it| it.gate).collect());
        let sum = |left: &[u64]| left.iter().sum::<u64>();
        let gained = sum(&plain.spending.left) - sum(&routed.spending.left);
        if gained == 0 {
            prop_assert_eq!(&routed.spending, &plain.spending);
        }
        for (at, stream) in streams.iter().enumerate() {
            let served: u64 = routed.spending.moves.iter().filter(|it| it.served == at).map(|it| it.amount).sum();
            let won = plain.spending.left[at] - routed.spending.left[at];
            prop_assert!(served >= won, "each unit that is served moved one at least");
            prop_assert!(won > 0 || served == 0, "and none was moved for nothing");
            prop_assert!(stream.demand >= won);
        }
        for (pool, load) in plain.spending.loads.iter().enumerate() {
            prop_assert!(routed.spending.loads[pool] >= *load, "no pool is left emptier");
        }
    }
}
