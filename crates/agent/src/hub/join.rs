//! Belonging to a fleet: the token is redeemed once, and what came of it is kept in one file that only its owner may read.

use super::{
    HubOptions,
    shown::{GatewaySecrets, Keys, Shown},
};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tidegate_discovery::kube::AccessError;
use tidegate_link::{
    access::Grants,
    hub::{
        JoinToken, Redial, Trust, TrustError,
        proto::{self, enrolment_client::EnrolmentClient},
    },
    identity::{
        CertificateFacts, Clock, Credentials, DialError, Identity, IdentityError, KeyError, Refusals,
        SystemClock, TlsError, connect, pinned_client, write_secret,
    },
};
use tidegate_model::{ClusterName, NameError};
use tokio_util::sync::CancellationToken;

pub(super) const FILE: &str = "identity.json";

/// Why an agent does not belong to a fleet.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A file cannot be used.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It has neither a certificate nor a token.
    #[error(
        "this cluster has not joined the hub's fleet\n  hint: on the hub: tidegate cluster join-token NAME; here: --join TOKEN --hub ADDR"
    )]
    NoToken,
    /// Nobody said where the hub is.
    #[error("where is the hub?\n  hint: --hub HOST:PORT")]
    NoAddress,
    /// The names do not agree.
    #[error("--cluster says {said}, but {by} {named}")]
    OtherCluster {
        /// What was said.
        said: ClusterName,
        /// By whom it is named otherwise.
        by: &'static str,
        /// How.
        named: ClusterName,
    },
    /// The hub does not take it.
    #[error("the hub at {address} refuses: {why}")]
    Refused {
        /// The hub.
        address: String,
        /// Why.
        why: String,
    },
    /// The hub is not believed.
    #[error("the hub is not believed: {0}\n  hint: was the token made by this hub?")]
    Hub(tidegate_link::identity::Refusal),
    /// What the hub answered cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What is kept or was answered cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An identity is none.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The hub is older than this agent.
    #[error("the hub gives no certificate for the gateways\n  hint: update the hub first")]
    OlderHub,
    /// The API that keeps the identity cannot be asked.
    #[error(transparent)]
    Kubernetes(#[from] AccessError),
    /// The agent was stopped before.
    #[error("stopped before the hub was reached")]
    Stopped,
}

impl HubError {
    pub(super) fn file(path: &Path, source: &io::Error) -> Self {
        Self::File { path: path.to_owned(), why: source.to_string() }
    }
}

/// A member of a fleet.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) cluster: ClusterName,
    /// One at least: where the hub is, and where else it may be.
    pub(super) addresses: Vec<String>,
    pub(super) agent: Shown,
    /// Of the cluster's gateways; `None` only if a version that knew of none has joined.
    pub(super) gateway: Option<Shown>,
    pub(super) trust: Trust,
    /// The hash of the token that it joined with: it is redeemed once.
    joined_with: String,
}

/// The same on disk.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    cluster: ClusterName,
    address: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more_addresses: Vec<String>,
    joined_with: String,
    key: String,
    chain: Vec<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<KeptGateway>,
    trust_domain: String,
    roots: Vec<Vec<u8>>,
    revoked: Vec<String>,
    policy_keys: Vec<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revocations: Vec<u8>,
    #[serde(default, skip_serializing_if = "Grants::is_empty")]
    grants: Grants,
}

#[derive(Serialize, Deserialize)]
struct KeptGateway {
    key: String,
    chain: Vec<Vec<u8>>,
}

impl Member {
    pub(super) fn identity(&self, refusals: Refusals, clock: Arc<dyn Clock>) -> Result<Identity, HubError> {
        Ok(Identity::new(self.credentials()?, refusals, clock))
    }

    pub(super) fn credentials(&self) -> Result<Credentials, TlsError> {
        self.agent.credentials(&self.trust)
    }

