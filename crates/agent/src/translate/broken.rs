//! What drills break, in what gateways are told.

use crate::drills::Drills;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};
use tidegate_engine::{Fleet, Location, ShiftTarget, Source};
use tidegate_envoy::{
    FAULT_SLOTS, GatewayFault, RemoteCluster, Resource, ZoneEndpoints, gateway_fault, without_fault,
};
use tidegate_model::{ClusterName, GatewayName, Locality, ServiceName, Zone};

type Clusters = BTreeMap<ClusterName, RemoteCluster>;

/// What drills break.
#[derive(Debug, Default)]
pub(super) struct Broken {
    /// In place of what gateways find which address.
    pub(super) holes: Vec<(ShiftTarget, SocketAddr)>,
    /// What each gateway was told in each zone of what it does to requests.
    told: BTreeMap<(Zone, GatewayName), [Option<GatewayFault>; FAULT_SLOTS]>,
    /// Whether any of that does something.
    is_on: bool,
}

/// What changed for a gateway in a zone.
pub(super) struct News {
    pub(super) zone: Zone,
    pub(super) gateway: GatewayName,
    pub(super) resource: Resource,
}

impl Broken {
    /// Whether so many gateways were told that nothing is broken, and nothing is: asked at every step.
    pub(super) fn is_settled(&self, gateways: usize, drills: &Drills) -> bool {
        drills.is_empty() && !self.is_on && self.told.len() == gateways
    }

    /// What these gateways, each at a source, are to be told.
    pub(super) fn news<'a>(
        &mut self,
        gateways: impl Iterator<Item = (&'a Source, &'a GatewayName)>,
        drills: &Drills,
    ) -> Vec<News> {
        let mut news = Vec::new();
        for (source, gateway) in gateways {
            let key = (source.locality.zone.clone(), gateway.clone());
            let is_new = !self.told.contains_key(&key);
            let mut wanted = [const { None }; FAULT_SLOTS];
            for (slot, fault, what) in drills.at_gateways() {
                if fault.is_at(gateway, source) {
                    wanted[slot] = Some(what);
                }
            }
            let (zone, gateway) = key.clone();
            let told = self.told.entry(key).or_default();
            for (slot, fault) in wanted.into_iter().enumerate() {
                if is_new || told[slot] != fault {
                    let resource =
                        fault.as_ref().map_or_else(|| without_fault(slot), |it| gateway_fault(slot, it));
                    news.push(News { zone: zone.clone(), gateway: gateway.clone(), resource });
                    told[slot] = fault;
                }
            }
        }
        self.is_on = self.told.values().flatten().any(Option::is_some);
        news
    }

    /// Takes back what gateways were told that are not there any more: what one of that name is told later is news.
    pub(super) fn forget(&mut self, is_there: impl Fn(&GatewayName) -> bool) -> Vec<(Zone, GatewayName)> {
        let gone = self.told.keys().filter(|(_, gateway)| !is_there(gateway)).cloned();
        let gone: Vec<_> = gone.collect();
        self.told.retain(|(_, gateway), _| is_there(gateway));
        gone
    }

    /// The endpoints of a service as gateways find them.
    pub(super) fn zones<'a>(
        &self,
        service: &ServiceName,
        fleet: &Fleet,
        real: &'a ZoneEndpoints,
    ) -> Cow<'a, ZoneEndpoints> {
        let mut zones = Cow::Borrowed(real);
        for (target, via) in self.about(service) {
            let mut next = 0;
            for (zone, endpoints) in real {
                let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
                if target.location.covers(&fleet.own, &locality) {
                    let swallowed = endpoints.values().map(|health| {
                        next += 1;
                        (after(*via, next - 1), *health)
                    });
                    zones.to_mut().insert(zone.clone(), swallowed.collect());
                }
            }
        }
        zones
    }

    /// The other clusters as gateways find them for a service.
    pub(super) fn clusters<'a>(&self, service: &ServiceName, real: &'a Clusters) -> Cow<'a, Clusters> {
        let mut clusters = Cow::Borrowed(real);
        for (target, via) in self.about(service) {
            let mut next = 0;
            for (name, cluster) in real {
                let is_meant = match &target.location {
                    Location::Cluster(it) => it == name,
                    Location::Region(it) => *it == cluster.region,
                    // Which zone of another cluster serves is chosen there.
                    Location::Zone(_) => false,
                };
                if is_meant {
                    let swallowed = cluster.gateways.iter().map(|_| {
                        next += 1;
                        after(*via, next - 1)
                    });
                    let gateways = swallowed.collect();
                    let cluster = RemoteCluster { region: cluster.region.clone(), gateways };
                    clusters.to_mut().insert(name.clone(), cluster);
                }
            }
        }
        clusters
    }

    fn about(&self, service: &ServiceName) -> impl Iterator<Item = &(ShiftTarget, SocketAddr)> {
        self.holes.iter().filter(move |(target, _)| target.service.as_ref().is_none_or(|it| it == service))
    }
}

/// The nth address after the first, within its last 8 bits: Envoy would take two that are the same for one. The network and the
/// broadcast address are left out.
fn after(first: SocketAddr, nth: u32) -> SocketAddr {
    let IpAddr::V4(ip) = first.ip() else { return first };
    let [a, b, c, d] = ip.octets();
    let last = (u32::from(d.max(1)) - 1 + nth) % 254 + 1;
    SocketAddr::new(Ipv4Addr::new(a, b, c, u8::try_from(last).unwrap_or(d)).into(), first.port())
}
