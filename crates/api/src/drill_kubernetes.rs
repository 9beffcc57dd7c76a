//! What is done to a part of a Kubernetes cluster for a drill, by the user's own `kubectl`.

use std::{collections::BTreeMap, time::Duration};

/// A fault that really takes something away: from the command line only, with `--allow-disruption`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesFault {
    /// What is done.
    pub kind: KubernetesFaultKind,
    /// Where.
    pub namespace: String,
    /// The context of the kubeconfig; the current one without.
    pub context: Option<String>,
    /// How long each command may take.
    pub timeout: Duration,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesFaultKind {
    /// A workload (`deployment/web`) gets no replicas, and when it is over as many as it had.
    ScaleToZero(String),
    /// No packets reach or leave the pods that have all these labels: a NetworkPolicy, until it is over.
    Isolate(BTreeMap<String, String>),
}
