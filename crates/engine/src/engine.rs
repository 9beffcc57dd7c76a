//! The engine of one cluster: events in, plans and decisions out.
//!
//! It owns every service's state. The agent tells it what discovery, checks and peers report, asks for the
//! next deadline, and translates what changed. It performs no I/O and reads no clock; times are passed in.

mod deadlines;
mod demand;
mod event;
mod inputs;
mod names;
mod places;
mod replicas;
mod saving;

use crate::{
    contingency::Location,
    declared::FleetView,
    location::{Locations, Standings},
    merge::{Observations, ToldBy},
    plan::{Plan, Source},
    policy::Policy,
    proximity::{Distances, RoundTrips},
    service::{Boards, EndpointView, Outcome, RemotePoolView, RemoteZones, SavedService, ServiceState},
    shift::{Shift, Shifts},
    verdict::Verdicts,
};
use deadlines::Deadlines;
pub use event::{Decision, Effects, Event};
use names::Names;
pub use saving::{Gathered, PartKey, Saved, SavedPart};
use saving::{SavedPlace, Unsaved};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, Locality, PoolStatus, Region, ServiceName, Time};

/// What the fleet looks like from the own cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// The own cluster.
    pub own: ClusterName,
    /// Its region.
    pub region: Region,
    /// The other clusters, with their regions.
    pub clusters: BTreeMap<ClusterName, Region>,
    /// Round-trip times from the own region to others.
    pub distances: BTreeMap<Region, Duration>,
    /// Where requests enter in the own cluster.
    pub sources: BTreeSet<Source>,
    /// The same, replaced by what was measured where that differs for long.
    pub(crate) measured: Arc<Distances>,
    /// Clusters that are out of reach.
    pub(crate) unreachable: BTreeSet<ClusterName>,
    /// How other clusters see the fleet, as they told with their demand.
    pub(crate) views: BTreeMap<ClusterName, FleetView>,
    /// Places that are declared out by service evidence, and the sentence of it.
    pub(crate) out: BTreeMap<Location, Arc<str>>,
    /// The shifts in force.
    pub(crate) shifts: Shifts,
    /// The verdicts that drills tell.
    pub(crate) verdicts: Verdicts,
}

impl Fleet {
    pub(crate) fn region_of(&self, cluster: &ClusterName) -> Option<&Region> {
        if *cluster == self.own { Some(&self.region) } else { self.clusters.get(cluster) }
    }

    pub(crate) fn is_reachable(&self, cluster: &ClusterName) -> bool {
        !self.unreachable.contains(cluster)
    }
}

/// Why the engine wants to be woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Time,
    /// What comes due.
    pub due: Due,
}

/// What comes due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A hold-down, ramp step, delay or mark of a service.
    Service(ServiceName),
    /// The evidence on a place has stood for long enough.
    Location(Location),
    /// The time of the shift of this name is over.
    Shift(String),
    /// The word of this replica becomes stale.
    Replica(Arc<str>),
}

type RemotePools = BTreeMap<ServiceName, RemoteZones>;

/// The engine of one cluster.
#[derive(Clone, Debug)]
pub struct Engine {
    fleet: Fleet,
    /// Boxed: services come in the order of their names, and leave a tree's nodes half empty.
    services: BTreeMap<ServiceName, Box<ServiceState>>,
    /// What other clusters told, also of services that this cluster does not know (yet).
    remote_pools: BTreeMap<ClusterName, RemotePools>,
    names: Names,
    deadlines: Deadlines,
    boards: Boards,
    /// What was known before the restart, until each service has come back and taken its part.
    saved: BTreeMap<ServiceName, SavedService>,
    /// What services say of places.
    locations: Locations,
    /// The round trips to other clusters.
    round_trips: RoundTrips,
    /// What other replicas found.
    observations: Observations,
    /// Whose word `saved` is.
    told_by: ToldBy,
    /// Shifts from before the restart: their time goes on with the first event.
    saved_shifts: Vec<Shift>,
    /// What changed since it was saved.
    unsaved: Unsaved,
    /// Times never step back inside the engine.
    latest: Time,
}

