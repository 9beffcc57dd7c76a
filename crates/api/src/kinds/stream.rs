//! Gateway API `TCPRoute` and `TLSRoute`: whose connections go where.

use super::route::{self, BackendSpec, ParentRef, backend};
use crate::{
    config::ListenerProtocol,
    fields::{Field, Fields, Issues},
    object::Meta,
    read,
};
/// What such a route says.
#[derive(Debug, PartialEq)]
pub(crate) struct StreamSpec {
    /// TCP or TLS.
    pub(crate) protocol: ListenerProtocol,
    pub(crate) parents: Vec<Field<ParentRef>>,
    /// Of a `TLSRoute` only.
    pub(crate) hostnames: Box<[String]>,
    pub(crate) backends: Vec<BackendSpec>,
}

pub(super) fn read(
    protocol: ListenerProtocol,
    fields: &mut Fields<'_>,
    meta: &Meta,
    issues: &mut Issues,
) -> Option<StreamSpec> {
    let mut spec = fields.required_map("spec", "add `spec:` with parentRefs and rules", issues)?;
    let parents = route::read_parents(&mut spec, meta, issues);
    let hostnames = match protocol {
        ListenerProtocol::Tls => route::read_hostnames(&mut spec, issues),
        _ => Box::default(),
    };
    let hint = "add `rules: [{backendRefs: [{name: SERVICE, port: 5432}]}]`";
    let at = spec.key_at("rules");
    let mut rules = spec.maps("rules", issues).into_iter();
    let mut backends = Vec::new();
    match rules.next() {
        None => issues.error(at, "the route has no rules", hint),
        Some(mut rule) => {
            rule.value("name", issues, read::object_name);
            backends = backend::read_all(&mut rule, meta, issues);
            if rule.node("backendRefs").is_none() {
                issues.error(rule.at, "the rule has no backendRefs", hint);
            }
            if let Some(other) = backends.iter().find(|it| it.headers != Default::default()) {
                let at = other.backend.as_ref().map_or(rule.at, |backend| backend.at);
                issues.error(at, "a connection has no headers to change", "remove the filters");
            }
            rule.finish(issues);
        }
    }
    if let Some(second) = rules.next() {
        let message = "not supported yet: more than one rule; nothing would tell which is for a connection";
        issues.error(second.at, message, "put all backendRefs into the first rule");
    }
    spec.unsupported(&["useDefaultGateways"], issues);
    spec.finish(issues);
    Some(StreamSpec { protocol, parents, hostnames, backends })
}
