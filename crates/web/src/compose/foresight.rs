//! What would be if something were lost: the engine's answer as the page has it, and the answers of several agents as one.
//!
//! An agent knows its own callers and every pool that they can use. So together the answers of all agents say it of the fleet: flows
//! stand beside each other, and what one's callers bring to a place is added to what the others' bring. What nobody's answer has: clients
//! of a cluster that is lost and come in at another one ([`foreseen`]).

use crate::model::{Flow, Foresight, LossFacts, Place, Standing};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_engine::{
    Asked, Clients, Contingency, FleetState, Lint, Location, PoolLoad, ServiceOutcome, Shares, SourceOutcome,
    Target, Unit, contingency, foresee, n_minus_1,
};
use tidegate_model::{ClusterName, Fraction, Phase, ServiceName, Zone};

/// The most that one loss names of anything.
const NAMED: usize = 100;
/// The most flows of one loss.
const MAX_FLOWS: usize = 500;

/// What the agent of a cluster can say: where all of its own callers are lost with a place, they are gone. Where they come in instead is
/// another cluster's to say, and that nobody else knows here is no reason to call anything unserved.
#[must_use]
pub fn foreseen(state: &FleetState, asked: &Asked) -> tidegate_engine::Foresight {
    let mut foreseen = foresee(state, asked, Clients::Move);
    let contingencies = std::mem::take(&mut foreseen.contingencies);
    foreseen.contingencies = contingencies.into_iter().map(Contingency::without_lost_callers).collect();
    foreseen.holds = !foreseen.is_down_now() && foreseen.contingencies.iter().all(Contingency::holds);
    foreseen
}

/// Which services would not stand a loss.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Risks {
    /// By the loss of some zone, cluster or region something of them would not be served, or a place be above its capacity.
    pub at_risk: BTreeSet<ServiceName>,
    /// They have one place only.
    pub cannot_fail_over: BTreeSet<ServiceName>,
}

impl Risks {
    /// What another agent says besides. A service has one place only if nobody knows another one.
    pub fn add(&mut self, other: Self) {
        self.at_risk.extend(other.at_risk);
        self.cannot_fail_over.extend(other.cannot_fail_over);
    }
}

/// Of the loss of each place by itself.
#[must_use]
pub fn risks(of: &tidegate_engine::Foresight) -> Risks {
    let mut risks = Risks::default();
    for contingency in &of.contingencies {
        let stranded = contingency.stranded.iter().map(|it| it.service.clone());
        let overloaded = contingency.overloaded().map(|(service, _)| service.clone());
        risks.at_risk.extend(stranded.chain(overloaded));
    }
    let alone = of.findings.iter().filter(|it| matches!(it.lint, Lint::SinglePlace { .. }));
    risks.cannot_fail_over = alone.map(|it| it.service.clone()).collect();
    risks
}

/// As the page has it.
#[must_use]
pub fn foresight(of: &tidegate_engine::Foresight) -> Foresight {
    Foresight {
        holds: of.holds,
        findings: of.findings.iter().take(NAMED).map(ToString::to_string).collect(),
        losses: of.contingencies.iter().map(loss).collect(),
        age_ms: None,
    }
}

/// The answers of several agents as one, or what one agent says. Of places those are left that change.
#[must_use]
pub fn merged(answers: impl IntoIterator<Item = Foresight>) -> Foresight {
    let mut whole = Foresight { holds: true, findings: Vec::new(), losses: Vec::new(), age_ms: None };
    let mut at: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for answer in answers {
        whole.holds &= answer.holds;
        whole.findings.extend(answer.findings);
        whole.age_ms = whole.age_ms.max(answer.age_ms);
        for loss in answer.losses {
            match at.get(&loss.lost) {
                Some(index) => join(&mut whole.losses[*index], loss),
                None => {
                    at.insert(loss.lost.clone(), whole.losses.len());
                    whole.losses.push(loss);
                }
            }
        }
    }
    whole.findings.sort();
    whole.findings.dedup();
    whole.findings.truncate(NAMED);
    for loss in &mut whole.losses {
        let mut places = std::mem::take(&mut loss.places);
        places.retain(|(_, before, after)| before != after);
        loss.places = fullest(places);
    }
    whole
}

fn sum(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
    }
}

