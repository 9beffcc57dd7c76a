//! What is wrong with a fleet before anything is lost.

use super::{FleetService, FleetState, Plans, Why, outcome::is_stranded, plans, why};
use crate::{
    plan::{Rule, Source, Target},
    policy::Origin,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use tidegate_model::{ClusterName, Fraction, Region, ServiceName};

/// A finding about a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The service.
    pub service: ServiceName,
    /// What was found.
    pub lint: Lint,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Lint {
    /// Nothing healthy serves this source now.
    DownNow {
        /// From where.
        source: Source,
        /// Why.
        why: Why,
    },
    /// It has no endpoint anywhere.
    NoEndpoints,
    /// All its endpoints are in one zone, cluster or region.
    SinglePlace {
        /// Which.
        why: Why,
    },
    /// Residency leaves it in one region, so that the loss of that region cannot be survived.
    ResidencyInOneRegion {
        /// The region that is left.
        region: Region,
        /// Where residency was written.
        origin: Origin,
    },
    /// The order names places of one region only, though others have the service.
    OrderTooShort {
        /// From where it is so.
        sources: Vec<Source>,
        /// What it does not name.
        unnamed: Vec<Target>,
        /// Where the order was written.
        origin: Origin,
    },
    /// A cluster has pools of it that another one cannot reach.
    OutOfReach {
        /// The cluster that has the pools.
        cluster: ClusterName,
        /// Who cannot reach it.
        from: Vec<ClusterName>,
    },
    /// A pool is taken out before it is reduced, so that it falls from whole to nothing.
    ThresholdBelowMinimum {
        /// `failoverThreshold`.
        threshold: Fraction,
        /// `minimumHealthy`.
        minimum: Fraction,
        /// Where the threshold was written.
        origin: Origin,
    },
}

/// The standing findings, by service.
#[must_use]
pub fn lint(state: &FleetState) -> Vec<Finding> {
    let plans = plans(state);
    let mut findings = Vec::new();
    for (name, service) in &state.services {
        let found = of_service(state, name, service, &plans);
        findings.extend(found.into_iter().map(|lint| Finding { service: name.clone(), lint }));
    }
    findings
}

fn of_service(state: &FleetState, name: &ServiceName, service: &FleetService, plans: &Plans) -> Vec<Lint> {
    let none = BTreeMap::new();
    let plans = plans.get(name).unwrap_or(&none);
    let nothing = super::Lost::new(state, &[]);
    if service.pools.values().all(|pool| pool.expected == 0) {
        return vec![Lint::NoEndpoints];
    }
    let mut found: Vec<Lint> = Vec::new();
    for (source, plan) in plans.iter().filter(|(_, plan)| is_stranded(plan)) {
        found.push(Lint::DownNow {
            source: source.clone(),
            why: why::of_source(state, service, plan, &nothing),
        });
    }
    let single = why::single(state, service);
    found.extend(single.clone().map(|why| Lint::SinglePlace { why }));
    // With all endpoints in one region anyway, what a policy forbids beyond it changes nothing yet.
    if single.is_none() {
        found.extend(residency(state, service));
        found.extend(short_orders(state, plans));
    }
    found.extend(out_of_reach(state, service));
    found.extend(thresholds(service));
    found
}

/// All policies that somebody decides by, each once.
fn policies(service: &FleetService) -> impl Iterator<Item = &crate::Policy> {
    std::iter::once(&*service.policy).chain(service.own_policies.values().map(|policy| &**policy))
}

fn residency(state: &FleetState, service: &FleetService) -> Vec<Lint> {
    let places: BTreeSet<(&Region, &ClusterName)> = service
        .pools
        .iter()
        .filter(|(_, pool)| pool.expected > 0)
        .filter_map(|((cluster, _), _)| Some((&state.clusters.get(cluster)?.region, cluster)))
        .collect();
    let mut found = Vec::new();
    for only in policies(service).filter_map(|policy| policy.residency.as_ref()) {
        let left = places.iter().filter(|(region, cluster)| only.value.allows(region, cluster));
        let left: BTreeSet<&Region> = left.map(|(region, _)| *region).collect();
        if let (Some(region), 1) = (left.first(), left.len()) {
            let lint = Lint::ResidencyInOneRegion { region: (*region).clone(), origin: only.origin.clone() };
            if !found.contains(&lint) {
                found.push(lint);
            }
        }
    }
    found
}

/// Orders that name one region only: one finding for each place where an order was written.
fn short_orders(state: &FleetState, plans: &BTreeMap<Source, crate::Plan>) -> Vec<Lint> {
    let mut found: Vec<(Origin, BTreeSet<Source>, BTreeSet<Target>)> = Vec::new();
    for (source, plan) in plans.iter().filter(|(source, _)| state.clusters.contains_key(&source.cluster)) {
        let live = || plan.reasons.iter().filter(|reason| reason.expected > 0);
        let named: BTreeSet<&Region> =
            live().filter(|reason| reason.tier.is_some()).map(|reason| &reason.region).collect();
        let unnamed: Vec<_> = live()
            .filter(|reason| reason.rule == Rule::NotInOrder && !named.contains(&reason.region))
            .collect();
        let Some(first) = unnamed.first().filter(|_| named.len() <= 1) else { continue };
        let targets = unnamed.iter().map(|reason| reason.target.clone());
        match found.iter_mut().find(|(origin, ..)| *origin == first.origin) {
            Some((_, sources, all)) => {
                sources.insert(source.clone());
                all.extend(targets);
            }
            None => found.push((first.origin.clone(), [source.clone()].into(), targets.collect())),
        }
    }
    let lint =
        |(origin, sources, unnamed): (Origin, BTreeSet<Source>, BTreeSet<Target>)| Lint::OrderTooShort {
            sources: sources.into_iter().collect(),
            unnamed: unnamed.into_iter().collect(),
            origin,
        };
    found.into_iter().map(lint).collect()
}

fn out_of_reach(state: &FleetState, service: &FleetService) -> Vec<Lint> {
    let with_pools: BTreeSet<&ClusterName> =
        service.pools.iter().filter(|(_, pool)| pool.expected > 0).map(|((cluster, _), _)| cluster).collect();
    let asking: BTreeSet<&ClusterName> = service.demand.keys().map(|source| &source.cluster).collect();
    let lint = |cluster: &ClusterName| {
        let cannot = |from: &&&ClusterName| {
            **from != cluster
                && state.clusters.get(**from).is_some_and(|member| member.unreachable.contains(cluster))
        };
        let from: Vec<ClusterName> = asking.iter().filter(cannot).map(|it| (*it).clone()).collect();
        (!from.is_empty()).then(|| Lint::OutOfReach { cluster: cluster.clone(), from })
    };
    with_pools.into_iter().filter_map(lint).collect()
}

fn thresholds(service: &FleetService) -> Option<Lint> {
    policies(service).find(|policy| policy.failover_threshold.value < policy.minimum_healthy.value).map(
        |policy| Lint::ThresholdBelowMinimum {
            threshold: policy.failover_threshold.value,
            minimum: policy.minimum_healthy.value,
            origin: policy.failover_threshold.origin.clone(),
        },
    )
}

/// One line, the service first.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
        write!(f, "{}: ", self.service)?;
        match &self.lint {
            Lint::DownNow { source, why } => write!(f, "nothing healthy serves {source} now: {why}"),
            Lint::NoEndpoints => f.write_str("it has no endpoint anywhere"),
            Lint::SinglePlace { why } => write!(f, "{why}"),
            Lint::ResidencyInOneRegion { region, origin } => {
                write!(f, "residency leaves it in {region} alone [{origin}]")
            }
            Lint::OrderTooShort { sources, origin, .. } => {
                let clusters: BTreeSet<&ClusterName> = sources.iter().map(|source| &source.cluster).collect();
                let clusters = list(&mut clusters.into_iter().map(ToString::to_string));
                write!(f, "for callers in {clusters} the order comes to one region only [{origin}]")
            }
            Lint::OutOfReach { cluster, from } => write!(
                f,
                "cluster {cluster} has it, but {} cannot reach that cluster",
                list(&mut from.iter().map(ToString::to_string))
            ),
            Lint::ThresholdBelowMinimum { threshold, minimum, origin } => write!(
                f,
                "failoverThreshold ({threshold}) is below minimumHealthy ({minimum}): a pool falls from whole to \
                 nothing [{origin}]"
            ),
        }
    }
}
