//! Gateway API `ReferenceGrant`: who in other namespaces may name what is in this one.

use crate::{
    fields::{Fields, Issues},
    read,
};

/// What it allows: any of `from` may name any of `to`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct GrantSpec {
    pub(crate) from: Vec<GrantFrom>,
    pub(crate) to: Vec<GrantTo>,
}

/// Who may.
#[derive(Debug, PartialEq)]
pub(crate) struct GrantFrom {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
}

/// What.
#[derive(Debug, PartialEq)]
pub(crate) struct GrantTo {
    pub(crate) group: String,
    pub(crate) kind: String,
    /// `None` is any.
    pub(crate) name: Option<String>,
}

/// Gateway API's limit for both lists.
const MAX_ENTRIES: usize = 16;

pub(super) fn read(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<GrantSpec> {
    let mut spec = fields.required_map("spec", "add `spec:` with from and to", issues)?;
    let mut grant = GrantSpec::default();
    let hint = "add `from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: NAMESPACE}]`";
    spec.required("from", hint, issues);
    for mut from in spec.maps_up_to(MAX_ENTRIES, "from", issues) {
        let group = from.required_value("group", "gateway.networking.k8s.io", issues, read::any_text);
        let kind = from.required_value(
            "kind",
            "Gateway, HTTPRoute, GRPCRoute, TCPRoute or TLSRoute",
            issues,
            read::text,
        );
        let namespace = from.required_value("namespace", "where it is", issues, read::object_name);
        from.finish(issues);
        let (Some(group), Some(kind), Some(namespace)) = (group, kind, namespace) else { continue };
        grant.from.push(GrantFrom { group: group.value, kind: kind.value, namespace: namespace.value });
    }
    spec.required("to", "add `to: [{group: \"\", kind: Service}]`", issues);
    for mut to in spec.maps_up_to(MAX_ENTRIES, "to", issues) {
        let group = to.required_value("group", "\"\" for a Service or a Secret", issues, read::any_text);
        let kind = to.required_value("kind", "Service or Secret", issues, read::text);
        let name = to.value("name", issues, read::object_name).map(|name| name.value);
        to.finish(issues);
        let (Some(group), Some(kind)) = (group, kind) else { continue };
        grant.to.push(GrantTo { group: group.value, kind: kind.value, name });
    }
    spec.finish(issues);
    Some(grant)
}
