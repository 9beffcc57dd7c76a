//! Which services' endpoints are spoken to by TLS: by Gateway API's `BackendTLSPolicy`. A policy that names a port goes before one that
//! names the whole service; of several alike the oldest wins.
//!
//! Without anybody to believe nobody is believed: a service that a policy is for is never spoken to plainly.

use super::{of_kind, problem_in, services::Services};
use crate::{
    config::{Trust, UpstreamTls},
    fields::Field,
    kinds::{AuthorityRef, BackendTlsSpec, Kind, PortRef, Spec, TrustSpec},
    nearest,
    object::{Object, ObjectKey},
    problem::{Cause, Problem},
};
use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};
use tidegate_model::ServiceName;

/// What it is made from.
pub(super) const KINDS: [Kind; 3] = [Kind::BackendTlsPolicy, Kind::ConfigMap, Kind::Secret];

/// How the endpoints of services are spoken to; those that are spoken to plainly are not named.
pub(super) type BackendTls = BTreeMap<ServiceName, Arc<UpstreamTls>>;

/// `objects` are all of [`KINDS`].
pub(super) fn lower(
    objects: &[&Arc<Object>],
    services: &Services,
    problems: &mut Vec<Problem>,
) -> BackendTls {
    let mut policies: Vec<(&Arc<Object>, &BackendTlsSpec)> = of_kind(objects, Spec::backend_tls).collect();
    policies.sort_by_key(|&(object, _)| object.seniority());
    let by_key: BTreeMap<&ObjectKey, &Object> =
        objects.iter().map(|object| (&object.key, &***object)).collect();
    let mut winners: BTreeMap<(ServiceName, bool), &Arc<Object>> = BTreeMap::new();
    let mut found = BackendTls::new();
    // Ports before whole services: what has an entry already is spoken to by a policy that goes before.
    for of_port in [true, false] {
        for (object, spec) in &policies {
            let mut made = None;
            for target in spec.targets.iter().filter(|target| target.value.port.is_some() == of_port) {
                let Some(name) = target_of(object, target, services, problems) else { continue };
                match winners.entry((name.clone(), of_port)) {
                    btree_map::Entry::Occupied(winner) => {
                        problems.push(conflict(object, target, winner.get()));
                    }
                    btree_map::Entry::Vacant(place) => {
                        place.insert(object);
                        let tls =
                            made.get_or_insert_with(|| Arc::new(lower_one(object, spec, &by_key, problems)));
                        found.entry(name).or_insert_with(|| Arc::clone(tls));
                    }
                }
            }
        }
    }
    found
}

/// The service that a target stands for: of a port only if it is the one that is served.
fn target_of(
    object: &Object,
    target: &Field<PortRef>,
    services: &Services,
    problems: &mut Vec<Problem>,
) -> Option<ServiceName> {
    let namespace = &*object.key.namespace;
    let PortRef { service, port } = &target.value;
    let known = ServiceName::new(namespace, service).ok().filter(|name| services.contains(name));
    let Some(name) = known else {
        let names: Vec<&str> = services.names_in(namespace).collect();
        let hint = nearest::hint(service, "services of the namespace", names);
        let message = format!("there is no Service {namespace}/{service}");
        problems.push(problem_in(object, target.at, message, hint).because(Cause::NoSuchTarget));
        return None;
    };
    let served = services.port_name(&name).unwrap_or_default();
    let Some(port) = port.as_ref().filter(|port| **port != *served) else { return Some(name) };
    let message = format!("{port:?} is not the port of the Service {name} that is served");
    let hint = match served {
        "" => "its first port is, which has no name: remove sectionName".to_owned(),
        served => format!("its first port is: write sectionName: {served}, or leave it out"),
    };
    problems.push(problem_in(object, target.at, message, hint).because(Cause::NoSuchTarget));
    None
}

fn conflict(object: &Object, target: &Field<PortRef>, winner: &Object) -> Problem {
    let message = format!(
        "the Service {:?} already has such a policy: {} at {}:{}",
        target.value.service,
        winner.title(),
        winner.file,
        winner.at.line
    );
    let hint = "remove one target; the oldest (metadata.creationTimestamp), then the first by name wins";
    problem_in(object, target.at, message, hint).because(Cause::Conflict)
}

fn lower_one(
    object: &Object,
    spec: &BackendTlsSpec,
    by_key: &BTreeMap<&ObjectKey, &Object>,
    problems: &mut Vec<Problem>,
) -> UpstreamTls {
    let trust = match &spec.trust {
        TrustSpec::System => Trust::System,
        TrustSpec::Authorities(wanted) => {
            let mut bundle = String::new();
            for authority in wanted {
                match authorities_of(object, &authority.value, by_key) {
                    Some(text) => {
                        bundle.push_str(text.trim_end());
                        bundle.push('\n');
                    }
                    None => problems.push(no_authority(object, authority)),
                }
            }
            if bundle.is_empty() { Trust::Nobody } else { Trust::Authorities(bundle.into()) }
        }
    };
    UpstreamTls {
        server_name: spec.hostname.clone(),
        trust,
        names: spec.names.clone(),
        origin: object.origin(object.at),
    }
}

fn authorities_of<'o>(
    policy: &Object,
    wanted: &AuthorityRef,
    by_key: &BTreeMap<&ObjectKey, &'o Object>,
) -> Option<&'o str> {
    let kind = if wanted.is_secret { Kind::Secret } else { Kind::ConfigMap };
    let namespace = Arc::clone(&policy.key.namespace);
    let key = ObjectKey { kind, namespace, name: wanted.name.as_str().into() };
    let spec = &by_key.get(&key)?.spec;
    match wanted.is_secret {
        true => spec.secret()?.authorities.as_deref(),
        false => spec.config_map().map(|it| &*it.authorities),
    }
}

fn no_authority(object: &Object, wanted: &Field<AuthorityRef>) -> Problem {
    let AuthorityRef { is_secret, name } = &wanted.value;
    let namespace = &object.key.namespace;
    let (kind, hint) = match is_secret {
        true => ("Secret", "a Secret of type kubernetes.io/tls with ca.crt is read, no other"),
        false => {
            ("ConfigMap", "add it, with the certificates of the authorities as PEM under `data:`, as ca.crt")
        }
    };
    let message = format!("there is no {kind} {namespace}/{name} with ca.crt; nobody is believed for it");
    problem_in(object, wanted.at, message, hint).because(Cause::NoSuchObject)
}