impl Engine {
    /// An engine for the cluster `own`, which takes up what `saved` holds as services come back.
    #[must_use]
    pub fn new(own: ClusterName, region: Region, saved: Saved) -> Self {
        let mut names = Names::default();
        let told = saved.remote_pools.into_iter();
        let remote_pools =
            told.map(|(cluster, pools)| (cluster, names.by_service(pools, |_| None))).collect();
        let mut locations = Locations::default();
        let mut out = BTreeMap::new();
        for SavedPlace { location, why, lost } in saved.places_out {
            locations.restore(location.clone(), lost);
            out.insert(location, why);
        }
        Self {
            fleet: Fleet {
                own,
                region,
                clusters: BTreeMap::new(),
                distances: BTreeMap::new(),
                measured: Arc::default(),
                sources: BTreeSet::new(),
                unreachable: saved.unreachable,
                views: BTreeMap::new(),
                out,
                shifts: Shifts::default(),
                verdicts: Verdicts::default(),
            },
            services: BTreeMap::new(),
            remote_pools,
            names,
            deadlines: Deadlines::default(),
            boards: Boards::default(),
            saved: saved.services,
            locations,
            round_trips: RoundTrips::restored(saved.distances),
            observations: Observations::default(),
            told_by: ToldBy::Disk,
            saved_shifts: saved.shifts,
            unsaved: Unsaved::default(),
            latest: Time::ZERO,
        }
    }

