//! Gateway API `Gateway`: where a gateway listens, for the classes that are Tidegate's.

use super::{MAX_ENTRIES, template::ACCESS_LOG};
mod tls;

use crate::{
    config::{AccessLog, GatewayRole, ListenerProtocol},
    fields::{Field, Fields, Issues},
    nearest,
    object::Meta,
    read,
    yaml::{Node, Value},
};
use std::net::{IpAddr, Ipv4Addr};
use tls::read_protocol;

/// The classes that are Tidegate's.
pub(super) const CLASSES: [(&str, GatewayRole); 3] = [
    ("tidegate-edge", GatewayRole::Edge),
    ("tidegate-internal", GatewayRole::Internal),
    ("tidegate-eastwest", GatewayRole::EastWest),
];

/// What the gateways of a class are for, if it is one of ours.
pub(crate) fn role_of_class(name: &str) -> Option<GatewayRole> {
    CLASSES.iter().find(|(class, _)| *class == name).map(|&(_, role)| role)
}

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
        access_log: Option<AccessLog>,
        /// From `infrastructure.parametersRef`.
        template: Option<Field<TemplateRef>>,
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

/// A `GatewayTemplate`.
#[derive(Debug, PartialEq)]
pub(crate) struct TemplateRef {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A `Secret`.
#[derive(Debug, PartialEq)]
pub(crate) struct SecretRef {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<GatewaySpec> {
    let mut spec = fields.required_map("spec", "add `spec:` with gatewayClassName and listeners", issues)?;
    let hint = "tidegate-edge, tidegate-internal or tidegate-eastwest";
    let class = spec.required_value("gatewayClassName", hint, issues, read::text)?;
    let Some(role) = role_of_class(&class.value) else {
        if class.value.starts_with("tidegate-") {
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
    let template = spec.map("infrastructure", issues).and_then(|mut infrastructure| {
        infrastructure.ignore(&["labels", "annotations"]);
        let reference = infrastructure.map("parametersRef", issues);
        infrastructure.finish(issues);
        read_template_ref(reference?, Some(&meta.namespace), issues)
    });
    spec.unsupported(&["tls", "backendTLS"], issues);
    let access_log = read_access_log(fields, issues);
    check_scope(fields, issues);
    Some(GatewaySpec::Ours { role, access_log, template, bind, listeners })
}

/// `namespace` is that of whoever names it and cannot name another one; a class lives in none.
pub(super) fn read_template_ref(
    mut fields: Fields<'_>,
    namespace: Option<&str>,
    issues: &mut Issues,
) -> Option<Field<TemplateRef>> {
    let at = fields.at;
    let hint = "write group: tidegate.dev and kind: GatewayTemplate";
    let group = fields.required_value("group", hint, issues, read::text);
    let kind = fields.required_value("kind", hint, issues, read::text);
    let name = fields.required_value("name", "the name of the GatewayTemplate", issues, read::object_name);
    let namespace = match namespace {
        Some(namespace) => Some(namespace.to_owned()),
        None => fields
            .required_value("namespace", "where the GatewayTemplate is", issues, read::object_name)
            .map(|it| it.value),
    };
    fields.finish(issues);
    if group?.value != "tidegate.dev" || kind?.value != "GatewayTemplate" {
        issues.error(at, "parameters of a gateway are a GatewayTemplate", hint);
        return None;
    }
    Some(Field { value: TemplateRef { namespace: namespace?, name: name?.value }, at })
}

const SCOPE: &str = "tidegate.dev/scope";

/// Whether an object says that it is for the whole fleet, whatever else it says.
pub(crate) fn is_for_fleet(object: &Node) -> bool {
    fn find<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
        let Value::Map(entries) = &node.value else { return None };
        entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }
    let scope = find(object, "metadata").and_then(|it| find(find(it, "annotations")?, SCOPE));
    scope.is_some_and(|scope| matches!(&scope.value, Value::Text(text) if text == "Fleet"))
}

/// Only the hub acts by it.
fn check_scope(fields: &mut Fields<'_>, issues: &mut Issues) {
    let annotations = fields.map("metadata", issues).and_then(|mut it| it.map("annotations", issues));
    annotations.and_then(|mut it| it.value(SCOPE, issues, read::word(&[("Cluster", ()), ("Fleet", ())])));
}

fn read_access_log(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<AccessLog> {
    let annotations = fields.map("metadata", issues).and_then(|mut it| it.map("annotations", issues));
    let written =
        annotations.and_then(|mut it| it.value("tidegate.dev/access-log", issues, read::word(ACCESS_LOG)));
    written.map(|it| it.value)
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
