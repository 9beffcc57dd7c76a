//! Location verdicts: when the services of a place lose it together, the place is declared out (DESIGN, section 4).
//!
//! Pure bookkeeping over one input: for each service, at which places it lives and whether anything of it is healthy
//! there. What follows from a verdict (who leaves, who must not) is decided per service, in `steer`.
//!
//! Rules, and where DESIGN leaves a choice, what was chosen:
//! - A service *lives* at a place if endpoints of it are expected there and one was healthy within the window. It is
//!   *lost* when its last healthy endpoint there goes. What was dead when this agent first saw it is no loss.
//! - A place is *suspected* once at least [`MIN_SERVICES`] live there, [`LOST_PERCENT`] of them were lost within
//!   [`WINDOW`] (its ends included), on [`MIN_NODES`] nodes, while all siblings together lost at most
//!   [`SIBLINGS_PERCENT`] of theirs. It is *out* when that still holds after [`CONFIRM`]: a dependency that fails
//!   everywhere is noticed everywhere within one check interval, and must not drain the first place that notices.
//! - A verdict is *withdrawn*, as if it had not been, when the siblings follow within [`WINDOW`] of it: then the cause
//!   is shared. Later losses elsewhere are another fault and change nothing here.
//! - A place *recovers* at the moment when less than [`LOST_PERCENT`] of the services that live there are still lost;
//!   services that are removed, or of which nothing is expected any more, count on neither side.
//! - A cluster or region is declared only if every part of it with services lost that much: what one zone explains is
//!   not told of the cluster. A place without siblings is never declared.
//!
//! Memory is bounded by services times places.

pub(crate) use crate::contingency::Location;
use crate::{engine::Fleet, pool::NodeId, small::SmallMap};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};
use tidegate_model::{ClusterName, Locality, ServiceName, Time};

/// Fewer services than this say nothing about a place.
pub(crate) const MIN_SERVICES: u32 = 5;
/// This part of the services that live at a place must be lost.
pub(crate) const LOST_PERCENT: u32 = 60;
/// The siblings may have lost at most this part of theirs.
pub(crate) const SIBLINGS_PERCENT: u32 = 10;
/// The lost services must have lain on so many nodes: one node is not a place.
pub(crate) const MIN_NODES: u32 = 2;
/// The services must be lost within this time of each other.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// How long the evidence must stand: the default check interval.
pub(crate) const CONFIRM: Duration = Duration::from_secs(1);

impl Location {
    /// Whether the zone of that cluster lies in this place.
    #[must_use]
    pub fn covers(&self, cluster: &ClusterName, locality: &Locality) -> bool {
        match self {
            Self::Zone(zone) => zone == locality,
            Self::Cluster(name) => name == cluster,
            Self::Region(region) => *region == locality.region,
        }
    }

    /// The place as it stands in a sentence: `zone us-east/us-east-1a`.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Zone(locality) => format!("zone {locality}"),
            Self::Cluster(cluster) => format!("cluster {cluster}"),
            Self::Region(region) => format!("region {region}"),
        }
    }

    fn is_sibling(&self, other: &Self) -> bool {
        self != other && std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// What is said of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LocationVerdict {
    /// Its services lose it together: the rest leave it.
    Out,
    /// It is out no more: its services came back, or the way to it did.
    Recovered,
    /// Its siblings followed, so it was not the place.
    Withdrawn,
    /// It is a cluster that we do not reach; it may well be up.
    Unreachable,
}

/// What services say of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Services that lost it.
    pub lost: u32,
    /// Services that live or lived there.
    pub of: u32,
    /// From the first loss to the last.
    pub within: Duration,
    /// Nodes on which the lost ones lay.
    pub nodes: u32,
    /// Losses of the siblings within the window.
    pub siblings_lost: u32,
    /// Services that live at the siblings, counted at each.
    pub siblings_of: u32,
}

/// A verdict with its evidence, for the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocationDecision {
    /// The place.
    pub location: Location,
    /// What is said of it.
    pub verdict: LocationVerdict,
    /// What services say; `None` where the peer link alone decided.
    pub evidence: Option<Evidence>,
}

