//! What of the engine must survive a restart: as a whole, and in parts as they change.
//!
//! The whole of a large fleet takes long to gather and to write, and little of it changes at a time. So the engine marks
//! what changed, [`Engine::take_unsaved`] gives the oldest of it, as much as the caller has time for, and [`Gathered`]
//! puts the parts together again. Times are kept as what remains of them; what runs on by itself (a hold-down) is no
//! change: [`SavedPart::age`] lets the time pass that the owner saw pass since it gave the part.

use super::{Engine, RemotePools};
use crate::{
    contingency::Location, location::ServiceId, proximity::Distances, service::SavedService, shift::Shift,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, PoolStatus, ServiceName, Time};

/// A measured demand that moves no plan waits so long before it counts as a change: measurements come every second, and
/// what was asked for ten seconds ago is as good after a restart.
const DEMAND_EVERY: Duration = Duration::from_secs(10);

/// What must survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Saved {
    pub(super) services: BTreeMap<ServiceName, SavedService>,
    pub(super) remote_pools: BTreeMap<ClusterName, Vec<PoolStatus>>,
    pub(super) unreachable: BTreeSet<ClusterName>,
    /// With what remains of each.
    pub(super) shifts: Vec<Shift>,
    /// Measured distances that replaced declared ones.
    pub(super) distances: Distances,
    /// The verdicts on places that stand.
    pub(super) places_out: Vec<SavedPlace>,
}

/// A place that is declared out, on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SavedPlace {
    pub(super) location: Location,
    /// The sentence of it.
    pub(super) why: Arc<str>,
    /// The services that were lost there.
    pub(super) lost: Vec<ServiceName>,
}

/// A part of [`Saved`]. A later part of the same [`key`](SavedPart::key) replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedPart(Part);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Part {
    Service {
        name: ServiceName,
        /// Whether its times run: nobody watches a service that did not come back after a restart.
        #[serde(default, skip_serializing_if = "is_false")]
        runs: bool,
        /// `None` when it is gone.
        kept: Option<Box<SavedService>>,
    },
    RemotePools {
        cluster: ClusterName,
        service: ServiceName,
        /// None when they are gone.
        pools: Vec<PoolStatus>,
    },
    Fleet {
        #[serde(default, skip_serializing_if = "is_false")]
        runs: bool,
        kept: Box<SavedFleet>,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
const fn is_false(it: &bool) -> bool {
    !*it
}

/// What of [`Saved`] is about the fleet, and never much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SavedFleet {
    /// Who told of its pools, if only that there are none.
    heard: BTreeSet<ClusterName>,
    unreachable: BTreeSet<ClusterName>,
    shifts: Vec<Shift>,
    distances: Distances,
    places_out: Vec<SavedPlace>,
}

/// What a [`SavedPart`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartKey(Key);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Service(ServiceName),
    RemotePools(ClusterName, ServiceName),
    Fleet,
}

impl SavedPart {
    /// What it is about.
    #[must_use]
    pub fn key(&self) -> PartKey {
        PartKey(match &self.0 {
            Part::Service { name, .. } => Key::Service(name.clone()),
            Part::RemotePools { cluster, service, .. } => Key::RemotePools(cluster.clone(), service.clone()),
            Part::Fleet { .. } => Key::Fleet,
        })
    }

    /// Whether it says only that something is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match &self.0 {
            Part::Service { kept, .. } => kept.is_none(),
            Part::RemotePools { pools, .. } => pools.is_empty(),
            Part::Fleet { .. } => false,
        }
    }

    /// Whether time changes it.
    #[must_use]
    pub const fn runs(&self) -> bool {
        matches!(&self.0, Part::Service { runs: true, .. } | Part::Fleet { runs: true, .. })
    }

    /// The same `by` later, if its owner saw that time pass and nothing else of it changed.
    pub fn age(&mut self, by: Duration) {
        match &mut self.0 {
            Part::Service { runs: true, kept: Some(kept), .. } => kept.age(by),
            Part::Fleet { runs: true, kept } => {
                kept.shifts.iter_mut().for_each(|it| it.remaining = it.remaining.saturating_sub(by));
            }
            _ => {}
        }
    }

    /// Nobody watches it from here on: its times stand.
    pub fn stop(&mut self) {
        if let Part::Service { runs, .. } | Part::Fleet { runs, .. } = &mut self.0 {
            *runs = false;
        }
    }
}

