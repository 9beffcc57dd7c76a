//! The report of a drill: what was done, what it cost, whether that is within its objectives. One form of data
//! ([`Report`], whose JSON has the schema in `docs/schemas`), and four ways to show it.

mod agents;
mod chart;
mod html;
mod junit;
mod markdown;
mod recovery;
mod series;
mod svg;

pub use chart::{latency_chart, requests_chart};
pub use html::{Seal, html, sealed_html, signed_in};
pub use junit::junit;
pub use markdown::markdown;
pub use recovery::{shares_chart, utilisation_chart, waterfall_chart};
pub use series::{Bin, Series};

use crate::{
    course::Ending,
    measure::{Costs, Observed, costs, in_ms},
    run::{Record, command::Ran},
    timeline::AgentsPart,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};
use tidegate_api::{DrillProtocol, DrillTarget, Measure, Objective, Unit};
use tidegate_model::Time;

/// The report of one drill. What agents' timelines add comes as a field `agents` of its own; without agents there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `tidegate.dev/v1alpha1`.
    pub api_version: Cow<'static, str>,
    /// `DrillReport`.
    pub kind: Cow<'static, str>,
    /// Unique; the request ids begin with it.
    pub id: String,
    /// The drill, as `NAMESPACE/NAME`.
    pub drill: String,
    /// What was broken.
    pub target: String,
    /// What was asked.
    pub urls: Vec<String>,
    /// How, and how often.
    pub load: Load,
    /// When the load began (RFC 3339, UTC); empty if it never did.
    pub started_at: String,
    /// How it ended.
    pub ending: Ending,
    /// Whether it ran to its end, was mended, and kept to all objectives.
    pub passed: bool,
    /// Whether the target answered well after it was mended; `None` if nothing was broken.
    pub mended: Option<bool>,
    /// Why the fault could not be mended, if so.
    pub mend_error: Option<String>,
    /// When things happened, in milliseconds since the load began.
    pub moments: Moments,
    /// What it cost; `None` if nothing was broken.
    pub costs: Option<Costs>,
    /// The objectives, and what came of them.
    pub objectives: Vec<Judged>,
    /// The commands, as they ended.
    pub commands: Vec<Ran>,
    /// What agents told of the recovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<AgentsPart>,
    /// The requests over time.
    pub series: Series,
    /// How well the generator itself kept its times.
    pub generator: Punctuality,
}

/// How was asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Requests per second.
    pub rate_rps: u32,
    /// HTTP1, HTTP2 or GRPC.
    pub protocol: Cow<'static, str>,
    /// After so long a request was given up.
    pub timeout_ms: f64,
}

/// When things happened, in milliseconds since the load began.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moments {
    /// The command that breaks was started.
    pub fault_ms: Option<f64>,
    /// The command that mends was first started.
    pub mending_ms: Option<f64>,
    /// It ended well.
    pub mended_ms: Option<f64>,
    /// The target answered well again, on new connections.
    pub verified_ms: Option<f64>,
    /// The end.
    pub done_ms: Option<f64>,
}

/// An objective, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// As it is written: `rto <= 5s`.
    pub objective: String,
    /// The measure.
    pub measure: Cow<'static, str>,
    /// What it was, for people.
    pub measured: String,
    /// Whether it kept to it. What was not measured did not.
    pub passed: bool,
}

/// How late requests were sent.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Punctuality {
    /// Requests that were due.
    pub due: u64,
    /// How late the median was sent.
    pub late_p50_ms: f64,
    /// The 99th percentile.
    pub late_p99_ms: f64,
    /// The latest.
    pub late_max_ms: f64,
    /// Requests that are not in the series because there was no more room.
    pub dropped: u64,
}

