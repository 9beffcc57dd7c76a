//! From checked objects to the [`Config`]: what needs more than one object to be decided.

mod fleet;
mod gateways;
mod labels;
mod layers;
mod policies;
mod profile;
mod routes;
mod services;
mod shifts;
mod streams;

use crate::{
    config::Config,
    kinds::Spec,
    object::Object,
    problem::{Problem, Severity},
    yaml::Pos,
};
use tidegate_model::ClusterName;

/// Lowers the objects in force, which come in the order of their keys.
pub(crate) fn lower(cluster: &ClusterName, objects: &[&Object], problems: &mut Vec<Problem>) -> Config {
    let clusters = fleet::lower(cluster, objects, problems);
    let policies = policies::Policies::new(objects, &clusters, problems);
    let mut services = services::lower(objects, &policies, problems);
    fleet::check_mentions(objects, &clusters, &services, problems);
    let mut gateways = gateways::lower(objects, problems);
    routes::attach(objects, &services, &mut gateways, problems);
    streams::attach(objects, &services, &mut gateways, problems);
    routes::set_protocols(&gateways, &mut services);
    streams::set_tunnelled(&gateways, &mut services);
    let shifts = shifts::lower(objects, clusters.get(cluster), &services, problems);
    Config { clusters, services, gateways: gateways.into_config(), shifts }
}

/// The objects of one kind, with what they say.
fn of_kind<'o, T: 'o>(
    objects: &'o [&'o Object],
    pick: impl Fn(&'o Spec) -> Option<&'o T>,
) -> impl Iterator<Item = (&'o Object, &'o T)> {
    objects.iter().filter_map(move |&object| pick(&object.spec).map(|spec| (object, spec)))
}

/// A problem in an object.
fn problem_in(object: &Object, at: Pos, message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem {
        file: object.file.to_string(),
        line: at.line,
        column: at.column,
        object: Some(object.title.to_string()),
        severity: Severity::Error,
        message: message.into(),
        hint: hint.into(),
    }
}

/// The same, when everything stays in force.
fn warning_in(object: &Object, at: Pos, message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem { severity: Severity::Warning, ..problem_in(object, at, message, hint) }
}
