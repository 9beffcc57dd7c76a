//! One fault on one contestant, under load.

use super::{
    Layout, SERVICE,
    fault::{self, FaultError, ZoneFault},
    subject::Subject,
    traffic,
};
use crate::{
    fleet::hostname,
    load::{Load, LoadError, LoadMethod, LoadSpec, LoadTarget, Samples},
    measure::{self, Incident, Measures},
};
use serde::Serialize;
use std::time::Duration;
use tidegate_model::Time;

/// A generator that was late by more has measured itself.
pub const MAX_LATE: Duration = Duration::from_millis(50);
/// The part of the traffic before the fault that home must serve, in 1/10000.
const AT_HOME: u32 = 9500;
/// Requests that may be unanswered at a time.
const IN_FLIGHT_LIMIT: usize = 2000;
/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// From one look at the traffic to the next while the way back is awaited.
const LOOK: Duration = Duration::from_millis(500);

/// What happens when.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Requests per second.
    pub rate_rps: u32,
    /// Load before the fault.
    pub before: Duration,
    /// How long the fault lasts.
    pub fault: Duration,
    /// Load after it, at least.
    pub after: Duration,
    /// Load after it, at most, if traffic is not back by then.
    pub patience: Duration,
    /// How long traffic must stay where it is to be back.
    pub quiet: Duration,
}

impl Default for Schedule {
    /// 200 requests per second, a fault of seven seconds after three, and up to two minutes for the way back: a hold-down
    /// of 30 s that a relapse has doubled, and a ramp of 20 s.
    fn default() -> Self {
        Self {
            rate_rps: 200,
            before: Duration::from_secs(3),
            fault: Duration::from_secs(7),
            after: Duration::from_secs(5),
            patience: Duration::from_secs(120),
            quiet: Duration::from_secs(3),
        }
    }
}

/// How it went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// What was measured.
    #[serde(flatten)]
    pub measures: Measures,
    /// The longest time that the load generator itself was late, in milliseconds.
    pub late_ms: f64,
    /// Why the run says nothing, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
}

/// A run that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CourseError {
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The fault.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// Nobody listens.
    #[error("the fleet has no cluster, so nobody listens")]
    NoListener,
}

/// Runs the load over the fault, and measures it.
pub async fn run(subject: &Subject, fault: ZoneFault, schedule: &Schedule) -> Result<Outcome, CourseError> {
    let (clock, layout) = (subject.clock(), subject.layout());
    let target = subject.listen().ok_or(CourseError::NoListener)?;
    let load = Load::start(load(target, schedule.rate_rps), clock)?;
    let began = clock.now() + schedule.before;
    tokio::time::sleep_until(clock.instant(began)).await;
    let until = began + schedule.fault;
    let (struck, restored) = fault::strike(fault, &subject.home(), clock, until).await?;
    tokio::time::sleep_until(clock.instant(restored + schedule.after)).await;
    let end = restored + schedule.patience;
    while clock.now() < end && !is_back(&load.samples(), layout, (struck, restored, clock.now()), schedule) {
        tokio::time::sleep(LOOK).await;
    }
    let observed_until = clock.now();
    Ok(outcome(&load.stop().await, layout, (struck, restored, observed_until), schedule))
}

fn load(target: std::net::SocketAddr, rate_rps: u32) -> LoadSpec {
    let service = crate::fleet::spec::known(SERVICE);
    LoadSpec {
        label: "contest".to_owned(),
        target,
        services: vec![LoadTarget { host: hostname(&service), service, path: "/".to_owned() }],
        rate_rps,
        method: LoadMethod::Get,
        in_flight_limit: IN_FLIGHT_LIMIT,
        timeout: REQUEST_TIMEOUT,
    }
}

fn is_back(
    samples: &Samples,
    layout: Layout,
    (struck, restored, now): (Time, Time, Time),
    schedule: &Schedule,
) -> bool {
    let moves = traffic::moves(samples, |it| layout.at_home(it), struck);
    measure::stable_failback(&moves, struck, restored, now, schedule.quiet).is_some()
}

/// What became of the requests of a run: when the fault struck, when it was undone, and until when it was watched.
fn outcome(
    samples: &Samples,
    layout: Layout,
    (fault, restored, observed_until): (Time, Time, Time),
    schedule: &Schedule,
) -> Outcome {
    let incident = Incident {
        fault,
        restored: Some(restored),
        observed_until,
        samples: &samples.requests,
        detections: &[],
        moves: &traffic::moves(samples, |it| layout.at_home(it), fault),
        quiet: schedule.quiet,
    };
    let late = Duration::from_micros(samples.late_us);
    Outcome {
        measures: measure::measure(&incident),
        late_ms: late.as_secs_f64() * 1e3,
        unusable: unusable(samples, layout, late, fault),
    }
}

/// Why a run says nothing about the contestant.
fn unusable(samples: &Samples, layout: Layout, late: Duration, fault: Time) -> Option<String> {
    if late > MAX_LATE {
        return Some(format!("the load generator was late by {} ms: the machine is busy", late.as_millis()));
    }
    if samples.dropped > 0 {
        return Some(format!("{} requests did not fit into the record", samples.dropped));
    }
    let before = traffic::shares(samples, |it| layout.at_home(it), Time::ZERO);
    let last = before.iter().rev().find(|(at, _)| *at + traffic::WINDOW <= fault);
    let share = last.map_or(0, |(_, share)| *share);
    (share < AT_HOME).then(|| format!("home served only {} % before the fault", share / 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: Time = Time::from_millis(2250);

    fn of(samples: &Samples) -> Outcome {
        let times = (FAULT, Time::from_millis(5000), Time::from_millis(10_000));
        outcome(samples, Layout::Zones, times, &Schedule::default())
    }

    /// Zone a until the fault, zone b until a second after it, zone a again.
    fn samples(home: u64) -> Samples {
        let mut samples =
            traffic::tests::samples(100, |tenth| if (23..60).contains(&tenth) { 10 } else { home });
        for served in &mut samples.served {
            served.zone = format!("us-east-1{}", served.zone);
        }
        samples
    }

    #[test]
    fn a_run_is_measured_from_its_traffic() {
        let outcome = of(&samples(0));
        assert_eq!(outcome.unusable, None);
        let measures = outcome.measures;
        assert_eq!((measures.failed, measures.slow, measures.rto), (0, 0, Some(Duration::ZERO)));
        assert_eq!((measures.moves.away, measures.moves.back), (1, 1));
        // The first window that is all at home again begins 0.5 s x 8 after the fault.
        assert_eq!(measures.time_to_failback, Some(Duration::from_millis(1250)));
    }

    #[test]
    fn a_late_generator_makes_a_run_unusable() {
        let mut samples = samples(0);
        samples.late_us = 50_000;
        assert_eq!(of(&samples).unusable, None);
        samples.late_us = 50_001;
        let why = of(&samples).unusable.unwrap();
        assert!(why.contains("late by 50 ms"), "{why}");
    }

    #[test]
    fn who_does_not_prefer_the_zone_before_the_fault_is_not_measured() {
        let why = of(&samples(3)).unusable.unwrap();
        assert_eq!(why, "home served only 70 % before the fault");
    }
}
