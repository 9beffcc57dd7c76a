//! `EndpointSlice`: the endpoints of a service in this cluster.

use crate::{
    config::Endpoint,
    fields::{Fields, Issues},
    object::Meta,
    read,
    yaml::Pos,
};
use std::{net::IpAddr, sync::Arc};
use tidegate_model::{ServiceName, Zone};

/// What an `EndpointSlice` says.
#[derive(Debug, PartialEq)]
pub(crate) struct SliceSpec {
    pub(crate) service: ServiceName,
    pub(crate) ports: Box<[SlicePort]>,
    pub(crate) ports_at: Pos,
    pub(crate) endpoints: Box<[(IpAddr, Arc<Endpoint>)]>,
    /// Endpoints of which only the node is known: they are where that is.
    pub(crate) unplaced: Box<[Unplaced]>,
}

/// An endpoint without a zone.
#[derive(Debug, PartialEq)]
pub(crate) struct Unplaced {
    pub(crate) address: IpAddr,
    pub(crate) at: Pos,
    pub(crate) node: Arc<str>,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
}

impl Unplaced {
    /// The endpoint, once its zone is known.
    pub(crate) fn in_zone(&self, zone: Zone) -> Endpoint {
        let Self { ready, terminating, .. } = *self;
        Endpoint { zone, ready, terminating, node: Some(Arc::clone(&self.node)), node_ready: true }
    }
}

/// The endpoints that were read.
#[derive(Default)]
struct Endpoints {
    placed: Vec<(IpAddr, Arc<Endpoint>)>,
    unplaced: Vec<Unplaced>,
}

/// A port of a slice.
#[derive(Debug, PartialEq)]
pub(crate) struct SlicePort {
    /// Empty for a single port without a name.
    pub(crate) name: Box<str>,
    pub(crate) number: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<SliceSpec> {
    let metadata_at = fields.key_at("metadata");
    let family = read_family(fields, issues);
    let mut ports = Vec::new();
    for mut port in fields.maps("ports", issues) {
        let name =
            port.value("name", issues, read::any_text).map(|name| name.value.into()).unwrap_or_default();
        let protocol = port.value("protocol", issues, read::text);
        let number = port.value("port", issues, read::port);
        // Ports of other protocols are legal and not ours; a port without a number means "all", which no
        // endpoint can be checked on.
        if let (true, Some(number)) = (protocol.is_none_or(|protocol| protocol.value == "TCP"), number) {
            ports.push(SlicePort { name, number: number.value });
        }
    }
    let ports_at = fields.key_at("ports");
    let mut endpoints = Endpoints::default();
    for endpoint in fields.maps("endpoints", issues) {
        read_endpoint(endpoint, family, &mut endpoints, issues);
    }
    let Some(service) = meta.service.as_deref() else {
        let hint = "add `labels: {kubernetes.io/service-name: NAME}` to its metadata";
        issues.error(metadata_at, "the slice does not say which service it belongs to", hint);
        return None;
    };
    let service = match ServiceName::new(&meta.namespace, service) {
        Ok(service) => service,
        Err(error) => {
            issues.error(
                metadata_at,
                format!("the label kubernetes.io/service-name: {error}"),
                "name a Service",
            );
            return None;
        }
    };
    let Endpoints { placed, unplaced } = endpoints;
    let ports = ports.into();
    family.map(|_| SliceSpec {
        service,
        ports,
        ports_at,
        endpoints: placed.into(),
        unplaced: unplaced.into(),
    })
}

fn read_family(fields: &mut Fields<'_>, issues: &mut Issues) -> Option<Family> {
    let hint = "add `addressType: IPv4` (or IPv6)";
    let written = fields.required_value("addressType", hint, issues, read::text)?;
    match written.value.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        "FQDN" => {
            issues.error(written.at, "not supported yet: addressType FQDN", "list IP addresses");
            None
        }
        other => {
            let message = format!("addressType must be IPv4 or IPv6, not {other:?}");
            issues.error(written.at, message, "upper and lower case matter");
            None
        }
    }
}

/// A mistake in one endpoint costs that endpoint only: to keep a whole slice as it was would keep pods
/// that are gone.
fn read_endpoint(
    mut endpoint: Fields<'_>,
    family: Option<Family>,
    into: &mut Endpoints,
    issues: &mut Issues,
) {
    let whole = issues.bad;
    let at = endpoint.at;
    let addresses =
        endpoint.values("addresses", issues, read::ip).map(|field| field.value).unwrap_or_default();
    let (mut ready, mut terminating) = (true, false);
    if let Some(mut conditions) = endpoint.map("conditions", issues) {
        ready = conditions.value("ready", issues, read::boolean).is_none_or(|field| field.value);
        terminating = conditions.value("terminating", issues, read::boolean).is_some_and(|field| field.value);
    }
    let zone = endpoint.value("zone", issues, read::name("zone", Zone::new));
    let node: Option<Arc<str>> = endpoint.value("nodeName", issues, read::text).map(|node| node.value.into());
    let zone_unreadable = zone.is_none() && endpoint.node("zone").is_some();
    issues.bad = whole;
    if zone_unreadable {
        return;
    }
    if zone.is_none() && node.is_none() {
        let hint = "add `zone:`, the value of its node's label topology.kubernetes.io/zone, or `nodeName:`; the \
                    endpoint is left out until then";
        issues.omit(at, format!("{} has no zone", name_of(&addresses)), hint);
        return;
    }
    if addresses.is_empty() {
        if endpoint.node("addresses").is_none() {
            issues.omit(at, "an endpoint without addresses", "add `addresses: [IP]`");
        }
        return;
    }
    let fits = |address: &IpAddr| {
        let its = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        family.is_none_or(|family| family == its)
    };
    let (good, strange): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|it| fits(&it.value));
    for address in strange {
        let hint = "put addresses of the other family into a slice of their own";
        issues.omit(address.at, format!("{} is not of the slice's addressType", address.value), hint);
    }
    match (zone, node) {
        (Some(zone), node) => {
            let described =
                Arc::new(Endpoint { zone: zone.value, ready, terminating, node, node_ready: true });
            into.placed.extend(good.into_iter().map(|it| (it.value, Arc::clone(&described))));
        }
        (None, Some(node)) => into.unplaced.extend(good.into_iter().map(|address| Unplaced {
            address: address.value,
            at,
            node: Arc::clone(&node),
            ready,
            terminating,
        })),
        (None, None) => {}
    }
}

fn name_of(addresses: &[crate::fields::Field<IpAddr>]) -> String {
    addresses
        .first()
        .map_or_else(|| "an endpoint".to_owned(), |first| format!("the endpoint {}", first.value))
}
