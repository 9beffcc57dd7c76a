//! How a server's certificate is judged by other names than the one that is asked for, by nobody's authority, or not at all.

use crate::SubjectName;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::sync::Arc;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// Whose certificates are accepted.
#[derive(Debug)]
pub(super) enum Roots {
    /// Anybody's, but only from who holds its key.
    Any,
    /// Those of these authorities.
    These(Arc<RootCertStore>),
    /// Nobody's, and why.
    None(Arc<str>),
}

/// Judges certificates.
#[derive(Debug)]
pub(super) struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    roots: Roots,
    /// Names of which one suffices; without any, the name that is asked for.
    names: Vec<SubjectName>,
}

/// Why nobody is believed, or which name a certificate lacks.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

fn refused(why: String) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused(why)))))
}

impl Verifier {
    pub(super) fn new(provider: &CryptoProvider, roots: Roots, names: Vec<SubjectName>) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, roots, names }
    }

    fn bears_name(&self, end_entity: &CertificateDer<'_>, asked: &ServerName<'_>) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if self.names.is_empty() {
            return verify_server_name(&parsed, asked);
        }
        let is_borne = |name: &SubjectName| match name {
            SubjectName::Host(host) => {
                // What a wildcard stands for is not asked for: the certificate has to bear the wildcard itself.
                let name = ServerName::try_from(host.as_str());
                name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
                    || bears(end_entity, &GeneralName::DNSName(host))
            }
            SubjectName::Uri(uri) => bears(end_entity, &GeneralName::URI(uri)),
        };
        match self.names.iter().any(is_borne) {
            true => Ok(()),
            false => {
                let names: Vec<&str> = self.names.iter().map(text).collect();
                Err(refused(format!("the certificate bears none of the names {}", names.join(", "))))
            }
        }
    }
}

const fn text(name: &SubjectName) -> &str {
    match name {
        SubjectName::Host(name) | SubjectName::Uri(name) => name.as_str(),
    }
}

/// Whether this very name is among those of a certificate.
fn bears(end_entity: &CertificateDer<'_>, wanted: &GeneralName<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(end_entity) else { return false };
    let names = certificate.subject_alternative_name().ok().flatten();
    names.is_some_and(|names| names.value.general_names.contains(wanted))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.roots {
            Roots::Any => {}
            Roots::None(why) => return Err(refused(why.to_string())),
            Roots::These(roots) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                let algorithms = self.algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
                self.bears_name(end_entity, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