/// One sentence: the verdict, the evidence, what follows.
impl fmt::Display for LocationDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location, verdict, evidence } = self;
        let location = location.words();
        let Some(Evidence { lost, of, within, nodes, siblings_lost, siblings_of }) = evidence else {
            return match verdict {
                LocationVerdict::Recovered => write!(f, "{location} is in reach again"),
                _ => write!(
                    f,
                    "{location} is out of reach from here: every service leaves it; it may well be up"
                ),
            };
        };
        match verdict {
            LocationVerdict::Recovered => write!(
                f,
                "{location} is not out any more: {lost} of {of} services are still lost there, less than \
                 {LOST_PERCENT} %; what only the verdict drained comes back by hold-down and ramp"
            ),
            LocationVerdict::Withdrawn => write!(
                f,
                "{location} was not the cause: its siblings lost {siblings_lost} of {siblings_of} services as well; \
                 what only the verdict drained is back at once"
            ),
            LocationVerdict::Out | LocationVerdict::Unreachable => write!(
                f,
                "{location} is declared out: {lost} of {of} services lost it within {:.1} s on {nodes} nodes, its \
                 siblings lost {siblings_lost} of {siblings_of}; the rest leave it",
                within.as_secs_f64()
            ),
        }
    }
}

/// How a service stands at a place where it is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) healthy: bool,
    /// The nodes of its endpoints; empty while it is healthy, when nobody asks.
    pub(crate) nodes: BTreeSet<NodeId>,
}

impl Standing {
    /// Takes in how the service stands in another part of the same place.
    pub(crate) fn join(&mut self, part: &Self) {
        self.healthy |= part.healthy;
        if self.healthy {
            self.nodes.clear();
        } else {
            self.nodes.extend(&part.nodes);
        }
    }
}

/// How a service stands at all places where it is expected.
pub(crate) type Standings = SmallMap<Location, Standing>;

/// A service by number: what is kept of tens of thousands of them at each place is small, and found without names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceId(u32);

/// Services by their numbers, one bit each.
#[derive(Clone, Debug, Default)]
struct Services {
    words: Vec<u64>,
    count: u32,
}

impl Services {
    /// Whether it was not in it.
    fn insert(&mut self, ServiceId(id): ServiceId) -> bool {
        let at = id as usize / 64;
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        let news = self.words[at] & (1 << (id % 64)) == 0;
        self.words[at] |= 1 << (id % 64);
        self.count += u32::from(news);
        news
    }

    /// Whether it was in it.
    fn remove(&mut self, ServiceId(id): ServiceId) -> bool {
        let Some(word) = self.words.get_mut(id as usize / 64) else { return false };
        let there = *word & (1 << (id % 64)) != 0;
        *word &= !(1 << (id % 64));
        self.count -= u32::from(there);
        there
    }
}

#[derive(Clone, Debug, Default)]
struct Place {
    healthy: Services,
    /// Losses within the window, or held as the evidence of a suspicion or verdict.
    lost: BTreeMap<ServiceId, (Time, BTreeSet<NodeId>)>,
    /// The same by time, to let the window pass.
    by_time: BTreeSet<(Time, ServiceId)>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Quiet,
    Suspected(Time),
    Out(Time),
}

impl Place {
    fn forget(&mut self, service: ServiceId) {
        self.healthy.remove(service);
        if let Some((at, _)) = self.lost.remove(&service) {
            self.by_time.remove(&(at, service));
        }
    }

    fn observe(&mut self, service: ServiceId, standing: &Standing, now: Time) {
        if standing.healthy {
            self.forget(service);
            self.healthy.insert(service);
        } else if self.healthy.remove(service) {
            self.lost.insert(service, (now, standing.nodes.clone()));
            self.by_time.insert((now, service));
        }
    }

    /// Lets losses go that are older than the window; they are evidence no more.
    fn prune(&mut self, now: Time) {
        while let Some((at, service)) = self.by_time.first()
            && now.since(*at) > WINDOW
        {
            self.lost.remove(service);
            self.by_time.pop_first();
        }
    }

    fn lost(&self) -> u32 {
        count(self.lost.len())
    }

    fn of(&self) -> u32 {
        self.healthy.count + self.lost()
    }

    /// Whether [`LOST_PERCENT`] of those that live there are lost.
    fn is_lost(&self) -> bool {
        self.of() > 0 && reaches(self.lost(), self.of(), LOST_PERCENT)
    }

    fn evidence(&self, (siblings_lost, siblings_of): (u32, u32)) -> Evidence {
        let nodes: BTreeSet<&NodeId> = self.lost.values().flat_map(|(_, nodes)| nodes).collect();
        let time = |it: Option<&(Time, ServiceId)>| it.map_or(Time::ZERO, |(at, _)| *at);
        let within = time(self.by_time.last()).since(time(self.by_time.first()));
        let nodes = count(nodes.len());
        Evidence { lost: self.lost(), of: self.of(), within, nodes, siblings_lost, siblings_of }
    }
}

