//! The routes of a cluster as they are written, with what serves each of their references.

use crate::{
    Input,
    backends::{Part, parts, weighted},
    subject::Subject,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::ServiceName;

/// A route whose references were replaced.
pub(crate) struct Route<'s, 'a> {
    /// It, without what an API server adds.
    pub(crate) object: Value,
    /// The services of each of its rules, in the order of the references.
    pub(crate) subjects: Vec<Vec<&'s Subject<'a>>>,
}

impl Route<'_, '_> {
    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap_or("default")
    }
}

/// The `HTTPRoute`s and `GRPCRoute`s, each reference to a service replaced by what `write` makes of the parts that serve it;
/// parts that it makes nothing of are left out.
pub(crate) fn replaced<'s, 'a>(
    input: &Input<'_>,
    subjects: &'s [Subject<'a>],
    mut write: impl FnMut(&'s Subject<'a>, &str, &Value, &Part) -> Option<Value>,
) -> Vec<Route<'s, 'a>> {
    let by_name: BTreeMap<&ServiceName, &'s Subject<'a>> = subjects.iter().map(|it| (it.name, it)).collect();
    let mut routes = Vec::new();
    for object in input.objects.iter().filter(|object| is_route(object)) {
        let mut route = Route { object: bare(object), subjects: Vec::new() };
        let namespace = route.namespace().to_owned();
        let Some(rules) = route.object["spec"].get_mut("rules").and_then(Value::as_array_mut) else {
            continue;
        };
        for rule in rules {
            let mut of_rule = Vec::new();
            if let Some(references) = rule.get_mut("backendRefs").and_then(Value::as_array_mut) {
                let replaced: Vec<(Value, Vec<(Value, u32)>)> = references
                    .iter()
                    .map(|reference| {
                        let name = service_of(reference, &namespace);
                        let Some(subject) = name.and_then(|name| by_name.get(&name).copied()) else {
                            // Not ours, and kept as it is.
                            return (reference.clone(), vec![(reference.clone(), 10_000)]);
                        };
                        of_rule.push(subject);
                        let mut written: Vec<(Value, u32)> = parts(subject)
                            .iter()
                            .filter_map(|part| {
                                Some((write(subject, &namespace, reference, part)?, part.share))
                            })
                            .collect();
                        if written.is_empty() {
                            written.push((reference.clone(), 10_000));
                        }
                        (reference.clone(), written)
                    })
                    .collect();
                *references = weighted(&replaced);
            }
            route.subjects.push(of_rule);
        }
        routes.push(route);
    }
    routes
}

/// The services that routes lead to.
pub(crate) fn routed<'r>(routes: &'r [Route<'_, '_>]) -> BTreeSet<&'r ServiceName> {
    routes.iter().flat_map(|route| route.subjects.iter().flatten()).map(|subject| subject.name).collect()
}

fn is_route(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|it| it.starts_with("gateway.networking.k8s.io/"))
        && ["HTTPRoute", "GRPCRoute"].iter().any(|kind| object["kind"] == *kind)
}

/// The service that a reference is for, if it is for one.
fn service_of(reference: &Value, namespace: &str) -> Option<ServiceName> {
    let is_core = reference["group"].as_str().unwrap_or_default().is_empty();
    let is_service = reference["kind"].as_str().is_none_or(|kind| kind == "Service");
    let name = reference["name"].as_str().filter(|_| is_core && is_service)?;
    ServiceName::new(reference["namespace"].as_str().unwrap_or(namespace), name).ok()
}

/// An object as somebody would write it.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        let kept = ["name", "namespace", "labels", "annotations"];
        *metadata =
            std::mem::take(metadata).into_iter().filter(|(key, _)| kept.contains(&key.as_str())).collect();
    }
    object
}

/// The label by which what was rendered is known.
pub(crate) fn labels() -> Value {
    Value::Object(Map::from_iter([("app.kubernetes.io/managed-by".to_owned(), "tidegate-render".into())]))
}
