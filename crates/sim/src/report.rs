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
    /// What broke, in order of time, and what each fault did.
    pub faults: Vec<FaultView>,
    /// The numbers of the whole.
    pub measures: Measures,
    /// How often each source's plans moved.
    pub moves: Vec<Moves>,
    /// How full places were, where the scenario declares a capacity: pools as `service@cluster/zone`, and
    /// `zone cluster/zone`, `cluster NAME` and `region NAME` for all pools in them.
    pub utilisation: BTreeMap<String, Utilisation>,
    /// The time between two samples.
    pub sample_ms: u64,
    /// How things stood, in order of time.
    pub samples: Vec<Sample>,
    /// What every agent decided, in order of time.
    pub decisions: Vec<Decided>,
}

/// A fault, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultView {
    /// When it struck.
    pub at_ms: u64,
    /// When it ended, at the latest with the scenario.
    pub until_ms: u64,
    /// What it was.
    pub what: String,
    /// What came of it.
    pub measures: FaultMeasures,
}

/// What one fault did, told from what followed it until the next one struck (or the end). Faults that strike together, or
/// follow closely, cannot be told apart by this: look at the time line then.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultMeasures {
    /// From the fault to the first decision after it; absent if there was none.
    pub detect_ms: Option<u64>,
    /// From the fault to the moment from which on every second has 99.9 % success, until the fault's end (at least for a
    /// second); absent if there is none.
    pub rto_ms: Option<u64>,
    /// From the fault's end to the last change of a plan after it; absent if none followed.
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
    /// Plans (of one service and source each) that moved.
    pub plans_moved: u32,
    /// The most moves of one plan away from where it went before the first fault.
    pub away: u32,
    /// The most moves of one plan back there.
    pub back: u32,
}

/// How full a place was, as a part of what it can answer: requests that it was asked for, whether answered or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Utilisation {
    /// The mean over time.
    pub mean: f64,
    /// The most of a step of 100 ms.
    pub peak: f64,
    /// When that was, first.
    pub peak_at_ms: u64,
}

/// The numbers of a simulation. Fractions are parts of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measures {
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
    /// The places that they lie in: `zone cluster/zone`, `cluster NAME`, `region NAME`.
    pub locations: BTreeMap<String, LocationSample>,
    /// The shares in force at the gateways, by `service from cluster/zone`, in 1/10000.
    pub shares: BTreeMap<String, BTreeMap<String, Share>>,
}

/// How one place stood: the sum of its pools.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocationSample {
    /// Requests that it served.
    pub rps: f64,
    /// What was asked of its pools as a part of their capacity, where the scenario declares one; the most of the sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilisation: Option<f64>,
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
