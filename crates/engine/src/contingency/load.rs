//! What pools carry: demand of sources times shares of plans. Whole numbers, rounded down.

use super::{
    Clients, FleetService, FleetState, Location, LocationLoad, ServiceOutcome, Unit, lost::Lost, outcome::Key,
};
use crate::plan::{Plan, Source, Target};
use std::{collections::BTreeMap, time::Duration};
use tidegate_model::{ClusterName, Region, Share, Zone};

/// Thousandths: of a request per second, or of an endpoint's normal load.
const THOUSANDTHS: u64 = 1000;

/// What each pool carries.
pub(super) type Carried<'a> = BTreeMap<Key<'a>, u64>;

/// `amount * part / whole`, rounded down; nothing of nothing.
pub(super) fn part(amount: u64, part: u64, whole: u64) -> u64 {
    let scaled = (u128::from(amount) * u128::from(part)).checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// What enters at each source that has a plan, and in which unit.
pub(super) fn demand(
    service: &FleetService,
    plans: &BTreeMap<Source, Plan>,
) -> (Unit, BTreeMap<Source, u64>) {
    let of = |source: &Source| service.demand.get(source).copied().flatten();
    let measured: Option<BTreeMap<Source, u64>> =
        plans.keys().map(|source| Some((source.clone(), of(source)?))).collect();
    if let Some(measured) = measured.filter(|it| !it.is_empty()) {
        return (Unit::Rate, measured);
    }
    let pools = || service.pools.values().map(|pool| u64::from(pool.expected)).filter(|it| *it > 0);
    let mean = part(pools().sum(), THOUSANDTHS, pools().count() as u64);
    let weight = |source: &Source| {
        let pool = service.pools.get(&(source.cluster.clone(), source.locality.zone.clone()));
        let own = pool.map_or(0, |pool| u64::from(pool.expected));
        if own > 0 { own * THOUSANDTHS } else { mean }
    };
    (Unit::Endpoints, plans.keys().map(|source| (source.clone(), weight(source))).collect())
}

/// What enters at each source that is left.
pub(super) fn after(
    state: &FleetState,
    demand: &BTreeMap<Source, u64>,
    lost: &Lost<'_>,
    clients: Clients,
) -> BTreeMap<Source, u64> {
    let left = || demand.iter().filter(|(source, _)| !lost.has_source(source));
    let mut after: BTreeMap<Source, u64> = left().map(|(source, it)| (source.clone(), *it)).collect();
    if clients == Clients::Gone {
        return after;
    }
    for (homeless, amount) in demand.iter().filter(|(source, _)| lost.has_source(source)) {
        for (source, part) in split(*amount, &nearest(state, demand, lost, homeless)) {
            if let Some(it) = after.get_mut(source) {
                *it = it.saturating_add(part);
            }
        }
    }
    after
}

/// Where the clients of a source that is gone come in, with what comes in there anyway.
pub(super) fn nearest<'a>(
    state: &FleetState,
    demand: &'a BTreeMap<Source, u64>,
    lost: &Lost<'_>,
    homeless: &Source,
) -> Vec<(&'a Source, u64)> {
    let left = || demand.iter().filter(|(source, _)| !lost.has_source(source));
    let Some(nearest) = left().map(|(source, _)| farness(state, homeless, source)).min() else {
        return Vec::new();
    };
    let near = left().filter(|(source, _)| farness(state, homeless, source) == nearest);
    near.map(|(source, it)| (source, *it)).collect()
}

/// How far clients go from one source to another: their own cluster, then their own region, then the nearest region,
/// regions of unknown distance last, by name.
fn farness<'a>(state: &FleetState, from: &Source, to: &'a Source) -> (u8, Duration, Option<&'a Region>) {
    let region = &to.locality.region;
    if from.cluster == to.cluster {
        (0, Duration::ZERO, None)
    } else if from.locality.region == *region {
        (1, Duration::ZERO, None)
    } else {
        let known = state.clusters.get(&from.cluster).and_then(|member| member.distances.get(region));
        (2, known.copied().unwrap_or(Duration::MAX), Some(region))
    }
}

