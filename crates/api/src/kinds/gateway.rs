//! Gateway API `Gateway`: where a gateway listens, for the classes that are Tidegate's.

use super::MAX_ENTRIES;
mod tls;

use crate::{
    config::{AccessLog, GatewayRole, ListenerProtocol},
    fields::{Field, Fields, Issues},
    nearest,
    object::Meta,
    read,
};
use std::net::{IpAddr, Ipv4Addr};
use tls::read_protocol;

/// The classes that are Tidegate's.
const CLASSES: [(&str, GatewayRole); 2] =
    [("tidegate-edge", GatewayRole::Edge), ("tidegate-eastwest", GatewayRole::EastWest)];

/// What a `Gateway` says.
#[derive(Debug, PartialEq)]
pub(crate) enum GatewaySpec {
    /// Of another class: known only so that routes to it are left alone.
    Foreign,
    /// Ours.
    Ours {
        /// From its class.
        role: GatewayRole,
        /// From an annotation.
        access_log: AccessLog,
        /// Where it binds.
        bind: IpAddr,
        /// At least one.
        listeners: Vec<Field<ListenerSpec>>,
    },
}

/// A listener.
#[derive(Debug, PartialEq)]
pub(crate) struct ListenerSpec {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: ListenerProtocol,
    /// `None` serves all.
    pub(crate) hostname: Option<String>,
    /// Whether routes of other namespaces may attach.
    pub(crate) all_namespaces: bool,
    /// Of a listener that ends TLS.
    pub(crate) tls: Option<TlsSpec>,
}

/// What a listener that ends TLS shows; `None` where it cannot be told, which was.
#[derive(Debug, PartialEq)]
pub(crate) struct TlsSpec {
    pub(crate) certificate: Option<Field<SecretRef>>,
}

/// A `Secret`.
#[derive(Debug, PartialEq)]
pub(crate) struct SecretRef {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<GatewaySpec> {
    let mut spec = fields.required_map("spec", "add `spec:` with gatewayClassName and listeners", issues)?;
    let hint = "tidegate-edge or tidegate-eastwest";
    let class = spec.required_value("gatewayClassName", hint, issues, read::text)?;
    let Some(&(_, role)) = CLASSES.iter().find(|(name, _)| *name == class.value) else {
        if class.value == "tidegate-internal" {
            let message = "not supported yet: gatewayClassName tidegate-internal";
            issues.error(class.at, message, "use tidegate-edge");
        } else if class.value.starts_with("tidegate-") {
            let message = format!("there is no gateway class {:?}", class.value);
            issues.error(
                class.at,
                message,
                nearest::hint(&class.value, "classes", CLASSES.map(|(name, _)| name)),
            );
        }
        return Some(GatewaySpec::Foreign);
    };
    let bind = read_bind(&mut spec, issues);
    let hint = "add `listeners: [{name: http, port: 80, protocol: HTTP}]`";
    let listeners_at = spec.key_at("listeners");
    let present = spec.required("listeners", hint, issues).is_some();
    let entries = spec.maps_up_to(MAX_ENTRIES, "listeners", issues);
    if present && entries.is_empty() {
        issues.error(listeners_at, "spec.listeners is empty", hint);
    }
    let mut listeners: Vec<Field<ListenerSpec>> = Vec::new();
    for entry in entries {
        let Some(listener) = read_listener(entry, meta, issues) else { continue };
        let (name, port, hostname) = (&listener.value.name, listener.value.port, &listener.value.hostname);
        if let Some(other) = listeners.iter().find(|other| other.value.name == *name) {
            let message = format!("two listeners are named {name:?}; the first is at line {}", other.at.line);
            issues.error(listener.at, message, "names of listeners are unique in their gateway");
        }
        let same = |other: &ListenerSpec| other.port == port && other.hostname == *hostname;
        if let Some(other) = listeners.iter().find(|other| same(&other.value)) {
            let message =
                format!("the listener has the same port {port} and hostname as {:?}", other.value.name);
            issues.error(listener.at, message, "listeners on one port must differ in their hostname");
        }
        let spoken = |it: &ListenerSpec| (it.protocol, it.tls.is_some());
        let other = |other: &ListenerSpec| other.port == port && spoken(other) != spoken(&listener.value);
        if let Some(other) = listeners.iter().find(|it| other(&it.value)) {
            let message = format!(
                "the listener has the same port {port} and another protocol than {:?}",
                other.value.name
            );
            issues.error(listener.at, message, "listeners on one port have one protocol");
        }
        if role == GatewayRole::EastWest && spoken(&listener.value) != (ListenerProtocol::Http, false) {
            let message = "an east-west gateway speaks HTTP; connections come to it through tunnels";
            issues.error(listener.at, message, "write protocol: HTTP");
        }
        listeners.push(listener);
    }
    spec.unsupported(&["tls", "infrastructure", "backendTLS"], issues);
    Some(GatewaySpec::Ours { role, access_log: read_access_log(fields, issues), bind, listeners })
}

fn read_access_log(fields: &mut Fields<'_>, issues: &mut Issues) -> AccessLog {
    const WORDS: &[(&str, AccessLog)] =
        &[("None", AccessLog::None), ("Errors", AccessLog::Errors), ("All", AccessLog::All)];
    let annotations = fields.map("metadata", issues).and_then(|mut it| it.map("annotations", issues));
    let written =
        annotations.and_then(|mut it| it.value("tidegate.dev/access-log", issues, read::word(WORDS)));
    written.map(|it| it.value).unwrap_or_default()
}

fn read_bind(spec: &mut Fields<'_>, issues: &mut Issues) -> IpAddr {
    let mut bind = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    for (index, mut address) in spec.maps("addresses", issues).into_iter().enumerate() {
        let kind = address.value("type", issues, read::text);
        if let Some(kind) = kind.filter(|kind| kind.value != "IPAddress") {
            let message = format!("not supported yet: an address of type {:?}", kind.value);
            issues.error(kind.at, message, "write type: IPAddress and the IP address to bind");
        } else if index > 0 {
            issues.error(address.at, "not supported yet: more than one address", "remove all but the first");
        } else if let Some(value) = address.value("value", issues, read::ip) {
            bind = value.value;
        }
    }
    bind
}

fn read_listener(mut entry: Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<Field<ListenerSpec>> {
    let name = entry.required_value("name", "give the listener a name", issues, read::object_name);
    let port = entry.required_value("port", "the port to listen on", issues, read::port);
    let spoken = read_protocol(&mut entry, meta, issues);
    let hostname = entry.value("hostname", issues, read::hostname).map(|hostname| hostname.value);
    let all_namespaces = read_allowed(&mut entry, issues);
    let at = entry.at;
    let (name, port, (protocol, tls)) = (name?.value, port?.value, spoken?);
    Some(Field { value: ListenerSpec { name, port, protocol, hostname, all_namespaces, tls }, at })
}

fn read_allowed(entry: &mut Fields<'_>, issues: &mut Issues) -> bool {
    let Some(mut allowed) = entry.map("allowedRoutes", issues) else { return false };
    let Some(mut namespaces) = allowed.map("namespaces", issues) else { return false };
    let Some(from) = namespaces.value("from", issues, read::text) else { return false };
    match from.value.as_str() {
        "All" => true,
        "Same" => false,
        other => {
            let message = format!("not supported yet: allowedRoutes.namespaces.from {other:?}");
            issues.error(from.at, message, "write Same or All");
            false
        }
    }
}
