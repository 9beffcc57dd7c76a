//! The start of an agent: what it waits for, and what it tells before it knows enough.

use super::{Core, Output, PeerState, Publish, Record};
use std::sync::Arc;
use tidegate_api::Reach;
use tidegate_engine::{Decision, Engine};
use tidegate_model::{ClusterName, ServiceName, Time};

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
        let silent = self.peers.iter().filter(|(peer, state)| is_awaited(engine, peer, state));
        pending.extend(silent.map(|(peer, _)| format!("the first word of cluster {peer}")));
        pending
    }

    /// Whether a starting agent waits for anything. It is asked after each input, and words cost more than the answer.
    pub(super) fn waits(&self, now: Time) -> bool {
        let Some(engine) = &self.engine else { return true };
        let early = !self.ready && now < self.start_until;
        let awaited = || self.peers.iter().any(|(peer, state)| is_awaited(engine, peer, state));
        early && (!self.unchecked.is_empty() || awaited())
    }
}

/// Whether a starting agent waits for a peer's first word.
fn is_awaited(engine: &Engine, peer: &ClusterName, state: &PeerState) -> bool {
    !engine.knows_pools_of(peer) && !matches!(state, PeerState::Unreachable(_))
}
