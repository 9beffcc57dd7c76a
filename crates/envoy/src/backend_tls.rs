//! TLS from gateways to the endpoints of this cluster, where a `BackendTLSPolicy` asks for it. Other clusters are reached as ever: their
//! own east-west gateways speak to their endpoints so, if a policy there says it.
//!
//! Whom to believe is a secret of its own (SDS): authorities are replaced without a change of the cluster, which would wipe its
//! ejections, and no connection ends for it.

use crate::{
    proto::{ads, any, text},
    resource::Resource,
    tls, upstream,
};
use envoy_types::pb::envoy::{
    config::core::v3::{DataSource, TransportSocket, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, CommonTlsContext, SdsSecretConfig, Secret, SubjectAltNameMatcher,
        UpstreamTlsContext, common_tls_context::ValidationContextType, secret::Type,
        subject_alt_name_matcher::SanType,
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};
use tidegate_api::{SYSTEM_AUTHORITIES, SubjectName, Trust, Upstream, UpstreamTls};
use tidegate_model::ServiceName;

/// The digest of no certificate.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The name of the secret that says who the endpoints of a service have to be.
#[must_use]
pub fn backend_trust_name(service: &ServiceName) -> String {
    format!("backend/{service}")
}

/// Who the endpoints of a service have to be.
#[must_use]
pub fn backend_trust(service: &ServiceName, tls: &UpstreamTls) -> Resource {
    let own = [SubjectName::Host(tls.server_name.clone())];
    let names = if tls.names.is_empty() { &own[..] } else { &tls.names };
    let mut context = CertificateValidationContext {
        match_typed_subject_alt_names: names.iter().map(matcher).collect(),
        ..Default::default()
    };
    match &tls.trust {
        Trust::System => {
            let specifier = Some(Specifier::Filename(SYSTEM_AUTHORITIES.to_owned()));
            context.trusted_ca = Some(DataSource { specifier, ..Default::default() });
        }
        Trust::Authorities(pem) => context.trusted_ca = Some(text(pem)),
        // Envoy takes no names without authorities, and with neither it believes everybody.
        Trust::Nobody => {
            context.match_typed_subject_alt_names.clear();
            context.verify_certificate_hash = vec![NOBODY.to_owned()];
        }
    }
    Resource::secret(&Secret {
        name: backend_trust_name(service),
        r#type: Some(Type::ValidationContext(context)),
    })
}

fn matcher(name: &SubjectName) -> SubjectAltNameMatcher {
    let (san_type, exact) = match name {
        SubjectName::Host(host) => (SanType::Dns, host),
        SubjectName::Uri(uri) => (SanType::Uri, uri),
    };
    SubjectAltNameMatcher {
        san_type: san_type.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(exact.clone())),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// How the endpoints of this cluster are reached; `None` is plainly.
pub(crate) fn socket(service: &ServiceName, upstream: &Upstream) -> Option<TransportSocket> {
    let sni = upstream.server_name.clone()?;
    let secret = SdsSecretConfig { name: backend_trust_name(service), sds_config: Some(ads()) };
    Some(tls::socket(any(&UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: upstream::alpn(upstream).iter().map(|&name| name.to_owned()).collect(),
            validation_context_type: Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)),
            ..Default::default()
        }),
        sni,
        ..Default::default()
    })))
}
