//! What came of the demo, as tables for people and as JSON.

use crate::{
    fleet::{PolicySpec, agent::AgentEvent},
    load::{Outcome, Samples},
    measure::{Measures, Millis, PlanMove, Verdict, time_ms},
    toy::Repeated,
};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};
use tidegate_model::{ClusterName, Time};

/// What came of the demo.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoReport {
    /// Whether every objective was met.
    pub passed: bool,
    /// How services were asked.
    pub method: &'static str,
    /// Requests per second on each edge.
    pub rate_rps: u32,
    /// The policy in force, where it differs from the default.
    pub policy: PolicyReport,
    /// The faults, in order.
    pub faults: Vec<FaultReport>,
    /// How another policy reached everyone after the hub was away, if there is a hub.
    pub rollout: Option<RolloutReport>,
    /// The objectives of the whole demo.
    pub verdicts: Vec<Verdict>,
    /// Unsafe requests that were done more than once.
    pub repeated: Vec<Repeated>,
    /// The loads, over the whole demo.
    pub loads: Vec<LoadReport>,
    /// Where manifests, state and logs are kept, when an objective was missed.
    pub files: Option<PathBuf>,
}

/// The policy of the demo, in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    check_interval_ms: u128,
    check_timeout_ms: u128,
    hold_down_ms: u128,
    ramp_steps_percent: Vec<u32>,
    ramp_interval_ms: u128,
}

impl From<PolicySpec> for PolicyReport {
    fn from(policy: PolicySpec) -> Self {
        Self {
            check_interval_ms: policy.check_interval.as_millis(),
            check_timeout_ms: policy.check_timeout.as_millis(),
            hold_down_ms: policy.hold_down.as_millis(),
            ramp_steps_percent: policy.ramp_steps,
            ramp_interval_ms: policy.ramp_interval.as_millis(),
        }
    }
}

/// What came of one fault. Times are milliseconds of lab time in JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultReport {
    /// What was lost.
    pub fault: String,
    /// When.
    #[serde(rename = "atMs", serialize_with = "time_ms")]
    pub at: Time,
    /// When it was restored; `None` if it lasted on, beside what came next.
    #[serde(rename = "restoredAtMs", serialize_with = "maybe_time_ms")]
    pub restored_at: Option<Time>,
    /// Until when it was watched.
    #[serde(rename = "observedUntilMs", serialize_with = "time_ms")]
    pub observed_until: Time,
    /// The edges whose load was measured: those that lived.
    pub edges: Vec<ClusterName>,
    /// Whether every objective was met.
    pub passed: bool,
    /// The objectives.
    pub verdicts: Vec<Verdict>,
    /// The measures.
    pub measures: Measures,
    /// What the edge that was lost did meanwhile; its clients need a second address.
    pub lost_edge: Option<LostEdge>,
    /// The plan changes of the clusters that lived.
    pub moves: Vec<PlanMove>,
    /// All that the agents reported from the fault on.
    pub events: Vec<(ClusterName, AgentEvent)>,
}

/// How another policy reached everyone, after the hub was away.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutReport {
    /// When the hub was started again.
    #[serde(rename = "hubBackAtMs", serialize_with = "time_ms")]
    pub hub_back_at: Time,
    /// When the policy was changed.
    #[serde(rename = "changedAtMs", serialize_with = "time_ms")]
    pub changed_at: Time,
    /// The objectives.
    pub verdicts: Vec<Verdict>,
}

/// An agent tries an absent hub again after 12 s at most, and needs a moment to be heard.
const ALL_BACK: Duration = Duration::from_secs(15);
/// A change of the policy is in force everywhere within a second.
const IN_FORCE: Duration = Duration::from_secs(1);
/// Agents report every second.
const KNOWN: Duration = Duration::from_secs(5);

impl RolloutReport {
    /// When the hub was started and the policy changed; from the start until all agents were connected, from the change
    /// until it was in force at every agent, and until the hub knew of every agent and gateway. `None` did not come to be.
    pub(super) fn new(
        [hub_back_at, changed_at]: [Time; 2],
        all_back: Option<Duration>,
        in_force: Option<Duration>,
        known: Option<Duration>,
    ) -> Self {
        let verdict = |measure: &str, limit, measured: Option<Duration>| Verdict {
            measure: measure.to_owned(),
            objective: format!("at most {}", Millis(limit)),
            measured: or_never(measured),
            passed: measured.is_some_and(|it| it <= limit),
        };
        let verdicts = vec![
            verdict("every agent is connected again", ALL_BACK, all_back),
            verdict("the change is in force everywhere", IN_FORCE, in_force),
            verdict("the hub knows that it is", KNOWN, known),
        ];
        Self { hub_back_at, changed_at, verdicts }
    }
}

