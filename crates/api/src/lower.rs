//! From checked objects to the [`Config`]: what needs more than one object to be decided.
//!
//! It is kept up to date: [`Lowering::update`] takes in which objects changed, and lowers what depends on them, no more.
//! A slice touches its service, a node the services with endpoints on it, a workload those that it serves, a policy those
//! that it is for. What is small and depends on much is done as a whole: clusters, which policy wins, gateways with
//! their routes, shifts. The result is the same as if all were lowered anew.

mod backend_tls;
mod certificates;
mod drills;
mod exports;
mod fleet;
mod gateways;
mod grants;
mod internal;
mod labels;
mod layers;
mod policies;
mod profile;
mod routes;
mod services;
mod shifts;
mod streams;
mod templates;
mod touched;
mod workloads;

use crate::{
    certificate::Certificate,
    change::ConfigChange,
    config::Config,
    kinds::{Kind, Spec},
    object::Object,
    problem::{Cause, Problem, Severity},
    store::{Changed, Store},
    yaml::Pos,
};
use backend_tls::BackendTls;
use certificates::Certificates;
use grants::Grants;
use policies::{Merger, Policies};
use routes::Backends;
use services::{Around, Services};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem::replace,
    sync::Arc,
};
use tidegate_engine::Origin;
use tidegate_model::{ClusterName, ServiceName};
use touched::{Touched, services_of_route};
use workloads::Workloads;

/// Everything that was lowered, and from what.
#[derive(Debug)]
pub(crate) struct Lowering {
    own: ClusterName,
    config: Config,
    policies: Policies,
    merger: Merger,
    services: Services,
    routed: Routed,
    backend_tls: BackendTls,
    /// What is wrong with parts that are done as a whole, by part.
    problems: BTreeMap<Part, Vec<Problem>>,
    started: bool,
}

/// What routes have to do with services.
#[derive(Debug, Default)]
struct Routed {
    /// The services that they name, whether there are such or not.
    named: BTreeSet<ServiceName>,
    grpc: BTreeSet<ServiceName>,
    tunnelled: BTreeSet<ServiceName>,
    /// Whether a gateway leads to all services.
    exported: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Clusters,
    Policies,
    Targets,
    Mentions,
    Gateways,
    BackendTls,
    Shifts,
    Drills,
}

impl Lowering {
    pub(crate) fn new(own: ClusterName) -> Self {
        Self {
            own,
            config: Config::default(),
            policies: Policies::default(),
            merger: Merger::default(),
            services: Services::default(),
            routed: Routed::default(),
            backend_tls: BackendTls::new(),
            problems: BTreeMap::new(),
            started: false,
        }
    }

    /// Services are fleet-wide only where they are exported.
    pub(crate) const fn only_exported(&mut self) {
        self.services.exports.only = true;
    }

    /// One for the same cluster and by the same rules, with nothing in it.
    pub(crate) fn afresh(&self) -> Self {
        let mut fresh = Self::new(self.own.clone());
        fresh.services.exports.only = self.services.exports.only;
        fresh
    }

    /// What is in force.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// The fields of policy that somebody wrote for a service.
    pub(crate) fn written_for(&self, service: &ServiceName) -> Vec<(&'static str, Origin)> {
        self.policies.written_for(service)
    }

