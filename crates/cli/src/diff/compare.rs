//! Two fleets compared: plans, losses and findings. Pure.

use super::{
    objects::Objects,
    outcome::{self, Outcome},
};
use crate::table::shares;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use tidegate_engine::{
    Asked, Clients, FleetState, Foresight, Lint, Location, Plan, Plans, Source, foresee, plans,
};
use tidegate_model::ServiceName;

/// What changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compared {
    /// What it is compared with.
    pub(super) against: String,
    /// Whether anything does.
    pub(super) changed: bool,
    /// The objects.
    pub(super) objects: Objects,
    /// Whose requests go elsewhere while all is healthy, or would first, if that failed.
    pub(super) plans: Vec<PlanChange>,
    /// What would come of losing a place, where that is another thing than before.
    pub(super) losses: Vec<LossChange>,
    /// Losses by which somebody is served by nothing healthy who was served before.
    pub(super) newly_impossible: Vec<Lost>,
    /// Losses by which nobody is stranded any more.
    pub(super) newly_possible: Vec<Lost>,
    /// What is wrong with nothing lost, and was not before.
    pub(super) new_findings: Vec<String>,
    /// What is not wrong any more.
    pub(super) gone_findings: Vec<String>,
    /// Whether every loss holds: before and after.
    pub(super) holds: (bool, bool),
}

/// The plan of a source before and after; empty where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PlanChange {
    pub(super) service: ServiceName,
    pub(super) from: String,
    pub(super) before: String,
    pub(super) after: String,
}

/// What becomes of a service by a loss; `not affected` where nothing does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LossChange {
    pub(super) service: ServiceName,
    pub(super) lost: String,
    pub(super) before: String,
    pub(super) after: String,
}

/// A service and a loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lost {
    pub(super) service: ServiceName,
    pub(super) lost: String,
}

pub(super) fn compare(what: &str, objects: Objects, before: &FleetState, after: &FleetState) -> Compared {
    let plan_changes = plan_changes(&plans(before), &plans(after));
    let [old, new] = [before, after].map(|state| foresee(state, &Asked::Each, Clients::Move));
    let [was, is] = [&old, &new].map(|it| outcome::all(&it.contingencies));
    let losses = loss_changes(&was, &is);
    let newly = |from: &BTreeMap<Key, Outcome>, to: &BTreeMap<Key, Outcome>| -> Vec<Lost> {
        let stranded = |key: &&Key| to[*key].stranded && from.get(*key).is_none_or(|it| !it.stranded);
        let lost = |(location, service): &Key| Lost { service: service.clone(), lost: location.to_string() };
        to.keys().filter(stranded).map(lost).collect()
    };
    let (impossible, possible) = (newly(&was, &is), newly(&is, &was));
    let [old_findings, new_findings] = [&old, &new].map(findings);
    let only =
        |all: &BTreeSet<String>, but: &BTreeSet<String>| all.difference(but).cloned().collect::<Vec<_>>();
    let mut compared = Compared {
        against: what.to_owned(),
        changed: false,
        objects,
        plans: plan_changes,
        losses,
        newly_impossible: impossible,
        newly_possible: possible,
        new_findings: only(&new_findings, &old_findings),
        gone_findings: only(&old_findings, &new_findings),
        holds: (old.holds, new.holds),
    };
    compared.changed = !compared.objects.is_empty()
        || !compared.plans.is_empty()
        || !compared.losses.is_empty()
        || !compared.new_findings.is_empty()
        || !compared.gone_findings.is_empty();
    compared
}

/// A place and a service.
type Key = (Location, ServiceName);

fn plan_changes(before: &Plans, after: &Plans) -> Vec<PlanChange> {
    let sources = |plans: &Plans| -> BTreeSet<(ServiceName, Source)> {
        let of = |(name, plans): (&ServiceName, &BTreeMap<Source, Plan>)| {
            plans.keys().map(|source| (name.clone(), source.clone())).collect::<Vec<_>>()
        };
        plans.iter().flat_map(of).collect()
    };
    let words = |plans: &Plans, name: &ServiceName, source: &Source| {
        plans.get(name).and_then(|plans| plans.get(source)).map(words).unwrap_or_default()
    };
    sources(before)
        .union(&sources(after))
        .filter_map(|(name, source)| {
            let (before, after) = (words(before, name, source), words(after, name, source));
            let change = PlanChange { service: name.clone(), from: source.to_string(), before, after };
            (change.before != change.after).then_some(change)
        })
        .collect()
}

/// A plan in words: who serves, then who stands by in order.
fn words(plan: &Plan) -> String {
    let mut tiers = vec![shares(&plan.shares)];
    if !plan.shed.is_none() {
        tiers[0] = format!("{} shed {}", tiers[0], plan.shed).trim().to_owned();
    }
    if plan.last_resort {
        tiers[0].push_str(" (unhealthy)");
    }
    tiers.extend(plan.standby.iter().map(shares));
    tiers.join(", then ")
}

fn loss_changes(before: &BTreeMap<Key, Outcome>, after: &BTreeMap<Key, Outcome>) -> Vec<LossChange> {
    let keys: BTreeSet<&Key> = before.keys().chain(after.keys()).collect();
    let words =
        |outcome: Option<&Outcome>| outcome.map_or_else(|| "not affected".to_owned(), |it| it.words.clone());
    keys.into_iter()
        .filter(|key| before.get(*key).map(Outcome::essence) != after.get(*key).map(Outcome::essence))
        .map(|key| {
            let (before, after) = (words(before.get(key)), words(after.get(key)));
            LossChange { service: key.1.clone(), lost: key.0.to_string(), before, after }
        })
        .collect()
}

/// What is wrong with nothing lost, in words without lines: those move with every edit.
fn findings(foresight: &Foresight) -> BTreeSet<String> {
    let words = |finding: &tidegate_engine::Finding| {
        let what = match &finding.lint {
            Lint::DownNow { source, why } => format!("nothing healthy serves {source}: {why}"),
            Lint::NoEndpoints => "it has no endpoint anywhere".to_owned(),
            Lint::SinglePlace { why } => why.to_string(),
            Lint::ResidencyInOneRegion { region, .. } => {
                format!("residency leaves it in region {region} alone")
            }
            Lint::OrderTooShort { sources, unnamed, .. } => {
                let list = |names: Vec<String>| names.join(", ");
                let from = list(sources.iter().map(ToString::to_string).collect());
                let unnamed = list(unnamed.iter().map(ToString::to_string).collect());
                format!("the order for {from} does not name {unnamed}")
            }
            Lint::OutOfReach { cluster, from } => {
                let from: Vec<&str> = from.iter().map(tidegate_model::ClusterName::as_str).collect();
                format!("its pools in {cluster} are out of reach for {}", from.join(", "))
            }
            Lint::ThresholdBelowMinimum { threshold, minimum, .. } => {
                format!("failoverThreshold {threshold} is below minimumHealthy {minimum}")
            }
        };
        format!("{}: {}", finding.service, outcome::without_places(&what))
    };
    foresight.findings.iter().map(words).collect()
}
