//! Gateway API `HTTPRoute`: which paths of which hosts a service answers.
//!
//! A rule that says more than Tidegate can do is left out rather than half obeyed: a match on a header that is
//! ignored would send the wrong requests.

use crate::{
    config::PathMatch,
    fields::{Field, Fields, Issues, Wrong},
    object::Meta,
    read,
    yaml::{Node, Pos},
};
use std::{collections::BTreeSet, time::Duration};
use tidegate_model::{GatewayName, ServiceName};

/// What an `HTTPRoute` says.
#[derive(Debug)]
pub(crate) struct RouteSpec {
    pub(crate) parents: Vec<Field<ParentRef>>,
    pub(crate) hostnames: BTreeSet<String>,
    pub(crate) rules: Vec<RuleSpec>,
}

/// The gateway that a route attaches to.
#[derive(Debug)]
pub(crate) struct ParentRef {
    pub(crate) gateway: GatewayName,
    /// Only the listener of this name.
    pub(crate) section: Option<String>,
    /// Only the listeners on this port.
    pub(crate) port: Option<u16>,
}

/// A rule.
#[derive(Debug)]
pub(crate) struct RuleSpec {
    pub(crate) paths: Vec<PathMatch>,
    pub(crate) backend: Field<BackendRef>,
    pub(crate) timeout: Option<Duration>,
}

/// The service that serves a rule.
#[derive(Debug)]
pub(crate) struct BackendRef {
    pub(crate) service: ServiceName,
    pub(crate) port: Option<Field<u16>>,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<RouteSpec> {
    let mut spec = fields.required_map("spec", "add `spec:` with parentRefs and rules", issues)?;
    let parents_at = spec.key_at("parentRefs");
    let mut parents = Vec::new();
    let entries = spec.maps("parentRefs", issues);
    if entries.is_empty() {
        issues.warn(parents_at, "the route attaches to no gateway", "add `parentRefs: [{name: GATEWAY}]`");
    }
    for entry in entries {
        parents.extend(read_parent(entry, meta, issues));
    }
    let hostnames = spec.values("hostnames", issues, read::hostname).map(|field| field.value);
    let hostnames = hostnames.unwrap_or_default().into_iter().map(|name| name.value).collect();
    let mut rules = Vec::new();
    for rule in spec.maps("rules", issues) {
        rules.extend(read_rule(rule, meta, issues));
    }
    if spec.node("rules").is_none() {
        let hint = "add `rules: [{backendRefs: [{name: SERVICE, port: 80}]}]`";
        issues.error(spec.at, "spec.rules is missing", hint);
    }
    Some(RouteSpec { parents, hostnames, rules })
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
fn read_rule(mut rule: Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<RuleSpec> {
    let before = issues.list.len();
    let at = rule.at;
    rule.unsupported(&["filters", "retry", "sessionPersistence"], issues);
    let mut paths = Vec::new();
    for entry in rule.maps("matches", issues) {
        paths.extend(read_match(entry, issues));
    }
    if paths.is_empty() {
        paths.push(PathMatch::Prefix("/".to_owned()));
    }
    let mut timeout = None;
    if let Some(mut timeouts) = rule.map("timeouts", issues) {
        let range = Duration::ZERO..=Duration::from_secs(24 * 3600);
        timeout = timeouts.value("request", issues, read::duration(range)).map(|timeout| timeout.value);
        timeouts.unsupported(&["backendRequest"], issues);
    }
    let mut backends = rule.maps("backendRefs", issues);
    let backend = match backends.len() {
        0 if rule.node("backendRefs").is_none() || issues.list.len() == before => {
            let hint = "add `backendRefs: [{name: SERVICE, port: 80}]`";
            issues.error(at, "the rule has no backendRefs", hint);
            None
        }
        1 => read_backend(backends.remove(0), meta, issues),
        0 => None,
        _ => {
            let message = "not supported yet: several backendRefs in a rule";
            let hint = "keep one; where traffic goes is the FailoverPolicy's business";
            issues.error(rule.key_at("backendRefs"), message, hint);
            None
        }
    };
    if issues.list.len() > before {
        return None;
    }
    Some(RuleSpec { paths, backend: backend?, timeout })
}

fn read_match(mut entry: Fields<'_>, issues: &mut Issues) -> Option<PathMatch> {
    const TYPES: &[(&str, Option<bool>)] =
        &[("PathPrefix", Some(false)), ("Exact", Some(true)), ("RegularExpression", None)];

    entry.unsupported(&["headers", "queryParams", "method"], issues);
    let Some(mut path) = entry.map("path", issues) else { return Some(PathMatch::Prefix("/".to_owned())) };
    let exact = match path.value("type", issues, read::word(TYPES)) {
        None => false,
        Some(Field { value: Some(exact), .. }) => exact,
        Some(Field { value: None, at }) => {
            let hint = "use PathPrefix or Exact";
            issues.error(at, "not supported yet: a path match of type RegularExpression", hint);
            return None;
        }
    };
    let value = path.value("value", issues, route_path).map_or_else(|| "/".to_owned(), |value| value.value);
    Some(if exact { PathMatch::Exact(value) } else { PathMatch::Prefix(without_trailing_slash(value)) })
}

/// Gateway API takes the prefixes `/abc` and `/abc/` for the same.
fn without_trailing_slash(mut prefix: String) -> String {
    if prefix.len() > 1 && prefix.ends_with('/') {
        prefix.pop();
    }
    prefix
}

fn route_path(node: &Node) -> Result<String, Wrong> {
    let path = read::text(node)?;
    if path.len() > 1024 {
        return Err(Wrong::new("at most 1024 characters", "match a shorter prefix"));
    }
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'?'));
    if path.starts_with('/') && plain && !path.contains("//") {
        return Ok(path);
    }
    Err(Wrong::new("a path", "begin with `/`; no spaces, `//`, `#` or `?`"))
}

fn read_backend(mut backend: Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<Field<BackendRef>> {
    let at: Pos = backend.at;
    let group = backend.value("group", issues, read::any_text);
    let kind = backend.value("kind", issues, read::text);
    if group.is_some_and(|group| !group.value.is_empty()) || kind.is_some_and(|kind| kind.value != "Service")
    {
        issues.error(at, "not supported yet: a backend that is no Service", "name a core Service");
        return None;
    }
    backend.unsupported(&["filters"], issues);
    if let Some(weight) = backend.value("weight", issues, read::integer(0..=1_000_000))
        && weight.value == 0
    {
        let message = "not supported yet: weight 0, which answers 500";
        issues.error(weight.at, message, "remove the weight, or the rule");
    }
    let port = backend.value("port", issues, read::port);
    let name = backend.required_value("name", "the name of the Service", issues, read::object_name);
    let namespace = backend.value("namespace", issues, read::object_name);
    if let Some(namespace) = namespace.filter(|namespace| namespace.value != meta.namespace) {
        let message =
            format!("a route of namespace {} may not use a Service of {}", meta.namespace, namespace.value);
        let hint = format!(
            "move the route to namespace {} (ReferenceGrant, which would allow it, is not supported yet)",
            namespace.value
        );
        issues.error(namespace.at, message, hint);
        return None;
    }
    let service = ServiceName::new(&meta.namespace, &name?.value).ok()?;
    Some(Field { value: BackendRef { service, port }, at })
}
