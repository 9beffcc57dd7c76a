//! The fleet's authority: it issues certificates, and decides which name stands in each.

use super::{
    BundleError, CertificateFacts, KeyError, Party, Pin, PrivateKey, Serial, SpiffeId, TrustBundle,
    TrustDomain, Unreadable,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
    SerialNumber,
};
use ring::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, UnixTime};
use std::{fs, io, path::Path, path::PathBuf, time::Duration};
use time::OffsetDateTime;

/// Certificates begin to be valid so long before they are issued: clocks of two clusters may differ.
pub const BACKDATED: Duration = Duration::from_secs(3600);

/// The longest signing request that is read: one of P-256 has some 250 bytes.
const MAX_REQUEST_BYTES: usize = 4 << 10;

/// Why an authority cannot be used, or does not issue.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read.
    #[error(
        "{path} cannot be read: {source}\n  hint: an authority is a folder with tls.crt, tls.key and, unless tls.crt is a root, ca.crt"
    )]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate is none.
    #[error(transparent)]
    Certificate(#[from] Unreadable),
    /// The roots are none.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// There is no certificate.
    #[error("the authority has no certificate")]
    Empty,
    /// The certificate may not issue others.
    #[error(
        "{0} may not issue certificates\n  hint: its certificate needs the basic constraint CA:TRUE (cert-manager: isCA: true)"
    )]
    NotAnAuthority(String),
    /// The key is of another certificate.
    #[error("the authority's key is not the one of its certificate")]
    OtherKey,
    /// The request is none, or of a key that is not taken.
    #[error("the signing request is refused: {0}")]
    Request(String),
    /// It would be valid for longer than the authority, or not at all.
    #[error("the authority itself is not valid {0}\n  hint: replace it (docs/hub.md, Rotate the authority)")]
    Validity(&'static str),
    /// Signing failed.
    #[error("no certificate could be signed: {0}")]
    Sign(String),
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, then those of its authorities up to the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// What it says.
    pub facts: CertificateFacts,
}

/// An authority. Its key is shown to nobody.
#[derive(Debug)]
pub struct Authority {
    trust_domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, then those of the authorities above it, up to a root.
    chain: Vec<CertificateDer<'static>>,
    facts: CertificateFacts,
}

impl Authority {
    /// Makes an authority of its own: the certificate, and the key as PEM. Randomness is the system's.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn create(
        trust_domain: &TrustDomain,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<(String, String), AuthorityError> {
        let key = PrivateKey::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = format!("{trust_domain} {}", &pin_of(key.pair()).to_string()[..8]);
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = validity(now, lifetime)?;
        let certificate = params.self_signed(key.pair()).map_err(|error| signing(&error))?;
        Ok((certificate.pem(), key.to_pem()))
    }

