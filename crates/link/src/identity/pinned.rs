//! The first contact with a hub: nothing is known of it but the pin of its authority, from the join token.

use super::{
    CertificateFacts, Clock, Party, Pin, Refusal, TlsError, TrustDomain, Why,
    live::{provider, time},
    verify::{as_tls, chain, signatures},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use std::sync::{Arc, Mutex, PoisonError};

/// What a first contact learned once its handshake succeeded, or why it did not.
#[derive(Clone, Debug, Default)]
pub struct SeenHub(Arc<Mutex<Option<Result<TrustDomain, Refusal>>>>);

impl SeenHub {
    /// The hub's trust domain, or why the hub is not believed; `None` before the handshake.
    #[must_use]
    pub fn get(&self) -> Option<Result<TrustDomain, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A client for a first contact: it shows nothing, and believes a hub whose authority's root has this pin.
///
/// # Errors
/// If TLS cannot be set up.
pub fn pinned_client(pin: Pin, clock: &Arc<dyn Clock>) -> Result<(Arc<ClientConfig>, SeenHub), TlsError> {
    pinned(pin, clock, false)
}

/// The same, for doors where people ask: those of the hub and of agents.
pub(super) fn pinned(
    pin: Pin,
    clock: &Arc<dyn Clock>,
    or_agent: bool,
) -> Result<(Arc<ClientConfig>, SeenHub), TlsError> {
    let seen = SeenHub::default();
    let verifier = Pinned { pin, seen: seen.clone(), or_agent };
    let mut config = ClientConfig::builder_with_details(provider(), time(clock))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((Arc::new(config), seen))
}

#[derive(Debug)]
struct Pinned {
    pin: Pin,
    seen: SeenHub,
    /// Whether an agent is believed, too.
    or_agent: bool,
}

impl Pinned {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<TrustDomain, Refusal> {
        let facts = CertificateFacts::read(leaf)
            .map_err(|error| Refusal::of(None, "", Why::Unreadable(error.to_string())))?;
        let refuse = |why: Why| Refusal::of(facts.id.as_ref(), &facts.names, why);
        let is_it = |certificate: &&CertificateDer<'_>| {
            CertificateFacts::read(certificate).is_ok_and(|facts| facts.is_ca && facts.key == self.pin)
        };
        let root = above.iter().find(is_it).ok_or_else(|| refuse(Why::Pin))?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned()).map_err(|error| refuse(Why::Chain(error.to_string())))?;
        chain(&roots, &facts, leaf, above, now).map_err(&refuse)?;
        match &facts.id {
            Some(id) if id.party == Party::Hub || (self.or_agent && matches!(id.party, Party::Agent(_))) => {
                Ok(id.trust_domain.clone())
            }
            Some(_) => Err(refuse(Why::Party(Party::Hub.to_string()))),
            None => Err(refuse(Why::NoIdentity)),
        }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = self.check(leaf, above, now);
        *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(checked.clone());
        checked.map(|_| ServerCertVerified::assertion()).map_err(as_tls)
    }

    signatures!();
}