/// The load on an edge that was lost, from the fault to the end of the observation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostEdge {
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// The failures by kind.
    pub failures: BTreeMap<Outcome, u64>,
}

impl From<Measures> for LostEdge {
    fn from(measures: Measures) -> Self {
        let Measures { requests, failed, failures, .. } = measures;
        Self { requests, failed, failures }
    }
}

/// A load over the whole demo.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadReport {
    /// Its edge.
    pub edge: String,
    /// Requests.
    pub requests: usize,
    /// Those that failed.
    pub failed: usize,
    /// The median latency of those that succeeded, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// Requests that are not in it because it was full.
    pub dropped: u64,
}

impl LoadReport {
    pub(super) fn new(samples: &Samples) -> Self {
        let mut latencies: Histogram<u64> =
            Histogram::new_with_max(u64::from(u32::MAX), 3).expect("the bounds are in order");
        let succeeded = samples.requests.iter().filter(|sample| sample.outcome.is_success());
        for sample in succeeded {
            latencies.saturating_record(u64::from(sample.latency_us));
        }
        let percentile =
            |percent| Duration::from_micros(latencies.value_at_percentile(percent)).as_secs_f64() * 1e3;
        Self {
            edge: samples.label.clone(),
            requests: samples.requests.len(),
            failed: samples.requests.iter().filter(|sample| !sample.outcome.is_success()).count(),
            p50_ms: percentile(50.0),
            p99_ms: percentile(99.0),
            dropped: samples.dropped,
        }
    }
}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}\n")?;
        }
        if let Some(rollout) = &self.rollout {
            writeln!(f, "{rollout}\n")?;
        }
        for verdict in &self.verdicts {
            let Verdict { measure, objective, measured, .. } = verdict;
            writeln!(f, "{measure}: {measured} ({objective}): {}", word(verdict.passed))?;
        }
        for repeated in self.repeated.iter().take(5) {
            writeln!(
                f,
                "  {} was done {} times, by {}",
                repeated.id,
                repeated.count,
                repeated.endpoints.join(", ")
            )?;
        }
        f.write_str(if self.passed { "All objectives were met." } else { "An objective was missed." })?;
        match &self.files {
            Some(files) => write!(f, " Manifests, state and logs are kept in {}", files.display()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edges: Vec<_> = self.edges.iter().map(ClusterName::as_str).collect();
        let lasted = match self.restored_at {
            Some(restored_at) => format!("Lost for {}", Millis(restored_at.since(self.at))),
            None => "Lost until the end".to_owned(),
        };
        writeln!(
            f,
            "{lasted}: {}; measured at the edge{} of {}",
            self.fault,
            plural(&edges),
            edges.join(", ")
        )?;
        let mut table = table();
        // Of what lasted on there was no failback, nothing to cut over, and nobody was to notice it.
        let of_all = ["failed requests", "requests above 1 s", "moves away", "moves back"];
        let is_told = |(measure, _): &(&str, String)| self.restored_at.is_some() || of_all.contains(measure);
        for (measure, measured) in rows(&self.measures).into_iter().filter(is_told) {
            let verdict = self.verdicts.iter().find(|verdict| verdict.measure == measure);
            let (objective, passed) =
                verdict.map_or(("", ""), |verdict| (verdict.objective.as_str(), word(verdict.passed)));
            table.add_row([measure, &measured, objective, passed]);
        }
        write!(f, "{table}")?;
        if let Some(lost) = self.lost_edge.as_ref().filter(|lost| lost.requests > 0) {
            write!(
                f,
                "\nThe lost edge itself: {} of {} requests failed; its clients need a second address.",
                lost.failed, lost.requests
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for RolloutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The hub is back, and the policy is changed")?;
        let mut table = table();
        for Verdict { measure, objective, measured, passed } in &self.verdicts {
            table.add_row([measure, measured, objective, word(*passed)]);
        }
        write!(f, "{table}")
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["measure", "measured", "objective", ""]);
    table
}

const fn plural(of: &[&str]) -> &'static str {
    if of.len() == 1 { "" } else { "s" }
}

fn or_never(measured: Option<Duration>) -> String {
    measured.map_or_else(|| "never".to_owned(), |it| Millis(it).to_string())
}

fn maybe_time_ms<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => time_ms(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// The measures as people read them; where a verdict has the same name, it stands beside.
fn rows(measures: &Measures) -> Vec<(&'static str, String)> {
    let Measures { failed, requests, cut_over_failed, cut_over_requests, .. } = measures;
    let error_rate = measures.cut_over_error_rate * 100.0;
    vec![
        ("time to detect", or_never(measures.time_to_detect)),
        ("RTO", or_never(measures.rto)),
        ("cut-over", Millis(measures.cut_over).to_string()),
        ("failed requests", format!("{failed} of {requests}")),
        (
            "error rate during cut-over",
            format!("{error_rate:.2} % ({cut_over_failed} of {cut_over_requests})"),
        ),
        ("p50 during cut-over", Millis(measures.p50).to_string()),
        ("p99 during cut-over", Millis(measures.p99).to_string()),
        ("requests above 1 s", measures.slow.to_string()),
        ("time to stable failback", or_never(measures.time_to_failback)),
        ("moves away", measures.moves.away.to_string()),
        ("moves back", measures.moves.back.to_string()),
    ]
}

const fn word(passed: bool) -> &'static str {
    if passed { "met" } else { "MISSED" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fleet::FleetSpec,
        load::Sample,
        measure::{self, Incident, Objectives},
    };

    fn fault(failed: bool) -> FaultReport {
        let (at, restored_at, observed_until) =
            (Time::from_millis(5000), Time::from_millis(10_000), Time::from_millis(20_000));
        let outcome = if failed { Outcome::Timeout } else { Outcome::Status(200) };
        let mut samples: Vec<_> = (0..2000_u64)
            .map(|i| Sample::new(Time::from_millis(i * 10), Duration::from_millis(2), Outcome::Status(200)))
            .collect();
        samples[600].outcome = outcome;
        let measures = measure::measure(&Incident {
            fault: at,
            restored: Some(restored_at),
            observed_until,
            samples: &samples,
            detections: &[Time::from_millis(5310)],
            moves: &[],
            quiet: Duration::from_secs(5),
        });
        let verdicts = Objectives::SAFE.judge(&measures);
        FaultReport {
            fault: "zone us-east-1a (refuses)".to_owned(),
            at,
            restored_at: Some(restored_at),
            observed_until,
            edges: vec!["us-west".parse().unwrap()],
            passed: verdicts.iter().all(|verdict| verdict.passed),
            verdicts,
            measures,
            lost_edge: None,
            moves: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn a_fault_is_told_with_its_objectives() {
        let text = fault(true).to_string();
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(
            text.starts_with("Lost for 5.00 s: zone us-east-1a (refuses); measured at the edge of us-west")
        );
        assert!(line("failed requests").contains("1 of 1500"), "{text}");
        assert!(line("failed requests").contains("MISSED"), "{text}");
        assert!(line("time to detect").contains("310.0 ms"), "{text}");
        assert!(line("p99").contains("at most 500.0 ms") && line("p99").contains("met"), "{text}");
    }

    #[test]
    fn every_verdict_has_its_row() {
        let report = fault(false);
        assert!(report.passed);
        let names: Vec<_> = rows(&report.measures).into_iter().map(|(name, _)| name).collect();
        let all = Objectives {
            max_rto: Some(Duration::ZERO),
            max_failback: Some(Duration::ZERO),
            ..Objectives::SAFE
        };
        for verdict in all.judge(&report.measures) {
            assert!(names.contains(&verdict.measure.as_str()), "{}", verdict.measure);
        }
    }

    #[test]
    fn the_json_has_units_in_its_names() {
        let report = DemoReport {
            passed: true,
            method: "GET",
            rate_rps: 200,
            policy: FleetSpec::demo().policy.into(),
            faults: vec![fault(false)],
            rollout: None,
            verdicts: Vec::new(),
            repeated: Vec::new(),
            loads: Vec::new(),
            files: None,
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["faults"][0]["atMs"], 5000.0);
        assert_eq!(json["faults"][0]["measures"]["timeToDetectMs"], 310.0);
        assert_eq!(json["policy"]["holdDownMs"], 3000);
        assert!(report.to_string().ends_with("All objectives were met."));
    }
}
