//! What requests find at endpoints, on its way to a verdict of the engine.

use super::{Core, Output};
use crate::passive::Requests;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};
use tidegate_engine::{EndpointView, Event};
use tidegate_model::{ServiceName, Time};

impl Core {
    /// Whether any policy judges endpoints by the errors of requests: gateways report per endpoint only then.
    #[must_use]
    pub const fn judges_errors(&self) -> bool {
        self.asked.errors > 0
    }

    /// Whether the policy of a service does.
    #[must_use]
    pub fn judges_errors_of(&self, service: &ServiceName) -> bool {
        self.config.services.get(service).is_some_and(|service| service.policy.error_check.is_some())
    }

    /// Takes in what ended at endpoints.
    pub(super) fn count_requests(
        &mut self,
        requests: &BTreeMap<ServiceName, BTreeMap<SocketAddr, Requests>>,
        now: Time,
        output: &mut Output,
    ) {
        for (service, requests) in requests {
            if self.judges_errors_of(service) {
                let endpoints = self.endpoints_of(service);
                self.passive.count(service, requests, &endpoints, now);
                self.judge_errors_of(service, &endpoints, now, output);
            }
        }
    }

    /// Lets back whoever's time is over, and whoever is needed because others went down.
    pub(super) fn judge_errors(&mut self, now: Time, output: &mut Output) {
        let mut services: BTreeSet<ServiceName> = self.passive.due(now).cloned().collect();
        let touched = output.touched.plans.iter();
        services.extend(touched.filter(|service| self.passive.holds(service)).cloned());
        for service in services {
            let endpoints = self.endpoints_of(&service);
            self.judge_errors_of(&service, &endpoints, now, output);
        }
    }

    /// Manifests are new for these services: policies may ask no more, and a starting agent finds what was ejected before.
    pub(super) fn judge_errors_anew<'s>(
        &mut self,
        services: impl Iterator<Item = &'s ServiceName>,
        now: Time,
        output: &mut Output,
    ) {
        for service in services {
            let endpoints = self.endpoints_of(service);
            if self.passive.knows(service) || endpoints.iter().any(|it| it.ejected) {
                self.judge_errors_of(service, &endpoints, now, output);
            }
        }
    }

    fn endpoints_of(&self, service: &ServiceName) -> Vec<EndpointView> {
        self.engine.iter().flat_map(|engine| engine.endpoints(service)).collect()
    }

    fn judge_errors_of(
        &mut self,
        service: &ServiceName,
        endpoints: &[EndpointView],
        now: Time,
        output: &mut Output,
    ) {
        let rule = self.config.services.get(service).and_then(|service| service.policy.error_check);
        for verdict in self.passive.judge(service, rule.as_ref(), endpoints, now) {
            let (service, address) = (service.clone(), verdict.address);
            let event = Event::Ejected { service, address, ejected: verdict.ejected, reason: verdict.reason };
            self.tell(event, now, output);
        }
    }
}
