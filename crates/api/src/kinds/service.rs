//! Core `Service`: which services there are in this cluster, and on which port they are served.

use super::labels;
use crate::{
    config::Protocol,
    fields::{Field, Fields, Issues},
    object::Meta,
    read,
    yaml::Pos,
};
use std::collections::BTreeMap;
use tidegate_model::ServiceName;

/// What a `Service` says.
#[derive(Debug, PartialEq)]
pub(crate) struct ServiceSpec {
    pub(crate) name: ServiceName,
    /// The first port, the one that is served; `None` for a service without ports.
    pub(crate) port: Option<ServicePort>,
    /// The labels that its pods have; empty where somebody else lists the endpoints.
    pub(crate) selector: BTreeMap<String, String>,
}

/// A port of a service.
#[derive(Debug, PartialEq)]
pub(crate) struct ServicePort {
    /// Empty for a single port without a name.
    pub(crate) name: Box<str>,
    pub(crate) number: u16,
    /// From `appProtocol`.
    pub(crate) protocol: Protocol,
    /// Whether that is no HTTP.
    pub(crate) is_stream: bool,
    /// Where it asks for TLS, if it does.
    pub(crate) asks_tls: Option<Pos>,
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
            let name =
                first.value("name", issues, read::any_text).map(|it| it.value.into()).unwrap_or_default();
            let number = first.required_value("port", "the port that clients use", issues, read::port)?.value;
            let (protocol, is_stream) = read_protocol(&mut first, issues);
            let written = first.value("appProtocol", issues, read::any_text);
            let asks_tls = written.filter(|written| written.value == "https").map(|written| written.at);
            port = Some(ServicePort { name, number, protocol, is_stream, asks_tls });
        }
    }
    // Object names are stricter than service names, so this cannot fail.
    let name = ServiceName::new(&meta.namespace, &meta.name).ok()?;
    Some(ServiceSpec { name, port, selector })
}

/// The prefixed names are Kubernetes' own; the others are what meshes read. What is unknown is nobody's mistake.
fn read_protocol(port: &mut Fields<'_>, issues: &mut Issues) -> (Protocol, bool) {
    let Some(Field { value, at }) = port.value("appProtocol", issues, read::any_text) else {
        return (Protocol::Http1, false);
    };
    match value.as_str() {
        "kubernetes.io/h2c" | "grpc" | "http2" | "h2c" => (Protocol::Http2, false),
        "tcp" | "tls" => (Protocol::Http1, true),
        // Only a BackendTLSPolicy says whom to believe: whether there is one is looked at when the service is lowered.
        "https" => (Protocol::Http1, false),
        "kubernetes.io/wss" | "grpc-web" | "kubernetes.io/ws" => {
            let message =
                format!("not supported yet: appProtocol {value:?}; the endpoints are spoken to in HTTP/1.1");
            let hint = "without TLS: kubernetes.io/h2c or grpc for HTTP/2, http for HTTP/1.1; tcp or tls to pass bytes";
            issues.warn(at, message, hint);
            (Protocol::Http1, false)
        }
        _ => (Protocol::Http1, false),
    }
}
