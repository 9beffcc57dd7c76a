//! Traffic shifts: what they name, with the own region where a zone is written without one.

use super::{of_kind, problem_in, services::Services, warning_in};
use crate::{
    config::{FleetCluster, TrafficShift},
    kinds::{AwayFrom, Spec},
    nearest,
    object::Object,
    problem::{Cause, Problem},
};
use std::{collections::BTreeMap, sync::Arc};
use tidegate_engine::{Location, ShiftTarget};
use tidegate_model::Locality;

pub(super) fn lower(
    objects: &[&Arc<Object>],
    own: Option<&FleetCluster>,
    services: &Services,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, TrafficShift> {
    let mut shifts: BTreeMap<String, TrafficShift> = BTreeMap::new();
    let mut targets: BTreeMap<ShiftTarget, &Object> = BTreeMap::new();
    // Objects come in the order of their names, which says nothing about which is meant: none is taken twice.
    for (object, spec) in of_kind(objects, Spec::shift) {
        let location = match &spec.away_from {
            AwayFrom::Cluster(cluster) => Location::Cluster(cluster.clone()),
            AwayFrom::Region(region) => Location::Region(region.clone()),
            AwayFrom::Zone(region, zone) => {
                // Without the own cluster nothing is decided at all, which was told.
                let Some(region) = region.as_ref().or(own.map(|own| &own.region)) else { continue };
                Location::Zone(Locality { region: region.clone(), zone: zone.clone() })
            }
        };
        let target = ShiftTarget { location, service: spec.service.as_ref().map(|it| it.value.clone()) };
        if let Some(first) = targets.get(&target) {
            let message = format!("{} moves traffic away from {target} already", first.title());
            let hint = "keep one of them; this one is not in force";
            problems.push(problem_in(object, object.at, message, hint).because(Cause::Conflict));
            continue;
        }
        if let Some(service) = spec.service.as_ref().filter(|it| !services.contains(&it.value)) {
            let names: Vec<String> = services.names().map(ToString::to_string).collect();
            let hint =
                nearest::hint(&service.value.to_string(), "services", names.iter().map(String::as_str));
            let message = format!("there is no Service {}", service.value);
            problems.push(warning_in(object, service.at, message, hint).because(Cause::NoSuchObject));
        }
        targets.insert(target.clone(), object);
        let shift = TrafficShift {
            target,
            percent: spec.percent,
            expiry: spec.expiry,
            comment: spec.comment.clone(),
            force: spec.force,
        };
        shifts.insert(spec.name.clone(), shift);
    }
    shifts
}