    /// What is wrong between objects.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let parts = self.problems.values().flatten();
        parts.chain(self.merger.problems()).chain(self.services.problems())
    }

    /// Takes in which objects of `store` changed. Gives what changed by that, and whether anything is wrong that was not,
    /// or the other way round.
    pub(crate) fn update(&mut self, store: &Store, changed: &[Changed]) -> (ConfigChange, bool) {
        let mut touched = Touched::default();
        if !replace(&mut self.started, true) {
            touched.clusters = true;
        }
        for object in changed {
            touched.by(object, &mut self.services, store);
        }
        let mut change = ConfigChange::default();
        let mut told = self.lower_clusters(store, &mut touched, &mut change);
        told |= self.lower_policies(store, &mut touched);
        told |= self.lower_gateways(store, &mut touched, &mut change);
        told |= self.lower_backend_tls(store, &mut touched);
        told |= self.lower_services(store, &mut touched, &mut change);
        told |= self.lower_shifts(store, &touched, &mut change);
        told |= self.check_drills(store, &touched);
        told |= self.check_targets(store, &touched);
        told |= self.check_mentions(store, &touched);
        self.config.apply(&change);
        (change, told)
    }

    /// Files what is wrong with a part; whether that is news.
    fn tell(&mut self, part: Part, problems: Vec<Problem>) -> bool {
        let before = self.problems.get(&part).map_or(&[][..], Vec::as_slice);
        let news = before != problems;
        self.problems.insert(part, problems);
        news
    }

    fn lower_clusters(&mut self, store: &Store, touched: &mut Touched, change: &mut ConfigChange) -> bool {
        if !touched.clusters {
            return false;
        }
        let mut problems = Vec::new();
        let objects: Vec<_> = store.of_kind(Kind::FleetCluster).collect();
        let clusters = fleet::lower(&self.own, &objects, &mut problems);
        if clusters != self.config.clusters {
            // Labels become clusters when policies are merged.
            touched.all_policies = true;
            self.config.clusters.clone_from(&clusters);
            change.clusters = Some(clusters);
        }
        self.tell(Part::Clusters, problems)
    }

    fn lower_policies(&mut self, store: &Store, touched: &mut Touched) -> bool {
        let mut told = false;
        if touched.policies {
            let mut problems = Vec::new();
            let kinds = [Kind::FailoverProfile, Kind::FailoverPolicy];
            let objects: Vec<_> = kinds.into_iter().flat_map(|kind| store.of_kind(kind)).collect();
            self.policies = Policies::new(&objects, &mut problems);
            told = self.tell(Part::Policies, problems);
        }
        if touched.all_policies {
            self.merger.forget(None);
            touched.services.extend(self.services.names().map(|name| (name.clone(), true)));
        } else if !touched.titles.is_empty() {
            let titles: BTreeSet<&str> = touched.titles.iter().map(|title| &**title).collect();
            self.merger.forget(Some(&titles));
        }
        told
    }

    fn lower_gateways(&mut self, store: &Store, touched: &mut Touched, change: &mut ConfigChange) -> bool {
        if !touched.gateways
            && !touched.identities.iter().any(|name| self.routed.is_about(name, &self.services))
        {
            return false;
        }
        let mut problems = Vec::new();
        let kinds = touched::ROUTING;
        let objects: Vec<&Arc<Object>> = kinds.into_iter().flat_map(|kind| store.of_kind(kind)).collect();
        let (grants, mut certificates) = (Grants::new(&objects), Certificates::new(&objects));
        let mut gateways = gateways::lower(&objects, &grants, &mut certificates, &mut problems);
        let backends = Backends { services: &self.services, grants: &grants };
        routes::attach(&objects, &backends, &mut gateways, &mut problems);
        streams::attach(&objects, &backends, &mut gateways, &mut problems);
        let exported = internal::attach(&self.services, &mut gateways);
        self.change_certificates(certificates.into_used(), change);
        let named = objects.iter().flat_map(|object| services_of_route(&object.spec)).cloned().collect();
        let (grpc, tunnelled) = (routes::speaking_grpc(&gateways), streams::tunnelled(&gateways));
        let before = replace(&mut self.routed, Routed { named, grpc, tunnelled, exported });
        let grpc = before.grpc.symmetric_difference(&self.routed.grpc);
        let tunnelled = before.tunnelled.symmetric_difference(&self.routed.tunnelled);
        for name in grpc.chain(tunnelled) {
            touched.services.entry(name.clone()).or_default();
        }
        let gateways = gateways.into_config();
        for name in self.config.gateways.keys().filter(|name| !gateways.contains_key(*name)) {
            change.gateways.insert(name.clone(), None);
        }
        for (name, gateway) in gateways {
            if self.config.gateways.get(&name) != Some(&gateway) {
                change.gateways.insert(name, Some(gateway));
            }
        }
        self.tell(Part::Gateways, problems)
    }

    fn lower_backend_tls(&mut self, store: &Store, touched: &mut Touched) -> bool {
        let is_named = || store.of_kind(Kind::BackendTlsPolicy).next().is_some();
        if !touched.backend_tls && (touched.identities.is_empty() || !is_named()) {
            return false;
        }
        let mut problems = Vec::new();
        let objects: Vec<_> = backend_tls::KINDS.into_iter().flat_map(|kind| store.of_kind(kind)).collect();
        let found = backend_tls::lower(&objects, &self.services, &mut problems);
        let before = replace(&mut self.backend_tls, found);
        let differs = |name: &&ServiceName| before.get(*name) != self.backend_tls.get(*name);
        for name in before.keys().chain(self.backend_tls.keys()).filter(differs) {
            touched.services.entry(name.clone()).or_default();
        }
        self.tell(Part::BackendTls, problems)
    }

    fn change_certificates(&self, used: BTreeMap<String, Arc<Certificate>>, change: &mut ConfigChange) {
        let before = &self.config.certificates;
        for name in before.keys().filter(|name| !used.contains_key(*name)) {
            change.certificates.insert(name.clone(), None);
        }
        let news = used.into_iter().filter(|(name, new)| before.get(name) != Some(new));
        change.certificates.extend(news.map(|(name, new)| (name, Some(new))));
    }

    fn lower_services(&mut self, store: &Store, touched: &mut Touched, change: &mut ConfigChange) -> bool {
        let namespaces: BTreeSet<&str> = touched.identities.iter().map(ServiceName::namespace).collect();
        for name in namespaces.into_iter().flat_map(|namespace| self.services.orphans_in(namespace)) {
            touched.services.entry(name.clone()).or_default();
        }
        let zones = touched.mentions_zones(&self.config).then(|| self.services.zones().cloned().collect());
        let mut around = Around {
            policies: &self.policies,
            merger: &mut self.merger,
            own: &self.own,
            clusters: &self.config.clusters,
            workloads: Workloads::new(store),
            grpc: &self.routed.grpc,
            tunnelled: &self.routed.tunnelled,
            tls: &self.backend_tls,
        };
        let mut told = false;
        for (name, whole) in &touched.services {
            let before = self.config.services.get(name);
            let (lowered, news) = self.services.lower(name, *whole, before.map(|it| &**it), &mut around);
            told |= news;
            if lowered.as_ref() != before.map(|it| &**it) {
                change.services.insert(name.clone(), lowered.map(Arc::new));
            }
        }
        if touched.services.values().any(|whole| *whole) {
            self.merger.sweep();
        }
        touched.zones = zones.is_some_and(|zones: Vec<_>| !self.services.zones().eq(&zones));
        told
    }

    fn lower_shifts(&mut self, store: &Store, touched: &Touched, change: &mut ConfigChange) -> bool {
        if !(touched.shifts || touched.clusters || !touched.identities.is_empty()) {
            return false;
        }
        let mut problems = Vec::new();
        let objects: Vec<_> = store.of_kind(Kind::TrafficShift).collect();
        let own = self.config.clusters.get(&self.own);
        let shifts = shifts::lower(&objects, own, &self.services, &mut problems);
        if shifts != self.config.shifts {
            change.shifts = Some(shifts);
        }
        self.tell(Part::Shifts, problems)
    }

    fn check_drills(&mut self, store: &Store, touched: &Touched) -> bool {
        if !(touched.drills || touched.gateways || !touched.identities.is_empty()) {
            return false;
        }
        let mut problems = Vec::new();
        let kinds = [Kind::Drill, Kind::DrillSchedule];
        let objects: Vec<_> = kinds.into_iter().flat_map(|kind| store.of_kind(kind)).collect();
        let names =
            store.of_kind(Kind::Gateway).filter_map(|gateway| gateway.title().strip_prefix("Gateway "));
        drills::check(&objects, &self.services, &names.collect::<Vec<_>>(), &mut problems);
        self.tell(Part::Drills, problems)
    }

    fn check_targets(&mut self, store: &Store, touched: &Touched) -> bool {
        if !touched.policies && touched.identities.is_empty() {
            return false;
        }
        let objects: Vec<_> = store.of_kind(Kind::FailoverPolicy).collect();
        let mut problems = Vec::new();
        policies::check_targets(&objects, &self.services, &mut problems);
        self.tell(Part::Targets, problems)
    }

    fn check_mentions(&mut self, store: &Store, touched: &Touched) -> bool {
        let by_object = touched.policies || touched.shifts || touched.drills;
        if !(touched.clusters || by_object || touched.zones) {
            return false;
        }
        let mut problems = Vec::new();
        let kinds = [
            Kind::FleetCluster,
            Kind::FailoverProfile,
            Kind::FailoverPolicy,
            Kind::TrafficShift,
            Kind::Drill,
        ];
        let objects: Vec<_> = kinds.into_iter().flat_map(|kind| store.of_kind(kind)).collect();
        fleet::check_mentions(&objects, &self.config.clusters, self.services.zones(), &mut problems);
        self.tell(Part::Mentions, problems)
    }
}

