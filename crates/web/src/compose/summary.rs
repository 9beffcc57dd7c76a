//! The pools and plans of one cluster, summed up by zone and by service.

use super::{ClusterTold, Risks, is_old, standing};
use crate::{
    model::{Capacity, ServiceRow, Standing, ZoneFacts},
    sentence,
};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::{Phase, ServiceName, Zone};

/// Rules by which the nearest place without a pool of its own serves as if everything were healthy.
const AT_HOME: [&str; 6] = ["Preferred", "WithinBudget", "NotInOrder", "Residency", "Empty", "NotNeeded"];

/// A pool, as it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolTold {
    /// The service.
    pub service: ServiceName,
    /// The zone.
    pub zone: Zone,
    /// Where it stands.
    pub phase: Phase,
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// What it can take and gets.
    pub capacity: Option<Capacity>,
}

/// A plan that sends anything elsewhere than to the zone where it enters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTold {
    /// The service.
    pub service: ServiceName,
    /// Where the requests enter.
    pub zone: Zone,
    /// Who serves, in thousandths.
    pub shares: Vec<(String, u32)>,
    /// What is answered with 503.
    pub shed_permille: u32,
    /// The rule that decided over the zone itself, or over the nearest place.
    pub rule: String,
    /// What it says.
    pub why: String,
}

/// What a picture needs of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub(super) zones: Vec<ZoneFacts>,
    pub(super) services: BTreeMap<ServiceName, Part>,
    /// Services with a part of their plan there, by where it enters and where it goes.
    pub(super) planned: BTreeMap<(Zone, String), u32>,
}

/// A service in one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Part {
    expected: u32,
    healthy: u32,
    /// Pools with something expected of them, and those of them that are out.
    pools: u32,
    out: u32,
    /// The worst of those that are not.
    rest: Option<Phase>,
    away: u32,
    shed: u32,
    rate: Option<f64>,
    why: Option<String>,
    changed_at_ms: Option<u64>,
}

impl Summary {
    /// Of its pools and plans, what is asked of its services, and when they changed last.
    #[must_use]
    pub fn of(
        pools: &[PoolTold],
        plans: &[PlanTold],
        rates: &BTreeMap<ServiceName, f64>,
        changed: &BTreeMap<ServiceName, u64>,
    ) -> Self {
        let mut summary = Self::default();
        let mut zones: BTreeMap<&Zone, Vec<&PoolTold>> = BTreeMap::new();
        for pool in pools {
            zones.entry(&pool.zone).or_default().push(pool);
            summary.part(&pool.service).add(pool);
        }
        summary.zones = zones.into_iter().map(|(name, pools)| zone(name, &pools)).collect();
        summary.plan(pools, plans);
        for (service, rate) in rates {
            summary.part(service).rate = Some(*rate);
        }
        for (service, at) in changed {
            if let Some(part) = summary.services.get_mut(service) {
                part.changed_at_ms = Some(*at);
            }
        }
        summary
    }

    fn part(&mut self, service: &ServiceName) -> &mut Part {
        if !self.services.contains_key(service) {
            self.services.insert(service.clone(), Part::default());
        }
        self.services.entry(service.clone()).or_default()
    }

    fn plan(&mut self, pools: &[PoolTold], plans: &[PlanTold]) {
        let with_endpoints = pools.iter().filter(|it| it.expected > 0);
        let mut at_home: BTreeSet<(&ServiceName, &Zone)> =
            with_endpoints.map(|it| (&it.service, &it.zone)).collect();
        for plan in plans {
            let has_pool = at_home.remove(&(&plan.service, &plan.zone));
            for (target, _) in plan.shares.iter().filter(|(_, permille)| *permille > 0) {
                *self.planned.entry((plan.zone.clone(), target.clone())).or_default() += 1;
            }
            self.part(&plan.service).plan(plan, has_pool);
        }
        // Whoever is not told of is served where it enters.
        let mut own: BTreeMap<&Zone, u32> = BTreeMap::new();
        for (_, zone) in at_home {
            *own.entry(zone).or_default() += 1;
        }
        for (zone, services) in own {
            *self.planned.entry((zone.clone(), format!("zone {zone}"))).or_default() += services;
        }
    }
}

impl Part {
    fn add(&mut self, pool: &PoolTold) {
        self.expected += pool.expected;
        self.healthy += pool.healthy;
        if pool.expected == 0 {
            return;
        }
        self.pools += 1;
        if pool.phase == Phase::Out {
            self.out += 1;
        } else if self.rest.is_none_or(|rest| weight(rest) < weight(pool.phase)) {
            self.rest = Some(pool.phase);
        }
        if standing(pool.phase) != Standing::Good && self.why.is_none() {
            let PoolTold { zone, phase, healthy, expected, .. } = pool;
            self.why = Some(format!("zone {zone}: {phase}, {healthy} of {expected} healthy"));
        }
    }

