//! What this crate hands out: a named, encoded resource; and how the names are made.

use crate::proto::AnyType;
use bytes::Bytes;
use envoy_types::pb::envoy::config::{
    cluster::v3::Cluster, core::v3::TypedExtensionConfig, endpoint::v3::ClusterLoadAssignment,
    listener::v3::Listener, route::v3::RouteConfiguration,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use tidegate_model::{GatewayName, ServiceName, Zone};
use tidegate_xds::ResourceType;

/// A resource, encoded once and shared by every stream that sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its type.
    pub kind: ResourceType,
    /// Its name, unique in its type.
    pub name: String,
    /// The message itself, encoded: the `value` of the `Any` that goes over the wire.
    pub body: Bytes,
}

impl std::fmt::Debug for Resource {
    /// Without the message: a secret must not show.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} of {} bytes", self.kind, self.name, self.body.len())
    }
}

impl Resource {
    pub(crate) fn cluster(message: &Cluster) -> Self {
        Self::new(ResourceType::Cluster, message.name.clone(), message)
    }

    pub(crate) fn endpoints(message: &ClusterLoadAssignment) -> Self {
        Self::new(ResourceType::Endpoint, message.cluster_name.clone(), message)
    }

    pub(crate) fn listener(message: &Listener) -> Self {
        Self::new(ResourceType::Listener, message.name.clone(), message)
    }

    pub(crate) fn routes(message: &RouteConfiguration) -> Self {
        Self::new(ResourceType::Route, message.name.clone(), message)
    }

    pub(crate) fn extension(message: &TypedExtensionConfig) -> Self {
        Self::new(ResourceType::Extension, message.name.clone(), message)
    }

    pub(crate) fn secret(message: &Secret) -> Self {
        Self::new(ResourceType::Secret, message.name.clone(), message)
    }

    /// A message that was encoded in parts (see [`crate::proto::merged`]).
    pub(crate) fn encoded(kind: ResourceType, name: &str, message: Any) -> Self {
        debug_assert_eq!(message.type_url, kind.type_url(), "the kind is the message's own");
        Self { kind, name: name.to_owned(), body: message.value.into() }
    }

    fn new<T: AnyType>(kind: ResourceType, name: String, message: &T) -> Self {
        debug_assert_eq!(T::type_url(), kind.type_url(), "the kind is the message's own");
        Self { kind, name, body: Message::encode_to_vec(message).into() }
    }
}

/// `NAMESPACE/NAME@ZONE`: the endpoints of a service for requests that enter in a zone.
#[must_use]
pub fn edge_endpoints_name(service: &ServiceName, source_zone: &Zone) -> String {
    format!("{service}@{source_zone}")
}

/// `NAMESPACE/NAME@local`: the endpoints of a service in this cluster. Only east-west gateways ask
/// for it, so a zone that is called `local` does no harm.
#[must_use]
pub fn eastwest_endpoints_name(service: &ServiceName) -> String {
    format!("{service}@local")
}

/// `NAMESPACE/GATEWAY/LISTENER`: a listener, and the routes that it asks for.
#[must_use]
pub fn listener_name(gateway: &GatewayName, listener: &str) -> String {
    format!("{gateway}/{listener}")
}
