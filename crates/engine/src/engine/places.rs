//! The engine's part in location verdicts and shifts: what comes in, what is told, who is asked again.

use super::{Decision, Effects, Engine};
use crate::{
    location::{Location, LocationDecision, LocationVerdict},
    shift::{Shift, ShiftChange, ShiftDecision},
};
use std::collections::BTreeMap;
use tidegate_model::{ClusterName, ServiceName, Time};

impl Engine {
    pub(super) fn start_shift(&mut self, shift: Shift, now: Time, effects: &mut Effects) {
        let decision = self.fleet.shifts.start(shift, now);
        let started = decision.change == ShiftChange::Started;
        effects.decisions.push(Decision::Shift(decision));
        if started {
            self.update_all(now, effects);
        }
    }

    pub(super) fn end_shift(&mut self, name: &str, now: Time, effects: &mut Effects) {
        let ended = self.fleet.shifts.end(name);
        self.shifts_ended(ended, now, effects);
    }

    pub(super) fn expire_shifts(&mut self, now: Time, effects: &mut Effects) {
        let expired = self.fleet.shifts.expire(now);
        self.shifts_ended(expired, now, effects);
    }

    fn shifts_ended(&mut self, ended: Vec<ShiftDecision>, now: Time, effects: &mut Effects) {
        if !ended.is_empty() {
            self.unsaved.fleet();
            effects.decisions.extend(ended.into_iter().map(Decision::Shift));
            self.update_all(now, effects);
        }
    }

    /// The shifts in force, with what remains of each at `now`.
    pub fn shifts(&self, now: Time) -> impl Iterator<Item = Shift> {
        self.fleet.shifts.at(now)
    }

    /// By shift, the services for which it is refused now: they would lose their last healthy place. A shift is an order for
    /// its whole time: each of them leaves once it has another healthy place, or at once by force.
    #[must_use]
    pub fn refused_shifts(&self) -> BTreeMap<String, Vec<ServiceName>> {
        let mut refused: BTreeMap<String, Vec<ServiceName>> = BTreeMap::new();
        for (name, state) in &self.services {
            for shift in state.refused_shifts(&self.fleet) {
                refused.entry(shift).or_default().push(name.clone());
            }
        }
        refused
    }

    /// The places that service evidence speaks against: declared out, or about to be within a second.
    pub fn doubted(&self) -> impl Iterator<Item = &Location> {
        self.fleet.out.keys().chain(self.locations.suspected())
    }

    /// The places that are declared out by service evidence.
    pub fn locations_out(&self) -> impl Iterator<Item = &Location> {
        self.fleet.out.keys()
    }

    /// Tells a verdict of the peer link in the form of all verdicts on places.
    pub(super) fn tell_reach(cluster: &ClusterName, reachable: bool, effects: &mut Effects) {
        let verdict = if reachable { LocationVerdict::Recovered } else { LocationVerdict::Unreachable };
        let location = Location::Cluster(cluster.clone());
        effects.decisions.push(Decision::Location(LocationDecision { location, verdict, evidence: None }));
    }

    /// Judges the places by what services say now; a verdict asks every service again.
    pub(super) fn judge_places(&mut self, now: Time, effects: &mut Effects) {
        let decisions = self.locations.judge(&self.fleet, now);
        if decisions.is_empty() {
            return;
        }
        self.unsaved.fleet();
        for decision in decisions {
            let LocationDecision { location, verdict, .. } = &decision;
            match verdict {
                LocationVerdict::Out | LocationVerdict::Unreachable => {
                    self.fleet.out.insert(location.clone(), decision.to_string().into());
                }
                LocationVerdict::Recovered => {
                    self.fleet.out.remove(location);
                }
                LocationVerdict::Withdrawn => {
                    self.fleet.out.remove(location);
                    let own = &self.fleet.own;
                    self.services.values_mut().for_each(|service| service.withdraw(location, own));
                }
            }
            effects.decisions.push(Decision::Location(decision));
        }
        self.update_all(now, effects);
    }
}
