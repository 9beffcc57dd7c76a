//! Capacity, failback, drain, retries, and what one gateway may have at a time.

use crate::text::{DAY, H, MIN, MS, S, Span};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one endpoint takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("!(has(self.requestsPerSecond) && has(self.concurrency))").message("capacity has both requestsPerSecond and concurrency: an endpoint is limited by one of them")
)]
pub struct Capacity {
    /// Requests that arrive per second, 0.001 to 1000000.
    // The API compares whole numbers with a bound's whole part, so the rule says it again.
    #[schemars(range(min = 0.001, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = kube::core::Rule::new("self >= 0.001").message("must be a number from 0.001 to 1000000"))]
    pub requests_per_second: Option<f64>,
    /// Requests in progress, 0.001 to 1000000.
    // The API compares whole numbers with a bound's whole part, so the rule says it again.
    #[schemars(range(min = 0.001, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = kube::core::Rule::new("self >= 0.001").message("must be a number from 0.001 to 1000000"))]
    pub concurrency: Option<f64>,
    /// The part of it, in percent, that is planned with. Default: 80.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_utilization: Option<f64>,
}

/// How a place gets its traffic back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("!has(self.holdDown) || !has(self.maxHoldDown) || duration(self.holdDown) <= duration(self.maxHoldDown)").message("maxHoldDown is below holdDown: relapses double the hold-down up to the maximum; raise the maximum")
)]
pub struct Failback {
    /// Auto: by itself. Manual: after `tidegate failback`. Default: Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<FailbackMode>,
    /// How long health must be steady first, 0s to 24h; doubled by each relapse, halved again by each quiet 10 minutes. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_down: Option<Span<0, DAY>>,
    /// What relapses double the hold-down up to, 0s to 24h. Default: 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_hold_down: Option<Span<0, DAY>>,
    /// The parts of its load in which a pool gets it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// Whether a step waits until the pool's healthy endpoints can take it. Means something only with capacity. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_headroom: Option<bool>,
}

/// Who brings traffic back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailbackMode {
    /// Nobody needs to.
    Auto,
    /// An operator.
    Manual,
}

/// The parts of its load in which a pool gets it back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ramp {
    /// Rising percentages, the last one 100. Default: [10, 50, 100].
    #[schemars(length(min = 1, max = 20), inner(range(min = 0, max = 100)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = kube::core::Rule::new("self.isSorted() && self.all(step, self.exists_one(other, step == other))").message("the steps of a ramp must rise, for example [10, 50, 100]"),
        validation = kube::core::Rule::new("size(self) == 0 || self[size(self) - 1] == 100.0").message("the last step of a ramp must be 100"),
        validation = kube::core::Rule::new("size(self) == 0 || self[0] > 0.0").message("a step of a ramp must be above 0")
    )]
    pub steps: Option<Vec<f64>>,
    /// How long each step lasts, 10ms to 1h. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span<{ 10 * MS }, H>>,
}

/// How a pool is left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// How long a pool that leaves a plan drains, 0s to 1h: it gets nothing new and finishes what it has. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span<0, H>>,
    /// How old a stream (an HTTP response, a gRPC call) and a connection of a TCPRoute or TLSRoute may become, 1s to 30 days. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span<S, { 30 * DAY }>>,
}

/// When a request is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How long one try of a GET, HEAD or OPTIONS may take before another is started beside it, 1ms to 60s. Default: 150ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<Span<MS, MIN>>,
    /// Tries after the first, 0 to 10. Other methods are tried again only when the first try cannot have arrived. Default: 3.
    #[schemars(range(min = 0, max = 10))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How many retries one gateway may have in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// How many retries one gateway may have in progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// So many percent of the requests in progress. Default: 100.
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<u32>,
    /// And at least so many. Default: 100000.
    #[schemars(range(min = 0, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<u32>,
}

/// What one gateway may have at a time; above it requests get 503.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Breaker {
    /// Connections. Default: 100000.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection. Default: 100000.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Requests in progress. Default: 100000.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel_requests: Option<u32>,
    /// After so many requests a connection is replaced. Default: never.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests_per_connection: Option<u32>,
}

/// An endpoint that is new or healthy again gets less than the others at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlowStart {
    /// For how long it gets less, from a tenth upwards; 1s to 1h.
    pub window: Span<S, H>,
}
