//! What a `Drill` says: what is broken, for how long at most, under which load, what stops it and what it may cost.
//!
//! Reading is here and in `kinds::drill`; running is the business of the crate `drill`.

use crate::{
    drill_kubernetes::KubernetesFault,
    drill_lab::LabFault,
    duration,
    fields::Wrong,
    kinds::Spec,
    loader::{SourceFile, read_file},
    nearest,
    problem::Problem,
};
use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_model::{ClusterName, Region, ServiceName, Zone};

/// A drill, checked as far as it can be by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// What is broken.
    pub target: DrillTarget,
    /// How.
    pub fault: DrillFault,
    /// After so long the fault ends, whoever is left to end it.
    pub expires_after: Duration,
    /// How long each step takes.
    pub steps: DrillSteps,
    /// What is asked meanwhile.
    pub load: DrillLoad,
    /// What stops it.
    pub guards: Vec<DrillGuard>,
    /// What it may cost.
    pub objectives: Vec<Objective>,
    /// When it may run, in seconds since 1970: from, until.
    pub window: Option<(u64, u64)>,
}

/// The one thing that a drill breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillTarget {
    /// Whatever answers there; for [`DrillFault::Exec`] and [`DrillFault::Kubernetes`].
    Url(String),
    /// A service everywhere.
    Service(ServiceName),
    /// A zone, of this region if it is written.
    Zone(Option<Region>, Zone),
    /// A cluster.
    Cluster(ClusterName),
    /// A region.
    Region(Region),
    /// A gateway, as `NAMESPACE/NAME`: in this cluster, or in that of each agent that is told.
    Gateway(String, Option<ClusterName>),
    /// The link from one cluster to another.
    PeerLink(ClusterName, ClusterName),
    /// The hub.
    Hub,
}

/// What is done to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillFault {
    /// The user's own commands. From the command line only: whoever may write resources must not run programs by them.
    Exec(ExecFault),
    /// What the user's own `kubectl` does. From the command line only, like commands, and only where disruption is allowed there.
    Kubernetes(KubernetesFault),
    /// What agents carry out.
    Agents(AgentFault),
}

/// A fault that agents carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFault {
    /// What is done.
    pub kind: AgentFaultKind,
    /// To how much of it, 1 to 100.
    pub percent: u32,
    /// Only to requests that say that they belong to the drill.
    pub marked_only: bool,
}

/// What agents do to a drill's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentFaultKind {
    /// Traffic is moved away.
    Shift,
    /// It counts as dead; no endpoint is touched.
    Verdict,
    /// Gateways find an address that swallows packets where endpoints were: this one and those after it, or one that no network
    /// carries.
    BlackHole(Option<SocketAddr>),
    /// Gateways answer requests with this status.
    Abort(u16),
    /// Gateways let requests wait.
    Delay(Duration),
    /// Gateways answer a part of the requests with 503.
    Brownout,
    /// No agent, but a lab breaks it, at a fleet of its own. From the command line only, to the lab that is named there.
    Lab(LabFault),
}

/// Commands that break and mend; the first word is the program, relative to where `tidegate` was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecFault {
    /// Breaks.
    pub start: Vec<String>,
    /// Mends. It may run more than once, and also when `start` did not succeed.
    pub mend: Vec<String>,
    /// How long each may take.
    pub timeout: Duration,
}

/// How long each step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillSteps {
    /// Before the fault.
    pub steady: Duration,
    /// While the fault lasts.
    pub fault: Duration,
    /// After it was mended.
    pub observe: Duration,
}

impl Default for DrillSteps {
    fn default() -> Self {
        Self {
            steady: Duration::from_secs(10),
            fault: Duration::from_secs(30),
            observe: Duration::from_secs(30),
        }
    }
}

/// What is asked while a drill runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillLoad {
    /// What is asked, in turn. Empty: the target's own URL.
    pub urls: Vec<String>,
    /// Requests per second over all URLs.
    pub rate_rps: u32,
    /// How it is asked.
    pub protocol: DrillProtocol,
    /// How long a request may take.
    pub timeout: Duration,
    /// Requests that may be unanswered at a time.
    pub in_flight_limit: u32,
}

impl Default for DrillLoad {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            rate_rps: 100,
            protocol: DrillProtocol::Http1,
            timeout: Duration::from_secs(5),
            in_flight_limit: 1000,
        }
    }
}

/// How a load asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrillProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// A unary gRPC call with an empty message; the URL's path is the method.
    Grpc,
}

