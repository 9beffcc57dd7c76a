//! What drains: from plans, policies and load reports to [`Draining`].

use super::{Core, Input};
use crate::{
    draining::{Drain, Draining, Flow},
    traffic::target,
    view::DrainView,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidegate_api::Config;
use tidegate_engine::{Engine, Target};
use tidegate_model::{ServiceName, Time, Zone};
use tidegate_xds::LoadReport;

/// Takes in a service's plans. Before gateways are answered nobody has sent anything anywhere.
pub(super) fn plans(
    draining: &mut Draining,
    service: &ServiceName,
    engine: &Engine,
    config: &Config,
    answers: bool,
    now: Time,
) {
    let Some(declared) = config.services.get(service) else { return };
    let residency = declared.policy.engine.residency.as_ref();
    let allowed = |target: &Target| {
        let (region, cluster) = match target {
            Target::Zone(_) => (Some(&engine.fleet().region), &engine.fleet().own),
            Target::Cluster(name) => (config.clusters.get(name).map(|it| &it.region), name),
        };
        // Nothing finishes where nobody answers, and a session must not keep to it.
        let in_reach = !engine.unreachable().contains(cluster);
        let resides = |region| residency.is_none_or(|it| it.value.allows(region, cluster));
        answers && in_reach && region.is_some_and(resides)
    };
    draining.plans(service, engine.plans(service), declared.policy.drain_timeout, &allowed, now);
}

impl Core {
    /// What a gateway has in flight where anything drains, by its load report; `None` where nobody asks.
    pub fn in_flight(&mut self, zone: &Zone, report: &LoadReport, now: Time) -> Option<Input> {
        let asked = self.draining.asks(&report.node.id, now);
        let mut flows = BTreeMap::<ServiceName, BTreeMap<Target, Flow>>::new();
        let mut started = 0;
        if !self.draining.is_busy() {
            return None;
        }
        for cluster in &report.clusters {
            let Ok(service) = cluster.cluster.parse::<ServiceName>() else { continue };
            let draining = self.draining.targets(&service, zone);
            if draining.is_empty() {
                continue;
            }
            for locality in &cluster.localities {
                let Some(target) = target(&locality.locality).filter(|it| draining.contains(it)) else {
                    continue;
                };
                let flow = flows.entry(service.clone()).or_default().entry(target).or_default();
                flow.in_flight += locality.counts.in_progress;
                flow.started += locality.counts.issued;
                started += locality.counts.issued;
            }
        }
        if !asked && started == 0 {
            return None;
        }
        let gateway = Arc::from(report.node.id.as_str());
        Some(Input::InFlight { gateway, zone: zone.clone(), flows })
    }

    /// All that drains, and what is in flight there.
    #[must_use]
    pub fn drain_views(&self, now: Time) -> Vec<DrainView> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let view = |it: Drain| DrainView {
            service: it.service,
            source: format!("{}/{}", self.own(), it.zone),
            target: it.target,
            since_ms: millis(now.since(it.since)),
            remaining_ms: millis(it.until.since(now)),
            in_flight: it.in_flight,
        };
        self.draining.all().map(view).collect()
    }
}
