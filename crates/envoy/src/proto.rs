//! Small protobuf values, spelled shortly.

use envoy_types::pb::{
    envoy::{
        config::core::v3::{
            Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, HeaderValue,
            HeaderValueOption, SocketAddress, address, config_source::ConfigSourceSpecifier, data_source,
            header_value_option::HeaderAppendAction, socket_address::PortSpecifier,
        },
        r#type::v3::Percent,
    },
    google::protobuf::{Any, BoolValue, Duration, UInt32Value},
};
use prost::{Message, Name};
use std::net::SocketAddr;

/// A message that knows its type URL.
pub(crate) trait AnyType: Message + Name {}

impl<T: Message + Name> AnyType for T {}

#[expect(clippy::unnecessary_wraps, reason = "every field that takes it is optional")]
pub(crate) const fn uint(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

#[expect(clippy::unnecessary_wraps, reason = "every field that takes it is optional")]
pub(crate) const fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

#[expect(clippy::unnecessary_wraps, reason = "every field that takes it is optional")]
pub(crate) const fn percent(value: f64) -> Option<Percent> {
    Some(Percent { value })
}

/// Envoy reads a zero as "none" or "off" wherever it is used here.
#[expect(clippy::unnecessary_wraps, reason = "every field that takes it is optional")]
pub(crate) fn duration(value: std::time::Duration) -> Option<Duration> {
    Some(Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or_default(),
    })
}

pub(crate) fn any<T: AnyType>(message: &T) -> Any {
    Any { type_url: T::type_url(), value: message.encode_to_vec() }
}

/// Several messages as one. What is a hash map here would be encoded in any order; encodings that stand one behind the
/// other are merged by whoever reads them, so each entry can be a message of its own.
pub(crate) fn merged<T: AnyType>(messages: impl Iterator<Item = T>) -> Any {
    let value = messages.flat_map(|message| message.encode_to_vec()).collect();
    Any { type_url: T::type_url(), value }
}

/// "Ask over the stream that you have". A resource that does not come within 5 s is taken as empty:
/// one name that the agent cannot answer must not keep a starting gateway from serving the others.
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: duration(std::time::Duration::from_secs(5)),
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    }
}

pub(crate) fn address(at: SocketAddr) -> Address {
    host_port(at.ip().to_string(), at.port())
}

/// An address or, where Envoy looks it up, a name.
pub(crate) fn host_port(host: String, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: host,
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ..Default::default()
        })),
    }
}

/// Sets a header, whatever the request or response had.
pub(crate) fn set_header(key: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.to_owned(), value, ..Default::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..Default::default()
    }
}

pub(crate) fn text(body: &str) -> DataSource {
    DataSource {
        specifier: Some(data_source::Specifier::InlineString(body.to_owned())),
        ..Default::default()
    }
}
