//! A pool of the own cluster: its endpoints, how many of them are healthy, how many there should be.

use crate::{
    expected::{HighWater, SavedMark},
    governor::{Governor, Health, SavedGovernor},
    policy::Policy,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr};
use tidegate_model::{Phase, Time};

/// What discovery says of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointFacts {
    /// Its readiness.
    pub ready: bool,
    /// Whether it is being shut down.
    pub terminating: bool,
    /// Whether active checks decide its health; if not, readiness alone does.
    pub checked: bool,
}

/// An endpoint as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) facts: EndpointFacts,
    /// What the last active checks found; `None` before the first.
    pub(crate) up: Option<bool>,
    /// An endpoint counts once it has been healthy: the new pods of a scale-up lower nothing.
    seen_healthy: bool,
    /// It went terminating while healthy, so somebody wanted it gone.
    leaving: bool,
}

impl Endpoint {
    pub(crate) fn is_healthy(&self) -> bool {
        self.facts.ready && !self.facts.terminating && (!self.facts.checked || self.up == Some(true))
    }

    /// Whether it is one of those that should be there.
    fn counts(&self) -> bool {
        self.seen_healthy && !self.leaving
    }
}

/// The endpoints of one service in one zone of the own cluster.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    endpoints: BTreeMap<SocketAddr, Endpoint>,
    mark: HighWater,
    /// Expected as it was before the fault, while admit is below one.
    frozen: Option<u32>,
    pub(crate) governor: Governor,
}

/// A pool as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SavedPool {
    governor: SavedGovernor,
    mark: SavedMark,
    frozen: Option<u32>,
    endpoints: BTreeMap<SocketAddr, SavedEndpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SavedEndpoint {
    up: Option<bool>,
    healthy: bool,
    seen_healthy: bool,
    leaving: bool,
}

impl SavedEndpoint {
    fn of(endpoint: &Endpoint) -> Self {
        let Endpoint { up, seen_healthy, leaving, .. } = *endpoint;
        Self { up, healthy: endpoint.is_healthy(), seen_healthy, leaving }
    }

    /// The endpoint as it was, so that what happened to it while nobody watched is seen as a change.
    fn restored(self, facts: EndpointFacts) -> Endpoint {
        let Self { up, healthy, seen_healthy, leaving } = self;
        let before = EndpointFacts { ready: true, terminating: false, ..facts };
        Endpoint { facts: if healthy { before } else { facts }, up, seen_healthy, leaving }
    }
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            endpoints: BTreeMap::new(),
            mark: HighWater::default(),
            frozen: None,
            governor: Governor::new(),
        }
    }

    /// Takes up where a saved pool stopped; its endpoints come back as discovery names them.
    pub(crate) fn restored(saved: &SavedPool, now: Time) -> Self {
        Self {
            endpoints: BTreeMap::new(),
            mark: HighWater::restored(saved.mark, now),
            frozen: saved.frozen,
            governor: Governor::restored(&saved.governor, now),
        }
    }

    pub(crate) fn save(&self, now: Time) -> SavedPool {
        SavedPool {
            governor: self.governor.save(now),
            mark: self.mark.save(),
            frozen: self.frozen,
            endpoints: self.endpoints.iter().map(|(address, it)| (*address, SavedEndpoint::of(it))).collect(),
        }
    }

    pub(crate) fn endpoints(&self) -> &BTreeMap<SocketAddr, Endpoint> {
        &self.endpoints
    }

    /// Brings the endpoints to what discovery says now. `saved` gives what was known of them before a restart.
    pub(crate) fn set_endpoints(
        &mut self,
        facts: &BTreeMap<SocketAddr, EndpointFacts>,
        saved: Option<&SavedPool>,
    ) {
        self.endpoints.retain(|address, _| facts.contains_key(address));
        for (address, facts) in facts {
            let known = saved.and_then(|saved| saved.endpoints.get(address));
            let endpoint = self.endpoints.entry(*address).or_insert_with(|| match known {
                Some(known) => known.restored(*facts),
                None => Endpoint { facts: *facts, up: None, seen_healthy: false, leaving: false },
            });
            let leaves_on_purpose = facts.terminating && !endpoint.facts.terminating && endpoint.is_healthy();
            endpoint.facts = *facts;
            if leaves_on_purpose {
                endpoint.leaving = true;
                self.mark.remove_deliberately();
            }
            endpoint.leaving &= facts.terminating;
        }
    }

    /// Gives an endpoint away to the pool of another zone: nothing is missing here.
    pub(crate) fn give_away(&mut self, address: SocketAddr) -> Option<Endpoint> {
        let endpoint = self.endpoints.remove(&address)?;
        if endpoint.counts() {
            self.mark.remove_deliberately();
        }
        Some(endpoint)
    }

    /// Takes an endpoint in, with all that is known of it.
    pub(crate) fn take_in(&mut self, address: SocketAddr, endpoint: Endpoint) {
        self.endpoints.insert(address, endpoint);
    }

    /// Takes in a check's verdict; whether it is news.
    pub(crate) fn set_up(&mut self, address: SocketAddr, up: bool) -> bool {
        match self.endpoints.get_mut(&address) {
            Some(endpoint) if endpoint.up != Some(up) => {
                endpoint.up = Some(up);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn healthy(&self) -> u32 {
        count(self.endpoints.values().filter(|endpoint| endpoint.is_healthy()))
    }

    fn present(&self) -> u32 {
        count(self.endpoints.values().filter(|endpoint| endpoint.counts()))
    }

    /// Endpoints that should be there.
    pub(crate) fn expected(&self) -> u32 {
        self.frozen.unwrap_or_else(|| self.mark.value().max(self.present()))
    }

    pub(crate) fn phase(&self) -> Phase {
        self.governor.phase(self.expected())
    }

    /// Brings mark, expected and governor up to `now`.
    pub(crate) fn update(&mut self, policy: &Policy, now: Time) {
        for endpoint in self.endpoints.values_mut() {
            endpoint.seen_healthy |= endpoint.is_healthy();
        }
        self.mark.observe(self.present(), policy.retention, now);
        let expected = self.expected();
        // Of nothing, nothing is missing.
        let health = if expected == 0 { Health::WHOLE } else { Health { healthy: self.healthy(), expected } };
        self.governor.observe(health, policy, now);
        // Frozen from the fall on: a drained zone that is scaled in must not come back "whole".
        self.frozen = (!self.governor.admit().is_one()).then_some(expected);
    }

    pub(crate) fn deadline(&self, policy: &Policy) -> Option<Time> {
        let mark = match self.frozen {
            Some(_) => None,
            None => self.mark.deadline(self.present(), policy.retention),
        };
        [self.governor.deadline(policy), mark].into_iter().flatten().min()
    }
}

/// Counts fit `u32`: loaders refuse services of more than four billion endpoints long before.
fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
