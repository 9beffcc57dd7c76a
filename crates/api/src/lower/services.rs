//! Services with their endpoints and the policy in force: each lowered by itself, from its own objects.

use super::{
    backend_tls::BackendTls,
    exports::Exports,
    fleet::Clusters,
    policies::{Merged, Merger, Policies},
    problem_in, warning_in,
    workloads::Workloads,
};
use crate::{
    config::{Endpoint, Protocol, Service},
    kinds::{Kind, NodeSpec, ServiceSpec, SliceSpec, Unplaced},
    nearest,
    object::Object,
    problem::Problem,
    yaml::Pos,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem::replace,
    net::SocketAddr,
    sync::Arc,
};
use tidegate_model::{ClusterName, ServiceName, Zone};

/// What services are made of, and what was found in making them.
#[derive(Debug, Default)]
pub(super) struct Services {
    known: BTreeMap<ServiceName, Known>,
    /// Those that have slices, but are not there themselves.
    orphans: BTreeSet<ServiceName>,
    /// Nodes that are not Ready.
    broken: BTreeSet<Arc<str>>,
    /// The zones of nodes that say so.
    standing: BTreeMap<Arc<str>, Zone>,
    /// The services with endpoints of which only the node is known, by it.
    waiting: BTreeMap<Arc<str>, BTreeSet<ServiceName>>,
    /// The services with endpoints on each node.
    on_node: BTreeMap<Arc<str>, BTreeSet<ServiceName>>,
    /// The zones of endpoints, and how many services have some there.
    zones: BTreeMap<Zone, usize>,
    problems: BTreeMap<ServiceName, Box<[Problem]>>,
    /// Which of them are fleet-wide.
    pub(super) exports: Exports,
}

/// The objects of a service.
#[derive(Debug, Default)]
struct Known {
    /// Its `Service`; or, where there is none, its `ServiceImport`.
    service: Option<Arc<Object>>,
    /// By name.
    slices: Vec<Arc<Object>>,
    merged: Option<Arc<Merged>>,
    /// The nodes of its endpoints of which only those are known.
    nodes: BTreeSet<Arc<str>>,
}

impl Known {
    fn spec(&self) -> Option<&ServiceSpec> {
        self.service.as_ref().and_then(|object| object.spec.service())
    }
}

/// What else a service is made of.
pub(super) struct Around<'a> {
    pub(super) policies: &'a Policies,
    pub(super) merger: &'a mut Merger,
    pub(super) own: &'a ClusterName,
    pub(super) clusters: &'a Clusters,
    pub(super) workloads: Workloads<'a>,
    /// The services that gRPC routes lead to, and those that are reached through tunnels.
    pub(super) grpc: &'a BTreeSet<ServiceName>,
    pub(super) tunnelled: &'a BTreeSet<ServiceName>,
    /// Those that are spoken to by TLS, and how.
    pub(super) tls: &'a BackendTls,
}

impl Services {
    /// Whether there is such a `Service`.
    pub(super) fn contains(&self, name: &ServiceName) -> bool {
        self.known.get(name).is_some_and(|known| known.service.is_some())
    }

    /// The port at which clients ask for it.
    pub(super) fn port(&self, name: &ServiceName) -> Option<u16> {
        Some(self.known.get(name)?.spec()?.port.as_ref()?.number)
    }

    /// The name of that port; `None` if there is none, empty if it has none.
    pub(super) fn port_name(&self, name: &ServiceName) -> Option<&str> {
        Some(&self.known.get(name)?.spec()?.port.as_ref()?.name)
    }

    /// All that there are.
    pub(super) fn names(&self) -> impl Iterator<Item = &ServiceName> {
        self.known.iter().filter(|(_, known)| known.service.is_some()).map(|(name, _)| name)
    }

    /// The names of those of a namespace.
    pub(super) fn names_in<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s str> {
        self.names().filter(move |name| name.namespace() == namespace).map(ServiceName::name)
    }

