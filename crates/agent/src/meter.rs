//! How much is asked at the gateways of this cluster: from what Envoys count to requests per second and requests in
//! progress, by service and zone. Pure; it knows gateways, not policies.
//!
//! Two reports of an Envoy make one measurement: its counters (once a second, [`tidegate_envoy::demand_counter`]) and its
//! load reports (what was shed, what is in progress). What several gateways of a zone are asked adds up. A gateway that
//! has been silent for [`SILENT`] counts no more: its clients have gone to another, where they are counted.
//!
//! Requests in progress are tries in progress: a hedge beside a late try counts twice while both run. What was shed or
//! failed at once is in the rate only.

use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::Load;
use tidegate_envoy::{SHED_CATEGORY, demand_counter};
use tidegate_model::{ServiceName, Time, Zone};
use tidegate_xds::{CounterReport, LoadReport};

/// Several times as long as Envoy takes to find a restarted agent; the next measurement comes a second later.
const SILENT: Duration = Duration::from_secs(10);
/// Counters closer together are taken as one: a short time makes a bad rate.
const SHORTEST_MS: u64 = 200;
/// Gateways that are counted; more are left out, so that memory is bounded.
const MAX_GATEWAYS: usize = 1024;
/// A zone's demand is told this often at most: a report of one gateway a second, with room for jitter.
const TELL_EVERY: Duration = Duration::from_millis(900);

/// What the gateways count.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    gateways: BTreeMap<String, Gateway>,
    told: BTreeMap<Zone, Time>,
}

#[derive(Debug)]
struct Gateway {
    zone: Zone,
    heard: Time,
    /// When its last counters were taken, by its own clock.
    at_ms: u64,
    services: BTreeMap<ServiceName, Counted>,
    /// Load reports since then, and whether there was one in the time before: Envoy takes longer to report load to an agent
    /// that restarted than to send counters, and what was shed meanwhile is not told.
    reports: u64,
    covered: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// Requests since the gateway started, when its counters were taken last.
    requests: i128,
    /// What was shed since then.
    shed: u64,
    /// The sum of what was in progress at each load report since then.
    running: u64,
    measured: Option<Measured>,
}

/// In thousandths.
#[derive(Clone, Copy, Debug)]
struct Measured {
    rps: u64,
    running: u64,
}

impl Meter {
    /// Takes in a load report of a gateway that is counted.
    pub(crate) fn load(&mut self, report: &LoadReport) {
        let Some(gateway) = self.gateways.get_mut(&report.node.id) else { return };
        gateway.reports += 1;
        for cluster in &report.clusters {
            let Ok(service) = cluster.cluster.parse::<ServiceName>() else { continue };
            let shed = cluster.shed.get(SHED_CATEGORY).copied().unwrap_or(0);
            let running: u64 = cluster.localities.iter().map(|it| it.counts.in_progress).sum();
            if shed > 0 || running > 0 {
                let counted = gateway.services.entry(service).or_default();
                counted.shed += shed;
                counted.running += running;
            }
        }
    }

    /// Takes in the counters of a gateway that clients use; whether its zone's demand is to be told now.
    pub(crate) fn counters(&mut self, zone: &Zone, report: &CounterReport, now: Time) -> bool {
        self.gateways.retain(|_, gateway| now.since(gateway.heard) < SILENT);
        let mut requests = BTreeMap::<ServiceName, i128>::new();
        for (name, value) in &report.counters {
            if let Some((service, adds)) = demand_counter(name, *value) {
                *requests.entry(service).or_default() += adds;
            }
        }
        let id = &report.node.id;
        let full = self.gateways.len() >= MAX_GATEWAYS;
        match self.gateways.get_mut(id) {
            Some(gateway) if gateway.zone == *zone => {
                gateway.heard = now;
                if !gateway.measure(&requests, report.at_ms) {
                    return false;
                }
            }
            None if full => return false,
            _ => {
                let gateway = Gateway::new(zone.clone(), requests, report.at_ms, now);
                self.gateways.insert(id.clone(), gateway);
                return false;
            }
        }
        let due = self.told.get(zone).is_none_or(|told| now.since(*told) >= TELL_EVERY);
        if due {
            self.told.insert(zone.clone(), now);
        }
        due
    }

