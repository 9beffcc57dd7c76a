//! The kinds that are read, one module each: from a tree of fields to what the object says, checked.
//!
//! What needs other objects to be decided (does that service exist?) is not checked here but in `lower`.

mod backend_tls;
mod class;
pub(crate) mod config_map;
mod drill;
mod drill_fault;
mod drill_guard;
mod drill_kubernetes;
mod drill_lab;
mod drill_schedule;
mod drill_target;
mod export;
mod failover;
mod fleet_cluster;
mod gateway;
mod grant;
mod health_check;
mod labels;
mod limits;
mod node;
mod places;
mod policy;
mod policy_fields;
mod policy_parts;
mod profile;
mod route;
pub(crate) mod secret;
mod service;
mod shift;
mod slice;
mod stream;
mod template;
mod weights;
mod workload;

pub(crate) use backend_tls::{AuthorityRef, BackendTlsSpec, PortRef, TrustSpec};
pub(crate) use class::ClassSpec;
pub(crate) use config_map::ConfigMapSpec;
pub(crate) use drill::DrillSpec;
pub(crate) use drill_schedule::ScheduleSpec;
pub(crate) use export::NamespaceSpec;
pub(crate) use failover::{RawRule, RawTier};
pub(crate) use fleet_cluster::ClusterSpec;
pub(crate) use gateway::{GatewaySpec, SecretRef, TemplateRef, is_for_fleet, role_of_class};
pub(crate) use grant::{GrantSpec, GrantTo};
pub(crate) use limits::LimitFields;
pub(crate) use node::NodeSpec;
pub(crate) use places::{Labels, Mention, Selector};
pub(crate) use policy::{PolicySpec, Target};
pub(crate) use policy_fields::{LabelledRegions, PolicyFields};
pub(crate) use profile::ProfileSpec;
pub(crate) use route::{BackendRef, BackendSpec, ParentRef, RouteSpec};
pub(crate) use secret::SecretSpec;
pub(crate) use service::ServiceSpec;
pub(crate) use shift::{AwayFrom, ShiftSpec};
pub(crate) use slice::{SliceSpec, Unplaced};
pub(crate) use stream::StreamSpec;
pub(crate) use template::TemplateSpec;
pub(crate) use workload::WorkloadSpec;

use crate::{
    config::ListenerProtocol,
    fields::{Field, Fields, Issues},
    nearest,
    object::Meta,
    routing::RouteKind,
};

/// The most entries of lists that are compared with each other or walked through for each decision: Gateway API's
/// limit for the listeners of a gateway.
const MAX_ENTRIES: usize = 64;

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    FleetCluster,
    FailoverProfile,
    FailoverPolicy,
    Service,
    EndpointSlice,
    Gateway,
    HttpRoute,
    GrpcRoute,
    TcpRoute,
    TlsRoute,
    ReferenceGrant,
    BackendTlsPolicy,
    Secret,
    ConfigMap,
    GatewayClass,
    GatewayTemplate,
    TrafficShift,
    Drill,
    DrillSchedule,
    Node,
    Deployment,
    StatefulSet,
    ReplicaSet,
    Namespace,
    ServiceExport,
    ServiceImport,
}

/// What an object says. What is rare and large is boxed: a fleet has many slices and few policies.
#[derive(Debug, PartialEq)]
pub(crate) enum Spec {
    Cluster(Box<ClusterSpec>),
    Profile(Box<ProfileSpec>),
    Policy(Box<PolicySpec>),
    Service(ServiceSpec),
    Slice(SliceSpec),
    Gateway(Box<GatewaySpec>),
    Route(Box<RouteSpec>),
    Stream(Box<StreamSpec>),
    Grant(Box<GrantSpec>),
    BackendTls(Box<BackendTlsSpec>),
    Secret(Box<SecretSpec>),
    ConfigMap(Box<ConfigMapSpec>),
    Class(Box<ClassSpec>),
    Template(Box<TemplateSpec>),
    Shift(Box<ShiftSpec>),
    Drill(Box<DrillSpec>),
    Schedule(Box<ScheduleSpec>),
    Node(NodeSpec),
    Workload(WorkloadSpec),
    Namespace(NamespaceSpec),
    Export,
}

impl Kind {
    const ALL: [Self; 26] = [
        Self::FleetCluster,
        Self::FailoverProfile,
        Self::FailoverPolicy,
        Self::Service,
        Self::EndpointSlice,
        Self::Gateway,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TcpRoute,
        Self::TlsRoute,
        Self::ReferenceGrant,
        Self::BackendTlsPolicy,
        Self::Secret,
        Self::ConfigMap,
        Self::GatewayClass,
        Self::GatewayTemplate,
        Self::TrafficShift,
        Self::Drill,
        Self::DrillSchedule,
        Self::Node,
        Self::Deployment,
        Self::StatefulSet,
        Self::ReplicaSet,
        Self::Namespace,
        Self::ServiceExport,
        Self::ServiceImport,
    ];

