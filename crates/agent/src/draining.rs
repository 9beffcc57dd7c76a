//! Pools that left a plan, and what is still in flight there. Pure: plans, load reports and time in.
//!
//! A target that a plan used and uses no more drains for the policy's `drain.timeout`: gateways are told that it is DRAINING
//! instead of nothing, so it gets nothing new, what is in flight finishes, and gateways go on reporting how much that is. What
//! is in flight after that is *pinned*: streams and connections that nobody may cut. It is counted and shown for as
//! long as it lasts, [`LONGEST`] at most; then the target leaves the gateways' assignment, and Envoy alone knows the rest.
//!
//! Requests that still start there are those of sessions. While they come, and for the timeout after the last one, the target
//! stays too, so that sessions end where they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{Plan, Shares, Target};
use tidegate_model::{ServiceName, Time, Zone};

/// How long what is pinned is counted.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

/// A gateway that has not reported for so long counts no more: it reports at least once a second.
const SILENT: Duration = Duration::from_secs(10);

/// Gateways have a new plan, and have reported what they did before, after so long.
const GRACE: Duration = Duration::from_secs(1);

/// So often a gateway's report counts.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// After the timeout it is looked so often whether anything is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Gateways whose counts are kept for a target; more are left out, so that memory is bounded.
const MAX_GATEWAYS: usize = 1024;

/// A service as callers of a zone see it.
type Caller = (ServiceName, Zone);

/// What drains.
#[derive(Debug, Default)]
pub(crate) struct Draining {
    /// Whom each plan uses; the shares are those of the plan itself, not a copy.
    used: BTreeMap<ServiceName, Box<[(Zone, Shares)]>>,
    leaving: BTreeMap<Caller, BTreeMap<Target, Leaving>>,
    /// When to look at a caller's targets next; one who has none any more is passed over.
    due: BTreeSet<(Time, Caller)>,
    /// How often anything began to drain.
    begun: u64,
    /// When each gateway was heard last.
    heard: BTreeMap<Arc<str>, Time>,
}

/// A target on its way out.
#[derive(Clone, Debug)]
struct Leaving {
    since: Time,
    until: Time,
    gateways: BTreeMap<Arc<str>, (u64, Time)>,
    /// When a request started there last, as far as is known.
    started: Option<Time>,
}

/// What a gateway has at a target that drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Requests and connections in flight.
    pub in_flight: u64,
    /// Requests that started since the last report.
    pub started: u64,
}

/// A target on its way out, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    pub(crate) service: ServiceName,
    /// Where the requests entered.
    pub(crate) zone: Zone,
    pub(crate) target: Target,
    pub(crate) since: Time,
    /// When its timeout is over.
    pub(crate) until: Time,
    /// Requests in flight, over all gateways.
    pub(crate) in_flight: u64,
}

impl Leaving {
    fn in_flight(&self) -> u64 {
        self.gateways.values().map(|(count, _)| count).sum()
    }

    /// When to look at it next; `None` when it is over.
    fn next(&self, now: Time) -> Option<Time> {
        if now < self.until {
            return Some(self.until);
        }
        let end = self.until.max(self.since + LONGEST);
        let timeout = self.until.since(self.since);
        let used = self.started.is_some_and(|at| now < at + timeout);
        ((used || self.in_flight() > 0) && now < end).then(|| end.min(now + LOOK_EVERY))
    }
}