/// The standing of all services at all places that the own cluster knows of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locations {
    places: BTreeMap<Location, Place>,
    /// Numbers of services that are gone, to be given again, and the next that was never given.
    free: Vec<u32>,
    next: u32,
    /// The numbers of services that a verdict from before a restart names, until they come back.
    awaited: BTreeMap<ServiceName, ServiceId>,
    dirty: bool,
}

impl Locations {
    /// The places that are declared out, with the services that were lost there, for the disk. `name` gives the name of
    /// a service that is here.
    pub(crate) fn out<'a>(
        &'a self,
        name: impl Fn(ServiceId) -> Option<&'a ServiceName>,
    ) -> impl Iterator<Item = (&'a Location, Vec<ServiceName>)> {
        let awaited: BTreeMap<ServiceId, &ServiceName> =
            self.awaited.iter().map(|(it, id)| (*id, it)).collect();
        let out = self.places.iter().filter(|(_, place)| matches!(place.stage, Stage::Out(_)));
        out.map(move |(location, place)| {
            let lost = place.lost.keys().filter_map(|id| name(*id).or_else(|| awaited.get(id).copied()));
            (location, lost.cloned().collect())
        })
    }

    /// A place that was declared out before a restart, and these services lost there. It recovers when they do.
    pub(crate) fn restore(&mut self, location: Location, lost: Vec<ServiceName>) {
        let lost: Vec<ServiceId> = lost.into_iter().map(|name| self.awaited(name)).collect();
        let place = self.places.entry(location).or_default();
        place.stage = Stage::Out(Time::ZERO);
        for service in lost {
            place.by_time.insert((Time::ZERO, service));
            place.lost.insert(service, (Time::ZERO, BTreeSet::new()));
        }
    }

    /// The number that a service will have when it comes back.
    fn awaited(&mut self, name: ServiceName) -> ServiceId {
        if let Some(id) = self.awaited.get(&name) {
            return *id;
        }
        let id = self.number();
        self.awaited.insert(name, id);
        id
    }

    /// A number for a new service.
    pub(crate) fn enroll(&mut self, name: &ServiceName) -> ServiceId {
        self.awaited.remove(name).unwrap_or_else(|| self.number())
    }

    fn number(&mut self) -> ServiceId {
        ServiceId(self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        }))
    }

    /// A service that a verdict from before a restart names does not come back.
    pub(crate) fn give_up(&mut self, name: &ServiceName) {
        if let Some(id) = self.awaited.remove(name) {
            self.strike(id);
        }
    }

    /// A service is gone. Nothing is left of what it said: its number may be another one's next.
    pub(crate) fn strike(&mut self, service: ServiceId) {
        self.dirty = true;
        self.places.values_mut().for_each(|place| place.forget(service));
        self.drop_quiet();
        self.free.push(service.0);
    }

    /// Takes in how a service stands everywhere, after what it said last; whether that is news.
    pub(crate) fn observe(
        &mut self,
        service: ServiceId,
        before: &Standings,
        standings: &Standings,
        now: Time,
    ) -> bool {
        if before == standings {
            return false;
        }
        self.dirty = true;
        let mut old = before.iter().peekable();
        for (location, standing) in standings.iter() {
            while let Some((gone, _)) = old.next_if(|(it, _)| *it != location && *it < location) {
                self.forget(gone, service);
            }
            let before = old.next_if(|(it, _)| *it == location);
            if before.is_some_and(|(_, before)| before == standing) {
                continue;
            }
            match self.places.get_mut(location) {
                Some(place) => place.observe(service, standing, now),
                None => self.places.entry(location.clone()).or_default().observe(service, standing, now),
            }
        }
        old.for_each(|(gone, _)| self.forget(gone, service));
        self.drop_quiet();
        true
    }

    /// Places where nobody is, or is missed, are forgotten.
    fn drop_quiet(&mut self) {
        self.places.retain(|_, it| it.healthy.count > 0 || !it.lost.is_empty() || it.stage != Stage::Quiet);
    }

    fn forget(&mut self, location: &Location, service: ServiceId) {
        if let Some(place) = self.places.get_mut(location) {
            place.forget(service);
        }
    }

    /// The places that may be declared out soon.
    pub(crate) fn suspected(&self) -> impl Iterator<Item = &Location> {
        let suspected = self.places.iter().filter(|(_, place)| matches!(place.stage, Stage::Suspected(_)));
        suspected.map(|(location, _)| location)
    }

    /// When a suspicion is old enough to become a verdict.
    pub(crate) fn deadline(&self) -> Option<(Time, &Location)> {
        let due = self.places.iter().filter_map(|(location, place)| match place.stage {
            Stage::Suspected(since) => Some((since + CONFIRM, location)),
            Stage::Quiet | Stage::Out(_) => None,
        });
        due.min()
    }

    /// Looks at the own places again, and tells what changed.
    pub(crate) fn judge(&mut self, fleet: &Fleet, now: Time) -> Vec<LocationDecision> {
        if !self.dirty && self.deadline().is_none_or(|(at, _)| at > now) {
            return Vec::new();
        }
        self.dirty = false;
        for place in self.places.values_mut().filter(|place| place.stage == Stage::Quiet) {
            place.prune(now);
        }
        // A place of which something was said is judged to the end, also when it is no longer one of ours: a region
        // that the last other cluster left would stay out for ever.
        let open =
            self.places.iter().filter(|(it, place)| place.stage != Stage::Quiet || is_judged(it, fleet));
        let open: Vec<Location> = open.map(|(it, _)| it.clone()).collect();
        open.into_iter().filter_map(|location| self.judge_one(location, fleet, now)).collect()
    }

    fn judge_one(&mut self, location: Location, fleet: &Fleet, now: Time) -> Option<LocationDecision> {
        let siblings = self.siblings(&location);
        let place = self.places.get(&location)?;
        let evidence = place.evidence(siblings);
        let holds = place.is_lost() && self.parts_are_lost(&location, fleet);
        let shared = !at_most(siblings.0, siblings.1, SIBLINGS_PERCENT);
        let enough = evidence.of >= MIN_SERVICES && evidence.nodes >= MIN_NODES;
        let convinces = is_judged(&location, fleet) && holds && !shared && siblings.1 > 0 && enough;
        let (stage, verdict) = match place.stage {
            Stage::Quiet if convinces => (Stage::Suspected(now), None),
            Stage::Suspected(since) if convinces && now.since(since) >= CONFIRM => {
                (Stage::Out(now), Some(LocationVerdict::Out))
            }
            Stage::Suspected(_) if !convinces => (Stage::Quiet, None),
            Stage::Out(_) if !place.is_lost() => (Stage::Quiet, Some(LocationVerdict::Recovered)),
            Stage::Out(since) if shared && now.since(since) <= WINDOW => {
                (Stage::Quiet, Some(LocationVerdict::Withdrawn))
            }
            stage => (stage, None),
        };
        if let Some(place) = self.places.get_mut(&location) {
            place.stage = stage;
        }
        verdict.map(|verdict| LocationDecision { location, verdict, evidence: Some(evidence) })
    }

    /// What all siblings together lost, and of how many.
    fn siblings(&self, location: &Location) -> (u32, u32) {
        let siblings = self.places.iter().filter(|(other, _)| location.is_sibling(other));
        siblings.fold((0, 0), |(lost, of), (_, place)| (lost + place.lost(), of + place.of()))
    }

    /// Whether every part of a cluster or region with services is lost: else a part explains it.
    fn parts_are_lost(&self, location: &Location, fleet: &Fleet) -> bool {
        let is_part = |part: &Location| match (location, part) {
            (Location::Cluster(_), Location::Zone(_)) => true,
            (Location::Region(region), Location::Cluster(name)) => {
                fleet.region_of(name).is_some_and(|it| it == region)
            }
            _ => false,
        };
        self.places.iter().filter(|(part, it)| is_part(part) && it.of() > 0).all(|(_, it)| it.is_lost())
    }
}

/// The own zones, the own cluster, and the own region if other clusters lie in it too (else it is the cluster).
fn is_judged(location: &Location, fleet: &Fleet) -> bool {
    match location {
        Location::Zone(_) => true,
        Location::Cluster(cluster) => *cluster == fleet.own,
        Location::Region(region) => {
            *region == fleet.region && fleet.clusters.values().any(|other| other == region)
        }
    }
}

fn reaches(part: u32, whole: u32, percent: u32) -> bool {
    u64::from(part) * 100 >= u64::from(whole) * u64::from(percent)
}

fn at_most(part: u32, whole: u32, percent: u32) -> bool {
    u64::from(part) * 100 <= u64::from(whole) * u64::from(percent)
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
