//! Whether the other side is believed: its chain, its id, and that it was not revoked.

use super::{
    CertificateFacts, Identity, Party, Refusal, Why,
    live::{Credentials, provider},
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{fmt, sync::Arc, time::Duration, time::Instant};
use tidegate_model::ClusterName;

/// Who may be at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The hub.
    Hub,
    /// An agent of any cluster.
    AnyAgent,
    /// The Envoys of any gateway of this cluster.
    EnvoysOf(ClusterName),
    /// Somebody of the people. Whether anything is granted to them is another question.
    Person,
    /// Exactly this one.
    Exactly(Party),
}

impl Expect {
    fn takes(&self, party: &Party) -> bool {
        match self {
            Self::Hub => *party == Party::Hub,
            Self::AnyAgent => matches!(party, Party::Agent(_)),
            Self::EnvoysOf(own) => matches!(party, Party::Envoy(cluster, _) if cluster == own),
            Self::Person => matches!(party, Party::Person(_)),
            Self::Exactly(expected) => party == expected,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => write!(f, "{}", Party::Hub),
            Self::AnyAgent => f.write_str("an agent"),
            Self::EnvoysOf(cluster) => write!(f, "an Envoy of a gateway of {cluster}"),
            Self::Person => f.write_str("a certificate of tidegate access certificate"),
            Self::Exactly(party) => write!(f, "{party}"),
        }
    }
}

/// Checks one certificate. Our certificates serve both ways, so one check serves both.
pub(super) fn check(
    credentials: &Credentials,
    expect: &Expect,
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<CertificateFacts, Refusal> {
    let bundle = &credentials.bundle;
    let facts = CertificateFacts::read(leaf)
        .map_err(|error| Refusal::of(None, "", Why::Unreadable(error.to_string())))?;
    let refuse = |why: Why| Refusal::of(facts.id.as_ref(), &facts.names, why);
    // What it claims is not believed yet; but who names another trust domain need not be looked at further.
    if let Some(id) = facts.id.as_ref().filter(|id| id.trust_domain != *bundle.trust_domain()) {
        return Err(Refusal::of(Some(id), "", Why::TrustDomain(bundle.trust_domain().clone())));
    }
    chain(&bundle.store(), &facts, leaf, above, now).map_err(&refuse)?;
    if bundle.revokes(&facts) {
        return Err(refuse(Why::Revoked(facts.serial.clone())));
    }
    match &facts.id {
        None => Err(refuse(Why::NoIdentity)),
        Some(id) if !expect.takes(&id.party) => Err(refuse(Why::Party(expect.to_string()))),
        Some(_) => Ok(facts),
    }
}

/// Whether the chain holds now.
pub(super) fn chain(
    roots: &rustls::RootCertStore,
    facts: &CertificateFacts,
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Why> {
    let parsed = ParsedCertificate::try_from(leaf).map_err(|error| Why::Unreadable(error.to_string()))?;
    let algorithms = provider().signature_verification_algorithms;
    let checked = verify_server_cert_signed_by_trust_anchor(&parsed, roots, above, now, algorithms.all);
    let Err(error) = checked else { return Ok(()) };
    let now = Duration::from_secs(now.as_secs());
    let Error::InvalidCertificate(why) = &error else { return Err(Why::Chain(error.to_string())) };
    Err(match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature if facts.self_issued => {
            Why::SelfSigned
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Why::UnknownAuthority,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } if facts.not_after <= now => {
            Why::Expired(now.saturating_sub(facts.not_after))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
            if facts.not_before > now =>
        {
            Why::NotYetValid(facts.not_before.saturating_sub(now))
        }
        // The root or one between, or something unusual.
        other => Why::Chain(other.to_string()),
    })
}

/// The check as TLS calls it.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) identity: Identity,
    pub(super) expect: Expect,
    /// Whether a client without a certificate is let in, as nobody.
    pub(super) or_nobody: bool,
}

impl Verifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let credentials = self.identity.current();
        check(&credentials, &self.expect, leaf, above, now).map(drop).map_err(|refusal| {
            self.identity.refusals().note(refusal.why.word(), &refusal.to_string(), Instant::now());
            as_tls(refusal)
        })
    }
}

/// As TLS tells it: the words stay here, the other side hears an alert.
pub(super) fn as_tls(refusal: Refusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = provider().signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signed, &algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = provider().signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signed, &algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}
pub(super) use signatures;

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, above, now).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.or_nobody
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, above, now).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}
