//! From decisions to what gateways are told: which resources there are, and which gateway sees them.
//!
//! Kinds of scopes: `edge/ZONE` holds each service as that zone's sources see it, `eastwest` each service's
//! local endpoints, `gateway/NAMESPACE/NAME` a gateway's own listeners and routes, `faults/ZONE/NAMESPACE/NAME` what it does to
//! requests in that zone for drills, `grpc/ZONE` what gRPC clients in that
//! zone are told of the services that speak HTTP/2. The endpoints of services whose bytes are passed on stand in
//! `tunnels/ZONE`, and without those of other clusters in `no-tunnels/ZONE`, for gateways that make no good tunnels, and with
//! them which services cannot be served. Only what changed is made anew.

mod broken;

use crate::{draining::Draining, drills::Drills, pacing::Pacing, unserved::Unserved};
use broken::Broken;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_api::{Config, GatewayRole, ListenerProtocol, Protocol, Reach, Upstream, UpstreamTls};
use tidegate_engine::{Engine, ShiftTarget, Source};
use tidegate_envoy::{
    self as envoy, EndpointHealth, EndpointView, Entrance, RemoteCluster, Resource, ZoneEndpoints,
};
use tidegate_model::{ClusterName, GatewayName, Phase, PoolStatus, ServiceName, Time, Zone};
use tidegate_xds::{Change, ResourceType, Scope};

/// What was made, so that what is no longer wanted can be removed and what is unchanged be left alone.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    /// What a service's clusters were made from. Nothing else changes a cluster: it would wipe ejections.
    clusters: BTreeMap<ServiceName, Arc<Made>>,
    /// What was made last: mostly the next one is made from the same.
    made: Option<Arc<Made>>,
    /// Services whose clusters are to change, and the one whose turn it is.
    pacing: Pacing,
    turn: Option<ServiceName>,
    /// How the other clusters are reached: the same for every service, so made once for all manifests.
    remotes: BTreeMap<ClusterName, RemoteCluster>,
    /// Whether clusters reach each other by mutual TLS.
    secure: bool,
    /// How far the farthest of them is.
    farthest: Option<Duration>,
    /// Zones in which gateways or gRPC clients were seen: what they see is made for these alone. Plans are made for all
    /// zones with endpoints; as Envoy's resources, with ten thousand services, each zone would be 15 MB that nobody reads.
    looked: BTreeSet<Zone>,
    /// Whether the manifests have an east-west gateway.
    has_eastwest: bool,
    /// The gateways of the manifests that clients enter by.
    entrances: BTreeSet<GatewayName>,
    entrances_changed: bool,
    /// Which services cannot be served by whom.
    unserved: Unserved,
    /// What drills break.
    broken: Broken,
    gateways: BTreeMap<GatewayName, BTreeSet<(ResourceType, String)>>,
}

/// What the clusters of a service were made from.
#[derive(Debug, PartialEq)]
struct Made {
    /// Those from which somebody looks.
    zones: BTreeSet<Zone>,
    /// Whether there is one for east-west gateways.
    eastwest: bool,
    upstream: Upstream,
}

impl Made {
    /// Where its clusters are.
    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.zones.iter().map(edge).chain(self.eastwest.then(eastwest))
    }

    /// Whether gRPC clients may ask for it: they speak HTTP/2, and so must it.
    fn serves_grpc(&self) -> bool {
        self.upstream.protocol == Protocol::Http2
    }
}

/// A service that gRPC clients in a zone may not ask for any more.
fn without_grpc(name: &ServiceName, zone: &Zone) -> [Change; 3] {
    [
        (ResourceType::Listener, envoy::grpc_listener_name(name)),
        (ResourceType::Cluster, name.to_string()),
        (ResourceType::Endpoint, envoy::edge_endpoints_name(name, zone)),
    ]
    .map(|(kind, name)| Change::Remove { scope: grpc(zone), kind, name })
}

fn edge(zone: &Zone) -> Scope {
    Scope::new(format!("edge/{zone}"))
}

fn eastwest() -> Scope {
    Scope::new("eastwest")
}

/// What gRPC clients in a zone see.
pub(crate) fn grpc(zone: &Zone) -> Scope {
    Scope::new(format!("grpc/{zone}"))
}

fn own(gateway: &GatewayName) -> Scope {
    Scope::new(format!("gateway/{gateway}"))
}

/// What a gateway that clients enter by does to their requests in a zone, for drills.
fn faults(zone: &Zone, gateway: &GatewayName) -> Scope {
    Scope::new(format!("faults/{zone}/{gateway}"))
}

