//! Passive health of the whole cluster: which endpoints fail the requests that gateways send them. Pure: counts, policies and
//! time in, verdicts out.
//!
//! All gateways of the cluster report requests and errors per endpoint (an error is a 5xx, a reset or a timeout; each try counts
//! where it was made, so a retry that saves a request hides nothing). Their sum over the policy's window is judged, so what one
//! gateway sees protects all, and twenty gateways with few requests each know as much as one with many.
//!
//! **Rule.** An endpoint is ejected when at least `minimumRequests` of it ended within the window, at least `percentage` of
//! them failed, *and* that is at least twice the part that failed at its siblings: the others of its pool, or of the whole
//! service where those had too few requests. When all fail alike (their database, a bad release) nobody is to blame and
//! nobody is ejected; without anybody to compare with, neither.
//!
//! **Way back.** By time, because an ejected endpoint gets no requests that could speak for it: `ejection`, doubled by each
//! relapse up to [`LONGEST`]. An endpoint that stayed in for [`FORGIVEN`] times that has no past.
//!
//! **Floor.** Ejected and down endpoints together are at most `maxEjectionPercent` of the pool, and unless that is 100 the last
//! endpoint that passes its checks stays. When others go down, ejected ones come back, the longest out first.

pub(crate) mod reports;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};
use tidegate_api::ErrorCheck;
use tidegate_engine::EndpointView;
use tidegate_model::{ServiceName, Time, Zone};

/// Longer than this nobody is out.
const LONGEST: Duration = Duration::from_secs(300);
/// So many times its ejection an endpoint must stay in to begin anew.
const FORGIVEN: u32 = 10;
/// Counts that are kept of an endpoint: one a second for the longest window.
const MAX_COUNTS: usize = 64;
/// Counts closer together are one.
const GRAIN: Duration = Duration::from_millis(900);

/// Requests that ended at an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Requests {
    /// All of them.
    pub ended: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Requests {
    pub(crate) fn add(&mut self, other: Self) {
        self.ended = self.ended.saturating_add(other.ended);
        self.failed = self.failed.saturating_add(other.failed).min(self.ended);
    }

    /// In hundredths of a percent.
    fn rate(self) -> u64 {
        (u128::from(self.failed) * 10_000 / u128::from(self.ended.max(1))) as u64
    }
}

/// An endpoint goes out or comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) address: SocketAddr,
    pub(crate) ejected: bool,
    pub(crate) reason: String,
}

/// What is known of the endpoints that requests were sent to.
#[derive(Debug, Default)]
pub(crate) struct Passive {
    services: BTreeMap<ServiceName, BTreeMap<SocketAddr, Seen>>,
    /// When the first endpoint of each service that holds one may come back, and the same in the order of time.
    next: BTreeMap<ServiceName, Time>,
    due: BTreeSet<(Time, ServiceName)>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The oldest first.
    counts: VecDeque<(Time, Requests)>,
    /// Since when it is out, and until when.
    out: Option<(Time, Time)>,
    /// How often it relapsed, and when it came back last.
    relapses: u32,
    back: Option<Time>,
}

impl Seen {
    fn count(&mut self, requests: Requests, now: Time) {
        match self.counts.back_mut() {
            Some((at, last)) if now.since(*at) < GRAIN => last.add(requests),
            _ => {
                if self.counts.len() == MAX_COUNTS {
                    self.counts.pop_front();
                }
                self.counts.push_back((now, requests));
            }
        }
    }

    fn within(&mut self, window: Duration, now: Time) -> Requests {
        while self.counts.front().is_some_and(|(at, _)| now.since(*at) >= window) {
            self.counts.pop_front();
        }
        let mut sum = Requests::default();
        self.counts.iter().for_each(|(_, requests)| sum.add(*requests));
        sum
    }

