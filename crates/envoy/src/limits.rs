//! What one listener bears, as templates say it.

use crate::{
    cluster::BUFFER_BYTES,
    proto::{any, uint},
};
use envoy_types::pb::{
    envoy::{
        config::listener::v3::{Filter, filter},
        extensions::filters::network::connection_limit::v3::ConnectionLimit,
    },
    google::protobuf::{UInt32Value, UInt64Value},
};
use tidegate_api::Listener;

/// What one connection may have waiting for one side.
pub(crate) fn buffer(listener: &Listener) -> Option<UInt32Value> {
    uint(listener.options.buffer_kib.map_or(BUFFER_BYTES, |kib| kib.saturating_mul(1024)))
}

/// The filters of a chain: what takes connections, behind the limit of how many there may be, where there is one. What is
/// above it is closed.
pub(crate) fn limited(listener: &Listener, name: &str, takes: Filter) -> Vec<Filter> {
    let limit = listener.options.max_connections.map(|most| Filter {
        name: "envoy.filters.network.connection_limit".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&ConnectionLimit {
            stat_prefix: name.replace(['/', '.'], "_"),
            max_connections: Some(UInt64Value { value: most.into() }),
            ..Default::default()
        }))),
    });
    limit.into_iter().chain([takes]).collect()
}
