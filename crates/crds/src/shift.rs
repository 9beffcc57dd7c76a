//! `TrafficShift`: an operator moves traffic away from a place, for a time.

use crate::{
    status::ShiftStatus,
    text::{Comment, H, Instant, Name, Namespaced, Region, S, Span},
};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Traffic is moved away from a place, for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "TrafficShift",
    plural = "trafficshifts",
    shortname = "tsh",
    category = "tidegate",
    namespaced,
    status = "ShiftStatus",
    doc = "An operator moves traffic away from a zone, a cluster or a region, for a time. Every shift ends by itself.",
    printcolumn = r#"{"name": "Zone", "type": "string", "description": "The zone that it empties", "jsonPath": ".spec.awayFrom.zone"}"#,
    printcolumn = r#"{"name": "Cluster", "type": "string", "description": "The cluster that it empties", "jsonPath": ".spec.awayFrom.cluster"}"#,
    printcolumn = r#"{"name": "Region", "type": "string", "description": "The region that it empties", "jsonPath": ".spec.awayFrom.region"}"#,
    printcolumn = r#"{"name": "Percent", "type": "integer", "description": "How much of the traffic", "jsonPath": ".spec.percent"}"#,
    printcolumn = r#"{"name": "Programmed", "type": "string", "description": "Whether traffic moved", "jsonPath": ".status.conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name": "Phase", "type": "string", "description": "How far it is", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Ends", "type": "string", "description": "When it ends by itself", "jsonPath": ".status.endsAt"}"#,
    printcolumn = r#"{"name": "Comment", "type": "string", "description": "Why", "jsonPath": ".spec.comment", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = kube::core::Rule::new("has(self.expiresAt) != has(self.for)").message("every shift ends: say either for (30m) or expiresAt (a time), and not both")
)]
pub struct TrafficShiftSpec {
    /// The place that is emptied.
    pub away_from: AwayFrom,
    /// How much of the traffic leaves, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default = "all")]
    pub percent: u32,
    /// When it ends, as RFC 3339 writes times. Either this or for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Instant>,
    /// How long it lasts from its start, 1s to 72h. Either this or expiresAt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#for: Option<Span<S, { 72 * H }>>,
    /// Why, for whoever finds the traffic gone.
    pub comment: Comment,
    /// Move even what finds no other healthy place.
    #[serde(default)]
    pub force: bool,
}

const fn all() -> u32 {
    100
}

/// The place that is emptied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("has(self.zone) || has(self.cluster) || has(self.region)").message("awayFrom names no place: add zone, cluster or region"),
    validation = kube::core::Rule::new("!has(self.cluster) || !(has(self.zone) || has(self.region))").message("awayFrom names a cluster and another place: keep one of them; write a TrafficShift for each place")
)]
pub struct AwayFrom {
    /// A zone: of the agent's own region unless region is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Name>,
    /// A region, or the region of the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// A cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Name>,
    /// Only this service, as NAMESPACE/NAME. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Namespaced>,
}
