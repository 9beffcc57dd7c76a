//! One contingency: before and after, service by service.

use super::{
    Clients, FleetService, FleetState, Location, Plans, Why, load, lost::Lost, plans_of, poured, why,
};
use crate::{
    plan::{Plan, Rule, Shares, Source, Target},
    policy::Origin,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::{ClusterName, Locality, ServiceName, Share, Zone};

/// The whole, in parts per million.
const MILLION: u64 = 1_000_000;

/// What would be if some places were gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contingency {
    /// What is gone.
    pub lost: Vec<Location>,
    /// What became of the clients there.
    pub clients: Clients,
    /// See [`Contingency::holds`]; told to programs that read the JSON.
    holds: bool,
    /// Every service, by name.
    pub services: Vec<ServiceOutcome>,
    /// What the places that are left carry, all services together.
    pub locations: Vec<LocationLoad>,
    /// Who is served by nothing healthy, and was before.
    pub stranded: Vec<Stranded>,
    /// What would serve the stranded if a policy did not forbid it.
    pub forbidden: Vec<Forbidden>,
}

/// What becomes of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// Nothing of it was in what is lost, neither a pool nor a client.
    Untouched,
    /// Whoever still asks for it is served by what is healthy and allowed.
    FailsOver,
    /// Somebody is not.
    Stranded,
    /// Somebody was not served by anything healthy before either, and nobody lost it by this.
    DownBefore,
}

/// In what a service's loads are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Thousandths of a request per second: the demand of every source is known.
    Rate,
    /// Thousandths of the normal load of an endpoint: the demand of a source is taken to be the endpoints that are
    /// expected in its zone, and if there are none, the mean of the service's pools.
    Endpoints,
}

/// A service before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOutcome {
    /// The service.
    pub service: ServiceName,
    /// What becomes of it.
    pub fate: Fate,
    /// In what its loads are told.
    pub unit: Unit,
    /// From where it is asked for.
    pub sources: Vec<SourceOutcome>,
    /// Its pools, those that are gone too.
    pub pools: Vec<PoolLoad>,
    /// What is answered with 503, in [`Self::unit`].
    pub shed: u64,
}

/// A source before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceOutcome {
    /// The source.
    pub source: Source,
    /// Whether it is gone itself: then it has no shares after.
    pub lost: bool,
    /// The shares before.
    pub before: Shares,
    /// The shares after.
    pub after: Shares,
    /// What is answered with 503 after.
    pub shed: Share,
    /// Whether all that serve after are unhealthy.
    pub last_resort: bool,
    /// What enters here before, in the service's unit.
    pub demand_before: u64,
    /// What enters here after.
    pub demand_after: u64,
    /// If it is gone: where its clients come in now; empty if they have nowhere to go, or are gone too.
    pub moves_to: BTreeSet<Source>,
}

/// What a pool carries before and after, in its service's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolLoad {
    /// The cluster.
    pub cluster: ClusterName,
    /// Where it is.
    pub locality: Locality,
    /// Whether it is gone.
    pub lost: bool,
    /// What it carries before.
    pub before: u64,
    /// What it carries after.
    pub after: u64,
    /// After over before, in parts per million. A pool that carried nothing is compared with what its endpoints would
    /// carry if all load were spread evenly; `None` when that is nothing too.
    pub factor: Option<u64>,
    /// Before over capacity, in parts per million, where both are known.
    pub utilization_before: Option<u64>,
    /// After over capacity.
    pub utilization_after: Option<u64>,
}

/// What a place carries, all services together. Rates and endpoints are not added up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocationLoad {
    /// The place; it is not gone, though a part of it may be.
    pub location: Location,
    /// The load of services in thousandths of an endpoint's normal load: before and after.
    pub endpoints: (u64, u64),
    /// The load of services in thousandths of a request per second: before and after.
    pub rate: (u64, u64),
    /// The rate of those pools only of which the capacity is declared, before and after, over that capacity, in parts
    /// per million; `None` if it is declared of none.
    pub utilization: Option<(u64, u64)>,
}

/// Somebody whom nothing healthy serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stranded {
    /// The service.
    pub service: ServiceName,
    /// From where; `None`: every source of the service is gone, and nothing is left that its clients could turn to.
    pub source: Option<Source>,
    /// Why.
    pub why: Why,
}

/// A healthy place that a policy keeps from serving somebody who is stranded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forbidden {
    /// The service.
    pub service: ServiceName,
    /// From where.
    pub source: Source,
    /// The place that is healthy.
    pub target: Target,
    /// [`Rule::Residency`] or [`Rule::NotInOrder`].
    pub rule: Rule,
    /// Where that was written.
    pub origin: Origin,
}

