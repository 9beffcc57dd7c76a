//! Manifests on their way to the engine, the gateways and the prober: all of them, or what changed.
//!
//! A change costs what it names: the services that changed, and the gateways only if these or what they need of a service
//! did. It comes to the same as all manifests told anew.

use super::{
    Core, Output, PeerState, ProbeKey, START_LIMIT,
    facts::{facts, topology},
    roles,
    ways::{Ways, ways},
};
use crate::checks::Checks;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidegate_api::{Config, ConfigChange, Service};
use tidegate_engine::{EndpointView, Engine, Event, Proximity, Source};
use tidegate_model::{Locality, Region, ServiceName, Time, Zone};
use tidegate_probe as probe;

/// How many services ask for what is not done for nobody.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// That endpoints are judged by the errors of requests.
    pub(super) errors: usize,
    /// That the nearest region is found by measured distances.
    pub(super) measured: usize,
}

impl Asked {
    fn of<'s>(services: impl Iterator<Item = &'s Arc<Service>>) -> Self {
        services.fold(Self::default(), |all, service| {
            let policy = &service.policy;
            let measured = policy.engine.proximity.value == Proximity::Measured;
            Self {
                errors: all.errors + usize::from(policy.error_check.is_some()),
                measured: all.measured + usize::from(measured),
            }
        })
    }
}

impl Core {
    /// Clusters reach each other by mutual TLS: to be said before the first manifests. The secrets
    /// ([`tidegate_envoy::identity_secret`]) are for the store of resources alone, and nothing here writes them down.
    pub const fn secure(&mut self) {
        self.scopes.secure();
    }

    pub(super) fn refresh_sources(&mut self, now: Time, output: &mut Output) {
        self.tell(Event::Sources(self.sources.clone()), now, output);
        output.scopes = Some(self.scopes.filled(&self.sources));
    }

    pub(super) fn set_manifests(&mut self, config: &Arc<Config>, now: Time, output: &mut Output) {
        let Some(own) = config.clusters.get(&self.own) else {
            // The loader has told it as a problem; without a region nothing can be decided.
            self.unusable = Some(Arc::clone(config));
            return;
        };
        let region = own.region.clone();
        self.unusable = None;
        self.asked = Asked::of(config.services.values());
        let ways = ways(config, &self.own, &self.resolved);
        self.scopes.set_clusters(config, &self.own, &ways);
        if self.scopes.set_roles(config) {
            output.touched.plans.extend(config.services.keys().cloned());
        }
        let before = std::mem::replace(&mut self.config, Arc::clone(config));
        let first = self.engine.is_none();
        // A new engine knows no service yet, and the addresses of other clusters' gateways are told with each one.
        let mut tell_all = first || before.clusters != config.clusters || ways != self.ways;
        if self.engine.as_ref().is_none_or(|engine| engine.fleet().region != region) {
            let saved = self.saved.take().or_else(|| self.engine.as_ref().map(|engine| engine.save(now)));
            let mut engine = Engine::new(self.own.clone(), region.clone(), saved.unwrap_or_default());
            if !first {
                // What the one before did not hand over is not lost with it.
                engine.mark_unsaved();
            }
            self.engine = Some(engine);
            tell_all = true;
            self.resume_drills(now, output);
            self.tell_replicas(now, output);
        }
        let sources = self.sources.clone();
        self.set_sources(&region);
        self.unsaved |= self.sources != sources;
        self.forget_names();
        self.set_peers(ways, output);
        let (clusters, distances) = topology(config, &self.own);
        self.tell(Event::Topology { clusters, distances }, now, output);
        self.refresh_sources(now, output);
        for name in before.services.keys().filter(|name| !config.services.contains_key(*name)) {
            self.tell(Event::ServiceRemoved(name.clone()), now, output);
        }
        let changed = |(name, service): &(&ServiceName, &Arc<Service>)| {
            tell_all || before.services.get(*name).is_none_or(|before| before != *service)
        };
        for (name, service) in config.services.iter().filter(changed) {
            self.tell_service(name, service, before.services.get(name), now, output);
        }
        self.judge_errors_anew(config.services.keys(), now, output);
        if first {
            self.begin_actions(now, output);
        }
        self.declare_shifts(first, now, output);
        self.set_targets(output);
        if first {
            let checks = u32::try_from(self.unchecked.len()).unwrap_or(u32::MAX);
            self.start_until = now + START_LIMIT + probe::pacing::START_GAP.saturating_mul(checks);
        }
        output.xds.extend(self.scopes.gateways(config));
        output.scopes = Some(self.scopes.filled(&self.sources));
        output.gateways = Some(roles(config));
    }

