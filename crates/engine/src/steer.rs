//! What moves traffic away from a service's pools although they are healthy: location verdicts and shifts.
//!
//! One [`Steering`] per service decides which of its pools they act on. Both spare the last healthy place of the
//! service: a pool that is healthy, allowed, in reach and not emptied itself. Once they act they go on acting, even
//! if the other places fail later: the planner then uses the emptied pools before it panics, and nothing flaps.

use crate::{
    engine::Fleet,
    location::Location,
    plan::{Hold, Rule},
    policy::Policy,
    pool::Acting,
    shift::{Away, SavedAway, Shift, ShiftTarget},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, ServiceName, Time, Zone};

/// A service whose requests succeeded somewhere within this time is not drained from there by a verdict on the place.
const RECENT: Duration = Duration::from_secs(1);

/// A pool of the service, own or told by another cluster.
#[derive(Clone, Debug)]
pub(crate) struct PoolPlace {
    pub(crate) cluster: ClusterName,
    pub(crate) locality: Locality,
    /// Whether anything there is healthy.
    pub(crate) healthy: bool,
    /// Whether traffic may and can go there, and its owner lets it.
    pub(crate) usable: bool,
}

impl PoolPlace {
    fn is_in(&self, location: &Location) -> bool {
        location.covers(&self.cluster, &self.locality)
    }

    fn key(&self) -> Key {
        (self.cluster.clone(), self.locality.clone())
    }
}

type Key = (ClusterName, Locality);

/// Where a pool stands once shifts are looked at too. While a part of its traffic is moved away its phase stays.
pub(crate) fn phase(phase: Phase, away: Away) -> Phase {
    match phase {
        Phase::Empty => Phase::Empty,
        _ if away.kept.is_zero() => Phase::Shifted,
        Phase::Serving if away.is_returning() => Phase::Ramping,
        phase => phase,
    }
}

/// Whether a cluster of pools in these phases is emptied by shifts: by them alone, or beside pools that are out.
pub(crate) fn is_emptied(phases: &BTreeSet<Phase>) -> bool {
    phases.contains(&Phase::Shifted) && phases.iter().all(|it| matches!(it, Phase::Shifted | Phase::Out))
}

/// What acts on the pools of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steering {
    /// Pools that shifts leave less than everything.
    aways: BTreeMap<Key, Away>,
    in_effect: BTreeSet<ShiftTarget>,
    /// Own pools that only a verdict on their place drains, and the sentence of it.
    drained: BTreeMap<Locality, Arc<str>>,
    /// When a request was last seen to succeed.
    successes: BTreeMap<Locality, Time>,
    /// When a success will be too old to spare its pool.
    recheck: Option<Time>,
}

/// The same on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SavedSteering {
    aways: Vec<(Key, SavedAway)>,
    in_effect: Vec<ShiftTarget>,
    drained: Vec<(Locality, Arc<str>)>,
}

impl SavedSteering {
    /// Whether time changes it.
    pub(crate) fn runs(&self) -> bool {
        self.aways.iter().any(|(_, away)| away.runs())
    }

    /// The same `by` later, if nothing but time happened.
    pub(crate) fn age(&mut self, by: Duration) {
        self.aways.iter_mut().for_each(|(_, away)| away.age(by));
    }
}

impl Steering {
    /// Whether what is kept on disk of both is the same but for the time that passed.
    pub(crate) fn is_kept_like(&self, other: &Self) -> bool {
        self.aways == other.aways && self.in_effect == other.in_effect && self.drained == other.drained
    }

    pub(crate) fn restored(saved: &SavedSteering, now: Time) -> Self {
        let aways = saved.aways.iter().map(|(key, away)| (key.clone(), Away::restored(*away, now)));
        let in_effect = saved.in_effect.iter().cloned().collect();
        let drained = saved.drained.iter().cloned().collect();
        Self { aways: aways.collect(), in_effect, drained, ..Self::default() }
    }

    pub(crate) fn save(&self, now: Time) -> SavedSteering {
        SavedSteering {
            aways: self.aways.iter().map(|(key, away)| (key.clone(), away.save(now))).collect(),
            in_effect: self.in_effect.iter().cloned().collect(),
            drained: self.drained.iter().map(|(zone, why)| (zone.clone(), Arc::clone(why))).collect(),
        }
    }

    /// Whether nothing acts and nothing is about to.
    pub(crate) fn is_idle(&self, service: &ServiceName, fleet: &Fleet) -> bool {
        self.aways.is_empty()
            && self.in_effect.is_empty()
            && self.drained.is_empty()
            && self.recheck.is_none()
            && fleet.out.is_empty()
            && fleet.shifts.about(service).next().is_none()
            && fleet.verdicts.about(service).next().is_none()
    }

    pub(crate) fn succeeded(&mut self, locality: Locality, at: Time) {
        let last = self.successes.entry(locality).or_default();
        *last = at.max(*last);
    }

    /// Brings what acts on the pools up to `now`.
    pub(crate) fn update(
        &mut self,
        service: &ServiceName,
        fleet: &Fleet,
        policy: &Policy,
        places: &[PoolPlace],
        now: Time,
    ) {
        let shifts: Vec<&Shift> = fleet.shifts.about(service).collect();
        self.in_effect.retain(|target| fleet.shifts.has(target));
        self.drain(service, fleet, places, &shifts, now);
        for shift in &shifts {
            // A part of the traffic stays, so it drains nothing.
            let spares = shift.percent < 100 || shift.force;
            if spares || self.other_place(&shift.target.location, places, &shifts) {
                self.in_effect.insert(shift.target.clone());
            }
        }
        for place in places {
            let covering = shifts.iter().filter(|it| self.acts(it) && place.is_in(&it.target.location));
            let kept = covering.map(|shift| shift.kept()).min().unwrap_or(Fraction::ONE);
            if kept.is_one() && !self.aways.contains_key(&place.key()) {
                continue;
            }
            self.aways.entry(place.key()).or_insert(Away::NOT).observe(kept, policy, now);
        }
        // A pool that is gone takes its shift along, an own one already when it goes (`keep_only`).
        let there: BTreeSet<Key> = places.iter().map(PoolPlace::key).collect();
        self.aways.retain(|key, away| *away != Away::NOT && there.contains(key));
    }

