//! How this cluster is, for the hub: what changed since it was told last.

use super::InForce;
use std::collections::BTreeMap;
use tidegate_link::hub::proto;
use tidegate_model::{PoolStatus, ServiceName, Zone};
use tidegate_xds::NodeStatus;

/// The most pools that are told; a cluster with more tells of the first by name.
const MAX_POOLS: usize = 200_000;
/// The most gateways that are told.
const MAX_GATEWAYS: usize = 5_000;
/// The most refused resources of a gateway that are told.
const MAX_REFUSED: usize = 16;

/// What the loop says of itself at one moment.
#[derive(Debug)]
pub(crate) struct Report {
    /// The number of what the hub handed out, as far as the core has it.
    pub(crate) given: u64,
    /// The own pools.
    pub(crate) pools: Vec<PoolStatus>,
    /// The gateways.
    pub(crate) gateways: Vec<NodeStatus>,
}

/// What the hub was told, on one stream.
#[derive(Debug, Default)]
pub(super) struct Told {
    any: bool,
    pools: BTreeMap<(ServiceName, Zone), proto::Pool>,
    gateways: BTreeMap<String, proto::Gateway>,
}

/// Up to which policy each gateway has accepted everything.
#[derive(Debug, Default)]
pub(super) struct Gateways(BTreeMap<String, Accepted>);

#[derive(Debug, Default)]
struct Accepted {
    applied: u64,
    /// The policy that it seemed to have in the last report. What the store was given reaches a stream a moment later, so
    /// one look is not enough.
    seemed: u64,
}

impl Gateways {
    /// Takes what the xDS server says of them.
    pub(super) fn look(&mut self, report: &Report) -> BTreeMap<String, proto::Gateway> {
        self.0.retain(|node, _| report.gateways.iter().any(|it| it.node.id == *node));
        let each = report.gateways.iter().take(MAX_GATEWAYS);
        each.map(|status| (status.node.id.clone(), self.one(status, report.given))).collect()
    }

    fn one(&mut self, status: &NodeStatus, given: u64) -> proto::Gateway {
        let accepted = self.0.entry(status.node.id.clone()).or_default();
        let types = || status.types.iter();
        let settled = types().all(|it| !it.in_flight && it.sent == it.acked && it.refused.is_empty());
        let seems = if status.connected && settled && types().count() > 0 { given } else { 0 };
        if seems != 0 && seems == accepted.seemed {
            accepted.applied = given;
        }
        accepted.seemed = seems;
        let refused = types()
            .flat_map(|it| it.refused.iter().map(|one| format!("{} {}: {}", it.kind, one.name, one.error)));
        proto::Gateway {
            node: status.node.id.clone(),
            gateway: status.node.metadata.get("gateway").cloned().unwrap_or_default(),
            zone: status.node.locality.zone.clone(),
            connected: status.connected,
            applied: accepted.applied,
            refused: refused.take(MAX_REFUSED).map(|text| text.chars().take(500).collect()).collect(),
        }
    }
}

impl Told {
    /// What is news; `None` if nothing is.
    pub(super) fn news(
        &mut self,
        pools: &[PoolStatus],
        gateways: BTreeMap<String, proto::Gateway>,
    ) -> Option<proto::Status> {
        let pools: BTreeMap<_, _> = pools.iter().take(MAX_POOLS).map(pool).collect();
        let status = proto::Status {
            full: !self.any,
            pools: changed(&self.pools, &pools),
            removed_pools: gone(&self.pools, &pools).map(|(service, zone)| name(service, zone)).collect(),
            gateways: changed(&self.gateways, &gateways),
            removed_gateways: gone(&self.gateways, &gateways).cloned().collect(),
        };
        *self = Self { any: true, pools, gateways };
        (status != proto::Status::default()).then_some(status)
    }
}

fn name(service: &ServiceName, zone: &Zone) -> proto::PoolName {
    proto::PoolName { service: service.to_string(), zone: zone.to_string() }
}

fn pool(status: &PoolStatus) -> ((ServiceName, Zone), proto::Pool) {
    let zone = &status.locality.zone;
    let pool = proto::Pool {
        name: Some(name(&status.service, zone)),
        expected: status.expected,
        healthy: status.healthy,
        admit_ppm: status.admit.ppm(),
        phase: format!("{:?}", status.phase),
    };
    ((status.service.clone(), zone.clone()), pool)
}

fn changed<K: Ord, V: Clone + PartialEq>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Vec<V> {
    new.iter().filter(|(key, value)| old.get(key) != Some(value)).map(|(_, value)| value.clone()).collect()
}

fn gone<'m, K: Ord, V>(old: &'m BTreeMap<K, V>, new: &'m BTreeMap<K, V>) -> impl Iterator<Item = &'m K> {
    old.keys().filter(|key| !new.contains_key(key))
}

/// For the wire.
pub(super) fn applied(in_force: &InForce) -> proto::Applied {
    proto::Applied { sequence: in_force.sequence, rejected: in_force.rejected.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tidegate_model::{Fraction, Locality, Phase};

    fn status(service: &str, healthy: u32) -> PoolStatus {
        PoolStatus {
            service: service.parse().unwrap(),
            locality: Locality { region: "r".parse().unwrap(), zone: "z".parse().unwrap() },
            expected: 2,
            healthy,
            present: 2,
            admit: Fraction::ONE,
            phase: Phase::Serving,
            hold_remaining: Duration::ZERO,
        }
    }

    #[test]
    fn the_first_status_is_whole_and_later_ones_say_what_changed() {
        let mut told = Told::default();
        let gateway = |applied| {
            let it = proto::Gateway { node: "g".to_owned(), applied, ..Default::default() };
            BTreeMap::from([("g".to_owned(), it)])
        };
        let first = told.news(&[status("a/a", 2), status("a/b", 2)], gateway(1)).unwrap();
        assert_eq!((first.full, first.pools.len(), first.gateways.len()), (true, 2, 1));
        assert_eq!(told.news(&[status("a/a", 2), status("a/b", 2)], gateway(1)), None);
        let second = told.news(&[status("a/a", 1)], gateway(2)).unwrap();
        assert_eq!((second.full, second.pools.len(), second.gateways.len()), (false, 1, 1));
        assert_eq!(second.removed_pools[0].service, "a/b");
        let third = told.news(&[status("a/a", 1)], BTreeMap::new()).unwrap();
        assert_eq!(third.removed_gateways, ["g"]);
    }
}
