//! Whom to believe, as the hub tells it.

use super::{PolicyKey, proto};
use crate::access::{Grant, Grants, MAX_GRANTS};
use crate::identity::{BundleError, CertificateDer, IdentityError, Serial, TrustBundle};
use std::collections::BTreeSet;

/// The most keys for policy: those of a hub and its standby, and as many again while they are replaced.
const MAX_KEYS: usize = 8;

/// The longest list: [`tidegate_link::identity::MAX_REVOKED`](crate::identity::MAX_REVOKED) entries of some 40 bytes.
const MAX_LIST_BYTES: usize = 1 << 20;

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The trust domain is none.
    #[error(transparent)]
    Domain(#[from] IdentityError),
    /// The roots are none.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Something else.
    #[error("what the hub says of whom to believe cannot be used: {0}")]
    Wrong(&'static str),
}

/// Whom to believe: certificates, and policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Certificates.
    pub bundle: TrustBundle,
    /// Policy.
    pub policy_keys: Vec<PolicyKey>,
    /// What is revoked, as a signed list (DER); empty if there is none.
    pub revocations: Vec<u8>,
    /// Who of the people may ask at an agent's door.
    pub grants: Grants,
}

impl Trust {
    /// For the wire.
    #[must_use]
    pub fn to_proto(&self) -> proto::Trust {
        proto::Trust {
            trust_domain: self.bundle.trust_domain().to_string(),
            roots: self.bundle.roots().iter().map(|root| root.to_vec()).collect(),
            revoked: self.bundle.revoked().iter().map(ToString::to_string).collect(),
            policy_keys: self.policy_keys.iter().map(|key| key.to_vec()).collect(),
            revocations: self.revocations.clone(),
            grants: self.grants.iter().map(|(hash, grant)| told(hash, grant)).collect(),
        }
    }

    /// From the wire.
    ///
    /// # Errors
    /// If any of it is not what it should be.
    pub fn from_proto(trust: &proto::Trust) -> Result<Self, TrustError> {
        let roots = trust.roots.iter().map(|root| CertificateDer::from(root.clone()));
        let revoked: Result<BTreeSet<Serial>, _> = trust.revoked.iter().map(|it| it.parse()).collect();
        let revoked = revoked.map_err(|_| TrustError::Wrong("a revoked serial is none"))?;
        let keys: Option<Vec<PolicyKey>> =
            trust.policy_keys.iter().map(|key| key.as_slice().try_into().ok()).collect();
        let policy_keys = keys.ok_or(TrustError::Wrong("a key for policy has not 32 bytes"))?;
        if policy_keys.is_empty() || policy_keys.len() > MAX_KEYS {
            return Err(TrustError::Wrong("there are no keys for policy, or too many"));
        }
        let bundle = TrustBundle::new(trust.trust_domain.parse()?, roots)?.revoking(revoked)?;
        if trust.revocations.len() > MAX_LIST_BYTES {
            return Err(TrustError::Wrong("the list of revoked certificates is too long"));
        }
        let grants = trust.grants.iter().map(heard).collect::<Option<Grants>>();
        let grants = grants.filter(|it| it.len() <= MAX_GRANTS);
        let grants = grants.ok_or(TrustError::Wrong("a token of somebody is none, or there are too many"))?;
        Ok(Self { bundle, policy_keys, revocations: trust.revocations.clone(), grants })
    }
}

fn told(hash: &str, grant: &Grant) -> proto::Grant {
    proto::Grant {
        hash: hash.to_owned(),
        name: grant.name.clone(),
        role: grant.role.to_string(),
        limited: grant.namespaces.is_some(),
        namespaces: grant.namespaces.iter().flatten().cloned().collect(),
        expires_at: grant.expires_at,
    }
}

/// A role of a later version is none.
fn heard(grant: &proto::Grant) -> Option<(String, Grant)> {
    let namespaces = grant.limited.then(|| grant.namespaces.iter().cloned().collect());
    let (name, role) = (grant.name.clone(), grant.role.parse().ok()?);
    Some((grant.hash.clone(), Grant { name, role, namespaces, expires_at: grant.expires_at }))
}
