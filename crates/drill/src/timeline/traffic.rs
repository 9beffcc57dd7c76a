//! What agents saw of requests: shares of the pools over time, how busy they were, and when the last request went to what was
//! broken. Pure.
//!
//! Agents tell sums that grow; what lies between two questions is spread evenly over the time between them. Bins of at least a second,
//! at most [`MAX_BINS`].

use super::{AgentTold, both};
use crate::{clock::Clock, course::Moments};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_api::DrillTarget;
use tidegate_model::Time;

/// As many bins as a picture shows apart.
const MAX_BINS: u64 = 240;
/// Pools that are shown by name; the rest is summed up.
const MAX_POOLS: usize = 8;
/// Requests that went on until so shortly before mending never left, in microseconds: two questions, and the report between them.
const NEVER_LEFT_US: i64 = 2_000_000;

/// What an agent tells of traffic: its `/api/v1/traffic`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// When, by its own clock, in microseconds since 1970.
    pub unix_micros: u64,
    /// What enters there, by where it goes.
    pub targets: Vec<ToldTarget>,
    /// What its pools get.
    pub pools: Vec<ToldPool>,
}

/// What goes to a target.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldTarget {
    /// `zone NAME` or `cluster NAME`.
    pub target: String,
    /// Tries that started there, since the agent started.
    pub entered: u64,
    /// When a report came last that told of any, by the agent's clock.
    pub last_unix_micros: Option<u64>,
    /// They started within so long before it.
    pub within_micros: u64,
}

/// What a pool gets, and can take.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldPool {
    /// The service.
    pub service: String,
    /// The zone.
    pub zone: String,
    /// Tries that started there, since the agent started.
    pub got: u64,
    /// Requests in progress times how long, in microseconds.
    pub busy_micros: u64,
    /// What its healthy endpoints can take.
    pub capacity: Capacity,
}

/// An amount in thousandths, as agents tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Capacity {
    /// Requests per second.
    Rate {
        /// Thousandths of them.
        rps: u64,
    },
    /// Requests in progress.
    Concurrency {
        /// Thousandths of them.
        requests: u64,
    },
}

/// What is in force at an agent: its `/api/v1/in-force`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InForce {
    /// Its cluster.
    pub cluster: String,
    /// Its region.
    pub region: Option<String>,
    /// The version of Tidegate.
    pub tidegate: String,
    /// How often it loaded manifests.
    pub manifests_generation: u64,
    /// The number of the hub's policy; 0 without a hub.
    pub policy: u64,
    /// The commit that it is, where the hub has it from Git, or a digest of its content; not there from older agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<String>,
    /// Its gateways that are connected, and the version of each one's Envoy.
    pub gateways: BTreeMap<String, String>,
}

/// Traffic over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPart {
    /// The width of a bin in milliseconds; the first begins with the load.
    pub bin_ms: u64,
    /// Who served, those that got most first; the last may be `others`.
    pub pools: Vec<PoolTraffic>,
    /// How busy those pools were whose capacity is declared, the busiest first.
    pub utilisation: Vec<PoolUse>,
}

/// What went to a pool, or to another cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolTraffic {
    /// `CLUSTER/ZONE`, or the other cluster.
    pub pool: String,
    /// Whether it is what was broken.
    pub broken: bool,
    /// Tries per second, by bin; `None` where no agent told.
    pub rps: Vec<Option<f64>>,
}

/// How busy a pool was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolUse {
    /// `NAMESPACE/NAME in CLUSTER/ZONE`.
    pub pool: String,
    /// Whether it is what was broken.
    pub broken: bool,
    /// The part of what its healthy endpoints can take, by bin; may be above 1.
    pub used: Vec<Option<f64>>,
    /// The most of it while the fault was on.
    pub most: Option<f64>,
}

/// Which of an agent's targets are broken.
pub(super) fn broken(drill: &DrillTarget, own: &InForce, all: &[&InForce]) -> impl Fn(&str) -> bool + use<> {
    let mut zones = BTreeSet::new();
    let mut clusters = BTreeSet::new();
    let mut every_zone = false;
    match drill {
        DrillTarget::Zone(region, zone) => {
            let here = region.as_ref().is_none_or(|it| Some(it.to_string()) == own.region);
            zones.extend(here.then(|| format!("zone {zone}")));
        }
        DrillTarget::Cluster(name) => {
            every_zone = own.cluster == name.to_string();
            clusters.insert(format!("cluster {name}"));
        }
        DrillTarget::Region(name) => {
            let there = |it: &InForce| it.region.as_ref().is_some_and(|region| *region == name.to_string());
            every_zone = there(own);
            clusters.extend(all.iter().filter(|it| there(it)).map(|it| format!("cluster {}", it.cluster)));
        }
        DrillTarget::Service(_) => every_zone = true,
        DrillTarget::Url(_) | DrillTarget::Gateway(..) | DrillTarget::PeerLink(..) | DrillTarget::Hub => {}
    }
    move |target: &str| {
        zones.contains(target) || clusters.contains(target) || (every_zone && target.starts_with("zone "))
    }
}

