//! The manifests that install Tidegate in a Kubernetes cluster: pure functions from options to objects.
//!
//! The Helm chart in `deploy/helm` comes from the same functions: its templates are what they make of options that stand for
//! values ([`chart`]), so that both ways of installing say the same.
//!
//! Nothing here asks a cluster, and nothing has a random name: the same options always give the same text.

pub mod agent;
pub mod chart;
pub mod gateways;
pub mod hub;
mod parts;
mod rights;
pub mod values;
pub mod yaml;

use serde_json::Value;

/// What is wrong with the options of an installation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  hint: {hint}")]
pub struct Wrong {
    what: String,
    hint: String,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// The custom resource definitions, as they lie in `deploy/crds`.
pub const CRDS: [&str; 7] = [
    include_str!("../../../deploy/crds/failoverpolicies.yaml"),
    include_str!("../../../deploy/crds/failoverprofiles.yaml"),
    include_str!("../../../deploy/crds/fleetclusters.yaml"),
    include_str!("../../../deploy/crds/gatewaytemplates.yaml"),
    include_str!("../../../deploy/crds/trafficshifts.yaml"),
    include_str!("../../../deploy/crds/drills.yaml"),
    include_str!("../../../deploy/crds/drillschedules.yaml"),
];

/// Objects as one stream of documents.
#[must_use]
pub fn documents(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{}", yaml::document(object))).collect()
}

/// The definitions as one stream of documents.
#[must_use]
pub fn crds() -> String {
    CRDS.iter().map(|text| format!("---\n{text}")).collect()
}