/// What stops a drill, and mends at once.
#[derive(Clone, Debug, PartialEq)]
pub enum DrillGuard {
    /// A URL that must answer with a status below 400.
    HttpCheck {
        /// The URL.
        url: String,
        /// How often it is asked.
        interval: Duration,
        /// How long an answer may take.
        timeout: Duration,
        /// So many failures one after the other stop the drill.
        failures: u32,
    },
    /// The load itself: the part of it that fails.
    ErrorRate {
        /// Above this part, 0 to 1, of the requests that ended in the last `over`, the drill stops.
        above: f64,
        /// The time that is looked back.
        over: Duration,
    },
    /// What a Prometheus says.
    Prometheus {
        /// The query, and how it is asked.
        ask: PrometheusAsk,
        /// It may be neither below the first nor above the second of these; at least one is there.
        within: (Option<f64>, Option<f64>),
    },
    /// What is left of an error budget, by the counts of a Prometheus.
    ErrorBudget {
        /// The query that makes it, and how it is asked: the part of the budget that is left, 1 or less, below 0 when overspent.
        ask: PrometheusAsk,
        /// The drill stops when less than this part, 0 to 1, is left.
        remaining: f64,
    },
}

/// How a Prometheus is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusAsk {
    /// Where it is, without `/api/v1`.
    pub url: String,
    /// The query, as PromQL.
    pub query: String,
    /// How often it is asked.
    pub interval: Duration,
    /// So many answers out of bounds, or none, one after the other stop the drill.
    pub failures: u32,
}

/// What can be measured, and has an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// From the fault to lasting success.
    Rto,
    /// From the fault to the last bad request.
    LastBad,
    /// From mending to lasting success.
    StableRecovery,
    /// The part of the requests in the cut-over that failed.
    ErrorRate,
    /// The median of latency in the cut-over.
    P50,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    P999,
    /// Requests that failed, from the fault on.
    Failed,
    /// Requests above one second.
    Slow,
    /// Requests that were sent and never answered.
    Lost,
    /// Requests that were worked on more than once.
    Repeated,
    /// From the fault to an agent's noticing.
    Detect,
    /// From there to the first plan that changed.
    Decide,
    /// From mending to plans that stay.
    StableFailback,
    /// The utilisation of who took over.
    Utilisation,
    /// How often traffic moved.
    Moves,
}

/// In which a measure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time, in milliseconds here; written with its unit: `5s`.
    Duration,
    /// A part, 0 to 1 here; written in percent: `0.1%`.
    Part,
    /// Requests; written as a whole number.
    Count,
}

impl Measure {
    const ALL: [(&'static str, Self, Unit); 16] = [
        ("rto", Self::Rto, Unit::Duration),
        ("lastBad", Self::LastBad, Unit::Duration),
        ("stableRecovery", Self::StableRecovery, Unit::Duration),
        ("errorRate", Self::ErrorRate, Unit::Part),
        ("p50", Self::P50, Unit::Duration),
        ("p99", Self::P99, Unit::Duration),
        ("p999", Self::P999, Unit::Duration),
        ("failed", Self::Failed, Unit::Count),
        ("slow", Self::Slow, Unit::Count),
        ("lost", Self::Lost, Unit::Count),
        ("repeated", Self::Repeated, Unit::Count),
        ("detect", Self::Detect, Unit::Duration),
        ("decide", Self::Decide, Unit::Duration),
        ("stableFailback", Self::StableFailback, Unit::Duration),
        ("utilisation", Self::Utilisation, Unit::Part),
        ("moves", Self::Moves, Unit::Count),
    ];

    /// As an objective names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, measure, _)| *measure == self).map_or("", |(name, _, _)| name)
    }

    /// In which it is written.
    #[must_use]
    pub fn unit(self) -> Unit {
        Self::ALL.iter().find(|(_, measure, _)| *measure == self).map_or(Unit::Count, |(_, _, unit)| *unit)
    }

    /// Whether only agents can tell it.
    #[must_use]
    pub const fn is_of_agents(self) -> bool {
        matches!(self, Self::Detect | Self::Decide | Self::StableFailback | Self::Utilisation | Self::Moves)
    }
}

/// What a drill may cost: a measure, and the most that it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// What is measured.
    pub measure: Measure,
    /// The most that it may be, in the unit of the measure.
    pub at_most: f64,
}

impl Objective {
    /// Reads `rto <= 5s`, `errorRate <= 0.1%`, `failed <= 0`.
    ///
    /// # Errors
    /// What is wrong and what to write, in one sentence each.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text).map_err(|Wrong { expected, hint }| {
            format!("an objective must be {expected}, not {text:?}\n  hint: {hint}")
        })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <= ", self.measure.name())?;
        match self.measure.unit() {
            Unit::Duration => f.write_str(&duration::text(Duration::from_secs_f64(self.at_most / 1e3))),
            // To a millionth of a percent: 0.1 % is written 0.1, not 0.1000000001.
            Unit::Part => write!(f, "{}%", (self.at_most * 1e8).round() / 1e6),
            Unit::Count => write!(f, "{}", self.at_most),
        }
    }
}

