//! What another cluster told of what is asked for there, put together from what it tells anew.

use std::collections::{BTreeMap, BTreeSet};
use tidegate_engine::Load;
use tidegate_model::{ClusterName, ServiceName, Zone};

/// The demand of one peer, and whom it cannot reach.
#[derive(Debug, Default)]
pub(crate) struct PeerDemand {
    pub(crate) demand: BTreeMap<ServiceName, BTreeMap<Zone, Load>>,
    pub(crate) unreachable: BTreeSet<ClusterName>,
}

impl PeerDemand {
    /// Takes in what it tells; what is not named is as it was unless that is `full`. Whether anything is news.
    pub(crate) fn take(
        &mut self,
        full: bool,
        told: Vec<(ServiceName, Zone, Option<Load>)>,
        unreachable: BTreeSet<ClusterName>,
    ) -> bool {
        // Whom it cannot reach says whose room it does not count on, so it matters without any demand.
        let news = full || !told.is_empty() || self.unreachable != unreachable;
        self.unreachable = unreachable;
        if full {
            self.demand.clear();
        }
        for (service, zone, load) in told {
            let zones = self.demand.entry(service).or_default();
            match load {
                Some(load) => zones.insert(zone, load),
                None => zones.remove(&zone),
            };
        }
        self.demand.retain(|_, zones| !zones.is_empty());
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_peer_cannot_reach_is_news_without_any_demand() {
        let (service, zone): (ServiceName, Zone) = ("shop/web".parse().unwrap(), "a".parse().unwrap());
        let cut = BTreeSet::from(["west".parse().unwrap()]);
        let told = |load| vec![(service.clone(), zone.clone(), load)];
        let mut peer = PeerDemand::default();
        assert!(peer.take(true, told(Some(Load::Rate { rps: 1000 })), BTreeSet::new()));
        assert!(!peer.take(false, vec![], BTreeSet::new()), "a status of pools only");
        assert!(peer.take(false, vec![], cut.clone()) && peer.unreachable == cut && peer.demand.len() == 1);
        assert!(!peer.take(false, vec![], cut));
        assert!(peer.take(false, told(None), BTreeSet::new()) && peer.demand.is_empty());
    }
}