    /// As `kind:` names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FleetCluster => "FleetCluster",
            Self::FailoverProfile => "FailoverProfile",
            Self::FailoverPolicy => "FailoverPolicy",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Gateway => "Gateway",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::TcpRoute => "TCPRoute",
            Self::TlsRoute => "TLSRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::BackendTlsPolicy => "BackendTLSPolicy",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::GatewayClass => "GatewayClass",
            Self::GatewayTemplate => "GatewayTemplate",
            Self::TrafficShift => "TrafficShift",
            Self::Drill => "Drill",
            Self::DrillSchedule => "DrillSchedule",
            Self::Node => "Node",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::Namespace => "Namespace",
            Self::ServiceExport => "ServiceExport",
            Self::ServiceImport => "ServiceImport",
        }
    }

    const fn group_and_version(self) -> (&'static str, &'static str) {
        match self {
            Self::FleetCluster
            | Self::FailoverProfile
            | Self::FailoverPolicy
            | Self::GatewayTemplate
            | Self::TrafficShift
            | Self::Drill
            | Self::DrillSchedule => (OURS, "v1alpha1"),
            Self::Service | Self::Node | Self::Secret | Self::ConfigMap | Self::Namespace => ("", "v1"),
            Self::ServiceExport | Self::ServiceImport => ("multicluster.x-k8s.io", "v1alpha1"),
            Self::Deployment | Self::StatefulSet | Self::ReplicaSet => ("apps", "v1"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1"),
            Self::GatewayClass
            | Self::Gateway
            | Self::HttpRoute
            | Self::GrpcRoute
            | Self::BackendTlsPolicy => ("gateway.networking.k8s.io", "v1"),
            Self::TcpRoute | Self::TlsRoute => ("gateway.networking.k8s.io", "v1alpha2"),
            Self::ReferenceGrant => ("gateway.networking.k8s.io", "v1beta1"),
        }
    }

    /// Whether it is read from this version too: what it says is the same.
    fn is_also(self, group: &str, version: &str) -> bool {
        let also = match self {
            Self::TcpRoute | Self::TlsRoute => ["v1alpha3", "v1"].contains(&version),
            Self::ReferenceGrant => version == "v1",
            Self::BackendTlsPolicy => version == "v1alpha3",
            Self::ServiceExport | Self::ServiceImport => version == "v1beta1",
            _ => false,
        };
        also && group == self.group_and_version().0
    }

    fn api_version(self) -> String {
        match self.group_and_version() {
            ("", version) => version.to_owned(),
            (group, version) => format!("{group}/{version}"),
        }
    }

    /// Whether it is Tidegate's own, and so every unknown field is a mistake.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::FleetCluster
                | Self::FailoverProfile
                | Self::FailoverPolicy
                | Self::GatewayTemplate
                | Self::TrafficShift
                | Self::Drill
                | Self::DrillSchedule
        )
    }

    pub(crate) const fn is_namespaced(self) -> bool {
        !matches!(
            self,
            Self::FleetCluster | Self::FailoverProfile | Self::GatewayClass | Self::Node | Self::Namespace
        )
    }

    /// Reads the object's own fields.
    pub(crate) fn read(self, fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<Spec> {
        match self {
            Self::FleetCluster => fleet_cluster::read(fields, meta, issues).map(Box::new).map(Spec::Cluster),
            Self::FailoverProfile => profile::read(fields, issues).map(Box::new).map(Spec::Profile),
            Self::FailoverPolicy => policy::read(fields, meta, issues).map(Box::new).map(Spec::Policy),
            Self::Service => service::read(fields, meta, issues).map(Spec::Service),
            Self::EndpointSlice => slice::read(fields, meta, issues).map(Spec::Slice),
            Self::Gateway => gateway::read(fields, meta, issues).map(Box::new).map(Spec::Gateway),
            Self::HttpRoute => {
                route::read(RouteKind::Http, fields, meta, issues).map(Box::new).map(Spec::Route)
            }
            Self::GrpcRoute => {
                route::read(RouteKind::Grpc, fields, meta, issues).map(Box::new).map(Spec::Route)
            }
            Self::TcpRoute => {
                stream::read(ListenerProtocol::Tcp, fields, meta, issues).map(Box::new).map(Spec::Stream)
            }
            Self::TlsRoute => {
                stream::read(ListenerProtocol::Tls, fields, meta, issues).map(Box::new).map(Spec::Stream)
            }
            Self::ReferenceGrant => grant::read(fields, issues).map(Box::new).map(Spec::Grant),
            Self::GatewayClass => class::read(fields, meta, issues).map(Box::new).map(Spec::Class),
            Self::GatewayTemplate => template::read(fields, issues).map(Box::new).map(Spec::Template),
            Self::BackendTlsPolicy => backend_tls::read(fields, issues).map(Box::new).map(Spec::BackendTls),
            Self::Secret => secret::read(fields, issues).map(Box::new).map(Spec::Secret),
            Self::ConfigMap => config_map::read(fields, issues).map(Box::new).map(Spec::ConfigMap),
            Self::TrafficShift => shift::read(fields, meta, issues).map(Box::new).map(Spec::Shift),
            Self::Drill => drill::read(fields, meta, issues).map(Box::new).map(Spec::Drill),
            Self::DrillSchedule => {
                drill_schedule::read(fields, meta, issues).map(Box::new).map(Spec::Schedule)
            }
            Self::Node => node::read(fields, meta, issues).map(Spec::Node),
            Self::Namespace => Some(Spec::Namespace(export::read_namespace(meta))),
            Self::ServiceExport => Some(Spec::Export),
            // It says of a service what a Service does, but where its endpoints are.
            Self::ServiceImport => service::read(fields, meta, issues).map(Spec::Service),
            Self::Deployment | Self::StatefulSet | Self::ReplicaSet => {
                workload::read(fields, meta, issues).map(Spec::Workload)
            }
        }
    }
}

