//! What the cluster shows: the certificate of its agent, and that of its gateways. Both keys are made here and stay here.

use super::HubError;
use std::fmt;
use tidegate_link::{
    hub::{Trust, proto},
    identity::{CertificateDer, Credentials, KeyError, PrivateKey, TlsError, list_to_pem, to_pem},
};

/// The keys of signing requests that are under way.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) agent: PrivateKey,
    pub(super) gateway: PrivateKey,
}

impl Keys {
    pub(super) fn generate() -> Result<Self, KeyError> {
        Ok(Self { agent: PrivateKey::generate()?, gateway: PrivateKey::generate()? })
    }

    /// The certificates of both, if they can be used.
    pub(super) fn shown(
        self,
        answer: &proto::Credentials,
        trust: &Trust,
    ) -> Result<(Shown, Shown), HubError> {
        if answer.gateway_chain.is_empty() {
            return Err(HubError::OlderHub);
        }
        let shown = |key, chain: &[Vec<u8>]| {
            let shown = Shown { key, chain: chain.iter().cloned().map(CertificateDer::from).collect() };
            shown.credentials(trust).map(|_| shown)
        };
        Ok((shown(self.agent, &answer.chain)?, shown(self.gateway, &answer.gateway_chain)?))
    }
}

/// A key, and its certificate with those above it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) key: PrivateKey,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Shown {
    pub(super) fn read(key: &str, chain: Vec<Vec<u8>>) -> Result<Self, KeyError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Ok(Self { key: PrivateKey::from_pem(key)?, chain })
    }

    pub(super) fn to_der(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|it| it.to_vec()).collect()
    }

    pub(super) fn credentials(&self, trust: &Trust) -> Result<Credentials, TlsError> {
        Credentials::new(self.chain.clone(), &self.key, trust.bundle.clone())
    }
}

/// What the cluster's gateways show and whom they believe, as PEM. The key is shown to nobody but them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GatewaySecrets {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) trust_domain: String,
    pub(crate) roots: String,
    /// What is revoked, as a signed list; empty if there is none.
    pub(crate) revocations: String,
}

impl GatewaySecrets {
    pub(super) fn of(gateway: &Shown, trust: &Trust) -> Self {
        Self {
            chain: to_pem(&gateway.chain),
            key: gateway.key.to_pem(),
            trust_domain: trust.bundle.trust_domain().to_string(),
            roots: to_pem(trust.bundle.roots()),
            revocations: match trust.revocations.is_empty() {
                true => String::new(),
                false => list_to_pem(&trust.revocations),
            },
        }
    }
}

impl fmt::Debug for GatewaySecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewaySecrets(not shown)")
    }
}
