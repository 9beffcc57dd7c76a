//! What a scenario says that cannot be: names that the manifests do not know, and faults that contradict each other.

use super::{Fault, FaultKind, Mark, Named, Place, Scenario};
use crate::fleet::{Fleet, FleetError};
use std::{collections::BTreeSet, fmt::Display, path::Path};
use tidegate_api::{Config, Problem, nearest_hint};
use tidegate_model::Zone;

pub(super) fn problem(path: &Path, at: Mark, what: impl Into<String>, hint: impl Into<String>) -> Problem {
    let file = path.display().to_string();
    Problem { line: at.line, column: at.column, ..Problem::of_file(&file, what, hint) }
}

/// Faults of one kind at one place at one time that are not the same: nobody can tell which is meant.
pub(super) fn contradictions(path: &Path, faults: &[(Mark, Fault)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, (at, fault)) in faults.iter().enumerate() {
        let other = faults[..index]
            .iter()
            .find(|(_, other)| overlap(fault, other) && contradict(&fault.kind, &other.kind));
        if let Some((there, other)) = other {
            let what = format!(
                "this contradicts the fault in line {}: \"{}\" and \"{}\" at the same time",
                there.line, other.kind, fault.kind
            );
            problems.push(problem(path, *at, what, "let one end (for) before the other begins (at)"));
        }
    }
    problems
}

fn overlap(a: &Fault, b: &Fault) -> bool {
    let begins_before_end = |a: &Fault, b: &Fault| b.until.is_none_or(|until| a.at < until);
    begins_before_end(a, b) && begins_before_end(b, a)
}

/// Losses and partitions say the same thing twice at worst. What has a figure may say two different ones, and an agent that
/// is gone does not go.
fn contradict(a: &FaultKind, b: &FaultKind) -> bool {
    use FaultKind::{BrownOut, ClockSkew, DropStatus, Flap, PauseAgent, RestartAgent, SlowTelemetry};
    match (a, b) {
        (BrownOut(a, part), BrownOut(b, other)) => a == b && part.total_cmp(other).is_ne(),
        (Flap(a, period), Flap(b, other)) => a == b && period != other,
        (SlowTelemetry(a, delay), SlowTelemetry(b, other)) => a == b && delay != other,
        (DropStatus(a, part), DropStatus(b, other)) => a == b && part.total_cmp(other).is_ne(),
        (ClockSkew(a, skew), ClockSkew(b, other)) => a == b && skew != other,
        (RestartAgent(a), RestartAgent(b)) | (PauseAgent(a), PauseAgent(b)) => a == b,
        _ => false,
    }
}

/// The manifests are no fleet.
pub(super) fn no_fleet(scenario: &Scenario, error: &FleetError) -> Problem {
    let text = error.to_string();
    let (what, hint) =
        text.split_once("\n  hint: ").unwrap_or((&text, "write a folder, relative to this file"));
    problem(&scenario.path, scenario.manifests_at, what, hint)
}

/// The names that the manifests do not know.
pub(super) fn unknown(scenario: &Scenario, fleet: &Fleet) -> Vec<Problem> {
    let mut problems: Vec<Problem> = scenario
        .named
        .iter()
        .filter_map(|(at, named)| {
            let (what, hint) = missing(named, fleet)?;
            Some(problem(&scenario.path, *at, what, hint))
        })
        .collect();
    problems.sort_by_key(|it| (it.line, it.column));
    problems
}

/// What is wrong with a name, and what to do.
fn missing(named: &Named, fleet: &Fleet) -> Option<(String, String)> {
    match named {
        Named::Place(place) => missing_place(place, fleet),
        Named::Service(service) => {
            if fleet.configs.values().any(|it| it.services.contains_key(service)) {
                return None;
            }
            let known = fleet.configs.values().flat_map(|it| it.services.keys());
            unknown_name("service", service, known)
        }
        Named::Source(service, cluster, zone) => {
            let Some(config) = fleet.configs.get(cluster) else {
                return unknown_name("cluster", cluster, fleet.configs.keys());
            };
            if !zones(config).contains(zone) {
                let (what, hint) = unknown_name("zone", zone, zones(config))?;
                return Some((format!("{what} in cluster {cluster}"), hint));
            }
            let elsewhere = || fleet.configs.iter().filter(|(_, it)| it.services.contains_key(service));
            if config.services.contains_key(service) || elsewhere().next().is_none() {
                return None;
            }
            let clusters: Vec<&str> = elsewhere().map(|(name, _)| name.as_str()).take(20).collect();
            let what = format!("cluster {cluster} has no Service {service}, so its gateways send it nothing");
            Some((
                what,
                format!("add a Service without endpoints to it; these have one: {}", clusters.join(", ")),
            ))
        }
    }
}

fn missing_place(place: &Place, fleet: &Fleet) -> Option<(String, String)> {
    let configs = || fleet.configs.values();
    match place {
        Place::Cluster(cluster) if !fleet.configs.contains_key(cluster) => {
            unknown_name("cluster", cluster, fleet.configs.keys())
        }
        Place::Region(region) => {
            let regions: BTreeSet<_> =
                configs().flat_map(|it| it.clusters.values()).map(|it| &it.region).collect();
            if regions.contains(region) { None } else { unknown_name("region", region, regions) }
        }
        Place::Zone(zone) => {
            let all: BTreeSet<&Zone> = configs().flat_map(|config| zones(config)).collect();
            if all.contains(zone) { None } else { unknown_name("zone", zone, all) }
        }
        Place::Endpoint(address) => {
            let known =
                configs().flat_map(|it| it.services.values()).any(|it| it.endpoints.contains_key(address));
            (!known).then(|| {
                (
                    format!("no service has the endpoint {address}"),
                    "use an address of an EndpointSlice, with its port".to_owned(),
                )
            })
        }
        Place::Cluster(_) => None,
    }
}

/// The zones in which a cluster has endpoints.
fn zones(config: &Config) -> BTreeSet<&Zone> {
    config.services.values().flat_map(|it| it.endpoints.values()).map(|it| &it.zone).collect()
}

fn unknown_name<'a, T: Display + 'a>(
    kind: &str,
    name: &impl Display,
    known: impl IntoIterator<Item = &'a T>,
) -> Option<(String, String)> {
    let known: BTreeSet<String> = known.into_iter().map(ToString::to_string).collect();
    let hint = nearest_hint(&name.to_string(), &format!("{kind}s"), known.iter().map(String::as_str));
    Some((format!("there is no {kind} {name}"), hint))
}
