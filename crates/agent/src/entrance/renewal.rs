//! Gateways' certificates while the agent runs: renewed for whoever shows one that is good still, and of another authority once
//! somebody replaced the files of it. No stream ends by either.

use super::{EnvoyAuthority, EnvoyCertificateError};
use crate::run::Gateways;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tidegate_link::{
    identity::{
        Accepted, BACKDATED, CertificateFacts, Clock as _, Identity, Party, PeerInfo, Refusals, SystemClock,
        TlsServerConfig, TrustBundle, TrustDomain,
    },
    proto::{
        GatewayCredentials, GatewayRenewal,
        gateway_identity_server::{GatewayIdentity, GatewayIdentityServer},
    },
};
use tidegate_model::{ClusterName, GatewayName};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// How often the files of the authority are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// A request is a signing request, which has some 250 bytes.
const MAX_REQUEST_BYTES: usize = 8 << 10;

/// What the agent is to its gateways. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Vouching {
    state: PathBuf,
    trust_domain: TrustDomain,
    cluster: ClusterName,
    authority: Arc<RwLock<Arc<EnvoyAuthority>>>,
    identity: Identity,
    gateways: Gateways,
}

impl Vouching {
    /// By the authority in the agent's state, which is made if there is none.
    pub(crate) fn open(
        state: &Path,
        trust_domain: TrustDomain,
        cluster: ClusterName,
        gateways: Gateways,
        refusals: Refusals,
    ) -> Result<Self, EnvoyCertificateError> {
        let authority = EnvoyAuthority::open(state, trust_domain.clone(), cluster.clone())?;
        let identity = Identity::new(authority.credentials()?, refusals, Arc::new(SystemClock));
        let authority = Arc::new(RwLock::new(Arc::new(authority)));
        Ok(Self { state: state.to_owned(), trust_domain, cluster, authority, identity, gateways })
    }

    /// For the gateways' door.
    pub(crate) fn server(&self) -> Result<Arc<TlsServerConfig>, EnvoyCertificateError> {
        Ok(self.identity.server(self.authority().expected(), false)?)
    }

    /// Breaks the connections of gateways whose certificates are revoked.
    pub(crate) fn watched(&self, accepted: Accepted) -> Accepted {
        accepted.until_revoked(&self.identity)
    }

    pub(crate) fn service(&self) -> GatewayIdentityServer<Self> {
        GatewayIdentityServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    fn authority(&self) -> Arc<EnvoyAuthority> {
        Arc::clone(&self.authority.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows the files of the authority until `stop`.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        let mut told = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let own = self.clone();
            let looked = tokio::task::spawn_blocking(move || own.look()).await;
            // The same words over and over would hide others.
            let why = match looked {
                Ok(Err(error)) => error.to_string(),
                _ => String::new(),
            };
            if why != told && !why.is_empty() {
                tracing::error!("the authority of the gateways stays as it was: {why}");
            }
            told = why;
        }
    }

    fn read(&self) -> Result<EnvoyAuthority, EnvoyCertificateError> {
        EnvoyAuthority::open(&self.state, self.trust_domain.clone(), self.cluster.clone())
    }

    /// Whom the files say now to believe, before the next look: what was revoked a moment ago must not be exchanged for something
    /// younger than that. Without it, what was read last counts, and `follow` tells why.
    async fn believed_now(&self) -> Option<TrustBundle> {
        let own = self.clone();
        tokio::task::spawn_blocking(move || own.read()?.bundle()).await.ok()?.ok()
    }

    /// Takes over what is in the files now, and makes the own certificate anew in time.
    fn look(&self) -> Result<(), EnvoyCertificateError> {
        let found = self.read()?;
        let is_due = self.identity.current().facts.renew_at() <= SystemClock.now();
        if self.authority().is_as(&found) && !is_due {
            return Ok(());
        }
        let credentials = found.credentials()?;
        let roots = credentials.bundle.roots().len();
        *self.authority.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        self.identity.swap(credentials);
        tracing::info!(roots, "the authority of the gateways was read anew");
        Ok(())
    }

    /// The gateway of a certificate that the handshake has verified, perhaps long ago.
    fn gateway(&self, facts: &CertificateFacts, now: Option<&TrustBundle>) -> Result<GatewayName, Status> {
        let refuse = |word: &'static str, why: String| {
            self.identity.refusals().note(word, &why, Instant::now());
            Status::permission_denied(why)
        };
        let Some(Party::Envoy(_, gateway)) = facts.id.as_ref().map(|id| &id.party) else {
            return Err(refuse("other_party", format!("{} is no gateway's and is not renewed", facts.names)));
        };
        let current = self.identity.current();
        if now.unwrap_or(&current.bundle).revokes(facts) {
            return Err(refuse("revoked", format!("{} is not renewed: it was revoked", facts.names)));
        }
        if facts.not_after.as_secs() <= SystemClock.now().as_secs() {
            return Err(refuse(
                "expired",
                format!("{} is not renewed: its certificate has expired", facts.names),
            ));
        }
        if !self.gateways.read().unwrap_or_else(PoisonError::into_inner).contains_key(gateway) {
            let why =
                format!("{} is not renewed: there is no gateway {gateway} in the manifests", facts.names);
            return Err(refuse("other_gateway", why));
        }
        Ok(gateway.clone())
    }
}

/// As long as the one that is shown was to last: whoever has it cannot make it last longer.
fn lifetime(facts: &CertificateFacts) -> Duration {
    let issued = (facts.not_before + BACKDATED).min(facts.not_after);
    facts.not_after.saturating_sub(issued).max(Duration::from_secs(1))
}

#[tonic::async_trait]
impl GatewayIdentity for Vouching {
    async fn renew(&self, request: Request<GatewayRenewal>) -> Result<Response<GatewayCredentials>, Status> {
        let facts = request.extensions().get::<PeerInfo>().and_then(|info| info.certificate.clone());
        let facts = facts.ok_or_else(|| Status::unauthenticated("only gateways are served here"))?;
        // Before it is asked what is revoked: one that is taken over meanwhile would date what it signs after a revocation.
        let authority = self.authority();
        let gateway = self.gateway(&facts, self.believed_now().await.as_ref())?;
        let failed = |error: &dyn std::fmt::Display| Status::failed_precondition(error.to_string());
        let bundle = authority.bundle().map_err(|error| failed(&error))?;
        let request = request.into_inner().request;
        let mut chain = Vec::new();
        if !request.is_empty() {
            let issued =
                authority.sign(&request, &gateway, lifetime(&facts)).map_err(|error| failed(&error))?;
            tracing::info!(%gateway, serial = %issued.facts.serial, "the certificate of its Envoys is renewed");
            chain = issued.chain.iter().map(|it| it.to_vec()).collect();
        }
        let roots = bundle.roots().iter().map(|it| it.to_vec()).collect();
        Ok(Response::new(GatewayCredentials { chain, roots }))
    }
}
