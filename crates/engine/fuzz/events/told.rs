//! Bytes as events: what discovery, checks, peers, replicas and operators may tell, and lies.

use super::bytes::{Bytes, told_services};
use crate::fixture::{address, cluster, percent, region, source, zone};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{
    EndpointFacts, Event, FleetView, Location, NodeId, Shift, ShiftTarget, ShiftedBy, Snapshot, Source,
    Target, ToldBy, Verdicts,
};
use tidegate_model::{Locality, Phase, PoolStatus, Time, Zone};

pub(crate) type Endpoints = BTreeMap<SocketAddr, (Zone, EndpointFacts)>;

const PHASES: [Phase; 7] = [
    Phase::Serving,
    Phase::Reduced,
    Phase::Out,
    Phase::Holding,
    Phase::Ramping,
    Phase::Shifted,
    Phase::Empty,
];
const SHIFTS: [&str; 3] = ["drain", "drill", ""];
/// Endpoints of one service that a single event names.
const MOST_ENDPOINTS: usize = 8;

impl Bytes<'_> {
    /// Mostly in the zone that its address says, on a node of few.
    fn endpoint(&mut self) -> (SocketAddr, (Zone, EndpointFacts)) {
        let (zone, n, state) = (self.zone(), self.byte() % 4, self.byte());
        let address = address(zone.as_str(), n);
        let zone = if state & 0b1100_0000 == 0b1100_0000 { self.zone() } else { zone };
        let facts = EndpointFacts {
            ready: state & 1 == 0,
            terminating: state & 2 != 0,
            checked: state & 4 == 0,
            node_ready: state & 8 == 0,
            node: (state & 16 != 0).then(|| NodeId::named(self.pick(&["n1", "n2", "n3"]))),
        };
        (address, (zone, facts))
    }

    pub(crate) fn endpoints(&mut self) -> Endpoints {
        self.list(MOST_ENDPOINTS, Self::endpoint).into_iter().collect()
    }

    fn status(&mut self) -> PoolStatus {
        PoolStatus {
            service: self.service(),
            locality: self.locality(),
            expected: self.count(),
            present: self.count(),
            healthy: self.count(),
            admit: self.fraction(),
            phase: self.pick(&PHASES),
            hold_remaining: self.duration(),
        }
    }

    pub(crate) fn remote_pools(&mut self) -> Event {
        let (cluster, pools) = (self.cluster(), self.list(6, Self::status));
        if self.flag() {
            return Event::RemotePools { cluster, pools };
        }
        let removed = self.list(3, |bytes| (bytes.service(), bytes.zone()));
        Event::RemotePoolsChanged { cluster, changed: pools, removed }
    }

    pub(crate) fn topology(&mut self) -> Event {
        let clusters = self.list(4, |bytes| (bytes.cluster(), bytes.region()));
        let distances = self.list(3, |bytes| (bytes.region(), bytes.duration()));
        Event::Topology {
            clusters: clusters.into_iter().collect(),
            distances: distances.into_iter().collect(),
        }
    }

    fn source(&mut self) -> Source {
        // Nearly always one of the own cluster; what names another one is a lie of discovery.
        let lie = self.byte() == 255;
        let of = if lie { self.cluster() } else { cluster("east") };
        let in_region = if lie { self.region() } else { region("us-east") };
        Source { cluster: of, locality: Locality { region: in_region, zone: self.zone() } }
    }

    pub(crate) fn sources(&mut self) -> Event {
        Event::Sources(self.list(4, Self::source).into_iter().collect())
    }

    pub(crate) fn demand(&mut self) -> Event {
        let source = self.source();
        let rates = self.list(3, |bytes| (bytes.service(), bytes.load()));
        Event::Demand { source, rates: rates.into_iter().collect() }
    }

    pub(crate) fn remote_demand(&mut self) -> Event {
        let cluster = self.cluster();
        let view = FleetView {
            distances: self.list(2, |bytes| (bytes.region(), bytes.duration())).into_iter().collect(),
            unreachable: self.list(2, Self::cluster).into_iter().collect(),
        };
        let zones = |bytes: &mut Self| bytes.list(3, |it| (it.zone(), it.load())).into_iter().collect();
        let demand = self.list(3, |bytes| (bytes.service(), zones(bytes)));
        Event::RemoteDemand { cluster, view, demand: demand.into_iter().collect() }
    }

    pub(crate) fn arrivals(&mut self) -> Event {
        let at = self.cluster();
        let loads = |bytes: &mut Self| bytes.list(3, |it| (it.cluster(), it.load())).into_iter().collect();
        let from = self.list(3, |bytes| (bytes.service(), loads(bytes)));
        Event::Arrivals { at, from: from.into_iter().collect() }
    }

    pub(crate) fn release(&mut self) -> Event {
        let service = self.service();
        let target = if self.flag() { Target::Zone(self.zone()) } else { Target::Cluster(self.cluster()) };
        Event::Release { service, target }
    }

    pub(crate) fn succeeded(&mut self, now: Time) -> Event {
        let pools = self.list(3, |bytes| (bytes.service(), bytes.zone())).into_iter().collect();
        Event::Succeeded { pools, at: self.time(now) }
    }

    /// Before, at or after `now`.
    pub(crate) fn time(&mut self, now: Time) -> Time {
        let by = self.duration();
        if self.flag() { now + by } else { Time::from_origin(now.since_origin().saturating_sub(by)) }
    }

    fn location(&mut self) -> Location {
        match self.below(3) {
            0 => Location::Zone(self.locality()),
            1 => Location::Cluster(self.cluster()),
            _ => Location::Region(self.region()),
        }
    }

    pub(crate) fn shift(&mut self) -> Event {
        let target = ShiftTarget { location: self.location(), service: self.maybe(Self::service) };
        Event::Shift(Shift {
            name: self.pick(&SHIFTS).to_owned(),
            target,
            percent: match self.byte() {
                byte if byte < 128 => 100,
                255 => u32::MAX,
                byte => u32::from(byte - 128),
            },
            remaining: self.duration(),
            by: self.pick(&[ShiftedBy::Drill, ShiftedBy::Operator]),
            comment: String::new(),
            force: self.byte() >= 192,
        })
    }

    pub(crate) fn shift_ended(&mut self) -> Event {
        Event::ShiftEnded(self.pick(&SHIFTS).to_owned())
    }

    pub(crate) fn replica_observed(&mut self, now: Time) -> Event {
        let replica = format!("r{}", self.byte() % 17).into();
        let found = |bytes: &mut Self| {
            let zone = bytes.zone();
            (address(zone.as_str(), bytes.byte() % 4), bytes.flag())
        };
        if self.flag() {
            let news = |bytes: &mut Self| {
                let (service, (address, up)) = (bytes.service(), found(bytes));
                (service, address, bytes.flag().then_some(up))
            };
            return Event::ReplicaTold { replica, news: self.list(6, news), at: self.time(now) };
        }
        let verdicts = self.list(3, |bytes| (bytes.service(), bytes.list(6, found).into_iter().collect()));
        let verdicts: Verdicts = verdicts.into_iter().collect();
        Event::ReplicaObserved { replica, verdicts, at: self.time(now) }
    }

    /// A snapshot as it comes over the wire. One that is refused there is none.
    pub(crate) fn snapshot(&mut self) -> Option<Event> {
        let by = self.pick(&[ToldBy::Disk, ToldBy::Peer, ToldBy::Replica]);
        let pools: BTreeMap<String, BTreeMap<String, Value>> = self
            .list(3, |bytes| {
                let zones = bytes.list(3, |bytes| (bytes.zone().to_string(), bytes.told())).into_iter();
                (bytes.service().to_string(), zones.collect())
            })
            .into_iter()
            .collect();
        let snapshot: Snapshot = serde_json::from_value(json!({ "by": by, "pools": pools })).ok()?;
        Some(Event::Merge(snapshot))
    }

    fn told(&mut self) -> Value {
        let duration = |it: Duration| json!({ "secs": it.as_secs(), "nanos": it.subsec_nanos() });
        let stage = match self.below(4) {
            0 => json!("steady"),
            1 => json!({ "ramping": { "remaining": duration(self.duration()) } }),
            _ => {
                let remaining = self.maybe(Self::duration).map(duration);
                json!({ "holding": { "remaining": remaining, "level": self.fraction() } })
            }
        };
        let (admit, relapses) = (self.fraction(), self.count());
        let quiet = self.maybe(Self::duration).map(duration);
        let governor = json!({ "admit": admit, "stage": stage, "relapses": relapses, "quiet": quiet });
        json!({ "governor": governor, "expected": self.count() })
    }
}

