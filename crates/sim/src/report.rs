//! What came of a simulation: plain data, the same bytes for the same scenario.

use serde::Serialize;
use std::collections::BTreeMap;
use tidegate_agent::timeline::Record;
use tidegate_model::{ClusterName, Phase, Share};

/// A whole simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the scenario shows.
    pub title: String,
    /// How long it lasted.
    pub duration_ms: u64,
    /// What its randomness started from.
    pub seed: u64,
    /// What broke.
    pub faults: Vec<FaultView>,
    /// The numbers.
    pub measures: Measures,
    /// How often each source's plans moved.
    pub moves: Vec<Moves>,
    /// The time between two samples.
    pub sample_ms: u64,
    /// How things stood, in order of time.
    pub samples: Vec<Sample>,
    /// What every agent decided, in order of time.
    pub decisions: Vec<Decided>,
}

/// A fault, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultView {
    /// When it struck.
    pub at_ms: u64,
    /// When it ended, at the latest with the scenario.
    pub until_ms: u64,
    /// What it was.
    pub what: String,
}

/// The numbers of a simulation. Fractions are parts of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measures {
    /// From the first fault to the first decision after it.
    pub detect_ms: Option<u64>,
    /// From the first fault to the moment from which on every second until its end has 99.9 % success; absent if there
    /// is none.
    pub rto_ms: Option<u64>,
    /// From the end of the last fault to the last change of a plan after it; absent if none followed.
    pub failback_ms: Option<u64>,
    /// Requests.
    pub offered: f64,
    /// Those that failed.
    pub failed: f64,
    /// Those that were answered with 503 on purpose.
    pub shed: f64,
    /// The failed part.
    pub error_fraction: f64,
    /// The part that was shed.
    pub shed_fraction: f64,
    /// The failed part of the worst second.
    pub worst_second: f64,
    /// The highest utilisation of a pool with a declared capacity, and which.
    pub peak_utilisation: Option<(String, f64)>,
}

/// How often the plan of one service and source moved. A run of changes in one direction is one move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moves {
    /// The service.
    pub service: String,
    /// Where the requests enter, as `cluster/zone`.
    pub source: String,
    /// Away from where it went before the first fault.
    pub away: u32,
    /// Back there.
    pub back: u32,
}

/// How things stood at the start of a sample; rates are means over it, per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// The start of the sample.
    pub at_ms: u64,
    /// Requests.
    pub offered_rps: f64,
    /// Those that failed.
    pub failed_rps: f64,
    /// Those that were shed.
    pub shed_rps: f64,
    /// The pools that have demand, as `service@cluster/zone`.
    pub pools: BTreeMap<String, PoolSample>,
    /// The shares in force at the gateways, by `service from cluster/zone`, in 1/10000.
    pub shares: BTreeMap<String, BTreeMap<String, Share>>,
}

/// How one pool stood.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSample {
    /// Requests that it served.
    pub rps: f64,
    /// What was asked of it as a part of its capacity, where the scenario declares one; the most of the sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilisation: Option<f64>,
    /// Its phase; absent while its agent does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
}

/// Something that an agent decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// When, in microseconds of virtual time.
    pub at_micros: u64,
    /// Whose agent.
    pub cluster: ClusterName,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}