fn join(into: &mut LossFacts, other: LossFacts) {
    into.holds &= other.holds;
    let named = into.unserved.len();
    let mut unserved: BTreeMap<ServiceName, u32> = std::mem::take(&mut into.unserved).into_iter().collect();
    for (service, permille) in other.unserved {
        let known = unserved.entry(service).or_default();
        *known = (*known).max(permille);
    }
    // Beyond those that are named nobody can say which are the same.
    let more = u32::try_from(unserved.len() - named).unwrap_or(u32::MAX);
    into.unserved_services = (into.unserved_services + more).max(other.unserved_services);
    into.unserved = worst(unserved);
    let mut places: BTreeMap<Place, (Option<u32>, Option<u32>)> = BTreeMap::new();
    for (place, before, after) in std::mem::take(&mut into.places).into_iter().chain(other.places) {
        let known = places.entry(place).or_default();
        *known = (sum(known.0, before), sum(known.1, after));
    }
    into.places = places.into_iter().map(|(place, (before, after))| (place, before, after)).collect();
    into.before = both(std::mem::take(&mut into.before), other.before);
    into.after = both(std::mem::take(&mut into.after), other.after);
    into.sentences.extend(other.sentences);
    into.sentences.sort();
    into.sentences.dedup();
    into.sentences.truncate(NAMED);
}

fn worst(unserved: BTreeMap<ServiceName, u32>) -> Vec<(ServiceName, u32)> {
    let mut unserved: Vec<_> = unserved.into_iter().collect();
    unserved.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    unserved.truncate(NAMED);
    unserved
}

type Utilised = (Place, Option<u32>, Option<u32>);

fn fullest(mut places: Vec<Utilised>) -> Vec<Utilised> {
    places.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(&b.0)));
    places
}

/// One flow is told by the agent where it enters; by others only what they were told of it.
fn both(one: Vec<Flow>, other: Vec<Flow>) -> Vec<Flow> {
    let mut flows: BTreeMap<(Place, Place), Flow> = BTreeMap::new();
    for flow in one.into_iter().chain(other) {
        let known = flows.entry((flow.from.clone(), flow.to.clone())).or_insert_with(|| flow.clone());
        known.services = known.services.max(flow.services);
        if known.rate.unwrap_or(0.0) < flow.rate.unwrap_or(0.0) {
            known.rate = flow.rate;
        }
    }
    greatest(flows)
}

fn greatest(flows: BTreeMap<(Place, Place), Flow>) -> Vec<Flow> {
    let mut flows: Vec<Flow> = flows.into_values().collect();
    let much = |flow: &Flow| flow.rate.unwrap_or(0.0);
    flows.sort_by(|a, b| much(b).total_cmp(&much(a)).then(b.services.cmp(&a.services)));
    flows.truncate(MAX_FLOWS);
    flows
}

fn loss(of: &Contingency) -> LossFacts {
    let mut unserved: BTreeMap<ServiceName, u32> = BTreeMap::new();
    for service in &of.services {
        let permille = service.sources.iter().filter(|it| !it.lost).map(|it| it.shed.parts() / 10).max();
        let stranded = service.sources.iter().any(|it| it.last_resort);
        let permille = if stranded { Some(1000) } else { permille };
        if let Some(permille) = permille.filter(|it| *it > 0) {
            unserved.insert(service.service.clone(), permille);
        }
    }
    for stranded in &of.stranded {
        unserved.insert(stranded.service.clone(), 1000);
    }
    let stranded = of.stranded.iter().map(|it| match &it.source {
        Some(source) => format!("{} at {source}: {}", it.service, it.why),
        None => format!("{}: {}", it.service, it.why),
    });
    let overloaded = of.overloaded().map(|(service, pool)| {
        let percent = pool.utilization_after.unwrap_or(0) / 10_000;
        format!("{service} in {}, {}: {percent} % of what is declared", pool.locality.zone, pool.cluster)
    });
    LossFacts {
        lost: of.lost.iter().map(words).collect(),
        holds: of.holds(),
        unserved_services: u32::try_from(unserved.len()).unwrap_or(u32::MAX),
        unserved: worst(unserved),
        places: places(of),
        before: flows(of, |source| (&source.before, source.demand_before)),
        after: flows(of, |source| (&source.after, source.demand_after)),
        sentences: stranded.chain(overloaded).take(NAMED).collect(),
    }
}

