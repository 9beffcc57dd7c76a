//! Whom to believe: the roots of a trust domain, and which serials not to.

use super::{BACKDATED, CertificateFacts, Party, Serial, TrustDomain, certificate::Unreadable};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    time::Duration,
};

/// The most roots: the old and the new one of a rotation, and as much again for an own authority's chain.
pub const MAX_ROOTS: usize = 8;

/// The most revoked serials: they are forgotten when the certificate has expired anyway.
pub const MAX_REVOKED: usize = 10_000;

/// The SHA-256 of a public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// Its 32 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Of a digest, which has 32 bytes.
    pub(super) fn of(digest: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest);
        Self(bytes)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl FromStr for Pin {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let wrong = || Unreadable("a pin has 64 hexadecimal digits".to_owned());
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// Why roots cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not certificates.
    #[error("the trust bundle cannot be read: {0}")]
    Unreadable(String),
    /// None, or too many.
    #[error("a trust bundle has 1 to {MAX_ROOTS} roots, not {0}")]
    Count(usize),
    /// A root that may not issue.
    #[error("{0} in the trust bundle is not the certificate of an authority")]
    NotAnAuthority(String),
    /// Too many revoked serials.
    #[error("at most {MAX_REVOKED} certificates can be revoked at a time, not {0}")]
    Revoked(usize),
}

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    roots: Vec<CertificateDer<'static>>,
    revoked: BTreeSet<Serial>,
    ended: BTreeMap<Party, Duration>,
}

impl TrustBundle {
    /// These roots, each once, and nobody revoked.
    ///
    /// # Errors
    /// If there are none or too many, or one may not issue certificates.
    pub fn new(
        trust_domain: TrustDomain,
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, BundleError> {
        let mut each = Vec::new();
        for root in roots {
            let facts =
                CertificateFacts::read(&root).map_err(|error| BundleError::Unreadable(error.to_string()))?;
            if !facts.is_ca {
                return Err(BundleError::NotAnAuthority(facts.names));
            }
            if !each.contains(&root) {
                each.push(root);
            }
        }
        if each.is_empty() || each.len() > MAX_ROOTS {
            return Err(BundleError::Count(each.len()));
        }
        Ok(Self { trust_domain, roots: each, revoked: BTreeSet::new(), ended: BTreeMap::new() })
    }

    /// The same with these serials revoked.
    ///
    /// # Errors
    /// If there are too many.
    pub fn revoking(mut self, revoked: BTreeSet<Serial>) -> Result<Self, BundleError> {
        if revoked.len() > MAX_REVOKED {
            return Err(BundleError::Revoked(revoked.len()));
        }
        self.revoked = revoked;
        Ok(self)
    }

    /// The same, and of each of these parties nothing is believed that was issued up to then, since 1970, in whole seconds:
    /// for an authority that keeps no list of what it issued.
    ///
    /// # Errors
    /// If there are too many.
    pub fn ending(mut self, ended: BTreeMap<Party, Duration>) -> Result<Self, BundleError> {
        if ended.len() > MAX_REVOKED {
            return Err(BundleError::Revoked(ended.len()));
        }
        self.ended = ended;
        Ok(self)
    }

    /// Whether a certificate was revoked, by its serial or with all that its party had.
    #[must_use]
    pub fn revokes(&self, facts: &CertificateFacts) -> bool {
        let issued = facts.not_before + BACKDATED;
        let ended = facts.id.as_ref().and_then(|id| self.ended.get(&id.party));
        self.revoked.contains(&facts.serial) || ended.is_some_and(|ended| issued.as_secs() <= ended.as_secs())
    }

    /// Reads certificates from PEM.
    ///
    /// # Errors
    /// If the text holds anything that is none.
    pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, BundleError> {
        let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        read.map_err(|error| BundleError::Unreadable(error.to_string()))
    }

    /// The trust domain.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The roots.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The revoked serials.
    #[must_use]
    pub const fn revoked(&self) -> &BTreeSet<Serial> {
        &self.revoked
    }

    pub(super) fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        // Each was read as an authority's certificate before.
        store.add_parsable_certificates(self.roots.iter().cloned());
        store
    }
}
