//! The head of a policy: which one it is, and the hub's signature on that.

use super::proto;
use crate::identity::{IdentityError, TrustDomain};
use prost::Message as _;
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use std::fmt;

/// Signed before the bytes of a head: nothing else that this key signs can be taken for one.
const CONTEXT: &[u8] = b"tidegate policy head v1\n";

/// The longest version.
const MAX_VERSION: usize = 128;

/// A key that policy is signed with, as its verifiers know it.
pub type PolicyKey = [u8; 32];

/// Which policy it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The fleet that it is for.
    pub trust_domain: TrustDomain,
    /// Counts the hub's policies, from 1.
    pub sequence: u64,
    /// The commit, or a digest of the content.
    pub version: String,
    /// The SHA-256 over all objects: [`super::digest`].
    pub digest: [u8; 32],
    /// Counts the hubs that were promoted, one after the other; 0 for the first. An agent never takes a lower one.
    pub epoch: u64,
}

/// A head with its signature, as it travels and is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedHead {
    /// The bytes that were signed.
    pub head: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Why a head is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// No key that is believed signed it.
    #[error("the policy is not signed by a key of this fleet's hub")]
    Signature,
    /// It is none.
    #[error("the head of the policy cannot be read: {0}")]
    Unreadable(String),
    /// It is for somebody else.
    #[error("the policy is for the trust domain {0}, not for this one")]
    TrustDomain(TrustDomain),
}

impl From<IdentityError> for HeadError {
    fn from(error: IdentityError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl SignedHead {
    /// Reads it, if one of `keys` signed it, for `trust_domain`.
    ///
    /// # Errors
    /// If it is not to be believed.
    pub fn open(&self, keys: &[PolicyKey], trust_domain: &TrustDomain) -> Result<Head, HeadError> {
        let signed = [CONTEXT, &self.head].concat();
        let by =
            |key: &PolicyKey| UnparsedPublicKey::new(&ED25519, key).verify(&signed, &self.signature).is_ok();
        if !keys.iter().any(by) {
            return Err(HeadError::Signature);
        }
        let unreadable = |why: &str| HeadError::Unreadable(why.to_owned());
        let head =
            proto::Head::decode(&self.head[..]).map_err(|error| HeadError::Unreadable(error.to_string()))?;
        let digest = head.digest.try_into().map_err(|_| unreadable("its digest has not 32 bytes"))?;
        if head.sequence == 0 || head.version.len() > MAX_VERSION {
            return Err(unreadable("its sequence is 0 or its version too long"));
        }
        let found: TrustDomain = head.trust_domain.parse()?;
        if found != *trust_domain {
            return Err(HeadError::TrustDomain(found));
        }
        let (sequence, version, epoch) = (head.sequence, head.version, head.epoch);
        Ok(Head { trust_domain: found, sequence, version, digest, epoch })
    }

    /// The version that it names, whoever signed it; `None` if it cannot be read. For people, never to decide by.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        proto::Head::decode(&self.head[..]).ok().map(|head| head.version)
    }

    /// For the wire.
    #[must_use]
    pub fn to_proto(&self) -> proto::SignedHead {
        proto::SignedHead { head: self.head.clone(), signature: self.signature.clone() }
    }

    /// From the wire.
    #[must_use]
    pub fn from_proto(head: &proto::SignedHead) -> Self {
        Self { head: head.head.clone(), signature: head.signature.clone() }
    }
}

/// The hub's key for policy. It is not shown by `Debug`.
pub struct PolicySigner {
    pair: Ed25519KeyPair,
}

impl PolicySigner {
    /// A new key as PKCS#8, by the system's randomness; `None` if it has none to give.
    #[must_use]
    pub fn draw() -> Option<Vec<u8>> {
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().map(|key| key.as_ref().to_vec())
    }

    /// Reads a key; `None` if it is none.
    #[must_use]
    pub fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_pkcs8(bytes).ok().map(|pair| Self { pair })
    }

    /// What verifiers know.
    #[must_use]
    pub fn public(&self) -> PolicyKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        key
    }

    /// Signs bytes that begin with a context of their own.
    pub(super) fn sign_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }

    /// Signs a head.
    #[must_use]
    pub fn sign(&self, head: &Head) -> SignedHead {
        let head = proto::Head {
            trust_domain: head.trust_domain.to_string(),
            sequence: head.sequence,
            version: head.version.clone(),
            digest: head.digest.to_vec(),
            epoch: head.epoch,
        };
        let head = head.encode_to_vec();
        let signature = self.pair.sign(&[CONTEXT, &head].concat()).as_ref().to_vec();
        SignedHead { head, signature }
    }
}

impl fmt::Debug for PolicySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicySigner(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_believed_from_its_own_hub_only() {
        let signer = || PolicySigner::from_pkcs8(&PolicySigner::draw().unwrap()).unwrap();
        let (own, other) = (signer(), signer());
        let domain: TrustDomain = "fleet.example".parse().unwrap();
        let head = Head {
            trust_domain: domain.clone(),
            sequence: 3,
            version: "v3".to_owned(),
            digest: [7; 32],
            epoch: 1,
        };
        let signed = own.sign(&head);
        assert_eq!(signed.open(&[other.public(), own.public()], &domain), Ok(head));
        assert_eq!(signed.open(&[other.public()], &domain), Err(HeadError::Signature));
        assert_eq!(signed.open(&[], &domain), Err(HeadError::Signature));
        let elsewhere = "other.example".parse().unwrap();
        let refused = signed.open(&[own.public()], &elsewhere);
        assert_eq!(refused, Err(HeadError::TrustDomain(domain.clone())));
        for at in 0..signed.head.len() {
            let mut forged = signed.clone();
            forged.head[at] ^= 1;
            assert_eq!(forged.open(&[own.public()], &domain), Err(HeadError::Signature));
        }
        assert_eq!(format!("{own:?}"), "PolicySigner(not shown)");
    }
}
