//! How services stand: where their requests would go if nothing were broken, and which single loss they would not survive.
//!
//! Both are the planner's own answers. They change with manifests, capacity and demand much more than with a fault, so whoever
//! shows them may keep them for a while and compare them with the plans of the moment.

use super::{Clients, FleetState, Location, Unit, load, n_minus_1_each, plans};
use crate::plan::{Shares, Source};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::{ClusterName, Fraction, Phase, ServiceName, Share, Zone};

/// What single losses would do to one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Risks {
    /// Losses that leave callers who are still there with nothing healthy that may serve them.
    pub stranded_by: BTreeSet<Location>,
    /// Losses that put a pool above its declared capacity.
    pub overloaded_by: BTreeSet<Location>,
}

/// How the services of a fleet stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resilience {
    /// Who would serve each source with everything healthy and in reach.
    pub homes: BTreeMap<ServiceName, BTreeMap<Source, Shares>>,
    /// What single losses would do.
    pub risks: BTreeMap<ServiceName, Risks>,
    /// How much of its capacity each pool carries now, in parts per million, where both are known.
    pub used: BTreeMap<(ServiceName, ClusterName, Zone), u64>,
    /// Places that were looked at.
    pub losses: usize,
}

impl Resilience {
    /// Looks at each place of the fleet in turn. Of a large one this is seconds of work.
    #[must_use]
    pub fn of(state: &FleetState) -> Self {
        let mut found = Self { homes: homes(state), ..Self::default() };
        for it in n_minus_1_each(state, Clients::Move) {
            found.losses += 1;
            // Of what is lost whole, with all who ask for it, nobody is left to be served.
            for stranded in it.stranded.iter().filter(|it| it.source.is_some()) {
                let risks = found.risks.entry(stranded.service.clone()).or_default();
                risks.stranded_by.extend(it.lost.iter().cloned());
            }
            for (service, _) in it.overloaded() {
                let risks = found.risks.entry(service.clone()).or_default();
                risks.overloaded_by.extend(it.lost.iter().cloned());
            }
        }
        found.used = used(state);
        found
    }
}

/// The part of a source's requests that is not served where it would be with everything healthy, what is shed included.
#[must_use]
pub fn away(home: &Shares, now: &Shares) -> Share {
    let missing = home.iter().map(|(target, share)| {
        let there = now.get(target).map_or(0, |it| it.parts());
        share.parts().saturating_sub(there)
    });
    Share::new(missing.sum::<u32>().min(Share::ALL.parts())).unwrap_or(Share::ALL)
}

fn homes(state: &FleetState) -> BTreeMap<ServiceName, BTreeMap<Source, Shares>> {
    let mut whole = state.clone();
    for member in whole.clusters.values_mut() {
        member.unreachable.clear();
    }
    for service in whole.services.values_mut() {
        let policy = &service.policy;
        for figures in service.pools.values_mut().filter(|it| it.expected > 0) {
            figures.healthy = figures.expected;
            figures.admit = Fraction::ONE;
            figures.phase = Phase::Serving;
            figures.capacity = policy.carries(figures.expected);
        }
    }
    let shares =
        |it: BTreeMap<Source, crate::Plan>| it.into_iter().map(|(at, plan)| (at, plan.shares)).collect();
    plans(&whole).into_iter().map(|(service, it)| (service, shares(it))).collect()
}

fn used(state: &FleetState) -> BTreeMap<(ServiceName, ClusterName, Zone), u64> {
    let (nothing, mut used) = (super::lost::Lost::new(state, &[]), BTreeMap::new());
    for (name, plans) in plans(state) {
        let Some(service) = state.services.get(&name) else { continue };
        let (unit, demand) = load::demand(service, &plans);
        if unit != Unit::Rate {
            continue;
        }
        let (carried, _) = load::carried(service, &plans, &demand, &nothing);
        for ((cluster, zone), figures) in &service.pools {
            let Some(capacity) = figures.capacity.filter(|it| *it > 0) else { continue };
            let load = carried.get(&(cluster, zone)).copied().unwrap_or(0);
            used.insert((name.clone(), cluster.clone(), zone.clone()), load::part(1_000_000, load, capacity));
        }
    }
    used
}