    /// Whether what its gateways show is revoked.
    pub(super) fn gateway_is_revoked(&self) -> bool {
        let shown = self.gateway.as_ref().and_then(|it| it.chain.first());
        let facts = shown.and_then(|leaf| CertificateFacts::read(leaf).ok());
        facts.is_some_and(|facts| self.trust.bundle.revokes(&facts))
    }

    /// What its gateways are handed.
    pub(super) fn secrets(&self) -> Option<GatewaySecrets> {
        self.gateway.as_ref().map(|it| GatewaySecrets::of(it, &self.trust))
    }

    /// Takes new certificates of `keys`, or nothing of them.
    pub(super) fn renewed(&self, keys: Keys, answer: &proto::Credentials) -> Result<Self, HubError> {
        let trust = Trust::from_proto(&answer.trust.clone().unwrap_or_default())?;
        let (agent, gateway) = keys.shown(answer, &trust)?;
        Ok(Self {
            cluster: self.cluster.clone(),
            addresses: self.addresses.clone(),
            joined_with: self.joined_with.clone(),
            agent,
            gateway: Some(gateway),
            trust,
        })
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), HubError> {
        let trust = self.trust.to_proto();
        let kept = Kept {
            cluster: self.cluster.clone(),
            address: self.addresses.first().cloned().unwrap_or_default(),
            more_addresses: self.addresses.iter().skip(1).cloned().collect(),
            joined_with: self.joined_with.clone(),
            key: self.agent.key.to_pem(),
            chain: self.agent.to_der(),
            gateway: self.gateway.as_ref().map(|it| KeptGateway { key: it.key.to_pem(), chain: it.to_der() }),
            trust_domain: trust.trust_domain,
            roots: trust.roots,
            revoked: trust.revoked,
            policy_keys: trust.policy_keys,
            revocations: trust.revocations,
            grants: self.trust.grants.clone(),
        };
        let path = folder.join(FILE);
        let bytes = serde_json::to_vec(&kept).map_err(|error| HubError::file(&path, &error.into()))?;
        write_secret(&path, &bytes).map_err(|source| HubError::file(&path, &source))
    }

    pub(super) fn load(folder: &Path) -> Result<Option<Self>, HubError> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(HubError::file(&path, &source)),
        };
        Self::read(&bytes, path).map(Some)
    }

    /// Reads what [`Self::save`] wrote; `path` names where it is from.
    pub(super) fn read(bytes: &[u8], path: PathBuf) -> Result<Self, HubError> {
        // The error names a place in the file, and nothing that stands there.
        let kept: Kept = serde_json::from_slice(bytes).map_err(|error| HubError::File {
            path,
            why: format!(
                "it is torn or was changed (line {}, column {})\n  hint: remove it and join again",
                error.line(),
                error.column()
            ),
        })?;
        let Kept { trust_domain, roots, revoked, policy_keys, revocations, grants, .. } = kept;
        let trust =
            proto::Trust { trust_domain, roots, revoked, policy_keys, revocations, ..Default::default() };
        let trust = Trust { grants, ..Trust::from_proto(&trust)? };
        Ok(Self {
            cluster: kept.cluster,
            addresses: [kept.address].into_iter().chain(kept.more_addresses).collect(),
            agent: Shown::read(&kept.key, kept.chain)?,
            gateway: kept.gateway.map(|it| Shown::read(&it.key, it.chain)).transpose()?,
            trust,
            joined_with: kept.joined_with,
        })
    }

    /// Whether its certificate ends later.
    pub(super) fn lasts_longer_than(&self, other: &Self) -> bool {
        let ends = |member: &Self| member.credentials().ok().map(|it| it.facts.not_after);
        ends(self) > ends(other)
    }
}

