//! `TCPRoute` and `TLSRoute`, attached to the listeners of gateways.

use super::{
    gateways::Gateways,
    of_kind, problem_in,
    routes::{Attached, Backends, attach_to},
};
use crate::{
    fields::Field,
    kinds::{ParentRef, Spec, StreamSpec},
    object::Object,
    problem::{Cause, Problem},
    routing::StreamRoute,
};
use std::{collections::BTreeSet, sync::Arc};
use tidegate_model::ServiceName;

/// Attaches them, the oldest first: it keeps what a younger one wants too.
pub(super) fn attach(
    objects: &[&Arc<Object>],
    backends: &Backends<'_>,
    gateways: &mut Gateways,
    problems: &mut Vec<Problem>,
) {
    let mut routes: Vec<(&Arc<Object>, &StreamSpec)> = of_kind(objects, Spec::stream).collect();
    routes.sort_by_key(|&(object, _)| object.seniority());
    for (object, spec) in routes {
        for parent in &spec.parents {
            let route = (spec.protocol, &*spec.hostnames);
            let attached = attach_to(object, route, parent, gateways, problems);
            add(object, spec, parent, attached, backends, gateways, problems);
        }
    }
}

fn add(
    object: &Object,
    spec: &StreamSpec,
    parent: &Field<ParentRef>,
    attached: Attached,
    backends: &Backends<'_>,
    gateways: &mut Gateways,
    problems: &mut Vec<Problem>,
) {
    let name = format!("{}/{}", object.key.namespace, object.key.name);
    let mut found = None;
    for (listener, mut hostnames) in attached {
        let Some(ours) = gateways.of_clients(&parent.value.gateway) else { return };
        let all = hostnames.is_empty();
        for other in ours.gateway.streams.iter().filter(|it| it.listener == listener) {
            let both = |it: &String| other.hostnames.contains(it);
            let taken: Vec<String> = hostnames.iter().filter(|it| both(it)).cloned().collect();
            let whole = all && other.hostnames.is_empty();
            if other.name != name && (whole || !taken.is_empty()) {
                let what = if whole { "its connections".to_owned() } else { taken.join(", ") };
                let message =
                    format!("the listener {listener} gives {what} to the route {} already", other.name);
                let hint = "the oldest route has them; change this one, or use another listener";
                problems.push(problem_in(object, parent.at, message, hint).because(Cause::Conflict));
            }
            hostnames.retain(|hostname| !both(hostname));
        }
        if hostnames.is_empty() && (!all || is_taken(&ours.gateway.streams, &listener)) {
            continue;
        }
        let outcome = "its part of the connections is closed";
        let backend = |it| backends.backend(object, it, outcome, problems);
        let backends = found.get_or_insert_with(|| spec.backends.iter().map(backend).collect::<Vec<_>>());
        ours.gateway.streams.push(StreamRoute {
            name: name.clone(),
            listener,
            hostnames,
            backends: backends.clone(),
            origin: object.origin(object.at),
        });
    }
}

/// Whether a route has all connections of a listener that no other one names.
fn is_taken(streams: &[StreamRoute], listener: &str) -> bool {
    streams.iter().any(|it| it.listener == listener && it.hostnames.is_empty())
}

/// What such routes lead to: other clusters' endpoints of these are reached through tunnels.
pub(super) fn tunnelled(gateways: &Gateways) -> BTreeSet<ServiceName> {
    let routes = gateways.ours.values().flat_map(|ours| &ours.gateway.streams);
    routes.flat_map(|route| &route.backends).filter_map(|it| it.service.clone()).collect()
}
