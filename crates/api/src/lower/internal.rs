//! What internal gateways lead to without a route: every service, by its name in the fleet and on its own port.
//!
//! The name is that of the multi-cluster services API (KEP-1645), `NAME.NAMESPACE.svc.clusterset.local`. A listener serves
//! the services whose port is its own; a route for the same name and path comes first.

use super::{
    gateways::Gateways,
    routes::{common_hostnames, shared},
    services::Services,
};
use crate::{
    config::{GatewayRole, ListenerProtocol},
    rare::Rare,
    routing::{Backend, HttpMatch, HttpRoute, HttpRule, PathMatch, RouteKind},
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidegate_model::ServiceName;

/// The host name of a service for clients in any cluster of the fleet.
fn hostname(service: &ServiceName) -> String {
    format!("{}.{}.svc.clusterset.local", service.name(), service.namespace())
}

/// Adds them, behind the routes that were written; whether there is an internal gateway at all.
pub(super) fn attach(services: &Services, gateways: &mut Gateways) -> bool {
    let mut any = false;
    for ours in gateways.ours.values_mut().filter(|ours| ours.gateway.role == GatewayRole::Internal) {
        any = true;
        let sections = ours.sections.iter().filter(|section| section.protocol == ListenerProtocol::Http);
        let mut by_port = BTreeMap::<u16, Vec<_>>::new();
        for section in sections {
            by_port.entry(section.port).or_default().push(section);
        }
        let mut last = Arc::default();
        for service in services.names() {
            let Some(sections) = services.port(service).and_then(|port| by_port.get(&port)) else { continue };
            let hostnames: Box<[String]> = Box::new([hostname(service)]);
            let serves = |hostname: Option<&str>| common_hostnames(hostname, &hostnames).is_some();
            let listeners = sections.iter().filter(|section| serves(section.hostname.as_deref()));
            let listeners: BTreeSet<String> = listeners.map(|section| section.listener.clone()).collect();
            if !listeners.is_empty() {
                let origin = ours.gateway.origin.clone();
                let (name, kind, rules) = (service.to_string(), RouteKind::Http, vec![rule(service)]);
                ours.gateway.routes.push(Arc::new(HttpRoute {
                    name,
                    kind,
                    listeners: shared(&mut last, listeners),
                    hostnames,
                    rules,
                    origin,
                }));
            }
        }
    }
    any
}

fn rule(service: &ServiceName) -> HttpRule {
    HttpRule {
        matches: vec![HttpMatch::path(PathMatch::Prefix("/".to_owned()))],
        backends: vec![Backend { service: Some(service.clone()), weight: 1, headers: Rare::default() }],
        filters: Rare::default(),
        timeout: None,
        backend_timeout: None,
        session: None,
    }
}