impl Saved {
    /// The same in parts, of which nothing runs.
    pub fn into_parts(self) -> impl Iterator<Item = SavedPart> {
        let Self { services, remote_pools, unreachable, shifts, distances, places_out } = self;
        let heard = remote_pools.keys().cloned().collect();
        let fleet = SavedFleet { heard, unreachable, shifts, distances, places_out };
        let services = services.into_iter().map(|(name, kept)| Part::Service {
            name,
            runs: false,
            kept: Some(Box::new(kept)),
        });
        let remote = remote_pools.into_iter().flat_map(|(cluster, pools)| {
            let mut by_service: BTreeMap<ServiceName, Vec<PoolStatus>> = BTreeMap::new();
            for pool in pools {
                by_service.entry(pool.service.clone()).or_default().push(pool);
            }
            let part = move |(service, pools)| Part::RemotePools { cluster: cluster.clone(), service, pools };
            by_service.into_iter().map(part)
        });
        let fleet = Part::Fleet { runs: false, kept: Box::new(fleet) };
        services.chain(remote).chain([fleet]).map(SavedPart)
    }
}

/// Parts on their way to be [`Saved`] again.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    services: BTreeMap<ServiceName, SavedService>,
    remote_pools: BTreeMap<(ClusterName, ServiceName), Vec<PoolStatus>>,
    fleet: SavedFleet,
}

impl Gathered {
    /// Takes in a part, over what was known of it.
    pub fn take(&mut self, part: SavedPart) {
        match part.0 {
            Part::Service { name, kept: Some(kept), .. } => {
                self.services.insert(name, *kept);
            }
            Part::Service { name, kept: None, .. } => {
                self.services.remove(&name);
            }
            Part::RemotePools { cluster, service, pools } if pools.is_empty() => {
                self.remote_pools.remove(&(cluster, service));
            }
            Part::RemotePools { cluster, service, pools } => {
                self.remote_pools.insert((cluster, service), pools);
            }
            Part::Fleet { kept, .. } => self.fleet = *kept,
        }
    }

    /// All of it.
    #[must_use]
    pub fn into_saved(self) -> Saved {
        let SavedFleet { heard, unreachable, shifts, distances, places_out } = self.fleet;
        let mut remote_pools: BTreeMap<ClusterName, Vec<PoolStatus>> =
            heard.into_iter().map(|cluster| (cluster, Vec::new())).collect();
        for ((cluster, _), mut pools) in self.remote_pools {
            remote_pools.entry(cluster).or_default().append(&mut pools);
        }
        Saved { services: self.services, remote_pools, unreachable, shifts, distances, places_out }
    }
}

/// What changed since it was saved, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsaved {
    queue: VecDeque<Key>,
    queued: BTreeSet<Key>,
    /// Services of which only a measured demand changed, and since when.
    demands: BTreeMap<ServiceName, Time>,
}

impl Unsaved {
    fn mark(&mut self, key: Key) {
        if !self.queued.contains(&key) {
            self.queued.insert(key.clone());
            self.queue.push_back(key);
        }
    }

    pub(super) fn service(&mut self, name: &ServiceName) {
        self.mark(Key::Service(name.clone()));
    }

    pub(super) fn remote_pools(&mut self, cluster: &ClusterName, service: &ServiceName) {
        self.mark(Key::RemotePools(cluster.clone(), service.clone()));
    }

    pub(super) fn fleet(&mut self) {
        self.mark(Key::Fleet);
    }

    pub(super) fn demand(&mut self, name: &ServiceName, now: Time) {
        if !self.demands.contains_key(name) {
            self.demands.insert(name.clone(), now);
        }
    }

    /// Demands that have waited long enough, or all of them, wait with the rest.
    fn ripen(&mut self, all: bool, now: Time) {
        let ripe = self.demands.extract_if(.., |_, at| all || now.since(*at) >= DEMAND_EVERY);
        for name in ripe.map(|(name, _)| name).collect::<Vec<_>>() {
            self.mark(Key::Service(name));
        }
    }

    fn next(&mut self) -> Option<Key> {
        let key = self.queue.pop_front()?;
        self.queued.remove(&key);
        if let Key::Service(name) = &key {
            self.demands.remove(name);
        }
        Some(key)
    }
}