    /// The zones in which they have endpoints.
    pub(super) fn zones(&self) -> impl Iterator<Item = &Zone> {
        self.zones.keys()
    }

    /// Those that have slices and are not there, of a namespace.
    pub(super) fn orphans_in<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s ServiceName> {
        self.orphans.iter().filter(move |name| name.namespace() == namespace)
    }

    /// What is wrong with their slices.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// Takes in a `Service`, or that it is gone.
    pub(super) fn set_service(&mut self, name: &ServiceName, service: Option<Arc<Object>>) {
        let service = service.or_else(|| self.exports.import(name).cloned());
        self.known.entry(name.clone()).or_default().service = service;
    }

    /// Takes in a `ServiceImport`, or that it is gone: it stands for a `Service` where there is none.
    pub(super) fn set_import(&mut self, name: &ServiceName, import: Option<Arc<Object>>) {
        let known = &mut self.known.entry(name.clone()).or_default().service;
        if known.as_ref().is_none_or(|it| it.key.kind == Kind::ServiceImport) {
            known.clone_from(&import);
        }
        self.exports.set_import(name, import);
    }

    /// Takes in a slice of a service in the place of the one of the same name.
    pub(super) fn set_slice(&mut self, name: &ServiceName, slice: Arc<Object>) {
        let slices = &mut self.known.entry(name.clone()).or_default().slices;
        match slices.binary_search_by(|known| known.key.cmp(&slice.key)) {
            Ok(at) => slices[at] = slice,
            Err(at) => slices.insert(at, slice),
        }
    }

    /// Forgets a slice of a service.
    pub(super) fn remove_slice(&mut self, name: &ServiceName, slice: &Object) {
        if let Some(known) = self.known.get_mut(name) {
            known.slices.retain(|known| known.key != slice.key);
        }
    }

    /// Takes in a node, or that it is gone. Gives the services that it touches.
    pub(super) fn set_node(
        &mut self,
        name: &Arc<str>,
        node: Option<&NodeSpec>,
    ) -> impl Iterator<Item = &ServiceName> {
        let is_broken = node.is_some_and(|node| !node.ready);
        let mut changed = match is_broken {
            true => self.broken.insert(Arc::clone(name)),
            false => self.broken.remove(name),
        };
        let zone = node.and_then(|node| node.zone.as_ref());
        if self.standing.get(name) != zone {
            changed = true;
            match zone {
                Some(zone) => self.standing.insert(Arc::clone(name), zone.clone()),
                None => self.standing.remove(name),
            };
        }
        let known = [&self.on_node, &self.waiting].map(|services| services.get(name).filter(|_| changed));
        known.into_iter().flatten().flatten()
    }

