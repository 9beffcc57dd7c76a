//! The steps of a run that act on pools besides their health, and what is watched of those.

use super::{Run, address};
use crate::{
    drawn::{SERVICES, SHIFTS, Step, ZONES},
    fixture::{cluster, region, service, zone},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_engine::{
    Decision, Effects, Engine, Event, Location, LocationVerdict, Reason, Rule, Saved, Shift, ShiftChange,
    Target, Verdicts,
};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, Region, ServiceName, Time, Zone};

impl Run {
    pub(super) fn act(&mut self, step: Step) {
        match step {
            Step::ZoneOfAll { zone, up } => {
                let services: Vec<usize> = self.services.keys().copied().collect();
                services.into_iter().for_each(|service| self.check_zone(service, zone, up));
            }
            Step::Succeeded { service: position, zone: at } => {
                let pools = [(service(SERVICES[position]), zone(ZONES[at]))].into();
                self.handle(&Event::Succeeded { pools, at: self.now }, self.now);
            }
            Step::Shift(shift) => self.shift(&shift),
            Step::ShiftEnded(name) => self.handle(&Event::ShiftEnded(SHIFTS[name].to_owned()), self.now),
            Step::Replica { name, service: position, zone: at, up, age_ms } => {
                let found: BTreeMap<_, _> = (1..5).map(|n| (address(at, n), up)).collect();
                let verdicts = Verdicts::from([(service(SERVICES[position]), found)]);
                let age = Duration::from_millis(age_ms);
                let at = Time::from_origin(self.now.since_origin().saturating_sub(age));
                let event = Event::ReplicaObserved { replica: format!("r{name}").into(), verdicts, at };
                self.handle(&event, self.now);
            }
            Step::Joins { service, zone, back } => self.joins(service, zone, back),
            other => unreachable!("{other:?} is told, not acting"),
        }
    }

    /// One that has no force and is new leaves the service its last healthy place.
    fn shift(&mut self, shift: &Shift) {
        self.shifted = true;
        let engine = &self.engines[0];
        let new = engine.shifts(self.now).next().is_none() && !self.is_returning();
        let whole: Vec<(ServiceName, bool)> = engine
            .services()
            .map(|name| (name.clone(), other_place(engine, name, &shift.target.location, self.now)))
            .collect();
        self.handle(&Event::Shift(shift.clone()), self.now);
        if new && !shift.force && shift.percent == 100 {
            let emptied: BTreeSet<ServiceName> = self.engines[0]
                .statuses(self.now)
                .filter(|it| it.phase == Phase::Shifted)
                .map(|it| it.service)
                .collect();
            for (name, has_other) in whole {
                assert!(has_other || !emptied.contains(&name), "the last healthy place of {name}: {shift:?}");
            }
        }
    }

    /// Whether some pool still shows an earlier shift.
    fn is_returning(&self) -> bool {
        let by_governor = self.governors();
        let shown = self.engines[0].statuses(self.now).map(|it| it.admit);
        by_governor.iter().map(|(_, _, admit, _)| *admit).ne(shown)
    }

    /// A replica that joins never raises what a pool is given.
    fn joins(&mut self, position: usize, at: usize, back: bool) {
        let Some((policy, endpoints)) = self.services.get(&position).cloned() else { return };
        let name = service(SERVICES[position]);
        let mut other = Engine::new(cluster("east"), region("us-east"), Saved::default());
        let (policy, there) = (std::sync::Arc::new(policy), endpoints.keys().copied().collect::<Vec<_>>());
        let told = Event::Service { name: name.clone(), policy, endpoints, replicas: None };
        other.handle(told, Time::ZERO);
        let in_zone: Vec<_> = (1..5).map(|n| address(at, n)).filter(|it| there.contains(it)).collect();
        for up in [true, false, true].into_iter().take(if back { 3 } else { 2 }) {
            for address in in_zone.iter().copied() {
                let (service, detail) = (name.clone(), String::new());
                other.handle(Event::Checked { service, address, up, detail }, Time::ZERO);
            }
        }
        // What is due by now rises whoever speaks.
        self.follow(Some(self.now));
        let before: BTreeMap<_, _> = self.admits();
        // What others held down counts from when they began.
        self.tracks.clear();
        self.handle(&Event::Merge(other.snapshot(Time::from_millis(500))), self.now);
        for (pool, admit) in self.admits() {
            assert!(
                before.get(&pool).is_none_or(|before| admit <= *before),
                "{pool:?} rose by a replica's word"
            );
        }
    }

