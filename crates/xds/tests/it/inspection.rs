//! Who holds what, as the client status discovery service tells it.

use envoy_types::pb::envoy::admin::v3::ClientResourceStatus;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use envoy_types::pb::envoy::service::status::v3::{ClientConfig, ClientStatusRequest, ConfigStatus};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher, StructMatcher};
use tidegate_xds::XdsEvent;
use tonic::{Code, Status};

use crate::server::{Server, endpoints, within};
use crate::wire::Delta;

async fn ask(server: &Server, node_matchers: Vec<NodeMatcher>) -> Result<Vec<ClientConfig>, Status> {
    let mut client = ClientStatusDiscoveryServiceClient::new(server.channel().await);
    let question = ClientStatusRequest { node_matchers, ..ClientStatusRequest::default() };
    Ok(within(client.fetch_client_status(question)).await?.into_inner().config)
}

fn by_id(pattern: MatchPattern) -> NodeMatcher {
    let node_id = StringMatcher { match_pattern: Some(pattern), ignore_case: false };
    NodeMatcher { node_id: Some(node_id), ..NodeMatcher::default() }
}

#[tokio::test]
async fn each_node_and_resource_is_told_with_its_version_its_status_and_the_error() {
    let mut server = Server::start().await;
    server.set(&[endpoints("a", 1), endpoints("b", 1)]);
    let mut good = Delta::subscribed(&server, "good", &["a"]).await;
    good.take().await;
    let mut picky = Delta::subscribed(&server, "picky", &["a", "none"]).await;
    picky.take().await;
    for _ in 0..2 {
        server.event(|event| matches!(event, XdsEvent::Acked { .. })).await;
    }
    server.set(&[endpoints("a", 2)]);
    good.next().await;
    let refused = picky.next().await;
    picky.nack(&refused).await;
    server.event(|event| matches!(event, XdsEvent::Nacked { .. })).await;

    let all = ask(&server, Vec::new()).await.unwrap();
    let text: Vec<String> = all.iter().flat_map(lines).collect();
    assert_eq!(
        text,
        ["good a STALE UNKNOWN ", "picky a ERROR NACKED bad address", "picky none NOT_SENT DOES_NOT_EXIST "]
    );
    let of_a = &all[1].generic_xds_configs[0];
    let error = of_a.error_state.as_ref().unwrap();
    assert_ne!(of_a.version_info, error.version_info, "it goes on with the version before");
    assert!(error.last_update_attempt.unwrap().seconds >= of_a.last_updated.unwrap().seconds);
    assert!(of_a.last_updated.unwrap().seconds > 1_700_000_000);
    assert!(of_a.xds_config.is_none(), "contents are never told");

    let some = ask(&server, vec![by_id(MatchPattern::Prefix("go".into()))]).await.unwrap();
    assert_eq!(some.iter().flat_map(lines).count(), 1);
    let none = ask(&server, vec![by_id(MatchPattern::Exact("go".into()))]).await.unwrap();
    assert_eq!(none.len(), 0);
}

#[tokio::test]
async fn a_question_that_is_not_understood_is_refused() {
    let server = Server::start().await;
    let mut matcher = by_id(MatchPattern::Exact("n".into()));
    matcher.node_metadatas.push(StructMatcher::default());
    for matcher in [NodeMatcher::default(), matcher] {
        let status = ask(&server, vec![matcher]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let many = vec![by_id(MatchPattern::Exact("n".into())); 101];
    assert_eq!(ask(&server, many).await.unwrap_err().code(), Code::InvalidArgument);
}

fn lines(client: &ClientConfig) -> Vec<String> {
    let node = &client.node.as_ref().unwrap().id;
    let configs = client.generic_xds_configs.iter().map(|config| {
        let status = ConfigStatus::try_from(config.config_status).unwrap().as_str_name();
        let of_client = ClientResourceStatus::try_from(config.client_status).unwrap().as_str_name();
        let error = config.error_state.as_ref().map_or("", |error| error.details.as_str());
        format!("{node} {} {status} {of_client} {error}", config.name)
    });
    configs.collect()
}
