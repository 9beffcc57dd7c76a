//! The engine's part in replicas: their votes on endpoints, and what is taken over from others.

use super::{Decision, Effects, Engine};
use crate::merge::{self, Snapshot, ToldBy, Verdicts};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};
use tidegate_model::{ServiceName, Time};

impl Engine {
    /// The word of this agent on all its pools, for a replica that starts or joins.
    #[must_use]
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let words = self.services.iter().map(|(name, state)| (name.clone(), state.words(now)));
        Snapshot { by: ToldBy::Replica, pools: words.collect() }
    }

    /// Whether what a replica found still counts, so that news of it can be taken in.
    #[must_use]
    pub fn hears(&self, replica: &str) -> bool {
        self.observations.hears(replica)
    }

    pub(super) fn checked(
        &mut self,
        (service, address): (ServiceName, SocketAddr),
        up: bool,
        detail: String,
        now: Time,
        effects: &mut Effects,
    ) {
        let Some(state) = self.services.get_mut(&service) else { return };
        state.set_own(address, up);
        let Some((zone, decided)) = state.vote(address, &self.observations) else { return };
        let reason = if decided == up { detail } else { MAJORITY.to_owned() };
        effects.changed.insert(service.clone());
        effects.decisions.push(Decision::Endpoint {
            service: service.clone(),
            address,
            zone,
            up: decided,
            reason,
        });
        self.update(&service, now, effects);
    }

    /// Takes an endpoint out for what requests found there, or lets it back; its checks speak for themselves.
    pub(super) fn eject(
        &mut self,
        (service, address): (ServiceName, SocketAddr),
        ejected: bool,
        reason: String,
        now: Time,
        effects: &mut Effects,
    ) {
        let Some(state) = self.services.get_mut(&service) else { return };
        let Some(zone) = state.eject(address, ejected) else { return };
        effects.changed.insert(service.clone());
        let (up, of) = (!ejected, service.clone());
        effects.decisions.push(Decision::Endpoint { service: of, address, zone, up, reason });
        self.update(&service, now, effects);
    }

    pub(super) fn replica_observed(
        &mut self,
        replica: Arc<str>,
        verdicts: Verdicts,
        at: Time,
        now: Time,
        effects: &mut Effects,
    ) {
        let mut about: BTreeSet<ServiceName> = self.observations.services_of(&replica).cloned().collect();
        about.extend(verdicts.keys().cloned());
        if self.observations.observe(replica, verdicts, at.min(now)) {
            self.vote_again(about, now, effects);
        }
    }

    /// Votes that became stale count no more.
    pub(super) fn expire_votes(&mut self, now: Time, effects: &mut Effects) {
        if !self.observations.is_empty() {
            let about = self.observations.expire(now).into_iter().collect();
            self.vote_again(about, now, effects);
        }
    }

    pub(super) fn vote_again(&mut self, about: BTreeSet<ServiceName>, now: Time, effects: &mut Effects) {
        for service in about {
            let Some(state) = self.services.get_mut(&service) else { continue };
            let addresses: Vec<SocketAddr> = state.endpoints().map(|endpoint| endpoint.address).collect();
            let mut moved = false;
            for address in addresses {
                if let Some((zone, up)) = state.vote(address, &self.observations) {
                    let (service, reason) = (service.clone(), MAJORITY.to_owned());
                    effects.decisions.push(Decision::Endpoint { service, address, zone, up, reason });
                    moved = true;
                }
            }
            if moved {
                effects.changed.insert(service.clone());
                self.update(&service, now, effects);
            }
        }
    }

    pub(super) fn merge(&mut self, snapshot: &Snapshot, now: Time, effects: &mut Effects) {
        let live = |service: &ServiceName| self.services.contains_key(service);
        merge::into_saved(&mut self.saved, self.told_by, snapshot, live);
        self.told_by = self.told_by.max(snapshot.by);
        snapshot
            .pools
            .keys()
            .filter(|it| self.saved.contains_key(*it))
            .for_each(|it| self.unsaved.service(it));
        for (service, pools) in &snapshot.pools {
            if let Some(state) = self.services.get_mut(service) {
                pools.iter().for_each(|(zone, told)| state.merge(zone, told, now));
                self.update(service, now, effects);
            }
        }
    }
}

const MAJORITY: &str = "by the majority of the replicas";
