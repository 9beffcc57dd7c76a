//! The events of demand.

use super::{Effects, Engine};
use crate::{
    capacity::Load,
    declared::FleetView,
    plan::Source,
    service::{DemandView, ServiceState},
};
use std::collections::BTreeMap;
use tidegate_model::{ClusterName, ServiceName, Time, Zone};

impl Engine {
    /// What the own sources ask for, smoothed, of the services whose capacity is declared: for the other clusters.
    pub fn demand(&self) -> impl Iterator<Item = (&ServiceName, BTreeMap<Zone, Load>)> {
        self.services.iter().filter_map(|(name, state)| Some((name, state.own_demand()?)))
    }

    /// What the own sources ask of a service, and how old that is.
    pub fn demand_of(&self, service: &ServiceName, now: Time) -> impl Iterator<Item = DemandView> {
        self.services.get(service).into_iter().flat_map(move |state| state.demand_views(now))
    }

    pub(super) fn measure_demand(
        &mut self,
        source: &Source,
        rates: &BTreeMap<ServiceName, Load>,
        now: Time,
        effects: &mut Effects,
    ) {
        if !self.fleet.sources.contains(source) {
            return;
        }
        for (service, rate) in rates {
            let Some(state) = self.services.get_mut(service) else { continue };
            let moved = state.measure_demand(source, *rate, now);
            if state.policy().capacity.is_some() {
                self.unsaved.demand(service, now);
            }
            if moved {
                self.update(service, now, effects);
                // What a plan was made from is kept with it: a restart must not undo the plan.
                if effects.changed.contains(service) {
                    self.unsaved.service(service);
                }
            }
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
            let same = self.fleet.views.get(cluster) == Some(&view);
            self.fleet.views.insert(cluster.clone(), view);
            self.update_where(now, effects, |name, state| {
                state.hear_demand(cluster, demand.get(name), now) || !same && state.own_demand().is_some()
            });
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