pub(crate) fn parse(text: &str) -> Result<Objective, Wrong> {
    let Some((name, limit)) = text.split_once("<=") else {
        let hint = "write for example \"rto <= 5s\" or \"errorRate <= 0.1%\"";
        return Err(Wrong::new("MEASURE <= LIMIT", hint));
    };
    let (name, limit) = (name.trim(), limit.trim());
    let Some((_, measure, unit)) = Measure::ALL.into_iter().find(|(known, _, _)| *known == name) else {
        let names = Measure::ALL.map(|(name, _, _)| name);
        return Err(Wrong::new("a measure and its limit", nearest::hint(name, "measures", names)));
    };
    let without_unit = limit.parse::<f64>().is_ok();
    let at_most = match unit {
        Unit::Duration if without_unit && limit != "0" => {
            return Err(Wrong::new(
                "a measure and its limit with a unit",
                format!("write {name} <= {limit}s, or {limit}ms"),
            ));
        }
        Unit::Duration => duration::parse(limit).map(|limit| limit.as_secs_f64() * 1e3),
        Unit::Part if without_unit => {
            return Err(Wrong::new(
                "a measure and its limit with a unit",
                format!("write {name} <= {limit}%"),
            ));
        }
        Unit::Part => {
            limit.strip_suffix('%').and_then(|it| it.trim().parse::<f64>().ok()).map(|it| it / 100.0)
        }
        Unit::Count => limit.parse::<u32>().ok().map(f64::from),
    };
    let good = at_most.filter(|it| it.is_finite() && *it >= 0.0);
    let Some(at_most) = good else {
        let example = match unit {
            Unit::Duration => "5s",
            Unit::Part => "0.1%",
            Unit::Count => "0",
        };
        return Err(Wrong::new("a measure and its limit", format!("write for example {name} <= {example}")));
    };
    Ok(Objective { measure, at_most })
}

/// The one `Drill` of a file, for whoever runs it from the command line.
///
/// # Errors
/// Everything that is wrong with it, or that the file has none or several.
pub fn read_drill(file: &SourceFile) -> Result<Drill, Vec<Problem>> {
    let readings = read_file(&Arc::from(file.path.as_str()), &file.text).map_err(|problem| vec![problem])?;
    let problems: Vec<Problem> = readings.iter().flat_map(|reading| reading.issues.iter().cloned()).collect();
    if problems.iter().any(Problem::is_error) {
        return Err(problems);
    }
    let mut drills = readings.iter().filter_map(|reading| match reading.object.as_ref().map(|it| &it.spec) {
        Some(Spec::Drill(spec)) => Some(&spec.drill),
        _ => None,
    });
    match (drills.next(), drills.next()) {
        (Some(drill), None) => Ok(drill.clone()),
        (None, _) => Err(vec![Problem::of_file(
            &file.path,
            "there is no Drill in it",
            "name a file with one object of kind: Drill",
        )]),
        (Some(_), Some(_)) => Err(vec![Problem::of_file(
            &file.path,
            "there are several Drills in it",
            "put each into a file of its own",
        )]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_have_units_and_read_as_they_are_written() {
        for text in [
            "rto <= 5s",
            "errorRate <= 0.1%",
            "p99 <= 500ms",
            "failed <= 0",
            "stableRecovery <= 3m",
            "lost <= 2",
            "detect <= 1s",
            "decide <= 100ms",
            "stableFailback <= 3m",
            "utilisation <= 80%",
            "moves <= 2",
            "rto <= 0s",
        ] {
            assert_eq!(Objective::parse(text).unwrap().to_string(), text);
        }
        let at_most = |text: &str| Objective::parse(text).unwrap().at_most;
        assert_eq!((at_most("rto<=5s"), at_most("failed <= 3")), (5000.0, 3.0));
        assert!((at_most("errorRate <= 0.1%") - 0.001).abs() < 1e-12);
        for (wrong, said) in [
            ("rto <= 5", "write rto <= 5s, or 5ms"),
            ("errorRate <= 0.1", "write errorRate <= 0.1%"),
            ("rto < 5s", "MEASURE <= LIMIT"),
            ("rtoo <= 5s", "did you mean"),
            ("detect <= 1", "write detect <= 1s, or 1ms"),
            ("decide <= 100", "write decide <= 100s, or 100ms"),
            ("utilisation <= 80", "write utilisation <= 80%"),
            ("utilisation <= 80s", "write for example utilisation <= 0.1%"),
            ("moves <= 2s", "write for example moves <= 0"),
            ("failed <= 1.5", "write for example failed <= 0"),
            ("errorRate <= -1%", "write for example errorRate <= 0.1%"),
            ("rto <= soon", "write for example rto <= 5s"),
        ] {
            let error = Objective::parse(wrong).unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }
}
