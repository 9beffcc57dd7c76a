//! The start of an agent: what it waits for, and what it tells before it knows enough.

use super::{Core, Output, PeerState, Publish, Record};
use std::{sync::Arc, time::Duration};
use tidegate_api::Reach;
use tidegate_engine::{Decision, Engine};
use tidegate_model::{ClusterName, ServiceName, Time};

/// A starting agent answers no gateway before it knows its endpoints' health and its peers' pools, but no
/// longer than this after the last first check is due: an endpoint that hangs answers no check within the first timeout
/// and its re-check. The first checks of many endpoints take [`tidegate_probe::pacing::START_GAP`] each.
pub const START_LIMIT: Duration = Duration::from_secs(2);

/// So much longer than [`START_LIMIT`] a starting agent waits for the first word of a peer that has anything healthy, if its services
/// have no endpoints here: until then all it could tell gateways is to answer 503. They keep what they have meanwhile, and one that
/// is new is not ready. A fleet that starts at once on a busy machine takes seconds.
pub const UNHEARD_LIMIT: Duration = Duration::from_secs(8);

impl Core {
    /// Whether it knows how its own pools are. Peers are told then, however little is known of theirs: if each
    /// waited for the others' first word, a fleet that starts would wait for the limit.
    pub(super) fn knows_itself(&self) -> bool {
        self.engine.is_some() && (self.ready || self.unchecked.is_empty())
    }

    /// A new agent calls nothing dead: peers hear of its pools once it knows them, people of its plans once it serves.
    pub(super) fn speak(&self, knew_itself: bool, was_ready: bool, now: Time, output: &mut Output) {
        let Some(engine) = self.engine.as_ref() else { return };
        let changed = std::mem::take(&mut output.touched.statuses);
        if self.knows_itself() && !knew_itself {
            let told = engine.statuses(now).filter(|status| self.is_told(&status.service));
            output.publish = Some(Publish::All(told.collect()));
        } else if self.knows_itself() && !changed.is_empty() {
            let of = |name: ServiceName| {
                let told = self.is_told(&name);
                let statuses = engine.statuses_of(&name, now).filter(|_| told).collect();
                (name, statuses)
            };
            output.publish = Some(Publish::Changed(changed.into_iter().map(of).collect()));
        }
        if !self.ready {
            output.records.retain(|record| {
                matches!(record.kind, "peerChanged" | "replicaChanged" | "shiftChanged" | "drillChanged")
            });
        } else if !was_ready {
            let plans = engine.services().flat_map(|service| engine.plans(service));
            output.records = plans
                .map(|plan| Record::of(&Decision::Plan { before: None, after: Arc::new(plan.clone()) }))
                .collect();
        }
    }

    /// Whether other clusters are told of a service here. One that is gone is told as gone.
    pub(super) fn is_told(&self, service: &ServiceName) -> bool {
        self.config.services.get(service).is_none_or(|it| it.reach == Reach::Fleet)
    }

    /// What a starting agent still waits for, for people; empty when it is ready.
    #[must_use]
    pub fn pending(&self, now: Time) -> Vec<String> {
        let Some(engine) = &self.engine else {
            return vec![format!("manifests that name the cluster {}", self.own)];
        };
        if !self.waits(now) {
            return Vec::new();
        }
        let mut pending = Vec::new();
        if !self.unchecked.is_empty() {
            pending.push(format!("the first check of {} endpoints", self.unchecked.len()));
        }
        pending.extend(self.awaited(engine).map(|peer| format!("the first word of cluster {peer}")));
        pending
    }

    /// Whether a starting agent waits for anything. It is asked after each input, and words cost more than the answer.
    pub(super) fn waits(&self, now: Time) -> bool {
        let Some(engine) = &self.engine else { return true };
        let early = !self.ready && now < self.start_limit(engine);
        early && (!self.unchecked.is_empty() || self.awaited(engine).next().is_some())
    }

    /// When a starting agent is ready, whatever it still waits for.
    pub(super) fn start_limit(&self, engine: &Engine) -> Time {
        if self.ready || self.peers.is_empty() || !self.lives_by_peers() {
            return self.start_until;
        }
        // A peer that has nothing to offer, another edge perhaps, makes no answer but 503 possible either.
        let is_served = engine.remote_pools().any(|pool| pool.status.healthy > 0);
        if is_served { self.start_until } else { self.start_until + UNHEARD_LIMIT }
    }

    /// The peers whose first word a starting agent waits for. Where nothing is served without them, it waits also for those that
    /// were not heard so far: in a fleet that starts at once each agent is heard only once its own gateway was answered.
    fn awaited<'a>(&'a self, engine: &'a Engine) -> impl Iterator<Item = &'a ClusterName> {
        let patient = !self.ready && self.lives_by_peers();
        let silent = move |(peer, state): &(&ClusterName, &PeerState)| {
            !engine.knows_pools_of(peer) && (patient || !matches!(state, PeerState::Unreachable(_)))
        };
        self.peers.iter().filter(silent).map(|(peer, _)| peer)
    }

    /// Whether there are services, and none of them has an endpoint here.
    fn lives_by_peers(&self) -> bool {
        let mut services = self.config.services.values().peekable();
        services.peek().is_some() && services.all(|service| service.endpoints.is_empty())
    }
}