impl Contingency {
    /// Whether the rest holds: nobody is stranded, and no pool is above its capacity who was not before.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.holds
    }

    /// As somebody says it who knows no callers but some cluster's: where all of them are lost, that they come in nowhere else is
    /// not known, and stranded are only those who are left.
    #[must_use]
    pub fn without_lost_callers(mut self) -> Self {
        let mut sources = self.services.iter().flat_map(|service| &service.sources).peekable();
        if sources.peek().is_some() && sources.all(|source| source.lost) {
            self.stranded.retain(|it| it.source.is_some());
            self.holds = self.stranded.is_empty() && self.overloaded().next().is_none();
        }
        self
    }

    /// Pools above 100 % of their capacity, the more so by what was lost.
    pub fn overloaded(&self) -> impl Iterator<Item = (&ServiceName, &PoolLoad)> {
        self.pools().filter(|(_, pool)| {
            pool.after > pool.before && pool.utilization_after.is_some_and(|part| part > MILLION)
        })
    }

    /// The highest factor of a pool that is left, in parts per million.
    #[must_use]
    pub fn worst_factor(&self) -> Option<(&ServiceName, &PoolLoad, u64)> {
        let factors = self.pools().filter_map(|(service, pool)| Some((service, pool, pool.factor?)));
        // The first of equals, so that the answer does not depend on more than the names.
        factors.reduce(|worst, next| if next.2 > worst.2 { next } else { worst })
    }

    /// The highest utilization of a pool that is left, in parts per million.
    #[must_use]
    pub fn worst_utilization(&self) -> Option<(&ServiceName, &PoolLoad, u64)> {
        let parts = self.pools().filter_map(|(service, pool)| Some((service, pool, pool.utilization_after?)));
        parts.reduce(|worst, next| if next.2 > worst.2 { next } else { worst })
    }

    /// How many services have this fate.
    #[must_use]
    pub fn count(&self, fate: Fate) -> usize {
        self.services.iter().filter(|service| service.fate == fate).count()
    }

    /// The pools that are left.
    fn pools(&self) -> impl Iterator<Item = (&ServiceName, &PoolLoad)> {
        self.services.iter().flat_map(|service| {
            service.pools.iter().filter(|pool| !pool.lost).map(|pool| (&service.service, pool))
        })
    }
}

/// Whether nothing healthy serves.
pub(super) fn is_stranded(plan: &Plan) -> bool {
    plan.last_resort || plan.shed == Share::ALL
}

pub(super) fn contingency(
    state: &FleetState,
    before: &Plans,
    lose: &[Location],
    clients: Clients,
) -> Contingency {
    compare((state, before), (state, None), lose, clients)
}

/// Nothing is lost, and other plans are in force: those of `after`.
pub(super) fn moved(before: (&FleetState, &Plans), (state, after): (&FleetState, &Plans)) -> Contingency {
    compare(before, (state, Some(after)), &[], Clients::Gone)
}

fn compare(
    (was, before): (&FleetState, &Plans),
    (state, given): (&FleetState, Option<&Plans>),
    lose: &[Location],
    clients: Clients,
) -> Contingency {
    let lost = Lost::new(state, lose);
    let mut found = Contingency {
        lost: lose.to_vec(),
        clients,
        holds: false,
        services: Vec::with_capacity(state.services.len()),
        locations: Vec::new(),
        stranded: Vec::new(),
        forbidden: Vec::new(),
    };
    found.lost.sort();
    found.lost.dedup();
    let none = BTreeMap::new();
    let mut sums = load::Sums::default();
    for (name, service) in &state.services {
        let before = before.get(name).unwrap_or(&none);
        let given = given.map(|it| it.get(name).unwrap_or(&none));
        let was = was.services.get(name).unwrap_or(service);
        let one = One { state, name, service, was, lost: &lost, before, given };
        let outcome = one.look(clients, &mut found);
        sums.add(service, &outcome);
        found.services.push(outcome);
    }
    found.locations = sums.locations();
    found.holds = found.stranded.is_empty() && found.overloaded().next().is_none();
    found
}

/// One service in one contingency.
struct One<'a> {
    state: &'a FleetState,
    name: &'a ServiceName,
    service: &'a FleetService,
    /// The service before.
    was: &'a FleetService,
    lost: &'a Lost<'a>,
    before: &'a BTreeMap<Source, Plan>,
    /// The plans after, if they are not to be made.
    given: Option<&'a BTreeMap<Source, Plan>>,
}

