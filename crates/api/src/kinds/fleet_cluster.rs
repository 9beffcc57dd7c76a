//! `FleetCluster`: a cluster of the fleet and how it is reached.

use super::{
    MAX_ENTRIES,
    places::{Labels, Mention, Mentions},
};
use crate::{
    config::NamedGateway,
    fields::{Field, Fields, Issues},
    object::Meta,
    read,
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tidegate_model::{ClusterName, Region};

/// The port of east-west gateways unless another is written: the one that Istio made customary.
const EAST_WEST_PORT: u16 = 15_443;

/// The last wave of a rollout: a wave bakes for a minute or more, so nobody waits for as many.
const MAX_WAVE: u32 = 99;

/// What a `FleetCluster` says.
#[derive(Debug, PartialEq)]
pub(crate) struct ClusterSpec {
    pub(crate) name: ClusterName,
    pub(crate) region: Region,
    pub(crate) east_west_gateways: Vec<SocketAddr>,
    pub(crate) named_gateways: Vec<NamedGateway>,
    pub(crate) proximity: BTreeMap<Region, Duration>,
    pub(crate) rollout_wave: u32,
    /// `metadata.labels`.
    pub(crate) labels: Labels,
    pub(crate) mentions: Mentions,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<ClusterSpec> {
    let mut spec = fields.required_map("spec", "add `spec: {region: ...}`", issues)?;
    let hint =
        "name the region that the cluster lies in, as its nodes' label topology.kubernetes.io/region does";
    let region = spec.required_value("region", hint, issues, read::name("region", Region::new));
    let (east_west_gateways, named_gateways) = read_gateways(&mut spec, issues);
    let mut mentions = Vec::new();
    let proximity = read_proximity(&mut spec, region.as_ref(), &mut mentions, issues);
    let wave = spec.value("rolloutWave", issues, read::integer(0..=MAX_WAVE));
    let rollout_wave = wave.map_or(0, |wave| wave.value);
    spec.finish(issues);
    // Object names are stricter than cluster names, so this cannot fail.
    let name = ClusterName::new(&meta.name).ok()?;
    let labels = meta.labels.clone();
    let region = region?.value;
    Some(ClusterSpec {
        name,
        region,
        east_west_gateways,
        named_gateways,
        proximity,
        rollout_wave,
        labels,
        mentions,
    })
}

fn read_gateways(spec: &mut Fields<'_>, issues: &mut Issues) -> (Vec<SocketAddr>, Vec<NamedGateway>) {
    let (mut gateways, mut named): (Vec<SocketAddr>, Vec<NamedGateway>) = (Vec::new(), Vec::new());
    for mut gateway in spec.maps_up_to(MAX_ENTRIES, "eastWestGateways", issues) {
        let hint = "the IP address or the host name at which other clusters reach this gateway";
        let address = gateway.required_value("address", hint, issues, read::host);
        let port = gateway.value("port", issues, read::port).map_or(EAST_WEST_PORT, |port| port.value);
        let at = gateway.at;
        gateway.finish(issues);
        let Some(Field { value: host, at: address_at }) = address else { continue };
        let twice = match host {
            read::Host::Ip(address) => {
                let socket = SocketAddr::new(address, port);
                if address.is_unspecified() {
                    let message = format!("{socket} is not an address that others can reach");
                    issues.error(address_at, message, hint);
                    continue;
                }
                let twice = gateways.contains(&socket).then(|| socket.to_string());
                gateways.push(socket);
                twice
            }
            read::Host::Name(host) => {
                let gateway = NamedGateway { host, port };
                let twice = named.contains(&gateway).then(|| format!("{}:{port}", gateway.host));
                named.push(gateway);
                twice
            }
        };
        if let Some(gateway) = twice {
            issues.error(at, format!("the gateway {gateway} is listed twice"), "remove one");
        }
    }
    (gateways, named)
}

fn read_proximity(
    spec: &mut Fields<'_>,
    own: Option<&Field<Region>>,
    mentions: &mut Mentions,
    issues: &mut Issues,
) -> BTreeMap<Region, Duration> {
    let mut proximity = BTreeMap::new();
    for mut entry in spec.maps("proximity", issues) {
        let hint = "name the other region";
        let region = entry.required_value("region", hint, issues, read::name("region", Region::new));
        let range = Duration::from_micros(1)..=Duration::from_secs(10);
        let hint = "the round-trip time to that region, for example 65ms";
        let rtt = entry.required_value("rtt", hint, issues, read::duration(range));
        entry.finish(issues);
        let (Some(region), Some(rtt)) = (region, rtt) else { continue };
        if own.is_some_and(|own| own.value == region.value) {
            let message = format!("{} is the cluster's own region", region.value);
            issues.error(region.at, message, "list only other regions; the own one is always nearest");
            continue;
        }
        mentions.push((region.at, Mention::Region(region.value.clone())));
        if proximity.insert(region.value.clone(), rtt.value).is_some() {
            issues.error(region.at, format!("the region {} is listed twice", region.value), "remove one");
        }
    }
    proximity
}
