//! When gateways are told that the cluster of a service changed. Pure: services and time in.
//!
//! Any change of an Envoy cluster wipes what its outlier detection ejected and drops its connections (DESIGN, section 6). So a
//! change waits while the service is not calm, that is while any of its own pools is in a fault or comes back from one, but not
//! longer than [`LONGEST`]: then what the policy says weighs more. And changes come [`EVERY`] apart, the one that waits longest
//! first: a new policy for a fleet of ten thousand services must not make every gateway open all of its connections anew at
//! once. What is new or removed does not wait: there is nothing to wipe.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_model::{ServiceName, Time};

/// A change is held back so long at most.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);
/// From the change of one service to that of the next: 10,000 services take 100 s.
pub(crate) const EVERY: Duration = Duration::from_millis(10);
/// A service that is not calm is looked at again after so long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    /// Since when each service waits.
    since: BTreeMap<ServiceName, Time>,
    /// Services that were not calm, and when to look at them again.
    held: BTreeSet<(Time, ServiceName)>,
    /// Services that wait for their turn only, the longest waiting first.
    ready: BTreeSet<(Time, ServiceName)>,
    /// When the next change may come.
    free_at: Time,
}

impl Pacing {
    /// Whether the clusters of a service that is to change may do so now. If not, it is [`Self::due`] at its time.
    pub(crate) fn allows(&mut self, service: &ServiceName, is_calm: bool, now: Time) -> bool {
        if self.since.contains_key(service) {
            return false;
        }
        if is_calm && self.ready.is_empty() && now >= self.free_at {
            self.free_at = now + EVERY;
            return true;
        }
        self.since.insert(service.clone(), now);
        match is_calm {
            true => self.ready.insert((now, service.clone())),
            false => self.held.insert((now + LOOK_EVERY, service.clone())),
        };
        false
    }

    /// The service wants no change any more, or is gone.
    pub(crate) fn forget(&mut self, service: &ServiceName) {
        if let Some(since) = self.since.remove(service) {
            self.ready.remove(&(since, service.clone()));
            self.held.retain(|(_, held)| held != service);
        }
    }

    /// The service whose turn it is, if any: it waits no more.
    pub(crate) fn due(&mut self, is_calm: impl Fn(&ServiceName) -> bool, now: Time) -> Option<ServiceName> {
        if self.since.is_empty() {
            return None;
        }
        while self.held.first().is_some_and(|(look, _)| *look <= now) {
            let Some((_, service)) = self.held.pop_first() else { break };
            self.place(service, &is_calm, now);
        }
        if now < self.free_at {
            return None;
        }
        // What fell while it waited for its turn waits on; each is looked at once.
        for _ in 0..self.ready.len() {
            let (since, service) = self.ready.pop_first()?;
            if is_calm(&service) || now >= since + LONGEST {
                self.since.remove(&service);
                self.free_at = now + EVERY;
                return Some(service);
            }
            self.place(service, &is_calm, now);
        }
        None
    }

    /// When [`Self::due`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let held = self.held.first().map(|(look, _)| *look);
        let ready = (!self.ready.is_empty()).then_some(self.free_at);
        [held, ready].into_iter().flatten().min()
    }

    fn place(&mut self, service: ServiceName, is_calm: &impl Fn(&ServiceName) -> bool, now: Time) {
        let Some(since) = self.since.get(&service).copied() else { return };
        let until = since + LONGEST;
        if is_calm(&service) || now >= until {
            self.ready.insert((since, service));
        } else {
            self.held.insert((until.min(now + LOOK_EVERY), service));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn name(n: usize) -> ServiceName {
        format!("shop/s{n:05}").parse().unwrap()
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// Follows every deadline up to `end` and gives what changed when, in ms.
    fn run(
        pacing: &mut Pacing,
        calm: &dyn Fn(&ServiceName, Time) -> bool,
        end: u64,
    ) -> Vec<(u64, ServiceName)> {
        let mut changed = Vec::new();
        for _ in 0..100_000 {
            let Some(now) = pacing.deadline().filter(|now| *now <= at(end)) else { return changed };
            if let Some(service) = pacing.due(|service| calm(service, now), now) {
                changed.push((u64::try_from(now.since_origin().as_millis()).unwrap(), service));
            }
        }
        panic!("it does not come to rest");
    }

    #[test]
    fn a_change_of_a_calm_service_comes_at_once_and_many_come_one_after_the_other() {
        let mut pacing = Pacing::default();
        assert!(pacing.allows(&name(0), true, at(1000)));
        for n in 1..1000 {
            assert!(!pacing.allows(&name(n), true, at(1000)));
            assert!(!pacing.allows(&name(n), true, at(1000)), "asked again it keeps its place");
        }
        let changed = run(&mut pacing, &|_, _| true, 1_000_000);
        let expected: Vec<_> = (1..1000).map(|n| (1000 + 10 * n as u64, name(n))).collect();
        assert_eq!(changed, expected);
        assert!(pacing.allows(&name(1), true, at(60_000)));
    }

    #[test]
    fn a_service_in_a_fault_waits_until_it_is_calm_and_60_s_at_most() {
        let mut pacing = Pacing::default();
        assert!(!pacing.allows(&name(1), false, at(0)));
        assert!(!pacing.allows(&name(2), false, at(0)));
        assert!(pacing.allows(&name(3), true, at(5)), "others need not wait for it");
        let calm = |service: &ServiceName, now: Time| *service == name(1) && now >= at(7500);
        assert_eq!(run(&mut pacing, &calm, 100_000), [(8000, name(1)), (60_000, name(2))]);
        assert!(pacing.deadline().is_none() && pacing.since.is_empty());
    }

    #[test]
    fn one_that_falls_while_it_waits_for_its_turn_waits_on() {
        let mut pacing = Pacing::default();
        for n in 0..3 {
            assert_eq!(pacing.allows(&name(n), true, at(0)), n == 0);
        }
        let calm = |service: &ServiceName, now: Time| *service != name(1) || now >= at(3000);
        assert_eq!(run(&mut pacing, &calm, 100_000), [(10, name(2)), (3010, name(1))]);
    }

    #[test]
    fn what_is_forgotten_does_not_change() {
        let mut pacing = Pacing::default();
        for n in 0..4 {
            pacing.allows(&name(n), n < 2, at(0));
        }
        (1..4).for_each(|n| pacing.forget(&name(n)));
        assert_eq!(run(&mut pacing, &|_, _| true, 100_000), []);
        assert_eq!((pacing.ready, pacing.held), (BTreeSet::new(), BTreeSet::new()));
    }
}
