//! The owner's side of the pool status: what was published, and what each observer still lacks. Pure.
//!
//! Observers are told by version: whoever has version v is told which pools changed after v, with their
//! newest values. So an observer that was slow gets one update for all that it missed, and the owner keeps
//! nothing for it: one bounded log of changes serves all. Whoever lags behind the log gets everything.

use crate::{
    lasting::{Lasting, LastingWord},
    proto, wire,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use tidegate_engine::Load;
use tidegate_model::{ClusterName, PoolStatus, Region, ServiceName, Time, Zone};
use wire::{Asked, PoolName};

/// A hold-down that runs down as it should is no change. Rounding and a late loop may move it by this much.
const HOLD_TOLERANCE: Duration = Duration::from_millis(250);
/// The log is kept while it names fewer pools than there are, or than this.
const LOG_AT_LEAST: usize = 1024;
/// Demand is told again after this, so that whoever hears knows that it is still so: well within the 60 s after which the
/// engine takes it for missing.
const DEMAND_AGAIN: Duration = Duration::from_secs(20);
/// A change of demand by less than one part in so many is no news: it moves no plan.
const DEMAND_NEWS: u64 = 100;

#[derive(Debug)]
struct Entry {
    status: PoolStatus,
    /// When its hold-down was measured.
    at: Time,
}

/// What this cluster has published of its pools.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Zero until the first publication: "not known yet" is not "no pools".
    version: u64,
    falls: u64,
    /// Of each service by zone, in its order: a handful, for which a tree's node would have room for eleven.
    pools: BTreeMap<ServiceName, Box<[Entry]>>,
    /// How many pools there are.
    count: usize,
    /// For each of the last versions the pools that changed in it, the newest last.
    log: VecDeque<(u64, Vec<PoolName>)>,
    logged: usize,
    /// What is asked for, and with which version it was told. What is known no more stays as that.
    demand: BTreeMap<Asked, (Option<Load>, u64)>,
    demand_told: Time,
    unreachable: Vec<String>,
    lasting: Lasting,
}

/// What an observer lacks.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Lack {
    pub(crate) version: u64,
    pub(crate) full: bool,
    pub(crate) base_version: u64,
    pub(crate) changed: Vec<proto::Pool>,
    pub(crate) removed: Vec<proto::PoolName>,
    pub(crate) demand: Vec<proto::Demand>,
    pub(crate) unreachable: Vec<String>,
    pub(crate) lasting: Vec<proto::LastingWord>,
}

impl Ledger {
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// How often a pool had to be admitted less than in the publication before.
    pub(crate) const fn falls(&self) -> u64 {
        self.falls
    }

    /// The pools are now exactly these. Returns whether that is news.
    pub(crate) fn publish(&mut self, pools: Vec<PoolStatus>, now: Time) -> bool {
        let mut news = Vec::new();
        let mut services: BTreeMap<ServiceName, Vec<PoolStatus>> =
            self.pools.keys().map(|service| (service.clone(), Vec::new())).collect();
        for status in pools {
            services.entry(status.service.clone()).or_default().push(status);
        }
        for (service, pools) in services {
            self.set(&service, pools, now, &mut news);
        }
        if news.is_empty() && self.version > 0 {
            return false;
        }
        self.note(news);
        true
    }

    /// The pools of these services are now exactly these; those of others are as they were. Returns whether that is
    /// news. It is not before the first publication of all: what was never told whole cannot be added to.
    pub(crate) fn publish_changed(
        &mut self,
        services: BTreeMap<ServiceName, Vec<PoolStatus>>,
        now: Time,
    ) -> bool {
        if self.version == 0 {
            return false;
        }
        let mut news = Vec::new();
        for (service, pools) in services {
            self.set(&service, pools, now, &mut news);
        }
        if news.is_empty() {
            return false;
        }
        self.note(news);
        true
    }

    /// These words last from now on. They wait for the first publication of pools.
    pub(crate) fn publish_lasting(&mut self, words: Vec<(String, LastingWord)>, now: Time) -> bool {
        if words.is_empty() {
            return false;
        }
        for (name, word) in words {
            self.lasting.set(name, word, self.version + 1, now);
        }
        if self.version > 0 {
            self.note(Vec::new());
        }
        self.version > 0
    }

