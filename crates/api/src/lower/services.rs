//! Services with their endpoints and the policy in force.

use super::{of_kind, policies::Policies, problem_in, warning_in};
use crate::{
    config::Service,
    kinds::{ServiceSpec, SliceSpec, Spec},
    nearest,
    object::Object,
    problem::Problem,
};
use std::{collections::BTreeMap, net::SocketAddr};
use tidegate_model::ServiceName;

pub(super) fn lower(
    objects: &[&Object],
    policies: &Policies<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<ServiceName, Service> {
    let mut services = BTreeMap::new();
    let mut specs: BTreeMap<&ServiceName, &ServiceSpec> = BTreeMap::new();
    let mut policies = policies.merger();
    for (object, spec) in of_kind(objects, Spec::service) {
        let policy = policies.policy_of(&spec.name, problems);
        let service = Service { endpoints: BTreeMap::new(), policy, origin: object.origin(object.at) };
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
                    service.endpoints.entry(address).or_insert_with(|| endpoint.clone());
                }
            }
            None if slice.endpoints.is_empty() => {}
            None => problems.push(no_port(object, spec, slice)),
        }
    }
    services
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