    /// How much is asked of a service at all gateways, in thousandths of requests per second, as far as it was measured.
    pub(crate) fn rate(&self, service: &ServiceName) -> u64 {
        let measured = self.gateways.values().filter_map(|gateway| gateway.services.get(service)?.measured);
        measured.map(|it| it.rps).fold(0, u64::saturating_add)
    }

    /// What is asked of a service in a zone, in the unit of `like`.
    pub(crate) fn demand(&self, zone: &Zone, service: &ServiceName, like: Load) -> Load {
        let there = self.gateways.values().filter(|gateway| gateway.zone == *zone);
        let measured = there.filter_map(|gateway| gateway.services.get(service)?.measured);
        let in_unit = measured.map(|it| match like {
            Load::Rate { .. } => it.rps,
            Load::Concurrency { .. } => it.running,
        });
        like.like(in_unit.fold(0, u64::saturating_add))
    }
}

impl Gateway {
    fn new(zone: Zone, requests: BTreeMap<ServiceName, i128>, at_ms: u64, now: Time) -> Self {
        let counted = |requests| Counted { requests, ..Counted::default() };
        let services = requests.into_iter().map(|(service, it)| (service, counted(it))).collect();
        Self { zone, heard: now, at_ms, services, reports: 0, covered: false }
    }