    /// This is asked for now, and these clusters are out of reach. Returns whether that is news.
    pub(crate) fn publish_demand(
        &mut self,
        demand: &BTreeMap<Asked, Load>,
        unreachable: &BTreeSet<ClusterName>,
        now: Time,
    ) -> bool {
        if self.version == 0 {
            return false;
        }
        let again = now.since(self.demand_told) >= DEMAND_AGAIN;
        let version = self.version + 1;
        let mut news = false;
        if again {
            // Whoever is connected was told by now that these are gone.
            self.demand.retain(|_, (load, _)| load.is_some());
        }
        for (asked, (load, told)) in &mut self.demand {
            let new = demand.get(asked).copied();
            if differs(*load, new) || again && new.is_some() {
                (*load, *told, news) = (new, version, true);
            }
        }
        for (asked, load) in demand {
            self.demand.entry(asked.clone()).or_insert_with(|| {
                news = true;
                (Some(*load), version)
            });
        }
        let unreachable: Vec<String> = unreachable.iter().map(ToString::to_string).collect();
        news |= unreachable != self.unreachable;
        if news {
            self.unreachable = unreachable;
            self.demand_told = if again { now } else { self.demand_told };
            self.note(Vec::new());
        }
        news
    }

    /// The pools of a service are now exactly these; says in `news` which are new, changed or gone.
    fn set(&mut self, service: &ServiceName, pools: Vec<PoolStatus>, now: Time, news: &mut Vec<PoolName>) {
        let old = self.pools.remove(service).unwrap_or_default();
        self.count -= old.len();
        let mut old: BTreeMap<Zone, Entry> =
            old.into_iter().map(|entry| (entry.status.locality.zone.clone(), entry)).collect();
        let mut new = BTreeMap::new();
        for status in pools {
            let zone = status.locality.zone.clone();
            let entry = match old.remove(&zone) {
                Some(entry) if entry.says(&status, now) => entry,
                before => {
                    let fell = before.is_some_and(|entry| status.admit < entry.status.admit);
                    self.falls += u64::from(fell);
                    news.push((service.clone(), zone.clone()));
                    Entry { status, at: now }
                }
            };
            new.insert(zone, entry);
        }
        news.extend(old.into_keys().map(|zone| (service.clone(), zone)));
        self.count += new.len();
        if !new.is_empty() {
            self.pools.insert(service.clone(), new.into_values().collect());
        }
    }

    /// Another version, in which these pools are new, changed or gone.
    fn note(&mut self, news: Vec<PoolName>) {
        self.version += 1;
        self.logged += news.len();
        self.log.push_back((self.version, news));
        let keep = self.count.max(LOG_AT_LEAST);
        while self.logged > keep || self.log.len() > LOG_AT_LEAST {
            let Some((_, oldest)) = self.log.pop_front() else { break };
            self.logged -= oldest.len();
        }
    }

    fn pool(&self, service: &ServiceName, zone: &Zone) -> Option<&Entry> {
        let pools = self.pools.get(service)?;
        let at = pools.binary_search_by(|entry| entry.status.locality.zone.cmp(zone)).ok()?;
        Some(&pools[at])
    }

    /// What whoever has version `base` (nothing at all if `None`) lacks.
    pub(crate) fn lack(&self, base: Option<u64>, own_region: &Region, now: Time) -> Option<Lack> {
        if self.version == 0 || base == Some(self.version) {
            return None;
        }
        let encode = |entry: &Entry| wire::encode(&entry.status, own_region, now.since(entry.at));
        let demand = |since: u64| {
            let news = self.demand.iter().filter(|(_, (_, version))| *version > since);
            news.map(|(asked, (load, _))| wire::encode_demand(asked, *load)).collect()
        };
        let unreachable = self.unreachable.clone();
        let logged_from = self.log.front().map_or(self.version + 1, |(version, _)| *version);
        let Some(base) = base.filter(|base| base + 1 >= logged_from && *base < self.version) else {
            let changed = self.pools.values().flatten().map(encode).collect();
            let (version, demand, lasting) = (self.version, demand(0), self.lasting.after(0, now));
            return Some(Lack {
                version,
                full: true,
                changed,
                demand,
                unreachable,
                lasting,
                ..Lack::default()
            });
        };
        let after = self.log.iter().filter(|(version, _)| *version > base);
        let names: BTreeSet<&PoolName> = after.flat_map(|(_, names)| names).collect();
        let (version, demand, lasting) = (self.version, demand(base), self.lasting.after(base, now));
        let mut lack = Lack { version, base_version: base, demand, unreachable, lasting, ..Lack::default() };
        for name in names {
            match self.pool(&name.0, &name.1) {
                Some(entry) => lack.changed.push(encode(entry)),
                None => lack.removed.push(wire::encode_name(name)),
            }
        }
        Some(lack)
    }
}

/// Whether a change of demand is news.
fn differs(told: Option<Load>, now: Option<Load>) -> bool {
    match (told, now) {
        (Some(told), Some(now)) if told.is_like(now) => {
            told.thousandths().abs_diff(now.thousandths()) > told.thousandths() / DEMAND_NEWS
        }
        (told, now) => told != now,
    }
}

