//! From load reports to what ended at endpoints: gathered from all gateways, and told once a second.

use super::Requests;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tidegate_model::{ServiceName, Time};
use tidegate_xds::LoadReport;

/// How often it is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Endpoints that are counted until then; more are left out, so that memory is bounded.
const MAX_ENDPOINTS: usize = 200_000;

/// What ended at the endpoints of services.
pub(crate) type ByService = BTreeMap<ServiceName, BTreeMap<SocketAddr, Requests>>;

/// What ended since it was told last.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    by_service: ByService,
    endpoints: usize,
    told: Time,
}

impl Ended {
    /// Adds what a gateway reports of the services that matter; all that was gathered, when it is time to tell it.
    pub(crate) fn add(
        &mut self,
        report: &LoadReport,
        matters: impl Fn(&ServiceName) -> bool,
        now: Time,
    ) -> Option<ByService> {
        for cluster in &report.clusters {
            let Ok(service) = cluster.cluster.parse::<ServiceName>() else { continue };
            if !matters(&service) {
                continue;
            }
            for load in cluster.localities.iter().flat_map(|it| &it.endpoints) {
                let Ok(ip) = load.address.parse() else { continue };
                let (ended, failed) = (load.counts.success + load.counts.error, load.counts.error);
                if ended == 0 || self.endpoints >= MAX_ENDPOINTS {
                    continue;
                }
                let of_service = self.by_service.entry(service.clone()).or_default();
                let known = of_service.len();
                of_service.entry(SocketAddr::new(ip, load.port)).or_default().add(Requests { ended, failed });
                self.endpoints += of_service.len() - known;
            }
        }
        if self.endpoints == 0 || now.since(self.told) < TELL_EVERY {
            return None;
        }
        (self.endpoints, self.told) = (0, now);
        Some(std::mem::take(&mut self.by_service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidegate_xds::{ClusterLoad, EndpointLoad, LocalityLoad, NodeInfo, NodeLocality, RequestCounts};

    fn report(address: &str, success: u64, error: u64) -> LoadReport {
        let counts = RequestCounts { success, error, ..RequestCounts::default() };
        let endpoint = EndpointLoad { address: address.to_owned(), port: 80, counts };
        let locality = LocalityLoad {
            locality: NodeLocality::default(),
            priority: 0,
            counts,
            endpoints: vec![endpoint],
        };
        let cluster = |name: &str| ClusterLoad {
            cluster: name.to_owned(),
            service: String::new(),
            interval: TELL_EVERY,
            dropped: 0,
            shed: BTreeMap::new(),
            localities: vec![locality.clone()],
        };
        let node = Arc::new(NodeInfo::default());
        LoadReport { node, clusters: vec![cluster("shop/web"), cluster("shop/other"), cluster("agent")] }
    }

    #[test]
    fn what_gateways_report_adds_up_and_is_told_once_a_second() {
        let mut ended = Ended::default();
        let web = "shop/web".parse::<ServiceName>().unwrap();
        let mut add = |report, ms| ended.add(&report, |it| *it == web, Time::from_millis(ms));
        assert_eq!(add(report("10.0.0.1", 0, 0), 5000), None, "nothing ended");
        assert!(add(report("10.0.0.1", 3, 1), 6000).is_some());
        assert_eq!(add(report("10.0.0.1", 3, 1), 6100), None);
        assert_eq!(add(report("10.0.0.1", 5, 2), 6200), None);
        assert_eq!(add(report("/a/pipe", 5, 2), 6300), None);
        let told = add(report("10.0.0.2", 1, 0), 7000).unwrap();
        let requests = |ended, failed| Requests { ended, failed };
        let expected = BTreeMap::from([
            ("10.0.0.1:80".parse().unwrap(), requests(11, 3)),
            ("10.0.0.2:80".parse().unwrap(), requests(1, 0)),
        ]);
        assert_eq!(told, BTreeMap::from([(web.clone(), expected)]));
    }
}