impl Report {
    /// The report of what was seen. `repeated` is how many requests servers saw more than once, if they were asked.
    #[must_use]
    pub fn new(record: &Record, repeated: Option<u64>) -> Self {
        let Record { moments, drill, .. } = record;
        let costs = seen(record, repeated).as_ref().map(costs);
        // Where nothing was broken, agents have nothing to tell either.
        let agents = record.agents.as_ref().filter(|_| moments.fault.is_some());
        let objectives: Vec<Judged> =
            drill.objectives.iter().map(|it| judge(*it, costs.as_ref(), agents)).collect();
        let mended = moments.fault.map(|_| moments.verified.is_some());
        let passed = record.ending == Ending::Completed
            && mended == Some(true)
            && record.mend_error.is_none()
            && objectives.iter().all(|it| it.passed);
        let origin = moments.steady.unwrap_or(Time::ZERO);
        let since = |at: Option<Time>| at.map(|at| in_ms(at.since(origin)));
        Self {
            api_version: "tidegate.dev/v1alpha1".into(),
            kind: "DrillReport".into(),
            id: record.id.clone(),
            drill: drill.name.clone(),
            target: told(&drill.target),
            urls: record.urls.clone(),
            load: Load {
                rate_rps: drill.load.rate_rps,
                protocol: Cow::Borrowed(match drill.load.protocol {
                    DrillProtocol::Http1 => "HTTP1",
                    DrillProtocol::Http2 => "HTTP2",
                    DrillProtocol::Grpc => "GRPC",
                }),
                timeout_ms: in_ms(drill.load.timeout),
            },
            started_at: moments
                .steady
                .map(|at| tidegate_api::time_text(record.clock.unix_micros(at) / 1_000_000))
                .unwrap_or_default(),
            ending: record.ending.clone(),
            passed,
            mended,
            mend_error: record.mend_error.clone(),
            moments: Moments {
                fault_ms: since(moments.fault),
                mending_ms: since(moments.mending),
                mended_ms: since(moments.mended),
                verified_ms: since(moments.verified),
                done_ms: since(moments.done),
            },
            costs,
            objectives,
            commands: record.commands.clone(),
            agents: record.agents.clone(),
            series: Series::new(&record.samples, origin, moments.done.unwrap_or(origin)),
            generator: punctuality(record),
        }
    }

    /// What it cost, line by line, for people; empty if nothing was broken.
    #[must_use]
    pub fn measures(&self) -> Vec<(&'static str, String)> {
        let of_agents = self.agents.iter().filter(|_| self.costs.is_some()).flat_map(agents::lines);
        self.costs.iter().flat_map(lines).chain(of_agents).collect()
    }

    /// The verdict, in a few words.
    #[must_use]
    pub fn verdict(&self) -> String {
        let missed = self.objectives.iter().filter(|it| !it.passed).count();
        match &self.ending {
            Ending::NotStarted(why) => format!("not started: {why}"),
            Ending::Stopped(why) => format!("stopped: {why}"),
            Ending::Completed if self.mend_error.is_some() => "NOT MENDED".to_owned(),
            Ending::Completed if self.mended != Some(true) => {
                "mended, but the target does not answer well".to_owned()
            }
            Ending::Completed if missed > 0 => {
                format!("{missed} of {} objectives missed", self.objectives.len())
            }
            Ending::Completed if self.objectives.is_empty() => "completed; it has no objectives".to_owned(),
            Ending::Completed => format!("all {} objectives met", self.objectives.len()),
        }
    }
}

/// What is broken, for people.
#[must_use]
pub fn told(target: &DrillTarget) -> String {
    match target {
        DrillTarget::Url(url) => url.clone(),
        DrillTarget::Service(name) => format!("service {name}"),
        DrillTarget::Zone(Some(region), zone) => format!("zone {region}/{zone}"),
        DrillTarget::Zone(None, zone) => format!("zone {zone}"),
        DrillTarget::Cluster(cluster) => format!("cluster {cluster}"),
        DrillTarget::Region(region) => format!("region {region}"),
        DrillTarget::Gateway(name, None) => format!("gateway {name}"),
        DrillTarget::Gateway(name, Some(cluster)) => format!("gateway {name} of cluster {cluster}"),
        DrillTarget::PeerLink(from, to) => format!("peer link {from} to {to}"),
        DrillTarget::Hub => "hub".to_owned(),
    }
}

fn seen(record: &Record, repeated: Option<u64>) -> Option<Observed<'_>> {
    let it = record.moments;
    // Without requests nothing of them was measured.
    record.urls.first()?;
    Some(Observed {
        steady: it.steady?,
        fault: it.fault?,
        mending: it.mending.or(it.done)?,
        mended: it.mended,
        done: it.done?,
        samples: &record.samples,
        repeated,
    })
}

fn punctuality(record: &Record) -> Punctuality {
    let Some(tally) = &record.tally else { return Punctuality::default() };
    let ms = |us: u64| in_ms(Duration::from_micros(us.min(tally.late.max())));
    Punctuality {
        due: tally.due,
        late_p50_ms: ms(tally.late.value_at_percentile(50.0)),
        late_p99_ms: ms(tally.late.value_at_percentile(99.0)),
        late_max_ms: ms(tally.late.max()),
        dropped: tally.dropped,
    }
}

