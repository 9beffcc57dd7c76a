//! What is asked for: the demand of each source for one service, as far as it was measured.
//!
//! Demand is *downstream* requests at edge and internal gateways, each counted once however often a gateway retried
//! it. Retries and what arrives at east-west gateways are not demand: counting them would make a fault look like
//! more clients, and move more traffic than there is. Whoever feeds [`crate::Event::Demand`] keeps to that.
//!
//! - Measurements are smoothed with a half-life of [`HALF_LIFE`].
//! - After a fault a rise is limited for [`LIMITED`]: clients that reconnect and requests that pile up are not demand
//!   that lasts.
//! - What is missing holds its last value for [`HOLD`], then its peak of the last hour before it went missing: not
//!   knowing is no reason to promise room to others.
//!
//! Amounts are thousandths, in the unit in which the policy declares capacity.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_model::{ClusterName, Time, Zone};

use crate::plan::Source;

/// Half of a change is believed after this. Gateways report every second, so after ten reports a
/// thousandth of a step is missing, which moves a share by less than a tenth of the dead band. A longer one would
/// smooth more and send a surge to full pools for longer.
pub(crate) const HALF_LIFE: Duration = Duration::from_secs(1);

/// How long the last value stands for what is missing: several times as long as any report is late.
pub(crate) const HOLD: Duration = Duration::from_secs(60);

/// How long after a fault a rise is limited: detection, cut-over and the retries of clients are over by then.
const LIMITED: Duration = Duration::from_secs(10);

/// A fault that goes on (flapping) does not limit for longer than this in all.
const LIMITED_AT_MOST: Duration = Duration::from_secs(60);

/// After a fault demand rises by at most this part of what it was before.
const RISE_NUMERATOR: u64 = 3;
const RISE_DENOMINATOR: u64 = 2;

/// For so long a peak counts.
const HOUR: Duration = Duration::from_secs(3600);

/// The hour's peak is kept as the peaks of twelve times five minutes.
const BUCKETS: usize = 12;
const BUCKET: Duration = Duration::from_secs(300);

/// Zones of another cluster whose demand is kept; more are left out, so that memory is bounded.
const MAX_ZONES: usize = 64;

/// A change by less than one part in so many makes no new plan: far less than the dead band of 1 %, because several
/// sources may be off by this much at once, and shares must come to rest where demand does.
const NEWS: u64 = 1_000;

/// The demand of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    value: u64,
    /// What a measurement last made plans with.
    planned: u64,
    reported: Time,
    /// How old it was when it came back from disk; nothing once it is measured again.
    carried: Duration,
    /// The peaks of [`BUCKET`]s, the newest first; `newest` is the number of the first.
    peaks: [u64; BUCKETS],
    newest: u128,
    limit: Option<Limit>,
    /// Whether [`HOLD`] has passed since the last report.
    missing: bool,
}

/// A rise that is limited after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    most: u64,
    until: Time,
    latest: Time,
}

impl Demand {
    /// The first measurement is believed as it is.
    pub(crate) fn new(load: u64, now: Time) -> Self {
        let mut demand = Self {
            value: load,
            planned: load,
            reported: now,
            carried: Duration::ZERO,
            peaks: [0; BUCKETS],
            newest: bucket(now),
            limit: None,
            missing: false,
        };
        demand.remember(now);
        demand
    }

    /// As it was on disk, measured `age` before.
    fn restored(load: u64, peak: u64, age: Duration, now: Time) -> Self {
        let mut demand = Self { carried: age, ..Self::new(load.max(peak), now) };
        demand.value = load;
        demand.planned = load;
        demand.pass(now);
        demand
    }

    /// Takes in a measurement; whether it moved enough for new plans.
    pub(crate) fn measure(&mut self, load: u64, now: Time) -> bool {
        let believed = match self.limit.filter(|limit| now < limit.until) {
            Some(limit) => load.min(limit.most),
            None => {
                self.limit = None;
                load
            }
        };
        self.set(smooth(self.value, believed, now.since(self.reported)), now)
    }

