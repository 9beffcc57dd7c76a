//! A service's demand, and what follows from it where capacity is declared: plans by the waterfall, and ramps that
//! wait for headroom.

use super::{SavedService, ServiceState};
use crate::{
    capacity::{Load, millionths},
    declared::{FleetPool, FleetQuestion, FleetSource, FleetView, plan_fleet},
    demand::HOLD,
    engine::Fleet,
    plan::{Plan, Source},
    planner::Candidate,
    policy::Policy,
    steer,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidegate_model::{ClusterName, Fraction, Locality, Time, Zone};

/// What one of the own sources asks for, as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SavedDemand {
    load: Load,
    /// The most of the last hour, in the unit of `load`.
    peak: u64,
    /// How old the last measurement was.
    age: Duration,
}

impl SavedDemand {
    /// The same `by` later, if nothing but time happened.
    pub(super) fn age(&mut self, by: Duration) {
        self.age = self.age.saturating_add(by);
    }
}

/// What the sources of a zone ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DemandView {
    /// The zone in which the requests enter.
    pub zone: Zone,
    /// What is planned with: smoothed, or what stands for what is missing.
    pub load: Load,
    /// How long ago it was measured last.
    pub age: Duration,
    /// Whether that is so long ago that its peak of the last hour stands for it.
    pub is_missing: bool,
}

impl ServiceState {
    /// Takes in a measurement at one of the own sources; whether plans must be made anew for it.
    pub(crate) fn measure_demand(&mut self, source: &Source, rate: Load, now: Time) -> bool {
        let Some(load) = self.in_unit(rate) else { return false };
        self.demands.measure(source, load, now)
    }

    /// What is kept of the own demand on disk.
    pub(super) fn save_demand(&self, now: Time) -> BTreeMap<Zone, SavedDemand> {
        let Some(capacity) = &self.policy.capacity else { return BTreeMap::new() };
        let unit = capacity.per_endpoint.value;
        let own = self.demands.own_with_age(now);
        own.map(|(source, load, peak, age)| {
            let saved = SavedDemand { load: unit.like(load), peak, age };
            (source.locality.zone.clone(), saved)
        })
        .collect()
    }

    /// Takes up what was measured before a restart: it is as old as it was then, and more with each moment.
    pub(crate) fn restore_demand(&mut self, saved: &SavedService, fleet: &Fleet, now: Time) {
        for (zone, demand) in &saved.demand {
            let Some(load) = self.in_unit(demand.load) else { continue };
            let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
            let source = Source { cluster: fleet.own.clone(), locality };
            self.demands.restore(source, load, demand.peak, demand.age, now);
        }
    }

    /// What the own sources ask for, for people.
    pub(crate) fn demand_views(&self, now: Time) -> impl Iterator<Item = DemandView> {
        let unit = self.policy.capacity.as_ref().map(|it| it.per_endpoint.value);
        let own = unit
            .into_iter()
            .flat_map(move |unit| self.demands.own_with_age(now).map(move |measured| (unit, measured)));
        own.map(|(unit, (source, load, _, age))| DemandView {
            zone: source.locality.zone.clone(),
            load: unit.like(load),
            age,
            is_missing: age >= HOLD,
        })
    }

    /// Takes in all that another cluster asks for; whether plans must be made anew for it.
    pub(crate) fn hear_demand(
        &mut self,
        cluster: &ClusterName,
        zones: Option<&BTreeMap<Zone, Load>>,
        now: Time,
    ) -> bool {
        if self.policy.capacity.is_none() {
            return false;
        }
        // What is not named goes missing by and by: an agent that starts knows little, and that is no lull.
        let Some(zones) = zones else { return false };
        let zones = zones.iter().filter_map(|(zone, load)| Some((zone.clone(), self.in_unit(*load)?)));
        let zones = zones.collect();
        self.demands.hear(cluster, &zones, now)
    }

    /// Takes in all that arrives at a cluster; whether that is news.
    pub(crate) fn set_arrivals(
        &mut self,
        at: &ClusterName,
        from: Option<&BTreeMap<ClusterName, Load>>,
    ) -> bool {
        let loads = from.into_iter().flatten();
        let loads = loads.filter_map(|(cluster, load)| Some((cluster.clone(), self.in_unit(*load)?)));
        let loads: BTreeMap<ClusterName, u64> = loads.collect();
        let before = self.demands.arrivals.get(at);
        if before.map_or(loads.is_empty(), |before| *before == loads) {
            return false;
        }
        self.demands.arrivals.insert(at.clone(), loads);
        true
    }

    /// What the own sources ask for, if capacity is declared and it is known.
    pub(crate) fn own_demand(&self) -> Option<BTreeMap<Zone, Load>> {
        let unit = self.policy.capacity.as_ref().filter(|_| self.demands.is_known())?.per_endpoint.value;
        let zones = self.demands.own_zones().into_iter();
        Some(zones.map(|(zone, load)| (zone, unit.like(load))).collect())
    }

    fn in_unit(&self, load: Load) -> Option<u64> {
        let unit = self.policy.capacity.as_ref()?.per_endpoint.value;
        unit.is_like(load).then(|| load.thousandths())
    }

    /// Requests per second say nothing of requests in progress: a policy that changes the unit begins anew.
    pub(super) fn forget_other_units(&mut self, policy: &Policy) {
        let unit = |policy: &Policy| policy.capacity.as_ref().map(|it| it.per_endpoint.value);
        let same = match (unit(&self.policy), unit(policy)) {
            (Some(before), Some(after)) => before.is_like(after),
            (before, after) => before.is_none() && after.is_none(),
        };
        if !same {
            self.demands = Default::default();
        }
    }

