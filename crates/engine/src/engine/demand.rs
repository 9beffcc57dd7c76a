//! The events of demand.

use super::{Effects, Engine};
use crate::{capacity::Load, declared::FleetView, plan::Source, service::ServiceState};
use std::collections::BTreeMap;
use tidegate_model::{ClusterName, ServiceName, Time, Zone};

impl Engine {
    /// What the own sources ask for, smoothed, of the services whose capacity is declared: for the other clusters.
    pub fn demand(&self) -> impl Iterator<Item = (&ServiceName, BTreeMap<Zone, Load>)> {
        let of = |(name, state)| Some((name, ServiceState::own_demand(state)?));
        self.services.iter().filter_map(of)
    }

    pub(super) fn measure_demand(
        &mut self,
        source: &Source,
        service: &ServiceName,
        rate: Load,
        now: Time,
        effects: &mut Effects,
    ) {
        let known = self.fleet.sources.contains(source);
        let state = self.services.get_mut(service).filter(|_| known);
        if state.is_some_and(|state| state.measure_demand(source, rate, now)) {
            self.update(service, now, effects);
        }
    }

    pub(super) fn hear_demand(
        &mut self,
        cluster: &ClusterName,
        view: FleetView,
        demand: &BTreeMap<ServiceName, BTreeMap<Zone, Load>>,
        now: Time,
        effects: &mut Effects,
    ) {
        if self.fleet.clusters.contains_key(cluster) {
            self.fleet.views.insert(cluster.clone(), view);
            self.update_where(now, effects, |name, state| state.hear_demand(cluster, demand.get(name), now));
        }
    }

    pub(super) fn set_arrivals(
        &mut self,
        at: &ClusterName,
        from: &BTreeMap<ServiceName, BTreeMap<ClusterName, Load>>,
        now: Time,
        effects: &mut Effects,
    ) {
        self.update_where(now, effects, |name, state| state.set_arrivals(at, from.get(name)));
    }

    /// Updates the services that `change` changed.
    fn update_where(
        &mut self,
        now: Time,
        effects: &mut Effects,
        mut change: impl FnMut(&ServiceName, &mut ServiceState) -> bool,
    ) {
        let changed =
            self.services.iter_mut().filter_map(|(name, it)| change(name, it).then(|| name.clone()));
        for name in changed.collect::<Vec<_>>() {
            self.update(&name, now, effects);
        }
    }
}