impl Draining {
    /// Takes in the plans of a service. `timeout` is the policy's, and `allowed` says whether a target may serve at all:
    /// what residency forbids, or is out of reach, is not even drained.
    pub(crate) fn plans<'a>(
        &mut self,
        service: &ServiceName,
        plans: impl Iterator<Item = &'a Plan>,
        timeout: Duration,
        allowed: &dyn Fn(&Target) -> bool,
        now: Time,
    ) {
        let after: Box<[(Zone, Shares)]> =
            plans.map(|plan| (plan.source.locality.zone.clone(), plan.shares.clone())).collect();
        let before = match self.used.get(service) {
            Some(before) if *before == after => return,
            _ => self.used.insert(service.clone(), after.clone()).unwrap_or_default(),
        };
        for (zone, old) in before {
            let caller = (service.clone(), zone);
            let Some((_, new)) = after.iter().find(|(zone, _)| *zone == caller.1) else {
                self.leaving.remove(&caller);
                continue;
            };
            for target in old.keys().filter(|it| !new.contains_key(it) && allowed(it)) {
                let leaving =
                    Leaving { since: now, until: now + timeout, gateways: BTreeMap::new(), started: None };
                self.due.insert((leaving.until, caller.clone()));
                self.begun += 1;
                self.leaving.entry(caller.clone()).or_default().insert(target.clone(), leaving);
            }
            if let Some(leaving) = self.leaving.get_mut(&caller) {
                leaving.retain(|target, _| !new.contains_key(target) && allowed(target));
                if leaving.is_empty() {
                    self.leaving.remove(&caller);
                }
            }
        }
    }

    /// A service that is gone.
    pub(crate) fn remove(&mut self, service: &ServiceName) {
        for (zone, _) in self.used.remove(service).unwrap_or_default() {
            self.leaving.remove(&(service.clone(), zone));
        }
    }

    /// The targets that drain for callers of a zone.
    pub(crate) fn targets(&self, service: &ServiceName, zone: &Zone) -> BTreeSet<Target> {
        if self.leaving.is_empty() {
            return BTreeSet::new();
        }
        let leaving = self.leaving.get(&(service.clone(), zone.clone()));
        leaving.map(|leaving| leaving.keys().cloned().collect()).unwrap_or_default()
    }

    /// How often anything began to drain since the start.
    pub(crate) const fn begun(&self) -> u64 {
        self.begun
    }

    /// The services of which anything drains; one may come several times.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.leaving.keys().map(|(service, _)| service)
    }

    /// Whether anything drains.
    pub(crate) fn is_busy(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Whether to ask a gateway what it has in flight: while anything drains, and not at each of its reports.
    pub(crate) fn asks(&mut self, gateway: &str, now: Time) -> bool {
        if self.leaving.is_empty() {
            self.heard.clear();
            return false;
        }
        let due = self.heard.get(gateway).is_none_or(|heard| now.since(*heard) >= ASK_EVERY);
        if due && (self.heard.contains_key(gateway) || self.heard.len() < MAX_GATEWAYS) {
            self.heard.insert(gateway.into(), now);
            return true;
        }
        false
    }

    /// What a gateway in `zone` has in flight, by service and target; what it does not name, it has not.
    pub(crate) fn report(
        &mut self,
        gateway: &Arc<str>,
        zone: &Zone,
        flows: &BTreeMap<ServiceName, BTreeMap<Target, Flow>>,
        now: Time,
    ) {
        for ((service, _), targets) in self.leaving.iter_mut().filter(|((_, at), _)| at == zone) {
            let told = flows.get(service);
            for (target, leaving) in targets {
                leaving.gateways.retain(|_, (_, heard)| now.since(*heard) < SILENT);
                let flow = told.and_then(|told| told.get(target)).copied().unwrap_or_default();
                let count = flow.in_flight;
                // What its last gateway sent before it heard of the plan is no session.
                if flow.started > 0 && now.since(leaving.since) >= GRACE {
                    leaving.started = Some(now);
                }
                if count == 0 {
                    leaving.gateways.remove(gateway);
                } else if leaving.gateways.contains_key(gateway) || leaving.gateways.len() < MAX_GATEWAYS {
                    leaving.gateways.insert(Arc::clone(gateway), (count, now));
                }
            }
        }
    }

    /// The services for which a target has drained by now: their gateways must be told.
    pub(crate) fn over(&mut self, now: Time) -> BTreeSet<ServiceName> {
        let mut over = BTreeSet::new();
        while let Some((at, caller)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, caller));
                break;
            }
            let Some(targets) = self.leaving.get_mut(&caller) else { continue };
            let before = targets.len();
            targets.retain(|_, it| {
                it.gateways.retain(|_, (_, heard)| now.since(*heard) < SILENT);
                it.next(now).is_some()
            });
            if targets.len() < before {
                over.insert(caller.0.clone());
            }
            match targets.values().filter_map(|it| it.next(now)).min() {
                Some(next) => drop(self.due.insert((next, caller))),
                None => drop(self.leaving.remove(&caller)),
            }
        }
        over
    }

    /// When [`Self::over`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// All that drains.
    pub(crate) fn all(&self) -> impl Iterator<Item = Drain> {
        self.leaving.iter().flat_map(|((service, zone), targets)| {
            targets.iter().map(|(target, it)| Drain {
                service: service.clone(),
                zone: zone.clone(),
                target: target.clone(),
                since: it.since,
                until: it.until,
                in_flight: it.in_flight(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_engine::Source;
    use tidegate_model::{Locality, Share};

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn web() -> ServiceName {
        "shop/web".parse().unwrap()
    }

    fn zone() -> Zone {
        "a".parse().unwrap()
    }

    fn plan(targets: &[&str]) -> Plan {
        let share = Share::new(10_000 / u32::try_from(targets.len().max(1)).unwrap()).unwrap();
        let locality = Locality { region: "r".parse().unwrap(), zone: zone() };
        Plan {
            service: web(),
            source: Source { cluster: "c".parse().unwrap(), locality },
            shares: targets.iter().map(|it| (it.parse().unwrap(), share)).collect(),
            shed: Share::NONE,
            standby: Arc::from([]),
            last_resort: false,
            reasons: Vec::new(),
        }
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn tell(draining: &mut Draining, targets: &[&str], seconds: u64) {
        draining.plans(&web(), [&plan(targets)].into_iter(), TIMEOUT, &|_| true, at(seconds));
    }

    fn names(draining: &Draining) -> Vec<String> {
        draining.targets(&web(), &zone()).iter().map(ToString::to_string).collect()
    }

    fn told(draining: &mut Draining, gateway: &str, in_flight: u64, seconds: u64) {
        flows(draining, gateway, Flow { in_flight, started: 0 }, seconds);
    }

    fn flows(draining: &mut Draining, gateway: &str, flow: Flow, seconds: u64) {
        let target = "zone a".parse().unwrap();
        let flows = BTreeMap::from([(web(), BTreeMap::from([(target, flow)]))]);
        draining.report(&gateway.into(), &zone(), &flows, at(seconds));
    }

    #[test]
    fn sessions_stay_until_none_has_come_for_the_timeout() {
        let mut draining = Draining::default();
        tell(&mut draining, &["zone a"], 0);
        tell(&mut draining, &["zone b"], 0);
        let session = Flow { in_flight: 0, started: 1 };
        flows(&mut draining, "g", session, 0);
        flows(&mut draining, "g", session, 25);
        flows(&mut draining, "g", session, 45);
        for seconds in 30..75 {
            assert!(draining.over(at(seconds)).is_empty(), "{seconds}");
        }
        assert_eq!(draining.over(at(75)), BTreeSet::from([web()]));
    }

    #[test]
    fn who_leaves_the_plan_drains_until_its_time_is_over() {
        let mut draining = Draining::default();
        tell(&mut draining, &["zone a", "zone b"], 0);
        assert!(draining.all().next().is_none() && draining.deadline().is_none());
        tell(&mut draining, &["zone b"], 10);
        tell(&mut draining, &["zone b", "cluster w"], 20);
        assert_eq!(names(&draining), ["zone a"]);
        assert_eq!(draining.deadline(), Some(at(40)));
        assert!(draining.over(at(39)).is_empty());
        assert_eq!(draining.over(at(40)), BTreeSet::from([web()]));
        assert!(names(&draining).is_empty() && draining.deadline().is_none());
    }

    #[test]
    fn who_comes_back_drains_no_more_and_what_is_forbidden_never_does() {
        let mut draining = Draining::default();
        tell(&mut draining, &["zone a"], 0);
        tell(&mut draining, &["zone b"], 1);
        tell(&mut draining, &["zone a"], 2);
        assert_eq!(names(&draining), ["zone b"]);
        let residency = |target: &Target| *target != "zone a".parse().unwrap();
        draining.plans(&web(), [&plan(&["zone b"])].into_iter(), TIMEOUT, &residency, at(3));
        assert!(draining.all().next().is_none());
        assert!(draining.over(at(40)).is_empty() && draining.deadline().is_none());
    }

    #[test]
    fn a_gateway_is_asked_twice_a_second_while_anything_drains() {
        let mut draining = Draining::default();
        tell(&mut draining, &["zone a"], 0);
        assert!(!draining.asks("g", at(1)));
        tell(&mut draining, &["zone b"], 1);
        assert!(draining.asks("g", at(1)) && !draining.asks("g", at(1)) && draining.asks("h", at(1)));
        assert!(draining.asks("g", at(2)));
    }

    #[test]
    fn what_is_pinned_is_counted_until_it_ends_or_its_gateway_falls_silent() {
        let mut draining = Draining::default();
        tell(&mut draining, &["zone a"], 0);
        tell(&mut draining, &["zone b"], 1);
        told(&mut draining, "g1", 3, 2);
        told(&mut draining, "g2", 4, 30);
        assert_eq!(draining.all().map(|it| it.in_flight).sum::<u64>(), 4, "g1 is silent for 28 s");
        assert!(draining.over(at(31)).is_empty(), "pinned");
        assert_eq!(draining.deadline(), Some(at(32)));
        assert_eq!(names(&draining), ["zone a"]);
        told(&mut draining, "g2", 0, 32);
        assert_eq!(draining.over(at(32)), BTreeSet::from([web()]));
        assert!(draining.all().next().is_none() && draining.deadline().is_none());
    }

    #[test]
    fn nothing_is_counted_for_ever() {
        let mut draining = Draining::default();
        tell(&mut draining, &["zone a"], 0);
        tell(&mut draining, &["zone b"], 0);
        let mut seconds = 0;
        while let Some(due) = draining.deadline() {
            seconds = due.since_origin().as_secs();
            told(&mut draining, "g", 1, seconds);
            draining.over(due);
            assert!(seconds <= LONGEST.as_secs());
        }
        assert_eq!(seconds, LONGEST.as_secs());
    }

    #[test]
    fn a_service_that_is_removed_leaves_nothing_behind() {
        let mut draining = Draining::default();
        tell(&mut draining, &["zone a"], 0);
        tell(&mut draining, &["zone b"], 0);
        draining.remove(&web());
        assert!(draining.all().next().is_none() && draining.used.is_empty());
        assert!(draining.over(at(30)).is_empty() && draining.deadline().is_none());
    }
}
