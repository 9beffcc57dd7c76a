//! Asking a target whether it is well, each time on a new connection.

use crate::{
    generator::{Lane, Target, TargetError},
    load::Outcome,
};
use std::time::Duration;
use tokio::time::Instant;

/// Tries before a drill is not started.
const TRIES: u32 = 3;
/// Good answers of each target, one after the other, until it is believed to be well.
const IN_A_ROW: u32 = 5;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an answer of a target that is well may take.
const LIMIT: Duration = Duration::from_secs(1);

/// A question about one target.
pub(super) struct Probe {
    target: Target,
}

impl Probe {
    pub(super) fn new(target: &Target) -> Result<Self, TargetError> {
        Lane::new(target, None, 1)?;
        Ok(Self { target: target.clone() })
    }

    pub(super) async fn ask(&self, limit: Duration) -> Outcome {
        match Lane::new(&self.target, None, 1) {
            Ok(lane) => lane.ask("drill-probe", Instant::now() + limit).await,
            Err(_) => Outcome::Connect,
        }
    }
}

/// Whether all targets answer.
pub(super) async fn answers(targets: &[Target], limit: Duration) -> Result<(), String> {
    for target in targets {
        let probe = Probe::new(target).map_err(|error| error.to_string())?;
        let mut last = Outcome::Connect;
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            last = probe.ask(limit).await;
            if last.is_success() {
                break;
            }
        }
        if !last.is_success() {
            return Err(format!("{} does not answer well before any fault: {last}", target.url));
        }
    }
    Ok(())
}

/// Until all targets answered well several times in a row. Bounded by whoever waits.
pub(super) async fn until_well(targets: &[Target]) {
    let probes: Vec<Probe> = targets.iter().filter_map(|target| Probe::new(target).ok()).collect();
    let mut in_a_row = 0;
    while in_a_row < IN_A_ROW {
        let mut well = true;
        for probe in &probes {
            well &= probe.ask(LIMIT).await.is_success();
        }
        in_a_row = if well { in_a_row + 1 } else { 0 };
        tokio::time::sleep(PAUSE).await;
    }
}
