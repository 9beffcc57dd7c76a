//! An identity in use: what a party shows and whom it believes, swapped while streams live.

use super::{
    CertificateFacts, Expect, KeyError, PrivateKey, Refusals, Serial, TrustBundle, Unreadable,
    verify::Verifier,
};
use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{CertificateDer, UnixTime},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    time_provider::TimeProvider,
    version::TLS13,
};
use std::{fmt, sync::Arc};
use tokio::sync::watch;

/// Says what time it is.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time since 1970.
    fn now(&self) -> UnixTime;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        UnixTime::now()
    }
}

/// Why no connection can be configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key cannot sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The own certificate cannot be read.
    #[error("the own certificate cannot be used: {0}")]
    Certificate(#[from] Unreadable),
    /// The own certificate is missing or of another key.
    #[error("the own certificate is missing or not of the own key")]
    OtherKey,
    /// TLS itself refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What a party shows, and whom it believes.
#[derive(Debug)]
pub struct Credentials {
    /// Whom it believes.
    pub bundle: TrustBundle,
    /// What its own certificate says.
    pub facts: CertificateFacts,
    pub(super) shown: Arc<CertifiedKey>,
}

impl Credentials {
    /// The certificate with those above it, its key, and whom to believe.
    ///
    /// # Errors
    /// If the certificate cannot be read or is not of that key.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKey,
        bundle: TrustBundle,
    ) -> Result<Self, TlsError> {
        let facts = CertificateFacts::read(chain.first().ok_or(TlsError::OtherKey)?)?;
        let shown = CertifiedKey::new(chain, key.signer()?);
        shown.keys_match().map_err(|_| TlsError::OtherKey)?;
        Ok(Self { bundle, facts, shown: Arc::new(shown) })
    }
}

/// An identity in use. Clones share everything, and see every swap.
#[derive(Clone, Debug)]
pub struct Identity {
    current: watch::Sender<Arc<Credentials>>,
    refusals: Refusals,
    clock: Arc<dyn Clock>,
}

impl Identity {
    /// An identity that judges by this clock.
    #[must_use]
    pub fn new(credentials: Credentials, refusals: Refusals, clock: Arc<dyn Clock>) -> Self {
        Self { current: watch::Sender::new(Arc::new(credentials)), refusals, clock }
    }

    /// What it is now.
    #[must_use]
    pub fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.current.borrow())
    }

    /// From now on it is this. Streams that are open stay, unless whoever serves them ends them because the other side
    /// was [revoked](Self::revoked).
    pub fn swap(&self, credentials: Credentials) {
        self.current.send_replace(Arc::new(credentials));
    }

    /// Comes back once the certificate of this serial is revoked.
    pub async fn revoked(&self, serial: &Serial) {
        let is_revoked = |it: &Arc<Credentials>| it.bundle.revoked().contains(serial);
        // The sender lives as long as `self`.
        let _ = self.current.subscribe().wait_for(is_revoked).await;
    }

    /// Comes back once a certificate is revoked, by its serial or with all that its party had.
    pub async fn revokes(&self, facts: &CertificateFacts) {
        // The sender lives as long as `self`.
        let _ = self.current.subscribe().wait_for(|it| it.bundle.revokes(facts)).await;
    }

    /// Who was refused.
    #[must_use]
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The clock that it judges by.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// For a server: TLS 1.3, no resumption (each connection is judged anew). With `or_nobody`, clients without a certificate
    /// are let in as nobody, for a first contact.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn server(&self, expect: Expect, or_nobody: bool) -> Result<Arc<ServerConfig>, TlsError> {
        let verifier = Verifier { identity: self.clone(), expect, or_nobody };
        let mut config = ServerConfig::builder_with_details(provider(), time(&self.clock))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(self.clone()));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// For a client that shows who it is.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn client(&self, expect: Expect) -> Result<Arc<ClientConfig>, TlsError> {
        let verifier = Verifier { identity: self.clone(), expect, or_nobody: false };
        let mut config = ClientConfig::builder_with_details(provider(), time(&self.clock))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(self.clone()));
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().shown))
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().shown))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The one provider of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(default_provider()));
    Arc::clone(&PROVIDER)
}

#[derive(Debug)]
struct ClockOfTls(Arc<dyn Clock>);

impl TimeProvider for ClockOfTls {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0.now())
    }
}

pub(super) fn time(clock: &Arc<dyn Clock>) -> Arc<dyn TimeProvider> {
    Arc::new(ClockOfTls(Arc::clone(clock)))
}
