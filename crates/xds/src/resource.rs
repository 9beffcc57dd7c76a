//! One resource, encoded once, and its version.
//!
//! Every stream shares its bytes, and resources share the end of them where it is the same (see [`crate::tails`]).

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use sha2::{Digest, Sha256};

use crate::ResourceType;

/// A version as text: 16 hexadecimal digits.
const VERSION_LEN: usize = 16;

/// What a client holds under a name: the first 8 bytes of SHA-256 over name and body.
///
/// 64 bits: among 100,000 resources an accidental collision has a chance of 3e-10, and it
/// would only matter between two successive bodies of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version(NonZeroU64);

impl Version {
    /// "It does not exist", which can be told and acknowledged like a version.
    pub(crate) const ABSENT: Self = Self(NonZeroU64::MIN);
    /// A version that no resource of ours has.
    const FOREIGN: Self = Self(NonZeroU64::MAX);

    pub(crate) fn of(name: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update(body);
        let digest = hash.finalize();
        let head = digest.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        Self::known(head).unwrap_or(Self(NonZeroU64::MIN.saturating_add(1)))
    }

    /// A version that a resource may have.
    fn known(value: u64) -> Option<Self> {
        NonZeroU64::new(value).map(Self).filter(|it| *it != Self::ABSENT && *it != Self::FOREIGN)
    }

    /// Reads a version that a client reports, perhaps from another server.
    pub(crate) fn from_client(text: &str) -> Self {
        let value = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
        value.and_then(Self::known).unwrap_or(Self::FOREIGN)
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
        self.0 = self.0.wrapping_add(of(version));
    }

    pub(crate) fn subtract(&mut self, version: Option<Version>) {
        self.0 = self.0.wrapping_sub(of(version));
    }
}

/// What a version adds to that of a set: what does not exist adds nothing.
fn of(version: Option<Version>) -> u64 {
    version.filter(|it| it.exists()).map_or(0, |it| it.0.get())
}

impl fmt::Display for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A named resource, its message encoded.
///
/// What a response puts around the message (version, name, type) is written when it is sent: it costs less than to keep
/// it for every resource.
pub(crate) struct Resource {
    pub(crate) kind: ResourceType,
    pub(crate) name: Arc<str>,
    pub(crate) version: Version,
    /// The message, without its tail.
    head: Box<[u8]>,
    /// The end of the message, which other resources have too.
    tail: Option<Arc<[u8]>>,
}

impl fmt::Debug for Resource {
    /// Without the message: a secret must not show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = self.tail.as_ref().map_or(0, |tail| tail.len());
        write!(f, "{} {} of {} bytes", self.name, self.version, self.head.len() + tail)
    }
}

impl Resource {
    /// A resource of this content; `tail` is an end of `body` that is shared with others, if there is one.
    pub(crate) fn new(kind: ResourceType, name: Arc<str>, body: &[u8], tail: Option<Arc<[u8]>>) -> Self {
        let version = Version::of(&name, body);
        let tail = tail.filter(|tail| body.ends_with(tail));
        let head = &body[..body.len() - tail.as_ref().map_or(0, |tail| tail.len())];
        Self { kind, name, version, head: head.into(), tail }
    }

    fn tail(&self) -> &[u8] {
        self.tail.as_deref().unwrap_or_default()
    }

    fn body_len(&self) -> usize {
        self.head.len() + self.tail().len()
    }

    /// Whether this is its content.
    pub(crate) fn says(&self, body: &[u8]) -> bool {
        let rest = body.strip_prefix(&*self.head);
        rest.is_some_and(|rest| rest == self.tail())
    }

    /// The message itself.
    pub(crate) fn body(&self) -> impl Buf {
        Buf::chain(&*self.head, self.tail())
    }

    /// Bytes of it as a `google.protobuf.Any`.
    pub(crate) fn any_len(&self) -> usize {
        field_len(self.kind.type_url().len()) + field_len(self.body_len())
    }

    /// Writes it as a `google.protobuf.Any`.
    pub(crate) fn put_any(&self, out: &mut impl BufMut) {
        put_field(1, self.kind.type_url().as_bytes(), out);
        encode_key(2, WireType::LengthDelimited, out);
        encode_varint(self.body_len() as u64, out);
        out.put_slice(&self.head);
        out.put_slice(self.tail());
    }

    /// Bytes of it as an `envoy.service.discovery.v3.Resource`.
    pub(crate) fn delta_len(&self) -> usize {
        field_len(VERSION_LEN) + field_len(self.name.len()) + field_len(self.any_len())
    }

    /// Writes it as an `envoy.service.discovery.v3.Resource`.
    pub(crate) fn put_delta(&self, out: &mut impl BufMut) {
        put_field(1, self.version.to_string().as_bytes(), out);
        put_field(3, self.name.as_bytes(), out);
        encode_key(2, WireType::LengthDelimited, out);
        encode_varint(self.any_len() as u64, out);
        self.put_any(out);
    }

    /// The name under which the client of this cluster asks for endpoints, if this is a
    /// cluster: the EDS service name, else the cluster's own.
    pub(crate) fn endpoint_name(&self) -> String {
        use prost::Message;
        let head = ClusterHead::decode(self.body()).unwrap_or_default();
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
pub(crate) fn field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

pub(crate) fn put_field(tag: u32, value: &[u8], out: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.put_slice(value);
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
        let body: Vec<u8> = (0..=255).cycle().take(300).collect();
        for tail in [None, Some(100), Some(300)] {
            let tail = tail.map(|len| body[body.len() - len..].into());
            let resource = Resource::new(ResourceType::Route, "r".into(), &body, tail);
            let (mut delta, mut any) = (Vec::new(), Vec::new());
            resource.put_delta(&mut delta);
            resource.put_any(&mut any);
            assert_eq!((delta.len(), any.len()), (resource.delta_len(), resource.any_len()));
            let wire = WireResource::decode(&*delta).unwrap();
            let any = Any::decode(&*any).unwrap();
            assert_eq!((wire.name.as_str(), &wire.version), ("r", &resource.version.to_string()));
            assert_eq!(wire.resource.as_ref(), Some(&any));
            assert_eq!((any.type_url.as_str(), &any.value), (ResourceType::Route.type_url(), &body));
            assert!(resource.says(&body) && !resource.says(&body[1..]) && !resource.says(&body[..299]));
        }
    }

    #[test]
    fn a_tail_that_is_none_is_not_taken() {
        let resource = Resource::new(ResourceType::Route, "r".into(), b"abc", Some(b"xc"[..].into()));
        assert!(resource.says(b"abc"));
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
            Resource::new(ResourceType::Cluster, "c".into(), &cluster.encode_to_vec(), None).endpoint_name()
        };
        assert_eq!(name(&cluster), "c");
        cluster.eds_cluster_config =
            Some(EdsClusterConfig { service_name: "s".into(), ..EdsClusterConfig::default() });
        assert_eq!(name(&cluster), "s");
    }
}