/// Splits in proportion to the weights, evenly if there are none; the first takes what rounding left.
fn split<T: Copy>(amount: u64, among: &[(T, u64)]) -> Vec<(T, u64)> {
    let total = among.iter().fold(0_u64, |sum, (_, weight)| sum.saturating_add(*weight));
    let one = |weight: u64| match total {
        0 => part(amount, 1, among.len() as u64),
        _ => part(amount, weight, total),
    };
    let mut parts: Vec<(T, u64)> = among.iter().map(|(it, weight)| (*it, one(*weight))).collect();
    let given = parts.iter().fold(0_u64, |sum, (_, part)| sum.saturating_add(*part));
    if let Some((_, first)) = parts.first_mut() {
        *first += amount.saturating_sub(given);
    }
    parts
}

/// What each pool carries, and what is answered with 503.
pub(super) fn carried<'a>(
    service: &'a FleetService,
    plans: &BTreeMap<Source, Plan>,
    demand: &BTreeMap<Source, u64>,
    lost: &Lost<'_>,
) -> (Carried<'a>, u64) {
    let mut carried = Carried::new();
    let mut shed = 0_u64;
    let whole = u64::from(Share::ALL.parts());
    for (source, plan) in plans {
        let amount = demand.get(source).copied().unwrap_or(0);
        shed = shed.saturating_add(part(amount, u64::from(plan.shed.parts()), whole));
        for (target, share) in &plan.shares {
            let amount = part(amount, u64::from(share.parts()), whole);
            for (key, part) in split(amount, &zones(service, &source.cluster, target, lost)) {
                let load = carried.entry(key).or_default();
                *load = load.saturating_add(part);
            }
        }
    }
    (carried, shed)
}

/// The pools behind a target with their weights. An east-west gateway chooses by health alone, not by admit; with
/// nothing healthy, by what is expected.
fn zones<'a>(
    service: &'a FleetService,
    own: &ClusterName,
    target: &Target,
    lost: &Lost<'_>,
) -> Vec<(Key<'a>, u64)> {
    let is_of = |cluster: &ClusterName, zone: &Zone| match target {
        Target::Zone(wanted) => cluster == own && zone == wanted,
        Target::Cluster(wanted) => cluster == wanted,
    };
    let pools = || {
        let all = service.pools.iter().map(|((cluster, zone), it)| (cluster, zone, it));
        all.filter(|(cluster, zone, _)| is_of(cluster, zone) && !lost.has(cluster, zone))
    };
    let any_healthy = pools().any(|(_, _, it)| it.healthy > 0);
    pools()
        .map(|(cluster, zone, it)| {
            ((cluster, zone), u64::from(if any_healthy { it.healthy } else { it.expected }))
        })
        .filter(|(_, weight)| *weight > 0)
        .collect()
}

/// The loads of places, added up over services.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<Location, Sum>);

#[derive(Debug, Default)]
struct Sum {
    endpoints: (u64, u64),
    rate: (u64, u64),
    /// The rate of pools with a declared capacity.
    limited: (u64, u64),
    capacity: Option<u64>,
    /// Whether anything of the place is left.
    left: bool,
}

impl Sums {
    pub(super) fn add(&mut self, service: &FleetService, outcome: &ServiceOutcome) {
        for pool in &outcome.pools {
            let places = [
                Location::Zone(pool.locality.clone()),
                Location::Cluster(pool.cluster.clone()),
                Location::Region(pool.locality.region.clone()),
            ];
            let figures = service.pools.get(&(pool.cluster.clone(), pool.locality.zone.clone()));
            let capacity = figures.and_then(|figures| figures.capacity).filter(|_| !pool.lost);
            for place in places {
                let sum = self.0.entry(place).or_default();
                sum.left |= !pool.lost;
                let add = |it: &mut (u64, u64)| {
                    it.0 = it.0.saturating_add(pool.before);
                    it.1 = it.1.saturating_add(pool.after);
                };
                if outcome.unit == Unit::Endpoints {
                    add(&mut sum.endpoints);
                    continue;
                }
                add(&mut sum.rate);
                if let Some(capacity) = capacity {
                    add(&mut sum.limited);
                    sum.capacity = Some(sum.capacity.unwrap_or(0).saturating_add(capacity));
                }
            }
        }
    }

    pub(super) fn locations(self) -> Vec<LocationLoad> {
        let of = |load: u64, capacity: u64| part(1_000_000, load, capacity);
        self.0
            .into_iter()
            .filter(|(_, sum)| sum.left)
            .map(|(location, sum)| LocationLoad {
                location,
                endpoints: sum.endpoints,
                rate: sum.rate,
                utilization: sum.capacity.map(|all| (of(sum.limited.0, all), of(sum.limited.1, all))),
            })
            .collect()
    }
}