    /// An authority from PEM: its certificate (and those above it, in order), its key, and the roots if they are not among
    /// the certificates.
    ///
    /// # Errors
    /// If anything of it cannot be used, or the key is of another certificate.
    pub fn from_pem(
        trust_domain: TrustDomain,
        certificates: &str,
        key: &str,
        roots: Option<&str>,
    ) -> Result<Self, AuthorityError> {
        let mut chain = TrustBundle::certificates(certificates)?;
        if let Some(roots) = roots {
            for root in TrustBundle::certificates(roots)? {
                if !chain.contains(&root) {
                    chain.push(root);
                }
            }
        }
        let own = chain.first().ok_or(AuthorityError::Empty)?;
        let facts = CertificateFacts::read(own)?;
        if !facts.is_ca {
            return Err(AuthorityError::NotAnAuthority(facts.names));
        }
        let key = PrivateKey::from_pem(key)?.into_pair();
        if pin_of(&key) != facts.key {
            return Err(AuthorityError::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_der(own, key).map_err(|error| signing(&error))?;
        Ok(Self { trust_domain, issuer, chain, facts })
    }

    /// Reads `tls.crt`, `tls.key` and, if it is there, `ca.crt` from a folder, as cert-manager writes them.
    ///
    /// # Errors
    /// As [`Authority::from_pem`], and if a file cannot be read.
    pub fn load(folder: &Path, trust_domain: TrustDomain) -> Result<Self, AuthorityError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| AuthorityError::File { path, source })
        };
        let roots = match read("ca.crt") {
            Err(AuthorityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        Self::from_pem(trust_domain, &read("tls.crt")?, &read("tls.key")?, roots.as_deref())
    }

    /// Roots in `also-trusted/*.crt` of such a folder: they are believed besides the authority's own, while one replaces the other.
    ///
    /// # Errors
    /// If a file cannot be read or holds anything but certificates.
    pub fn also_trusted(folder: &Path) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        let folder = folder.join("also-trusted");
        let file = |path: &Path| {
            let path = path.to_owned();
            |source| AuthorityError::File { path, source }
        };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(file(&folder)(source)),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "crt"));
        paths.sort();
        let mut roots = Vec::new();
        for path in paths {
            roots.extend(TrustBundle::certificates(&fs::read_to_string(&path).map_err(file(&path))?)?);
        }
        Ok(roots)
    }

    pub(super) const fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Whether nobody stands above it.
    pub(super) fn is_root(&self) -> bool {
        self.chain.len() == 1 && self.facts.self_issued
    }

    /// The trust domain that it speaks for.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// What its own certificate says.
    #[must_use]
    pub const fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The root of what it issues: the last of its chain.
    ///
    /// # Panics
    /// Never: an authority has a certificate.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        self.chain.last().expect("an authority has a certificate")
    }

    /// What a join token says of the root, so that a first contact knows it.
    ///
    /// # Errors
    /// If the root cannot be read, which it was when the authority was made.
    pub fn pin(&self) -> Result<Pin, AuthorityError> {
        Ok(CertificateFacts::read(self.root())?.key)
    }

    /// Issues a certificate for the key of `request`. Only the key is taken from it; who it is for is the caller's word.
    ///
    /// # Errors
    /// If the request is none, is not signed by its own key, or is of another kind of key than ECDSA P-256; or if the authority
    /// is not valid now.
    pub fn issue(
        &self,
        request: &[u8],
        party: &Party,
        serial: &Serial,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<Issued, AuthorityError> {
        if request.len() > MAX_REQUEST_BYTES {
            return Err(AuthorityError::Request(format!("it has more than {MAX_REQUEST_BYTES} bytes")));
        }
        let der = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&der)
            .map_err(|error| AuthorityError::Request(error.to_string()))?;
        if *request.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
            return Err(AuthorityError::Request("its key is not ECDSA P-256".to_owned()));
        }
        let lifetime = self.within_own(now, lifetime)?;
        let id = SpiffeId { trust_domain: self.trust_domain.clone(), party: party.clone() };
        let params = leaf(&id, serial, now, lifetime)?;
        let certificate =
            params.signed_by(&request.public_key, &self.issuer).map_err(|error| signing(&error))?;
        let facts = CertificateFacts::read(certificate.der())?;
        let chain = [certificate.der().clone()].into_iter().chain(self.chain.iter().cloned()).collect();
        Ok(Issued { chain, facts })
    }

    /// No certificate outlives its authority.
    fn within_own(&self, now: UnixTime, lifetime: Duration) -> Result<Duration, AuthorityError> {
        let now = Duration::from_secs(now.as_secs());
        if self.facts.not_before > now {
            return Err(AuthorityError::Validity("yet"));
        }
        match self.facts.not_after.saturating_sub(now) {
            Duration::ZERO => Err(AuthorityError::Validity("any more")),
            left => Ok(lifetime.min(left)),
        }
    }
}

/// The SHA-256 of the public key, as of a certificate's.
fn pin_of(key: &KeyPair) -> Pin {
    Pin::of(digest(&SHA256, &key.subject_public_key_info()).as_ref())
}

pub(super) fn signing(error: &rcgen::Error) -> AuthorityError {
    AuthorityError::Sign(error.to_string())
}

fn leaf(
    id: &SpiffeId,
    serial: &Serial,
    now: UnixTime,
    lifetime: Duration,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    let uri = id.to_string().try_into().map_err(|error| signing(&error))?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    // Each party is a client to some and a server to others.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let common = match &id.party {
        Party::Hub => "hub".to_owned(),
        Party::Agent(cluster) | Party::Gateway(cluster) => cluster.to_string(),
        Party::Envoy(_, gateway) => gateway.to_string(),
        Party::Person(name) => name.to_string(),
    };
    // X.520 allows 64 characters; the id is what counts.
    params.distinguished_name.push(DnType::CommonName, common.chars().take(64).collect::<String>());
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_bytes()));
    (params.not_before, params.not_after) = validity(now, lifetime)?;
    Ok(params)
}

/// From a little before `now` on, for so long.
pub(super) fn validity(
    now: UnixTime,
    lifetime: Duration,
) -> Result<(OffsetDateTime, OffsetDateTime), AuthorityError> {
    let at = |seconds: u64| {
        let seconds = i64::try_from(seconds).map_err(|_| AuthorityError::Validity("so far ahead"))?;
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Validity("so far ahead"))
    };
    let now = now.as_secs();
    Ok((at(now.saturating_sub(BACKDATED.as_secs()))?, at(now.saturating_add(lifetime.as_secs()))?))
}
