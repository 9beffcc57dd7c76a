//! Plans where capacity is declared and all demand is known: by the waterfall, as agents make them.

use super::{Clients, FleetService, FleetState, candidates, load, lost::Lost};
use crate::{
    capacity::Load,
    declared::{Arrivals, FleetPool, FleetQuestion, FleetSource, plan_fleet},
    plan::{Plan, Source},
};
use std::collections::BTreeMap;
use tidegate_model::{ClusterName, Fraction, Locality, Phase, ServiceName};

/// What all sources ask for, if it is known of all and their endpoints are declared to take so many requests per second.
pub(super) fn demand(service: &FleetService) -> Option<BTreeMap<Source, u64>> {
    let declared = |source: &Source| {
        let capacity = service.policy_of(&source.cluster).capacity.as_ref();
        capacity.is_some_and(|it| matches!(it.per_endpoint.value, Load::Rate { .. }))
    };
    let known = service.demand.iter().map(|(source, demand)| {
        let demand = (*demand).filter(|_| declared(source))?;
        Some((source.clone(), demand))
    });
    known.collect::<Option<BTreeMap<_, _>>>().filter(|it| !it.is_empty())
}

/// The plans of the sources that are left; `None` where they are not made by declared capacity.
pub(super) fn plans(
    state: &FleetState,
    name: &ServiceName,
    service: &FleetService,
    lost: &Lost<'_>,
    clients: Clients,
) -> Option<BTreeMap<Source, Plan>> {
    let demand = load::after(state, &demand(service)?, lost, clients);
    let pools = fleet_pools(state, service, lost);
    let sources: Vec<FleetSource<'_>> = demand
        .iter()
        .filter_map(|(source, demand)| {
            let member = state.clusters.get(&source.cluster)?;
            let (distances, unreachable) = (&member.distances, &member.unreachable);
            Some(FleetSource { source, demand: *demand, distances, unreachable })
        })
        .collect();
    let mut own: Vec<&ClusterName> = sources.iter().map(|it| &it.source.cluster).collect();
    own.dedup();
    let mut plans = BTreeMap::new();
    for own in own {
        let Some(member) = state.clusters.get(own) else { continue };
        let policy = service.policy_of(own);
        let question = FleetQuestion {
            service: name,
            policy,
            capacity: policy.capacity.as_ref()?,
            own,
            candidates: &candidates(state, service, own, member, lost),
            pools: &pools,
            sources: &sources,
            reach: &BTreeMap::new(),
            arrivals: &Arrivals::new(),
        };
        plans.extend(plan_fleet(&question, &BTreeMap::<Source, Plan>::new()));
    }
    Some(plans)
}

fn fleet_pools(state: &FleetState, service: &FleetService, lost: &Lost<'_>) -> Vec<FleetPool> {
    let known = service.pools.iter().filter_map(|((cluster, zone), figures)| {
        let region = state.clusters.get(cluster)?.region.clone();
        let gone = lost.has(cluster, zone);
        Some(FleetPool {
            cluster: cluster.clone(),
            locality: Locality { region, zone: zone.clone() },
            expected: figures.expected,
            healthy: if gone { 0 } else { figures.healthy },
            admit: if gone { Fraction::ZERO } else { figures.admit },
            phase: if gone && figures.phase != Phase::Empty { Phase::Out } else { figures.phase },
        })
    });
    known.collect()
}
