//! The resource types that are served, and a small map with one slot for each.
//!
//! The order of the variants is the order in which changes are pushed on one stream
//! (make before break). Nothing here knows the content of a resource.

use std::fmt;
use std::ops::{Index, IndexMut};

/// A type of xDS resource. `Ord` is the push order: clusters first, what filters are told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster` (CDS)
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment` (EDS)
    Endpoint,
    /// `envoy.config.listener.v3.Listener` (LDS)
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration` (RDS)
    Route,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret` (SDS)
    Secret,
    /// `envoy.service.runtime.v3.Runtime` (RTDS)
    Runtime,
    /// `envoy.config.core.v3.TypedExtensionConfig` (ECDS)
    Extension,
}

impl ResourceType {
    /// Every type, in push order.
    pub const ALL: [Self; 7] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::Secret,
        Self::Runtime,
        Self::Extension,
    ];

    /// The type URL that requests, responses and `Any` carry.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
            Self::Extension => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        }
    }

    /// The type with this URL; `None` for a type that this server does not serve.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// Listeners and clusters: an empty subscription means all of them, and a
    /// state-of-the-world response must be complete.
    pub(crate) fn is_top_level(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoint",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Secret => "secret",
            Self::Runtime => "runtime",
            Self::Extension => "extension",
        })
    }
}

/// One `T` for each resource type.
#[derive(Clone, Debug, Default)]
pub(crate) struct PerType<T>([T; 7]);

impl<T> PerType<T> {
    pub(crate) fn new(make: impl Fn(ResourceType) -> T) -> Self {
        Self(ResourceType::ALL.map(make))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ResourceType, &T)> {
        ResourceType::ALL.into_iter().zip(&self.0)
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (ResourceType, T)> {
        ResourceType::ALL.into_iter().zip(self.0)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ResourceType, &mut T)> {
        ResourceType::ALL.into_iter().zip(&mut self.0)
    }
}

impl<T> Index<ResourceType> for PerType<T> {
    type Output = T;
    fn index(&self, kind: ResourceType) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> IndexMut<ResourceType> for PerType<T> {
    fn index_mut(&mut self, kind: ResourceType) -> &mut T {
        &mut self.0[kind as usize]
    }
}
