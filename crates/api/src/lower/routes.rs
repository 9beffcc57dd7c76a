//! Routes, attached to the listeners of gateways.

use super::{
    gateways::{Gateways, OurGateway, Section, merge_hostnames},
    grants::Grants,
    of_kind, problem_in,
    services::Services,
    warning_in,
};
use crate::{
    config::ListenerProtocol,
    fields::Field,
    kinds::{BackendRef, BackendSpec, ParentRef, RouteSpec, Spec},
    nearest,
    object::Object,
    problem::{Cause, Problem},
    routing::{Backend, Filters, HttpRoute, HttpRule, Mirror, RouteKind},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidegate_model::{GatewayName, ServiceName};

/// The host names that a route has on each listener of a gateway; empty means all.
pub(super) type Attached = BTreeMap<String, BTreeSet<String>>;

/// The backends of `GRPCRoute`s. They speak HTTP/2: there is no gRPC without.
pub(super) fn speaking_grpc(gateways: &Gateways) -> BTreeSet<ServiceName> {
    let routes = gateways.ours.values().flat_map(|ours| &ours.gateway.routes);
    let rules = routes.filter(|route| route.kind == RouteKind::Grpc).flat_map(|route| &route.rules);
    rules.flat_map(|rule| &rule.backends).filter_map(|it| it.service.clone()).collect()
}

pub(super) fn attach(
    objects: &[&Arc<Object>],
    backends: &Backends<'_>,
    gateways: &mut Gateways,
    problems: &mut Vec<Problem>,
) {
    let mut routes: Vec<(&Arc<Object>, &RouteSpec)> = of_kind(objects, Spec::route).collect();
    routes.sort_by_key(|&(object, _)| object.seniority());
    let mut last = Arc::default();
    for (object, spec) in routes {
        let mut by_gateway: BTreeMap<&GatewayName, Attached> = BTreeMap::new();
        for parent in &spec.parents {
            let attached =
                attach_to(object, (ListenerProtocol::Http, &spec.hostnames), parent, gateways, problems);
            let known = by_gateway.entry(&parent.value.gateway).or_default();
            for (listener, hostnames) in attached {
                match known.get_mut(&listener) {
                    Some(earlier) => merge_hostnames(earlier, hostnames),
                    None => {
                        known.insert(listener, hostnames);
                    }
                }
            }
        }
        if by_gateway.values().all(BTreeMap::is_empty) {
            // Someone else's route, or one whose parents are wrong: its backends are not ours to judge.
            continue;
        }
        let rules = lower_rules(object, spec, backends, problems);
        if rules.is_empty() {
            continue;
        }
        for (gateway, attached) in by_gateway {
            let Some(ours) = gateways.of_clients(gateway) else { continue };
            ours.gateway
                .routes
                .extend(routes_of(object, spec, attached, &rules, &mut last).into_iter().map(Arc::new));
        }
    }
}

/// What comes of a backend that cannot be used.
const ANSWERED_500: &str = "its part of the requests is answered 500";

/// What a backend may be.
pub(super) struct Backends<'s> {
    pub(super) services: &'s Services,
    pub(super) grants: &'s Grants<'s>,
}

impl Backends<'_> {
    /// The service, or `None` when there is none such, which is told with what comes of it.
    fn find(
        &self,
        object: &Object,
        wanted: &Field<BackendRef>,
        outcome: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<ServiceName> {
        let backend = &wanted.value;
        let Self { services, grants } = self;
        let (namespace, name) = (backend.service.namespace(), backend.service.name());
        if !grants.allow(&object.key, "Service", namespace, name) {
            let message = format!("the route may not use the Service {namespace}/{name}; {outcome}");
            let hint = Grants::hint(&object.key, "Service", namespace);
            problems.push(problem_in(object, wanted.at, message, hint).because(Cause::NotPermitted));
            return None;
        }
        if !services.contains(&backend.service) {
            let names: Vec<&str> = services.names_in(backend.service.namespace()).collect();
            let message = format!("there is no Service {}; {outcome}", backend.service);
            let hint = nearest::hint(backend.service.name(), "services of the namespace", names);
            problems.push(problem_in(object, wanted.at, message, hint).because(Cause::NoSuchObject));
            return None;
        }
        if let (Some(port), Some(served)) = (&backend.port, services.port(&backend.service))
            && port.value != served
        {
            let message = format!("not supported yet: port {} of {}; {outcome}", port.value, backend.service);
            let hint = format!("Tidegate serves the first port of a Service; write {served}");
            problems.push(problem_in(object, port.at, message, hint).because(Cause::NoSuchObject));
            return None;
        }
        Some(backend.service.clone())
    }

    pub(super) fn backend(
        &self,
        object: &Object,
        spec: &BackendSpec,
        outcome: &str,
        problems: &mut Vec<Problem>,
    ) -> Backend {
        let find = |wanted| self.find(object, wanted, outcome, problems);
        let service = spec.backend.as_ref().and_then(find);
        Backend { service, weight: spec.weight, headers: spec.headers.clone() }
    }
}

