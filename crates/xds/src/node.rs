//! Who a client says it is. Nothing here is verified but [`NodeInfo::caller`]: whoever resolves scopes decides
//! what to believe.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_types::pb::envoy::config::core::v3::{Locality, Node};
use envoy_types::pb::google::protobuf::value::Kind;

/// A place as xDS names it. Empty strings where the client does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct NodeLocality {
    /// Region, for example `eu-west-1`
    pub region: String,
    /// Zone within the region
    pub zone: String,
    /// Sub-zone within the zone
    pub sub_zone: String,
}

impl From<Option<Locality>> for NodeLocality {
    fn from(locality: Option<Locality>) -> Self {
        let Locality { region, zone, sub_zone } = locality.unwrap_or_default();
        Self { region, zone, sub_zone }
    }
}

/// Who is at the other end of a connection, in the words of the server's owner. The owner found it out and puts it into the
/// extensions of each request, by an interceptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub Arc<str>);

/// What a client says about itself in the first request of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct NodeInfo {
    /// Node id, never empty
    pub id: String,
    /// The service cluster that the node belongs to
    pub cluster: String,
    /// Where the node runs
    pub locality: NodeLocality,
    /// The string fields of the node's metadata; others are left out
    pub metadata: BTreeMap<String, String>,
    /// For example `envoy` or `gRPC Go`
    pub user_agent_name: String,
    /// For example `1.40.0`
    pub user_agent_version: String,
    /// Who it is by its connection; `None` if nobody found that out. The client has no word in it.
    #[serde(skip)]
    pub caller: Option<Caller>,
}

impl NodeInfo {
    /// How much memory its texts take.
    pub(crate) fn bytes(&self) -> usize {
        let Self { id, cluster, locality, metadata, user_agent_name, user_agent_version, .. } = self;
        let NodeLocality { region, zone, sub_zone } = locality;
        let texts = [id, cluster, region, zone, sub_zone, user_agent_name, user_agent_version];
        let of_metadata: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        texts.iter().map(|text| text.len()).sum::<usize>() + of_metadata
    }
}

impl From<Node> for NodeInfo {
    fn from(node: Node) -> Self {
        let metadata = node.metadata.unwrap_or_default().fields.into_iter();
        let user_agent_version = match node.user_agent_version_type {
            Some(UserAgentVersionType::UserAgentVersion(text)) => text,
            Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
                let v = build.version.unwrap_or_default();
                format!("{}.{}.{}", v.major_number, v.minor_number, v.patch)
            }
            None => String::new(),
        };
        Self {
            id: node.id,
            cluster: node.cluster,
            locality: node.locality.into(),
            metadata: metadata
                .filter_map(|(key, value)| match value.kind {
                    Some(Kind::StringValue(text)) => Some((key, text)),
                    _ => None,
                })
                .collect(),
            user_agent_name: node.user_agent_name,
            user_agent_version,
            caller: None,
        }
    }
}
