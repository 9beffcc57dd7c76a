//! Gateways and their listeners.

use super::{certificates::Certificates, grants::Grants, of_kind, problem_in, templates::Templates};
use crate::{
    config::{Gateway, Listener, ListenerProtocol, ListenerTls},
    kinds::{GatewaySpec, Spec},
    object::Object,
    problem::{Cause, Problem},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};
use tidegate_model::GatewayName;

/// All gateways that the manifests know.
pub(super) struct Gateways {
    /// Ours.
    pub(super) ours: BTreeMap<GatewayName, OurGateway>,
    /// Those of other classes.
    pub(super) foreign: BTreeSet<GatewayName>,
}

/// A gateway of ours, and its listeners as they were written.
pub(super) struct OurGateway {
    pub(super) gateway: Gateway,
    pub(super) sections: Vec<Section>,
}

/// A listener as it was written; several may share one [`Listener`].
pub(super) struct Section {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) protocol: ListenerProtocol,
    /// `None` serves all.
    pub(super) hostname: Option<String>,
    pub(super) all_namespaces: bool,
    /// The name of the [`Listener`].
    pub(super) listener: String,
}

impl Gateways {
    pub(super) fn into_config(self) -> BTreeMap<GatewayName, Gateway> {
        self.ours.into_iter().map(|(name, ours)| (name, ours.gateway)).collect()
    }

    /// A gateway that has a part in routing requests of clients.
    pub(super) fn of_clients(&mut self, name: &GatewayName) -> Option<&mut OurGateway> {
        self.ours.get_mut(name).filter(|ours| ours.gateway.role.takes_clients())
    }
}

pub(super) fn lower(
    objects: &[&Arc<Object>],
    grants: &Grants<'_>,
    certificates: &mut Certificates<'_>,
    problems: &mut Vec<Problem>,
) -> Gateways {
    let templates = Templates::new(objects, problems);
    let mut gateways = Gateways { ours: BTreeMap::new(), foreign: BTreeSet::new() };
    let mut bound: BTreeMap<SocketAddr, GatewayName> = BTreeMap::new();
    for (object, spec) in of_kind(objects, Spec::gateway) {
        // Object names are stricter than gateway names, so this cannot fail.
        let Ok(name) = GatewayName::new(&object.key.namespace, &object.key.name) else { continue };
        let GatewaySpec::Ours { role, access_log, template, bind, listeners: written } = spec else {
            gateways.foreign.insert(name);
            continue;
        };
        let template = templates.of(object, *role, template.as_ref(), problems);
        let access_log = access_log.or(template.access_log).unwrap_or_default();
        let mut listeners: Vec<Listener> = Vec::new();
        let mut sections = Vec::new();
        for listener in written {
            let (at, listener) = (listener.at, &listener.value);
            let address = SocketAddr::new(*bind, listener.port);
            if let Some(other) = bound.get(&address).filter(|other| **other != name) {
                let message = format!("the gateway {other} listens on {address} already");
                problems.push(
                    problem_in(object, at, message, "choose another port or address")
                        .because(Cause::Conflict),
                );
                continue;
            }
            bound.insert(address, name.clone());
            let hostnames = listener.hostname.iter().cloned().collect();
            let same = listeners.iter_mut().find(|known| known.address == address);
            let shown = listener.tls.as_ref().and_then(|tls| tls.certificate.as_ref());
            let shown = shown.and_then(|it| certificates.find(object, &listener.name, it, grants, problems));
            let server_name = listener.hostname.clone().unwrap_or_default();
            let shown = shown.map(|shown| (server_name, shown));
            let owner = match same {
                Some(known) => {
                    merge_hostnames(&mut known.hostnames, hostnames);
                    known.tls.iter_mut().for_each(|tls| tls.certificates.extend(shown.clone()));
                    known.name.clone()
                }
                None => {
                    let (name, protocol) = (listener.name.clone(), listener.protocol);
                    let options = template.listener.clone();
                    let certificates = shown.into_iter().collect();
                    let tls = listener.tls.as_ref().map(|_| ListenerTls { certificates });
                    listeners.push(Listener { name, address, protocol, hostnames, access_log, tls, options });
                    listener.name.clone()
                }
            };
            sections.push(Section {
                name: listener.name.clone(),
                port: listener.port,
                protocol: listener.protocol,
                hostname: listener.hostname.clone(),
                all_namespaces: listener.all_namespaces,
                listener: owner,
            });
        }
        let origin = object.origin(object.at);
        let (routes, streams, process) = (Vec::new(), Vec::new(), template.process);
        let gateway = Gateway { role: *role, listeners, routes, streams, process, origin };
        gateways.ours.insert(name, OurGateway { gateway, sections });
    }
    gateways
}

/// Joins sets of host names, where the empty set means all.
pub(super) fn merge_hostnames(into: &mut BTreeSet<String>, more: BTreeSet<String>) {
    if into.is_empty() || more.is_empty() {
        into.clear();
    } else {
        into.extend(more);
    }
}
