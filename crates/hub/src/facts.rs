//! What an agent tells of its cluster for the page: regions, pools with capacity, gateways, peers, shifts, rates. Pure; times are passed in.
//!
//! Beside `fleet`, which knows what a rollout asks. What is told is summed up when it changed and somebody looks, and only then.

use crate::{
    fleet::{Excess, MAX_TEXT, short},
    view::PlanSummaryView,
};
use std::{collections::BTreeMap, sync::Arc};
use tidegate_link::hub::proto;
use tidegate_model::{Phase, Region, ServiceName, Zone};
use tidegate_web::{
    compose::{FlowTold, PlanTold, PoolTold, Summary},
    model::{Capacity, GatewayFacts, PeerFacts, ShiftFacts},
};

/// The most peers, and the most shifts, of one cluster.
const MAX_NAMED: usize = 10_000;
/// The most flows of one cluster.
const MAX_FLOWS: usize = 10_000;
/// The most services with a rate, or with a time of their last change.
const MAX_RATES: usize = 200_000;

/// What one agent told.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) region: Option<Region>,
    pub(crate) peers: Vec<PeerFacts>,
    /// Without the clusters that carry them.
    pub(crate) shifts: Vec<ShiftFacts>,
    pub(crate) gateways: BTreeMap<String, GatewayFacts>,
    flows: BTreeMap<(String, String), FlowTold>,
    pools: BTreeMap<(ServiceName, Zone), PoolTold>,
    rates: BTreeMap<ServiceName, f64>,
    changed: BTreeMap<ServiceName, u64>,
    summary: Option<Arc<Summary>>,
}

impl Facts {
    /// Takes all of a status, or what changed. Limits of pools and gateways are those of `fleet`.
    pub(crate) fn take(&mut self, status: &proto::Status, now_ms: u64) -> Result<(), Excess> {
        if status.full {
            *self = Self::default();
        }
        if !status.region.is_empty() {
            self.region = status.region.parse().ok();
        }
        if let Some(told) = &status.peers {
            self.peers = told.peers.iter().take(MAX_NAMED).filter_map(peer).collect();
        }
        if let Some(told) = &status.shifts {
            self.shifts = told.shifts.iter().take(MAX_NAMED).map(|it| shift(it, now_ms)).collect();
        }
        self.take_gateways(status);
        self.take_rates(status)?;
        self.take_pools(status);
        for decision in &status.decisions {
            if let Ok(service) = decision.service.parse::<ServiceName>()
                && (self.changed.len() < MAX_RATES || self.changed.contains_key(&service))
            {
                self.changed.insert(service, decision.unix_micros / 1000);
            }
        }
        let is_news = !status.pools.is_empty()
            || !status.removed_pools.is_empty()
            || !status.plans.is_empty()
            || !status.removed_plans.is_empty()
            || !status.rates.is_empty()
            || !status.decisions.is_empty();
        if is_news || status.full {
            self.summary = None;
        }
        Ok(())
    }

    fn take_gateways(&mut self, status: &proto::Status) {
        for node in &status.removed_gateways {
            self.gateways.remove(node);
        }
        for it in &status.gateways {
            let facts = GatewayFacts {
                node: short(&it.node),
                gateway: short(&it.gateway),
                zone: short(&it.zone),
                connected: it.connected,
                applied: Some(it.applied),
                refused: it.refused.iter().take(16).map(|text| short(text)).collect(),
            };
            self.gateways.insert(it.node.clone(), facts);
        }
    }

    fn take_rates(&mut self, status: &proto::Status) -> Result<(), Excess> {
        for it in &status.flows {
            if it.target.len() > MAX_TEXT {
                return Err(Excess::Text);
            }
            let Ok(zone) = it.zone.parse() else { continue };
            let flow = FlowTold { zone, target: it.target.clone(), rate: it.rate, failed: it.failed };
            self.flows.insert((it.zone.clone(), it.target.clone()), flow);
        }
        for it in &status.rates {
            if let Ok(service) = it.service.parse() {
                self.rates.insert(service, it.rate);
            }
        }
        if self.flows.len() > MAX_FLOWS || self.rates.len() > MAX_RATES {
            return Err(Excess::Rates);
        }
        Ok(())
    }

    fn take_pools(&mut self, status: &proto::Status) {
        let key = |name: &proto::PoolName| Some((name.service.parse().ok()?, name.zone.parse().ok()?));
        for key in status.removed_pools.iter().filter_map(key) {
            self.pools.remove(&key);
        }
        for it in &status.pools {
            let Some((service, zone)) = it.name.as_ref().and_then(key) else { continue };
            let pool = PoolTold {
                service,
                zone,
                phase: phase(&it.phase),
                expected: it.expected,
                healthy: it.healthy,
                capacity: it.capacity.as_ref().map(capacity),
            };
            self.pools.insert((pool.service.clone(), pool.zone.clone()), pool);
        }
    }