/// The endpoints of services that are passed on, for edges whose Envoy makes tunnels, or makes none.
fn passed_on(zone: &Zone, tunnels: bool) -> Scope {
    Scope::new(if tunnels { format!("tunnels/{zone}") } else { format!("no-tunnels/{zone}") })
}

/// The scopes that a gateway sees; `tunnels` says whether its Envoy makes them without losing anything.
pub(crate) fn scopes_of(gateway: &GatewayName, role: GatewayRole, zone: &Zone, tunnels: bool) -> Vec<Scope> {
    match role {
        GatewayRole::Edge | GatewayRole::Internal => {
            vec![own(gateway), edge(zone), passed_on(zone, tunnels), faults(zone, gateway)]
        }
        GatewayRole::EastWest => vec![own(gateway), eastwest()],
    }
}

/// The endpoints of a service stand elsewhere.
fn gone(scope: Scope, name: &ServiceName, zone: &Zone) -> Change {
    Change::Remove { scope, kind: ResourceType::Endpoint, name: envoy::edge_endpoints_name(name, zone) }
}

/// Who the endpoints of a service have to be, for all whose clusters ask for it.
fn trust(name: &ServiceName, made: &Made, tls: Option<&UpstreamTls>) -> Vec<Change> {
    let Some(tls) = tls else { return Vec::new() };
    let secret = envoy::backend_trust(name, tls);
    made.scopes().map(|scope| set(scope, secret.clone())).collect()
}

/// Nobody asks for it any more, if anybody did.
fn without_trust(name: &ServiceName, made: &Made) -> Vec<Change> {
    if made.upstream.server_name.is_none() {
        return Vec::new();
    }
    let remove =
        |scope| Change::Remove { scope, kind: ResourceType::Secret, name: envoy::backend_trust_name(name) };
    made.scopes().map(remove).collect()
}

/// A service whose cluster and endpoints are not seen in a scope any more.
fn without(scope: &Scope, name: &ServiceName, endpoints: String) -> [Change; 2] {
    let remove = |kind, name| Change::Remove { scope: scope.clone(), kind, name };
    [remove(ResourceType::Cluster, name.to_string()), remove(ResourceType::Endpoint, endpoints)]
}

pub(crate) fn set(scope: Scope, resource: Resource) -> Change {
    Change::Set { scope, kind: resource.kind, name: resource.name, body: resource.body }
}

impl Scopes {
    /// The scopes that hold all they should, with plans for these sources.
    pub(crate) fn filled(&self, sources: &BTreeSet<Source>) -> BTreeSet<Scope> {
        let zones = self
            .looked_at(sources)
            .flat_map(|zone| [edge(zone), grpc(zone), passed_on(zone, true), passed_on(zone, false)]);
        let faults = self
            .looked_at(sources)
            .flat_map(|zone| self.entrances.iter().map(move |gateway| faults(zone, gateway)));
        let eastwest = self.has_eastwest.then(eastwest);
        zones.chain(self.gateways.keys().map(own)).chain(faults).chain(eastwest).collect()
    }

    fn looked_at<'a>(&'a self, sources: &'a BTreeSet<Source>) -> impl Iterator<Item = &'a Zone> {
        sources.iter().map(|source| &source.locality.zone).filter(|zone| self.looked.contains(*zone))
    }

    /// Somebody looks from this zone; whether that is new, so that all services have to be told.
    pub(crate) fn look(&mut self, zone: &Zone) -> bool {
        !self.looked.contains(zone) && self.looked.insert(zone.clone())
    }

    /// Which kinds of gateways there are; whether that asks for all services to be told.
    pub(crate) fn set_roles(&mut self, config: &Config) -> bool {
        let had = self.has_eastwest;
        let entrances = config.gateways.iter().filter(|(_, gateway)| gateway.role.takes_clients());
        let entrances = entrances.map(|(name, _)| name.clone()).collect();
        self.entrances_changed |= self.entrances != entrances;
        self.entrances = entrances;
        self.has_eastwest = config.gateways.values().any(|it| it.role == GatewayRole::EastWest);
        self.has_eastwest && !had
    }

    /// Clusters reach each other by mutual TLS, before anything is made.
    pub(crate) const fn secure(&mut self) {
        self.secure = true;
    }

    /// The clusters of the manifests, before anything is made from these.
    pub(crate) fn set_clusters(
        &mut self,
        config: &Config,
        own: &ClusterName,
        ways: &BTreeMap<ClusterName, Vec<SocketAddr>>,
    ) {
        self.remotes = remote_clusters(config, own, ways);
        self.farthest = config.farthest_from(own);
    }

