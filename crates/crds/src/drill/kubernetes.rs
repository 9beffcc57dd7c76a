//! What a drill does to a part of a Kubernetes cluster.

use crate::text::{MIN, ObjectName, S, Span, texts};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// What is done to a part of a Kubernetes cluster by the user's own kubectl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("(self.do == 'ScaleToZero') == has(self.workload)").message("workload is what ScaleToZero takes the replicas of: workload: deployment/web"),
    validation = kube::core::Rule::new("(self.do == 'Isolate') == has(self.podLabels)").message("podLabels are the labels of the pods that Isolate cuts off: podLabels: {app: web}")
)]
pub struct Kubernetes {
    /// ScaleToZero: a workload loses its replicas. Isolate: pods are cut off by a NetworkPolicy.
    pub r#do: KubernetesDoes,
    /// The namespace of the workload or the pods.
    pub namespace: ObjectName,
    /// The context of the kubeconfig. Default: the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ClusterWord>,
    /// How long one kubectl may take, 1s to 10m. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span<S, { 10 * MIN }>>,
    /// For ScaleToZero: what loses its replicas, as KIND/NAME.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// For Isolate: pods that have all of these labels.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_labels: Option<BTreeMap<String, ClusterWord>>,
}

/// What is done to a part of a Kubernetes cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the field's description says what each does")]
pub enum KubernetesDoes {
    ScaleToZero,
    Isolate,
}

texts! {
    /// A word that kubectl does not take for an option.
    ClusterWord: {"type": "string", "minLength": 1, "maxLength": 253, "pattern": r"^[^-\p{Z}\p{Cc}][^\p{Z}\p{Cc}]*$"},
    /// `KIND/NAME`.
    Workload: {"type": "string", "maxLength": 253, "pattern": "^[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*$"},
}
