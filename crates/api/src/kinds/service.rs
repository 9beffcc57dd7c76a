//! Core `Service`: which services there are in this cluster, and on which port they are served.

use super::labels;
use crate::{
    fields::{Fields, Issues},
    object::Meta,
    read,
};
use std::collections::BTreeMap;
use tidegate_model::ServiceName;

/// What a `Service` says.
#[derive(Debug)]
pub(crate) struct ServiceSpec {
    pub(crate) name: ServiceName,
    /// The first port, the one that is served; `None` for a service without ports.
    pub(crate) port: Option<ServicePort>,
    /// The labels that its pods have; empty where somebody else lists the endpoints.
    pub(crate) selector: BTreeMap<String, String>,
}

/// A port of a service.
#[derive(Debug)]
pub(crate) struct ServicePort {
    /// Empty for a single port without a name.
    pub(crate) name: String,
    pub(crate) number: u16,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<ServiceSpec> {
    let (mut port, mut selector) = (None, BTreeMap::new());
    if let Some(mut spec) = fields.map("spec", issues) {
        if let Some(kind) = spec.value("type", issues, read::text).filter(|kind| kind.value == "ExternalName")
        {
            let hint = "list the addresses in an EndpointSlice, or leave this service out";
            issues.error(kind.at, "not supported yet: a Service of type ExternalName", hint);
        }
        selector = labels::read(&mut spec, "selector", issues);
        let mut ports = spec.maps("ports", issues).into_iter();
        if let Some(mut first) = ports.next() {
            let protocol = first.value("protocol", issues, read::text);
            if let Some(protocol) = protocol.filter(|protocol| protocol.value != "TCP") {
                let message = format!("not supported yet: protocol {} of the first port", protocol.value);
                issues.error(
                    protocol.at,
                    message,
                    "the first port is the one that Tidegate serves; put a TCP port first",
                );
            }
            let name = first.value("name", issues, read::any_text).map(|name| name.value).unwrap_or_default();
            let number = first.required_value("port", "the port that clients use", issues, read::port)?.value;
            port = Some(ServicePort { name, number });
        }
    }
    // Object names are stricter than service names, so this cannot fail.
    let name = ServiceName::new(&meta.namespace, &meta.name).ok()?;
    Some(ServiceSpec { name, port, selector })
}