    /// A service whose plans, endpoints or policy changed.
    pub(crate) fn service(
        &mut self,
        name: &ServiceName,
        config: &Config,
        engine: &Engine,
        draining: &Draining,
        now: Time,
    ) -> Vec<Change> {
        let fleet = engine.fleet();
        let real = zone_endpoints(engine, name);
        let zones = &self.broken.zones(name, fleet, &real);
        let plans = engine.plans(name).filter(|plan| self.looked.contains(&plan.source.locality.zone));
        let plans: Vec<_> = plans.collect();
        let made = Made {
            zones: plans.iter().map(|plan| plan.source.locality.zone.clone()).collect(),
            // What is not for the fleet, other clusters cannot come to.
            eastwest: self.has_eastwest
                && config.services.get(name).is_none_or(|service| service.reach == Reach::Fleet),
            upstream: Upstream {
                farthest: self.farthest,
                secure: self.secure,
                ..config.services.get(name).map(|service| service.upstream()).unwrap_or_default()
            },
        };
        let mut changes = Vec::new();
        let made = self.paced(name, made, engine, now);
        let tls = config.services.get(name).and_then(|service| service.tls.as_deref());
        let was_tunnelled = self.clusters.get(name).is_some_and(|before| tunnels(&before.upstream));
        if self.clusters.get(name).is_none_or(|before| **before != made) {
            if made.eastwest {
                changes.push(set(eastwest(), envoy::eastwest_cluster(name, &made.upstream)));
            } else if self.clusters.get(name).is_some_and(|before| before.eastwest) {
                changes.extend(without(&eastwest(), name, envoy::eastwest_endpoints_name(name)));
            }
            for zone in &made.zones {
                changes.push(set(edge(zone), envoy::edge_cluster(name, zone, &made.upstream)));
            }
            if made.serves_grpc() {
                for zone in &made.zones {
                    changes.push(set(grpc(zone), envoy::grpc_listener(name)));
                    changes.push(set(grpc(zone), envoy::grpc_cluster(name, zone)));
                }
            } else if let Some(before) = self.clusters.get(name).filter(|before| before.serves_grpc()) {
                changes.extend(before.zones.iter().flat_map(|zone| without_grpc(name, zone)));
            }
            if let Some(before) = self.clusters.get(name).filter(|_| made.upstream.server_name.is_none()) {
                changes.extend(without_trust(name, before));
            }
            let same = self.made.take().filter(|last| **last == made);
            let made = same.unwrap_or_else(|| Arc::new(made));
            self.made = Some(Arc::clone(&made));
            self.clusters.insert(name.clone(), made);
        }
        let made = self.clusters.get(name);
        if made.is_some_and(|made| made.eastwest) {
            changes.push(set(eastwest(), envoy::eastwest_endpoints(name, &fleet.region, zones)));
        }
        let tunnelled = made.is_some_and(|made| tunnels(&made.upstream));
        let serves_grpc = made.is_some_and(|made| made.serves_grpc());
        changes.extend(made.iter().flat_map(|made| trust(name, made, tls)));
        let differ = self.secure || tls.is_some();
        let remotes = &self.broken.clusters(name, &self.remotes);
        for plan in plans {
            let source = &plan.source.locality.zone;
            let draining = &draining.targets(name, source);
            let view = EndpointView { zones, clusters: remotes, differ, draining };
            let places = [edge(source), passed_on(source, true), passed_on(source, false)];
            let [direct, through, without] = places;
            let here = EndpointView { clusters: &BTreeMap::new(), ..view };
            self.unserved.note(passed_on(source, true), name, envoy::serves(plan, &view));
            let without_tunnels = if tunnelled { &here } else { &view };
            self.unserved.note(passed_on(source, false), name, envoy::serves(plan, without_tunnels));
            if tunnelled {
                changes.push(set(through, envoy::tunnelled_endpoints(plan, &view)));
                changes.push(set(without, envoy::edge_endpoints(plan, &here)));
                if !was_tunnelled {
                    changes.push(gone(direct, name, source));
                }
            } else {
                changes.push(set(direct, envoy::edge_endpoints(plan, &view)));
                if was_tunnelled {
                    changes.extend([through, without].map(|scope| gone(scope, name, source)));
                }
            }
            if serves_grpc {
                changes.push(set(grpc(source), envoy::grpc_endpoints(plan, &real)));
            }
        }
        changes
    }