fn words(location: &Location) -> String {
    match location {
        Location::Zone(at) => format!("zone {at}"),
        Location::Cluster(cluster) => format!("cluster {cluster}"),
        Location::Region(region) => format!("region {region}"),
    }
}

/// What the pools of a place carry that have a capacity, over that capacity.
fn places(of: &Contingency) -> Vec<Utilised> {
    /// Before, after, and what can be taken.
    type Sums = (u128, u128, u128);
    let mut sums: BTreeMap<Place, Sums> = BTreeMap::new();
    for pool in of.services.iter().flat_map(|service| &service.pools).filter(|pool| !pool.lost) {
        let Some(capacity) = capacity(pool) else { continue };
        let place = Place { cluster: pool.cluster.clone(), zone: Some(pool.locality.zone.clone()) };
        let sum = sums.entry(place).or_default();
        sum.0 += u128::from(pool.before);
        sum.1 += u128::from(pool.after);
        sum.2 += capacity;
    }
    let permille = |part: u128, whole: u128| u32::try_from(part * 1000 / whole.max(1)).unwrap_or(u32::MAX);
    let place = |(place, (before, after, whole))| {
        (place, Some(permille(before, whole)), Some(permille(after, whole)))
    };
    sums.into_iter().map(place).collect()
}

/// By what is carried and how much of it that is.
fn capacity(pool: &PoolLoad) -> Option<u128> {
    let of = |load: u64, part: Option<u64>| {
        part.filter(|part| *part > 0).map(|part| u128::from(load) * 1_000_000 / u128::from(part))
    };
    of(pool.after, pool.utilization_after).or_else(|| of(pool.before, pool.utilization_before))
}

fn flows<'c>(of: &'c Contingency, side: impl Fn(&'c SourceOutcome) -> (&'c Shares, u64)) -> Vec<Flow> {
    let mut flows: BTreeMap<(Place, Place), Flow> = BTreeMap::new();
    for service in &of.services {
        for source in &service.sources {
            let (shares, demand) = side(source);
            for (target, share) in shares {
                add(&mut flows, service, source, target, (share.parts(), demand));
            }
        }
    }
    greatest(flows)
}

fn add(
    flows: &mut BTreeMap<(Place, Place), Flow>,
    service: &ServiceOutcome,
    source: &SourceOutcome,
    target: &Target,
    (parts, demand): (u32, u64),
) {
    if parts == 0 {
        return;
    }
    let own = &source.source.cluster;
    let from = Place { cluster: own.clone(), zone: Some(source.source.locality.zone.clone()) };
    let to = match target {
        Target::Zone(zone) => Place { cluster: own.clone(), zone: Some(zone.clone()) },
        Target::Cluster(cluster) => Place { cluster: cluster.clone(), zone: None },
    };
    let flow = flows.entry((from.clone(), to.clone())).or_insert(Flow {
        from,
        to,
        rate: None,
        failed: None,
        services: 0,
        standing: Standing::Good,
    });
    flow.services += 1;
    if service.unit == Unit::Rate {
        #[expect(clippy::cast_precision_loss, reason = "a picture needs no more than 52 bits of a rate")]
        let rate = demand as f64 / 1e3 * f64::from(parts) / 1e4;
        flow.rate = Some(flow.rate.unwrap_or(0.0) + rate);
    }
}

