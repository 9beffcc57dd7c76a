//! What gateways tell of requests, on its way into the engine: what is asked for, here and in other clusters, and where
//! requests succeed.

use super::{Core, Input, Output};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_api::Reach;
use tidegate_engine::{Event, FleetView, Load};
use tidegate_model::{ClusterName, Locality, ServiceName, Time, Zone};
use tidegate_xds::LoadReport;

impl Core {
    pub(super) fn handle_demand(&mut self, input: Input, now: Time, output: &mut Output) {
        match input {
            Input::Demand { zone, rates } => self.measured(zone, rates, now, output),
            // What a peer tells of a cluster that the manifests do not name is not asked for.
            Input::PeerDemand { peer, demand, unreachable } if self.peers.contains_key(&peer) => {
                let view = FleetView { distances: self.config.distances_from(&peer), unreachable };
                self.tell(Event::RemoteDemand { cluster: peer, view, demand }, now, output);
            }
            Input::Succeeded(pools) => self.tell(Event::Succeeded { pools, at: now }, now, output),
            _ => {}
        }
    }

    /// Where requests succeeded by a gateway's report, as far as it matters: at places that are in doubt. A verdict on a
    /// place takes a second to form, and at least one report falls into that time.
    #[must_use]
    pub fn successes(&self, report: &LoadReport) -> BTreeSet<(ServiceName, Zone)> {
        let Some(engine) = &self.engine else { return BTreeSet::new() };
        let doubted: Vec<_> = engine.doubted().collect();
        if doubted.is_empty() {
            return BTreeSet::new();
        }
        let region = &engine.fleet().region;
        let mut successes = BTreeSet::new();
        for cluster in &report.clusters {
            let Ok(service) = cluster.cluster.parse::<ServiceName>() else { continue };
            for locality in cluster.localities.iter().filter(|it| it.counts.success > 0) {
                // Another cluster is a locality without a zone.
                let Ok(zone) = locality.locality.zone.parse::<Zone>() else { continue };
                let place = Locality { region: region.clone(), zone };
                if doubted.iter().any(|it| it.covers(self.own(), &place)) {
                    successes.insert((service.clone(), place.zone));
                }
            }
        }
        successes
    }

    /// The services whose demand matters, and the unit in which their capacity is declared.
    pub(crate) fn metered(&self) -> impl Iterator<Item = (&ServiceName, Load)> {
        let of = |(name, service): (_, &std::sync::Arc<tidegate_api::Service>)| {
            Some((name, service.policy.engine.capacity.as_ref()?.per_endpoint.value))
        };
        self.config.services.iter().filter_map(of)
    }

    /// What is asked for in this cluster, for the others, and which of them are out of reach.
    #[must_use]
    pub fn demand(&self) -> (BTreeMap<(ServiceName, Zone), Load>, BTreeSet<ClusterName>) {
        let Some(engine) = &self.engine else { return Default::default() };
        // What is asked for of a service that is for this cluster alone is nobody else's business.
        let asked = engine.demand().filter(|(service, _)| {
            self.config.services.get(*service).is_none_or(|it| it.reach != Reach::Cluster)
        });
        let demand = asked.flat_map(|(service, zones)| {
            zones.into_iter().map(move |(zone, load)| ((service.clone(), zone), load))
        });
        (demand.collect(), engine.unreachable().clone())
    }
}