    /// What the clusters of a service are made from now: a change of its limits, or of distances, waits for its time. What it speaks does not:
    /// with the wrong protocol nothing works.
    fn paced(&mut self, name: &ServiceName, wanted: Made, engine: &Engine, now: Time) -> Made {
        let waits = |made: &&Arc<Made>| {
            let (before, after) = (&made.upstream, &wanted.upstream);
            let Upstream { limits, farthest, .. } = before;
            let but_these = Upstream { limits: limits.clone(), farthest: *farthest, ..after.clone() };
            before != after && *before == but_these
        };
        let Some(made) = self.clusters.get(name).filter(waits) else {
            self.pacing.forget(name);
            return wanted;
        };
        if self.turn.as_ref() == Some(name) || self.pacing.allows(name, is_calm(engine, name, now), now) {
            return wanted;
        }
        Made { upstream: made.upstream.clone(), ..wanted }
    }

    /// The service whose clusters may change now, if one waits for that; [`Self::service`] changes them.
    pub(crate) fn take_turn(&mut self, engine: &Engine, now: Time) -> Option<ServiceName> {
        self.turn = self.pacing.due(|name| is_calm(engine, name, now), now);
        self.turn.clone()
    }

    /// When a service's turn may come next, or what cannot be served is told.
    pub(crate) fn deadline(&self) -> Option<Time> {
        [self.pacing.deadline(), self.unserved.deadline()].into_iter().flatten().min()
    }

    /// Which services cannot be served, as far as that changed; gateways in the zones of these sources wait for it, however few
    /// services there are.
    pub(crate) fn unserved(&mut self, sources: &BTreeSet<Source>, now: Time) -> Vec<Change> {
        let looked: Vec<Zone> = self.looked_at(sources).cloned().collect();
        for zone in &looked {
            [true, false].into_iter().for_each(|tunnels| self.unserved.ensure(passed_on(zone, tunnels)));
        }
        self.unserved.news(now)
    }

    /// What drills break at gateways, as far as that changed.
    pub(crate) fn faults(&mut self, sources: &BTreeSet<Source>, drills: &Drills) -> Vec<Change> {
        let gateways = self.looked_at(sources).count() * self.entrances.len();
        if !self.entrances_changed && self.broken.is_settled(gateways, drills) {
            return Vec::new();
        }
        self.entrances_changed = false;
        let gone = self.broken.forget(|gateway| self.entrances.contains(gateway));
        let removed = gone.iter().flat_map(|(zone, gateway)| {
            envoy::fault_names().map(|name| Change::Remove {
                scope: faults(zone, gateway),
                kind: ResourceType::Extension,
                name,
            })
        });
        let mut changes: Vec<Change> = removed.collect();
        let looked = sources.iter().filter(|source| self.looked.contains(&source.locality.zone));
        let at = looked.flat_map(|source| self.entrances.iter().map(move |gateway| (source, gateway)));
        let news = self.broken.news(at, drills);
        changes.extend(news.into_iter().map(|it| set(faults(&it.zone, &it.gateway), it.resource)));
        changes
    }

    /// What gateways find an address in place of; the services are to be told anew.
    pub(crate) fn set_black_holes(&mut self, holes: Vec<(ShiftTarget, SocketAddr)>) {
        self.broken.holes = holes;
    }

    /// A service that is gone.
    pub(crate) fn remove_service(&mut self, name: &ServiceName) -> Vec<Change> {
        self.pacing.forget(name);
        self.unserved.forget(name);
        let Some(made) = self.clusters.remove(name) else { return Vec::new() };
        let mut changes: Vec<Change> =
            without(&eastwest(), name, envoy::eastwest_endpoints_name(name)).into();
        for zone in &made.zones {
            changes.extend(without(&edge(zone), name, envoy::edge_endpoints_name(name, zone)));
            if tunnels(&made.upstream) {
                changes.extend([true, false].map(|tunnels| gone(passed_on(zone, tunnels), name, zone)));
            }
            if made.serves_grpc() {
                changes.extend(without_grpc(name, zone));
            }
        }
        changes.extend(without_trust(name, &made));
        changes
    }

