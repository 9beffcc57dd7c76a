//! `FleetCluster`: a cluster of the fleet and how it is reached.

use crate::{
    status::ClusterStatus,
    text::{Address, Region, S, Span, US},
};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A cluster of the fleet and how it is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "FleetCluster",
    plural = "fleetclusters",
    shortname = "flc",
    category = "tidegate",
    status = "ClusterStatus",
    doc = "A cluster of the fleet and how it is reached. Policies select clusters by its labels.",
    printcolumn = r#"{"name": "Region", "type": "string", "description": "Where it lies", "jsonPath": ".spec.region"}"#,
    printcolumn = r#"{"name": "Connected", "type": "string", "description": "Whether its agents are heard", "jsonPath": ".status.conditions[?(@.type==\"Connected\")].status"}"#,
    printcolumn = r#"{"name": "Agents", "type": "integer", "description": "How many of them", "jsonPath": ".status.agents"}"#,
    printcolumn = r#"{"name": "Heard", "type": "date", "description": "When something was last heard of it", "jsonPath": ".status.lastHeardAt"}"#,
    printcolumn = r#"{"name": "Gateway", "type": "string", "description": "The first of its east-west gateways", "jsonPath": ".spec.eastWestGateways[0].address", "priority": 1}"#,
    printcolumn = r#"{"name": "Version", "type": "string", "description": "The version of its agents", "jsonPath": ".status.version", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = kube::core::Rule::new("!has(self.proximity) || self.proximity.all(other, other.region != self.region)").message("proximity lists the cluster's own region: list only other regions; the own one is always nearest")
)]
pub struct FleetClusterSpec {
    /// The region that the cluster lies in, as its nodes' label topology.kubernetes.io/region names it.
    pub region: Region,
    /// Where other clusters reach this one. Without any it is out of reach for them.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["address", "port"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub east_west_gateways: Vec<EastWestGateway>,
    /// How far other regions are, for Any and AnyExcept.
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["region"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proximity: Vec<Proximity>,
    /// In which wave of a rollout the hub hands it new policy, 0 to 99. Default: 0.
    #[schemars(range(min = 0, max = 99))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_wave: Option<u32>,
}

/// Where an east-west gateway is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EastWestGateway {
    /// The IP address or the host name at which other clusters reach this gateway.
    pub address: Address,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default = "east_west_port")]
    pub port: u16,
}

/// The one that Istio made customary.
const fn east_west_port() -> u16 {
    15_443
}

/// How far another region is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proximity {
    /// The other region.
    pub region: Region,
    /// The round-trip time to it, 1us to 10s, for example 65ms.
    pub rtt: Span<US, { 10 * S }>,
}