    /// Requests may enter in each zone that has endpoints, and where gateways were seen.
    fn set_sources(&mut self, region: &Region) {
        let zones = self.config.services.values().flat_map(|service| service.endpoints.values());
        let mut zones: BTreeSet<Zone> = zones.map(|endpoint| endpoint.zone.clone()).collect();
        for zone in std::mem::take(&mut self.early_zones) {
            self.scopes.look(&zone);
            zones.insert(zone);
        }
        self.sources.retain(|source| source.cluster == self.own && source.locality.region == *region);
        self.sources.extend(zones.into_iter().map(|zone| Source {
            cluster: self.own.clone(),
            locality: Locality { region: region.clone(), zone },
        }));
    }

    fn set_peers(&mut self, ways: Ways, output: &mut Output) {
        if ways != self.ways {
            self.peers.retain(|name, _| ways.contains_key(name));
            for name in ways.keys() {
                self.peers.entry(name.clone()).or_insert(PeerState::Unheard);
            }
            output.peers = Some(ways.clone());
            self.ways = ways;
        }
    }

    fn set_targets(&mut self, output: &mut Output) {
        let Some(engine) = &self.engine else { return };
        let mut targets = Vec::new();
        for (name, service) in &self.config.services {
            let Some(checks) = Checks::of(service) else { continue };
            let endpoints = engine.endpoints(name);
            targets.extend(endpoints.map(|it| ((name.clone(), it.address), checks.target(name, &it))));
        }
        let known = targets.iter().filter(|(_, target)| target.known.is_none());
        self.unchecked = known.map(|(key, _)| key.clone()).collect();
        output.targets = Some(targets);
    }

    /// Tells the engine of a service that is new or changed.
    fn tell_service(
        &mut self,
        name: &ServiceName,
        service: &Service,
        before: Option<&Arc<Service>>,
        now: Time,
        output: &mut Output,
    ) {
        let same = self.policy.take().filter(|policy| **policy == service.policy.engine);
        let policy = same.unwrap_or_else(|| Arc::new(service.policy.engine.clone()));
        self.policy = Some(Arc::clone(&policy));
        let event = Event::Service {
            name: name.clone(),
            policy,
            endpoints: facts(service),
            replicas: service.replicas,
        };
        self.tell(event, now, output);
        // The engine knows nothing of protocols and limits: a change of these alone changes no plan.
        let is_other = |before: &Arc<Service>| {
            before.upstream() != service.upstream()
                || before.reach != service.reach
                || before.tls != service.tls
        };
        if before.is_some_and(is_other) {
            output.touched.plans.insert(name.clone());
        }
        // Peers are told of it from now on, or that it is gone.
        if before.is_some_and(|before| before.reach != service.reach) {
            output.touched.statuses.insert(name.clone());
        }
    }

