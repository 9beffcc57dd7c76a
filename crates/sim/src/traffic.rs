//! What becomes of requests: a simple model of Envoy, in steps of [`STEP`].
//!
//! Requests are a fluid, not drawn one by one: a step of 12.5 requests is 12.5 requests. Each source sends its rate by the
//! plan that its gateway holds:
//! - *Targets*: a zone is its endpoints that the agent last called healthy; another cluster is its east-west gateway, which
//!   spreads over the endpoints that *its* agent calls healthy, and tries two others when one fails.
//! - *Ejection*: a host that fails three requests in a row gets nothing for 10 s, then 20 s, at most 60 s. A target without a
//!   usable host leaves its share to the others of its priority; a priority without one is passed over.
//! - *Retries*: each try after the first goes to the next priority (plan, first standby, ...), and when all were tried to
//!   another host of the first. All requests are taken to be safe to repeat.
//! - When no host of any priority is usable, all endpoints of the plan are tried.
//! - An endpoint of a service with a `capacity` answers so many requests per second; what is above fails, and is not
//!   tried again (as with an exhausted retry budget).

use crate::{
    scenario::Scenario,
    site::Site,
    world::{Answer, ClusterId, World},
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tidegate_engine::{EndpointView, Plan, Shares, Target};
use tidegate_model::{ClusterName, PoolKey, ServiceName, Share, Time, Zone};

/// The model's step: the gateways' load reports have this interval too.
pub(crate) const STEP: Duration = Duration::from_millis(100);
/// As `envoy` sets outlier detection.
const FAILURES_TO_EJECT: f64 = 3.0;
const EJECTION: Duration = Duration::from_secs(10);
const MAX_EJECTION: Duration = Duration::from_secs(60);
/// Endpoints that an east-west gateway tries for one request.
const EAST_WEST_TRIES: usize = 3;

/// A gateway of the model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seat {
    Edge(ClusterName, Zone),
    EastWest(ClusterName),
}

/// What a gateway sends to and may eject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostName {
    Endpoint(SocketAddr),
    Gateway(ClusterName),
}

type HostKey = (Seat, ServiceName, HostName);

#[derive(Clone, Copy, Debug, Default)]
struct Ejection {
    failures: f64,
    times: u32,
    until: Time,
}

/// A host within a priority.
struct Host {
    key: HostKey,
    weight: f64,
    /// The part of its requests that it answers well.
    alive: f64,
    /// Which pools answer, with parts that sum to one.
    pools: Vec<(PoolKey, f64)>,
    /// The endpoints behind a gateway that are dead, with the part of its requests that each meets first.
    dead: Vec<(HostKey, f64)>,
}

/// What happened in a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) offered: f64,
    pub(crate) failed: f64,
    pub(crate) shed: f64,
    /// Requests served, by pool.
    pub(crate) served: BTreeMap<PoolKey, f64>,
    /// Of pools with a declared capacity: the requests that were asked of it, and those that it can answer.
    pub(crate) used: BTreeMap<PoolKey, (f64, f64)>,
    /// Requests to other clusters: tried, and answered well.
    pub(crate) evidence: BTreeMap<(ClusterId, ClusterId), (f64, f64)>,
}

/// What the gateways remember: whom they ejected.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    ejections: BTreeMap<HostKey, Ejection>,
}

/// What a step is computed from.
pub(crate) struct View<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) world: &'a World,
    /// By the clusters' numbers.
    pub(crate) sites: &'a [Site],
    pub(crate) now: Time,
}

impl View<'_> {
    fn site(&self, cluster: &ClusterName) -> Option<(ClusterId, &Site)> {
        let id = self.world.id(cluster)?;
        Some((id, self.sites.get(id.index())?))
    }
}

/// A gateway that sends: its cluster, and which of its seats.
struct Sender<'a> {
    id: ClusterId,
    site: &'a Site,
    seat: Seat,
}

impl Traffic {
    /// The requests of one step.
    pub(crate) fn step(&mut self, view: &View<'_>) -> Totals {
        let mut totals = Totals::default();
        for demand in &view.scenario.demand {
            let Some((id, site)) = view.site(&demand.cluster) else { continue };
            // Clients of a lost cluster are gone with it, or come in elsewhere: that is the DNS's part, not ours.
            if view.world.is_lost(id, view.now) {
                continue;
            }
            let Some(plan) = site.plan(&demand.service, &demand.zone) else { continue };
            let requests = demand.rate(view.now) * STEP.as_secs_f64();
            let sender = Sender { id, site, seat: Seat::Edge(site.name.clone(), demand.zone.clone()) };
            self.source(view, &sender, plan, requests, &mut totals);
        }
        overload(view, &mut totals);
        totals
    }

