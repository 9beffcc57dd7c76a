//! EDS: a plan as weighted localities and priorities. A health change or a new plan touches nothing else.

use crate::{
    access_log,
    proto::{address, uint},
    resource::{Resource, eastwest_endpoints_name, edge_endpoints_name},
    tls,
};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{HealthStatus, Locality, Metadata},
        endpoint::v3::{
            ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
            cluster_load_assignment::{Policy, policy::DropOverload},
            lb_endpoint::HostIdentifier,
        },
    },
    r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
};
use tidegate_engine::{Plan, Target};
use tidegate_model::{ClusterName, Region, ServiceName, Share, Zone};

/// The name under which Envoy counts what a plan sheds.
pub const SHED_CATEGORY: &str = "tidegate_shed";

/// Envoy takes load off a locality or priority in proportion to `factor * healthy / total` once that is
/// below 100 %. Partial loss is the agent's to judge and is in the shares already; with this factor Envoy
/// reacts when less than one in a thousand is healthy, in practice to total loss only.
const OVERPROVISIONING: u32 = 100_000;

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointHealth {
    /// It serves.
    Healthy,
    /// It is not ready, or fails its check.
    Unhealthy,
    /// It is about to go: it finishes what it has and gets nothing new.
    Terminating,
}

impl From<EndpointHealth> for HealthStatus {
    fn from(health: EndpointHealth) -> Self {
        match health {
            EndpointHealth::Healthy => Self::Healthy,
            EndpointHealth::Unhealthy => Self::Unhealthy,
            EndpointHealth::Terminating => Self::Draining,
        }
    }
}

/// The endpoints of one service in this cluster, by zone.
pub type ZoneEndpoints = BTreeMap<Zone, BTreeMap<SocketAddr, EndpointHealth>>;

/// How another cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCluster {
    /// Where it lies.
    pub region: Region,
    /// Its east-west gateways. A set, so that the order in a manifest changes no bytes.
    pub gateways: BTreeSet<SocketAddr>,
}

/// What the targets of a plan stand for.
#[derive(Clone, Copy, Debug)]
pub struct EndpointView<'a> {
    /// The endpoints of the plan's service in this cluster.
    pub zones: &'a ZoneEndpoints,
    /// The other clusters; the same for every service.
    pub clusters: &'a BTreeMap<ClusterName, RemoteCluster>,
    /// Whether other clusters are reached in another way than the endpoints of this one: by mutual TLS, or the others are by TLS.
    pub differ: bool,
    /// Targets that left the plan a moment ago and may still have requests in flight.
    pub draining: &'a BTreeSet<Target>,
}

/// A plan as an assignment: priority 0 is what serves, weighted by share, and each further priority is one
/// whole standby entry. A target or an address that comes twice stays where it comes first, as Envoy would
/// silently do; a target without an address takes no place.
///
/// What drains comes after everything else, as DRAINING: it gets nothing new, but Envoy still knows it, so it reports what
/// is in flight there and keeps sessions that hold to it. It is left out where nothing that serves is healthy: Envoy would
/// then try it like all the rest.
#[must_use]
pub fn edge_endpoints(plan: &Plan, view: &EndpointView<'_>) -> Resource {
    Resource::endpoints(&edge_assignment(plan, view))
}

pub(crate) fn edge_assignment(plan: &Plan, view: &EndpointView<'_>) -> ClusterLoadAssignment {
    let mut endpoints = Vec::new();
    if plan.shed != Share::ALL {
        let mut taken = Taken::default();
        let mut priority = 0;
        for shares in std::iter::once(&plan.shares).chain(plan.standby.iter()) {
            let before = endpoints.len();
            endpoints.extend(
                shares
                    .iter()
                    .filter_map(|(target, share)| locality(plan, view, target, *share, priority, &mut taken)),
            );
            if endpoints.len() > before {
                priority += 1;
            }
        }
        if !plan.last_resort && priority > 0 {
            endpoints.extend(view.draining.iter().filter_map(|target| {
                let (locality, hosts) = hosts(plan, view, target)?;
                // A session that keeps to an endpoint must not keep to a dead one.
                let hosts = hosts.into_iter().map(|(at, health)| match health {
                    EndpointHealth::Healthy => (at, EndpointHealth::Terminating),
                    other => (at, other),
                });
                weighted(
                    locality,
                    access_log::served(plan, target),
                    marked(taken.hosts(hosts), view, target),
                    1,
                    priority,
                )
            }));
        }
    }
    ClusterLoadAssignment {
        cluster_name: edge_endpoints_name(&plan.service, &plan.source.locality.zone),
        policy: Some(Policy { drop_overloads: drops(plan.shed), ..policy() }),
        endpoints,
        ..Default::default()
    }
}