    /// Takes in what its owner told, who smoothed it already; whether it moved enough for new plans.
    pub(crate) fn hear(&mut self, load: u64, now: Time) -> bool {
        self.set(load, now)
    }

    /// Something failed: from here on, what is asked is not trusted to rise fast.
    pub(crate) fn fault(&mut self, now: Time) {
        let fresh = Limit {
            most: (self.value / RISE_DENOMINATOR).saturating_mul(RISE_NUMERATOR).max(self.value),
            until: now + LIMITED,
            latest: now + LIMITED_AT_MOST,
        };
        self.limit = Some(match self.limit.filter(|limit| now < limit.until) {
            Some(limit) => Limit { until: (now + LIMITED).min(limit.latest), ..limit },
            None => fresh,
        });
    }

    /// What is planned with.
    pub(crate) fn current(&self) -> u64 {
        if self.missing { self.peak() } else { self.value }
    }

    /// The most of the last hour.
    fn peak(&self) -> u64 {
        self.peaks.into_iter().max().unwrap_or(self.value)
    }

    /// Lets time pass: what is not told for too long is missing.
    fn pass(&mut self, now: Time) {
        self.missing = self.age(now) >= HOLD;
    }

    fn age(&self, now: Time) -> Duration {
        now.since(self.reported) + self.carried
    }

    fn deadline(&self) -> Option<Time> {
        (!self.missing).then(|| self.reported + HOLD.saturating_sub(self.carried))
    }

    fn set(&mut self, value: u64, now: Time) -> bool {
        let moved = self.missing || value.abs_diff(self.planned) > self.planned / NEWS;
        if moved {
            self.planned = value;
        }
        self.value = value;
        self.reported = now;
        self.carried = Duration::ZERO;
        self.missing = false;
        self.remember(now);
        moved
    }

    fn remember(&mut self, now: Time) {
        let newest = bucket(now);
        let passed = newest.saturating_sub(self.newest);
        let steps = usize::try_from(passed).unwrap_or(BUCKETS).min(BUCKETS);
        self.peaks.rotate_right(steps % BUCKETS);
        self.peaks[..steps].fill(0);
        self.newest = self.newest.max(newest);
        self.peaks[0] = self.peaks[0].max(self.value);
    }
}

fn bucket(at: Time) -> u128 {
    at.since_origin().as_nanos() / BUCKET.as_nanos()
}

/// From `old` towards `new` by `1 - 2^-(passed / HALF_LIFE)`, in whole numbers.
fn smooth(old: u64, new: u64, passed: Duration) -> u64 {
    const MILLION: u128 = 1_000_000;
    let (passed, half) = (passed.as_millis(), HALF_LIFE.as_millis());
    let halvings = u32::try_from(passed / half).unwrap_or(u32::MAX).min(63);
    let f = passed % half * MILLION / half;
    // 2^-f for 0 <= f < 1, by the parabola that meets it at 0, 1/2 and 1 (at most 0.3 % off), in parts per million.
    let decay = MILLION - f / 2 - 171_573 * f / MILLION * (MILLION - f) / MILLION;
    // What is left of the gap, rounded down, so that it closes for good.
    let gap = (u128::from(old.abs_diff(new)) * decay / MILLION) >> halvings;
    let gap = u64::try_from(gap).unwrap_or(u64::MAX);
    if new > old { new.saturating_sub(gap) } else { new.saturating_add(gap) }
}

/// The demand of the fleet for one service, and who arrives where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demands {
    own: BTreeMap<Source, Demand>,
    others: BTreeMap<ClusterName, BTreeMap<Zone, Demand>>,
    /// Per cluster that serves, what arrives there from which other cluster.
    pub(crate) arrivals: BTreeMap<ClusterName, BTreeMap<ClusterName, u64>>,
    /// What all pools together were admitted when it was looked last.
    admitted: u64,
}

impl Demands {
    /// Whether anything is known of the own cluster's demand.
    pub(crate) fn is_known(&self) -> bool {
        !self.own.is_empty()
    }

