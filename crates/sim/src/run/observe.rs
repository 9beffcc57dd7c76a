//! What is written down while a scenario runs: steps, samples, and how full places were.

use crate::{
    measure::{Step, by_fault, measure, millis, moves, rounded},
    report::{Decided, Measures, Report, Sample, Utilisation},
    scenario::Scenario,
    site::Site,
    traffic::{STEP, Totals, View},
    world::{ClusterId, World},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_model::{PoolKey, ServiceName, Time};

/// A picture is about 900 points wide; more samples than this it cannot show.
const SAMPLES: u32 = 600;

/// A pool of a service that is asked for.
struct Watched {
    cluster: ClusterId,
    pool: PoolKey,
    name: String,
    /// Its zone, cluster and region, as reports name them.
    places: Vec<String>,
}

/// How full a place was so far.
#[derive(Default)]
struct Use {
    sum: f64,
    steps: f64,
    peak: f64,
    peak_at: Time,
}

/// What was seen so far.
pub(super) struct Observed {
    /// By service, cluster and zone.
    watched: Vec<Watched>,
    steps: Vec<Step>,
    sample: Duration,
    samples: Vec<Sample>,
    used: BTreeMap<String, Use>,
}

/// Whole steps, so many that a picture can show them.
fn sample_length(duration: Duration) -> Duration {
    let steps = duration.as_nanos().div_ceil(STEP.as_nanos() * u128::from(SAMPLES)).max(1);
    STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

impl Observed {
    pub(super) fn new(scenario: &Scenario, sites: &[Site], world: &World) -> Self {
        let wanted: BTreeSet<&ServiceName> = scenario.demand.iter().map(|it| &it.service).collect();
        let mut watched = Vec::new();
        for site in sites {
            let Some(cluster) = world.id(&site.name) else { continue };
            for service in &wanted {
                let known = site.config.services.get(*service);
                let zones: BTreeSet<_> =
                    known.into_iter().flat_map(|it| it.endpoints.values()).map(|it| &it.zone).collect();
                for zone in zones {
                    let (service, name) = ((*service).clone(), site.name.clone());
                    let pool = PoolKey { service, cluster: name, zone: zone.clone() };
                    let mut places =
                        vec![format!("zone {}/{zone}", site.name), format!("cluster {}", site.name)];
                    places.extend(world.region(cluster).map(|region| format!("region {region}")));
                    watched.push(Watched { cluster, name: pool.to_string(), pool, places });
                }
            }
        }
        Self {
            watched,
            steps: Vec::new(),
            sample: sample_length(scenario.duration),
            samples: Vec::new(),
            used: BTreeMap::new(),
        }
    }

    /// Adds a step to the sample that it belongs to.
    pub(super) fn step(&mut self, totals: &Totals, view: &View<'_>) {
        let steps = self.steps.len() as u64;
        if steps.is_multiple_of(millis(self.sample) / millis(STEP)) {
            let mut sample = Sample { at_ms: steps * millis(STEP), ..Sample::default() };
            self.stand(&mut sample, view);
            self.samples.push(sample);
        }
        self.steps.push(Step::of(totals));
        let full = self.fullness(totals);
        let Some(sample) = self.samples.last_mut() else { return };
        let rate = 1.0 / self.sample.as_secs_f64();
        let add = |sum: &mut f64, value: f64| *sum = rounded(*sum + value * rate);
        add(&mut sample.offered_rps, totals.offered);
        add(&mut sample.failed_rps, totals.failed);
        add(&mut sample.shed_rps, totals.shed);
        for it in &self.watched {
            let Some(served) = totals.served.get(&it.pool) else { continue };
            add(&mut sample.pools.entry(it.name.clone()).or_default().rps, *served);
            for place in &it.places {
                add(&mut sample.locations.entry(place.clone()).or_default().rps, *served);
            }
        }
        for (place, used) in full {
            let most = match sample.pools.get_mut(&place) {
                Some(pool) => &mut pool.utilisation,
                None => &mut sample.locations.entry(place.clone()).or_default().utilisation,
            };
            *most = Some(most.unwrap_or_default().max(used));
            let sum = self.used.entry(place).or_default();
            (sum.sum, sum.steps) = (sum.sum + used, sum.steps + 1.0);
            if used > sum.peak {
                (sum.peak, sum.peak_at) = (used, view.now);
            }
        }
    }

    /// How full pools and places are in a step, by name.
    fn fullness(&self, totals: &Totals) -> BTreeMap<String, f64> {
        let mut sums: BTreeMap<&String, (f64, f64)> = BTreeMap::new();
        for it in &self.watched {
            let Some((asked, limit)) = totals.used.get(&it.pool) else { continue };
            for place in it.places.iter().chain([&it.name]) {
                let sum = sums.entry(place).or_default();
                *sum = (sum.0 + asked, sum.1 + limit);
            }
        }
        let part = |(asked, limit): (f64, f64)| if limit > 0.0 { rounded(asked / limit) } else { 0.0 };
        sums.into_iter().map(|(place, sum)| (place.clone(), part(sum))).collect()
    }

    /// Writes into a sample how things stand: phases and shares.
    fn stand(&self, sample: &mut Sample, view: &View<'_>) {
        for it in &self.watched {
            let agent = view.sites[it.cluster.index()].agent.as_ref();
            let status = agent.and_then(|agent| agent.core.engine()).and_then(|engine| {
                let mut statuses = engine.statuses_of(&it.pool.service, view.now);
                statuses.find(|status| status.locality.zone == it.pool.zone)
            });
            sample.pools.entry(it.name.clone()).or_default().phase = status.map(|status| status.phase);
        }
        for demand in &view.scenario.demand {
            let site = view.world.id(&demand.cluster).map(|id| &view.sites[id.index()]);
            if let Some(plan) = site.and_then(|site| site.plan(&demand.service, &demand.zone)) {
                let shares = plan.shares.iter().map(|(target, share)| (target.to_string(), *share)).collect();
                sample.shares.insert(format!("{} from {}", plan.service, plan.source), shares);
            }
        }
    }

    /// The whole report.
    pub(super) fn report(self, scenario: &Scenario, decisions: Vec<Decided>) -> Report {
        let duration = scenario.duration;
        let first = scenario.faults.iter().map(|fault| fault.at).min().unwrap_or_default();
        let last_end = scenario.faults.iter().map(|fault| fault.end(duration)).max().unwrap_or_default();
        let mut measures: Measures = measure(&self.steps, &decisions, last_end);
        let utilisation: BTreeMap<String, Utilisation> =
            self.used.iter().map(|(place, it)| (place.clone(), it.told())).collect();
        for it in &self.watched {
            let Some(used) = utilisation.get(&it.name) else { continue };
            if measures.peak_utilisation.as_ref().is_none_or(|(_, peak)| used.peak > *peak) {
                measures.peak_utilisation = Some((it.name.clone(), used.peak));
            }
        }
        let moved = moves(&decisions, &[first]);
        Report {
            title: scenario.title.clone(),
            duration_ms: millis(duration),
            seed: scenario.seed,
            faults: by_fault(&scenario.faults, &self.steps, &decisions, duration),
            measures,
            moves: moved.into_iter().flat_map(BTreeMap::into_values).collect(),
            utilisation,
            sample_ms: millis(self.sample),
            samples: self.samples,
            decisions,
        }
    }
}

impl Use {
    fn told(&self) -> Utilisation {
        let mean = rounded(self.sum / self.steps.max(1.0));
        Utilisation { mean, peak: self.peak, peak_at_ms: millis(self.peak_at.since_origin()) }
    }
}
