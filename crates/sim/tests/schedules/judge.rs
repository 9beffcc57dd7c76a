//! What must hold whatever breaks.

use crate::{
    draw::{SETTLED_MS, Schedule, is_harmless},
    fleets::{SERVICES, Service},
};
use std::collections::BTreeMap;
use tidegate_model::{Phase, Share, Time};
use tidegate_sim::{Fault, FaultKind, Moves, Place, Report, Sample};

/// From a fault until everybody who is concerned must have acted: three seconds for two checks that time out or for a
/// silence on a rough line, and what news takes.
const DETECTED_MS: u64 = 3_500;

/// A sample shows the shares as they are at the end of its first step of 100 ms.
const STEP_MS: u64 = 100;

type Shares = BTreeMap<String, Share>;

/// What does not hold, if something does not.
pub(crate) fn judge(schedule: &Schedule, report: &Report) -> Result<(), String> {
    shares_are_whole(report)?;
    residency_holds(schedule, report)?;
    harmless_faults_move_nothing(schedule, report)?;
    the_dead_get_nothing(schedule, report)?;
    one_fault_moves_away_and_back_once(schedule, report)?;
    all_are_home_at_last(schedule, report)
}

fn services(text: &str) -> &'static Service {
    let name = text.split_whitespace().next().unwrap_or_default().trim_start_matches("shop/");
    SERVICES.iter().find(|it| it.name == name).unwrap()
}

/// The clusters that have a service and may serve it.
fn allowed(schedule: &Schedule, service: &Service) -> impl Iterator<Item = &'static str> {
    let (clusters, only) = (service.clusters, service.region);
    let fits = move |(name, region): (&'static str, &'static str)| {
        (clusters.contains(&name) && only.is_none_or(|only| only == region)).then_some(name)
    };
    schedule.shape.clusters().filter_map(fits)
}

fn sum(shares: &Shares) -> u32 {
    shares.values().map(|it| it.parts()).sum()
}

/// Nothing is shed in these fleets, so shares sum to one. A service that is nowhere in reach has none.
fn shares_are_whole(report: &Report) -> Result<(), String> {
    let sampled =
        report.samples.iter().flat_map(|it| it.shares.iter().map(|(who, shares)| (it.at_ms, who, shares)));
    for (at, who, shares) in sampled {
        if !shares.is_empty() && sum(shares) != 10_000 {
            return Err(format!("at {at} ms the shares of {who} sum to {}: {shares:?}", sum(shares)));
        }
    }
    Ok(())
}

fn residency_holds(schedule: &Schedule, report: &Report) -> Result<(), String> {
    let abroad = |service: &Service, source: &str, target: &str| {
        let Some(region) = service.region else { return false };
        // A target is `zone NAME` of the source's own cluster, or `cluster NAME`.
        let cluster = target.strip_prefix("cluster ").unwrap_or(source);
        schedule.shape.clusters().any(|(name, of)| name == cluster && of != region)
    };
    for sample in &report.samples {
        for (who, shares) in &sample.shares {
            let (service, source) = (services(who), source(who));
            if let Some(target) = shares.keys().find(|it| abroad(service, source, it)) {
                return Err(format!("at {} ms {who} leads to {target}, which is abroad", sample.at_ms));
            }
        }
    }
    Ok(())
}

/// The cluster of the source in `service from cluster/zone`.
fn source(who: &str) -> &str {
    who.rsplit(' ').next().and_then(|it| it.split('/').next()).unwrap_or_default()
}

fn home(report: &Report) -> &Sample {
    let settled = report.samples.iter().rfind(|it| it.at_ms < SETTLED_MS);
    settled.expect("a schedule is longer than it takes to settle")
}

fn harmless_faults_move_nothing(schedule: &Schedule, report: &Report) -> Result<(), String> {
    if !schedule.scenario.faults.iter().all(is_harmless) {
        return Ok(());
    }
    let home = home(report);
    let moved = report.samples.iter().find(|it| it.at_ms >= SETTLED_MS && it.shares != home.shares);
    moved.map_or(Ok(()), |it| {
        let who: Vec<_> =
            it.shares.iter().filter(|(who, shares)| home.shares.get(*who) != Some(shares)).collect();
        Err(format!("a fault that must move nothing has moved, at {} ms: {who:?}", it.at_ms))
    })
}

fn all_are_home_at_last(schedule: &Schedule, report: &Report) -> Result<(), String> {
    let (home, last) = (home(report), report.samples.last().expect("there is one"));
    if let Some((who, shares)) =
        last.shares.iter().find(|(who, shares)| home.shares.get(*who) != Some(shares))
    {
        return Err(format!("{who} is not home at last: {shares:?}, not {:?}", home.shares.get(who)));
    }
    // Each source that anybody asks for has a plan, or nothing here is judged at all.
    let wanted = schedule.scenario.demand.len();
    if last.shares.len() != wanted || home.shares.len() != wanted {
        return Err(format!(
            "{} sources have plans at home, {} at last, of {wanted}",
            home.shares.len(),
            last.shares.len()
        ));
    }
    let serving = |(name, phase): (&String, Option<Phase>)| {
        (phase != Some(Phase::Serving)).then(|| format!("{name}: {phase:?}"))
    };
    let bad: Vec<_> = last.pools.iter().map(|(name, it)| (name, it.phase)).filter_map(serving).collect();
    if bad.is_empty() { Ok(()) } else { Err(format!("these do not serve at last: {bad:?}")) }
}

