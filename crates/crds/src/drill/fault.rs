//! How a drill breaks its target.

use super::kubernetes::Kubernetes;
use crate::text::{DAY, H, MIN, MS, S, SocketAddress, Span, Word};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What breaks the target, and for how long at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("self.type in ['Exec', 'Kubernetes'] || duration(self.expiresAfter) <= duration('1h')").message("agents and labs take no fault of more than 1h: shorten expiresAfter"),
    validation = kube::core::Rule::new("(self.type == 'Exec') == has(self.exec)").message("exec is what a fault of type Exec does: exec: {start: [./break.sh], mend: [./mend.sh]}"),
    validation = kube::core::Rule::new("(self.type == 'Kubernetes') == has(self.kubernetes)").message("kubernetes is what a fault of type Kubernetes does: kubernetes: {do: ScaleToZero, namespace: shop, workload: deployment/web}"),
    validation = kube::core::Rule::new("(self.type == 'Abort') == has(self.status)").message("status is what a fault of type Abort answers: status: 503"),
    validation = kube::core::Rule::new("(self.type == 'Delay') == has(self.delay)").message("delay is how long requests wait by a fault of type Delay: delay: 200ms"),
    validation = kube::core::Rule::new("self.type == 'BlackHole' || !has(self.via)").message("via belongs to a fault of type BlackHole"),
    validation = kube::core::Rule::new("(self.type == 'Lab') == has(self.lab)").message("lab is what a fault of type Lab does: lab: {do: Slow, delay: 1200ms}"),
    validation = kube::core::Rule::new("self.type != 'Brownout' || has(self.percent)").message("a fault of type Brownout needs percent: say how many of a hundred requests"),
    validation = kube::core::Rule::new("self.type in ['Shift', 'Abort', 'Delay', 'Brownout'] || !has(self.percent)").message("percent belongs to faults of type Shift, Abort, Delay, Brownout"),
    validation = kube::core::Rule::new("self.type in ['Abort', 'Delay', 'Brownout'] || !has(self.markedOnly)").message("markedOnly belongs to faults of type Abort, Delay, Brownout")
)]
pub struct Fault {
    /// Exec: commands of your own, from the command line only. Kubernetes: a workload loses its replicas, or pods are cut off, by the user's own kubectl, from the command line only. Shift: traffic is moved away. Verdict: it counts as dead. BlackHole: packets vanish. Abort: requests are answered with a status. Delay: requests wait. Brownout: a part of the requests gets 503. Lab: what a lab does to a fleet of its own.
    pub r#type: FaultType,
    /// After so long the fault ends, whoever is left to end it: 1s to 1h; to 24h for Exec and Kubernetes.
    pub expires_after: Span<S, DAY>,
    /// The commands of a fault of type Exec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// What a fault of type Kubernetes does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// To how much of the target, 1 to 100. Default: 100, where it is not required.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// Only requests that say that they belong to the drill. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marked_only: Option<bool>,
    /// What a fault of type Abort answers, 400 to 599.
    #[schemars(range(min = 400, max = 599))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// How long requests wait by a fault of type Delay, 1ms to 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span<MS, MIN>>,
    /// For BlackHole: an address and port that swallows packets. Default: one that no network carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<SocketAddress>,
    /// What a fault of type Lab does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lab: Option<Lab>,
}

/// The types of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the field's description says what each does")]
pub enum FaultType {
    Exec,
    Kubernetes,
    Shift,
    Verdict,
    BlackHole,
    Abort,
    Delay,
    Brownout,
    Lab,
}

/// Commands that break and mend; the first word is the program, relative to where `tidegate` was started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("size(self.start) == 0 || self.start[0] != ''").message("start must begin with a program"),
    validation = kube::core::Rule::new("size(self.mend) == 0 || self.mend[0] != ''").message("mend must begin with a program")
)]
pub struct Exec {
    /// Breaks.
    #[schemars(length(min = 1, max = 64))]
    pub start: Vec<Word>,
    /// Mends. It may run more than once, and also when start did not succeed.
    #[schemars(length(min = 1, max = 64))]
    pub mend: Vec<Word>,
    /// How long each may take, 100ms to 1h. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span<{ 100 * MS }, H>>,
}

/// What a lab does to a fleet of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("self.do in ['Kill', 'Pause'] || !has(self.process)").message("process belongs to Kill and Pause"),
    validation = kube::core::Rule::new("(self.do in ['Slow', 'Delay']) == has(self.delay)").message("delay belongs to Slow and Delay, which need it: delay: 200ms"),
    validation = kube::core::Rule::new("(self.do == 'Flap') == has(self.every)").message("every belongs to Flap, which needs it: every: 2s")
)]
pub struct Lab {
    /// Kill, Pause: a process. Refuse, Hang, Status, Slow, Flap: workloads. Cut, Delay: links.
    pub r#do: LabDoes,
    /// For Kill and Pause: which process. Default: the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<LabProcess>,
    /// For Slow and Delay: how long, 1ms to 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span<MS, MIN>>,
    /// For Flap: how long workloads refuse, and then serve, 100ms to 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span<{ 100 * MS }, MIN>>,
}

/// What a lab does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the field's description says what each does")]
pub enum LabDoes {
    Kill,
    Pause,
    Refuse,
    Hang,
    Status,
    Slow,
    Flap,
    Cut,
    Delay,
}

/// A process of a lab's cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "named for what they are")]
pub enum LabProcess {
    Agent,
    Edge,
    EastWest,
}