/// What a shift would do, and what the loss of each place would do afterwards.
#[must_use]
pub fn shifted(
    state: &FleetState,
    from: &Location,
    service: Option<&ServiceName>,
    percent: u32,
    force: bool,
) -> Foresight {
    let before = contingency(state, &[], Clients::Gone);
    let mut after = moved(state, from, service, percent, &BTreeSet::new());
    let mut outcome = contingency(&after, &[], Clients::Gone);
    let lost: BTreeSet<ServiceName> = newly_unserved(&before, &outcome);
    if !force && !lost.is_empty() {
        after = moved(state, from, service, percent, &lost);
        outcome = contingency(&after, &[], Clients::Gone);
    }
    let mut shift = loss(&outcome);
    let then = loss(&before);
    shift.before = then.after;
    let was: BTreeMap<Place, Option<u32>> =
        then.places.into_iter().map(|(place, _, load)| (place, load)).collect();
    for (place, before, _) in &mut shift.places {
        *before = was.get(place).copied().flatten();
    }
    shift.lost = vec![format!("{percent} % of {}", words(from))];
    let kept = lost.iter().take(NAMED).map(|service| match force {
        true => format!("{service} loses its last healthy place"),
        false => format!("{service} is not moved: it would lose its last healthy place"),
    });
    shift.sentences = kept.chain(shift.sentences).take(NAMED).collect();
    shift.holds &= lost.is_empty() || !force;
    let others = n_minus_1(&after, Clients::Move).into_iter().map(|it| loss(&it.without_lost_callers()));
    let losses: Vec<LossFacts> = std::iter::once(shift).chain(others).collect();
    Foresight { holds: losses.iter().all(|it| it.holds), findings: Vec::new(), losses, age_ms: None }
}

fn newly_unserved(before: &Contingency, after: &Contingency) -> BTreeSet<ServiceName> {
    let unserved = |of: &Contingency| -> BTreeSet<ServiceName> {
        let bad = |it: &&ServiceOutcome| {
            it.sources.iter().any(|it| it.last_resort || it.shed == tidegate_model::Share::ALL)
        };
        of.services.iter().filter(bad).map(|it| it.service.clone()).collect()
    };
    unserved(after).difference(&unserved(before)).cloned().collect()
}

/// With a part of what the pools there are given taken away, but for some services.
fn moved(
    state: &FleetState,
    from: &Location,
    only: Option<&ServiceName>,
    percent: u32,
    but: &BTreeSet<ServiceName>,
) -> FleetState {
    let mut moved = state.clone();
    let clusters = &state.clusters;
    let is_there = |cluster: &ClusterName, zone: &Zone| {
        let region = clusters.get(cluster).map(|member| &member.region);
        match from {
            Location::Zone(at) => region == Some(&at.region) && *zone == at.zone,
            Location::Cluster(name) => name == cluster,
            Location::Region(name) => region == Some(name),
        }
    };
    let left = 100_u32.saturating_sub(percent);
    for (name, service) in &mut moved.services {
        if only.is_some_and(|only| only != name) || but.contains(name) {
            continue;
        }
        for ((cluster, zone), figures) in &mut service.pools {
            if is_there(cluster, zone) && figures.phase != Phase::Empty {
                let admit = u64::from(figures.admit.ppm()) * u64::from(left) / 100;
                let admit = u32::try_from(admit).unwrap_or(0);
                (figures.phase, figures.admit) =
                    (Phase::Shifted, Fraction::from_ppm(admit).unwrap_or(Fraction::ZERO));
            }
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_engine::{FleetMember, FleetService, PoolFigures, Source};
    use tidegate_model::Locality;

    /// What the agent of cluster `a` knows: its own callers, and pools in both clusters.
    fn known() -> FleetState {
        let mut state = FleetState::default();
        let mut service = FleetService::default();
        for (cluster, zone) in [("a", "a-1"), ("b", "b-1")] {
            let member = FleetMember {
                region: "us".parse().unwrap(),
                distances: BTreeMap::new(),
                unreachable: BTreeSet::new(),
            };
            state.clusters.insert(cluster.parse().unwrap(), member);
            let pool = PoolFigures {
                expected: 2,
                healthy: 2,
                admit: Fraction::ONE,
                phase: Phase::Serving,
                capacity: None,
            };
            service.pools.insert((cluster.parse().unwrap(), zone.parse().unwrap()), pool);
        }
        let locality = Locality { region: "us".parse().unwrap(), zone: "a-1".parse().unwrap() };
        service.demand.insert(Source { cluster: "a".parse().unwrap(), locality }, None);
        state.services.insert("shop/web".parse().unwrap(), service);
        state
    }

    #[test]
    fn callers_that_are_lost_with_their_cluster_are_not_unserved() {
        let state = known();
        let lost = |name: &str| Asked::Together(vec![state.location(name).unwrap()]);
        assert!(!foresee(&state, &lost("cluster/a"), Clients::Move).holds, "an agent knows no other callers");
        assert!(foreseen(&state, &lost("cluster/a")).holds);
        assert!(foreseen(&state, &lost("cluster/b")).holds);
    }
}