    fn source(
        &mut self,
        view: &View<'_>,
        sender: &Sender<'_>,
        plan: &Plan,
        requests: f64,
        totals: &mut Totals,
    ) {
        totals.offered += requests;
        let shed = requests * part(plan.shed);
        totals.shed += shed;
        let tiers = || std::iter::once(&plan.shares).chain(plan.standby.iter());
        let mut tiers: Vec<Vec<Host>> =
            tiers().map(|tier| self.tier(view, sender, plan, tier, false)).collect();
        tiers.retain(|hosts| !hosts.is_empty());
        if tiers.is_empty() {
            tiers.push(self.tier(view, sender, plan, &plan.shares, true));
        }
        let attempts =
            sender.site.config.services.get(&plan.service).map_or(0, |it| it.policy.retry.attempts);
        let mut open = requests - shed;
        for attempt in 0..=attempts as usize {
            let (tier, visit) = (&tiers[attempt % tiers.len()], attempt / tiers.len());
            open = self.attempt(view, sender.id, tier, visit, open, totals);
        }
        totals.failed += open;
    }

    /// One try of `requests`; what failed of them.
    fn attempt(
        &mut self,
        view: &View<'_>,
        from: ClusterId,
        hosts: &[Host],
        visit: usize,
        requests: f64,
        totals: &mut Totals,
    ) -> f64 {
        let fails: f64 = hosts.iter().map(|host| host.weight * (1.0 - host.alive)).sum();
        // A host that failed the request is not tried again, so each further visit has one dead host less to meet.
        let fails_now =
            fails * others(hosts.iter().filter(|host| host.alive <= 0.0).count(), hosts.len(), visit);
        let alive = 1.0 - fails;
        for host in hosts {
            let dead = host.weight * (1.0 - host.alive);
            let failed = if fails > 0.0 { requests * fails_now * dead / fails } else { 0.0 };
            let served = if alive > 0.0 {
                requests * (1.0 - fails_now) * host.weight * host.alive / alive
            } else {
                0.0
            };
            self.note(&host.key, failed, served, view.now);
            for (dead, part) in &host.dead {
                self.note(dead, (failed + served) * part, 0.0, view.now);
            }
            for (pool, part) in &host.pools {
                *totals.served.entry(pool.clone()).or_default() += served * part;
            }
            if let HostName::Gateway(peer) = &host.key.2
                && let Some(peer) = view.world.id(peer)
            {
                let seen = totals.evidence.entry((from, peer)).or_default();
                seen.0 += failed + served;
                seen.1 += served;
            }
        }
        if hosts.is_empty() { requests } else { requests * fails_now }
    }

    /// The usable hosts of a priority, with weights that sum to one; none if there are none. `all`: the unusable too.
    fn tier(&self, view: &View<'_>, sender: &Sender<'_>, plan: &Plan, tier: &Shares, all: bool) -> Vec<Host> {
        let mut hosts = Vec::new();
        for (target, share) in tier {
            let mut found = match target {
                Target::Zone(zone) => self.zone(view, sender, &plan.service, zone, all),
                Target::Cluster(cluster) => self.cluster(view, sender, &plan.service, cluster, all),
            };
            let sum: f64 = found.iter().map(|host| host.weight).sum();
            found.iter_mut().for_each(|host| host.weight *= part(*share) / sum);
            hosts.append(&mut found);
        }
        let sum: f64 = hosts.iter().map(|host| host.weight).sum();
        hosts.iter_mut().for_each(|host| host.weight /= sum);
        hosts
    }

    fn zone(
        &self,
        view: &View<'_>,
        sender: &Sender<'_>,
        service: &ServiceName,
        zone: &Zone,
        all: bool,
    ) -> Vec<Host> {
        let endpoints = sender.site.endpoints(service);
        let key = |it: &EndpointView| (sender.seat.clone(), service.clone(), HostName::Endpoint(it.address));
        endpoints
            .iter()
            .filter(|it| it.zone == *zone)
            .filter(|it| all || (it.healthy && !self.is_ejected(&key(it), view.now)))
            .map(|it| Host {
                key: key(it),
                weight: 1.0,
                alive: alive(view, sender.id, service, it.address),
                pools: vec![(pool(service, &sender.site.name, zone), 1.0)],
                dead: Vec::new(),
            })
            .collect()
    }

