//! Which kinds are read of a Kubernetes API, from which version, and what of each object is kept. Nothing is asked here.

use super::keep::Keep;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use std::borrow::Cow;

/// A kind that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    /// As `kind:` names it.
    pub(crate) kind: &'static str,
    /// As addresses name it.
    pub(crate) plural: &'static str,
    /// Empty for the core group.
    pub(crate) group: &'static str,
    /// The versions that it is read from, the best first.
    pub(crate) versions: &'static [&'static str],
    /// What selects the objects that are asked for: a query of the form `fieldSelector=...`.
    pub(crate) selector: Option<&'static str>,
    /// What is kept of an object beside what all have.
    pub(crate) keep: Keep,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Which of the kinds somebody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// All: an agent.
    #[default]
    Cluster,
    /// Those of which there may be objects for the whole fleet: a hub. No secrets, and nothing that only its cluster knows.
    Fleet,
}

impl Kinds {
    /// Whether a kind is one of them.
    pub(crate) fn has(self, kind: &Watched) -> bool {
        self == Self::Cluster || kind.group == OURS || ["GatewayClass", "Gateway"].contains(&kind.kind)
    }

    /// Who reads them, for people.
    pub(crate) const fn reader(self) -> &'static str {
        match self {
            Self::Cluster => "agent",
            Self::Fleet => "hub",
        }
    }
}

/// The label of a namespace of which every service is fleet-wide, with the value `true`.
pub(crate) const EXPORT: &str = "tidegate.dev/export";

const SPEC: Keep = Keep::Fields(&[("metadata", Keep::Subject(&[])), ("spec", Keep::All)]);
/// Policies select clusters by labels.
const LABELLED: Keep = Keep::Fields(&[("metadata", Keep::Subject(&["*"])), ("spec", Keep::All)]);

const OWNED: Keep = Keep::Items(&Keep::Only(&["controller"]));

const WORKLOAD: Keep = Keep::Fields(&[
    ("metadata", Keep::Fields(&[("name", Keep::All), ("namespace", Keep::All), ("ownerReferences", OWNED)])),
    (
        "spec",
        Keep::Fields(&[
            ("replicas", Keep::All),
            ("template", Keep::Fields(&[("metadata", Keep::Fields(&[("labels", Keep::All)]))])),
        ]),
    ),
]);

const SLICE: Keep = Keep::Fields(&[
    ("metadata", meta(&["kubernetes.io/service-name"])),
    ("addressType", Keep::All),
    ("ports", Keep::Items(&Keep::Only(&["name", "protocol", "port"]))),
    (
        "endpoints",
        Keep::Items(&Keep::Fields(&[
            ("addresses", Keep::All),
            ("conditions", Keep::Only(&["ready", "serving", "terminating"])),
            ("zone", Keep::All),
            ("nodeName", Keep::All),
        ])),
    ),
]);

const NODE: Keep = Keep::Fields(&[
    ("metadata", meta(&["topology.kubernetes.io/region", "topology.kubernetes.io/zone"])),
    ("status", Keep::Fields(&[("conditions", Keep::Items(&Keep::Only(&["type", "status"])))])),
]);

const SERVICE: Keep = Keep::Fields(&[
    ("metadata", meta(&[])),
    ("spec", Keep::Only(&["type", "selector", "ports", "clusterIP"])),
]);

const SECRET: Keep = Keep::Fields(&[
    ("metadata", meta(&[])),
    ("type", Keep::All),
    ("data", Keep::Only(&["tls.crt", "tls.key", "ca.crt"])),
]);

const AUTHORITIES: Keep = Keep::Fields(&[("metadata", meta(&[])), ("data", Keep::Only(&["ca.crt"]))]);

/// What is kept of `metadata` where these labels matter.
const fn meta(labels: &'static [&'static str]) -> Keep {
    Keep::Metadata(labels)
}

const CORE: &str = "";
const APPS: &str = "apps";
pub(crate) const GATEWAYS: &str = "gateway.networking.k8s.io";
const CLUSTERSET: &str = "multicluster.x-k8s.io";
pub(crate) const OURS: &str = "tidegate.dev";

const fn row(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    keep: Keep,
) -> Watched {
    Watched { kind, plural, group, versions, selector: None, keep }
}

/// The kind of which only those are read that others name; they are not watched (`named`).
pub(crate) static NAMED: Watched = row(CORE, &["v1"], "ConfigMap", "configmaps", AUTHORITIES);

