//! Plans, endpoints and gateways, said shortly.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};
use tidegate_api::{
    AccessLog, Backend, Gateway, GatewayRole, HttpMatch, HttpRoute, HttpRule, Listener, ListenerOptions,
    ListenerProtocol, PathMatch, ProcessOptions, Rare, RouteKind,
};
use tidegate_engine::{Origin, Plan, Shares, Source, Target};
use tidegate_envoy::{EndpointHealth, EndpointView, RemoteCluster, ZoneEndpoints};
use tidegate_model::{ClusterName, GatewayName, Locality, Region, ServiceName, Share, Zone};

pub(crate) fn service() -> ServiceName {
    "shop/web".parse().unwrap()
}

pub(crate) fn gateway() -> GatewayName {
    "infra/edge".parse().unwrap()
}

pub(crate) fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

pub(crate) fn region() -> Region {
    "eu".parse().unwrap()
}

/// `zone:a` or `cluster:east`.
fn target(text: &str) -> Target {
    match text.split_once(':').unwrap() {
        ("zone", name) => Target::Zone(zone(name)),
        ("cluster", name) => Target::Cluster(name.parse().unwrap()),
        other => panic!("no such target: {other:?}"),
    }
}

pub(crate) fn shares(shares: &[(&str, u32)]) -> Shares {
    shares.iter().map(|&(name, parts)| (target(name), Share::new(parts).unwrap())).collect()
}

/// The plan of `shop/web` in zone a of cluster west in eu. What the shares leave is shed.
pub(crate) fn plan(serving: &[(&str, u32)], standby: &[&[(&str, u32)]]) -> Plan {
    let serving = shares(serving);
    let used: u32 = serving.values().map(|share| share.parts()).sum();
    Plan {
        service: service(),
        source: Source {
            cluster: "west".parse().unwrap(),
            locality: Locality { region: region(), zone: zone("a") },
        },
        shares: serving,
        shed: Share::new(10_000 - used).unwrap(),
        standby: standby.iter().map(|entry| shares(entry)).collect(),
        last_resort: false,
        reasons: Vec::new(),
    }
}

/// What a plan's targets stand for, owned.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) zones: ZoneEndpoints,
    pub(crate) clusters: BTreeMap<ClusterName, RemoteCluster>,
    pub(crate) draining: BTreeSet<Target>,
    pub(crate) secure: bool,
}

impl World {
    pub(crate) fn view(&self) -> EndpointView<'_> {
        EndpointView {
            zones: &self.zones,
            clusters: &self.clusters,
            differ: self.secure,
            draining: &self.draining,
        }
    }

    pub(crate) fn zone(
        mut self,
        name: &str,
        hosts: impl IntoIterator<Item = (SocketAddr, EndpointHealth)>,
    ) -> Self {
        self.zones.entry(zone(name)).or_default().extend(hosts);
        self
    }

    pub(crate) fn draining(mut self, targets: &[&str]) -> Self {
        self.draining = targets.iter().map(|name| target(name)).collect();
        self
    }

    pub(crate) fn cluster(mut self, name: &str, region: &str, gateways: &[&str]) -> Self {
        let gateways = gateways.iter().map(|at| at.parse().unwrap()).collect();
        self.clusters
            .insert(name.parse().unwrap(), RemoteCluster { region: region.parse().unwrap(), gateways });
        self
    }
}

/// `count` hosts `10.0.NET.1`... with this health.
pub(crate) fn hosts(net: u8, count: u8, health: EndpointHealth) -> Vec<(SocketAddr, EndpointHealth)> {
    (1..=count).map(|host| (SocketAddr::from(([10, 0, net, host], 8080)), health)).collect()
}

/// The one listener of all gateways here.
pub(crate) fn listener() -> Listener {
    Listener {
        name: "http".to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        protocol: ListenerProtocol::Http,
        hostnames: BTreeSet::new(),
        access_log: AccessLog::None,
        tls: None,
        options: ListenerOptions::default(),
    }
}

/// An edge with these routes on its listener: name, host names, rules.
pub(crate) fn edge(routes: Vec<(&str, &[&str], Vec<HttpRule>)>) -> Gateway {
    let routes = routes.into_iter().map(|(name, hostnames, rules)| HttpRoute {
        name: name.to_owned(),
        kind: RouteKind::Http,
        listeners: Arc::new(BTreeSet::from(["http".to_owned()])),
        hostnames: hostnames.iter().map(|&name| name.to_owned()).collect(),
        rules,
        origin: Origin::Default,
    });
    let routes = routes.map(Arc::new);
    Gateway {
        role: GatewayRole::Edge,
        listeners: vec![listener()],
        routes: routes.collect(),
        streams: Vec::new(),
        process: ProcessOptions::default(),
        origin: Origin::Default,
    }
}

pub(crate) fn rule(paths: &[PathMatch], backend: &str) -> HttpRule {
    HttpRule {
        matches: paths.iter().cloned().map(HttpMatch::path).collect(),
        backends: vec![to(backend, 1)],
        filters: Rare::default(),
        timeout: None,
        backend_timeout: None,
        session: None,
    }
}

/// A backend; `none` is one that cannot be used.
pub(crate) fn to(backend: &str, weight: u32) -> Backend {
    let service = (backend != "none").then(|| backend.parse().unwrap());
    Backend { service, weight, headers: Rare::default() }
}