    /// Makes a measurement of what was counted since the last one, if that was long enough ago.
    fn measure(&mut self, requests: &BTreeMap<ServiceName, i128>, at_ms: u64) -> bool {
        let passed_ms = at_ms.saturating_sub(self.at_ms);
        let stepped_back = at_ms < self.at_ms;
        // An Envoy that started anew counts from nothing. Retries that are about to start make a service's number
        // fall by as many; they never reach half of it unless there are few.
        let anew = requests.iter().any(|(service, now)| {
            self.services.get(service).is_some_and(|before| *now + 100 < before.requests / 2)
        });
        if !stepped_back && !anew && passed_ms < SHORTEST_MS {
            return false;
        }
        let is_whole = !anew && !stepped_back && self.covered && self.reports > 0;
        for service in requests.keys() {
            self.services.entry(service.clone()).or_default();
        }
        for (service, counted) in &mut self.services {
            let now = requests.get(service).copied().unwrap_or(counted.requests);
            if is_whole {
                let came = u64::try_from(now - counted.requests).unwrap_or(0).saturating_add(counted.shed);
                counted.measured = Some(Measured {
                    rps: came.saturating_mul(1_000_000) / passed_ms,
                    running: counted.running.saturating_mul(1000) / self.reports.max(1),
                });
            }
            // A retry that was decided and has not started yet is not taken twice.
            counted.requests = if anew { now } else { now.max(counted.requests) };
            (counted.shed, counted.running) = (0, 0);
        }
        self.at_ms = at_ms;
        self.covered = self.reports > 0;
        self.reports = 0;
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidegate_xds::{ClusterLoad, LocalityLoad, NodeInfo, NodeLocality, RequestCounts};

    fn node(id: &str) -> Arc<NodeInfo> {
        Arc::new(NodeInfo { id: id.to_owned(), ..NodeInfo::default() })
    }

    fn counters(id: &str, at_ms: u64, total: u64, retries: u64) -> CounterReport {
        let named = |name: &str, value| (format!("cluster.shop/web.{name}"), value);
        let counters = vec![named("upstream_rq_total", total), named("upstream_rq_retry", retries)];
        CounterReport { node: node(id), at_ms, counters }
    }

    fn load(id: &str, shed: u64, in_progress: u64) -> LoadReport {
        let counts = RequestCounts { in_progress, ..RequestCounts::default() };
        let locality =
            LocalityLoad { locality: NodeLocality::default(), priority: 0, counts, endpoints: Vec::new() };
        let cluster = ClusterLoad {
            cluster: "shop/web".to_owned(),
            service: String::new(),
            interval: Duration::from_millis(100),
            dropped: 0,
            shed: BTreeMap::from([(SHED_CATEGORY.to_owned(), shed)]),
            localities: vec![locality],
        };
        LoadReport { node: node(id), clusters: vec![cluster] }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn rps(meter: &Meter) -> u64 {
        let web = "shop/web".parse().unwrap();
        meter.demand(&zone(), &web, Load::Rate { rps: 0 }).thousandths()
    }

    fn zone() -> Zone {
        "a".parse().unwrap()
    }

    #[test]
    fn two_reports_make_a_rate_of_requests_without_retries_and_with_what_was_shed() {
        let mut meter = Meter::default();
        let unmeasured = |meter: &mut Meter, at_ms, total| {
            !meter.counters(&zone(), &counters("e", at_ms, total, 0), at(at_ms))
        };
        assert!(unmeasured(&mut meter, 0, 400), "the first is where it starts");
        meter.load(&load("e", 5, 1));
        assert!(unmeasured(&mut meter, 1000, 500), "what was shed before the first load report is not known");
        meter.load(&load("e", 30, 4));
        meter.load(&load("e", 20, 6));
        assert!(meter.counters(&zone(), &counters("e", 3000, 1100, 200), at(3000)));
        assert_eq!(rps(&meter), 225_000, "(600 - 200 + 50) in 2 s");
        let web = "shop/web".parse().unwrap();
        let running = meter.demand(&zone(), &web, Load::Concurrency { requests: 0 });
        assert_eq!(running, Load::Concurrency { requests: 5000 });
        meter.load(&load("e", 0, 0));
        assert!(meter.counters(&zone(), &counters("e", 4000, 1100, 200), at(4000)));
        assert_eq!(rps(&meter), 0, "nothing came");
        assert!(unmeasured(&mut meter, 5000, 1900), "no load report");
        assert_eq!(rps(&meter), 0);
    }

    /// A gateway's counters, after load reports in the time before and in this one.
    fn whole(meter: &mut Meter, report: &CounterReport, now: Time) -> bool {
        meter.load(&load(&report.node.id, 0, 0));
        let told = meter.counters(&zone(), report, now);
        meter.gateways.get_mut(&report.node.id).unwrap().covered = true;
        told
    }

    #[test]
    fn gateways_of_a_zone_add_up_and_a_silent_one_counts_no_more() {
        let mut meter = Meter::default();
        for (second, told) in [(0, false), (1, true)] {
            for id in ["e", "f"] {
                let report = counters(id, second * 1000, second * 100, 0);
                let is_told = whole(&mut meter, &report, at(second * 1000));
                assert_eq!(is_told, told && id == "e", "once a second for the zone");
            }
        }
        assert_eq!(rps(&meter), 200_000);
        for second in 2..12 {
            whole(&mut meter, &counters("e", second * 1000, second * 100, 0), at(second * 1000));
        }
        assert_eq!(rps(&meter), 100_000);
    }

    #[test]
    fn a_gateway_that_starts_anew_makes_no_rate_of_the_jump() {
        let mut meter = Meter::default();
        whole(&mut meter, &counters("e", 0, 90_000, 0), at(0));
        assert!(whole(&mut meter, &counters("e", 1000, 90_100, 0), at(1000)));
        assert!(!whole(&mut meter, &counters("e", 2000, 50, 0), at(2000)));
        assert_eq!(rps(&meter), 100_000, "the last measurement stands");
        assert!(whole(&mut meter, &counters("e", 3000, 170, 0), at(3000)));
        assert_eq!(rps(&meter), 120_000);
    }

    #[test]
    fn retries_that_have_not_started_yet_are_taken_once_and_reports_close_together_wait() {
        let mut meter = Meter::default();
        whole(&mut meter, &counters("e", 0, 1000, 0), at(0));
        // Five retries decided, none started.
        whole(&mut meter, &counters("e", 1000, 1000, 5), at(1000));
        assert_eq!(rps(&meter), 0);
        whole(&mut meter, &counters("e", 2000, 1105, 5), at(2000));
        assert_eq!(rps(&meter), 100_000);
        assert!(!whole(&mut meter, &counters("e", 2001, 1205, 5), at(3000)));
        assert_eq!(rps(&meter), 100_000);
    }
}
