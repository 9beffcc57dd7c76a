//! How much goes where: sums of what gateways report, for whoever watches a drill. Pure; nothing is decided by it.
//!
//! All counts grow from the start of the agent, so that who asks twice has what lay between, and who asks never costs nothing
//! more. What *enters* is counted where clients send it; what a pool *gets* comes from those gateways, and from those that pass on
//! what other clusters send. Tries count, so a repeated request counts twice.

use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::{Engine, Load, Target};
use tidegate_model::{ServiceName, Time, Zone};
use tidegate_xds::{LoadReport, NodeLocality};

/// Targets of services that are counted; more are left out, so that memory is bounded.
const MAX_FLOWS: usize = 100_000;
/// Ways from a zone to a place that are counted; more are left out.
const MAX_PLACES: usize = 10_000;
/// Pools that are shown: those that get most.
const MAX_POOLS: usize = 500;

/// What went where since the start.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    flows: BTreeMap<ServiceName, BTreeMap<Target, Flow>>,
    len: usize,
    /// What entered in each zone, all services together: tries, and those that failed.
    entered: BTreeMap<(Zone, Target), (u64, u64)>,
}

/// All that was counted since the start, for whoever makes rates of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By where it entered and where it went: tries, and those that failed.
    pub(crate) flows: BTreeMap<(Zone, Target), (u64, u64)>,
    /// What entered, by service: tries, and those that failed.
    pub(crate) services: BTreeMap<ServiceName, (u64, u64)>,
    /// What the own pools got whose capacity is declared: tries, and requests in progress times how long, in microseconds.
    pub(crate) pools: BTreeMap<(ServiceName, Zone), (u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// Tries of gateways where clients enter.
    entered: u64,
    failed: u64,
    /// Tries of all gateways.
    got: u64,
    /// Requests in progress times how long they were.
    busy: Duration,
    /// The last report of a gateway where clients enter that told of a try: when, by the wall clock, and over which time.
    last: Option<(u64, Duration)>,
}

/// What went where, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrafficView {
    /// When, by this machine's wall clock, in microseconds since 1970.
    pub(crate) unix_micros: u64,
    /// What enters here, by where it goes.
    pub(crate) targets: Vec<TargetView>,
    /// What the own pools get whose capacity is declared; of very many, those that get most.
    pub(crate) pools: Vec<PoolLoadView>,
}

/// What goes to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TargetView {
    /// `zone NAME` or `cluster NAME`.
    pub(crate) target: Target,
    /// Tries that started there, of requests that entered here.
    pub(crate) entered: u64,
    /// Those of them that failed.
    pub(crate) failed: u64,
    /// When the last report came that told of any, in microseconds since 1970.
    pub(crate) last_unix_micros: Option<u64>,
    /// They started within so long before that report.
    pub(crate) within_micros: u64,
}

/// What a pool gets, and what it can take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolLoadView {
    /// The service.
    pub(crate) service: ServiceName,
    /// The zone.
    pub(crate) zone: Zone,
    /// Tries that started there, by whichever gateway of this cluster.
    pub(crate) got: u64,
    /// Requests in progress times how long, in microseconds.
    pub(crate) busy_micros: u64,
    /// What its healthy endpoints can take by declaration.
    pub(crate) capacity: Load,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What an Envoy locality stands for (see the crate `envoy`): another cluster has a sub-zone and no zone.
pub(crate) fn target(locality: &NodeLocality) -> Option<Target> {
    if locality.zone.is_empty() {
        return locality.sub_zone.parse().ok().map(Target::Cluster);
    }
    locality.zone.parse().ok().map(Target::Zone)
}

