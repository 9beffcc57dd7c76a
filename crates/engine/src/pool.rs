//! A pool of the own cluster: its endpoints, how many of them are healthy, how many there should be.

use crate::{
    expected::{HighWater, SavedMark},
    governor::{Governor, Health, SavedGovernor},
    merge::Told,
    policy::Policy,
    small::SmallMap,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    time::Duration,
};
use tidegate_model::{Phase, Time};

/// So many nodes of a pool are remembered: more than any threshold asks for.
const MAX_NODES: usize = 16;

/// How long the history of a pool without endpoints is kept, so that a zone that is rebuilt after a long fault still
/// gets its traffic back by hold-down and ramp.
const HISTORY: Duration = Duration::from_secs(24 * 3600);

/// Which node an endpoint runs on: a digest of its name, since all that is asked is whether two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(NonZeroU64);

impl NodeId {
    /// The node of this name (FNV-1a, the same on every machine).
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::digest(name.bytes())
    }

    /// Where nodes have no names, each host address counts as one.
    fn of_host(host: IpAddr) -> Self {
        match host {
            IpAddr::V4(host) => Self::digest(host.octets().into_iter()),
            IpAddr::V6(host) => Self::digest(host.octets().into_iter()),
        }
    }

    fn digest(bytes: impl Iterator<Item = u8>) -> Self {
        let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        // Not zero, so that no node takes no room.
        Self(NonZeroU64::new(bytes.fold(0xcbf2_9ce4_8422_2325, step)).unwrap_or(NonZeroU64::MIN))
    }
}

/// What discovery says of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointFacts {
    /// Its readiness.
    pub ready: bool,
    /// Whether it is being shut down.
    pub terminating: bool,
    /// Whether active checks decide its health; if not, readiness alone does.
    pub checked: bool,
    /// The node it runs on, if it has a name; else its host address counts as its node.
    pub node: Option<NodeId>,
    /// Whether that node is Ready: what goes terminating on a node that is not was lost, not removed.
    pub node_ready: bool,
}

impl Default for EndpointFacts {
    /// Ready, unchecked, on a Ready node without a name.
    fn default() -> Self {
        Self { ready: true, terminating: false, checked: false, node: None, node_ready: true }
    }
}

/// An endpoint as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) facts: EndpointFacts,
    /// What active checks found last, by the majority of the replicas; `None` before the first.
    pub(crate) up: Option<bool>,
    /// What our own checks found last.
    own: Option<bool>,
    /// An endpoint counts once it has been healthy: the new pods of a scale-up lower nothing.
    seen_healthy: bool,
    /// It went terminating while healthy, so somebody wanted it gone.
    leaving: bool,
    /// Requests failed there, whatever its checks find.
    pub(crate) ejected: bool,
}

impl Endpoint {
    const fn new(facts: EndpointFacts) -> Self {
        Self { facts, up: None, own: None, seen_healthy: false, leaving: false, ejected: false }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.passes() && !self.ejected
    }

    /// Whether it would be healthy if it were not ejected.
    pub(crate) fn passes(&self) -> bool {
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
    endpoints: SmallMap<SocketAddr, Endpoint>,
    mark: HighWater,
    /// Expected as it was before the fault, while admit is below one.
    frozen: Option<u32>,
    /// What the workload's known replicas make of this zone.
    known: Option<u32>,
    /// Since when there has been no endpoint.
    gone_since: Option<Time>,
    /// What was expected before the fault is forgotten, so it grows with what comes back.
    forgotten: bool,
    /// The nodes of its endpoints, as discovery told last and before.
    nodes: Box<[NodeId]>,
    pub(crate) governor: Governor,
}

/// What acts on a pool besides its own health.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acting {
    /// A verdict on its place drains it.
    pub(crate) drained: bool,
    /// A shift leaves it less than everything.
    pub(crate) shifted: bool,
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ejected: bool,
}

impl SavedEndpoint {
    fn of(endpoint: &Endpoint) -> Self {
        let Endpoint { up, seen_healthy, leaving, ejected, .. } = *endpoint;
        Self { up, healthy: endpoint.passes(), seen_healthy, leaving, ejected }
    }

    /// The endpoint as it was, so that what happened to it while nobody watched is seen as a change.
    fn restored(self, facts: EndpointFacts) -> Endpoint {
        let Self { up, healthy, seen_healthy, leaving, ejected } = self;
        let before = EndpointFacts { ready: true, terminating: false, ..facts };
        Endpoint { facts: if healthy { before } else { facts }, up, own: up, seen_healthy, leaving, ejected }
    }
}

impl SavedPool {
    /// Whether time changes it.
    pub(crate) const fn runs(&self) -> bool {
        self.governor.runs()
    }