    /// The gateways' own listeners and routes, all of them; what is gone is removed.
    pub(crate) fn gateways(&mut self, config: &Config) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut made: BTreeMap<GatewayName, BTreeSet<(ResourceType, String)>> = BTreeMap::new();
        let passed = config.services.iter().filter(|(_, service)| service.tunnelled);
        let streams: BTreeSet<ServiceName> = passed.map(|(name, _)| name.clone()).collect();
        let none = BTreeSet::new();
        // With TLS the server name says whom a connection is for, and there are no tunnels.
        let (entrance, tunnelled) = match self.secure {
            true => (Entrance::MutualTls { streams: &streams }, &none),
            false => (Entrance::Plain, &streams),
        };
        let policy_of = |service: &ServiceName| config.services.get(service).map(|service| &*service.policy);
        for (name, gateway) in &config.gateways {
            let names = made.entry(name.clone()).or_default();
            let health = match gateway.role {
                GatewayRole::Edge | GatewayRole::Internal => {
                    let services = envoy::routed_services(gateway);
                    let routes = envoy::health_routes(name, &services);
                    vec![envoy::health_cluster(name), envoy::health_listener(name), routes]
                }
                // It has no such answers. Its bootstrap has the layer that turns them off, and Envoy waits for it.
                GatewayRole::EastWest => vec![envoy::health_runtime([])],
            };
            // All listeners of a gateway have the same.
            let collectors =
                gateway.listeners.iter().filter_map(|listener| listener.options.tracing.as_ref());
            let collectors = collectors.map(|tracing| envoy::collector_cluster(&tracing.collector)).take(1);
            for resource in health.into_iter().chain(collectors) {
                let key = (resource.kind, resource.name.clone());
                // All but the routes are always the same: they are told once.
                let told = key.0 != ResourceType::Route
                    && self.gateways.get(name).is_some_and(|old| old.contains(&key));
                names.insert(key);
                changes.extend((!told).then(|| set(own(name), resource)));
            }
            let shown = gateway.listeners.iter().filter_map(|listener| listener.tls.as_ref());
            let shown: BTreeSet<&String> = shown.flat_map(|tls| tls.certificates.values()).collect();
            for certificate in shown {
                let Some(found) = config.certificates.get(certificate) else { continue };
                let secret = envoy::certificate_secret(certificate, found);
                names.insert((secret.kind, secret.name.clone()));
                changes.push(set(own(name), secret));
            }
            for listener in gateway.listeners.iter().filter(|listener| listener.is_open()) {
                let resources = match (gateway.role, listener.protocol) {
                    (GatewayRole::Edge | GatewayRole::Internal, ListenerProtocol::Http) => vec![
                        envoy::edge_listener(name, listener),
                        envoy::edge_routes(name, gateway, listener, &policy_of, self.farthest),
                    ],
                    (GatewayRole::Edge | GatewayRole::Internal, _) => {
                        vec![envoy::stream_listener(name, gateway, listener, &policy_of)]
                    }
                    (GatewayRole::EastWest, _) => vec![
                        envoy::eastwest_listener(name, listener, entrance),
                        envoy::eastwest_routes(name, listener, tunnelled),
                    ],
                };
                for resource in resources {
                    names.insert((resource.kind, resource.name.clone()));
                    changes.push(set(own(name), resource));
                }
            }
        }
        for (name, old) in &self.gateways {
            let kept = made.get(name);
            for (kind, resource) in old.iter().filter(|it| !kept.is_some_and(|kept| kept.contains(*it))) {
                changes.push(Change::Remove { scope: own(name), kind: *kind, name: resource.clone() });
            }
        }
        self.gateways = made;
        changes
    }
}

/// Whether the endpoints of other clusters are reached through tunnels.
const fn tunnels(upstream: &Upstream) -> bool {
    upstream.tunnelled && !upstream.secure
}

/// Whether a service is as it should be: no pool of this cluster is in a fault or comes back from one.
fn is_calm(engine: &Engine, name: &ServiceName, now: Time) -> bool {
    let is_well = |pool: &PoolStatus| {
        matches!(pool.phase, Phase::Serving | Phase::Empty) && pool.healthy >= pool.expected
    };
    engine.statuses_of(name, now).all(|pool| is_well(&pool))
}

fn zone_endpoints(engine: &Engine, service: &ServiceName) -> ZoneEndpoints {
    let mut zones = ZoneEndpoints::new();
    for endpoint in engine.endpoints(service) {
        let health = match (endpoint.terminating, endpoint.healthy) {
            (true, _) => EndpointHealth::Terminating,
            (false, true) => EndpointHealth::Healthy,
            (false, false) => EndpointHealth::Unhealthy,
        };
        zones.entry(endpoint.zone).or_default().insert(endpoint.address, health);
    }
    zones
}

fn remote_clusters(
    config: &Config,
    own: &ClusterName,
    ways: &BTreeMap<ClusterName, Vec<SocketAddr>>,
) -> BTreeMap<ClusterName, RemoteCluster> {
    let others = config.clusters.iter().filter(|(name, _)| *name != own);
    others
        .map(|(name, it)| {
            let gateways = ways.get(name).into_iter().flatten().copied().collect();
            (name.clone(), RemoteCluster { region: it.region.clone(), gateways })
        })
        .collect()
}