impl Traffic {
    /// Takes in a report that came at `unix_micros`; `enters`: clients send to that gateway.
    pub(crate) fn add(&mut self, report: &LoadReport, enters: bool, unix_micros: u64) {
        let entrance: Option<Zone> = report.node.locality.zone.parse().ok().filter(|_| enters);
        for cluster in &report.clusters {
            let idle = |counts: &tidegate_xds::RequestCounts| counts.issued == 0 && counts.in_progress == 0;
            if cluster.localities.iter().all(|it| idle(&it.counts) && it.counts.error == 0) {
                continue;
            }
            let Ok(service) = cluster.cluster.parse::<ServiceName>() else { continue };
            for locality in &cluster.localities {
                let (Some(target), counts) = (target(&locality.locality), locality.counts) else { continue };
                if let Some(zone) = &entrance {
                    // A try that got no connection failed without having been issued.
                    self.enter(zone, &target, (counts.issued.max(counts.error), counts.error));
                }
                let Some(flow) = self.flow(&service, target) else { continue };
                flow.got += counts.issued;
                let running = u32::try_from(counts.in_progress).unwrap_or(u32::MAX);
                flow.busy = flow.busy.saturating_add(cluster.interval.saturating_mul(running));
                if enters {
                    flow.entered += counts.issued;
                    flow.failed += counts.error;
                    if counts.issued > 0 {
                        flow.last = Some((unix_micros, cluster.interval));
                    }
                }
            }
        }
    }

    fn flow(&mut self, service: &ServiceName, target: Target) -> Option<&mut Flow> {
        let known = self.flows.get(service).is_some_and(|flows| flows.contains_key(&target));
        if !known && self.len >= MAX_FLOWS {
            return None;
        }
        self.len += usize::from(!known);
        if !self.flows.contains_key(service) {
            self.flows.insert(service.clone(), BTreeMap::new());
        }
        self.flows.get_mut(service).map(|flows| flows.entry(target).or_default())
    }

    fn enter(&mut self, zone: &Zone, target: &Target, (tries, failed): (u64, u64)) {
        let key = (zone.clone(), target.clone());
        if self.entered.len() < MAX_PLACES || self.entered.contains_key(&key) {
            let sum = self.entered.entry(key).or_default();
            *sum = (sum.0 + tries, sum.1 + failed);
        }
    }

    /// All that was counted since the start.
    pub(crate) fn counts(&self, engine: Option<&Engine>) -> Counts {
        let mut counts = Counts { flows: self.entered.clone(), ..Counts::default() };
        for (service, flows) in &self.flows {
            let sum = |of: fn(&Flow) -> u64| flows.values().map(of).sum::<u64>();
            counts.services.insert(service.clone(), (sum(|it| it.entered), sum(|it| it.failed)));
            let declared = engine.and_then(|engine| engine.policy(service)?.capacity.as_ref());
            if declared.is_some() {
                for (target, flow) in flows {
                    if let Target::Zone(zone) = target {
                        counts.pools.insert((service.clone(), zone.clone()), (flow.got, micros(flow.busy)));
                    }
                }
            }
        }
        counts
    }

    /// What is known of one service, or of all.
    pub(crate) fn view(
        &self,
        of: Option<&ServiceName>,
        engine: Option<&Engine>,
        now: Time,
        unix_micros: u64,
    ) -> TrafficView {
        let flows = || self.flows.iter().filter(|(service, _)| of.is_none_or(|it| it == *service));
        let mut targets = BTreeMap::<&Target, Flow>::new();
        for (target, flow) in flows().flat_map(|(_, flows)| flows) {
            let sum = targets.entry(target).or_default();
            sum.entered += flow.entered;
            sum.failed += flow.failed;
            sum.last = sum.last.max(flow.last);
        }
        let targets = targets.into_iter().map(|(target, flow)| TargetView {
            target: target.clone(),
            entered: flow.entered,
            failed: flow.failed,
            last_unix_micros: flow.last.map(|(at, _)| at),
            within_micros: flow.last.map_or(0, |(_, within)| micros(within)),
        });
        let targets = targets.collect();
        let mut pools: Vec<PoolLoadView> = engine
            .map(|engine| flows().flat_map(|(service, flows)| pools(engine, service, flows, now)).collect())
            .unwrap_or_default();
        pools.sort_by_key(|pool| std::cmp::Reverse(pool.got));
        pools.truncate(MAX_POOLS);
        TrafficView { unix_micros, targets, pools }
    }
}