impl Spec {
    /// Whether what could be read of it is of use when other parts of it are wrong. A policy is one decision, and half
    /// of one is another decision; a route is a list of independent rules.
    pub(crate) const fn stands_in_part(&self) -> bool {
        matches!(self, Self::Route(_))
    }
}

/// What the object says, if it is of that kind.
macro_rules! accessors {
    ($($variant:ident $name:ident $spec:ident),* $(,)?) => {
        impl Spec {
            $(pub(crate) fn $name(&self) -> Option<&$spec> {
                if let Self::$variant(spec) = self { Some(spec) } else { None }
            })*
        }
    };
}

accessors! {
    Cluster cluster ClusterSpec,
    Profile profile ProfileSpec,
    Policy policy PolicySpec,
    Service service ServiceSpec,
    Slice slice SliceSpec,
    Gateway gateway GatewaySpec,
    Route route RouteSpec,
    Stream stream StreamSpec,
    Grant grant GrantSpec,
    BackendTls backend_tls BackendTlsSpec,
    Secret secret SecretSpec,
    ConfigMap config_map ConfigMapSpec,
    Class class ClassSpec,
    Template template TemplateSpec,
    Shift shift ShiftSpec,
    Drill drill DrillSpec,
    Schedule schedule ScheduleSpec,
    Node node NodeSpec,
    Workload workload WorkloadSpec,
    Namespace namespace NamespaceSpec,
}

const OURS: &str = "tidegate.dev";

/// Kinds of the groups we read that are someone else's business. Only those that a typo of one of ours could be
/// taken for have to be here, and the others for good measure.
const NEIGHBOURS: [&str; 6] =
    ["Pod", "DaemonSet", "ControllerRevision", "ServiceAccount", "Endpoints", "UDPRoute"];

/// What `apiVersion` and `kind` say together.
pub(crate) enum Found {
    /// One of ours.
    Kind(Kind),
    /// Someone else's.
    Skip,
    /// A mistake, which was told.
    Problem,
}

/// Finds the kind of an object.
pub(crate) fn find(api_version: &Field<String>, kind: &Field<String>, issues: &mut Issues) -> Found {
    let (group, version) = api_version.value.split_once('/').unwrap_or(("", &api_version.value));
    let by_name = Kind::ALL.into_iter().find(|known| known.name() == kind.value);
    if let Some(known) = by_name {
        let (right_group, right_version) = known.group_and_version();
        if (group, version) == (right_group, right_version) || known.is_also(group, version) {
            return Found::Kind(known);
        }
        let message = format!("{} is not read from apiVersion {}", kind.value, api_version.value);
        let hint = format!("write apiVersion: {}", known.api_version());
        if group == right_group || group.contains("tidegate") {
            issues.error(api_version.at, message, hint);
            return Found::Problem;
        }
        // These are kinds of other projects too (Knative, Istio, OpenKruise); the other names are not.
        let common = [
            Kind::Service,
            Kind::Secret,
            Kind::ConfigMap,
            Kind::Gateway,
            Kind::Node,
            Kind::Namespace,
            Kind::Deployment,
            Kind::StatefulSet,
            Kind::ReplicaSet,
        ];
        if !common.contains(&known) {
            issues.error(api_version.at, message, hint);
            return Found::Problem;
        }
        return Found::Skip;
    }
    let ours = || Kind::ALL.into_iter().filter(|known| known.is_ours()).map(Kind::name);
    if group == OURS || nearest::nearest(group, [OURS]).is_some() {
        let names: Vec<&str> = ours().collect();
        let message = format!("{} has no kind {:?}", api_version.value, kind.value);
        issues.error(kind.at, message, nearest::hint(&kind.value, "kinds", names));
        return Found::Problem;
    }
    let siblings = Kind::ALL.into_iter().filter(|known| known.group_and_version().0 == group).map(Kind::name);
    match nearest::nearest(&kind.value, siblings) {
        Some(near) if !NEIGHBOURS.contains(&kind.value.as_str()) => {
            let message = format!("{} has no kind {:?}", api_version.value, kind.value);
            issues.error(kind.at, message, format!("did you mean \"{near}\"?"));
            Found::Problem
        }
        _ => Found::Skip,
    }
}