    /// Lowers a service anew, with all that belongs to it if `whole`, else with its endpoints only. `before` is what it
    /// was lowered to last. Also gives whether anything is wrong that was not, or the other way round.
    pub(super) fn lower(
        &mut self,
        name: &ServiceName,
        whole: bool,
        before: Option<&Service>,
        around: &mut Around<'_>,
    ) -> (Option<Service>, bool) {
        let mut problems = Vec::new();
        let mut told = false;
        let reach = self.exports.reach(name);
        let lowered = self.known.get_mut(name).and_then(|known| {
            if whole || before.is_none() {
                let wanted = known.service.as_ref();
                let merged = wanted.map(|_| around.merger.policy_of(name, around.policies, around.clusters));
                let any = |it: &Option<Arc<Merged>>| it.as_ref().is_some_and(|it| !it.problems.is_empty());
                told = any(&merged) || any(&known.merged);
                known.merged = merged;
            }
            let replicas = |spec: &ServiceSpec, workloads: &mut Workloads<'_>| match before {
                Some(before) if !whole => before.replicas,
                _ => workloads.replicas(spec),
            };
            let (object, spec) = (known.service.as_ref()?, known.spec()?);
            let port = spec.port.as_ref();
            let tls = around.tls.get(name).cloned();
            if let Some(at) = port.and_then(|port| port.asks_tls).filter(|_| tls.is_none()) {
                problems.push(no_tls(object, at));
            }
            let protocol = port.map_or_else(Protocol::default, |port| port.protocol);
            Some(Service {
                endpoints: endpoints(spec, &known.slices, (&self.broken, &self.standing), &mut problems),
                replicas: replicas(spec, &mut around.workloads),
                protocol: if around.grpc.contains(name) { Protocol::Http2 } else { protocol },
                tunnelled: around.tunnelled.contains(name) || port.is_some_and(|port| port.is_stream),
                tls,
                reach,
                policy: known.merged.as_ref()?.policy_for(reach, around.own),
                origin: object.origin(object.at),
            })
        });
        self.file(name, before, lowered.as_ref());
        self.wait_for_nodes(name);
        if lowered.is_none() {
            self.adopt(name, &mut problems);
        } else {
            self.orphans.remove(name);
        }
        told |= match problems.is_empty() {
            true => self.problems.remove(name).is_some(),
            false => {
                let problems: Box<[Problem]> = problems.into();
                self.problems.insert(name.clone(), problems.clone()).is_none_or(|before| before != problems)
            }
        };
        (lowered, told)
    }

    /// A service that is not there: perhaps its slices are.
    fn adopt(&mut self, name: &ServiceName, problems: &mut Vec<Problem>) {
        let slices = self.known.get(name).map(|known| known.slices.clone()).unwrap_or_default();
        if slices.is_empty() {
            self.known.remove(name);
            self.orphans.remove(name);
            return;
        }
        self.orphans.insert(name.clone());
        let near = nearest::nearest(name.name(), self.names_in(name.namespace()));
        let hint = match near {
            Some(near) => format!("did you mean the service {near:?}?"),
            None => "add the Service, or remove the slice; its endpoints are not used".to_owned(),
        };
        let message = format!("the slice belongs to the Service {name}, which does not exist");
        problems
            .extend(slices.iter().map(|slice| warning_in(slice, slice.at, message.clone(), hint.clone())));
    }

    /// Notes on which nodes a service has endpoints of which only that is known.
    fn wait_for_nodes(&mut self, name: &ServiceName) {
        let Some(known) = self.known.get_mut(name) else { return };
        let slices = known.slices.iter().filter_map(|it| it.spec.slice());
        let nodes: BTreeSet<Arc<str>> =
            slices.flat_map(|slice| &slice.unplaced).map(|it| Arc::clone(&it.node)).collect();
        let before = replace(&mut known.nodes, nodes);
        for node in known.nodes.difference(&before) {
            self.waiting.entry(Arc::clone(node)).or_default().insert(name.clone());
        }
        for node in before.difference(&known.nodes) {
            if let Some(services) = self.waiting.get_mut(node) {
                services.remove(name);
                if services.is_empty() {
                    self.waiting.remove(node);
                }
            }
        }
    }

    /// Notes where the endpoints of a service are.
    fn file(&mut self, name: &ServiceName, before: Option<&Service>, after: Option<&Service>) {
        let (old_zones, old_nodes) = places(before);
        let (new_zones, new_nodes) = places(after);
        for zone in new_zones.difference(&old_zones) {
            *self.zones.entry((*zone).clone()).or_default() += 1;
        }
        for zone in old_zones.difference(&new_zones) {
            if let Some(count) = self.zones.get_mut(*zone) {
                *count -= 1;
                if *count == 0 {
                    self.zones.remove(*zone);
                }
            }
        }
        for node in new_nodes.difference(&old_nodes) {
            self.on_node.entry(Arc::clone(node)).or_default().insert(name.clone());
        }
        for node in old_nodes.difference(&new_nodes) {
            if let Some(services) = self.on_node.get_mut(*node) {
                services.remove(name);
                if services.is_empty() {
                    self.on_node.remove(*node);
                }
            }
        }
    }
}