/// All that are watched. What the loader has no meaning for is not.
pub(crate) static ALL: [Watched; 25] = [
    row(CORE, &["v1"], "Service", "services", SERVICE),
    Watched {
        selector: Some("labelSelector=kubernetes.io%2Fservice-name"),
        ..row("discovery.k8s.io", &["v1"], "EndpointSlice", "endpointslices", SLICE)
    },
    row(CORE, &["v1"], "Node", "nodes", NODE),
    row(CORE, &["v1"], "Namespace", "namespaces", Keep::Fields(&[("metadata", meta(&[EXPORT]))])),
    Watched {
        selector: Some("fieldSelector=type%3Dkubernetes.io%2Ftls"),
        ..row(CORE, &["v1"], "Secret", "secrets", SECRET)
    },
    row(APPS, &["v1"], "Deployment", "deployments", WORKLOAD),
    row(APPS, &["v1"], "StatefulSet", "statefulsets", WORKLOAD),
    row(APPS, &["v1"], "ReplicaSet", "replicasets", WORKLOAD),
    row(GATEWAYS, &["v1"], "GatewayClass", "gatewayclasses", SPEC),
    row(GATEWAYS, &["v1"], "Gateway", "gateways", SPEC),
    row(GATEWAYS, &["v1"], "HTTPRoute", "httproutes", SPEC),
    row(GATEWAYS, &["v1"], "GRPCRoute", "grpcroutes", SPEC),
    row(GATEWAYS, &["v1", "v1alpha3", "v1alpha2"], "TCPRoute", "tcproutes", SPEC),
    row(GATEWAYS, &["v1", "v1alpha3", "v1alpha2"], "TLSRoute", "tlsroutes", SPEC),
    row(GATEWAYS, &["v1", "v1beta1"], "ReferenceGrant", "referencegrants", SPEC),
    row(GATEWAYS, &["v1", "v1alpha3"], "BackendTLSPolicy", "backendtlspolicies", SPEC),
    row(CLUSTERSET, &["v1beta1", "v1alpha1"], "ServiceExport", "serviceexports", SPEC),
    row(CLUSTERSET, &["v1beta1", "v1alpha1"], "ServiceImport", "serviceimports", SPEC),
    row(OURS, &["v1alpha1"], "FleetCluster", "fleetclusters", LABELLED),
    row(OURS, &["v1alpha1"], "FailoverProfile", "failoverprofiles", SPEC),
    row(OURS, &["v1alpha1"], "FailoverPolicy", "failoverpolicies", SPEC),
    row(OURS, &["v1alpha1"], "GatewayTemplate", "gatewaytemplates", SPEC),
    row(OURS, &["v1alpha1"], "TrafficShift", "trafficshifts", SPEC),
    row(OURS, &["v1alpha1"], "Drill", "drills", SPEC),
    row(OURS, &["v1alpha1"], "DrillSchedule", "drillschedules", SPEC),
];

impl Watched {
    /// `group/version`, as `apiVersion:` names it.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The address of all objects in a version.
    pub(crate) fn address(&self, version: &str) -> String {
        format!("{}/{}", group_address(self.group, version), self.plural)
    }

    /// The address of those of a namespace.
    pub(crate) fn address_in(&self, namespace: &str, version: &str) -> String {
        format!("{}/namespaces/{namespace}/{}", group_address(self.group, version), self.plural)
    }

    /// The name of the resource as roles name it.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The name of one object as a source of the loader: `kubernetes: EndpointSlice shop/cart-x7f`.
    pub(crate) fn path(&self, namespace: Option<&str>, name: &str) -> String {
        match namespace.filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => format!("kubernetes: {} {namespace}/{name}", self.kind),
            None => format!("kubernetes: {} {name}", self.kind),
        }
    }
}

/// The address at which a version of a group tells what it serves.
pub(crate) fn group_address(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// The protocol and the number of a port, if it says them.
#[derive(Deserialize)]
struct Port<'a> {
    #[serde(borrow)]
    protocol: Option<Cow<'a, str>>,
    port: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Ported<'a> {
    #[serde(borrow)]
    ports: Option<Vec<Port<'a>>>,
}

/// Makes of a kept object, as JSON, what the loader can read; `None` if it has no use for it: what every cluster is full of must
/// not be a problem.
///
/// - A `Service` keeps its TCP ports; one without any, or that is only another name for a host, is left out.
/// - So is a slice without a TCP port.
/// - So is a `Secret` that is no certificate, where the server cannot select.
/// - A `ReplicaSet` of a `Deployment` wants nothing by itself.
///
/// # Errors
/// If it is no JSON.
pub(crate) fn of_use(kind: &Watched, text: Box<str>) -> Result<Option<Box<str>>, serde_json::Error> {
    match kind.kind {
        // Most of what changes: only its ports are looked at. Odd ones are the loader's to complain about.
        "EndpointSlice" => {
            let is_tcp =
                |it: &Port<'_>| it.protocol.as_deref().is_none_or(|it| it == "TCP") && it.port.is_some();
            let read: Result<Ported<'_>, _> = serde_json::from_str(&text);
            let useful = read.is_ok_and(|it| it.ports.is_some_and(|ports| ports.iter().any(is_tcp)));
            Ok(useful.then_some(text))
        }
        "Service" | "Secret" | "ReplicaSet" => {
            let mut object = serde_json::from_str(&text)?;
            Ok(is_wanted(kind, &mut object).then(|| object.to_string().into_boxed_str()))
        }
        _ => Ok(Some(text)),
    }
}

fn is_wanted(kind: &Watched, object: &mut Value) -> bool {
    let tcp = |port: &Value| port.get("protocol").and_then(Value::as_str).is_none_or(|it| it == "TCP");
    match kind.kind {
        "Service" => {
            let Some(spec) = object.get_mut("spec") else { return false };
            let is_alias = spec.get("type").and_then(Value::as_str) == Some("ExternalName");
            let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) else { return false };
            ports.retain(tcp);
            !is_alias && !ports.is_empty()
        }
        "Secret" => object.get("type").and_then(Value::as_str) == Some("kubernetes.io/tls"),
        _ => {
            let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
            let controls = |owner: &Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
            !owners.is_some_and(|owners| owners.iter().any(controls))
        }
    }
}