    /// When to call [`Engine::tick`] next, and what for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let service = self.deadlines.first().map(|(at, name)| (*at, Due::Service(name.clone())));
        let location = self.locations.deadline().map(|(at, it)| (at, Due::Location(it.clone())));
        let shift = self.fleet.shifts.deadline().map(|(at, name)| (at, Due::Shift(name.to_owned())));
        let vote = self.observations.deadline().map(|(at, replica)| (at, Due::Replica(Arc::clone(replica))));
        [service, location, shift, vote].into_iter().flatten().min().map(|(at, due)| Deadline { at, due })
    }

    /// Lets time do its work: hold-downs end, ramps climb, delays pass.
    pub fn tick(&mut self, now: Time) -> Effects {
        let now = self.advance(now);
        let mut effects = Effects::default();
        for service in self.deadlines.due(now) {
            self.update(&service, now, &mut effects);
        }
        self.expire_shifts(now, &mut effects);
        self.expire_votes(now, &mut effects);
        self.judge_places(now, &mut effects);
        effects
    }

    /// Takes in an event.
    pub fn handle(&mut self, event: Event, now: Time) -> Effects {
        let now = self.advance(now);
        let mut effects = Effects::default();
        if event.is_of_the_fleet() {
            self.unsaved.fleet();
        }
        match event {
            Event::Topology { clusters, distances } => {
                self.set_topology(clusters, distances, now, &mut effects);
            }
            Event::Sources(sources) => {
                self.fleet.sources = sources;
                self.boards.clear();
                self.update_all(now, &mut effects);
            }
            Event::Service { name, policy, endpoints, replicas } => {
                self.set_service(&name, (policy, replicas), &endpoints, now, &mut effects);
            }
            Event::ServiceRemoved(name) => {
                self.saved.remove(&name);
                self.unsaved.service(&name);
                if !self.fleet.out.is_empty() {
                    self.unsaved.fleet();
                }
                if let Some(state) = self.services.remove(&name) {
                    self.deadlines.replace(&name, state.due, None);
                    self.locations.strike(state.id);
                    effects.removed.insert(name.clone());
                    effects.statuses_changed.insert(name);
                } else {
                    self.locations.give_up(&name);
                }
            }
            Event::Checked { service, address, up, detail } => {
                self.checked((service, address), up, detail, now, &mut effects);
            }
            Event::Ejected { service, address, ejected, reason } => {
                self.eject((service, address), ejected, reason, now, &mut effects);
            }
            Event::RemotePools { cluster, pools } => {
                self.set_remote_pools(&cluster, pools, now, &mut effects);
            }
            Event::RemotePoolsChanged { cluster, changed, removed } => {
                self.change_remote_pools(&cluster, changed, &removed, now, &mut effects);
            }
            Event::Reachable { cluster, quick } => {
                if self.fleet.unreachable.remove(&cluster) {
                    Self::tell_reach(&cluster, true, &mut effects);
                    if quick {
                        self.services.values_mut().for_each(|service| service.undo_unreachable(&cluster));
                    }
                    self.update_if(now, &mut effects, |service| service.heeds(&cluster));
                }
            }
            Event::Unreachable(cluster) => {
                if self.fleet.unreachable.insert(cluster.clone()) {
                    self.interrupt_measuring(&cluster);
                    Self::tell_reach(&cluster, false, &mut effects);
                    self.update_if(now, &mut effects, |service| service.heeds(&cluster));
                }
            }
            Event::RoundTrip { cluster, rtt } => self.measure_distance(&cluster, rtt, now, &mut effects),
            Event::Demand { source, rates } => {
                self.measure_demand(&source, &rates, now, &mut effects);
            }
            Event::RemoteDemand { cluster, view, demand } => {
                self.hear_demand(&cluster, view, &demand, now, &mut effects);
            }
            Event::Arrivals { at, from } => self.set_arrivals(&at, &from, now, &mut effects),
            Event::Release { service, target } => {
                if let Some(state) = self.services.get_mut(&service) {
                    state.release(&target, now);
                    self.update(&service, now, &mut effects);
                }
            }
            Event::Succeeded { pools, at } => {
                for (service, zone) in pools {
                    let locality = Locality { region: self.fleet.region.clone(), zone };
                    if let Some(state) = self.services.get_mut(&service) {
                        state.succeeded(locality, at.min(now));
                    }
                }
            }
            Event::Shift(shift) => self.start_shift(shift, now, &mut effects),
            Event::ShiftEnded(name) => self.end_shift(&name, now, &mut effects),
            Event::Verdict { name, target, why } => {
                if self.fleet.verdicts.tell(name, target, why) {
                    self.update_all(now, &mut effects);
                }
            }
            Event::VerdictEnded(name) => {
                if self.fleet.verdicts.end(&name) {
                    self.update_all(now, &mut effects);
                }
            }
            Event::ReplicaObserved { replica, verdicts, at } => {
                self.replica_observed(replica, verdicts, at, now, &mut effects);
            }
            Event::ReplicaTold { replica, news, at } => {
                let about = self.observations.news(&replica, news, at.min(now));
                self.vote_again(about, now, &mut effects);
            }
            Event::Merge(snapshot) => self.merge(&snapshot, now, &mut effects),
        }
        self.judge_places(now, &mut effects);
        effects
    }

    /// The services that it knows.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.keys()
    }

    /// The plans of a service, one per source.
    pub fn plans(&self, service: &ServiceName) -> impl Iterator<Item = &Plan> {
        self.services.get(service).into_iter().flat_map(|state| state.plans())
    }

    /// The policy in force for a service.
    #[must_use]
    pub fn policy(&self, service: &ServiceName) -> Option<&Arc<Policy>> {
        self.services.get(service).map(|state| state.policy())
    }

    /// The endpoints of a service in the own cluster.
    pub fn endpoints(&self, service: &ServiceName) -> impl Iterator<Item = EndpointView> {
        self.services.get(service).into_iter().flat_map(|state| state.endpoints())
    }

    /// The pools of the own cluster, for other clusters and for people.
    pub fn statuses(&self, now: Time) -> impl Iterator<Item = PoolStatus> {
        self.services.values().flat_map(move |state| state.statuses(&self.fleet, now))
    }

    /// The own cluster's pools of one service; none when it is not known.
    pub fn statuses_of(&self, service: &ServiceName, now: Time) -> impl Iterator<Item = PoolStatus> {
        self.services.get(service).into_iter().flat_map(move |state| state.statuses(&self.fleet, now))
    }

    /// The pools of other clusters, of the services that this one knows.
    pub fn remote_pools(&self) -> impl Iterator<Item = RemotePoolView> {
        self.services.values().flat_map(|state| state.remote_views(&self.fleet))
    }

    /// The fleet as it is seen from here.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The clusters that are out of reach.
    #[must_use]
    pub fn unreachable(&self) -> &BTreeSet<ClusterName> {
        &self.fleet.unreachable
    }

    /// Whether anything is known, from disk or from peers, of the pools of `cluster`.
    #[must_use]
    pub fn knows_pools_of(&self, cluster: &ClusterName) -> bool {
        self.remote_pools.contains_key(cluster)
    }

    /// A clock that steps back is taken to stand still.
    fn advance(&mut self, now: Time) -> Time {
        self.latest = self.latest.max(now);
        for shift in std::mem::take(&mut self.saved_shifts) {
            // Their time runs from here on.
            self.unsaved.fleet();
            self.fleet.shifts.start(shift, self.latest);
        }
        self.latest
    }

    fn update_all(&mut self, now: Time, effects: &mut Effects) {
        // A lost region may change every plan: growing step by step would copy what was decided again and again.
        effects.decisions.reserve(self.services.len() * self.fleet.sources.len());
        self.update_if(now, effects, |_| true);
    }

    fn update_if(&mut self, now: Time, effects: &mut Effects, is_asked: impl Fn(&ServiceState) -> bool) {
        let mut changed = Vec::new();
        let (locations, deadlines) = (&mut self.locations, &mut self.deadlines);
        let mut asked = Asked::of(&self.fleet, locations, deadlines, &mut self.boards, &mut self.unsaved);
        for (name, state) in self.services.iter_mut().filter(|(_, state)| is_asked(state)) {
            if asked.update(name, state, now, effects) {
                changed.push(name.clone());
            }
        }
        // In order already, so that nothing is looked up.
        effects.changed.append(&mut changed.into_iter().collect());
    }

    fn update(&mut self, name: &ServiceName, now: Time, effects: &mut Effects) {
        if let Some(state) = self.services.get_mut(name) {
            let (locations, deadlines) = (&mut self.locations, &mut self.deadlines);
            let mut asked = Asked::of(&self.fleet, locations, deadlines, &mut self.boards, &mut self.unsaved);
            if asked.update(name, state, now, effects) {
                effects.changed.insert(name.clone());
            }
        }
    }
}