fn judge(objective: Objective, costs: Option<&Costs>, agents: Option<&AgentsPart>) -> Judged {
    let found = value(objective.measure, costs, agents);
    let may_fail = objective.measure != Measure::Repeated && !objective.measure.is_of_agents();
    let measured = match (found, objective.measure.unit()) {
        (None, _) if costs.is_some() && may_fail => "not recovered".to_owned(),
        (None, _) => "not measured".to_owned(),
        (Some(value), Unit::Duration) => duration(value),
        (Some(value), Unit::Part) => percent(value),
        (Some(value), Unit::Count) => format!("{value}"),
    };
    Judged {
        objective: objective.to_string(),
        measure: objective.measure.name().into(),
        measured,
        passed: found.is_some_and(|found| found <= objective.at_most),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn value(measure: Measure, costs: Option<&Costs>, agents: Option<&AgentsPart>) -> Option<f64> {
    match measure {
        Measure::Rto => costs?.rto_ms,
        // Nothing bad happened: the last of it was at once.
        Measure::LastBad => Some(costs?.last_bad_ms.unwrap_or(0.0)),
        Measure::StableRecovery => costs?.stable_recovery_ms,
        Measure::ErrorRate => Some(costs?.error_rate),
        Measure::P50 => Some(costs?.during.p50_ms),
        Measure::P99 => Some(costs?.during.p99_ms),
        Measure::P999 => Some(costs?.during.p999_ms),
        Measure::Failed => Some(costs?.failed as f64),
        Measure::Slow => Some(costs?.slow as f64),
        Measure::Lost => Some(costs?.lost as f64),
        Measure::Repeated => costs?.repeated.map(|count| count as f64),
        Measure::Detect => agents?.detect_ms,
        Measure::Decide => agents?.decide_ms,
        // Nothing moved: it never was anywhere else.
        Measure::StableFailback => {
            let agents = agents?;
            agents.stable_failback_ms.or((agents.moves == Some(0)).then_some(0.0))
        }
        Measure::Utilisation => agents?.utilisation,
        Measure::Moves => agents?.moves.map(|count| count as f64),
    }
}

/// Milliseconds as people read them: `0 ms`, `87.3 ms`, `4.25 s`.
pub(crate) fn duration(ms: f64) -> String {
    crate::measure::Millis(Duration::from_secs_f64(ms.max(0.0) / 1e3)).to_string()
}

/// The same, of what may not have come.
fn maybe(ms: Option<f64>) -> String {
    ms.map_or_else(|| "never".to_owned(), duration)
}

/// A part, 0 to 1, in percent.
#[must_use]
pub fn percent(part: f64) -> String {
    format!("{:.3} %", part * 100.0)
}

/// What a drill cost, line by line, as all reports that people read have it.
fn lines(costs: &Costs) -> Vec<(&'static str, String)> {
    let never_bad = "no bad request".to_owned();
    let bad = |ms: Option<f64>| ms.map_or_else(|| never_bad.clone(), duration);
    vec![
        ("first bad request", bad(costs.first_bad_ms)),
        ("last bad request", bad(costs.last_bad_ms)),
        ("RTO, while the fault was on", costs.rto_ms.map_or_else(|| "not recovered".to_owned(), duration)),
        (
            "first good request after a bad one",
            costs.first_bad_ms.map_or(never_bad.clone(), |_| maybe(costs.first_recovery_ms)),
        ),
        ("stable again after mending", maybe(costs.stable_recovery_ms)),
        ("cut-over", duration(costs.cut_over_ms)),
        ("error rate in the cut-over", percent(costs.error_rate)),
        ("requests from the fault on", costs.requests.to_string()),
        ("failed", costs.failed.to_string()),
        ("above 1 s", costs.slow.to_string()),
        ("lost (sent, not answered)", costs.lost.to_string()),
        ("not sent (too many unanswered)", costs.overload.to_string()),
        ("repeated", costs.repeated.map_or_else(|| "no log was given".to_owned(), |count| count.to_string())),
    ]
}

/// Text within HTML, SVG and XML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML 1.0 has no other control characters, escaped or not.
            c if c.is_control() && !matches!(c, '\n' | '\t') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
