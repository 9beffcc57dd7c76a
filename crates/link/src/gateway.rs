//! How the certificate by which a gateway's Envoys come to their agent is renewed: asking for it, and what is believed of the answer.
//!
//! The key is made where the Envoys run and stays there. Who asks is known by the certificate that is shown, which has to be good
//! still; so whoever keeps asking in time never needs another hand.

use crate::{
    identity::{
        CertificateDer, Credentials, DialError, Expect, Identity, KeyError, Party, PrivateKey, SpiffeId,
        TlsError, TrustBundle, connect,
    },
    proto::{GatewayCredentials, GatewayRenewal, gateway_identity_client::GatewayIdentityClient},
};
use std::time::Duration;
use tokio::time::timeout;

/// An answer may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of asking.
#[derive(Debug)]
pub struct Renewed {
    /// The new key and its certificate with those above it; `None` if none was asked for.
    pub shown: Option<(PrivateKey, Vec<CertificateDer<'static>>)>,
    /// By which the agent is known from now on. The first is the one that new certificates are of.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Why nothing came of it. Asking again may help, also another replica of the agent.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No answer.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The agent does not.
    #[error("{0}")]
    Refused(String),
    /// The answer is not what was asked for.
    #[error("the agent's answer cannot be used: {0}")]
    Answer(String),
}

/// Asks the agent of the cluster at `address` (`HOST:PORT`): for a certificate of the name that `own` has, if one is `wanted`,
/// and for the roots in any case.
///
/// # Errors
/// If none comes that can be used.
pub async fn renew(address: &str, own: &Identity, wanted: bool) -> Result<Renewed, RenewError> {
    let credentials = own.current();
    let id = credentials.facts.id.clone();
    let Some(SpiffeId { trust_domain, party: Party::Envoy(cluster, _) }) = &id else {
        return Err(RenewError::Refused("the own certificate is of no gateway's Envoys".to_owned()));
    };
    let config = own.client(Expect::Exactly(Party::Agent(cluster.clone())))?;
    let channel = connect(address, config).await?;
    let key = if wanted { Some(PrivateKey::generate()?) } else { None };
    let request = key.as_ref().map(PrivateKey::request).transpose()?.unwrap_or_default();
    let mut client = GatewayIdentityClient::new(channel);
    let answer = timeout(PATIENCE, client.renew(GatewayRenewal { request })).await;
    let answer = answer.map_err(|_| RenewError::Silent)?;
    let GatewayCredentials { chain, roots } = answer
        .map_err(|status| RenewError::Refused(status.message().chars().take(200).collect()))?
        .into_inner();
    let wrong = |why: &dyn std::fmt::Display| RenewError::Answer(why.to_string());
    let bundle = TrustBundle::new(trust_domain.clone(), roots.into_iter().map(CertificateDer::from));
    let bundle = bundle.map_err(|error| wrong(&error))?;
    let roots = bundle.roots().to_vec();
    let Some(key) = key else { return Ok(Renewed { shown: None, roots }) };
    let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
    // Of our key and name, by a root of theirs: anything else would lock the gateway out.
    let new = Credentials::new(chain.clone(), &key, bundle).map_err(|error| wrong(&error))?;
    if new.facts.id != id || !chain.last().is_some_and(|root| roots.contains(root)) {
        return Err(wrong(&format!("it is of {}", new.facts.names)));
    }
    Ok(Renewed { shown: Some((key, chain)), roots })
}