/// A fleet that is whole: six services in two zones, and what another cluster of each region tells of them.
pub(crate) fn whole_fleet() -> Vec<Event> {
    let clusters = [("east-2", "us-east"), ("west", "us-west"), ("eu-1", "eu")];
    let mut events = vec![
        Event::Topology {
            clusters: clusters.iter().map(|(name, at)| (cluster(name), region(at))).collect(),
            distances: BTreeMap::from([(region("us-west"), Duration::from_millis(60))]),
        },
        Event::Sources(BTreeSet::from([source("a"), source("b")])),
    ];
    for name in told_services() {
        let (policy, endpoints) = (Arc::default(), whole_endpoints());
        let addresses: Vec<SocketAddr> = endpoints.keys().copied().collect();
        events.push(Event::Service { name: name.clone(), policy, endpoints, replicas: None });
        let checked =
            |address| Event::Checked { service: name.clone(), address, up: true, detail: String::new() };
        events.extend(addresses.into_iter().map(checked));
    }
    for (name, at) in clusters {
        let pool = |service| PoolStatus {
            service,
            locality: Locality { region: region(at), zone: zone("x") },
            expected: 3,
            present: 3,
            healthy: 3,
            admit: percent(100.0),
            phase: Phase::Serving,
            hold_remaining: Duration::ZERO,
        };
        events
            .push(Event::RemotePools { cluster: cluster(name), pools: told_services().map(pool).collect() });
    }
    events
}

/// Two endpoints in each of the zones a and b, on nodes of their own.
fn whole_endpoints() -> Endpoints {
    let facts = EndpointFacts { checked: true, ..EndpointFacts::default() };
    let at = |name: &str, n| (address(name, n), (zone(name), facts));
    ["a", "b"].into_iter().flat_map(|name| [1, 2].map(|n| at(name, n))).collect()
}
