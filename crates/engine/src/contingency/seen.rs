//! The fleet as one agent sees it.

use super::{FleetMember, FleetService, FleetState, PoolFigures};
use crate::{Engine, Load, RemotePoolView, Source};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidegate_model::{Phase, PoolStatus, ServiceName, Time, Zone};

impl FleetState {
    /// What the engine of one cluster knows at `now`: its own pools and sources, and the pools of other clusters of the
    /// services that it has itself, as far as it reaches them. Other clusters' sources, policies, distances and ways to
    /// each other are not known here, so it answers for the own cluster's callers only; nor is what others ask for.
    #[must_use]
    pub fn seen_by(engine: &Engine, now: Time) -> Self {
        let fleet = engine.fleet();
        let mut state = Self::default();
        for (name, region) in fleet.clusters.iter().chain([(&fleet.own, &fleet.region)]) {
            let own = *name == fleet.own;
            let cut = |cluster: &&_| own && !fleet.is_reachable(cluster);
            let member = FleetMember {
                region: region.clone(),
                distances: if own { fleet.distances.clone() } else { BTreeMap::new() },
                unreachable: fleet.clusters.keys().filter(cut).cloned().collect::<BTreeSet<_>>(),
            };
            state.clusters.insert(name.clone(), member);
        }
        for name in engine.services() {
            let Some(policy) = engine.policy(name) else { continue };
            let demand = demand(engine, name, now);
            let known = FleetService { policy: Arc::clone(policy), demand, ..FleetService::default() };
            state.services.insert(name.clone(), known);
        }
        let own = engine.statuses(now).map(|status| (fleet.own.clone(), status));
        let remote = engine.remote_pools().map(|view| (view.cluster.clone(), as_seen(view)));
        for (cluster, status) in own.chain(remote) {
            let PoolStatus { service, locality, expected, healthy, admit, phase, .. } = status;
            if let Some(known) = state.services.get_mut(&service) {
                let figures =
                    PoolFigures { expected, healthy, admit, phase, capacity: known.policy.carries(healthy) };
                known.pools.insert((cluster, locality.zone), figures);
            }
        }
        state
    }
}

/// What the own sources ask for. A zone where nothing is measured while others are has no gateway: nothing enters there.
fn demand(engine: &Engine, service: &ServiceName, now: Time) -> BTreeMap<Source, Option<u64>> {
    let measured: BTreeMap<Zone, u64> = engine
        .demand_of(service, now)
        .filter_map(|it| matches!(it.load, Load::Rate { .. }).then(|| (it.zone, it.load.thousandths())))
        .collect();
    let of = |source: &Source| {
        let there = measured.get(&source.locality.zone).copied();
        there.or_else(|| (!measured.is_empty()).then_some(0))
    };
    engine.fleet().sources.iter().map(|source| (source.clone(), of(source))).collect()
}

/// What the owner says, times our reach.
fn as_seen(view: RemotePoolView) -> PoolStatus {
    let RemotePoolView { reachable, reach, status, .. } = view;
    let phase = match status.phase {
        Phase::Empty | Phase::Out => status.phase,
        _ if !reachable => Phase::Out,
        phase if reach.is_one() => phase,
        _ if reach.is_zero() => Phase::Holding,
        _ => Phase::Ramping,
    };
    PoolStatus { admit: status.admit.times(reach), phase, ..status }
}
