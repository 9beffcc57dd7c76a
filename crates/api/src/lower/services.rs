//! Services with their endpoints and the policy in force.

use super::{of_kind, policies::Policies, problem_in, warning_in};
use crate::{
    config::{Endpoint, Protocol, Service},
    kinds::{ServiceSpec, SliceSpec, Spec, WorkloadSpec},
    nearest,
    object::Object,
    problem::Problem,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};
use tidegate_model::ServiceName;

pub(super) fn lower(
    objects: &[&Object],
    policies: &Policies<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<ServiceName, Service> {
    let mut services = BTreeMap::new();
    let workloads: Vec<&WorkloadSpec> = of_kind(objects, Spec::workload).map(|(_, spec)| spec).collect();
    let broken: BTreeSet<&str> = of_kind(objects, Spec::node)
        .filter(|(_, node)| !node.ready)
        .map(|(_, node)| node.name.as_str())
        .collect();
    let mut specs: BTreeMap<&ServiceName, &ServiceSpec> = BTreeMap::new();
    let mut policies = policies.merger();
    for (object, spec) in of_kind(objects, Spec::service) {
        let policy = policies.policy_of(&spec.name, problems);
        let replicas = replicas(spec, &workloads);
        let origin = object.origin(object.at);
        let protocol = spec.port.as_ref().map_or_else(Protocol::default, |port| port.protocol);
        let tunnelled = spec.port.as_ref().is_some_and(|port| port.is_stream);
        let service = Service { endpoints: BTreeMap::new(), replicas, protocol, tunnelled, policy, origin };
        services.insert(spec.name.clone(), service);
        specs.insert(&spec.name, spec);
    }
    for (object, slice) in of_kind(objects, Spec::slice) {
        let (Some(service), Some(spec)) = (services.get_mut(&slice.service), specs.get(&slice.service))
        else {
            let names = specs.keys().filter(|name| name.namespace() == slice.service.namespace());
            let near = nearest::nearest(slice.service.name(), names.map(|name| name.name()));
            let hint = match near {
                Some(near) => format!("did you mean the service {near:?}?"),
                None => "add the Service, or remove the slice; its endpoints are not used".to_owned(),
            };
            let message = format!("the slice belongs to the Service {}, which does not exist", slice.service);
            problems.push(warning_in(object, object.at, message, hint));
            continue;
        };
        match port_of(spec, slice) {
            Some(port) => {
                for (address, endpoint) in &slice.endpoints {
                    let address = SocketAddr::new(*address, port);
                    // The same endpoint may be in two slices while Kubernetes moves it from one to the other.
                    let node_ready = endpoint.node.as_deref().is_none_or(|node| !broken.contains(node));
                    let endpoint = || Endpoint { node_ready, ..endpoint.clone() };
                    service.endpoints.entry(address).or_insert_with(endpoint);
                }
            }
            None if slice.endpoints.is_empty() => {}
            None => problems.push(no_port(object, spec, slice)),
        }
    }
    services
}

/// How many endpoints the workloads of a service want together; `None` if there are none, or one does not say.
fn replicas(service: &ServiceSpec, workloads: &[&WorkloadSpec]) -> Option<u32> {
    if service.selector.is_empty() {
        return None;
    }
    let selects = |workload: &WorkloadSpec| {
        let has = |(name, value)| workload.labels.get(name) == Some(value);
        workload.namespace == service.name.namespace() && service.selector.iter().all(has)
    };
    let mut selected = workloads.iter().filter(|workload| selects(workload)).peekable();
    selected.peek()?;
    selected.try_fold(0_u32, |sum, workload| Some(sum.saturating_add(workload.replicas?)))
}

/// The port of the slice that the service's first port stands for.
fn port_of(service: &ServiceSpec, slice: &SliceSpec) -> Option<u16> {
    let name = service.port.as_ref().map_or("", |port| &port.name);
    match (slice.ports.iter().find(|port| port.name == name), slice.ports.as_slice()) {
        (Some(port), _) => Some(port.number),
        (None, [only]) => Some(only.number),
        (None, _) => None,
    }
}

fn no_port(object: &Object, service: &ServiceSpec, slice: &SliceSpec) -> Problem {
    let message = if slice.ports.is_empty() {
        "the slice has no TCP port with a number, so its endpoints have no address".to_owned()
    } else {
        let name = service.port.as_ref().map_or("", |port| &port.name);
        let names: Vec<&str> = slice.ports.iter().map(|port| port.name.as_str()).collect();
        format!("the slice has ports named {names:?}, but the first port of {} is {name:?}", service.name)
    };
    let hint = "add `ports: [{name: NAME, port: NUMBER}]`, with the name of the Service's first port";
    problem_in(object, slice.ports_at, message, hint)
}