fn lower_rules(
    object: &Object,
    spec: &RouteSpec,
    backends: &Backends<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<HttpRule> {
    let mut rules = Vec::new();
    for rule in &spec.rules {
        let mut mirrors = Vec::new();
        for mirror in &rule.mirrors {
            let found = backends.find(object, &mirror.backend, "nothing is copied to it", problems);
            let (numerator, denominator) = (mirror.numerator, mirror.denominator);
            mirrors.extend(found.map(|service| Mirror { service, numerator, denominator }));
        }
        rules.push(HttpRule {
            matches: rule.matches.clone(),
            backends: (rule.backends.iter())
                .map(|it| backends.backend(object, it, ANSWERED_500, problems))
                .collect(),
            filters: if mirrors.is_empty() {
                rule.filters.clone()
            } else {
                Filters { mirrors, ..(*rule.filters).clone() }.into()
            },
            timeout: rule.timeout,
            backend_timeout: rule.backend_timeout,
            session: rule.session.clone(),
        });
    }
    rules
}

/// The set of listeners; where it is the one of the route before, that one.
pub(super) fn shared(last: &mut Arc<BTreeSet<String>>, listeners: BTreeSet<String>) -> Arc<BTreeSet<String>> {
    if **last != listeners {
        *last = Arc::new(listeners);
    }
    Arc::clone(last)
}

/// One entry for each set of host names.
fn routes_of(
    object: &Object,
    spec: &RouteSpec,
    attached: Attached,
    rules: &[HttpRule],
    last: &mut Arc<BTreeSet<String>>,
) -> Vec<HttpRoute> {
    let mut by_hostnames: BTreeMap<BTreeSet<String>, BTreeSet<String>> = BTreeMap::new();
    for (listener, hostnames) in attached {
        by_hostnames.entry(hostnames).or_default().insert(listener);
    }
    let name = format!("{}/{}", object.key.namespace, object.key.name);
    by_hostnames
        .into_iter()
        .map(|(hostnames, listeners)| HttpRoute {
            name: name.clone(),
            kind: spec.kind,
            listeners: shared(last, listeners),
            hostnames: hostnames.into_iter().collect(),
            rules: rules.to_vec(),
            origin: object.origin(object.at),
        })
        .collect()
}

/// The listeners of one parent that take the route.
pub(super) fn attach_to(
    object: &Object,
    route: (ListenerProtocol, &[String]),
    parent: &Field<ParentRef>,
    gateways: &mut Gateways,
    problems: &mut Vec<Problem>,
) -> Attached {
    let name = &parent.value.gateway;
    if gateways.foreign.contains(name) {
        return Attached::new();
    }
    if !gateways.ours.contains_key(name) {
        let known = gateways.ours.keys().filter(|known| known.namespace() == name.namespace());
        let near = nearest::nearest(name.name(), known.map(GatewayName::name));
        let hint = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None => "add the Gateway, or name one that exists (and its namespace, if it is another one)"
                .to_owned(),
        };
        let message = format!("there is no Gateway {name}");
        problems.push(warning_in(object, parent.at, message, hint).because(Cause::NoSuchObject));
        return Attached::new();
    }
    let Some(ours) = gateways.of_clients(name) else {
        let message = format!("the Gateway {name} is for other clusters and takes no routes");
        problems.push(problem_in(
            object,
            parent.at,
            message,
            "attach the route to a gateway of class tidegate-edge or tidegate-internal",
        ));
        return Attached::new();
    };
    match sections_for(object, route, &parent.value, ours) {
        Ok(attached) => attached,
        Err((message, hint)) => {
            problems.push(problem_in(object, parent.at, message, hint));
            Attached::new()
        }
    }
}

