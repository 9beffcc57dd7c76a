//! The hub's keys in its state folder: its authority, unless one is brought, and the key that signs policy.

use crate::run::HubError;
use std::{fs, io, path::Path, time::Duration};
use tidegate_link::{
    access::Grants,
    hub::{PolicySigner, Trust},
    identity::{
        Authority, CertificateDer, Credentials, Party, PrivateKey, Serial, TrustBundle, TrustDomain,
        UnixTime, write_public, write_secret,
    },
};

/// An authority that the hub makes itself lasts so long.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The hub's own certificate.
const HUB_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// What the hub signs with.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) authority: Authority,
    pub(crate) signer: PolicySigner,
    /// Roots that are believed besides the authority's own, while one replaces the other.
    pub(crate) other_roots: Vec<CertificateDer<'static>>,
}

impl Keys {
    /// Reads the keys below `state`, and makes those that are missing. `brought` is a folder with an authority of one's own.
    pub(crate) fn open(
        state: &Path,
        brought: Option<&Path>,
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<Self, HubError> {
        let own = state.join("ca");
        let folder = brought.unwrap_or(&own);
        if brought.is_none() && !own.join("tls.crt").exists() {
            fs::create_dir_all(&own).map_err(|source| file(&own, source))?;
            let (certificate, key) = Authority::create(trust_domain, now, AUTHORITY_LIFETIME)?;
            // The certificate comes last: where it lies, all of it does.
            let path = own.join("tls.key");
            write_secret(&path, key.as_bytes()).map_err(|source| file(&path, source))?;
            let path = own.join("tls.crt");
            write_public(&path, certificate.as_bytes()).map_err(|source| file(&path, source))?;
        }
        let authority = Authority::load(folder, trust_domain.clone())?;
        Ok(Self { authority, signer: signer(state)?, other_roots: Authority::also_trusted(folder)? })
    }

    /// Whom the fleet believes. The list for gateways is left out while there are two roots: the other one gives none, and
    /// gateways would refuse all that it issued.
    pub(crate) fn trust(
        &self,
        revoked: impl IntoIterator<Item = Serial>,
        grants: Grants,
        now: UnixTime,
    ) -> Result<Trust, HubError> {
        let roots = [self.authority.root().clone()].into_iter().chain(self.other_roots.iter().cloned());
        let bundle = TrustBundle::new(self.authority.trust_domain().clone(), roots)?;
        let bundle = bundle.revoking(revoked.into_iter().collect())?;
        let listed = !bundle.revoked().is_empty() && bundle.roots().len() == 1;
        let list = if listed { self.authority.revocations(bundle.revoked(), now)? } else { None };
        let (policy_keys, revocations) = (vec![self.signer.public()], list.unwrap_or_default());
        Ok(Trust { bundle, policy_keys, revocations, grants })
    }

    /// A certificate for the hub itself. Its key is never written.
    pub(crate) fn hub_credentials(&self, trust: &Trust, now: UnixTime) -> Result<Credentials, HubError> {
        let key = PrivateKey::generate().map_err(tidegate_link::identity::AuthorityError::from)?;
        let request = key.request().map_err(tidegate_link::identity::AuthorityError::from)?;
        let issued = self.authority.issue(&request, &Party::Hub, &draw_serial(), now, HUB_LIFETIME)?;
        Ok(Credentials::new(issued.chain, &key, trust.bundle.clone())?)
    }
}

/// RFC 5280: positive, at most 20 bytes; at least 64 random bits.
pub(crate) fn draw_serial() -> Serial {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] &= 0x7f;
    Serial::of(&bytes)
}

fn signer(state: &Path) -> Result<PolicySigner, HubError> {
    let path = state.join("policy.key");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = PolicySigner::draw().ok_or(HubError::Randomness)?;
            write_secret(&path, &bytes).map_err(|source| file(&path, source))?;
            bytes
        }
        Err(source) => return Err(file(&path, source)),
    };
    PolicySigner::from_pkcs8(&bytes).ok_or(HubError::PolicyKey(path))
}

fn file(path: &Path, source: io::Error) -> HubError {
    HubError::File { path: path.to_owned(), source }
}
