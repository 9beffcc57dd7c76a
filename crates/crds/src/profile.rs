//! `FailoverProfile`: what holds for the whole fleet.

use crate::{policy::PolicyFields, status::PolicyStatus};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What holds for the whole fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "FailoverProfile",
    plural = "failoverprofiles",
    shortname = "fpr",
    category = "tidegate",
    status = "PolicyStatus",
    doc = "What holds for the whole fleet: defaults that a FailoverPolicy may change, and overrides that it may not. One is in force, the oldest.",
    printcolumn = r#"{"name": "Accepted", "type": "string", "description": "Whether nothing stands in its way", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name": "Programmed", "type": "string", "description": "Whether it is in force", "jsonPath": ".status.conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "description": "Why it is not accepted", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].reason", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = kube::core::Rule::new("has(self.defaults) || has(self.overrides)").message("spec has neither defaults nor overrides"))]
pub struct FailoverProfileSpec {
    /// What policies may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<PolicyFields>,
    /// What policies may not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrides: Option<PolicyFields>,
}