    /// The same `by` later, if nothing but time happened.
    pub(crate) fn age(&mut self, by: Duration) {
        self.governor.age(by);
    }

    /// By somebody else's word alone. Of a pool that is given everything nothing is expected before its endpoints are
    /// known: none is called missing merely because this agent is new.
    pub(crate) fn told(told: &Told) -> Self {
        let frozen = (!told.governor.admit().is_one()).then_some(told.expected);
        Self {
            governor: told.governor.clone(),
            mark: SavedMark(frozen.unwrap_or(0)),
            frozen,
            endpoints: BTreeMap::new(),
        }
    }

    /// Takes somebody else's word, instead of what is known or merged with it.
    pub(crate) fn merge(&mut self, told: &Told, replace: bool) {
        self.governor = if replace { told.governor.clone() } else { self.governor.merged(&told.governor) };
        self.mark = SavedMark(told.expected.max(self.mark.0));
        let expected = self.frozen.unwrap_or(told.expected);
        self.frozen = (!self.governor.admit().is_one()).then_some(expected);
    }

    /// The word of this agent on the pool.
    pub(crate) fn word(&self) -> Told {
        Told { governor: self.governor.clone(), expected: self.frozen.unwrap_or(self.mark.0) }
    }
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            endpoints: SmallMap::new(),
            mark: HighWater::default(),
            frozen: None,
            known: None,
            gone_since: None,
            forgotten: false,
            nodes: Box::default(),
            governor: Governor::new(),
        }
    }

    /// Takes up where a saved pool stopped; its endpoints come back as discovery names them.
    pub(crate) fn restored(saved: &SavedPool, now: Time) -> Self {
        Self {
            endpoints: SmallMap::new(),
            mark: HighWater::restored(saved.mark, now),
            frozen: saved.frozen,
            governor: Governor::restored(&saved.governor, now),
            ..Self::new()
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

    pub(crate) const fn endpoints(&self) -> &SmallMap<SocketAddr, Endpoint> {
        &self.endpoints
    }

    /// Takes note that what is present was here until now: nobody may have looked for longer than marks are kept.
    pub(crate) fn note_present(&mut self, policy: &Policy, now: Time) {
        self.mark.observe(self.present(), policy.retention, now);
    }

    /// Brings the endpoints to what discovery says now. `saved` gives what was known of them before a restart.
    pub(crate) fn set_endpoints(
        &mut self,
        facts: &BTreeMap<SocketAddr, EndpointFacts>,
        saved: Option<&SavedPool>,
    ) {
        let mut nodes = self.own_nodes();
        let before = std::mem::take(&mut self.endpoints);
        let endpoint = |(address, facts): (&SocketAddr, &EndpointFacts)| {
            let saved = || saved.and_then(|saved| saved.endpoints.get(address));
            let known = before.get(address).copied().or_else(|| Some(saved()?.restored(*facts)));
            (*address, known.unwrap_or_else(|| Endpoint::new(*facts)))
        };
        self.endpoints = facts.iter().map(endpoint).collect();
        for (endpoint, facts) in self.endpoints.values_mut().zip(facts.values()) {
            let leaves_on_purpose =
                facts.terminating && facts.node_ready && !endpoint.facts.terminating && endpoint.passes();
            endpoint.facts = *facts;
            if leaves_on_purpose {
                endpoint.leaving = true;
                self.mark.remove_deliberately();
            }
            endpoint.leaving &= facts.terminating;
        }
        nodes.append(&mut self.own_nodes());
        self.nodes = nodes.into_iter().collect();
    }

    fn own_nodes(&self) -> BTreeSet<NodeId> {
        let node = |(address, it): (&SocketAddr, &Endpoint)| {
            it.facts.node.unwrap_or_else(|| NodeId::of_host(address.ip()))
        };
        let mut nodes = BTreeSet::new();
        for endpoint in self.endpoints.iter() {
            if nodes.len() == MAX_NODES {
                break;
            }
            nodes.insert(node(endpoint));
        }
        nodes
    }

    /// The nodes of its endpoints, also of those that vanished last; at most twice [`MAX_NODES`].
    pub(crate) fn nodes(&self) -> &[NodeId] {
        &self.nodes
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

    /// Takes in the verdict of an own check.
    pub(crate) fn set_own(&mut self, address: SocketAddr, up: bool) {
        if let Some(endpoint) = self.endpoints.get_mut(&address) {
            endpoint.own = Some(up);
        }
    }

    /// Ejects an endpoint or lets it back; whether that is news.
    pub(crate) fn eject(&mut self, address: SocketAddr, ejected: bool) -> bool {
        let endpoint = self.endpoints.get_mut(&address);
        endpoint.is_some_and(|endpoint| std::mem::replace(&mut endpoint.ejected, ejected) != ejected)
    }

    /// Counts the votes on an endpoint, given what we found and what it was; what it is now if that is news.
    pub(crate) fn vote(
        &mut self,
        address: SocketAddr,
        vote: impl Fn(Option<bool>, Option<bool>) -> Option<bool>,
    ) -> Option<bool> {
        let endpoint = self.endpoints.get_mut(&address)?;
        let up = vote(endpoint.own, endpoint.up).filter(|up| endpoint.up != Some(*up))?;
        endpoint.up = Some(up);
        Some(up)
    }

    pub(crate) fn healthy(&self) -> u32 {
        count(self.endpoints.values().filter(|endpoint| endpoint.is_healthy()))
    }

    pub(crate) fn present(&self) -> u32 {
        count(self.endpoints.values().filter(|endpoint| endpoint.counts()))
    }

    /// Endpoints that are there and not being shut down, whether or not they were ever healthy.
    pub(crate) fn there(&self) -> u32 {
        count(self.endpoints.values().filter(|endpoint| !endpoint.facts.terminating))
    }

    /// Endpoints that should be there.
    pub(crate) fn expected(&self) -> u32 {
        // What a workload wants says nothing of a zone that was given up, until something comes there again.
        let known = self.known.filter(|_| !self.forgotten || !self.endpoints.is_empty());
        self.frozen.or(known).unwrap_or_else(|| self.mark.value().max(self.present()))
    }

    pub(crate) fn phase(&self) -> Phase {
        self.governor.phase(self.expected())
    }

    /// Takes note of the endpoints that are healthy now: they count from now on.
    /// Whether any is new.
    pub(crate) fn see(&mut self) -> bool {
        let mut new = false;
        for endpoint in self.endpoints.values_mut() {
            let seen = endpoint.seen_healthy || endpoint.is_healthy();
            new |= seen != endpoint.seen_healthy;
            endpoint.seen_healthy = seen;
        }
        new
    }

    /// What the workload's known replicas make of this zone.
    pub(crate) fn set_known(&mut self, known: Option<u32>) {
        self.known = known;
    }

    /// Brings mark, expected and governor up to `now`; whether anything of it changed that is kept on disk.
    pub(crate) fn update(&mut self, acting: Acting, policy: &Policy, now: Time) -> bool {
        let kept = |pool: &Self| (pool.governor.kept(), pool.mark.value(), pool.frozen);
        let on_disk = kept(self);
        self.note_present(policy, now);
        let before = self.expected();
        self.govern(acting, policy, now);
        // Whole again, so nothing is frozen any more: what came meanwhile counts from now on, also if it is not healthy.
        if self.expected() != before {
            self.govern(acting, policy, now);
        }
        self.forget_what_is_gone(policy, now);
        kept(self) != on_disk
    }

    fn govern(&mut self, acting: Acting, policy: &Policy, now: Time) {
        let expected = self.expected();
        // Of nothing, nothing is missing.
        let health = match expected {
            // But a pool that was given nothing does not get well by being empty.
            0 if !self.governor.admit().is_one() => Health::LOST,
            0 => Health::WHOLE,
            _ if acting.drained => Health::LOST,
            _ => Health { healthy: self.healthy(), expected },
        };
        self.governor.observe(health, policy, now);
        // Frozen from the fall on: a drained zone that is scaled in must not come back "whole".
        let given_less = acting.shifted || !self.governor.admit().is_one();
        self.forgotten &= given_less;
        self.frozen = (given_less && expected > 0 && !self.forgotten).then_some(expected);
    }

    /// A zone that was given up after a fault is not missed for ever: without any endpoint for the retention time,
    /// nothing is expected there any more.
    fn forget_what_is_gone(&mut self, policy: &Policy, now: Time) {
        self.gone_since = self.endpoints.is_empty().then(|| self.gone_since.unwrap_or(now));
        if self.frozen.is_some() && self.gone_since.is_some_and(|since| now.since(since) >= policy.retention)
        {
            (self.frozen, self.mark, self.forgotten) = (None, HighWater::default(), true);
        }
    }

    /// Whether nothing is left of it that anybody needs.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        let history =
            !self.governor.admit().is_one() && self.gone_since.is_none_or(|since| now.since(since) < HISTORY);
        self.endpoints.is_empty() && self.expected() == 0 && !history
    }

    pub(crate) fn deadline(&self, policy: &Policy) -> Option<Time> {
        let mark = match self.frozen {
            Some(_) => None,
            None => self.mark.deadline(self.present(), policy.retention),
        };
        let gone = self.frozen.and(self.gone_since).map(|since| since + policy.retention);
        [self.governor.deadline(policy), mark, gone].into_iter().flatten().min()
    }
}

/// Counts fit `u32`: loaders refuse services of more than four billion endpoints long before.
fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