    /// Another cluster: one host, its gateway, which answers as well as what it can choose from.
    fn cluster(
        &self,
        view: &View<'_>,
        sender: &Sender<'_>,
        service: &ServiceName,
        cluster: &ClusterName,
        all: bool,
    ) -> Vec<Host> {
        let key = (sender.seat.clone(), service.clone(), HostName::Gateway(cluster.clone()));
        if !all && self.is_ejected(&key, view.now) {
            return Vec::new();
        }
        let none = Host { key: key.clone(), weight: 1.0, alive: 0.0, pools: Vec::new(), dead: Vec::new() };
        let Some((id, remote)) = view.site(cluster) else { return vec![none] };
        if !view.world.is_open(sender.id, id, view.now) {
            return vec![none];
        }
        let known = remote.endpoints(service);
        let inner = |it: &EndpointView| {
            (Seat::EastWest(cluster.clone()), service.clone(), HostName::Endpoint(it.address))
        };
        let usable = |it: &&EndpointView| it.healthy && !self.is_ejected(&inner(it), view.now);
        let mut chosen: Vec<&EndpointView> = known.iter().filter(usable).collect();
        if chosen.is_empty() {
            chosen = known.iter().collect();
        }
        let (well, dead): (Vec<&EndpointView>, Vec<&EndpointView>) =
            chosen.iter().partition(|it| alive(view, id, service, it.address) > 0.0);
        let dead_hosts = dead.iter().map(|it| (inner(it), ratio(1, chosen.len(), 0))).collect();
        let fails: f64 = (0..EAST_WEST_TRIES.min(chosen.len()))
            .map(|visit| ratio(dead.len(), chosen.len(), visit))
            .product();
        let mut zones: BTreeMap<&Zone, usize> = BTreeMap::new();
        for endpoint in &well {
            *zones.entry(&endpoint.zone).or_default() += 1;
        }
        let pools =
            zones.iter().map(|(zone, count)| (pool(service, cluster, zone), ratio(*count, well.len(), 0)));
        let alive = if well.is_empty() { 0.0 } else { 1.0 - fails };
        vec![Host { key, weight: 1.0, alive, pools: pools.collect(), dead: dead_hosts }]
    }

    fn is_ejected(&self, key: &HostKey, now: Time) -> bool {
        self.ejections.get(key).is_some_and(|ejection| now < ejection.until)
    }

    fn note(&mut self, key: &HostKey, failed: f64, served: f64, now: Time) {
        if served > 0.0 {
            // A success ends a row of failures.
            self.ejections.remove(key);
        } else if failed > 0.0 {
            let ejection = self.ejections.entry(key.clone()).or_default();
            ejection.failures += failed;
            if ejection.failures >= FAILURES_TO_EJECT {
                ejection.times += 1;
                ejection.failures = 0.0;
                ejection.until = now + EJECTION.saturating_mul(ejection.times).min(MAX_EJECTION);
            }
        }
    }
}

/// What pools with a declared capacity cannot serve fails.
fn overload(view: &View<'_>, totals: &mut Totals) {
    for (service, per_endpoint) in &view.scenario.capacity {
        for site in view.sites {
            let Some(id) = view.world.id(&site.name) else { continue };
            let mut sizes: BTreeMap<Zone, f64> = BTreeMap::new();
            for endpoint in site.endpoints(service) {
                *sizes.entry(endpoint.zone).or_default() += alive(view, id, service, endpoint.address);
            }
            for (zone, size) in sizes {
                let key = pool(service, &site.name, &zone);
                let limit = size * per_endpoint * STEP.as_secs_f64();
                let served = totals.served.entry(key.clone()).or_default();
                let asked = *served;
                let above = (asked - limit).max(0.0);
                *served -= above;
                totals.failed += above;
                totals.used.insert(key, (asked, limit));
            }
        }
    }
}

fn alive(view: &View<'_>, cluster: ClusterId, service: &ServiceName, address: SocketAddr) -> f64 {
    let endpoint = view.world.find(cluster, service, address);
    let well = endpoint.is_some_and(|it| view.world.answer(cluster, it, view.now) == Answer::Well);
    if well { 1.0 } else { 0.0 }
}

fn part(share: Share) -> f64 {
    f64::from(share.parts()) / 10_000.0
}

fn pool(service: &ServiceName, cluster: &ClusterName, zone: &Zone) -> PoolKey {
    PoolKey { service: service.clone(), cluster: cluster.clone(), zone: zone.clone() }
}

/// The chance to meet one of `dead` in `all` after `tried` dead ones were left out.
#[expect(clippy::cast_precision_loss, reason = "a pool has far less than 2^52 endpoints")]
fn ratio(dead: usize, all: usize, tried: usize) -> f64 {
    if all <= tried {
        return if dead > 0 { 1.0 } else { 0.0 };
    }
    dead.saturating_sub(tried) as f64 / (all - tried) as f64
}

/// How much smaller the chance of a dead host is at this visit than at the first.
fn others(dead: usize, all: usize, visit: usize) -> f64 {
    if visit == 0 || dead == 0 { 1.0 } else { ratio(dead, all, visit) / ratio(dead, all, 0) }
}