    fn plan(&mut self, plan: &PlanTold, has_pool: bool) {
        let own = format!("zone {}", plan.zone);
        let stays: u32 = plan.shares.iter().filter(|(target, _)| *target == own).map(|(_, it)| it).sum();
        let elsewhere = 1000_u32.saturating_sub(stays).saturating_sub(plan.shed_permille);
        let is_home = AT_HOME.contains(&plan.rule.as_str());
        let away = if is_home && (!has_pool || stays > 0) { 0 } else { elsewhere };
        if (plan.shed_permille, away) > (self.shed, self.away) {
            self.why = Some(sentence::short(&plan.why)).filter(|it| !it.is_empty()).or(self.why.take());
        }
        self.away = self.away.max(away);
        self.shed = self.shed.max(plan.shed_permille);
    }
}

/// How bad a phase is, for people.
const fn weight(phase: Phase) -> u8 {
    match phase {
        Phase::Empty => 0,
        Phase::Serving => 1,
        Phase::Shifted => 2,
        Phase::Ramping => 3,
        Phase::Holding => 4,
        Phase::Reduced => 5,
        Phase::Out => 6,
    }
}

/// All out is out; a part of it is reduced.
fn together(pools: u32, out: u32, rest: Option<Phase>) -> Standing {
    match (pools, out) {
        (0, _) => Standing::Good,
        (pools, out) if pools == out => Standing::Out,
        (_, 0) => rest.map_or(Standing::Good, standing),
        _ => Standing::Reduced,
    }
}

fn zone(name: &Zone, pools: &[&PoolTold]) -> ZoneFacts {
    let (mut phases, mut capacity) = (BTreeMap::<Phase, u32>::new(), BTreeMap::<&str, Capacity>::new());
    let (mut expected, mut healthy, mut relevant, mut rest) = (0, 0, 0, None::<Phase>);
    for pool in pools {
        (expected, healthy) = (expected + pool.expected, healthy + pool.healthy);
        if !matches!(pool.phase, Phase::Serving | Phase::Empty) {
            *phases.entry(pool.phase).or_default() += 1;
        }
        if pool.expected > 0 {
            relevant += 1;
            if pool.phase != Phase::Out && rest.is_none_or(|rest| weight(rest) < weight(pool.phase)) {
                rest = Some(pool.phase);
            }
        }
        if let Some(of) = &pool.capacity {
            let none = Capacity { unit: of.unit.clone(), declared: 0.0, budget: 0.0, load: None };
            let sum = capacity.entry(&of.unit).or_insert(none);
            sum.declared += of.declared;
            sum.budget += of.budget;
            sum.load = match (sum.load, of.load) {
                (None, None) => None,
                (a, b) => Some(a.unwrap_or(0.0) + b.unwrap_or(0.0)),
            };
        }
    }
    let out = pools.iter().filter(|it| it.expected > 0 && it.phase == Phase::Out).count();
    ZoneFacts {
        name: name.clone(),
        standing: together(relevant, u32::try_from(out).unwrap_or(u32::MAX), rest),
        pools: u32::try_from(pools.len()).unwrap_or(u32::MAX),
        phases: phases.into_iter().collect(),
        expected,
        healthy,
        capacity: capacity.into_values().collect(),
    }
}

/// A service over all clusters that tell of it.
pub(super) fn row(name: &ServiceName, parts: &[(&ClusterTold, &Part)], risks: Option<&Risks>) -> ServiceRow {
    let mut sum = Part::default();
    let mut clusters = Vec::new();
    let mut worst = (0, 0, 0);
    for (told, part) in parts {
        sum.expected += part.expected;
        sum.healthy += part.healthy;
        sum.pools += part.pools;
        sum.out += part.out;
        if part.rest.is_some_and(|it| sum.rest.is_none_or(|rest| weight(rest) < weight(it))) {
            sum.rest = part.rest;
        }
        if part.pools > 0 {
            clusters.push(told.name.clone());
        }
        if let Some(rate) = part.rate {
            sum.rate = Some(sum.rate.unwrap_or(0.0) + rate);
        }
        let bad = (part.shed, part.away, part.out);
        if part.why.is_some() && (sum.why.is_none() || bad > worst) {
            worst = bad;
            sum.why = part.why.as_ref().map(|why| format!("{}: {why}", told.name));
        }
        sum.away = sum.away.max(part.away);
        sum.shed = sum.shed.max(part.shed);
        sum.changed_at_ms = sum.changed_at_ms.max(part.changed_at_ms);
    }
    let together = together(sum.pools, sum.out, sum.rest);
    let standing = match together {
        _ if parts.iter().all(|(told, _)| is_old(told.state)) => Standing::Unknown,
        _ if sum.shed > 0 => Standing::Out,
        it if sum.away > 0 => it.max(Standing::Recovering),
        it => it,
    };
    let phase = if sum.out > 0 { Phase::Out } else { sum.rest.unwrap_or(Phase::Empty) };
    clusters.sort();
    ServiceRow {
        name: name.clone(),
        standing,
        phase,
        expected: sum.expected,
        healthy: sum.healthy,
        clusters,
        away_permille: sum.away,
        shed_permille: sum.shed,
        at_risk: risks.map(|it| it.at_risk.contains(name)),
        cannot_fail_over: risks.map(|it| it.cannot_fail_over.contains(name)),
        rate: sum.rate,
        why: sum.why,
        changed_at_ms: sum.changed_at_ms,
    }
}