/// All endpoints of a service in this cluster, in one priority, by health alone: what other clusters reach
/// through the east-west gateway. The weights say how many endpoints a zone has; [`crate::eastwest_cluster`]
/// does not use them.
#[must_use]
pub fn eastwest_endpoints(service: &ServiceName, region: &Region, zones: &ZoneEndpoints) -> Resource {
    let mut taken = Taken::default();
    let endpoints = zones
        .iter()
        .filter_map(|(zone, hosts)| {
            let lb_endpoints = taken.hosts(hosts.iter().map(|(at, health)| (*at, *health)));
            let weight = u32::try_from(lb_endpoints.len()).unwrap_or(u32::MAX);
            (weight > 0).then(|| LocalityLbEndpoints {
                locality: Some(place(region, zone.as_str(), "")),
                load_balancing_weight: uint(weight),
                lb_endpoints,
                ..Default::default()
            })
        })
        .collect();
    Resource::endpoints(&ClusterLoadAssignment {
        cluster_name: eastwest_endpoints_name(service),
        policy: Some(policy()),
        endpoints,
        ..Default::default()
    })
}

fn policy() -> Policy {
    Policy { overprovisioning_factor: uint(OVERPROVISIONING), ..Default::default() }
}

/// When everything is shed there is no endpoint either, and Envoy answers 503 by itself.
///
/// A changed percentage alone does not reach Envoy's workers: see [`weight`].
fn drops(shed: Share) -> Vec<DropOverload> {
    if shed.is_none() || shed == Share::ALL {
        return Vec::new();
    }
    vec![DropOverload {
        category: SHED_CATEGORY.to_owned(),
        drop_percentage: Some(FractionalPercent {
            numerator: shed.parts(),
            denominator: DenominatorType::TenThousand.into(),
        }),
    }]
}

/// A changed percentage of what is shed does not reach Envoy's workers unless a host or a weight changes with it
/// (ENVOY.md). One share changes with it always, but its target may have no address and so no weight. Weights mean
/// something only among those of a priority, so all are multiplied by a number that changes with the percentage; they sum
/// to 10^8 at most, and Envoy allows 2^32.
fn weight(share: Share, shed: Share) -> u32 {
    share.parts() * (1 + shed.parts())
}

fn locality(
    plan: &Plan,
    view: &EndpointView<'_>,
    target: &Target,
    share: Share,
    priority: u32,
    taken: &mut Taken,
) -> Option<LocalityLbEndpoints> {
    if share.is_none() {
        return None;
    }
    let (locality, hosts) = hosts(plan, view, target)?;
    let metadata = access_log::served(plan, target);
    let hosts = marked(taken.hosts(hosts.into_iter()), view, target);
    weighted(locality, metadata, hosts, weight(share, plan.shed), priority)
}

/// Hosts with the mark by which their cluster reaches them, if they need one.
fn marked(mut hosts: Vec<LbEndpoint>, view: &EndpointView<'_>, target: &Target) -> Vec<LbEndpoint> {
    if view.differ && matches!(target, Target::Cluster(_)) {
        hosts.iter_mut().for_each(|host| host.metadata = Some(tls::elsewhere()));
    }
    hosts
}

/// Where a target lies, and its addresses; `None` if nothing is known of it.
fn hosts(
    plan: &Plan,
    view: &EndpointView<'_>,
    target: &Target,
) -> Option<(Locality, Vec<(SocketAddr, EndpointHealth)>)> {
    Some(match target {
        Target::Zone(zone) => {
            let hosts = view.zones.get(zone)?.iter().map(|(at, health)| (*at, *health));
            (place(&plan.source.locality.region, zone.as_str(), ""), hosts.collect())
        }
        Target::Cluster(name) => {
            let cluster = view.clusters.get(name)?;
            // As a last resort the gateways lead to nothing better than the endpoints here. If they alone
            // were healthy they would get everything; unhealthy like the rest, Envoy panics and spreads over
            // all of them.
            let health = if plan.last_resort { EndpointHealth::Unhealthy } else { EndpointHealth::Healthy };
            let hosts = cluster.gateways.iter().map(|at| (*at, health));
            (place(&cluster.region, "", name.as_str()), hosts.collect())
        }
    })
}

fn weighted(
    locality: Locality,
    metadata: Option<Metadata>,
    lb_endpoints: Vec<LbEndpoint>,
    weight: u32,
    priority: u32,
) -> Option<LocalityLbEndpoints> {
    (!lb_endpoints.is_empty()).then(|| LocalityLbEndpoints {
        locality: Some(locality),
        metadata,
        load_balancing_weight: uint(weight),
        lb_endpoints,
        priority,
        ..Default::default()
    })
}

fn place(region: &Region, zone: &str, sub_zone: &str) -> Locality {
    Locality { region: region.to_string(), zone: zone.to_owned(), sub_zone: sub_zone.to_owned() }
}

/// The addresses that have a place already. A target that comes again finds all of its own taken.
#[derive(Default)]
struct Taken(HashSet<SocketAddr>);

impl Taken {
    fn hosts(&mut self, hosts: impl Iterator<Item = (SocketAddr, EndpointHealth)>) -> Vec<LbEndpoint> {
        hosts
            .filter(|(at, _)| self.0.insert(*at))
            .map(|(at, health)| LbEndpoint {
                health_status: HealthStatus::from(health).into(),
                host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                    address: Some(address(at)),
                    ..Default::default()
                })),
                ..Default::default()
            })
            .collect()
    }
}
