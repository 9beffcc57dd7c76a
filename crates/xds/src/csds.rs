//! The client status discovery service: which node holds which version of which resource, and what it refused.
//!
//! It answers from the bookkeeping of the open streams. It never tells what is in a resource: a secret is one, too.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_types::pb::envoy::config::core::v3::{Locality, Node};
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryService;
use envoy_types::pb::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher};
use envoy_types::pb::google::protobuf::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::server::Shared;
use crate::{NodeInfo, NodeResources, ResourceState, ResourceStatus};

/// Resources in one answer: some 200 bytes each, so 20 MB.
const MAX_RESOURCES: usize = 100_000;
/// Matchers in one question.
const MAX_MATCHERS: usize = 100;

/// The gRPC service `envoy.service.status.v3.ClientStatusDiscoveryService`.
#[derive(Clone, Debug)]
pub struct InspectionService {
    shared: Arc<Shared>,
}

impl InspectionService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl ClientStatusDiscoveryService for InspectionService {
    type StreamClientStatusStream = ReceiverStream<Result<ClientStatusResponse, Status>>;

    /// One answer to each question.
    async fn stream_client_status(
        &self,
        request: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        // The limit of ADS streams is not for those who look at them; these end with the server all the same.
        let shared = Arc::clone(&self.shared);
        let mut questions = request.into_inner();
        let (out, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            let answer_all = async {
                while let Ok(Some(question)) = questions.message().await {
                    let answer = answer(&shared, &question);
                    let failed = answer.is_err();
                    if out.send(answer).await.is_err() || failed {
                        return;
                    }
                }
            };
            tokio::select! {
                () = answer_all => {}
                () = shared.shutdown.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        answer(&self.shared, request.get_ref()).map(Response::new)
    }
}

fn answer(shared: &Shared, question: &ClientStatusRequest) -> Result<ClientStatusResponse, Status> {
    let matchers = &question.node_matchers;
    if matchers.len() > MAX_MATCHERS {
        let text =
            format!("a question may have at most {MAX_MATCHERS} node matchers, not {}", matchers.len());
        return Err(Status::invalid_argument(text));
    }
    for matcher in matchers {
        understood(matcher)?;
    }
    let wanted = |node: &NodeInfo| matchers.is_empty() || matchers.iter().any(|it| fits(it, node));
    let nodes = shared.nodes.resources(wanted, MAX_RESOURCES).ok_or_else(|| {
        let text = format!("these nodes have more than {MAX_RESOURCES} resources; ask for fewer nodes");
        Status::resource_exhausted(text)
    })?;
    Ok(ClientStatusResponse { config: nodes.into_iter().map(client_config).collect() })
}

/// Nodes are matched by their id: exactly, by a prefix, a suffix or a part.
fn understood(matcher: &NodeMatcher) -> Result<(), Status> {
    let pattern = matcher.node_id.as_ref().and_then(|id| id.match_pattern.as_ref());
    let by_id = matches!(
        pattern,
        Some(
            MatchPattern::Exact(_)
                | MatchPattern::Prefix(_)
                | MatchPattern::Suffix(_)
                | MatchPattern::Contains(_)
        )
    );
    if by_id && matcher.node_metadatas.is_empty() {
        return Ok(());
    }
    Err(Status::invalid_argument(
        "a node matcher must have a node_id (exact, prefix, suffix or contains) and nothing else",
    ))
}

fn fits(matcher: &NodeMatcher, node: &NodeInfo) -> bool {
    let Some(StringMatcher { match_pattern: Some(pattern), ignore_case }) = &matcher.node_id else {
        return false;
    };
    let case = |text: &str| if *ignore_case { text.to_lowercase() } else { text.to_owned() };
    let id = case(&node.id);
    match pattern {
        MatchPattern::Exact(text) => id == case(text),
        MatchPattern::Prefix(text) => id.starts_with(&case(text)),
        MatchPattern::Suffix(text) => id.ends_with(&case(text)),
        MatchPattern::Contains(text) => id.contains(&case(text)),
        _ => false,
    }
}

fn client_config(node: NodeResources) -> ClientConfig {
    ClientConfig {
        node: Some(wire_node(&node.node)),
        generic_xds_configs: node.resources.into_iter().map(xds_config).collect(),
        ..ClientConfig::default()
    }
}

fn wire_node(node: &NodeInfo) -> Node {
    let place = node.locality.clone();
    let version = node.user_agent_version.clone();
    Node {
        id: node.id.clone(),
        cluster: node.cluster.clone(),
        locality: Some(Locality { region: place.region, zone: place.zone, sub_zone: place.sub_zone }),
        user_agent_name: node.user_agent_name.clone(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(version)),
        ..Node::default()
    }
}

fn xds_config(resource: ResourceStatus) -> GenericXdsConfig {
    let (config_status, client_status) = match &resource.state {
        ResourceState::Requested => (ConfigStatus::NotSent, ClientResourceStatus::Requested),
        ResourceState::DoesNotExist => (ConfigStatus::NotSent, ClientResourceStatus::DoesNotExist),
        ResourceState::Sent => (ConfigStatus::Stale, ClientResourceStatus::Unknown),
        ResourceState::Acked => (ConfigStatus::Synced, ClientResourceStatus::Acked),
        ResourceState::Nacked { .. } => (ConfigStatus::Error, ClientResourceStatus::Nacked),
    };
    let error_state = match resource.state {
        ResourceState::Nacked { version, error, at_ms } => Some(UpdateFailureState {
            version_info: version,
            details: error,
            last_update_attempt: Some(timestamp(at_ms)),
            failed_configuration: None,
        }),
        _ => None,
    };
    GenericXdsConfig {
        type_url: resource.kind.type_url().to_owned(),
        name: resource.name,
        version_info: resource.version.unwrap_or_default(),
        last_updated: resource.acked_at_ms.map(timestamp),
        config_status: config_status.into(),
        client_status: client_status.into(),
        error_state,
        ..GenericXdsConfig::default()
    }
}

fn timestamp(unix_ms: u64) -> Timestamp {
    let since_1970 = Duration::from_millis(unix_ms);
    Timestamp {
        seconds: i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since_1970.subsec_nanos()).unwrap_or(0),
    }
}