    /// Takes in what changed since the manifests were told last.
    pub(super) fn change_manifests(&mut self, change: &ConfigChange, now: Time, output: &mut Output) {
        // Clusters are part of everything, and what could not be in force was not told to anybody.
        if change.clusters.is_some() || self.unusable.is_some() || self.engine.is_none() {
            let mut config = self.unusable.as_ref().unwrap_or(&self.config).clone();
            Arc::make_mut(&mut config).apply(change);
            self.set_manifests(&config, now, output);
            return;
        }
        let old = |name: &ServiceName| (name.clone(), self.config.services.get(name).cloned());
        let before: Vec<(ServiceName, Option<Arc<Service>>)> = change.services.keys().map(old).collect();
        Arc::make_mut(&mut self.config).apply(change);
        self.count_asked(change, &before);
        self.add_zones(change, now, output);
        for (name, before) in &before {
            match self.config.services.get(name).cloned() {
                None if before.is_some() => self.tell(Event::ServiceRemoved(name.clone()), now, output),
                Some(service) if before.as_ref() != Some(&service) => {
                    self.tell_service(name, &service, before.as_ref(), now, output);
                }
                _ => {}
            }
        }
        self.judge_errors_anew(change.services.keys(), now, output);
        if self.declared.len() != self.config.shifts.len() || change.shifts.is_some() {
            self.declare_shifts(false, now, output);
        }
        self.change_targets(&before, output);
        let bears_on_gateways = |(name, before): &(ServiceName, Option<Arc<Service>>)| {
            let after = self.config.services.get(name);
            let part = |it: &Arc<Service>| (Arc::clone(&it.policy), it.tunnelled);
            before.as_ref().map(part) != after.map(part)
        };
        if !change.gateways.is_empty()
            || !change.certificates.is_empty()
            || before.iter().any(bears_on_gateways)
        {
            if self.scopes.set_roles(&self.config) {
                self.tell_gateways_all(output);
            }
            output.xds.extend(self.scopes.gateways(&self.config));
            output.scopes = Some(self.scopes.filled(&self.sources));
            output.gateways = Some(roles(&self.config));
        }
    }

    fn count_asked(&mut self, change: &ConfigChange, before: &[(ServiceName, Option<Arc<Service>>)]) {
        let gone = Asked::of(before.iter().filter_map(|(_, service)| service.as_ref()));
        let new = Asked::of(change.services.values().flatten());
        self.asked.errors = self.asked.errors + new.errors - gone.errors;
        self.asked.measured = self.asked.measured + new.measured - gone.measured;
    }

    /// Requests may enter where a changed service has endpoints; where nothing is any more they may still.
    fn add_zones(&mut self, change: &ConfigChange, now: Time, output: &mut Output) {
        let Some(region) = self.region().cloned() else { return };
        let endpoints = change.services.values().flatten().flat_map(|service| service.endpoints.values());
        let zones: BTreeSet<&Zone> = endpoints.map(|endpoint| &endpoint.zone).collect();
        let source = |zone: &Zone| Source {
            cluster: self.own.clone(),
            locality: Locality { region: region.clone(), zone: zone.clone() },
        };
        let known = self.sources.len();
        self.sources.extend(zones.into_iter().map(source));
        if self.sources.len() > known {
            self.unsaved = true;
            self.refresh_sources(now, output);
        }
    }

    /// The checks of the services that changed.
    fn change_targets(&mut self, before: &[(ServiceName, Option<Arc<Service>>)], output: &mut Output) {
        let Some(engine) = &self.engine else { return };
        for (name, before) in before {
            let mut targets: BTreeMap<ProbeKey, Option<probe::Target>> = BTreeMap::new();
            let old = before.iter().flat_map(|service| service.endpoints.keys());
            targets.extend(old.map(|address| ((name.clone(), *address), None)));
            let service = self.config.services.get(name);
            if let Some(checks) = service.and_then(|service| Checks::of(service)) {
                let target = |it: EndpointView| ((name.clone(), it.address), Some(checks.target(name, &it)));
                targets.extend(engine.endpoints(name).map(target));
            }
            for (key, target) in targets {
                match &target {
                    Some(target) if target.known.is_none() => self.unchecked.insert(key.clone()),
                    _ => self.unchecked.remove(&key),
                };
                output.changed_targets.push((key, target));
            }
        }
    }
}