    /// Goes out; for how long.
    fn eject(&mut self, rule: &ErrorCheck, now: Time) -> Duration {
        let lasts = |relapses: u32| {
            rule.ejection.saturating_mul(1 << relapses.min(16)).min(LONGEST.max(rule.ejection))
        };
        let forgiven = self.back.is_none_or(|back| now.since(back) >= lasts(self.relapses) * FORGIVEN);
        self.relapses = if forgiven { 0 } else { self.relapses.saturating_add(1) };
        let lasts = lasts(self.relapses);
        self.out = Some((now, now + lasts));
        self.counts.clear();
        lasts
    }

    fn come_back(&mut self, now: Time) {
        (self.out, self.back) = (None, Some(now));
        self.counts.clear();
    }
}

impl Passive {
    /// Takes in what ended at the endpoints of a service; those that it has no more are not counted.
    pub(crate) fn count(
        &mut self,
        service: &ServiceName,
        requests: &BTreeMap<SocketAddr, Requests>,
        endpoints: &[EndpointView],
        now: Time,
    ) {
        let seen = self.services.entry(service.clone()).or_default();
        for endpoint in endpoints {
            if let Some(requests) = requests.get(&endpoint.address) {
                seen.entry(endpoint.address).or_default().count(*requests, now);
            }
        }
    }

    /// Whether an endpoint of the service is out.
    pub(crate) fn holds(&self, service: &ServiceName) -> bool {
        self.next.contains_key(service)
    }

    /// Whether anything is known of the service.
    pub(crate) fn knows(&self, service: &ServiceName) -> bool {
        self.services.contains_key(service)
    }

    /// The services with an endpoint that may come back by now.
    pub(crate) fn due(&self, now: Time) -> impl Iterator<Item = &ServiceName> {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, service)| service)
    }

    /// When an endpoint may come back next.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Forgets a service that is gone.
    pub(crate) fn remove(&mut self, service: &ServiceName) {
        self.services.remove(service);
        self.set_next(service, None);
    }

    fn set_next(&mut self, service: &ServiceName, next: Option<Time>) {
        if let Some(before) = self.next.remove(service) {
            self.due.remove(&(before, service.clone()));
        }
        if let Some(next) = next {
            self.next.insert(service.clone(), next);
            self.due.insert((next, service.clone()));
        }
    }

    /// Judges all endpoints of a service. Without a rule everybody is let back.
    pub(crate) fn judge(
        &mut self,
        service: &ServiceName,
        rule: Option<&ErrorCheck>,
        endpoints: &[EndpointView],
        now: Time,
    ) -> Vec<Verdict> {
        let Some(rule) = rule else {
            self.remove(service);
            let out = endpoints.iter().filter(|it| it.ejected);
            return out.map(|it| back(it.address, "the policy does not judge by errors any more")).collect();
        };
        let seen = self.services.entry(service.clone()).or_default();
        seen.retain(|address, _| endpoints.iter().any(|it| it.address == *address));
        for endpoint in endpoints.iter().filter(|it| it.ejected) {
            // Ejected before a restart: how long ago is not known.
            let it = seen.entry(endpoint.address).or_default();
            it.out.get_or_insert((now, now + rule.ejection));
        }
        let rates: BTreeMap<SocketAddr, Requests> =
            seen.iter_mut().map(|(at, it)| (*at, it.within(rule.window, now))).collect();
        let mut pools = BTreeMap::<&Zone, Vec<&EndpointView>>::new();
        for endpoint in endpoints.iter().filter(|it| !it.terminating) {
            pools.entry(&endpoint.zone).or_default().push(endpoint);
        }
        let mut verdicts = Vec::new();
        for endpoint in endpoints.iter().filter(|it| it.ejected && it.terminating) {
            seen.entry(endpoint.address).or_default().come_back(now);
            verdicts.push(back(endpoint.address, "it is being shut down"));
        }
        for pool in pools.values() {
            verdicts.extend(judge_pool(rule, pool, endpoints, &rates, seen, now));
        }
        let has_past = |it: &Seen| it.back.is_some_and(|back| now.since(back) < LONGEST * FORGIVEN);
        seen.retain(|_, it| !it.counts.is_empty() || it.out.is_some() || has_past(it));
        let next = seen.values().filter_map(|it| it.out.map(|(_, until)| until)).min();
        match seen.is_empty() {
            true => self.remove(service),
            false => self.set_next(service, next),
        }
        verdicts
    }
}

