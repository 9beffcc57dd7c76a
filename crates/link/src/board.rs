//! The observer's side of the pool status: which update is news. Pure.
//!
//! A peer is watched through each of its gateways at once, so each update arrives more than once, and a gateway may
//! lag behind another. Versions put that right: a delta carries whole values of all pools that changed after its base,
//! so it can be taken by whoever is at its base or later.

use crate::{
    lasting::{self, LastingWord},
    proto,
    wire::{self, WireError},
};
use std::collections::BTreeSet;
use tidegate_engine::Load;
use tidegate_model::{ClusterName, PeerBoot, PoolKey, PoolStatus, Region, ServiceName, Zone};

/// What a peer said of its pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusDelta {
    /// The region that the peer lies in.
    pub region: Region,
    /// The life of its agent.
    pub boot: PeerBoot,
    /// The version of this status within that life.
    pub version: u64,
    /// Whether `changed` is all there is: forget what is not in it.
    pub full: bool,
    /// Pools that are new or changed.
    pub changed: Vec<PoolStatus>,
    /// Pools that are gone.
    pub removed: Vec<PoolKey>,
    /// What is asked for there, by service and zone, where that is news; `None` where it is not known any more.
    pub demand: Vec<(ServiceName, Zone, Option<Load>)>,
    /// The clusters that the peer cannot reach, all of them.
    pub unreachable: BTreeSet<ClusterName>,
    /// What operators did, as far as it is news, with what remains of each.
    pub lasting: Vec<LastingWord>,
}

/// Why an update cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the update is of cluster {found:?}, not of {wanted}")]
    OtherCluster { wanted: ClusterName, found: String },
    #[error("the update cannot be read: {0}")]
    Unreadable(#[from] WireError),
    #[error("the update cannot be: {0}")]
    Lasting(String),
    #[error("the update starts from version {base} of agent {boot:x}, which was never seen")]
    Gap { boot: u64, base: u64 },
}

/// Lives of a peer's agents whose versions are remembered: its replicas, and the ones before a restart.
const LIVES: usize = 8;

/// Which status of a peer was taken in last, of each of its replicas: two gateways may lead to two of them. These tell the same,
/// each with versions of its own, and whatever one of them tells anew is news.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// The one that told last is last.
    lives: Vec<(PeerBoot, u64)>,
}

