//! `failover` and `residency`: which places serve whom.

use crate::text::{Name, Region, texts};
use kube::KubeSchema;
use schemars::JsonSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The tiers for some callers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverRule {
    /// The callers that the entry is for; the first entry that matches applies. Absent: everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Places>,
    /// The tiers in order; after the last one comes nothing.
    #[schemars(length(min = 1, max = 64))]
    pub to: Vec<Tier>,
}

/// Places by name, and by the labels of their cluster. If several fields are there, a place must match all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Places {
    /// Regions by name.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// Zones by name.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Name>,
    /// Clusters by name.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Name>,
    /// Clusters whose FleetCluster has all of these labels.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, LabelValue>>,
}

texts! {
    /// The value of a label.
    LabelValue: {"type": "string", "maxLength": 63},
}

/// A tier: places that serve together, before the next tier does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("!(self.type in ['Only', 'AnyExcept']) || (has(self.regions) && size(self.regions) > 0) || (has(self.zones) && size(self.zones) > 0) || (has(self.clusters) && size(self.clusters) > 0) || has(self.matchLabels)").message("a tier of type Only or AnyExcept needs places: name at least one of regions, zones, clusters or matchLabels"),
    validation = kube::core::Rule::new("self.type in ['Only', 'AnyExcept'] || !((has(self.regions) && size(self.regions) > 0) || (has(self.zones) && size(self.zones) > 0) || (has(self.clusters) && size(self.clusters) > 0) || has(self.matchLabels))").message("a tier of this type takes no places: remove regions, zones, clusters and matchLabels, or use type Only or AnyExcept"),
    validation = kube::core::Rule::new("!has(self.weights) || self.type == 'Only'").message("only a tier of type Only takes weights"),
    validation = kube::core::Rule::new("!has(self.weights) || ((has(self.regions) && size(self.regions) > 0 ? 1 : 0) + (has(self.zones) && size(self.zones) > 0 ? 1 : 0) + (has(self.clusters) && size(self.clusters) > 0 ? 1 : 0)) == 1").message("weights need exactly one of regions, zones and clusters beside them: a weight is for one member"),
    validation = kube::core::Rule::new("!has(self.weights) || size(self.weights) == 0 || self.weights.exists(member, self.weights[member] > 0)").message("the weights are all 0: give at least one member a weight above 0, or remove them"),
    validation = kube::core::Rule::new("!has(self.weights) || size(self.weights) <= (has(self.regions) ? size(self.regions) : 0) + (has(self.zones) ? size(self.zones) : 0) + (has(self.clusters) ? size(self.clusters) : 0)").message("weights name more members than the tier does")
)]
pub struct Tier {
    /// SameZone and SameRegion: as the caller. Only: the places named beside it. AnyExcept: all but those. Any: all. The nearest region comes first.
    pub r#type: TierType,
    /// Regions by name, for Only and AnyExcept.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// Zones by name, for Only and AnyExcept.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Name>,
    /// Clusters by name, for Only and AnyExcept.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Name>,
    /// Clusters whose FleetCluster has all of these labels, for Only and AnyExcept.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, LabelValue>>,
    /// For Only: what part of what reaches the tier each of its members is to have, 0 to 1000000; only the ratio counts, and a member of weight 0 stands by. Every member needs one.
    #[schemars(extend("maxProperties" = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<BTreeMap<String, Weight>>,
}

/// The types of tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TierType {
    /// The caller's zone.
    SameZone,
    /// The caller's region.
    SameRegion,
    /// The places that it names.
    Only,
    /// All but the places that it names.
    AnyExcept,
    /// All.
    Any,
}

/// A weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(pub u32);

impl JsonSchema for Weight {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Weight".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "format": "int64", "minimum": 0, "maximum": 1_000_000})
    }
}

/// The only places that may serve; if both fields are there, a place must be allowed by both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("has(self.regions) || has(self.matchLabels)").message("residency needs regions or matchLabels: leave residency out to allow all")
)]
pub struct Residency {
    /// The only regions.
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
    /// The only clusters: those whose FleetCluster has all of these labels.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, LabelValue>>,
}