/// When the last request before mending went to what is broken, in microseconds from the fault, and how much earlier it may have
/// been; `None` if none did, or they never left.
pub(super) fn drain(
    told: &AgentTold,
    is_broken: &dyn Fn(&str) -> bool,
    clock: &Clock,
    moments: Moments,
) -> Option<(i64, i64)> {
    let offset = both(told.before, told.after)?;
    let unix = |at: Time| i64::try_from(clock.unix_micros(at)).ok();
    let (fault, mending) = (unix(moments.fault?)?, unix(moments.mending.or(moments.done)?)?);
    let targets =
        told.traffic().iter().flat_map(|seen| &seen.targets).filter(|target| is_broken(&target.target));
    let last = targets.filter_map(|target| {
        let at = i64::try_from(target.last_unix_micros?).ok()? - offset.ahead_us;
        (at >= fault && at < mending).then_some((at, i64::try_from(target.within_micros).ok()?))
    });
    let (at, within) = last.max()?;
    (at < mending - NEVER_LEFT_US).then_some((at - fault, within + offset.uncertainty_us))
}

/// Sums by name and bin.
struct Bins {
    width_us: i64,
    count: usize,
    of: BTreeMap<String, Vec<Option<f64>>>,
}

impl Bins {
    /// Spreads an amount over the time in which it came, in microseconds since the load began.
    fn spread(&mut self, name: &str, amount: f64, from: i64, until: i64) {
        if until <= from {
            return;
        }
        let (width, count) = (self.width_us, self.count);
        let bins = self.of.entry(name.to_owned()).or_insert_with(|| vec![None; count]);
        for (index, bin) in bins.iter_mut().enumerate() {
            let start = i64::try_from(index).unwrap_or(i64::MAX).saturating_mul(width);
            let within = until.min(start + width) - from.max(start);
            if within > 0 {
                *bin.get_or_insert(0.0) += amount * float(within) / float(until - from);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a drill are far below 2^52")]
fn float(us: i64) -> f64 {
    us as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn amount(count: u64) -> f64 {
    count as f64
}

/// Traffic over time, from what each agent told each second.
pub(super) fn traffic(
    told: &[AgentTold],
    target: &DrillTarget,
    clock: &Clock,
    moments: Moments,
) -> Option<TrafficPart> {
    let (steady, done) = (moments.steady?, moments.done?);
    let lasts_ms = u64::try_from(done.since(steady).as_millis()).ok()?;
    let bin_ms = lasts_ms.div_ceil(1000).div_ceil(MAX_BINS).max(1) * 1000;
    let count = usize::try_from(lasts_ms.div_ceil(bin_ms)).ok()?;
    let bins =
        || Bins { width_us: i64::try_from(bin_ms).unwrap_or(i64::MAX) * 1000, count, of: BTreeMap::new() };
    let (mut entered, mut used) = (bins(), bins());
    let all: Vec<&InForce> = told.iter().filter_map(AgentTold::own).collect();
    let mut hurt = BTreeSet::new();
    let mut gathered = Gathered { entered: &mut entered, used: &mut used, hurt: &mut hurt };
    for agent in told {
        let Some((own, offset)) = agent.own().zip(both(agent.before, agent.after)) else {
            continue;
        };
        let Ok(origin) = i64::try_from(clock.unix_micros(steady)) else { continue };
        let is_broken = broken(target, own, &all);
        for pair in agent.traffic().windows(2) {
            let since = |it: &Told| i64::try_from(it.unix_micros).unwrap_or(0) - offset.ahead_us - origin;
            gathered.pair(own, &is_broken, (&pair[0], since(&pair[0])), (&pair[1], since(&pair[1])));
        }
    }
    let during = |index: usize| {
        let at = u64::try_from(index).unwrap_or(u64::MAX).saturating_mul(bin_ms);
        let ms = |at: Time| at.since(steady).as_millis();
        let from = moments.fault.map(ms);
        let until = moments.mending.or(moments.done).map(ms);
        from.is_some_and(|from| u128::from(at) >= from) && until.is_some_and(|until| u128::from(at) < until)
    };
    let part = TrafficPart {
        bin_ms,
        pools: pools(entered, &hurt, bin_ms),
        utilisation: utilisation(used, &hurt, during),
    };
    (!part.pools.is_empty()).then_some(part)
}

struct Gathered<'a> {
    entered: &'a mut Bins,
    used: &'a mut Bins,
    hurt: &'a mut BTreeSet<String>,
}

impl Gathered<'_> {
    /// What lies between two answers of an agent. One that started anew counts from nothing: that pair says nothing.
    fn pair(
        &mut self,
        own: &InForce,
        is_broken: &dyn Fn(&str) -> bool,
        (before, from): (&Told, i64),
        (after, until): (&Told, i64),
    ) {
        for target in &after.targets {
            let known = before.targets.iter().find(|it| it.target == target.target);
            let Some(came) = target.entered.checked_sub(known.map_or(0, |it| it.entered)) else { continue };
            let pool = match target.target.split_once(' ') {
                Some(("zone", zone)) => format!("{}/{zone}", own.cluster),
                Some((_, cluster)) => cluster.to_owned(),
                None => continue,
            };
            if is_broken(&target.target) {
                self.hurt.insert(pool.clone());
            }
            self.entered.spread(&pool, amount(came), from, until);
        }
        for pool in &after.pools {
            let Some(known) =
                before.pools.iter().find(|it| it.service == pool.service && it.zone == pool.zone)
            else {
                continue;
            };
            let (came, can) = match pool.capacity {
                Capacity::Rate { rps } => (pool.got.checked_sub(known.got).map(amount), rps),
                Capacity::Concurrency { requests } => {
                    let busy = pool.busy_micros.checked_sub(known.busy_micros);
                    (busy.map(|it| amount(it) / 1e6), requests)
                }
            };
            let (Some(came), 1..) = (came, can) else { continue };
            let name = format!("{} in {}/{}", pool.service, own.cluster, pool.zone);
            if is_broken(&format!("zone {}", pool.zone)) {
                self.hurt.insert(name.clone());
            }
            // Replicas add up: each sees its own gateways.
            self.used.spread(&name, came * 1000.0 / amount(can), from, until);
        }
    }
}

/// Those that got most by name, the rest as one.
fn pools(entered: Bins, hurt: &BTreeSet<String>, bin_ms: u64) -> Vec<PoolTraffic> {
    let seconds = amount(bin_ms) / 1e3;
    let mut pools: Vec<PoolTraffic> = entered
        .of
        .into_iter()
        .map(|(pool, bins)| PoolTraffic {
            broken: hurt.contains(&pool),
            pool,
            rps: bins.into_iter().map(|bin| bin.map(|sum| rounded(sum / seconds))).collect(),
        })
        .filter(|it| it.rps.iter().flatten().any(|rps| *rps > 0.0))
        .collect();
    let sum = |it: &PoolTraffic| it.rps.iter().flatten().sum::<f64>();
    pools.sort_by(|a, b| sum(b).total_cmp(&sum(a)));
    if pools.len() > MAX_POOLS {
        let rest = pools.split_off(MAX_POOLS - 1);
        let mut others = PoolTraffic { pool: "others".to_owned(), ..rest[0].clone() };
        others.broken = false;
        for pool in &rest[1..] {
            for (sum, more) in others.rps.iter_mut().zip(&pool.rps) {
                *sum = sum.zip(*more).map(|(a, b)| rounded(a + b)).or(*sum).or(*more);
            }
        }
        pools.push(others);
    }
    pools
}

/// The busiest.
fn utilisation(used: Bins, hurt: &BTreeSet<String>, during: impl Fn(usize) -> bool) -> Vec<PoolUse> {
    let seconds = float(used.width_us) / 1e6;
    let mut pools: Vec<PoolUse> = used
        .of
        .into_iter()
        .map(|(pool, bins)| {
            let used: Vec<Option<f64>> =
                bins.into_iter().map(|bin| bin.map(|sum| rounded(sum / seconds))).collect();
            let within = used.iter().enumerate().filter(|(index, _)| during(*index));
            let most = within.filter_map(|(_, used)| *used).max_by(f64::total_cmp);
            PoolUse { broken: hurt.contains(&pool), pool, used, most }
        })
        .collect();
    pools.sort_by(|a, b| b.most.unwrap_or(0.0).total_cmp(&a.most.unwrap_or(0.0)));
    // The busiest of those that stood in is always among them: that is what an objective is about.
    let healthy = pools.iter().position(|it| !it.broken);
    if let Some(at) = healthy.filter(|at| *at >= MAX_POOLS) {
        pools.swap(at, MAX_POOLS - 1);
    }
    pools.truncate(MAX_POOLS);
    pools
}

/// To a thousandth: agents know no more.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests;
