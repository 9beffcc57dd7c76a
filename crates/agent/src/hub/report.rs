//! How this cluster is, for the hub: what changed since it was told last.

use super::{InForce, plans::PlanOf};
use crate::{
    capacity,
    rates::{Measured, Rates, settled},
    shifts::ShiftView,
    teller::Declared,
    timeline::Record,
    traffic::Counts,
};
use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::Target;
use tidegate_link::hub::proto;
use tidegate_model::{ClusterName, PoolStatus, Region, ServiceName, Time, Zone};
use tidegate_web::model::Capacity;
use tidegate_xds::NodeStatus;

/// The most pools that are told; a cluster with more tells of the first by name.
const MAX_POOLS: usize = 200_000;
/// The most gateways that are told.
const MAX_GATEWAYS: usize = 5_000;
/// The longest text of a decision or a plan, in characters.
pub(super) const MAX_TEXT: usize = 300;
/// The most services whose rates are told.
const MAX_RATES: usize = 20_000;
/// The most services that a shift is told not to move.
const MAX_LEFT: usize = 100;
/// An end that moves by less is that of the same shift.
const SAME_END: Duration = Duration::from_secs(2);
/// The most refused resources of a gateway that are told.
const MAX_REFUSED: usize = 16;

/// What the loop says of itself at one moment.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The number of what the hub handed out, as far as the core has it.
    pub(crate) given: u64,
    /// The own pools.
    pub(crate) pools: Vec<PoolStatus>,
    /// The gateways.
    pub(crate) gateways: Vec<NodeStatus>,
    /// The first of the plans that are not ordinary.
    pub(crate) plans: Vec<PlanOf>,
    /// How many more there are.
    pub(crate) more_plans: u32,
    /// When this was said.
    pub(crate) at: Time,
    /// The region, once manifests named it.
    pub(crate) region: Option<Region>,
    /// How other clusters are seen: the state, and the shortest round trip.
    pub(crate) peers: Vec<(ClusterName, &'static str, Option<Duration>)>,
    /// The shifts in force.
    pub(crate) shifts: Vec<ShiftView>,
    /// What gateways counted.
    pub(crate) counts: Counts,
    /// What the own pools are declared to take.
    pub(crate) capacity: BTreeMap<(ServiceName, Zone), Capacity>,
    /// The shifts that manifests declare. The hub is not told: their objects are.
    pub(crate) declared: Declared,
}

/// What the hub was told, on one stream.
#[derive(Debug, Default)]
pub(super) struct Told {
    any: bool,
    pools: BTreeMap<(ServiceName, Zone), proto::Pool>,
    gateways: BTreeMap<String, proto::Gateway>,
    plans: BTreeMap<(ServiceName, Zone), proto::Plan>,
    more_plans: u32,
    region: String,
    peers: Vec<proto::Peer>,
    shifts: Vec<(proto::Shift, Time)>,
    flows: BTreeMap<(Zone, Target), proto::Flow>,
    services: BTreeMap<ServiceName, proto::ServiceRate>,
    rates: Rates,
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

    /// Whether all that are connected have this policy.
    pub(super) fn have(&self, policy: u64, report: &Report) -> bool {
        let mut connected = report.gateways.iter().filter(|it| it.connected);
        connected.all(|it| self.0.get(&it.node.id).is_some_and(|it| it.applied == policy))
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
        report: &Report,
        gateways: BTreeMap<String, proto::Gateway>,
        decisions: &[Record],
    ) -> Option<proto::Status> {
        let measured = self.rates.look(&report.counts, report.at).clone();
        let pools: BTreeMap<_, _> =
            report.pools.iter().take(MAX_POOLS).map(|it| pool(it, report, &measured)).collect();
        let plans: BTreeMap<_, _> = report.plans.iter().map(PlanOf::told).collect();
        let more_plans = report.more_plans;
        let region = report.region.as_ref().map(ToString::to_string).unwrap_or_default();
        let (flows, services) = (flows(&measured), services(&measured));
        let peers = peers(report, &self.peers);
        let shifts: Vec<_> = report.shifts.iter().map(|it| shift(it, report.at)).collect();
        let status = proto::Status {
            full: !self.any,
            pools: changed(&self.pools, &pools),
            removed_pools: gone(&self.pools, &pools).map(|(service, zone)| name(service, zone)).collect(),
            gateways: changed(&self.gateways, &gateways),
            removed_gateways: gone(&self.gateways, &gateways).cloned().collect(),
            plans: changed(&self.plans, &plans),
            removed_plans: gone(&self.plans, &plans).map(|(service, zone)| name(service, zone)).collect(),
            more_plans: (more_plans != self.more_plans).then_some(more_plans),
            decisions: decisions.iter().filter(|it| is_told(it)).map(decision).collect(),
            region: if region == self.region { String::new() } else { region.clone() },
            peers: (peers != self.peers).then(|| proto::Peers { peers: peers.clone() }),
            shifts: (!is_same(&shifts, &self.shifts)).then(|| all_of(&shifts, report.at)),
            flows: changed(&self.flows, &flows),
            rates: changed(&self.services, &services),
        };
        let rates = std::mem::take(&mut self.rates);
        *self = Self {
            any: true,
            pools,
            gateways,
            plans,
            more_plans,
            region,
            peers,
            shifts,
            flows,
            services,
            rates,
        };
        (status != proto::Status::default()).then_some(status)
    }
}

