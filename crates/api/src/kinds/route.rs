//! Gateway API `HTTPRoute` and `GRPCRoute`: which requests of which hosts a service answers, and how.
//!
//! A rule that says more than Tidegate can do is left out rather than half obeyed: a match that is ignored would send
//! the wrong requests. A backend that cannot be used costs only its part, as Gateway API has it.

pub(super) mod backend;
mod filters;
mod matches;
mod session;

pub(crate) use backend::{BackendRef, BackendSpec};

pub(super) use matches::header_name;

use crate::{
    fields::{Field, Fields, Issues},
    object::Meta,
    rare::Rare,
    read,
    routing::{Filters, HttpMatch, PathMatch, RouteKind, Session},
};
use std::{collections::BTreeSet, time::Duration};
use tidegate_model::GatewayName;

/// Gateway API's limits for the rules of a route, and for the matches of a rule.
const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 64;

/// What a route says.
#[derive(Debug, PartialEq)]
pub(crate) struct RouteSpec {
    pub(crate) kind: RouteKind,
    pub(crate) parents: Vec<Field<ParentRef>>,
    pub(crate) hostnames: Box<[String]>,
    pub(crate) rules: Vec<RuleSpec>,
}

/// The gateway that a route attaches to.
#[derive(Debug, PartialEq)]
pub(crate) struct ParentRef {
    pub(crate) gateway: GatewayName,
    /// Only the listener of this name.
    pub(crate) section: Option<String>,
    /// Only the listeners on this port.
    pub(crate) port: Option<u16>,
}

/// A rule.
#[derive(Debug, PartialEq)]
pub(crate) struct RuleSpec {
    pub(crate) matches: Vec<HttpMatch>,
    pub(crate) backends: Vec<BackendSpec>,
    /// All but the mirrors, whose services are not known yet.
    pub(crate) filters: Rare<Filters>,
    pub(crate) mirrors: Vec<MirrorSpec>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) backend_timeout: Option<Duration>,
    pub(crate) session: Option<Session>,
}

/// Where copies go, and what part of the requests is copied.
#[derive(Debug, PartialEq)]
pub(crate) struct MirrorSpec {
    pub(crate) backend: Field<BackendRef>,
    pub(crate) numerator: u32,
    pub(crate) denominator: u32,
}

pub(super) fn read(
    kind: RouteKind,
    fields: &mut Fields<'_>,
    meta: &Meta,
    issues: &mut Issues,
) -> Option<RouteSpec> {
    let mut spec = fields.required_map("spec", "add `spec:` with parentRefs and rules", issues)?;
    let parents = read_parents(&mut spec, meta, issues);
    let hostnames = read_hostnames(&mut spec, issues);
    let mut rules = Vec::new();
    for rule in spec.maps_up_to(MAX_RULES, "rules", issues) {
        rules.extend(read_rule(kind, rule, meta, issues));
    }
    if spec.node("rules").is_none() {
        let hint = "add `rules: [{backendRefs: [{name: SERVICE, port: 80}]}]`";
        issues.error(spec.at, "spec.rules is missing", hint);
    }
    // Mostly there is one, and a growing list begins with room for four.
    rules.shrink_to_fit();
    spec.unsupported(&["useDefaultGateways"], issues);
    spec.finish(issues);
    Some(RouteSpec { kind, parents, hostnames, rules })
}

