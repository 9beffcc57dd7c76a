//! Sessions: a client's requests keep to the endpoint that served the first, as long as it may serve.
//!
//! Envoy writes the endpoint's address into a cookie or header, and asks for that host before it balances. The host must be
//! one of the assignment and healthy or DRAINING ([`crate::edge_endpoints`]); else it balances and writes a new one. So what
//! moves traffic moves new sessions: a pool that leaves the plan keeps its sessions until it has drained, and one that fails
//! loses them to wherever the plan sends requests, where they stay. Across clusters a session keeps to the cluster, whose
//! east-west gateway chooses among its endpoints.

use crate::proto::{any, duration};
use envoy_types::pb::{
    envoy::{
        config::core::v3::{HealthStatus, HealthStatusSet, TypedExtensionConfig},
        extensions::{
            filters::{
                http::stateful_session::v3::{
                    StatefulSession, StatefulSessionPerRoute, stateful_session_per_route::Override,
                },
                network::http_connection_manager::v3::{HttpFilter, http_filter::ConfigType},
            },
            http::stateful_session::{
                cookie::v3::CookieBasedSessionState, header::v3::HeaderBasedSessionState,
            },
        },
        r#type::http::v3::Cookie,
    },
    google::protobuf::Any,
};
use std::{collections::HashMap, time::Duration};
use tidegate_api::{Session, SessionKind};
use tidegate_model::ServiceName;

/// The filter's name, by which routes speak to it.
const FILTER: &str = "envoy.filters.http.stateful_session";

/// The filter of a listener; it does nothing on routes that say nothing of sessions.
pub(crate) fn filter() -> HttpFilter {
    HttpFilter {
        name: FILTER.to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&StatefulSession::default()))),
        ..Default::default()
    }
}

/// What a route says to the filter. One entry at most: the field is a hash map, and two would come in any order.
pub(crate) fn of_route(session: Option<&Session>, service: &ServiceName) -> HashMap<String, Any> {
    let Some(session) = session else { return HashMap::new() };
    let name = session.name.clone().unwrap_or_else(|| default_name(service));
    let state = match session.kind {
        SessionKind::Cookie { lifetime } => TypedExtensionConfig {
            name: "envoy.http.stateful_session.cookie".to_owned(),
            typed_config: Some(any(&CookieBasedSessionState {
                cookie: Some(Cookie {
                    name,
                    // Zero is a cookie without an end.
                    ttl: duration(lifetime.unwrap_or(Duration::ZERO)),
                    path: "/".to_owned(),
                    ..Default::default()
                }),
            })),
        },
        SessionKind::Header => TypedExtensionConfig {
            name: "envoy.http.stateful_session.header".to_owned(),
            typed_config: Some(any(&HeaderBasedSessionState { name })),
        },
    };
    let session = StatefulSession { session_state: Some(state), ..Default::default() };
    let of_route = StatefulSessionPerRoute { r#override: Some(Override::StatefulSession(session)) };
    HashMap::from([(FILTER.to_owned(), any(&of_route))])
}

/// Services that share a host name must not overwrite each other's cookies.
fn default_name(service: &ServiceName) -> String {
    format!("tidegate-{}-{}", service.namespace(), service.name())
}

/// The hosts to which a session may keep: also those that get nothing new.
pub(crate) fn hosts() -> HealthStatusSet {
    let statuses =
        [HealthStatus::Unknown, HealthStatus::Healthy, HealthStatus::Degraded, HealthStatus::Draining];
    HealthStatusSet { statuses: statuses.map(i32::from).into() }
}