/// What single endpoints do is too much to tell, and in the pools.
pub(super) fn is_told(record: &Record) -> bool {
    record.kind != "endpointChanged"
}

fn decision(record: &Record) -> proto::Decision {
    proto::Decision {
        seq: record.seq,
        unix_micros: record.unix_micros,
        kind: record.kind.to_owned(),
        service: record.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        text: record.line().chars().take(MAX_TEXT).collect(),
    }
}

pub(super) fn name(service: &ServiceName, zone: &Zone) -> proto::PoolName {
    proto::PoolName { service: service.to_string(), zone: zone.to_string() }
}

fn flows(measured: &Measured) -> BTreeMap<(Zone, Target), proto::Flow> {
    let flow = |((zone, target), (rate, failed)): (&(Zone, Target), &(f64, f64))| {
        let told =
            proto::Flow { zone: zone.to_string(), target: target.to_string(), rate: *rate, failed: *failed };
        ((zone.clone(), target.clone()), told)
    };
    measured.flows.iter().map(flow).collect()
}

fn services(measured: &Measured) -> BTreeMap<ServiceName, proto::ServiceRate> {
    let rate = |(service, (rate, failed)): (&ServiceName, &(f64, f64))| {
        let told = proto::ServiceRate { service: service.to_string(), rate: *rate, failed: *failed };
        (service.clone(), told)
    };
    measured.services.iter().take(MAX_RATES).map(rate).collect()
}

/// A round trip that moves by little is told as it was.
fn peers(report: &Report, old: &[proto::Peer]) -> Vec<proto::Peer> {
    let peer = |(cluster, state, rtt): &(ClusterName, &str, Option<Duration>)| {
        let cluster = cluster.to_string();
        let was = old.iter().find(|it| it.cluster == cluster).and_then(|it| it.rtt_ms);
        let now = rtt.map(|rtt| rtt.as_secs_f64() * 1e3);
        let rtt_ms = now.map(|now| was.map_or(now, |was| settled(was, now)));
        proto::Peer { cluster, state: (*state).to_owned(), rtt_ms }
    };
    report.peers.iter().map(peer).collect()
}

/// As it is told but for the time that remains, and when it ends.
fn shift(view: &ShiftView, now: Time) -> (proto::Shift, Time) {
    let refused = view.refused.iter().take(MAX_LEFT);
    let told = proto::Shift {
        name: view.name.clone(),
        away_from: view.away_from.clone(),
        service: view.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        percent: view.percent,
        remaining_ms: 0,
        by: view.by.clone(),
        comment: view.comment.clone(),
        refused: refused.map(ToString::to_string).collect(),
    };
    (told, now + Duration::from_millis(view.remaining_ms))
}

fn is_same(one: &[(proto::Shift, Time)], other: &[(proto::Shift, Time)]) -> bool {
    let apart = |a: Time, b: Time| a.since(b).max(b.since(a));
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.0 == b.0 && apart(a.1, b.1) < SAME_END)
}

fn all_of(shifts: &[(proto::Shift, Time)], now: Time) -> proto::Shifts {
    let told = |(shift, ends): &(proto::Shift, Time)| {
        let remaining_ms = u64::try_from(ends.since(now).as_millis()).unwrap_or(u64::MAX);
        proto::Shift { remaining_ms, ..shift.clone() }
    };
    proto::Shifts { shifts: shifts.iter().map(told).collect() }
}