/// Who this agent is: from disk, or by a token that was not redeemed before.
pub(super) async fn member(
    folder: &Path,
    options: HubOptions,
    cluster: Option<&ClusterName>,
    stop: &CancellationToken,
) -> Result<Member, HubError> {
    let kept = Member::load(folder)?;
    let HubOptions { addresses, token, .. } = options;
    let mut member = match (kept, token) {
        (Some(member), token) if token.as_ref().is_none_or(|it| it.secret.hash() == member.joined_with) => {
            member
        }
        (None, None) => return Err(HubError::NoToken),
        (kept, Some(token)) => {
            let known = kept.map(|it| it.addresses).unwrap_or_default();
            let addresses = if addresses.is_empty() { known } else { addresses.clone() };
            if addresses.is_empty() {
                return Err(HubError::NoAddress);
            }
            agree(cluster, "the token is for", &token.cluster)?;
            let member = join(&token, addresses, stop).await?;
            member.save(folder)?;
            tracing::info!(cluster = %member.cluster, hub = member.addresses.join(", "), "joined the fleet");
            member
        }
        (Some(member), None) => member,
    };
    agree(cluster, "this agent's certificate is of", &member.cluster)?;
    if !addresses.is_empty() {
        member.addresses = addresses;
    }
    Ok(member)
}

fn agree(said: Option<&ClusterName>, by: &'static str, named: &ClusterName) -> Result<(), HubError> {
    match said.filter(|said| *said != named) {
        Some(said) => Err(HubError::OtherCluster { said: said.clone(), by, named: named.clone() }),
        None => Ok(()),
    }
}

/// Redeems a token. As long as the hub does not answer it is asked again; what it refuses is final.
async fn join(
    token: &JoinToken,
    addresses: Vec<String>,
    stop: &CancellationToken,
) -> Result<Member, HubError> {
    // The same keys for all tries: the hub answers them again when its answer was lost.
    let keys = Keys::generate()?;
    let request = proto::JoinRequest {
        cluster: token.cluster.to_string(),
        secret: token.secret.to_bytes(),
        request: keys.agent.request()?,
        gateway_request: keys.gateway.request()?,
    };
    let mut redial = Redial::default();
    let mut turns = addresses.iter().cycle();
    let answer = loop {
        let address = turns.next().ok_or(HubError::NoAddress)?;
        let tried = tokio::select! {
            () = stop.cancelled() => return Err(HubError::Stopped),
            tried = ask(token, address, request.clone()) => tried?,
        };
        match tried {
            Ok(answer) => break answer,
            Err(why) => tracing::warn!("joining: {why}; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return Err(HubError::Stopped),
            () = tokio::time::sleep(redial.failed(addresses.len(), rand::rng().random())) => {}
        }
    };
    let trust = Trust::from_proto(&answer.trust.clone().unwrap_or_default())?;
    let (agent, gateway) = keys.shown(&answer, &trust)?;
    Ok(Member {
        cluster: token.cluster.clone(),
        addresses,
        agent,
        gateway: Some(gateway),
        trust,
        joined_with: token.secret.hash(),
    })
}

/// Asks once. What may pass is an inner error.
async fn ask(
    token: &JoinToken,
    address: &str,
    request: proto::JoinRequest,
) -> Result<Result<proto::Credentials, String>, HubError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (config, _) = pinned_client(token.pin, &clock)?;
    let channel = match connect(address, config).await {
        Ok(channel) => channel,
        Err(DialError::Refused(refusal)) => return Err(HubError::Hub(refusal)),
        Err(DialError::Tls(error)) => return Err(error.into()),
        Err(other) => return Ok(Err(other.to_string())),
    };
    match EnrolmentClient::new(channel).join(request).await {
        Ok(answer) => Ok(Ok(answer.into_inner())),
        Err(status)
            if [tonic::Code::PermissionDenied, tonic::Code::InvalidArgument].contains(&status.code()) =>
        {
            Err(HubError::Refused { address: address.to_owned(), why: status.message().to_owned() })
        }
        Err(status) => Ok(Err(status.to_string())),
    }
}
