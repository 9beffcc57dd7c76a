//! One resource, encoded once, and its version.
//!
//! A resource is kept as the bytes that go on the wire: a delta `Resource` message whose
//! last field is the `Any`, so that the `Any` of the state-of-the-world protocol and the
//! body are slices of the same allocation. Every stream shares them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use sha2::{Digest, Sha256};

use crate::ResourceType;

/// What a client holds under a name: the first 8 bytes of SHA-256 over name and body.
///
/// 64 bits: among 100,000 resources an accidental collision has a chance of 3e-10, and it
/// would only matter between two successive bodies of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version(u64);

impl Version {
    /// "It does not exist", which can be told and acknowledged like a version.
    pub(crate) const ABSENT: Self = Self(0);
    /// A version that no resource of ours has.
    const FOREIGN: Self = Self(1);

    pub(crate) fn of(name: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update(body);
        let digest = hash.finalize();
        let head = digest.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        Self(if head < 2 { head + 2 } else { head })
    }

    /// Reads a version that a client reports, perhaps from another server.
    pub(crate) fn from_client(text: &str) -> Self {
        match u64::from_str_radix(text, 16) {
            Ok(value) if value > 1 && text.len() == 16 => Self(value),
            _ => Self::FOREIGN,
        }
    }

    pub(crate) fn exists(self) -> bool {
        self != Self::ABSENT
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The version of a set of resources: the wrapping sum of their versions, which does not
/// depend on the order and is kept up to date in constant time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SetVersion(u64);

impl SetVersion {
    pub(crate) fn add(&mut self, version: Option<Version>) {
        self.0 = self.0.wrapping_add(version.map_or(0, |version| version.0));
    }

    pub(crate) fn subtract(&mut self, version: Option<Version>) {
        self.0 = self.0.wrapping_sub(version.map_or(0, |version| version.0));
    }
}

impl fmt::Display for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A named, encoded resource.
pub(crate) struct Resource {
    pub(crate) name: Arc<str>,
    pub(crate) version: Version,
    /// `envoy.service.discovery.v3.Resource`
    pub(crate) delta: Bytes,
    /// `google.protobuf.Any`, a slice of `delta`
    pub(crate) any: Bytes,
    /// The message itself, a slice of `any`
    pub(crate) body: Bytes,
}

impl fmt::Debug for Resource {
    /// Without the message: a secret must not show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {} bytes", self.name, self.version, self.body.len())
    }
}

impl Resource {
    pub(crate) fn encode(kind: ResourceType, name: Arc<str>, body: &[u8]) -> Self {
        let version = Version::of(&name, body);
        let version_text = version.to_string();
        let any_len = field_len(kind.type_url().len()) + field_len(body.len());
        let mut out =
            Vec::with_capacity(field_len(version_text.len()) + field_len(name.len()) + field_len(any_len));
        put_field(1, version_text.as_bytes(), &mut out);
        put_field(3, name.as_bytes(), &mut out);
        encode_key(2, WireType::LengthDelimited, &mut out);
        encode_varint(any_len as u64, &mut out);
        let any_start = out.len();
        put_field(1, kind.type_url().as_bytes(), &mut out);
        put_field(2, body, &mut out);
        let delta = Bytes::from(out);
        let any = delta.slice(any_start..);
        let body = any.slice(any.len() - body.len()..);
        Self { name, version, delta, any, body }
    }

    /// The name under which the client of this cluster asks for endpoints, if this is a
    /// cluster: the EDS service name, else the cluster's own.
    pub(crate) fn endpoint_name(&self) -> String {
        use prost::Message;
        let head = ClusterHead::decode(self.body.clone()).unwrap_or_default();
        let service = head.eds_cluster_config.map(|eds| eds.service_name);
        service.filter(|name| !name.is_empty()).unwrap_or(head.name)
    }
}

/// The two fields of a cluster that name its endpoints.
#[derive(Clone, PartialEq, prost::Message)]
struct ClusterHead {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "3")]
    eds_cluster_config: Option<EdsHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EdsHead {
    #[prost(string, tag = "2")]
    service_name: String,
}

/// Field numbers up to 15 have a key of one byte.
fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

fn put_field(tag: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::cluster::v3::{Cluster, cluster::EdsClusterConfig};
    use envoy_types::pb::envoy::service::discovery::v3::Resource as WireResource;
    use envoy_types::pb::google::protobuf::Any;
    use prost::Message;

    #[test]
    fn the_bytes_are_a_resource_message_and_its_any() {
        let body = vec![7; 300];
        let resource = Resource::encode(ResourceType::Route, "r".into(), &body);
        let wire = WireResource::decode(resource.delta.clone()).unwrap();
        let any = Any::decode(resource.any.clone()).unwrap();
        assert_eq!((wire.name.as_str(), &wire.version), ("r", &resource.version.to_string()));
        assert_eq!(wire.resource.as_ref(), Some(&any));
        assert_eq!(any.type_url, ResourceType::Route.type_url());
        assert_eq!((any.value, &resource.body[..]), (body.clone(), &body[..]));
        assert_eq!(resource.delta.len(), wire.encoded_len());
    }

    #[test]
    fn the_version_is_the_content_and_survives_the_way_to_the_client_and_back() {
        let version = Version::of("a", b"body");
        assert_eq!(version, Version::of("a", b"body"));
        assert_ne!(version, Version::of("a", b"bodz"));
        assert_ne!(version, Version::of("ab", b"ody"));
        assert_eq!(Version::from_client(&version.to_string()), version);
        assert_eq!(Version::from_client("v1"), Version::FOREIGN);
        assert_eq!(Version::from_client("0000000000000000"), Version::FOREIGN);
    }

    #[test]
    fn the_endpoint_name_of_a_cluster_is_its_service_name_else_its_own() {
        let mut cluster = Cluster { name: "c".into(), ..Cluster::default() };
        let name = |cluster: &Cluster| {
            Resource::encode(ResourceType::Cluster, "c".into(), &cluster.encode_to_vec()).endpoint_name()
        };
        assert_eq!(name(&cluster), "c");
        cluster.eds_cluster_config =
            Some(EdsClusterConfig { service_name: "s".into(), ..EdsClusterConfig::default() });
        assert_eq!(name(&cluster), "s");
    }
}
