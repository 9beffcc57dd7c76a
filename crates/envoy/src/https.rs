//! TLS that ends at an edge: what clients are shown, by the server name that they ask for.
//!
//! A listener names certificates and does not hold them: each is a secret of its own (SDS), so that one is replaced without a
//! change of the listener, and no connection ends for it.

use crate::{
    proto::{ads, any, flag, text},
    resource::Resource,
};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{TransportSocket, transport_socket},
        listener::v3::{Filter, FilterChain, FilterChainMatch},
    },
    extensions::transport_sockets::tls::v3::{
        CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret, TlsCertificate, TlsParameters,
        secret::Type, tls_parameters::TlsProtocol,
    },
};
use tidegate_api::{Certificate, ListenerOptions, ListenerTls, TlsVersion};

/// What requests are spoken in, by a client's choice.
pub(crate) const REQUESTS: &[&str] = &["h2", "http/1.1"];

/// The name of the secret of a certificate, which is named `NAMESPACE/NAME`.
fn secret_name(certificate: &str) -> String {
    format!("certificate/{certificate}")
}

/// A certificate that listeners show, with its key.
#[must_use]
pub fn certificate_secret(name: &str, certificate: &Certificate) -> Resource {
    Resource::secret(&Secret {
        name: secret_name(name),
        r#type: Some(Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(text(&certificate.chain)),
            private_key: Some(text(certificate.key.pem())),
            ..Default::default()
        })),
    })
}

/// A chain for each server name, the same filters behind each as `filters_of` makes them. What speaks no TLS, or asks for
/// another name, finds none and is closed.
pub(crate) fn chains(
    tls: &ListenerTls,
    options: &ListenerOptions,
    protocols: &[&str],
    filters_of: impl Fn(&str) -> Vec<Filter>,
) -> Vec<FilterChain> {
    let chain = |(hostname, certificate): (&String, &String)| FilterChain {
        name: if hostname.is_empty() { "any".to_owned() } else { hostname.clone() },
        filter_chain_match: Some(FilterChainMatch {
            server_names: Some(hostname.clone()).filter(|name| !name.is_empty()).into_iter().collect(),
            transport_protocol: "tls".to_owned(),
            ..Default::default()
        }),
        transport_socket: Some(socket(certificate, options, protocols)),
        filters: filters_of(hostname),
        ..Default::default()
    };
    tls.certificates.iter().map(chain).collect()
}

fn socket(certificate: &str, options: &ListenerOptions, protocols: &[&str]) -> TransportSocket {
    let version = |version| match version {
        TlsVersion::V1_2 => TlsProtocol::TlSv12.into(),
        TlsVersion::V1_3 => TlsProtocol::TlSv13.into(),
    };
    let context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: version(options.tls_min.unwrap_or(TlsVersion::V1_2)),
                tls_maximum_protocol_version: version(options.tls_max.unwrap_or(TlsVersion::V1_3)),
                cipher_suites: options.cipher_suites.clone().unwrap_or_default(),
                ..Default::default()
            }),
            alpn_protocols: protocols.iter().map(|&name| name.to_owned()).collect(),
            tls_certificate_sds_secret_configs: vec![SdsSecretConfig {
                name: secret_name(certificate),
                sds_config: Some(ads()),
            }],
            ..Default::default()
        }),
        require_client_certificate: flag(false),
        ..Default::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}