pub(super) fn read_parents(spec: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Vec<Field<ParentRef>> {
    let at = spec.key_at("parentRefs");
    let entries = spec.maps("parentRefs", issues);
    if entries.is_empty() {
        issues.warn(at, "the route attaches to no gateway", "add `parentRefs: [{name: GATEWAY}]`");
    }
    let mut parents: Vec<_> =
        entries.into_iter().filter_map(|entry| read_parent(entry, meta, issues)).collect();
    parents.shrink_to_fit();
    parents
}

pub(super) fn read_hostnames(spec: &mut Fields<'_>, issues: &mut Issues) -> Box<[String]> {
    let hostnames = spec.values("hostnames", issues, read::hostname).map(|field| field.value);
    let hostnames: BTreeSet<_> = hostnames.unwrap_or_default().into_iter().map(|name| name.value).collect();
    hostnames.into_iter().collect()
}

/// `None` for a parent that is no gateway (a mesh's `Service`): someone else's business.
fn read_parent(mut parent: Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<Field<ParentRef>> {
    let at = parent.at;
    let group = parent.value("group", issues, read::any_text);
    let kind = parent.value("kind", issues, read::text);
    let name = parent.required_value("name", "the name of the Gateway", issues, read::object_name);
    let namespace = parent.value("namespace", issues, read::object_name);
    let section = parent.value("sectionName", issues, read::object_name).map(|section| section.value);
    let port = parent.value("port", issues, read::port).map(|port| port.value);
    if group.is_some_and(|group| group.value != "gateway.networking.k8s.io")
        || kind.is_some_and(|kind| kind.value != "Gateway")
    {
        return None;
    }
    let namespace = namespace.map_or_else(|| meta.namespace.clone(), |namespace| namespace.value);
    let gateway = GatewayName::new(&namespace, &name?.value).ok()?;
    Some(Field { value: ParentRef { gateway, section, port }, at })
}

/// `None` when a part of the rule cannot be honoured, which was told.
fn read_rule(kind: RouteKind, mut rule: Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<RuleSpec> {
    let before = issues.list.len();
    let bad_before = std::mem::take(&mut issues.bad);
    let at = rule.at;
    rule.unsupported(&["retry"], issues);
    rule.value("name", issues, read::object_name);
    let mut matches = Vec::new();
    for entry in rule.maps_up_to(MAX_MATCHES, "matches", issues) {
        matches.extend(match kind {
            RouteKind::Http => matches::read_http(entry, issues),
            RouteKind::Grpc => matches::read_grpc(entry, issues),
        });
    }
    if matches.is_empty() {
        matches.push(HttpMatch::path(PathMatch::Prefix("/".to_owned())));
    }
    matches.shrink_to_fit();
    let (filters, mirrors) = filters::read(kind, &mut rule, &matches, meta, issues);
    let (timeout, backend_timeout) = match kind {
        RouteKind::Http => read_timeouts(&mut rule, issues),
        RouteKind::Grpc => (None, None),
    };
    let backends_at = rule.key_at("backendRefs");
    let backends = backend::read_all(&mut rule, meta, issues);
    let session = session::read(&mut rule, &backends, issues);
    if filters.redirect.is_some() && !backends.is_empty() {
        let message = "a rule that redirects has no backends";
        issues.error(backends_at, message, "remove backendRefs, or the RequestRedirect");
    }
    let told = issues.list.len() > before;
    if filters.redirect.is_none() && backends.is_empty() && (rule.node("backendRefs").is_none() || !told) {
        let hint = "add `backendRefs: [{name: SERVICE, port: 80}]`";
        issues.error(at, "the rule has no backendRefs", hint);
    }
    rule.finish(issues);
    let bad = issues.bad;
    issues.bad |= bad_before;
    (!bad).then_some(RuleSpec {
        matches,
        backends,
        filters: filters.into(),
        mirrors,
        timeout,
        backend_timeout,
        session,
    })
}

fn read_timeouts(rule: &mut Fields<'_>, issues: &mut Issues) -> (Option<Duration>, Option<Duration>) {
    let Some(mut timeouts) = rule.map("timeouts", issues) else { return (None, None) };
    let range = || read::duration(Duration::ZERO..=Duration::from_secs(24 * 3600));
    let request = timeouts.value("request", issues, range());
    let backend = timeouts.value("backendRequest", issues, range());
    if let (Some(request), Some(backend)) = (&request, &backend)
        && !request.value.is_zero()
        && backend.value > request.value
    {
        let message = "timeouts.backendRequest is longer than timeouts.request";
        issues.error(backend.at, message, "a request holds all tries at backends; make it the longer one");
    }
    timeouts.finish(issues);
    let backend = backend.map(|it| it.value).filter(|it| !it.is_zero());
    (request.map(|it| it.value), backend)
}