fn judge_pool(
    rule: &ErrorCheck,
    pool: &[&EndpointView],
    all: &[EndpointView],
    rates: &BTreeMap<SocketAddr, Requests>,
    seen: &mut BTreeMap<SocketAddr, Seen>,
    now: Time,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut out: Vec<(Time, SocketAddr)> = Vec::new();
    for endpoint in pool.iter().filter(|it| it.ejected) {
        let it = seen.entry(endpoint.address).or_default();
        match it.out {
            Some((since, until)) if until > now => out.push((since, endpoint.address)),
            _ => {
                it.come_back(now);
                verdicts.push(back(endpoint.address, "its time is over"));
            }
        }
    }
    let room = room(rule, pool);
    out.sort_unstable();
    let too_many = out.len().saturating_sub(room);
    for (_, address) in out.drain(..too_many) {
        seen.entry(address).or_default().come_back(now);
        verdicts.push(back(address, "others of its pool are down, and something is better than nothing"));
    }
    let mut failing: Vec<(Reverse<u64>, SocketAddr, Requests, Requests)> = Vec::new();
    for endpoint in pool.iter().filter(|it| it.passes && !it.ejected) {
        let own = rates.get(&endpoint.address).copied().unwrap_or_default();
        if let Some(others) = siblings(rule, endpoint, pool, all, rates).filter(|it| fails(rule, own, *it)) {
            failing.push((Reverse(own.rate()), endpoint.address, own, others));
        }
    }
    failing.sort_unstable_by_key(|(rate, address, ..)| (*rate, *address));
    for (_, address, own, others) in failing.into_iter().take(room.saturating_sub(out.len())) {
        let lasts = seen.entry(address).or_default().eject(rule, now);
        let percent = |it: Requests| it.rate() / 100;
        let reason = format!(
            "errors: {} of {} requests failed in {} s at this cluster's gateways ({} %, its siblings' {} %); out for {} s",
            own.failed,
            own.ended,
            rule.window.as_secs(),
            percent(own),
            percent(others),
            lasts.as_secs()
        );
        verdicts.push(Verdict { address, ejected: true, reason });
    }
    verdicts
}

/// How many of a pool may be out.
fn room(rule: &ErrorCheck, pool: &[&EndpointView]) -> usize {
    let passing = pool.iter().filter(|it| it.passes).count();
    let percent = usize::try_from(rule.max_ejection_percent.min(100)).unwrap_or(100);
    if percent == 100 {
        return passing;
    }
    let down = pool.len() - passing;
    (pool.len() * percent / 100).saturating_sub(down).min(passing.saturating_sub(1))
}

fn fails(rule: &ErrorCheck, own: Requests, others: Requests) -> bool {
    own.ended >= rule.minimum_requests.into()
        && own.rate() >= u64::from(rule.percentage) * 100
        && own.rate() >= others.rate() * 2
}

/// What ended at the siblings of an endpoint: in its pool, or in the whole service where that was too little; `None` where
/// both were.
fn siblings(
    rule: &ErrorCheck,
    own: &EndpointView,
    pool: &[&EndpointView],
    all: &[EndpointView],
    rates: &BTreeMap<SocketAddr, Requests>,
) -> Option<Requests> {
    let sum = |of: &mut dyn Iterator<Item = &EndpointView>| {
        let mut sum = Requests::default();
        for it in of.filter(|it| it.address != own.address && it.passes && !it.ejected) {
            sum.add(rates.get(&it.address).copied().unwrap_or_default());
        }
        (sum.ended >= rule.minimum_requests.into()).then_some(sum)
    };
    sum(&mut pool.iter().copied()).or_else(|| sum(&mut all.iter()))
}

fn back(address: SocketAddr, why: &str) -> Verdict {
    Verdict { address, ejected: false, reason: format!("let back: {why}") }
}

#[cfg(test)]
mod tests;