impl One<'_> {
    fn look(&self, clients: Clients, found: &mut Contingency) -> ServiceOutcome {
        let loses_pool = self.service.pools.keys().any(|(cluster, zone)| self.lost.has(cluster, zone));
        let loses_source = self.before.keys().any(|source| self.lost.has_source(source));
        // By declared capacity, plans change with the clients, too.
        let after = if let Some(given) = self.given {
            given.clone()
        } else if loses_pool || loses_source && poured::demand(self.service).is_some() {
            plans_of(self.state, self.name, self.lost, clients)
        } else {
            // Without a lost pool the planner would be asked the same question again.
            let left = self.before.iter().filter(|(source, _)| !self.lost.has_source(source));
            left.map(|(source, plan)| (source.clone(), plan.clone())).collect()
        };
        let moves =
            after.iter().any(|(at, plan)| self.before.get(at).is_some_and(|it| it.shares != plan.shares));
        let stranded = self.stranded(&after, &mut found.forbidden);
        let fate = if !stranded.is_empty() {
            Fate::Stranded
        } else if after.values().any(is_stranded) {
            Fate::DownBefore
        } else if loses_pool || loses_source || self.given.is_some() && moves {
            Fate::FailsOver
        } else {
            Fate::Untouched
        };
        found.stranded.extend(stranded);
        self.loads(fate, &after, clients)
    }

    fn loads(&self, fate: Fate, after: &BTreeMap<Source, Plan>, clients: Clients) -> ServiceOutcome {
        let (unit, demand) = load::demand(self.service, self.before);
        let moved = load::after(self.state, &demand, self.lost, clients);
        let nothing = Lost::new(self.state, &[]);
        let (carried, _) = load::carried(self.was, self.before, &demand, &nothing);
        let (carries, shed) = load::carried(self.service, after, &moved, self.lost);
        let source = |(source, plan): (&Source, &Plan)| {
            let later = after.get(source);
            SourceOutcome {
                source: source.clone(),
                lost: later.is_none(),
                before: plan.shares.clone(),
                after: later.map(|plan| plan.shares.clone()).unwrap_or_default(),
                shed: later.map_or(Share::NONE, |plan| plan.shed),
                last_resort: later.is_some_and(|plan| plan.last_resort),
                demand_before: demand.get(source).copied().unwrap_or(0),
                demand_after: moved.get(source).copied().unwrap_or(0),
                moves_to: match (later, clients) {
                    (None, Clients::Move) => load::nearest(self.state, &demand, self.lost, source)
                        .into_iter()
                        .map(|(source, _)| source.clone())
                        .collect(),
                    _ => BTreeSet::new(),
                },
            }
        };
        ServiceOutcome {
            service: self.name.clone(),
            fate,
            unit,
            sources: self.before.iter().map(source).collect(),
            pools: self.pool_loads(unit, &carried, &carries),
            shed,
        }
    }

    fn pool_loads(&self, unit: Unit, before: &load::Carried<'_>, after: &load::Carried<'_>) -> Vec<PoolLoad> {
        let total: u64 = before.values().fold(0, |sum, load| sum.saturating_add(*load));
        let endpoints: u64 = self.service.pools.values().map(|pool| u64::from(pool.expected)).sum();
        let known = self.service.pools.iter().filter_map(|(key, figures)| {
            let region = self.state.clusters.get(&key.0)?.region.clone();
            Some((key, figures, region))
        });
        known
            .map(|((cluster, zone), figures, region)| {
                let at = |carried: &load::Carried<'_>| carried.get(&(cluster, zone)).copied().unwrap_or(0);
                let (before, after) = (at(before), at(after));
                let even = load::part(total, u64::from(figures.expected), endpoints);
                let usual = if before > 0 { before } else { even };
                let utilization = |load: u64| {
                    let capacity = figures.capacity.filter(|_| unit == Unit::Rate)?;
                    // Of no capacity, any load is too much.
                    Some(if capacity == 0 && load > 0 {
                        u64::MAX
                    } else {
                        load::part(MILLION, load, capacity)
                    })
                };
                PoolLoad {
                    cluster: cluster.clone(),
                    locality: Locality { region, zone: zone.clone() },
                    lost: self.lost.has(cluster, zone),
                    before,
                    after,
                    factor: (usual > 0).then(|| load::part(MILLION, after, usual)),
                    utilization_before: utilization(before),
                    utilization_after: utilization(after),
                }
            })
            .collect()
    }

    /// Who loses the service by this, and whom a policy keeps from what is left.
    fn stranded(&self, after: &BTreeMap<Source, Plan>, forbidden: &mut Vec<Forbidden>) -> Vec<Stranded> {
        let was_served = |source: &Source| self.before.get(source).is_some_and(|plan| !is_stranded(plan));
        let mut stranded = Vec::new();
        for (source, plan) in after.iter().filter(|(source, plan)| is_stranded(plan) && was_served(source)) {
            let why = why::of_source(self.state, self.service, plan, self.lost);
            stranded.push(Stranded { service: self.name.clone(), source: Some(source.clone()), why });
            forbidden.extend(why::forbids(plan).map(|reason| Forbidden {
                service: self.name.clone(),
                source: source.clone(),
                target: reason.target.clone(),
                rule: reason.rule,
                origin: reason.origin.clone(),
            }));
        }
        // Its clients may come in elsewhere, but there nobody knows the service.
        if after.is_empty() && self.before.values().any(|plan| !is_stranded(plan)) {
            let why = why::of_nobody(self.state, self.service, self.lost);
            stranded.push(Stranded { service: self.name.clone(), source: None, why });
        }
        stranded
    }
}

/// A pool's place, as loads are kept by it.
pub(super) type Key<'a> = (&'a ClusterName, &'a Zone);
