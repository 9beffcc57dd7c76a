//! Who serves a rule.

use super::filters;
use crate::{
    fields::{Field, Fields, Issues},
    object::Meta,
    rare::Rare,
    read,
    routing::HeaderFilters,
};
use tidegate_model::ServiceName;

/// Gateway API's limit for the backends of a rule.
const MAX_BACKENDS: usize = 16;

/// One of the backends of a rule.
#[derive(Debug, PartialEq)]
pub(crate) struct BackendSpec {
    /// `None` where what was written cannot be used, which was told.
    pub(crate) backend: Option<Field<BackendRef>>,
    pub(crate) weight: u32,
    pub(crate) headers: Rare<HeaderFilters>,
}

/// A service and a port of it.
#[derive(Debug, PartialEq)]
pub(crate) struct BackendRef {
    pub(crate) service: ServiceName,
    pub(crate) port: Option<Field<u16>>,
}

/// The backends of a rule.
pub(in crate::kinds) fn read_all(
    rule: &mut Fields<'_>,
    meta: &Meta,
    issues: &mut Issues,
) -> Vec<BackendSpec> {
    let mut found = Vec::new();
    for mut fields in rule.maps_up_to(MAX_BACKENDS, "backendRefs", issues) {
        let weight = fields.value("weight", issues, read::integer(0..=1_000_000)).map_or(1, |it| it.value);
        let headers = filters::read_of_backend(&mut fields, issues);
        let backend = read_ref(&mut fields, "its part of the requests is answered 500", meta, issues);
        fields.finish(issues);
        found.push(BackendSpec { backend, weight, headers: headers.into() });
    }
    found.shrink_to_fit();
    found
}

/// `None` when it cannot be used, which was told, with what comes of it.
pub(super) fn read_ref(
    backend: &mut Fields<'_>,
    outcome: &str,
    meta: &Meta,
    issues: &mut Issues,
) -> Option<Field<BackendRef>> {
    let at = backend.at;
    let group = backend.value("group", issues, read::any_text);
    let kind = backend.value("kind", issues, read::text);
    let port = backend.value("port", issues, read::port);
    let name = backend.required_value("name", "the name of the Service", issues, read::object_name);
    let namespace = backend.value("namespace", issues, read::object_name);
    if group.is_some_and(|group| !group.value.is_empty()) || kind.is_some_and(|kind| kind.value != "Service")
    {
        let message = format!("not supported yet: a backend that is no Service; {outcome}");
        issues.omit(at, message, "name a core Service");
        return None;
    }
    // Whether it may be one of another namespace is for whoever knows the grants.
    let namespace = namespace.map_or_else(|| meta.namespace.clone(), |namespace| namespace.value);
    let service = ServiceName::new(&namespace, &name?.value).ok()?;
    Some(Field { value: BackendRef { service, port }, at })
}