/// What of the engine an update of one service needs besides the service.
struct Asked<'a> {
    fleet: &'a Fleet,
    locations: &'a mut Locations,
    deadlines: &'a mut Deadlines,
    boards: &'a mut Boards,
    unsaved: &'a mut Unsaved,
    /// Where to write how a service stands.
    standings: Standings,
}

impl<'a> Asked<'a> {
    const fn of(
        fleet: &'a Fleet,
        locations: &'a mut Locations,
        deadlines: &'a mut Deadlines,
        boards: &'a mut Boards,
        unsaved: &'a mut Unsaved,
    ) -> Self {
        Self { fleet, locations, deadlines, boards, unsaved, standings: Standings::new() }
    }

    /// Whether plans changed.
    fn update(
        &mut self,
        name: &ServiceName,
        state: &mut ServiceState,
        now: Time,
        effects: &mut Effects,
    ) -> bool {
        let Outcome { plans_changed, statuses_changed } =
            state.update(self.fleet, now, self.boards, &mut effects.decisions);
        state.standings(self.fleet, &mut self.standings);
        if self.locations.observe(state.id, &state.standings, &self.standings, now) {
            std::mem::swap(&mut state.standings, &mut self.standings);
            // Who was lost in a place that is out is kept with it.
            if !self.fleet.out.is_empty() {
                self.unsaved.fleet();
            }
        }
        if std::mem::take(&mut state.unsaved) {
            self.unsaved.service(name);
        }
        if statuses_changed {
            effects.statuses_changed.insert(name.clone());
        }
        let due = state.deadline();
        self.deadlines.replace(name, state.due, due);
        state.due = due;
        plans_changed
    }
}
