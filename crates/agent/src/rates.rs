//! How much a second: what gateways reported, between two looks. Pure; times are passed in.
//!
//! What moves by a little says nothing new, so a rate stays as it was told until it has changed by more than [`TOLERANCE`].

use crate::traffic::Counts;
use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::Target;
use tidegate_model::{ServiceName, Time, Zone};

/// Rates are made so often at most.
const EVERY: Duration = Duration::from_secs(2);
/// A rate that has changed by less than this part of it is told as it was.
const TOLERANCE: f64 = 0.05;
/// Less than this a second is nothing.
const NOTHING: f64 = 0.005;

/// Tries a second, and those that failed.
pub(crate) type Rate = (f64, f64);

/// What was measured last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// By where it entered and where it went.
    pub(crate) flows: BTreeMap<(Zone, Target), Rate>,
    /// What entered, by service.
    pub(crate) services: BTreeMap<ServiceName, Rate>,
    /// What the own pools got: tries a second, and requests in progress.
    pub(crate) pools: BTreeMap<(ServiceName, Zone), Rate>,
}

/// Makes rates of counts.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: Option<(Time, Counts)>,
    measured: Measured,
}

impl Rates {
    /// Looks at what was counted until now. What was measured before stays until it is time again.
    pub(crate) fn look(&mut self, counts: &Counts, now: Time) -> &Measured {
        match &self.last {
            Some((at, _)) if now.since(*at) < EVERY => return &self.measured,
            Some((at, before)) => {
                let seconds = now.since(*at).as_secs_f64();
                let old = &self.measured;
                self.measured = Measured {
                    flows: rates(&before.flows, &counts.flows, &old.flows, (seconds, seconds)),
                    services: rates(&before.services, &counts.services, &old.services, (seconds, seconds)),
                    // Microseconds in progress, over microseconds.
                    pools: rates(&before.pools, &counts.pools, &old.pools, (seconds, seconds * 1e6)),
                };
            }
            None => {}
        }
        self.last = Some((now, counts.clone()));
        &self.measured
    }
}

fn rates<K: Ord + Clone>(
    before: &BTreeMap<K, (u64, u64)>,
    now: &BTreeMap<K, (u64, u64)>,
    old: &BTreeMap<K, Rate>,
    per: (f64, f64),
) -> BTreeMap<K, Rate> {
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
    let rate = |now: u64, before: u64, per: f64| now.saturating_sub(before) as f64 / per;
    let one = |(key, (first, second)): (&K, &(u64, u64))| {
        let was = before.get(key).copied().unwrap_or_default();
        let new = (rate(*first, was.0, per.0), rate(*second, was.1, per.1));
        let old = old.get(key).copied();
        let told =
            old.map_or((round(new.0), round(new.1)), |old| (settled(old.0, new.0), settled(old.1, new.1)));
        (key.clone(), told)
    };
    now.iter().map(one).collect()
}

/// The old one, unless the new one is another.
pub(crate) fn settled(old: f64, new: f64) -> f64 {
    let new = round(new);
    let is_same = (old - new).abs() <= TOLERANCE * old.max(new) && (new > 0.0) == (old > 0.0);
    if is_same { old } else { new }
}

/// To three digits: more of them would be noise.
fn round(rate: f64) -> f64 {
    if rate < NOTHING {
        return 0.0;
    }
    let scale = 10_f64.powf(2.0 - rate.log10().floor());
    (rate * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(entered: u64, failed: u64) -> Counts {
        let key = ("a".parse().unwrap(), "cluster west".parse().unwrap());
        Counts {
            flows: BTreeMap::from([(key, (entered, failed))]),
            services: BTreeMap::from([("shop/web".parse().unwrap(), (entered, failed))]),
            pools: BTreeMap::from([(("shop/web".parse().unwrap(), "a".parse().unwrap()), (entered, failed))]),
        }
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_rate_is_what_lay_between_and_stays_while_it_moves_by_little() {
        let mut rates = Rates::default();
        assert_eq!(rates.look(&counts(1000, 0), at(0)), &Measured::default());
        let flow = |it: &Measured| *it.flows.values().next().unwrap();
        assert_eq!(flow(rates.look(&counts(1200, 20), at(2))), (100.0, 10.0));
        assert_eq!(flow(rates.look(&counts(9999, 99), at(3))), (100.0, 10.0), "too soon");
        assert_eq!(flow(rates.look(&counts(1406, 40), at(4))), (100.0, 10.0), "103 is as good as 100");
        assert_eq!(flow(rates.look(&counts(1626, 60), at(6))), (110.0, 10.0));
        let nothing = rates.look(&counts(1626, 60), at(8));
        assert_eq!((flow(nothing), nothing.services.len()), ((0.0, 0.0), 1), "told as nothing, not left out");
    }

    #[test]
    fn what_is_in_progress_is_time_over_time() {
        let mut rates = Rates::default();
        rates.look(&counts(0, 0), at(0));
        let pool = *rates.look(&counts(100, 6_000_000), at(2)).pools.values().next().unwrap();
        assert_eq!(pool, (50.0, 3.0));
    }
}
