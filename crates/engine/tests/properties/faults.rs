//! One fault and one recovery change a source's plan at most once away and once, ramped, back.

use crate::{
    config,
    fixture::{World, percent, runs},
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::time::Duration;
use tidegate_engine::Written;
use tidegate_model::Phase;

/// What fails.
#[derive(Clone, Debug)]
enum Fault {
    /// So many endpoints of zone a, one by one.
    Endpoints(u8),
    /// The way to the other cluster, from where part of the traffic goes already.
    Way,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![5 => (1..=8_u8).prop_map(Fault::Endpoints), 1 => Just(Fault::Way)]
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn one_fault_and_one_recovery_are_one_move_away_and_one_back(
        fault in fault(),
        zones in select(vec![vec!["a"], vec!["a", "b"], vec!["a", "b", "c"]]),
        steps in select(vec![vec![10.0, 50.0, 100.0], vec![50.0, 100.0], vec![100.0]]),
        (hold_down, interval, delay) in (1..60_u64, 1..15_u64, 0..4_u64),
        // Partial then total loss is one fault; its parts come within a window, and so do those of the recovery.
        away in vec(0..1500_u64, 8),
        back in vec(0..900_u64, 8),
        lasts in 5..200_u64,
    ) {
        let mut world = World::new();
        let failback = &mut world.policy.failback;
        failback.ramp_steps = Written::default_value(steps.into_iter().map(percent).collect());
        failback.hold_down = Written::default_value(Duration::from_secs(hold_down));
        failback.ramp_interval = Written::default_value(Duration::from_secs(interval));
        world.policy.partial_loss_delay = Written::default_value(Duration::from_secs(delay));
        world.add_up("web", &zones, 8).remote("west", "web", 10, 100.0, Phase::Serving);
        world.until(10.0).forget_history();
        let mut now = 10.0;
        match fault {
            Fault::Endpoints(count) => {
                for (n, gap) in (1..=count).zip(away) {
                    world.check("web", "a", n, false);
                    now += f64::from(u32::try_from(gap).unwrap()) / 1000.0;
                    world.until(now);
                }
                now += f64::from(u32::try_from(lasts).unwrap());
                world.until(now);
                for (n, gap) in (1..=count).zip(back) {
                    world.check("web", "a", n, true);
                    now += f64::from(u32::try_from(gap).unwrap()) / 1000.0;
                    world.until(now);
                }
            }
            Fault::Way => {
                now += f64::from(u32::try_from(lasts).unwrap());
                world.unreachable("west").until(now).reachable("west", false);
            }
        }
        world.settle();
        for from in ["a", "b"] {
            let history = world.history("web", from);
            let moves = runs(&history);
            prop_assert!(moves.len() <= 2, "{moves:?} of zone {from}: {history:#?}");
            prop_assert_eq!(history.first(), history.last(), "it is where it was");
        }
    }
}