impl Board {
    /// What is new in `update`; `None` if it is known already. After a refusal the watch starts anew, with a snapshot.
    pub(crate) fn take(
        &mut self,
        peer: &ClusterName,
        update: &proto::StatusUpdate,
    ) -> Result<Option<StatusDelta>, Refusal> {
        if update.cluster != peer.as_str() {
            return Err(Refusal::OtherCluster { wanted: peer.clone(), found: update.cluster.clone() });
        }
        let boot = PeerBoot(update.boot_id);
        let version = self.lives.iter().find(|(of, _)| *of == boot).map(|(_, version)| *version);
        if version.is_some_and(|version| version >= update.version) {
            return Ok(None);
        }
        if !update.full && version.is_none_or(|version| version < update.base_version) {
            return Err(Refusal::Gap { boot: update.boot_id, base: update.base_version });
        }
        let region = Region::new(&update.region).map_err(WireError::from)?;
        let changed =
            update.changed.iter().map(|pool| wire::decode(pool, &region)).collect::<Result<_, _>>()?;
        let removed = update.removed.iter().map(|name| {
            let (service, zone) = wire::decode_name(name)?;
            Ok::<_, WireError>(PoolKey { service, cluster: peer.clone(), zone })
        });
        let removed = removed.collect::<Result<_, _>>()?;
        let demand = update.demand.iter().map(wire::decode_demand).collect::<Result<_, _>>()?;
        let unreachable = update.unreachable.iter().map(|name| name.parse().map_err(WireError::from));
        let unreachable = unreachable.collect::<Result<_, _>>()?;
        let lasting = lasting::decode(update.lasting.clone()).map_err(Refusal::Lasting)?;
        self.lives.retain(|(of, _)| *of != boot);
        if self.lives.len() == LIVES {
            self.lives.remove(0);
        }
        self.lives.push((boot, update.version));
        let (version, full) = (update.version, update.full);
        Ok(Some(StatusDelta { region, boot, version, full, changed, removed, demand, unreachable, lasting }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn west() -> ClusterName {
        ClusterName::new("west").unwrap()
    }

    fn update(boot_id: u64, base_version: u64, version: u64) -> proto::StatusUpdate {
        proto::StatusUpdate {
            cluster: "west".to_owned(),
            region: "us-west".to_owned(),
            boot_id,
            version,
            full: base_version == 0,
            base_version,
            changed: vec![proto::Pool {
                service: "shop/web".to_owned(),
                zone: "us-west-1a".to_owned(),
                admit_ppm: 1_000_000,
                phase: proto::Phase::Serving.into(),
                ..proto::Pool::default()
            }],
            demand: vec![proto::Demand {
                service: "shop/web".to_owned(),
                zone: "us-west-1a".to_owned(),
                load: Some(proto::demand::Load::Rps(1000)),
            }],
            ..proto::StatusUpdate::default()
        }
    }

    #[test]
    fn updates_through_two_gateways_are_news_once() {
        let mut board = Board::default();
        let mut news = |update| board.take(&west(), &update).unwrap().is_some();
        assert!(news(update(1, 0, 3)));
        assert!(!news(update(1, 0, 3)));
        assert!(news(update(1, 3, 5)));
        assert!(!news(update(1, 3, 4)));
        assert!(news(update(1, 4, 6)));
        assert!(news(update(2, 0, 1)), "a new life counts anew");
    }

    #[test]
    fn replicas_through_two_gateways_interleave_without_a_gap() {
        let mut board = Board::default();
        let mut news = |update| board.take(&west(), &update).unwrap().is_some();
        assert!(news(update(1, 0, 3)) && news(update(2, 0, 7)));
        assert!(news(update(1, 3, 4)) && news(update(2, 7, 8)) && news(update(1, 4, 5)));
        assert!(!news(update(2, 7, 8)));
        (3..=2 + LIVES as u64).for_each(|boot| assert!(news(update(boot, 0, 1))));
        assert_eq!(board.take(&west(), &update(1, 5, 6)), Err(Refusal::Gap { boot: 1, base: 5 }));
    }

    #[test]
    fn a_delta_of_an_unknown_base_is_refused() {
        let mut board = Board::default();
        assert_eq!(board.take(&west(), &update(1, 3, 4)), Err(Refusal::Gap { boot: 1, base: 3 }));
        board.take(&west(), &update(1, 0, 4)).unwrap();
        assert!(board.take(&west(), &update(2, 3, 5)).is_err());
        assert!(board.take(&west(), &update(1, 5, 6)).is_err());
    }

    #[test]
    fn garbage_is_refused_whole_and_changes_nothing() {
        let spoilt: [fn(&mut proto::StatusUpdate); 9] = [
            |update| update.lasting = vec![proto::LastingWord::default(); 2001],
            |update| update.demand[0].zone = String::new(),
            |update| update.unreachable = vec!["a b".to_owned()],
            |update| update.cluster = "east".to_owned(),
            |update| update.region = String::new(),
            |update| update.changed[0].service = "web".to_owned(),
            |update| update.changed[0].zone = "a b".to_owned(),
            |update| update.changed[0].admit_ppm = 1_000_001,
            |update| update.changed[0].phase = 99,
        ];
        let mut board = Board::default();
        for spoil in spoilt {
            let mut update = update(1, 0, 1);
            spoil(&mut update);
            board.take(&west(), &update).unwrap_err();
        }
        assert!(board.take(&west(), &update(1, 0, 1)).unwrap().is_some());
    }
}