    /// A measurement at one of the own sources; whether it moved enough for new plans.
    pub(crate) fn measure(&mut self, source: &Source, load: u64, now: Time) -> bool {
        match self.own.get_mut(source) {
            Some(demand) => demand.measure(load, now),
            None => {
                self.own.insert(source.clone(), Demand::new(load, now));
                true
            }
        }
    }

    /// What one of the own sources asked for before a restart.
    pub(crate) fn restore(&mut self, source: Source, load: u64, peak: u64, age: Duration, now: Time) {
        self.own.insert(source, Demand::restored(load, peak, age, now));
    }

    /// What the own sources ask for, its peak of the last hour, and its age.
    pub(crate) fn own_with_age(&self, now: Time) -> impl Iterator<Item = (&Source, u64, u64, Duration)> {
        self.own.iter().map(move |(source, it)| (source, it.current(), it.peak(), it.age(now)))
    }

    /// What is kept of the own demand on disk, but for its age.
    pub(crate) fn kept(&self) -> Vec<(u64, u64)> {
        self.own.values().map(|it| (it.current(), it.peak())).collect()
    }

    /// Another cluster told the demand of its zones: all of them. Whether it moved enough for new plans.
    pub(crate) fn hear(&mut self, cluster: &ClusterName, zones: &BTreeMap<Zone, u64>, now: Time) -> bool {
        let known = self.others.entry(cluster.clone()).or_default();
        let before = known.len();
        known.retain(|zone, _| zones.contains_key(zone));
        let mut moved = known.len() < before;
        for (zone, load) in zones.iter().take(MAX_ZONES) {
            match known.get_mut(zone) {
                Some(demand) => moved |= demand.hear(*load, now),
                None => {
                    known.insert(zone.clone(), Demand::new(*load, now));
                    moved = true;
                }
            }
        }
        self.others.retain(|_, zones| !zones.is_empty());
        moved
    }

    /// Forgets sources and clusters that are gone.
    pub(crate) fn retain(
        &mut self,
        sources: &BTreeSet<Source>,
        is_member: impl Fn(&ClusterName) -> bool + Copy,
    ) {
        self.own.retain(|source, _| sources.contains(source));
        self.others.retain(|cluster, _| is_member(cluster));
        self.arrivals.retain(|cluster, _| is_member(cluster));
        self.arrivals.values_mut().for_each(|from| from.retain(|cluster, _| is_member(cluster)));
    }

    /// Lets time pass; what another cluster has not named for an hour is forgotten with its peak. `admitted` is what all pools together are admitted now: when it falls, something failed.
    pub(crate) fn pass(&mut self, admitted: u64, now: Time) {
        if admitted < self.admitted {
            self.own.values_mut().for_each(|demand| demand.fault(now));
        }
        self.admitted = admitted;
        for zones in self.others.values_mut() {
            zones.retain(|_, demand| now.since(demand.reported) < HOUR);
        }
        self.others.retain(|_, zones| !zones.is_empty());
        let others = self.others.values_mut().flat_map(BTreeMap::values_mut);
        self.own.values_mut().chain(others).for_each(|demand| demand.pass(now));
    }

    /// What one of the own sources asks for; nothing if it was never measured.
    pub(crate) fn own(&self, source: &Source) -> u64 {
        self.own.get(source).map_or(0, Demand::current)
    }

    /// What the own sources of a zone ask for.
    pub(crate) fn own_zone(&self, zone: &Zone) -> u64 {
        let there = self.own.iter().filter(|(source, _)| source.locality.zone == *zone);
        there.map(|(_, it)| it.current()).fold(0, u64::saturating_add)
    }

    /// What the own sources ask for, for other clusters.
    pub(crate) fn own_zones(&self) -> BTreeMap<Zone, u64> {
        self.own.iter().map(|(source, it)| (source.locality.zone.clone(), it.current())).collect()
    }

    /// What another cluster's zones ask for; `None` if it told nothing.
    pub(crate) fn of(&self, cluster: &ClusterName) -> Option<impl Iterator<Item = (&Zone, u64)>> {
        Some(self.others.get(cluster)?.iter().map(|(zone, it)| (zone, it.current())))
    }

