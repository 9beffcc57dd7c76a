//! Partitions and crashes on real processes: a hub, three clusters with their agents and Envoys, each in a network namespace of
//! its own, and a load on each edge. The table in docs/static-stability.md says what must happen; each row names its test.
//!
//! They need root, `ip`, `nft` and Envoy. What each measures is on stderr, in lines that begin with `MEASURED`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it skips and what it measured")]

mod fleet;
mod net;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use fleet::Fleet;
use net::Trouble;
use std::collections::BTreeSet;
use watch::{Seen, Watch};

/// Short, so that a test sees its end; all else is as it is by default.
const FAILBACK: &str = "{holdDown: 2s, ramp: {steps: [50, 100], interval: 1s}}";

/// What was not as it has to be: the scenarios of a test all run before it fails.
#[derive(Default)]
struct Missed(Vec<String>);

impl Missed {
    fn nothing_bad(&mut self, seen: &Seen, but: &[(&str, &str)]) {
        self.0.extend(seen.bad(but));
    }

    /// Exactly these clusters moved exactly these services.
    fn only_moved(&mut self, seen: &Seen, wanted: &[(&str, &str)]) {
        let wanted: BTreeSet<(&str, &str)> = wanted.iter().copied().collect();
        if seen.movers() != wanted {
            self.0.push(format!("moved {:?}, not {wanted:?}: {:?}", seen.movers(), seen.moved));
        }
    }

    fn report(self) {
        assert!(self.0.is_empty(), "{:#?}", self.0);
    }
}

/// Has this trouble for so many seconds.
fn cut(fleet: &Fleet, what: &str, troubles: &[Trouble], seconds: u32) -> Seen {
    let watch = Watch::start(fleet, what);
    fleet.net.trouble(troubles);
    fleet.flow(seconds);
    assert!(fleet.net.heal() > 0, "{what}: no packet met the trouble");
    watch.end(fleet)
}

#[test]
fn links_that_are_cut_cost_no_request_that_another_place_could_serve() {
    let test = "links_that_are_cut_cost_no_request_that_another_place_could_serve";
    let Some(fleet) = Fleet::start(test, FAILBACK, &[]) else { return };
    let mut missed = Missed::default();

    let seen = cut(&fleet, "hub cut from c1", &[Trouble::Cut("hub", "c1")], 5);
    missed.nothing_bad(&seen, &[]);
    missed.only_moved(&seen, &[]);

    let seen = cut(&fleet, "c1 and c3 cut from each other", &[Trouble::Cut("c1", "c3")], 5);
    missed.nothing_bad(&seen, &[]);
    missed.only_moved(&seen, &[("c3", "front")]);

    let seen = cut(&fleet, "c1 is not heard by c3", &[Trouble::OneWay("c1", "c3")], 5);
    missed.nothing_bad(&seen, &[]);
    missed.only_moved(&seen, &[("c3", "front")]);

    let seen = cut(&fleet, "c3 is not heard by c1", &[Trouble::OneWay("c3", "c1")], 5);
    missed.nothing_bad(&seen, &[]);
    missed.only_moved(&seen, &[("c3", "front")]);

    missed.report();
}
