//! Whose load the core has a use for. Who is asked for it, and how often, is said in `asked`.

use super::{Core, PeerState};
use std::collections::BTreeSet;
use tidegate_engine::{Engine, Location, Target};
use tidegate_model::{ClusterName, Locality, ServiceName};

/// What says that other services' load may be needed than before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Places that service evidence speaks against.
    pub(crate) doubted: Vec<Location>,
    /// Whether any of them is not declared out yet, so that a request that succeeds there may still spare a service.
    pub(crate) is_open: bool,
    /// Other clusters that have fallen silent.
    pub(crate) silent: Vec<ClusterName>,
    /// Counts the times at which something began to drain.
    pub(crate) drains: u64,
}

impl Core {
    pub(crate) fn load_need(&self) -> Need {
        let places = |places: &Engine| (places.doubted().cloned().collect(), places.locations_out().count());
        let (doubted, out): (Vec<_>, _) = self.engine.as_ref().map(places).unwrap_or_default();
        let silent = self.peers.iter().filter(|(_, state)| **state == PeerState::Suspect);
        Need {
            is_open: doubted.len() > out,
            doubted,
            silent: silent.map(|(name, _)| name.clone()).collect(),
            drains: self.draining.begun(),
        }
    }

    /// The services whose policies need it always: demand where capacity is declared, errors where endpoints are judged
    /// by them.
    pub(crate) fn load_by_policy(&self) -> BTreeSet<ServiceName> {
        let errors = self.config.services.iter().filter(|(_, service)| service.policy.error_check.is_some());
        errors.map(|(name, _)| name).chain(self.metered().map(|(name, _)| name)).cloned().collect()
    }

    /// The services that drain anywhere.
    pub(crate) fn load_of_drains(&self) -> impl Iterator<Item = &ServiceName> {
        self.draining.services()
    }

    /// The services with endpoints in these places of the own cluster.
    pub(crate) fn load_at(&self, places: &[Location]) -> BTreeSet<ServiceName> {
        let Some(region) = self.region().filter(|_| !places.is_empty()) else { return BTreeSet::new() };
        let is_there = |service: &tidegate_api::Service| {
            let mut zones = BTreeSet::new();
            service.endpoints.values().filter(|it| zones.insert(&it.zone)).any(|it| {
                let locality = Locality { region: region.clone(), zone: it.zone.clone() };
                places.iter().any(|place| place.covers(&self.own, &locality))
            })
        };
        self.config.services.iter().filter(|(_, it)| is_there(it)).map(|(name, _)| name.clone()).collect()
    }

    /// For each other cluster that serves some of what enters here, the `most` services with the highest rate of those
    /// whose requests go there.
    pub(crate) fn load_of_peers(
        &self,
        most: usize,
        rate: &dyn Fn(&ServiceName) -> u64,
    ) -> BTreeSet<ServiceName> {
        let Some(engine) = &self.engine else { return BTreeSet::new() };
        let mut chosen = BTreeSet::new();
        for peer in self.peers.keys() {
            let goes_there = |target: &Target| matches!(target, Target::Cluster(name) if name == peer);
            let uses = |service: &ServiceName| {
                engine.plans(service).any(|plan| plan.shares.iter().any(|(target, _)| goes_there(target)))
            };
            let users = self.config.services.keys().filter(|service| uses(service));
            let mut users: Vec<_> =
                users.map(|service| (std::cmp::Reverse(rate(service)), service)).collect();
            users.sort_unstable();
            chosen.extend(users.into_iter().take(most).map(|(_, service)| service.clone()));
        }
        chosen
    }
}
