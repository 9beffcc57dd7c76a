//! The same policy for data planes that are not Tidegate's: objects of Istio, of Envoy Gateway, or of the Gateway API alone.
//!
//! Pure: what the manifests of a fleet say goes in, objects and a [`Report`] come out. Each field of policy that somebody wrote
//! for a service is accounted for there: said by a field of the target, approximated, or lost; what no part of this crate
//! accounts for is lost, too, so nothing can be passed over in silence. docs/render.md has the table.
//!
//! What it does not do: decide anything at run time. Who serves in which order is asked of the planner once, with everything
//! healthy, and written down; the targets then go by it as they can.

mod backends;
mod envoy_gateway;
mod gateway_api;
mod istio;
mod ledger;
mod never;
mod order;
mod routes;
mod subject;
mod text;

pub use ledger::{Account, Fate, Report};

use ledger::Ledger;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, str::FromStr};
use subject::Subject;
use tidegate_api::{Config, fleet_state};
use tidegate_engine::{Origin, plans};
use tidegate_model::{ClusterName, ServiceName};

/// A data plane that is rendered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Istio: `DestinationRule`, `ServiceEntry`, `VirtualService`.
    Istio,
    /// Envoy Gateway: `BackendTrafficPolicy` and `Backend`, with the routes of the Gateway API.
    EnvoyGateway,
    /// The Gateway API alone: `HTTPRoute`, `GRPCRoute`, and core `Service`s and `EndpointSlice`s for other clusters.
    GatewayApi,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Istio, Self::EnvoyGateway, Self::GatewayApi];

    /// As the command line names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::EnvoyGateway => "envoy-gateway",
            Self::GatewayApi => "gateway-api",
        }
    }

    /// As people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Istio => "Istio",
            Self::EnvoyGateway => "Envoy Gateway",
            Self::GatewayApi => "the Gateway API",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|target| target.name() == text);
        found.ok_or_else(|| {
            format!("there is no target {text:?}; there are istio, envoy-gateway and gateway-api")
        })
    }
}

/// What is rendered: one cluster's part of a fleet.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The cluster that the objects are for.
    pub cluster: &'a ClusterName,
    /// What every cluster of the fleet has in force.
    pub fleet: &'a BTreeMap<ClusterName, Config>,
    /// The fields of policy that somebody wrote, by service of this cluster (`Loader::written_for`).
    pub written: &'a BTreeMap<ServiceName, Vec<(&'static str, Origin)>>,
    /// This cluster's objects as they are written: ports of services and routes are taken from them.
    pub objects: &'a [Value],
}

/// The outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The objects, by kind, namespace and name.
    pub objects: Vec<Value>,
    /// What became of each field of policy.
    pub report: Report,
}

impl Rendered {
    /// The objects as YAML, a document each.
    #[must_use]
    pub fn yaml(&self) -> String {
        text::documents(&self.objects)
    }
}

/// Renders one cluster's part of a fleet. The same input gives the same output, to the letter.
#[must_use]
pub fn render(target: Target, input: &Input<'_>) -> Rendered {
    let mut ledger = Ledger::new(target);
    let mut objects = Vec::new();
    if let Some(config) = input.fleet.get(input.cluster) {
        let plans = plans(&fleet_state(input.fleet));
        let empty = Vec::new();
        let subjects: Vec<Subject<'_>> = config
            .services
            .iter()
            .map(|(name, service)| {
                let written = input.written.get(name).unwrap_or(&empty);
                Subject::new(input, config, (name, service), plans.get(name), written)
            })
            .collect();
        objects = match target {
            Target::Istio => istio::render(&subjects, &mut ledger),
            Target::EnvoyGateway => envoy_gateway::render(input, &subjects, &mut ledger),
            Target::GatewayApi => gateway_api::render(input, &subjects, &mut ledger),
        };
        ledger.around(target, config);
    }
    objects.sort_by_cached_key(text::key);
    Rendered { objects, report: ledger.close() }
}