impl Engine {
    /// What must survive a restart, as it stands at `now`.
    #[must_use]
    pub fn save(&self, now: Time) -> Saved {
        let mut services = self.saved.clone();
        services.extend(self.services.iter().map(|(name, service)| (name.clone(), service.save(now))));
        let flat = |pools: &RemotePools| pools.values().flat_map(|zones| zones.values()).cloned().collect();
        let remote_pools = self.remote_pools.iter().map(|(cluster, pools)| (cluster.clone(), flat(pools)));
        let SavedFleet { unreachable, shifts, distances, places_out, .. } = self.save_fleet(now);
        Saved { services, remote_pools: remote_pools.collect(), unreachable, shifts, distances, places_out }
    }

    /// How much waits to be taken.
    #[must_use]
    pub fn unsaved(&self) -> usize {
        self.unsaved.queue.len()
    }

    /// What changed since it was taken last, as it stands at `now`: the oldest, at most `limit` parts. With `all`, also
    /// what is not worth a write yet, for an agent that stops.
    pub fn take_unsaved(&mut self, limit: usize, all: bool, now: Time) -> Vec<SavedPart> {
        self.unsaved.ripen(all, now);
        let mut parts = Vec::with_capacity(limit.min(self.unsaved.queue.len()));
        while parts.len() < limit
            && let Some(key) = self.unsaved.next()
        {
            parts.push(SavedPart(self.part(key, now)));
        }
        parts
    }

    /// What was taken is lost: all of it has to be saved again.
    pub fn mark_unsaved(&mut self) {
        let unsaved = &mut self.unsaved;
        self.saved.keys().chain(self.services.keys()).for_each(|name| unsaved.service(name));
        for (cluster, pools) in &self.remote_pools {
            pools.keys().for_each(|service| unsaved.remote_pools(cluster, service));
        }
        unsaved.fleet();
    }

    /// Forgets what changed, for an owner who keeps the whole or nothing: else it would wait for ever.
    pub fn forget_unsaved(&mut self) {
        self.unsaved = Unsaved::default();
    }

    fn part(&self, key: Key, now: Time) -> Part {
        match key {
            Key::Service(name) => {
                let live = self.services.get(&name).map(|state| Box::new(state.save(now)));
                let runs = live.as_ref().is_some_and(|it| it.runs());
                let kept = live.or_else(|| self.saved.get(&name).cloned().map(Box::new));
                Part::Service { name, runs, kept }
            }
            Key::RemotePools(cluster, service) => {
                let zones = self.remote_pools.get(&cluster).and_then(|pools| pools.get(&service));
                let pools = zones.map(|zones| zones.values().cloned().collect()).unwrap_or_default();
                Part::RemotePools { cluster, service, pools }
            }
            Key::Fleet => {
                let kept = Box::new(self.save_fleet(now));
                Part::Fleet { runs: self.saved_shifts.is_empty() && !kept.shifts.is_empty(), kept }
            }
        }
    }

    fn save_fleet(&self, now: Time) -> SavedFleet {
        SavedFleet {
            heard: self.remote_pools.keys().cloned().collect(),
            unreachable: self.fleet.unreachable.clone(),
            shifts: self.saved_shifts.iter().cloned().chain(self.fleet.shifts.at(now)).collect(),
            distances: self.round_trips.replaced().clone(),
            places_out: self.places_out(),
        }
    }

    fn places_out(&self) -> Vec<SavedPlace> {
        if self.fleet.out.is_empty() {
            return Vec::new();
        }
        let names: BTreeMap<ServiceId, &ServiceName> =
            self.services.iter().map(|(name, state)| (state.id, name)).collect();
        let out = self.locations.out(|id| names.get(&id).copied()).filter_map(|(location, lost)| {
            let why = Arc::clone(self.fleet.out.get(location)?);
            Some(SavedPlace { location: location.clone(), why, lost })
        });
        out.collect()
    }

    /// Marks a service that discovery told of, if what is known of it is not what is on disk (`saved`), or if it begins
    /// to run by being back.
    pub(super) fn mark_told(&mut self, name: &ServiceName, saved: Option<&SavedService>, now: Time) {
        let Some(state) = self.services.get_mut(name) else { return };
        mem::take(&mut state.unsaved);
        let kept = state.save(now);
        if saved.is_none_or(|saved| *saved != kept || kept.runs()) {
            self.unsaved.service(name);
        }
    }
}