    /// Own pools that are gone take their shifts along.
    pub(crate) fn keep_only(&mut self, own: &ClusterName, is_there: impl Fn(&Zone) -> bool) {
        self.aways.retain(|(cluster, locality), _| cluster != own || is_there(&locality.zone));
    }

    fn drain(
        &mut self,
        service: &ServiceName,
        fleet: &Fleet,
        places: &[PoolPlace],
        shifts: &[&Shift],
        now: Time,
    ) {
        self.recheck = None;
        for place in places.iter().filter(|place| place.cluster == fleet.own) {
            let zone = &place.locality;
            let told = fleet.verdicts.about(service).find(|(it, _)| place.is_in(it));
            let found = || fleet.out.iter().find(|(it, _)| place.is_in(it));
            let Some((location, why)) = told.or_else(found) else {
                self.drained.remove(zone);
                continue;
            };
            if self.drained.contains_key(zone)
                || !place.healthy
                || !self.other_place(location, places, shifts)
            {
                continue;
            }
            let is_recent = |at: &&Time| told.is_none() && now.since(**at) < RECENT;
            match self.successes.get(zone).filter(is_recent) {
                Some(at) => self.recheck = self.recheck.into_iter().chain([*at + RECENT]).min(),
                None => {
                    self.drained.insert(zone.clone(), Arc::clone(why));
                }
            }
        }
    }

    /// Whether the service has a healthy place outside of `location` that nothing empties.
    fn other_place(&self, location: &Location, places: &[PoolPlace], shifts: &[&Shift]) -> bool {
        let emptied = |place: &PoolPlace| {
            self.drained.contains_key(&place.locality)
                || shifts
                    .iter()
                    .any(|it| it.kept().is_zero() && self.acts(it) && place.is_in(&it.target.location))
        };
        places.iter().any(|it| it.usable && it.healthy && !it.is_in(location) && !emptied(it))
    }

    /// The shifts that would move the service away from one of these pools, and do not: it would lose its last healthy place.
    pub(crate) fn refused<'a>(
        &'a self,
        service: &'a ServiceName,
        fleet: &'a Fleet,
        places: &'a [PoolPlace],
    ) -> impl Iterator<Item = &'a Shift> {
        let shifts = fleet.shifts.about(service).filter(|shift| !self.acts(shift));
        shifts.filter(|shift| places.iter().any(|place| place.healthy && place.is_in(&shift.target.location)))
    }

    fn acts(&self, shift: &Shift) -> bool {
        self.in_effect.contains(&shift.target)
    }

    /// The verdict on `location` was wrong: its pools are drained no more. Which.
    pub(crate) fn withdraw(&mut self, location: &Location, own: &ClusterName) -> Vec<Locality> {
        let drained = self.drained.extract_if(.., |zone, _| location.covers(own, zone));
        drained.map(|(zone, _)| zone).collect()
    }

    pub(crate) fn drained(&self, locality: &Locality) -> Option<&Arc<str>> {
        self.drained.get(locality)
    }

    /// What acts on an own pool.
    pub(crate) fn acting(&self, locality: impl FnOnce() -> Locality, fleet: &Fleet) -> Acting {
        if self.moves_nothing() && self.drained.is_empty() {
            return Acting { drained: false, shifted: false };
        }
        let locality = locality();
        let shifted = !self.away(&fleet.own, &locality).kept.is_one();
        Acting { drained: self.drained(&locality).is_some(), shifted }
    }

    /// Whether shifts leave every pool everything.
    pub(crate) fn moves_nothing(&self) -> bool {
        self.aways.is_empty()
    }

    /// What shifts leave the pool.
    pub(crate) fn away(&self, cluster: &ClusterName, locality: &Locality) -> Away {
        if self.moves_nothing() {
            return Away::NOT;
        }
        self.aways.get(&(cluster.clone(), locality.clone())).copied().unwrap_or(Away::NOT)
    }

    /// What acts on the pool, for its reason.
    pub(crate) fn hold(
        &self,
        service: &ServiceName,
        fleet: &Fleet,
        cluster: &ClusterName,
        locality: &Locality,
    ) -> Option<Hold> {
        if *cluster == fleet.own
            && let Some(why) = self.drained(locality)
        {
            return Some(Hold { rule: Rule::LocationOut, note: Arc::clone(why) });
        }
        let covering = || {
            let shifts = fleet.shifts.about(service);
            shifts.filter(|shift| shift.target.location.covers(cluster, locality))
        };
        if let Some(shift) = covering().filter(|shift| self.acts(shift)).max_by_key(|shift| shift.percent) {
            return Some(Hold { rule: Rule::Shifted, note: shift.note().into() });
        }
        if let Some(shift) = covering().next() {
            let note = format!(
                "shift {} is refused for this service: no other healthy place of it is left; force moves it all the same",
                shift.name
            );
            return Some(Hold { rule: Rule::LastPlace, note: note.into() });
        }
        self.away(cluster, locality).is_returning().then(|| Hold {
            rule: Rule::Shifted,
            note: "a shift ended, its traffic comes back by the ramp".into(),
        })
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.aways.values().filter_map(|away| away.deadline()).chain(self.recheck).min()
    }
}
