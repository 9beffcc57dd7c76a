//! Replicas of an agent: what they observe together, and what one of them takes over when it starts or joins.
//!
//! Two rules, and no lease:
//! - **Observations.** An endpoint is down when the majority of those who checked it lately say so, oneself counted;
//!   the same for up. Where neither has a majority it stays as it was, and at first it is what we ourselves found. A
//!   replica that was not heard for [`FRESH`] has no vote, so one that is cut off keeps only its own opinion, and the
//!   others theirs.
//! - **Admits.** They merge by the minimum and hold-downs by the longest that remains, so that no replica gives back
//!   traffic which another one holds. A pool that is live here is merged with whatever comes. For a pool that is not
//!   back yet, what replicas say replaces what peers say, and that what was on disk: disk may be hours old.
//!
//! A hold-down that was told goes on only if the pool is known to be healthy when it is back: by disk, or by replicas
//! that told what they observe first. Else it begins anew with the first good check.
//!
//! How replicas find and hear each other is not here.

use crate::{governor::SavedGovernor, service::SavedService};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_model::{Phase, PoolStatus, ServiceName, Time, Zone};

/// A replica's word is fresh for so long; one that lives tells it again well within that, whether or not it changed.
///
/// The same second after which a silent peer is out of reach (DESIGN, section 5). Not longer: a zone that fails often
/// takes a replica with it, whose last word would hold a tie against the truth for all this time. Not much shorter: a
/// late beat must not leave one replica to decide alone.
pub const FRESH: Duration = Duration::from_secs(1);

/// More replicas than this are not listened to; an agent has two or three.
pub const MAX_REPLICAS: usize = 15;

/// What checks of one replica found, per service.
pub type Verdicts = BTreeMap<ServiceName, BTreeMap<SocketAddr, bool>>;

/// What is new of an endpoint: what a replica's check found; nothing if it is not checked there any more.
pub type News = (ServiceName, SocketAddr, Option<bool>);

/// What the other replicas found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observations {
    replicas: BTreeMap<Arc<str>, (Time, Verdicts)>,
}

impl Observations {
    /// Takes in all that a replica found; what it said before is replaced. Whether it is listened to.
    pub(crate) fn observe(&mut self, replica: Arc<str>, verdicts: Verdicts, at: Time) -> bool {
        if self.replicas.len() >= MAX_REPLICAS && !self.replicas.contains_key(&replica) {
            return false;
        }
        self.replicas.insert(replica, (at, verdicts));
        true
    }

    /// Takes in what is new of a replica's findings, and renews the others; the services it is about. Of one that is not
    /// listened to it means nothing: what it said before is not known.
    pub(crate) fn news(&mut self, replica: &str, news: Vec<News>, at: Time) -> BTreeSet<ServiceName> {
        let Some((heard, verdicts)) = self.replicas.get_mut(replica) else { return BTreeSet::new() };
        *heard = at.max(*heard);
        let mut about = BTreeSet::new();
        for (service, address, found) in news {
            let of_service = verdicts.entry(service.clone()).or_default();
            match found {
                Some(up) => of_service.insert(address, up),
                None => of_service.remove(&address),
            };
            if of_service.is_empty() {
                verdicts.remove(&service);
            }
            about.insert(service);
        }
        about
    }

    pub(crate) fn hears(&self, replica: &str) -> bool {
        self.replicas.contains_key(replica)
    }

    /// Forgets replicas whose word is stale; the services that they had a vote on.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<ServiceName> {
        let stale = self.replicas.extract_if(.., |_, (at, _)| now.since(*at) >= FRESH);
        stale.flat_map(|(_, (_, verdicts))| verdicts.into_keys()).collect()
    }

    /// When the next word becomes stale, and whose.
    pub(crate) fn deadline(&self) -> Option<(Time, &Arc<str>)> {
        self.replicas.iter().map(|(replica, (at, _))| (*at + FRESH, replica)).min()
    }

    /// The services that a replica spoke of.
    pub(crate) fn services_of(&self, replica: &str) -> impl Iterator<Item = &ServiceName> {
        self.replicas.get(replica).into_iter().flat_map(|(_, verdicts)| verdicts.keys())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// What an endpoint is by the majority: `own` is what we found, `before` what it was taken for.
    pub(crate) fn decide(
        &self,
        service: &ServiceName,
        address: &SocketAddr,
        own: Option<bool>,
        before: Option<bool>,
    ) -> Option<bool> {
        let words = self.replicas.values().filter_map(|(_, it)| it.get(service)?.get(address).copied());
        let (mut up, mut down) = (0_u32, 0_u32);
        for word in words.chain(own) {
            if word { up += 1 } else { down += 1 }
        }
        match up.cmp(&down) {
            std::cmp::Ordering::Greater => Some(true),
            std::cmp::Ordering::Less => Some(false),
            std::cmp::Ordering::Equal => before.or(own),
        }
    }
}

/// Who tells of our pools. The later in this order is believed before the earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToldBy {
    /// Our own disk.
    #[default]
    Disk,
    /// Agents of other clusters, who kept what we told them.
    Peer,
    /// Another replica of this agent.
    Replica,
}

/// How the pools of the own cluster stand by somebody else's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// Who says so.
    pub by: ToldBy,
    pub(crate) pools: BTreeMap<ServiceName, BTreeMap<Zone, Told>>,
}

/// A pool by somebody else's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    pub(crate) governor: SavedGovernor,
    pub(crate) expected: u32,
}

impl Snapshot {
    /// From statuses as agents tell them to each other. A pool that is emptied by a shift says nothing of its health,
    /// so it is left out.
    #[must_use]
    pub fn of(by: ToldBy, statuses: impl IntoIterator<Item = PoolStatus>) -> Self {
        let mut pools: BTreeMap<ServiceName, BTreeMap<Zone, Told>> = BTreeMap::new();
        for status in statuses {
            let PoolStatus { service, locality, expected, admit, phase, hold_remaining, .. } = status;
            if !matches!(phase, Phase::Shifted | Phase::Empty) {
                let governor = SavedGovernor::told(admit, phase, hold_remaining);
                pools.entry(service).or_default().insert(locality.zone, Told { governor, expected });
            }
        }
        Self { by, pools }
    }
}

/// Merges a snapshot into what waits for services that are not back yet, whose word is `by` so far.
pub(crate) fn into_saved(
    saved: &mut BTreeMap<ServiceName, SavedService>,
    by: ToldBy,
    snapshot: &Snapshot,
    is_live: impl Fn(&ServiceName) -> bool,
) {
    if snapshot.by < by {
        return;
    }
    for (service, pools) in snapshot.pools.iter().filter(|(service, _)| !is_live(service)) {
        let saved = saved.entry(service.clone()).or_default();
        for (zone, told) in pools {
            saved.merge(zone, told, snapshot.by > by);
        }
    }
}