impl Entry {
    /// Whether `status`, now, is what this entry has come to by itself.
    fn says(&self, status: &PoolStatus, now: Time) -> bool {
        let holds = self.status.hold_remaining.saturating_sub(now.since(self.at));
        let like = PoolStatus { hold_remaining: self.status.hold_remaining, ..status.clone() };
        // The end of a hold-down is told, however near it was.
        let ends = status.hold_remaining.is_zero() && !self.status.hold_remaining.is_zero();
        like == self.status && !ends && status.hold_remaining.abs_diff(holds) <= HOLD_TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_model::{Fraction, Locality, Phase};

    fn region() -> Region {
        Region::new("us-west").unwrap()
    }

    fn pool(service: &str, healthy: u32, admit_ppm: u32) -> PoolStatus {
        PoolStatus {
            service: service.parse().unwrap(),
            locality: Locality { region: region(), zone: "us-west-1a".parse().unwrap() },
            expected: 4,
            present: 4,
            healthy,
            admit: Fraction::from_ppm(admit_ppm).unwrap(),
            phase: Phase::Serving,
            hold_remaining: Duration::ZERO,
        }
    }

    fn changed(lack: &Lack) -> Vec<(&str, u32)> {
        lack.changed.iter().map(|pool| (pool.service.as_str(), pool.healthy)).collect()
    }

    const ONE: u32 = 1_000_000;

    #[test]
    fn nothing_is_said_before_the_first_publication_and_an_empty_one_is_said() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.lack(None, &region(), Time::ZERO), None);
        assert!(ledger.publish(vec![], Time::ZERO));
        let lack = ledger.lack(None, &region(), Time::ZERO).unwrap();
        assert!(lack.full && lack.version == 1 && lack.changed.is_empty());
    }

    #[test]
    fn an_observer_is_told_the_newest_of_what_it_missed() {
        let mut ledger = Ledger::default();
        ledger.publish(vec![pool("a/x", 4, ONE), pool("a/y", 4, ONE), pool("a/z", 4, ONE)], Time::ZERO);
        for healthy in [3, 2, 1] {
            ledger.publish(vec![pool("a/x", healthy, ONE), pool("a/z", 4, ONE)], Time::ZERO);
        }
        let lack = ledger.lack(Some(1), &region(), Time::ZERO).unwrap();
        assert_eq!((lack.full, lack.base_version, lack.version), (false, 1, 4));
        assert_eq!(changed(&lack), [("a/x", 1)]);
        assert_eq!(lack.removed[0].service, "a/y");
        assert_eq!(ledger.lack(Some(4), &region(), Time::ZERO), None);
        assert!(!ledger.publish(vec![pool("a/x", 1, ONE), pool("a/z", 4, ONE)], Time::ZERO));
    }

    #[test]
    fn a_publication_of_some_services_leaves_the_others_as_they_were() {
        let mut ledger = Ledger::default();
        let of = |service: &str, pools: Vec<PoolStatus>| BTreeMap::from([(service.parse().unwrap(), pools)]);
        assert!(
            !ledger.publish_changed(of("a/x", vec![pool("a/x", 1, ONE)]), Time::ZERO),
            "nothing whole yet"
        );
        ledger.publish(vec![pool("a/x", 4, ONE), pool("a/y", 4, ONE), pool("a/z", 4, ONE)], Time::ZERO);
        assert!(ledger.publish_changed(of("a/y", vec![pool("a/y", 3, 500_000)]), Time::ZERO));
        assert!(!ledger.publish_changed(of("a/y", vec![pool("a/y", 3, 500_000)]), Time::ZERO));
        assert!(ledger.publish_changed(of("a/x", vec![]), Time::ZERO));
        assert_eq!((ledger.falls(), ledger.count), (1, 2));
        let lack = ledger.lack(Some(1), &region(), Time::ZERO).unwrap();
        assert_eq!((changed(&lack), lack.removed.len(), lack.version), (vec![("a/y", 3)], 1, 3));
        // It is what a publication of everything would have come to.
        assert!(!ledger.publish(vec![pool("a/y", 3, 500_000), pool("a/z", 4, ONE)], Time::ZERO));
    }

    #[test]
    fn an_observer_behind_the_bounded_log_gets_everything() {
        let mut ledger = Ledger::default();
        for n in 0..5000 {
            ledger.publish(vec![pool("a/x", n, ONE), pool("a/y", 1, ONE)], Time::ZERO);
        }
        assert!(ledger.log.len() <= LOG_AT_LEAST && ledger.logged <= LOG_AT_LEAST);
        let lack = ledger.lack(Some(7), &region(), Time::ZERO).unwrap();
        assert!(lack.full && lack.version == 5000);
        assert_eq!(changed(&lack), [("a/x", 4999), ("a/y", 1)]);
        // A version that was never reached is of another life.
        assert!(ledger.lack(Some(6000), &region(), Time::ZERO).unwrap().full);
    }

    #[test]
    fn demand_is_told_where_it_moved_and_again_after_a_while() {
        let asked = |service: &str| (service.parse().unwrap(), "us-west-1a".parse().unwrap());
        let demand = |x, y| {
            let rate = |rps| Load::Rate { rps };
            BTreeMap::from([(asked("a/x"), rate(x)), (asked("a/y"), rate(y))])
        };
        let told = |ledger: &Ledger, base| {
            let lack = ledger.lack(Some(base), &region(), Time::ZERO).unwrap();
            assert!(lack.changed.is_empty() && lack.removed.is_empty());
            lack.demand.into_iter().map(|it| (it.service, it.load)).collect::<Vec<_>>()
        };
        let mut ledger = Ledger::default();
        let none = BTreeSet::new();
        assert!(!ledger.publish_demand(&demand(1000, 1000), &none, Time::ZERO), "nothing before the pools");
        ledger.publish(vec![pool("a/x", 4, ONE)], Time::ZERO);
        assert!(ledger.publish_demand(&demand(1000, 1000), &none, Time::ZERO));
        assert_eq!(told(&ledger, 1).len(), 2);
        assert!(!ledger.publish_demand(&demand(1009, 1000), &none, Time::from_millis(1000)));
        assert!(ledger.publish_demand(&demand(1500, 1000), &none, Time::from_millis(2000)));
        assert_eq!(told(&ledger, 2), [("a/x".to_owned(), Some(proto::demand::Load::Rps(1500)))]);
        assert!(ledger.publish_demand(&demand(1500, 1000), &none, Time::from_millis(20_000)));
        assert_eq!(told(&ledger, 3).len(), 2);
        let gone = BTreeMap::from([(asked("a/x"), Load::Rate { rps: 1500 })]);
        assert!(ledger.publish_demand(&gone, &none, Time::from_millis(21_000)));
        assert_eq!(told(&ledger, 4), [("a/y".to_owned(), None)]);
        let silent = BTreeSet::from(["us-east".parse().unwrap()]);
        assert!(ledger.publish_demand(&gone, &silent, Time::from_millis(22_000)));
        let lack = ledger.lack(None, &region(), Time::ZERO).unwrap();
        assert_eq!((lack.demand.len(), lack.unreachable), (2, vec!["us-east".to_owned()]));
    }

    #[test]
    fn what_operators_did_is_told_once_and_to_whoever_comes_later() {
        let word = |seconds| (b"x".to_vec(), Duration::from_secs(seconds));
        let mut ledger = Ledger::default();
        assert!(
            !ledger.publish_lasting(vec![("a".to_owned(), word(60))], Time::ZERO),
            "nothing before the pools"
        );
        ledger.publish(vec![pool("a/x", 4, ONE)], Time::ZERO);
        let told = |ledger: &Ledger, base| {
            let lack = ledger.lack(base, &region(), Time::from_millis(10_000));
            lack.map(|it| it.lasting.into_iter().map(|it| (it.name, it.remaining_ms)).collect::<Vec<_>>())
        };
        assert_eq!(told(&ledger, None).unwrap(), [("a".to_owned(), 50_000)]);
        assert!(ledger.publish_lasting(vec![("b".to_owned(), word(30))], Time::ZERO));
        assert_eq!(told(&ledger, Some(1)).unwrap(), [("b".to_owned(), 20_000)]);
        assert_eq!((told(&ledger, Some(2)), told(&ledger, None).unwrap().len()), (None, 2));
    }

    #[test]
    fn only_a_fall_of_an_admit_counts_as_one() {
        let mut ledger = Ledger::default();
        for (admit, falls) in [(ONE, 0), (500_000, 1), (500_000, 1), (0, 2), (100_000, 2), (ONE, 2)] {
            ledger.publish(vec![pool("a/x", 1, admit)], Time::ZERO);
            assert_eq!(ledger.falls(), falls);
        }
        ledger.publish(vec![], Time::ZERO);
        assert_eq!(ledger.falls(), 2);
    }

    #[test]
    fn a_hold_down_that_runs_down_is_no_news_and_is_sent_as_it_is_now() {
        let holding = |ms| PoolStatus {
            phase: Phase::Holding,
            hold_remaining: Duration::from_millis(ms),
            ..pool("a/x", 4, 0)
        };
        let mut ledger = Ledger::default();
        ledger.publish(vec![holding(30_000)], Time::ZERO);
        assert!(!ledger.publish(vec![holding(20_100)], Time::from_millis(10_000)));
        let lack = ledger.lack(None, &region(), Time::from_millis(12_000)).unwrap();
        assert_eq!(lack.changed[0].hold_remaining_ms, 18_000);
        // A relapse prolongs it.
        assert!(ledger.publish(vec![holding(60_000)], Time::from_millis(12_000)));
        assert!(ledger.publish(vec![holding(0)], Time::from_millis(71_900)));
    }
}
