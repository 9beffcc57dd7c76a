//! Measured distances: from round trips to an order of regions that jitter never changes.
//!
//! Each round trip that is told counts for one eighth of its cluster's smoothed one (as RFC 6298 has it); a region is as
//! far as its nearest cluster. What is *in force* for a region, at first what was declared, is replaced by what is
//! measured only once the two have differed by more than 20 % of what is in force and by more than 5 ms for 60 s
//! without a break. A break is also a fault: a cluster of the region out of reach, or nothing measured for 10 s.
//!
//! That is for the whole fleet. A service takes over what is in force only while all its pools are Serving and in reach
//! (`service`): during its fault nothing that it may fail over to changes places.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, Region, Time};

/// How far what is measured must be off what is in force, in percent of that: routes differ by more, load by less.
const TOLERANCE_PERCENT: u32 = 20;
/// And by this at least: what is nearer than that is equally near.
const TOLERANCE: Duration = Duration::from_millis(5);
/// For how long: longer than a route flaps or a link is full.
const STEADY: Duration = Duration::from_secs(60);
/// Without a measurement for this long nothing is known; they come once a second.
const STALE: Duration = Duration::from_secs(10);
/// More than any way on earth takes; what is above is a stall.
const MOST: Duration = Duration::from_secs(10);

/// Distances from region to region.
pub(crate) type Distances = BTreeMap<Region, Duration>;

/// The round trips to other clusters, and what follows from them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoundTrips {
    clusters: BTreeMap<ClusterName, Measured>,
    /// Since when a region's measured distance differs from the one in force.
    differs: BTreeMap<Region, Time>,
    /// The measured distances that replaced declared ones.
    replaced: Distances,
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    smoothed: Duration,
    at: Time,
}

impl RoundTrips {
    /// What was in force before a restart.
    pub(crate) fn restored(replaced: Distances) -> Self {
        Self { replaced, ..Self::default() }
    }

    /// What must survive a restart.
    pub(crate) const fn replaced(&self) -> &Distances {
        &self.replaced
    }

    /// The distances in force.
    pub(crate) fn in_force(&self, declared: &Distances) -> Arc<Distances> {
        let mut distances = declared.clone();
        distances.extend(self.replaced.iter().map(|(region, rtt)| (region.clone(), *rtt)));
        Arc::new(distances)
    }

    /// Forgets clusters and regions that are not in the fleet any more.
    pub(crate) fn retain(&mut self, clusters: &BTreeMap<ClusterName, Region>) {
        let regions: BTreeSet<&Region> = clusters.values().collect();
        self.clusters.retain(|cluster, _| clusters.contains_key(cluster));
        self.differs.retain(|region, _| regions.contains(region));
        self.replaced.retain(|region, _| regions.contains(region));
    }

    /// A cluster went out of reach: its region's minute begins anew.
    pub(crate) fn interrupt(&mut self, region: &Region) {
        self.differs.remove(region);
    }

    /// Takes in a round trip to a cluster of `region`, of which `members` are all clusters, and `reachable` says whether
    /// each of them is in reach. Whether what is in force changed.
    pub(crate) fn measure<'a>(
        &mut self,
        (cluster, region): (&ClusterName, &Region),
        rtt: Duration,
        declared: &Distances,
        mut members: impl Iterator<Item = (&'a ClusterName, bool)>,
        now: Time,
    ) -> bool {
        let rtt = rtt.min(MOST);
        let fresh = |it: &&mut Measured| now.since(it.at) < STALE;
        match self.clusters.get_mut(cluster).filter(fresh) {
            Some(it) => *it = Measured { smoothed: (it.smoothed * 7 + rtt) / 8, at: now },
            None => {
                self.clusters.insert(cluster.clone(), Measured { smoothed: rtt, at: now });
                self.differs.remove(region);
            }
        }
        let nearest = members.try_fold(MOST, |nearest, (member, reachable)| {
            let known = self.clusters.get(member).filter(|it| now.since(it.at) < STALE);
            reachable.then(|| known.map_or(nearest, |it| nearest.min(it.smoothed)))
        });
        let Some(nearest) = nearest else {
            self.differs.remove(region);
            return false;
        };
        let in_force = self.replaced.get(region).or_else(|| declared.get(region));
        if !in_force.is_none_or(|in_force| differ(*in_force, nearest)) {
            self.differs.remove(region);
            return false;
        }
        let since = *self.differs.entry(region.clone()).or_insert(now);
        if now.since(since) < STEADY {
            return false;
        }
        self.differs.remove(region);
        self.replaced.insert(region.clone(), nearest);
        true
    }
}

fn differ(in_force: Duration, measured: Duration) -> bool {
    let by = in_force.abs_diff(measured);
    // A duration may be too long to be multiplied.
    by > TOLERANCE && by.as_nanos() * 100 > in_force.as_nanos() * u128::from(TOLERANCE_PERCENT)
}