/// The own pools of a service whose capacity is declared.
fn pools(
    engine: &Engine,
    service: &ServiceName,
    flows: &BTreeMap<Target, Flow>,
    now: Time,
) -> Vec<PoolLoadView> {
    let Some(policy) = engine.policy(service) else { return Vec::new() };
    let Some(capacity) = policy.capacity.as_ref() else { return Vec::new() };
    let per_endpoint = capacity.per_endpoint.value;
    let pool = |status: tidegate_model::PoolStatus| {
        let flow = flows.get(&Target::Zone(status.locality.zone.clone())).copied().unwrap_or_default();
        let can = per_endpoint.thousandths().saturating_mul(u64::from(status.healthy));
        PoolLoadView {
            service: service.clone(),
            zone: status.locality.zone,
            got: flow.got,
            busy_micros: micros(flow.busy),
            capacity: per_endpoint.like(can),
        }
    };
    engine.statuses_of(service, now).map(pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidegate_xds::{ClusterLoad, LocalityLoad, NodeInfo, RequestCounts};

    fn report(service: &str, of: &[(&str, &str, u64, u64)]) -> LoadReport {
        let locality = |(zone, cluster, issued, in_progress): &(&str, &str, u64, u64)| LocalityLoad {
            locality: NodeLocality {
                region: String::new(),
                zone: (*zone).to_owned(),
                sub_zone: (*cluster).to_owned(),
            },
            priority: 0,
            counts: RequestCounts {
                issued: *issued,
                in_progress: *in_progress,
                error: 1,
                ..RequestCounts::default()
            },
            endpoints: Vec::new(),
        };
        let cluster = ClusterLoad {
            cluster: service.to_owned(),
            service: String::new(),
            interval: Duration::from_millis(100),
            dropped: 0,
            shed: BTreeMap::new(),
            localities: of.iter().map(locality).collect(),
        };
        LoadReport { node: Arc::new(NodeInfo::default()), clusters: vec![cluster] }
    }

    #[test]
    fn what_enters_is_summed_by_target_and_the_last_try_is_known_to_the_report() {
        let mut traffic = Traffic::default();
        traffic.add(&report("shop/web", &[("a", "", 10, 2), ("", "west", 3, 0)]), true, 1_000_000);
        traffic.add(&report("shop/api", &[("a", "", 5, 0)]), true, 1_050_000);
        traffic.add(&report("shop/web", &[("a", "", 0, 1)]), true, 1_100_000);
        // What another cluster sends enters there.
        traffic.add(&report("shop/web", &[("a", "", 7, 0)]), false, 1_200_000);
        let seen = |view: &TrafficView| -> Vec<(String, u64, Option<u64>)> {
            view.targets.iter().map(|it| (it.target.to_string(), it.entered, it.last_unix_micros)).collect()
        };
        let all = traffic.view(None, None, Time::ZERO, 5);
        assert_eq!(
            seen(&all),
            [("zone a".to_owned(), 15, Some(1_050_000)), ("cluster west".to_owned(), 3, Some(1_000_000))]
        );
        assert_eq!((all.targets[0].failed, all.targets[0].within_micros), (3, 100_000));
        let web = traffic.view(Some(&"shop/web".parse().unwrap()), None, Time::ZERO, 5);
        assert_eq!(web.targets[0].entered, 10);
        let flow = traffic.flows[&"shop/web".parse::<ServiceName>().unwrap()][&"zone a".parse().unwrap()];
        assert_eq!((flow.got, flow.busy), (17, Duration::from_millis(300)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut traffic = Traffic { len: MAX_FLOWS, ..Traffic::default() };
        traffic.add(&report("shop/web", &[("a", "", 10, 2)]), true, 1);
        assert!(traffic.view(None, None, Time::ZERO, 2).targets.is_empty());
    }
}