    fn admits(&self) -> BTreeMap<(ServiceName, Target), Fraction> {
        self.governors().into_iter().map(|(service, target, admit, _)| ((service, target), admit)).collect()
    }

    /// What governors give the own pools, shifts aside, and whether they climb: as a replica would be told.
    pub(super) fn governors(&self) -> Vec<(ServiceName, Target, Fraction, bool)> {
        let told = serde_json::to_value(self.engines[0].snapshot(self.now)).unwrap();
        let services = told["pools"].as_object().unwrap().iter();
        let pools = services.flat_map(|(name, zones)| {
            let zones = zones.as_object().unwrap().iter();
            zones.map(move |(in_zone, told)| {
                let governor = &told["governor"];
                let admit = serde_json::from_value(governor["admit"].clone()).unwrap();
                let climbs = governor["stage"].get("ramping").is_some();
                (name.parse().unwrap(), Target::Zone(zone(in_zone)), admit, climbs)
            })
        });
        pools.collect()
    }

    /// Looks at what was decided before it is watched.
    pub(super) fn heed(&mut self, effects: &Effects) {
        for decision in &effects.decisions {
            match decision {
                // What only the verdict drained is back at once.
                Decision::Location(it) if it.verdict == LocationVerdict::Withdrawn => self.tracks.clear(),
                Decision::Shift(it) if it.change == ShiftChange::Started => self.shifted = true,
                _ => {}
            }
        }
        self.spares();
    }

    /// A verdict on a place drains no service's last healthy place: when a pool is drained, another one is healthy. Once
    /// drained it is for as long as the place is out, also while it is the last resort.
    fn spares(&mut self) {
        let engine = &self.engines[0];
        let place = |in_zone: &Zone| Locality { region: region("us-east"), zone: in_zone.clone() };
        let is_out = |(_, target): &(ServiceName, Target)| {
            let Target::Zone(in_zone) = target else { return false };
            engine.locations_out().any(|it| it.covers(&cluster("east"), &place(in_zone)))
        };
        let mut drained = std::mem::take(&mut self.drained);
        drained.retain(is_out);
        // What a shift empties as well says so first; that a verdict drains it is in the note, and shows when the shift ends.
        let by_verdict = |reason: &&Reason| match reason.rule {
            Rule::LocationOut => true,
            Rule::Shifted => reason.note.as_ref().is_some_and(|note| note.contains("is declared out")),
            _ => false,
        };
        for plan in engine.services().flat_map(|name| engine.plans(name)) {
            for reason in plan.reasons.iter().filter(|it| it.healthy > 0).filter(by_verdict) {
                let Target::Zone(in_zone) = &reason.target else { continue };
                let key = (plan.service.clone(), reason.target.clone());
                let is_new = drained.insert(key);
                let spared =
                    !is_new || other_place(engine, &plan.service, &Location::Zone(place(in_zone)), self.now);
                assert!(spared, "a verdict drained the last healthy place: {plan:#?}");
            }
        }
        self.drained = drained;
    }
}

/// Whether the service has a healthy place outside of `location` that it may use.
fn other_place(engine: &Engine, name: &ServiceName, location: &Location, now: Time) -> bool {
    let fleet = engine.fleet();
    let residency = engine.policy(name).and_then(|policy| policy.residency.clone());
    let allowed = |region: &Region, cluster: &ClusterName| {
        residency.as_ref().is_none_or(|only| only.value.allows(region, cluster))
    };
    let own = engine.statuses_of(name, now).any(|it| {
        it.healthy > 0
            && it.expected > 0
            && allowed(&fleet.region, &fleet.own)
            && !location.covers(&fleet.own, &it.locality)
    });
    let mut others = engine.remote_pools().filter(|it| it.status.service == *name && it.reachable);
    own || others.any(|it| {
        let told = &it.status;
        let lets = !matches!(told.phase, Phase::Out | Phase::Shifted | Phase::Empty);
        let region = fleet.clusters.get(&it.cluster);
        told.healthy > 0
            && told.expected > 0
            && lets
            && region.is_some_and(|region| allowed(region, &it.cluster))
            && !location.covers(&it.cluster, &told.locality)
    })
}
