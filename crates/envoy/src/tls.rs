//! Between clusters: mutual TLS, by what the fleet's authority issued.
//!
//! Every gateway shows the identity of its cluster's gateways (`spiffe://TRUST-DOMAIN/cluster/NAME/gateway`) and believes
//! the gateways and agents of the same trust domain, no others. Both come as secrets over the stream that Envoy has (SDS), so a
//! certificate is exchanged without a change of listeners or clusters: nothing is wiped and no connection ends.
//!
//! An edge asks an east-west gateway for a server name, `NAME.NAMESPACE.svc.tidegate`. Requests go on by their header,
//! connections of `TCPRoute` and `TLSRoute` by that name. Agents ask as edges do, with an identity of their own
//! (`spiffe://TRUST-DOMAIN/cluster/NAME/agent`), of which the gateway tells its agent ([`CLIENT_HEADER`]).

use crate::{
    proto::{ads, any, flag, text},
    resource::Resource,
};
use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::cluster::TransportSocketMatch,
            core::v3::{Metadata, TransportSocket, transport_socket},
        },
        extensions::transport_sockets::tls::v3::{
            CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret,
            SubjectAltNameMatcher, TlsCertificate, TlsParameters, UpstreamTlsContext,
            common_tls_context::ValidationContextType, secret::Type, subject_alt_name_matcher::SanType,
            tls_parameters::TlsProtocol,
        },
        r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::{Any, Struct, Value, value::Kind},
};
use std::collections::HashMap;
use tidegate_model::ServiceName;

/// The secret with what a gateway shows: the certificate of its cluster's gateways, and the key.
pub const IDENTITY_SECRET: &str = "tidegate/identity";

/// The secret that says whom it believes.
pub const TRUST_SECRET: &str = "tidegate/trust";

/// The header by which an east-west gateway tells its agent who is at the other end of a peer link: `URI=` and the SPIFFE id,
/// among other parts. Whatever a client said there is taken off; services are not told.
pub const CLIENT_HEADER: &str = "x-forwarded-client-cert";

/// The header by which it tells the serial of that certificate, so that agents refuse one that was revoked.
pub const SERIAL_HEADER: &str = "x-tidegate-client-serial";

/// The metadata by which Envoy chooses the transport socket of a host.
const SOCKET_MATCH: &str = "envoy.transport_socket_match";

/// What is said there of a host in another cluster.
const ELSEWHERE: &str = "otherCluster";

/// What gateways show: a certificate with those above it, and its key, both as PEM.
#[must_use]
pub fn identity_secret(chain: &str, key: &str) -> Resource {
    Resource::secret(&Secret {
        name: IDENTITY_SECRET.to_owned(),
        r#type: Some(Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(text(chain)),
            private_key: Some(text(key)),
            ..Default::default()
        })),
    })
}

/// Whom gateways believe: the gateways and agents of every cluster of a trust domain, by its roots (PEM), but for those of
/// a list of revoked certificates (PEM, empty for none), which has to be of the only root: Envoy refuses whoever is of an authority
/// without a list once there is one.
#[must_use]
pub fn trust_secret(trust_domain: &str, roots: &str, revocations: &str) -> Resource {
    // A trust domain and the name of a cluster hold letters, digits, dots, hyphens and underscores.
    let domain = trust_domain.replace('.', r"\.");
    let members = RegexMatcher {
        regex: format!("spiffe://{domain}/cluster/[A-Za-z0-9._-]+/(agent|gateway)"),
        ..Default::default()
    };
    Resource::secret(&Secret {
        name: TRUST_SECRET.to_owned(),
        r#type: Some(Type::ValidationContext(CertificateValidationContext {
            trusted_ca: Some(text(roots)),
            crl: (!revocations.is_empty()).then(|| text(revocations)),
            only_verify_leaf_cert_crl: true,
            match_typed_subject_alt_names: vec![SubjectAltNameMatcher {
                san_type: SanType::Uri.into(),
                matcher: Some(StringMatcher {
                    match_pattern: Some(MatchPattern::SafeRegex(members)),
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..Default::default()
        })),
    })
}

/// The server name by which an east-west gateway knows what a connection is for. Neither part can hold a dot.
#[must_use]
pub(crate) fn server_name(service: &ServiceName) -> String {
    format!("{}.{}.svc.tidegate", service.name(), service.namespace())
}

/// Both sides show who they are. TLS 1.3: both ends are gateways of the fleet.
fn mutual(protocols: &[&str]) -> CommonTlsContext {
    let secret = |name: &str| SdsSecretConfig { name: name.to_owned(), sds_config: Some(ads()) };
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv13.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            ..Default::default()
        }),
        alpn_protocols: protocols.iter().map(|&name| name.to_owned()).collect(),
        tls_certificate_sds_secret_configs: vec![secret(IDENTITY_SECRET)],
        validation_context_type: Some(ValidationContextType::ValidationContextSdsSecretConfig(secret(
            TRUST_SECRET,
        ))),
        ..Default::default()
    }
}

/// How an east-west gateway takes connections in.
pub(crate) fn entrance(protocols: &[&str]) -> TransportSocket {
    socket(any(&DownstreamTlsContext {
        common_tls_context: Some(mutual(protocols)),
        require_client_certificate: flag(true),
        ..Default::default()
    }))
}

/// How an edge reaches the hosts of a service that are marked as [`elsewhere`]; all others it reaches plainly.
pub(crate) fn way_to_other_clusters(service: &ServiceName, protocols: &[&str]) -> TransportSocketMatch {
    to_other_clusters(socket(any(&UpstreamTlsContext {
        common_tls_context: Some(mutual(protocols)),
        sni: server_name(service),
        ..Default::default()
    })))
}

/// Those hosts are reached by this socket.
pub(crate) fn to_other_clusters(socket: TransportSocket) -> TransportSocketMatch {
    TransportSocketMatch {
        name: "other-clusters".to_owned(),
        r#match: Some(marked()),
        transport_socket: Some(socket),
    }
}

/// The mark of a host in another cluster.
pub(crate) fn elsewhere() -> Metadata {
    Metadata { filter_metadata: HashMap::from([(SOCKET_MATCH.to_owned(), marked())]), ..Default::default() }
}

fn marked() -> Struct {
    let yes = Value { kind: Some(Kind::BoolValue(true)) };
    Struct { fields: HashMap::from([(ELSEWHERE.to_owned(), yes)]) }
}

pub(crate) fn socket(config: Any) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(config)),
    }
}
