//! When services want to be woken.

use std::collections::BTreeSet;
use tidegate_model::{ServiceName, Time};

/// The deadlines of all services in order. Each service knows its own, so that one that keeps it is not looked up.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Time, ServiceName)>);

impl Deadlines {
    pub(super) fn first(&self) -> Option<&(Time, ServiceName)> {
        self.0.first()
    }

    pub(super) fn due(&self, now: Time) -> Vec<ServiceName> {
        self.0.iter().take_while(|(at, _)| *at <= now).map(|(_, service)| service.clone()).collect()
    }

    pub(super) fn replace(&mut self, service: &ServiceName, before: Option<Time>, after: Option<Time>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.0.remove(&(before, service.clone()));
        }
        if let Some(after) = after {
            self.0.insert((after, service.clone()));
        }
    }
}