fn places(service: Option<&Service>) -> (BTreeSet<&Zone>, BTreeSet<&Arc<str>>) {
    let endpoints = || service.into_iter().flat_map(|service| service.endpoints.values());
    (endpoints().map(|it| &it.zone).collect(), endpoints().filter_map(|it| it.node.as_ref()).collect())
}

/// The endpoints of all slices, each address once.
fn endpoints(
    spec: &ServiceSpec,
    slices: &[Arc<Object>],
    (broken, standing): (&BTreeSet<Arc<str>>, &BTreeMap<Arc<str>, Zone>),
    problems: &mut Vec<Problem>,
) -> BTreeMap<SocketAddr, Arc<Endpoint>> {
    let mut found: Vec<(SocketAddr, Arc<Endpoint>)> = Vec::new();
    for object in slices {
        let Some(slice) = object.spec.slice() else { continue };
        match port_of(spec, slice) {
            Some(port) => {
                let endpoints = slice.endpoints.iter();
                found.extend(endpoints.map(|(ip, it)| (SocketAddr::new(*ip, port), Arc::clone(it))));
                for endpoint in &slice.unplaced {
                    match standing.get(&endpoint.node) {
                        Some(zone) => {
                            let described = Arc::new(endpoint.in_zone(zone.clone()));
                            found.push((SocketAddr::new(endpoint.address, port), described));
                        }
                        None => problems.push(no_zone(object, endpoint)),
                    }
                }
            }
            None if slice.endpoints.is_empty() && slice.unplaced.is_empty() => {}
            None => problems.push(no_port(object, spec, slice)),
        }
    }
    // The same endpoint may be in two slices while Kubernetes moves it from one to the other: the first is taken.
    found.sort_by_key(|(address, _)| *address);
    found.dedup_by_key(|(address, _)| *address);
    let with_node = |(address, endpoint): (SocketAddr, Arc<Endpoint>)| {
        let node_ready = endpoint.node.as_ref().is_none_or(|node| !broken.contains(node));
        let same = endpoint.node_ready == node_ready;
        let with = || Arc::new(Endpoint { node_ready, ..(*endpoint).clone() });
        (address, if same { endpoint } else { with() })
    };
    // From a sorted list a map is made without room to spare.
    found.into_iter().map(with_node).collect()
}

fn no_tls(object: &Object, at: Pos) -> Problem {
    let message = "appProtocol \"https\" without a BackendTLSPolicy; the endpoints are spoken to plainly";
    let hint =
        "add a BackendTLSPolicy for the Service, which says whom to believe; http where no TLS is meant";
    warning_in(object, at, message, hint)
}

fn no_zone(object: &Object, endpoint: &Unplaced) -> Problem {
    let Unplaced { address, at, node, .. } = endpoint;
    let message = format!("the endpoint {address} has no zone, and neither has its node {node}");
    let hint = "add `zone:` to the endpoint, or the label topology.kubernetes.io/zone to the node; the endpoint is left \
                out until then";
    problem_in(object, *at, message, hint)
}

/// The port of the slice that the service's first port stands for.
fn port_of(service: &ServiceSpec, slice: &SliceSpec) -> Option<u16> {
    let name = service.port.as_ref().map_or("", |port| &*port.name);
    match (slice.ports.iter().find(|port| *port.name == *name), &*slice.ports) {
        (Some(port), _) => Some(port.number),
        (None, [only]) => Some(only.number),
        (None, _) => None,
    }
}

fn no_port(object: &Object, service: &ServiceSpec, slice: &SliceSpec) -> Problem {
    let message = if slice.ports.is_empty() {
        "the slice has no TCP port with a number, so its endpoints have no address".to_owned()
    } else {
        let name = service.port.as_ref().map_or("", |port| &*port.name);
        let names: Vec<&str> = slice.ports.iter().map(|port| &*port.name).collect();
        format!("the slice has ports named {names:?}, but the first port of {} is {name:?}", service.name)
    };
    let hint = "add `ports: [{name: NAME, port: NUMBER}]`, with the name of the Service's first port";
    problem_in(object, slice.ports_at, message, hint)
}