fn pool(status: &PoolStatus, report: &Report, measured: &Measured) -> ((ServiceName, Zone), proto::Pool) {
    let zone = &status.locality.zone;
    let key = (status.service.clone(), zone.clone());
    let capacity = report.capacity.get(&key).map(|it| proto::PoolCapacity {
        unit: it.unit.clone(),
        declared: it.declared,
        budget: it.budget,
        load: measured.pools.get(&key).map(|rate| capacity::load(it, *rate)),
    });
    let pool = proto::Pool {
        name: Some(name(&status.service, zone)),
        expected: status.expected,
        healthy: status.healthy,
        admit_ppm: status.admit.ppm(),
        phase: format!("{:?}", status.phase),
        capacity,
    };
    (key, pool)
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
        let report = |pools: &[PoolStatus]| Report { given: 1, pools: pools.to_vec(), ..Report::default() };
        let mut news = |pools: &[PoolStatus], gateways| told.news(&report(pools), gateways, &[]);
        let first = news(&[status("a/a", 2), status("a/b", 2)], gateway(1)).unwrap();
        assert_eq!((first.full, first.pools.len(), first.gateways.len()), (true, 2, 1));
        assert_eq!(news(&[status("a/a", 2), status("a/b", 2)], gateway(1)), None);
        let second = news(&[status("a/a", 1)], gateway(2)).unwrap();
        assert_eq!((second.full, second.pools.len(), second.gateways.len()), (false, 1, 1));
        assert_eq!(second.removed_pools[0].service, "a/b");
        let third = news(&[status("a/a", 1)], BTreeMap::new()).unwrap();
        assert_eq!(third.removed_gateways, ["g"]);
    }

    #[test]
    fn what_only_passes_time_or_moves_by_little_is_not_told_again() {
        let view = |remaining_ms| ShiftView {
            name: "zone-a".to_owned(),
            away_from: "zone us/a".to_owned(),
            service: None,
            percent: 100,
            remaining_ms,
            by: "operator".to_owned(),
            comment: "rack".to_owned(),
            force: false,
            refused: Vec::new(),
        };
        let report = |seconds: u64, remaining_ms, rtt, entered| Report {
            at: Time::from_millis(seconds * 1000),
            region: Some("us".parse().unwrap()),
            peers: vec![("west".parse().unwrap(), "Reachable", Some(Duration::from_micros(rtt)))],
            shifts: vec![view(remaining_ms)],
            counts: Counts {
                flows: BTreeMap::from([(
                    ("z".parse().unwrap(), "cluster west".parse().unwrap()),
                    (entered, 0),
                )]),
                ..Counts::default()
            },
            ..Report::default()
        };
        let mut told = Told::default();
        let mut news = |report: Report| told.news(&report, BTreeMap::new(), &[]);
        let first = news(report(0, 60_000, 20_000, 0)).unwrap();
        assert_eq!((first.region.as_str(), first.shifts.unwrap().shifts[0].remaining_ms), ("us", 60_000));
        assert_eq!(first.peers.unwrap().peers[0].rtt_ms, Some(20.0));
        let second = news(report(2, 58_000, 20_500, 200)).unwrap();
        assert_eq!((second.region.as_str(), second.shifts, second.peers), ("", None, None));
        assert_eq!((second.flows[0].rate, second.flows[0].target.as_str()), (100.0, "cluster west"));
        assert_eq!(news(report(4, 56_000, 20_500, 402)), None);
        let extended = news(report(5, 3_600_000, 20_500, 402)).unwrap();
        assert_eq!(extended.shifts.unwrap().shifts[0].remaining_ms, 3_600_000);
    }

    #[test]
    fn plans_and_decisions_are_told_once_and_again_to_another_stream() {
        let share = |parts| tidegate_model::Share::new(parts).unwrap();
        let plan = |parts: u32| PlanOf {
            service: "a/a".parse().unwrap(),
            zone: "z".parse().unwrap(),
            shares: [
                ("zone z".parse().unwrap(), share(10_000 - parts)),
                ("cluster west".parse().unwrap(), share(parts)),
            ]
            .into_iter()
            .collect(),
            shed: share(0),
            reason: None,
        };
        let report =
            |plans: Vec<PlanOf>, more_plans| Report { given: 1, plans, more_plans, ..Report::default() };
        let record = |seq, kind| Record { seq, kind, reason: "x".repeat(MAX_TEXT + 1), ..Record::default() };
        let mut told = Told::default();
        let decided = [record(1, "planChanged"), record(2, "endpointChanged")];
        let first = told.news(&report(vec![plan(2500)], 3), BTreeMap::new(), &decided).unwrap();
        let permille: Vec<u32> = first.plans[0].shares.iter().map(|it| it.permille).collect();
        assert_eq!((permille, first.more_plans), (vec![750, 250], Some(3)));
        assert_eq!((first.decisions.len(), first.decisions[0].text.len()), (1, MAX_TEXT));
        assert_eq!(told.news(&report(vec![plan(2500)], 3), BTreeMap::new(), &[]), None);
        let second = told.news(&report(vec![plan(5000)], 3), BTreeMap::new(), &[]).unwrap();
        assert_eq!((second.plans.len(), second.more_plans), (1, None));
        let third = told.news(&report(Vec::new(), 0), BTreeMap::new(), &[]).unwrap();
        assert_eq!((third.removed_plans[0].service.as_str(), third.more_plans), ("a/a", Some(0)));
        // Another stream knows nothing.
        let again = Told::default().news(&report(vec![plan(5000)], 3), BTreeMap::new(), &decided).unwrap();
        assert_eq!((again.full, again.plans.len(), again.decisions.len()), (true, 1, 1));
    }
}