    /// What goes where.
    pub(crate) fn flows(&self) -> Vec<FlowTold> {
        self.flows.values().cloned().collect()
    }

    /// Its pools with the plans that are told beside them.
    pub(crate) fn summary(&mut self, plans: impl FnOnce() -> Vec<PlanSummaryView>) -> Arc<Summary> {
        let (pools, rates, changed) = (&self.pools, &self.rates, &self.changed);
        let make = || {
            let plans: Vec<PlanTold> = plans().into_iter().filter_map(plan).collect();
            let pools: Vec<PoolTold> = pools.values().cloned().collect();
            Arc::new(Summary::of(&pools, &plans, rates, changed))
        };
        Arc::clone(self.summary.get_or_insert_with(make))
    }
}

fn peer(it: &proto::Peer) -> Option<PeerFacts> {
    Some(PeerFacts { cluster: it.cluster.parse().ok()?, state: short(&it.state), rtt_ms: it.rtt_ms })
}

fn shift(it: &proto::Shift, now_ms: u64) -> ShiftFacts {
    ShiftFacts {
        name: short(&it.name),
        away_from: short(&it.away_from),
        service: it.service.parse().ok(),
        percent: it.percent.min(100),
        ends_at_ms: now_ms.saturating_add(it.remaining_ms),
        by: short(&it.by),
        comment: short(&it.comment),
        clusters: Vec::new(),
        refused: it.refused.iter().take(1000).filter_map(|it| it.parse().ok()).collect(),
    }
}

fn capacity(it: &proto::PoolCapacity) -> Capacity {
    Capacity { unit: short(&it.unit), declared: it.declared, budget: it.budget, load: it.load }
}

/// A word of a later version is no reason to call a pool out.
fn phase(word: &str) -> Phase {
    match word {
        "Reduced" => Phase::Reduced,
        "Out" => Phase::Out,
        "Holding" => Phase::Holding,
        "Ramping" => Phase::Ramping,
        "Shifted" => Phase::Shifted,
        "Empty" => Phase::Empty,
        _ => Phase::Serving,
    }
}

fn plan(it: PlanSummaryView) -> Option<PlanTold> {
    Some(PlanTold {
        service: it.service.parse().ok()?,
        zone: it.zone.parse().ok()?,
        shares: it.shares.into_iter().map(|it| (it.target, it.permille)).collect(),
        shed_permille: it.shed_permille,
        rule: it.rule,
        why: it.why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(service: &str, phase: &str) -> proto::Pool {
        let name = Some(proto::PoolName { service: service.to_owned(), zone: "z".to_owned() });
        let capacity =
            proto::PoolCapacity { unit: "requests/s".to_owned(), declared: 10.0, budget: 8.0, load: None };
        proto::Pool {
            name,
            phase: phase.to_owned(),
            expected: 2,
            capacity: Some(capacity),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_named_stays_and_an_older_agent_tells_less() {
        let mut facts = Facts::default();
        let shift = proto::Shift { name: "zone-a".to_owned(), remaining_ms: 1000, ..Default::default() };
        let full = proto::Status {
            full: true,
            region: "us".to_owned(),
            pools: vec![pool("shop/web", "Serving"), pool("shop/api", "Out")],
            shifts: Some(proto::Shifts { shifts: vec![shift] }),
            flows: vec![proto::Flow { zone: "z".into(), target: "zone z".into(), rate: 5.0, failed: 0.0 }],
            ..Default::default()
        };
        facts.take(&full, 500).unwrap();
        let first = facts.summary(Vec::new);
        assert_eq!((facts.shifts[0].ends_at_ms, facts.flows()[0].rate), (1500, 5.0));
        facts.take(&proto::Status::default(), 600).unwrap();
        assert!(
            Arc::ptr_eq(&first, &facts.summary(Vec::new)),
            "nothing is summed up again for a sign of life"
        );
        assert_eq!((facts.shifts.len(), facts.region.clone().unwrap().as_str()), (1, "us"));
        let none = proto::Status { shifts: Some(proto::Shifts::default()), ..Default::default() };
        facts.take(&none, 700).unwrap();
        assert!(facts.shifts.is_empty());
        let old = proto::Status { full: true, pools: vec![pool("shop/web", "New")], ..Default::default() };
        facts.take(&old, 800).unwrap();
        assert_eq!((facts.region.clone(), facts.flows().len(), facts.pools.len()), (None, 0, 1));
    }
}
