//! The picture of the own cluster, and of the others as they are seen from here. Pure; times are passed in.

use crate::{
    capacity,
    hub::Report,
    rates::{Measured, Rates},
    view::{PoolView, Status},
};
use std::{collections::BTreeMap, sync::Arc};
use tidegate_model::{ClusterName, ServiceName, Zone};
use tidegate_web::{
    compose::{Around, ClusterTold, FlowTold, PlanTold, PoolTold, Risks, Summary, fleet},
    model::{
        Capacity, ClusterState, DrillFacts, Fleet, GatewayFacts, PeerFacts, PolicyFacts, Scope, ShiftFacts,
    },
};

/// What is kept from one picture to the next.
pub(super) struct Picture {
    cluster: ClusterName,
    version: u64,
    rates: Rates,
    pub(super) risks: Option<Risks>,
    /// What the own pools can take, and get.
    pub(super) capacity: BTreeMap<(ServiceName, Zone), Capacity>,
}

/// Whether two pictures show anything else than the passing of time.
pub(super) fn differs(old: &Fleet, new: &Fleet) -> bool {
    let mut still = Fleet { version: old.version, at_ms: old.at_ms, ..new.clone() };
    for (was, is) in old.regions.iter().zip(&mut still.regions) {
        for (was, is) in was.clusters.iter().zip(&mut is.clusters) {
            // Whoever is heard is heard all the time.
            if was.state == is.state && is.heard_at_ms.is_some() {
                is.heard_at_ms = was.heard_at_ms;
            }
        }
    }
    *old != still
}

impl Picture {
    pub(super) fn new(cluster: ClusterName) -> Self {
        Self { cluster, version: 0, rates: Rates::default(), risks: None, capacity: BTreeMap::new() }
    }

    /// Before anything is known.
    pub(super) fn empty(&self) -> Fleet {
        self.of(&[], Vec::new(), PolicyFacts::default(), 0)
    }

    fn of(&self, told: &[ClusterTold], drills: Vec<DrillFacts>, policy: PolicyFacts, at_ms: u64) -> Fleet {
        let scope = Scope::Cluster(self.cluster.clone());
        let risks = self.risks.as_ref();
        fleet(told, Around { scope, version: self.version, at_ms, risks, drills, policy })
    }

    pub(super) fn make(
        &mut self,
        status: &Status,
        report: &Report,
        policy: PolicyFacts,
        now_ms: u64,
    ) -> Fleet {
        self.version += 1;
        let measured = self.rates.look(&report.counts, report.at).clone();
        self.capacity = report.capacity.clone();
        for (key, capacity) in &mut self.capacity {
            capacity.load = measured.pools.get(key).map(|rate| capacity::load(capacity, *rate));
        }
        let mut told = vec![self.own(status, report, &measured, now_ms)];
        told.extend(status.peers.iter().map(|peer| {
            let state = match peer.state.as_str() {
                "Reachable" => ClusterState::Live,
                "Suspect" => ClusterState::Suspect,
                "Unheard" => ClusterState::Unheard,
                _ => ClusterState::Lost,
            };
            other(&peer.cluster, state, status, now_ms)
        }));
        let drills = status.drills.iter().map(|it| DrillFacts {
            id: it.id.clone(),
            drill: it.what.clone(),
            target: it.target.clone(),
            phase: "Fault".to_owned(),
            started_at_ms: now_ms,
            phase_ends_at_ms: Some(now_ms + it.remaining_ms),
            requests: None,
            passed: None,
            rto_ms: None,
            why: None,
        });
        self.of(&told, drills.collect(), policy, now_ms)
    }

    fn own(&self, status: &Status, report: &Report, measured: &Measured, now_ms: u64) -> ClusterTold {
        let pools = status.pools.iter().filter(|it| it.cluster == status.cluster);
        let pools: Vec<PoolTold> = pools
            .map(|it| {
                let key = (it.service.clone(), it.zone.clone());
                PoolTold { capacity: self.capacity.get(&key).cloned(), ..pool(it) }
            })
            .collect();
        let plans: Vec<PlanTold> = report
            .plans
            .iter()
            .map(|plan| {
                let told = plan.told().1;
                PlanTold {
                    service: plan.service.clone(),
                    zone: plan.zone.clone(),
                    shares: told.shares.into_iter().map(|it| (it.target, it.permille)).collect(),
                    shed_permille: told.shed_permille,
                    rule: told.rule,
                    why: told.why,
                }
            })
            .collect();
        let rates = measured.services.iter().map(|(service, rate)| (service.clone(), rate.0)).collect();
        let shift = |it: &crate::shifts::ShiftView| ShiftFacts {
            name: it.name.clone(),
            away_from: it.away_from.clone(),
            service: it.service.clone(),
            percent: it.percent,
            // To the second: what only passes is no news.
            ends_at_ms: (now_ms + it.remaining_ms + 500) / 1000 * 1000,
            by: it.by.clone(),
            comment: it.comment.clone(),
            clusters: Vec::new(),
            refused: it.refused.clone(),
        };
        let gateway = |it: &crate::view::GatewayView| GatewayFacts {
            node: it.node.clone(),
            gateway: it.gateway.clone(),
            zone: it.zone.clone(),
            connected: it.connected,
            applied: None,
            refused: it.refused.iter().map(ToString::to_string).collect(),
        };
        let peer = |(cluster, state, rtt): &(ClusterName, &str, Option<std::time::Duration>)| PeerFacts {
            cluster: cluster.clone(),
            state: (*state).to_owned(),
            // To the millisecond: what moves by less is no news.
            rtt_ms: rtt.map(|rtt| (rtt.as_secs_f64() * 1e3).round().max(1.0)),
        };
        let flow = |((zone, target), (rate, failed)): (&(Zone, tidegate_engine::Target), &(f64, f64))| {
            FlowTold { zone: zone.clone(), target: target.to_string(), rate: *rate, failed: *failed }
        };
        ClusterTold {
            name: status.cluster.clone(),
            region: status.region.clone(),
            state: ClusterState::Live,
            heard_at_ms: Some(now_ms / 1000 * 1000),
            applied: report.given,
            held_back: None,
            rejected: Vec::new(),
            gateways: status.gateways.iter().map(gateway).collect(),
            peers: report.peers.iter().map(peer).collect(),
            flows: measured.flows.iter().map(flow).collect(),
            shifts: status.shifts.iter().map(shift).collect(),
            summary: Arc::new(Summary::of(&pools, &plans, &rates, &BTreeMap::new())),
        }
    }
}

/// Another cluster: its pools, as it tells of them.
fn other(cluster: &ClusterName, state: ClusterState, status: &Status, now_ms: u64) -> ClusterTold {
    let of_it = || status.pools.iter().filter(|it| it.cluster == *cluster);
    let pools: Vec<PoolTold> = of_it().map(pool).collect();
    ClusterTold {
        name: cluster.clone(),
        region: of_it().next().map(|it| it.region.clone()),
        state,
        heard_at_ms: (state == ClusterState::Live).then_some(now_ms / 1000 * 1000),
        applied: 0,
        held_back: None,
        rejected: Vec::new(),
        gateways: Vec::new(),
        peers: Vec::new(),
        flows: Vec::new(),
        shifts: Vec::new(),
        summary: Arc::new(Summary::of(&pools, &[], &BTreeMap::new(), &BTreeMap::new())),
    }
}

fn pool(it: &PoolView) -> PoolTold {
    PoolTold {
        service: it.service.clone(),
        zone: it.zone.clone(),
        phase: it.phase,
        expected: it.expected,
        healthy: it.healthy,
        capacity: None,
    }
}
