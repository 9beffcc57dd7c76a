//! The names of places, each kept once however often it is told: tens of thousands of pools lie in a few zones, and to
//! compare a name with itself takes no look at its letters.

use super::RemotePools;
use crate::{service::RemoteZones, small::SmallMap};
use std::collections::BTreeMap;
use tidegate_model::{PoolStatus, Region, ServiceName, Zone};

/// More names than this are not kept: a fleet has fewer, and what is told wrongly must not grow without end.
const MAX_NAMES: usize = 10_000;

/// Names that were told.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    regions: BTreeMap<Region, Region>,
    zones: BTreeMap<Zone, Zone>,
}

impl Names {
    /// Makes a name the one that is kept.
    fn keep<T: Clone + Ord>(known: &mut BTreeMap<T, T>, name: &mut T) {
        if let Some(known) = known.get(name) {
            name.clone_from(known);
        } else if known.len() < MAX_NAMES {
            known.insert(name.clone(), name.clone());
        }
    }

    /// The pools of a cluster per service and zone. `known` gives the name of a service as the engine keeps it.
    pub(super) fn by_service(
        &mut self,
        pools: Vec<PoolStatus>,
        known: impl Fn(&ServiceName) -> Option<ServiceName>,
    ) -> RemotePools {
        let mut by_service: BTreeMap<ServiceName, SmallMap<Zone, PoolStatus>> = BTreeMap::new();
        let mut last: Option<ServiceName> = None;
        for mut status in pools {
            Self::keep(&mut self.regions, &mut status.locality.region);
            Self::keep(&mut self.zones, &mut status.locality.zone);
            // The zones of a service are mostly told together.
            let name = last.take().filter(|last| *last == status.service);
            let name = name.or_else(|| known(&status.service)).unwrap_or_else(|| status.service.clone());
            status.service.clone_from(&name);
            let zones = by_service.entry(name.clone()).or_default();
            zones.insert(status.locality.zone.clone(), status);
            last = Some(name);
        }
        by_service.into_iter().map(|(name, zones)| (name, RemoteZones::new(zones))).collect()
    }
}