fn sections_for(
    object: &Object,
    (protocol, hostnames): (ListenerProtocol, &[String]),
    parent: &ParentRef,
    ours: &OurGateway,
) -> Result<Attached, (String, String)> {
    let named: Vec<&Section> = (ours.sections.iter())
        .filter(|section| parent.section.as_ref().is_none_or(|name| *name == section.name))
        .filter(|section| parent.port.is_none_or(|port| port == section.port))
        .collect();
    let gateway = &parent.gateway;
    if named.is_empty() {
        let names = ours.sections.iter().map(|section| section.name.as_str());
        let wanted = parent.section.as_deref().unwrap_or("");
        return Err((
            format!("the Gateway {gateway} has no such listener"),
            nearest::hint(wanted, "listeners", names),
        ));
    }
    let word = match protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Tcp => "TCP",
        ListenerProtocol::Tls => "TLS",
    };
    let named: Vec<&Section> = named.into_iter().filter(|section| section.protocol == protocol).collect();
    if named.is_empty() {
        return Err((
            format!("the Gateway {gateway} has no such listener of protocol {word}"),
            format!("a {} attaches to listeners of protocol {word} only", object.key.kind.name()),
        ));
    }
    let own = *object.key.namespace == *gateway.namespace();
    let open: Vec<&Section> = named.into_iter().filter(|section| own || section.all_namespaces).collect();
    if open.is_empty() {
        return Err((
            format!("the Gateway {gateway} takes no routes of namespace {}", object.key.namespace),
            "write `allowedRoutes: {namespaces: {from: All}}` at its listener, or move the route".to_owned(),
        ));
    }
    let mut attached = Attached::new();
    for section in open {
        let Some(hostnames) = common_hostnames(section.hostname.as_deref(), hostnames) else {
            continue;
        };
        match attached.get_mut(&section.listener) {
            Some(earlier) => merge_hostnames(earlier, hostnames),
            None => {
                attached.insert(section.listener.clone(), hostnames);
            }
        }
    }
    if attached.is_empty() {
        return Err((
            format!("none of the route's hostnames is one of the Gateway {gateway}"),
            "write hostnames that a listener serves, or change the listener's hostname".to_owned(),
        ));
    }
    Ok(attached)
}

/// The host names that a listener and a route have in common; empty means all, `None` means none.
pub(super) fn common_hostnames(listener: Option<&str>, route: &[String]) -> Option<BTreeSet<String>> {
    let Some(listener) = listener else { return Some(route.iter().cloned().collect()) };
    if route.is_empty() {
        return Some(BTreeSet::from([listener.to_owned()]));
    }
    let common: BTreeSet<String> =
        route.iter().filter_map(|name| more_specific(listener, name)).map(str::to_owned).collect();
    (!common.is_empty()).then_some(common)
}

/// The more specific of two host names, if one covers the other.
fn more_specific<'h>(a: &'h str, b: &'h str) -> Option<&'h str> {
    let covers =
        |wide: &str, narrow: &str| wide.strip_prefix('*').is_some_and(|suffix| narrow.ends_with(suffix));
    if a == b || covers(a, b) {
        Some(b)
    } else if covers(b, a) {
        Some(a)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_narrowed_to_the_hosts_of_its_listener() {
        let common = |listener, route: &[&str]| {
            let route: Vec<String> = route.iter().map(|&name| name.to_owned()).collect();
            common_hostnames(listener, &route).map(|names| names.into_iter().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(common(None, &[]).as_deref(), Some(""));
        assert_eq!(common(None, &["a.com"]).as_deref(), Some("a.com"));
        assert_eq!(common(Some("*.com"), &[]).as_deref(), Some("*.com"));
        assert_eq!(common(Some("*.com"), &["a.com", "b.org"]).as_deref(), Some("a.com"));
        assert_eq!(common(Some("b.a.com"), &["*.a.com", "*.org"]).as_deref(), Some("b.a.com"));
        assert_eq!(common(Some("a.com"), &["*.a.com"]), None);
    }
}
