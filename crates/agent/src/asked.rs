//! Of which services gateways report load, and how often. Pure: needs and time in.
//!
//! A report costs an Envoy's main thread, on which it also takes in every change, about 5 microseconds for each cluster
//! that is named, 0.25 for each that is not, and half a millisecond. So a large fleet is asked only for those whose load
//! somebody needs:
//!
//! - whose policy declares capacity (demand) or judges endpoints by the errors of requests,
//! - what drains (how much is in flight),
//! - what is served at a place in doubt (a request that succeeds there spares its service),
//! - for each other cluster, [`SAMPLE`] of the services whose requests go there, the busiest first: what its silence is
//!   confirmed or refuted by.
//!
//! An Envoy waits for a whole interval whenever it is asked something else, so what is asked for changes at a pace that
//! lets a report come in between; only a place in doubt does not wait. What is needed no more is kept for a while.

use crate::core::{Core, Need};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidegate_model::{ServiceName, Time};
use tidegate_xds::{LoadAsked, LoadOf};

/// A fleet of up to so many services is asked for all of them: 2 ms of an Envoy's time, ten times a second.
const ALL: usize = 250;

/// Services that are asked about another cluster: as many as cost a third of a millisecond.
pub(crate) const SAMPLE: usize = 64;
/// So often the sample is taken anew. It is also when that cluster falls silent.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// What is needed no more is asked for until so long after the last change, so that it need not be asked for anew.
const KEPT: Duration = Duration::from_secs(10);

/// Where other clusters are, their silence is confirmed by two reports without a success, after one in which the last successes
/// came. All three are to be there when a peer has been silent for 300 ms, and each comes up to 4 ms late.
const SOONEST: Duration = Duration::from_millis(96);
/// Counters come once a second, and each wants a report beside it.
const LATEST: Duration = Duration::from_millis(800);
/// A place that is suspected is declared out after a second unless requests are seen to succeed there: so that a report
/// falls into that time on a busy machine, too.
const LATEST_IN_DOUBT: Duration = Duration::from_millis(400);
/// Each service that is named has so much of the time between reports, and each that is not: about 6 % of an Envoy's
/// main thread at most, until [`LATEST`] is reached.
const PER_NAMED: Duration = Duration::from_micros(100);
const PER_OTHER: Duration = Duration::from_micros(5);

/// After an interval the report still has to be made and to arrive.
const ARRIVES: Duration = Duration::from_millis(100);

/// What gateways are asked.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The manifests that it was said for.
    generation: Option<u64>,
    need: Need,
    by_policy: BTreeSet<ServiceName>,
    in_doubt: BTreeSet<ServiceName>,
    of_peers: BTreeSet<ServiceName>,
    sampled: Time,
    /// What is asked for now, and since when.
    names: BTreeSet<ServiceName>,
    per_endpoint: bool,
    interval: Duration,
    since: Time,
    /// Something may be missing from what is asked for.
    is_due: bool,
}

impl Asked {
    /// What is asked before anything is known of the manifests.
    pub(crate) fn at_start() -> LoadAsked {
        LoadAsked { interval: LATEST, per_endpoint: false, clusters: LoadOf::Named(Arc::default()) }
    }

    /// What is to be asked from now on, if that is news. `rate` says how much is asked of a service, in any unit.
    pub(crate) fn news(
        &mut self,
        core: &Core,
        generation: u64,
        rate: &dyn Fn(&ServiceName) -> u64,
        now: Time,
    ) -> Option<LoadAsked> {
        let is_new = self.generation.replace(generation) != Some(generation);
        let need = core.load_need();
        let before = std::mem::replace(&mut self.need, need);
        if core.config().services.len() <= ALL {
            return is_new.then(|| self.all(core));
        }
        if is_new {
            self.by_policy = core.load_by_policy();
        }
        let doubts = is_new || before.doubted != self.need.doubted;
        if doubts {
            self.in_doubt = core.load_at(&self.need.doubted);
        }
        if is_new || before.silent != self.need.silent || now.since(self.sampled) >= SAMPLE_EVERY {
            self.sampled = now;
            self.of_peers = core.load_of_peers(SAMPLE, rate);
            self.is_due = true;
        }
        self.is_due |= is_new || doubts || before.drains != self.need.drains;
        let in_doubt = doubts && self.need.is_open;
        let may_change = self.interval.is_zero() || in_doubt || now >= self.since + self.interval + ARRIVES;
        if !may_change || !(self.is_due || self.is_stale(now)) {
            return None;
        }
        self.is_due = false;
        self.named(core, now)
    }

    /// When there may be news though nothing happened.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.is_due.then(|| self.since + self.interval + ARRIVES)
    }

    fn is_stale(&self, now: Time) -> bool {
        now.since(self.since) >= KEPT
    }

    fn all(&mut self, core: &Core) -> LoadAsked {
        *self = Self { generation: self.generation, ..Self::default() };
        LoadAsked { interval: SOONEST, per_endpoint: core.judges_errors(), clusters: LoadOf::All }
    }

    fn named(&mut self, core: &Core, now: Time) -> Option<LoadAsked> {
        let parts = [&self.by_policy, &self.in_doubt, &self.of_peers].into_iter().flatten();
        let needed: BTreeSet<ServiceName> = parts.chain(core.load_of_drains()).cloned().collect();
        let is_stale = self.is_stale(now);
        // What comes and goes is asked for all the time, within limits.
        let names = match is_stale || self.names.len() > 2 * needed.len() + ALL {
            true => needed,
            false => self.names.union(&needed).cloned().collect(),
        };
        let interval = interval(names.len(), core.config().services.len(), self.need.is_open);
        // To report less often is no haste: that comes with other news.
        let as_often =
            interval == self.interval || (interval > self.interval && !self.interval.is_zero() && !is_stale);
        let per_endpoint = core.judges_errors();
        if as_often && per_endpoint == self.per_endpoint && names == self.names {
            self.since = if is_stale { now } else { self.since };
            return None;
        }
        (self.names, self.per_endpoint, self.interval, self.since) = (names, per_endpoint, interval, now);
        let names = self.names.iter().map(ToString::to_string).collect();
        Some(LoadAsked { interval, per_endpoint, clusters: LoadOf::Named(Arc::new(names)) })
    }
}

/// How often gateways report: by how much of their time it takes.
fn interval(named: usize, services: usize, in_doubt: bool) -> Duration {
    let times = |of: Duration, count: usize| of.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    let latest = if in_doubt { LATEST_IN_DOUBT } else { LATEST };
    let share = times(PER_NAMED, named) + times(PER_OTHER, services.saturating_sub(named));
    share.clamp(SOONEST, latest)
}

#[cfg(test)]
mod tests;