impl Routed {
    /// Whether it matters to routes that a service came, went or got another port: they name it, or are told which
    /// services of its namespace there are instead of one that there is not.
    fn is_about(&self, name: &ServiceName, services: &Services) -> bool {
        let namespace = name.namespace();
        let lacking = |it: &ServiceName| it.namespace() == namespace && !services.contains(it);
        self.exported || self.named.contains(name) || self.named.iter().any(lacking)
    }
}

/// The objects of one kind, with what they say.
fn of_kind<'o, T: 'o>(
    objects: &[&'o Arc<Object>],
    pick: impl Fn(&'o Spec) -> Option<&'o T>,
) -> impl Iterator<Item = (&'o Arc<Object>, &'o T)> {
    objects.iter().filter_map(move |&object| pick(&object.spec).map(|spec| (object, spec)))
}

/// A problem in an object.
fn problem_in(object: &Object, at: Pos, message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem {
        file: object.file.to_string(),
        line: at.line,
        column: at.column,
        object: Some(object.title().to_string()),
        severity: Severity::Error,
        cause: Cause::Invalid,
        message: message.into(),
        hint: hint.into(),
    }
}

/// The same, when everything stays in force.
fn warning_in(object: &Object, at: Pos, message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem { severity: Severity::Warning, ..problem_in(object, at, message, hint) }
}