    /// When something goes missing if nothing is told.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let others = self.others.values().flat_map(BTreeMap::values);
        self.own.values().chain(others).filter_map(Demand::deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn half_of_a_change_is_believed_after_the_half_life() {
        let mut demand = Demand::new(1000, at(0));
        demand.measure(2000, at(1000));
        assert_eq!(demand.current(), 1500);
        demand.measure(0, at(2000));
        assert_eq!(demand.current(), 750);
        assert_eq!(smooth(0, 1_000_000, Duration::from_millis(500)), 292_893, "1 - 2^-0.5");
        for second in 5..80 {
            demand.measure(1000, at(second * 1000));
        }
        assert_eq!(demand.current(), 1000, "the gap closes for good");
    }

    #[test]
    fn after_a_fault_a_rise_is_limited_until_it_can_be_measured_again() {
        let mut demand = Demand::new(1000, at(0));
        demand.fault(at(0));
        for second in 1..10 {
            demand.measure(9000, at(second * 1000));
            assert!(demand.current() <= 1500, "{}", demand.current());
        }
        for second in 10..40 {
            demand.measure(9000, at(second * 1000));
        }
        assert!(demand.current() > 8900, "{}", demand.current());
        // What falls is believed at once.
        demand.fault(at(40_000));
        demand.measure(0, at(50_000));
        assert!(demand.current() < 400, "{}", demand.current());
    }

    #[test]
    fn what_hardly_moves_makes_no_new_plan_until_it_has_moved_far() {
        let mut demand = Demand::new(1_000_000, at(0));
        let moved = (1..=40).filter(|second| demand.measure(1_000_000 + second * 250, at(second * 1000)));
        // 1 % in small steps: planned anew whenever it is 1/1000 off, not at each step.
        assert!((5..=10).contains(&moved.count()));
        let now = demand.current();
        assert!(!demand.hear(now, at(41_000)));
        demand.pass(at(101_000));
        assert!(demand.measure(now, at(101_000)), "what was missing is back");
    }

    #[test]
    fn what_comes_from_disk_is_as_old_as_it_was() {
        let mut demand = Demand::restored(1000, 5000, Duration::from_secs(20), at(500));
        assert_eq!((demand.current(), demand.age(at(1500))), (1000, Duration::from_secs(21)));
        assert_eq!(demand.deadline(), Some(at(40_500)));
        demand.pass(at(40_500));
        assert_eq!(demand.current(), 5000, "its peak, once nothing was measured for a minute");
        assert!(demand.measure(5000, at(41_000)));
        assert_eq!(demand.age(at(41_000)), Duration::ZERO);
        assert_eq!(Demand::restored(1000, 5000, HOLD, at(0)).current(), 5000);
    }

    #[test]
    fn flapping_does_not_limit_for_ever() {
        let mut demand = Demand::new(1000, at(0));
        for second in 0..90 {
            demand.measure(9000, at(second * 1000));
            if second < 60 {
                demand.fault(at(second * 1000));
            }
        }
        assert!(demand.current() > 8900, "{}", demand.current());
    }

    #[test]
    fn what_is_missing_holds_its_last_value_then_the_peak_of_its_last_hour() {
        let mut demand = Demand::new(9000, at(0));
        demand.hear(5000, at(1_800_000));
        demand.hear(1000, at(3_000_000));
        demand.pass(at(3_059_999));
        assert_eq!(demand.current(), 1000);
        assert_eq!(demand.deadline(), Some(at(3_060_000)));
        demand.pass(at(3_060_000));
        assert_eq!((demand.current(), demand.deadline()), (9000, None));
        // Told again, it is what it is; the first peak is more than an hour old by then.
        demand.hear(1000, at(4_500_000));
        demand.pass(at(9_000_000));
        assert_eq!(demand.current(), 5000);
    }

    #[test]
    fn absurd_loads_do_not_overflow() {
        let mut demand = Demand::new(u64::MAX, at(0));
        demand.fault(at(0));
        demand.measure(0, at(1));
        demand.measure(u64::MAX, at(u64::MAX / 2));
        demand.fault(at(u64::MAX / 2));
        assert!(demand.current() > 0);
    }
}
