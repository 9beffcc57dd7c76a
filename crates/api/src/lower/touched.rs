//! What depends on an object that changed.

use super::{services::Services, workloads::served};
use crate::{
    config::Config,
    kinds::{Kind, PolicySpec, ServiceSpec, Spec, Target},
    object::Object,
    store::{Changed, Store},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidegate_model::ServiceName;

/// What gateways and their routes are lowered from, services aside.
pub(super) const ROUTING: [Kind; 9] = [
    Kind::Gateway,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::TcpRoute,
    Kind::TlsRoute,
    Kind::ReferenceGrant,
    Kind::Secret,
    Kind::GatewayClass,
    Kind::GatewayTemplate,
];

/// What is to be lowered anew.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) clusters: bool,
    /// Which policy wins; and whether all services may have another one now.
    pub(super) policies: bool,
    pub(super) all_policies: bool,
    /// The policies and profiles themselves.
    pub(super) titles: Vec<Arc<str>>,
    pub(super) gateways: bool,
    /// Whose endpoints are spoken to by TLS.
    pub(super) backend_tls: bool,
    pub(super) shifts: bool,
    pub(super) drills: bool,
    /// Whether there are endpoints in other zones than before.
    pub(super) zones: bool,
    /// Services, and whether more than their endpoints.
    pub(super) services: BTreeMap<ServiceName, bool>,
    /// Services that came, went or have another port, by number or name.
    pub(super) identities: BTreeSet<ServiceName>,
}

impl Touched {
    /// Takes in an object that changed, and files it with its service.
    pub(super) fn by(&mut self, changed: &Changed, services: &mut Services, store: &Store) {
        let (before, after) = (changed.before.as_ref(), changed.after.as_ref());
        match changed.key.kind {
            Kind::FleetCluster => self.clusters = true,
            Kind::FailoverProfile => {
                self.policies = true;
                self.all_policies = true;
            }
            Kind::FailoverPolicy => self.by_policy(before, after, store),
            Kind::Service => self.by_service(before, after, services),
            Kind::EndpointSlice => self.by_slice(before, after, services),
            Kind::Gateway
            | Kind::HttpRoute
            | Kind::GrpcRoute
            | Kind::TcpRoute
            | Kind::TlsRoute
            | Kind::ReferenceGrant
            | Kind::GatewayClass
            | Kind::GatewayTemplate => self.gateways = true,
            Kind::Secret => {
                self.gateways = true;
                self.backend_tls = true;
            }
            Kind::BackendTlsPolicy | Kind::ConfigMap => self.backend_tls = true,
            Kind::TrafficShift => self.shifts = true,
            Kind::Drill | Kind::DrillSchedule => self.drills = true,
            Kind::Node => {
                let node = after.and_then(|node| node.spec.node());
                for name in services.set_node(&changed.key.name, node) {
                    self.services.entry(name.clone()).or_default();
                }
            }
            Kind::Namespace => {
                let exported = after.and_then(|it| it.spec.namespace()).is_some_and(|it| it.exported);
                if services.exports.set_namespace(&changed.key.name, exported) {
                    let namespace = &changed.key.name;
                    let names = services.names().filter(|name| name.namespace() == &**namespace);
                    self.services.extend(names.map(|name| (name.clone(), true)));
                }
            }
            Kind::ServiceExport => {
                if let Ok(name) = ServiceName::new(&changed.key.namespace, &changed.key.name) {
                    services.exports.set_export(&name, after.is_some());
                    self.services.insert(name, true);
                }
            }
            Kind::ServiceImport => self.by_service(before, after, services),
            Kind::Deployment | Kind::StatefulSet | Kind::ReplicaSet => {
                let namespace = &changed.key.namespace;
                for object in [before, after].into_iter().flatten() {
                    let names = served(store, namespace, &object.spec).map(|spec| spec.name.clone());
                    self.services.extend(names.map(|name| (name, true)));
                }
            }
        }
    }

    fn by_policy(&mut self, before: Option<&Arc<Object>>, after: Option<&Arc<Object>>, store: &Store) {
        self.policies = true;
        for object in [before, after].into_iter().flatten() {
            self.titles.push(Arc::clone(object.title()));
            let namespace = &object.key.namespace;
            let targets = object.spec.policy().into_iter().flat_map(|PolicySpec { targets, .. }| targets);
            for target in targets {
                match &target.value {
                    Target::Fleet => self.all_policies = true,
                    Target::Namespace => {
                        let kinds = [Kind::Service, Kind::ServiceImport];
                        let objects = kinds.into_iter().flat_map(|kind| store.in_namespace(kind, namespace));
                        let specs = objects.filter_map(|object| object.spec.service());
                        self.services.extend(specs.map(|spec| (spec.name.clone(), true)));
                    }
                    Target::Service(name) => {
                        self.services.extend(ServiceName::new(namespace, name).map(|name| (name, true)));
                    }
                }
            }
        }
    }

    fn by_service(
        &mut self,
        before: Option<&Arc<Object>>,
        after: Option<&Arc<Object>>,
        services: &mut Services,
    ) {
        let [old, new] = [before, after].map(|object| object.and_then(|object| object.spec.service()));
        let Some(name) = old.or(new).map(|spec| spec.name.clone()) else { return };
        let port = |spec: Option<&ServiceSpec>| {
            spec.map(|spec| spec.port.as_ref().map(|port| (port.number, port.name.clone())))
        };
        if port(old) != port(new) {
            self.identities.insert(name.clone());
        }
        match before.or(after).map(|object| object.key.kind) {
            Some(Kind::ServiceImport) => services.set_import(&name, after.cloned()),
            _ => services.set_service(&name, after.cloned()),
        }
        self.services.insert(name, true);
    }

    fn by_slice(
        &mut self,
        before: Option<&Arc<Object>>,
        after: Option<&Arc<Object>>,
        services: &mut Services,
    ) {
        let of = |object: &Arc<Object>| object.spec.slice().map(|slice| slice.service.clone());
        if let Some((slice, name)) = before.and_then(|slice| Some((slice, of(slice)?))) {
            services.remove_slice(&name, slice);
            self.services.entry(name).or_default();
        }
        if let Some((slice, name)) = after.and_then(|slice| Some((slice, of(slice)?))) {
            services.set_slice(&name, Arc::clone(slice));
            self.services.entry(name).or_default();
        }
    }

    /// Whether it matters in which zones there are endpoints: the zones of other clusters are not known.
    pub(super) fn mentions_zones(&self, config: &Config) -> bool {
        config.clusters.len() == 1 && !self.services.is_empty()
    }
}

/// The services that a route names.
pub(super) fn services_of_route(spec: &Spec) -> Vec<&ServiceName> {
    match spec {
        Spec::Route(route) => {
            let backends = route.rules.iter().flat_map(|rule| &rule.backends);
            let backends = backends.filter_map(|it| it.backend.as_ref());
            let mirrors = route.rules.iter().flat_map(|rule| &rule.mirrors).map(|it| &it.backend);
            backends.chain(mirrors).map(|it| &it.value.service).collect()
        }
        Spec::Stream(route) => {
            route.backends.iter().filter_map(|it| it.backend.as_ref()).map(|it| &it.value.service).collect()
        }
        _ => Vec::new(),
    }
}
