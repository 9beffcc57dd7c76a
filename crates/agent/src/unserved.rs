//! Which services gateways cannot serve now, for those who ask them (`/healthz/services/...`). Pure.
//!
//! All such services of a gateway are one resource. When thousands change one after the other (an agent starts, a region is
//! lost), telling it anew each time would cost the square of their number, so there is a pause after each that grows with it.

use crate::translate::set;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_envoy::health_runtime;
use tidegate_model::{ServiceName, Time};
use tidegate_xds::{Change, Scope};

/// Nobody asks more often than each second; what is told is at most so much late where few services are unserved.
const PAUSE: Duration = Duration::from_millis(100);
/// A service in it makes it longer by so much: ten times what it takes to encode and send it.
const PER_SERVICE: Duration = Duration::from_micros(50);

/// What is told, by the scope that it stands in.
#[derive(Debug, Default)]
pub(crate) struct Unserved(BTreeMap<Scope, Told>);

#[derive(Debug, Default)]
struct Told {
    services: BTreeSet<ServiceName>,
    /// Something is not told yet.
    is_news: bool,
    /// From when on it may be.
    not_before: Option<Time>,
}

impl Unserved {
    /// There are gateways that look into this scope.
    pub(crate) fn ensure(&mut self, scope: Scope) {
        self.0.entry(scope).or_insert_with(|| Told { is_news: true, ..Told::default() });
    }

    /// Whether gateways that look into this scope can serve a service.
    pub(crate) fn note(&mut self, scope: Scope, service: &ServiceName, serves: bool) {
        let told = self.0.entry(scope).or_insert_with(|| Told { is_news: true, ..Told::default() });
        told.is_news |= match serves {
            true => told.services.remove(service),
            false => !told.services.contains(service) && told.services.insert(service.clone()),
        };
    }

    /// The service is gone.
    pub(crate) fn forget(&mut self, service: &ServiceName) {
        for told in self.0.values_mut() {
            told.is_news |= told.services.remove(service);
        }
    }

    /// What is to be told now.
    pub(crate) fn news(&mut self, now: Time) -> Vec<Change> {
        let due = self.0.iter_mut().filter(|(_, told)| told.is_due(now));
        let tell = |(scope, told): (&Scope, &mut Told)| {
            let count = u32::try_from(told.services.len()).unwrap_or(u32::MAX);
            told.is_news = false;
            told.not_before = Some(now + PAUSE + PER_SERVICE.saturating_mul(count));
            set(scope.clone(), health_runtime(&told.services))
        };
        due.map(tell).collect()
    }

    /// When there is something to tell.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.0.values().filter(|told| told.is_news).filter_map(|told| told.not_before).min()
    }
}

impl Told {
    fn is_due(&self, now: Time) -> bool {
        self.is_news && self.not_before.is_none_or(|from| now >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(number: usize) -> ServiceName {
        format!("shop/web-{number}").parse().unwrap()
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn what_cannot_be_served_is_told_once_and_at_a_pace() {
        let scope = || Scope::new("tunnels/a");
        let mut unserved = Unserved::default();
        unserved.ensure(scope());
        assert_eq!(unserved.news(at(0)).len(), 1, "nothing is unserved: that is told, too");
        unserved.note(scope(), &service(1), false);
        unserved.note(scope(), &service(1), false);
        assert_eq!(unserved.deadline(), Some(at(100)));
        assert!(unserved.news(at(99)).is_empty());
        let told = unserved.news(at(100));
        let wanted = set(scope(), health_runtime(&BTreeSet::from([service(1)])));
        assert_eq!(format!("{told:?}"), format!("{:?}", [wanted]));
        assert_eq!(unserved.deadline(), None);
        unserved.note(scope(), &service(1), false);
        assert!(unserved.news(at(900)).is_empty(), "no news");
        unserved.forget(&service(1));
        assert_eq!(unserved.news(at(900)).len(), 1);
    }

    #[test]
    fn the_more_it_is_the_rarer_it_is_told() {
        let scope = || Scope::new("tunnels/a");
        let mut unserved = Unserved::default();
        (0..10_000).for_each(|number| unserved.note(scope(), &service(number), false));
        assert_eq!(unserved.news(at(0)).len(), 1);
        unserved.note(scope(), &service(1), true);
        assert_eq!(unserved.deadline(), Some(at(600)));
    }
}