fn one_fault_moves_away_and_back_once(schedule: &Schedule, report: &Report) -> Result<(), String> {
    let faults: Vec<&Fault> = schedule.scenario.faults.iter().filter(|it| !is_harmless(it)).collect();
    // What strikes at one time is one fault. A line that loses packets is many.
    let one = faults.first().is_some_and(|first| faults.iter().all(|it| it.at == first.at));
    if !one || faults.iter().any(|it| matches!(it.kind, FaultKind::Loss { .. })) {
        return Ok(());
    }
    // A source that had no place left, if only for a while, is served from wherever it can be.
    let ends = faults.iter().filter_map(|it| it.until).max().unwrap_or_default();
    let had_a_place = |it: &Moves| {
        let cluster = it.source.split('/').next().unwrap_or_default();
        let truth = Truth {
            faults: &schedule.scenario.faults,
            cluster,
            since: Time::from_millis(SETTLED_MS),
            now: ends,
        };
        allowed(schedule, services(&it.service)).any(|name| truth.is_well(name))
    };
    let often = report.moves.iter().find(|it| (it.away > 1 || it.back > 1) && had_a_place(it));
    often.map_or(Ok(()), |it| Err(format!("one fault, and it moved more than once: {it:?}")))
}

/// What the truth is for one source.
struct Truth<'a> {
    faults: &'a [Fault],
    cluster: &'a str,
    /// From `since` to `now`, in milliseconds.
    since: Time,
    now: Time,
}

impl Truth<'_> {
    /// Whether such a fault was in force all the time.
    fn always(&self, is_such: impl Fn(&FaultKind) -> bool) -> bool {
        self.faults.iter().any(|it| {
            is_such(&it.kind) && it.at <= self.since && it.until.is_none_or(|until| until > self.now)
        })
    }

    /// Whether such a fault was in force at any time since then.
    fn ever(&self, is_such: impl Fn(&FaultKind) -> bool) -> bool {
        self.faults.iter().any(|it| {
            is_such(&it.kind) && it.at <= self.now && it.until.is_none_or(|until| until > self.since)
        })
    }

    fn cuts(&self, kind: &FaultKind, to: &str) -> bool {
        match kind {
            FaultKind::Partition { from, to: it } => from.as_str() == self.cluster && it.as_str() == to,
            FaultKind::StopGateway(it, _) => it.as_str() == to,
            FaultKind::Lose(Place::Cluster(it)) => it.as_str() == to,
            _ => false,
        }
    }

    fn is_dead(&self, target: &str) -> bool {
        if let Some(to) = target.strip_prefix("cluster ") {
            return self
                .always(|kind| self.cuts(kind, to) && !matches!(kind, FaultKind::StopGateway(_, Some(_))));
        }
        let zone = target.strip_prefix("zone ").unwrap_or(target);
        self.always(|kind| matches!(kind, FaultKind::Lose(Place::Zone(it)) if it.as_str() == zone))
    }

    /// Whether a cluster was as well as can be, all the time: nothing of it was broken, nor the way there.
    fn is_well(&self, other: &str) -> bool {
        !self.ever(|kind| match kind {
            FaultKind::Lose(Place::Zone(it)) | FaultKind::BrownOut(Place::Zone(it), _) => {
                it.as_str().starts_with(other)
            }
            FaultKind::Loss { between, and, .. } => [between, and].iter().any(|it| it.as_str() == other),
            FaultKind::RestartAgent(it) | FaultKind::PauseAgent(it) | FaultKind::DropStatus(it, _) => {
                it.as_str() == other
            }
            kind => self.cuts(kind, other),
        })
    }

    /// Whether those who decide for this source could act.
    fn can_act(&self) -> bool {
        !self.ever(|kind| match kind {
            FaultKind::RestartAgent(it) | FaultKind::PauseAgent(it) | FaultKind::Lose(Place::Cluster(it)) => {
                it.as_str() == self.cluster
            }
            FaultKind::Loss { between, and, .. } => {
                [between, and].iter().any(|it| it.as_str() == self.cluster)
            }
            _ => false,
        })
    }
}

/// No source gives a share to what everybody knows to be dead while an allowed place is well.
fn the_dead_get_nothing(schedule: &Schedule, report: &Report) -> Result<(), String> {
    let time = |ms: u64| Time::from_millis(ms);
    for sample in report.samples.iter().filter(|it| it.at_ms >= SETTLED_MS) {
        for (who, shares) in &sample.shares {
            let (service, cluster) = (services(who), source(who));
            let (since, now) = (time(sample.at_ms - DETECTED_MS), time(sample.at_ms + STEP_MS));
            let truth = Truth { faults: &schedule.scenario.faults, cluster, since, now };
            let Some(dead) = shares.keys().find(|it| truth.is_dead(it)).filter(|_| truth.can_act()) else {
                continue;
            };
            if let Some(well) = allowed(schedule, service).find(|name| truth.is_well(name)) {
                return Err(format!(
                    "at {} ms {who} leads to {dead}, dead for long, and {well} is well",
                    sample.at_ms
                ));
            }
        }
    }
    Ok(())
}