    /// Ramps climb no higher than what the pool's healthy endpoints can take of its normal load, which is its own
    /// zone's demand as far as the whole pool could take it.
    pub(super) fn limit_ramps(&mut self) {
        let capacity = self.policy.capacity.as_ref().filter(|_| self.policy.failback.require_headroom.value);
        for (zone, pool) in self.pools.iter_mut() {
            let most = capacity.map_or(Fraction::ONE, |capacity| {
                let normal = millionths(self.demands.own_zone(zone)).min(capacity.ceiling(pool.expected()));
                part(capacity.ceiling(pool.healthy()), normal)
            });
            pool.governor.limit_steps(most);
        }
    }

    /// Brings demand up to `now`, once the pools are.
    pub(super) fn update_demands(&mut self, fleet: &Fleet, now: Time) {
        if self.policy.capacity.is_none() {
            return;
        }
        let on_disk = self.demands.kept();
        let is_member = |cluster: &ClusterName| *cluster == fleet.own || fleet.clusters.contains_key(cluster);
        self.demands.retain(&fleet.sources, is_member);
        let own = self.pools.values().filter(|pool| pool.expected() > 0);
        let own = own.map(|pool| u64::from(pool.governor.admit().ppm()));
        let others = self.remotes.values().flat_map(|remote| {
            let pools = remote.pools.values().filter(|status| status.expected > 0);
            pools.map(|status| u64::from(status.admit.times(remote.reach.admit()).ppm()))
        });
        self.demands.pass(own.chain(others).sum(), now);
        self.unsaved |= self.demands.kept() != on_disk;
    }

    /// The plans of the own sources by the waterfall; none where no capacity is declared or no demand is known.
    pub(super) fn declared_plans(&self, fleet: &Fleet, candidates: &[Candidate]) -> BTreeMap<Source, Plan> {
        let Some(capacity) = self.policy.capacity.as_ref().filter(|_| self.demands.is_known()) else {
            return BTreeMap::new();
        };
        let pools = self.fleet_pools(fleet);
        let others = self.other_sources(fleet);
        let own = fleet.sources.iter().map(|source| FleetSource {
            source,
            demand: self.demands.own(source),
            distances: self.measured.as_deref().unwrap_or(&fleet.distances),
            unreachable: &fleet.unreachable,
        });
        let nothing = FleetView::default();
        let others = others.iter().map(|(source, demand)| {
            let view = fleet.views.get(&source.cluster).unwrap_or(&nothing);
            FleetSource {
                source,
                demand: *demand,
                distances: &view.distances,
                unreachable: &view.unreachable,
            }
        });
        let sources: Vec<FleetSource<'_>> = own.chain(others).collect();
        let reach = self.remotes.iter().map(|(cluster, remote)| (cluster.clone(), remote.reach.admit()));
        let question = FleetQuestion {
            service: &self.name,
            policy: &self.policy,
            capacity,
            own: &fleet.own,
            candidates,
            pools: &pools,
            sources: &sources,
            reach: &reach.collect(),
            arrivals: &self.demands.arrivals,
        };
        let in_force = self.plans.iter().map(|plan| (plan.source.clone(), Arc::clone(plan)));
        plan_fleet(&question, &in_force.collect())
    }

    /// The sources of the clusters that we hear. What the others send is known from where it arrives.
    fn other_sources(&self, fleet: &Fleet) -> Vec<(Source, u64)> {
        let heard = fleet.clusters.iter().filter(|(cluster, _)| fleet.is_reachable(cluster));
        let sources =
            heard.filter_map(|(cluster, region)| Some((cluster, region, self.demands.of(cluster)?)));
        let source = |cluster: &ClusterName, region: &tidegate_model::Region, zone: &Zone| Source {
            cluster: cluster.clone(),
            locality: Locality { region: region.clone(), zone: zone.clone() },
        };
        sources
            .flat_map(|(cluster, region, zones)| {
                zones.map(move |(zone, demand)| (source(cluster, region, zone), demand))
            })
            .collect()
    }

    /// All pools of the fleet, with what verdicts and shifts take from them.
    fn fleet_pools(&self, fleet: &Fleet) -> Vec<FleetPool> {
        let own = self.pools.iter().map(|(zone, pool)| {
            let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
            let away = self.away(fleet, zone);
            FleetPool {
                cluster: fleet.own.clone(),
                locality,
                expected: pool.expected(),
                healthy: pool.healthy(),
                admit: pool.governor.admit().times(away.kept),
                phase: steer::phase(pool.phase(), away),
            }
        });
        let others = self.remotes.iter().filter(|(cluster, _)| fleet.clusters.contains_key(*cluster));
        let others = others.flat_map(|(cluster, remote)| {
            remote.pools.values().map(move |status| {
                let away = self.steering.away(cluster, &status.locality);
                FleetPool {
                    cluster: cluster.clone(),
                    locality: status.locality.clone(),
                    expected: status.expected,
                    healthy: status.healthy,
                    admit: status.admit.min(away.kept),
                    phase: steer::phase(status.phase, away),
                }
            })
        });
        own.chain(others).collect()
    }
}

/// `part / whole`, at most one; one of nothing.
fn part(part: u64, whole: u64) -> Fraction {
    let ppm = u128::from(part) * u128::from(Fraction::ONE.ppm());
    let ppm = ppm.checked_div(u128::from(whole)).and_then(|ppm| u32::try_from(ppm).ok());
    ppm.and_then(|ppm| Fraction::from_ppm(ppm).ok()).unwrap_or(Fraction::ONE)
}
