//! The agent's own small authority for the Envoys of its gateways: who has a certificate of it is one of them, and of that
//! gateway only. Nobody but this agent (and its replicas, which share the folder) believes it, and it issues nothing else.

use crate::hub::{HubError, joined};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_link::identity::{
    Authority, AuthorityError, CertificateDer, Clock, Credentials, Expect, Issued, KeyError, Party,
    PrivateKey, Serial, SystemClock, TlsError, TrustBundle, TrustDomain, UnixTime, to_pem, write_public,
    write_secret,
};
use tidegate_model::{ClusterName, GatewayName};

/// The folder below the agent's state.
const FOLDER: &str = "gateways";
/// Times in certificates are whole seconds.
const SECOND: Duration = Duration::from_secs(1);
/// The authority lasts so long, and the certificate that the agent itself shows to its gateways: a new one is made at each
/// start and when the authority is replaced, and its key is never written.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What was revoked, in that folder: a gateway and a time in each line.
const REVOKED: &str = "revoked";

/// Why there is no authority, or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyCertificateError {
    /// The cluster has not joined a fleet.
    #[error(
        "{0} has not joined a hub's fleet, so its gateways need no certificate\n  hint: start its agent with --join and --hub first"
    )]
    NotJoined(PathBuf),
    /// What was kept of joining cannot be used.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was revoked cannot be read.
    #[error(
        "{path}:{line}: {text:?} is not NAMESPACE/NAME and the second, since 1970, up to which its certificates are revoked\n  hint: tidegate envoy revoke writes that file"
    )]
    Revoked {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// The authority cannot be used or does not issue.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What it issued cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A certificate for the Envoys of one gateway. Its key is shown by nothing but [`EnvoyCertificate::pem`].
#[derive(Debug)]
pub struct EnvoyCertificate {
    key: PrivateKey,
    chain: String,
    /// The roots by which they know the agent, PEM; the first is that of the certificate.
    pub roots: String,
    /// Whose it is, as a SPIFFE id.
    pub id: String,
}

impl EnvoyCertificate {
    /// The certificate and its key in one text, so that a file of it is replaced as a whole.
    #[must_use]
    pub fn pem(&self) -> String {
        format!("{}{}", self.chain, self.key.to_pem())
    }
}

/// Issues a certificate for the Envoys of a gateway by the authority in the state folder of an agent, whether that runs or not.
///
/// # Errors
/// If the agent has not joined a fleet, or the authority cannot be used.
pub fn envoy_certificate(
    state: &Path,
    gateway: &GatewayName,
    lifetime: Duration,
) -> Result<EnvoyCertificate, EnvoyCertificateError> {
    let joined = joined(state)?.ok_or_else(|| EnvoyCertificateError::NotJoined(state.to_owned()))?;
    let (cluster, trust_domain) = joined;
    EnvoyAuthority::open(state, trust_domain, cluster)?.issue(gateway, lifetime)
}

/// Revokes all certificates that the Envoys of a gateway have been given until now, by the state folder of an agent, whether that
/// runs or not. Returns the file in which that stands, for the agent's replicas.
///
/// # Errors
/// If the agent has not joined a fleet, or the files cannot be used.
pub fn revoke_envoys(state: &Path, gateway: &GatewayName) -> Result<PathBuf, EnvoyCertificateError> {
    if joined(state)?.is_none() {
        return Err(EnvoyCertificateError::NotJoined(state.to_owned()));
    }
    let path = state.join(FOLDER).join(REVOKED);
    let file = |source| EnvoyCertificateError::File { path: path.clone(), source };
    let mut revoked = read_revoked(&path)?;
    revoke(&mut revoked, gateway, Duration::from_secs(SystemClock.now().as_secs()));
    let text: String =
        revoked.iter().map(|(gateway, until)| format!("{gateway} {}\n", until.as_secs())).collect();
    fs::create_dir_all(state.join(FOLDER)).map_err(file)?;
    write_public(&path, text.as_bytes()).map_err(file)?;
    Ok(path)
}

/// A second more than `now`, in which it is written; and later than before, or what was revoked by a clock that was ahead would be
/// good again. What is made after that is dated after it.
fn revoke(revoked: &mut BTreeMap<GatewayName, Duration>, gateway: &GatewayName, now: Duration) {
    let until = now + SECOND;
    let until = revoked.get(gateway).map_or(until, |before| until.max(before.saturating_add(SECOND)));
    revoked.insert(gateway.clone(), until);
}

/// Up to when what a gateway was given is revoked, since 1970. Without the file nothing is.
fn read_revoked(path: &Path) -> Result<BTreeMap<GatewayName, Duration>, EnvoyCertificateError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        read => read.map_err(|source| EnvoyCertificateError::File { path: path.to_owned(), source })?,
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let read = line.split_once(' ').and_then(|(gateway, until)| {
                Some((gateway.parse().ok()?, Duration::from_secs(until.trim().parse().ok()?)))
            });
            read.ok_or_else(|| EnvoyCertificateError::Revoked {
                path: path.to_owned(),
                line: at + 1,
                text: line.to_owned(),
            })
        })
        .collect()
}

/// The authority.
#[derive(Debug)]
pub(crate) struct EnvoyAuthority {
    authority: Authority,
    /// Roots that are believed besides its own, while one replaces the other.
    others: Vec<CertificateDer<'static>>,
    /// Up to when what a gateway was given is revoked.
    revoked: BTreeMap<GatewayName, Duration>,
    cluster: ClusterName,
}

impl EnvoyAuthority {
    /// Reads it from the agent's state, or makes it there.
    pub(crate) fn open(
        state: &Path,
        trust_domain: TrustDomain,
        cluster: ClusterName,
    ) -> Result<Self, EnvoyCertificateError> {
        let folder = state.join(FOLDER);
        if !folder.join("tls.crt").exists() {
            make(&folder, &trust_domain)?;
        }
        let others = Authority::also_trusted(&folder)?;
        let revoked = read_revoked(&folder.join(REVOKED))?;
        Ok(Self { authority: Authority::load(&folder, trust_domain)?, others, revoked, cluster })
    }

    /// Whether it issues and believes what the other one does.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.authority.facts() == other.authority.facts() && self.bundle().ok() == other.bundle().ok()
    }

    /// Whom the agent believes at its gateways' door, and they at its own. The root of what is issued comes first.
    pub(crate) fn bundle(&self) -> Result<TrustBundle, EnvoyCertificateError> {
        let roots = [self.authority.root().clone()].into_iter().chain(self.others.iter().cloned());
        let domain = self.authority.trust_domain().clone();
        let party = |gateway: &GatewayName| Party::Envoy(self.cluster.clone(), gateway.clone());
        let ended = self.revoked.iter().map(|(gateway, until)| (party(gateway), *until)).collect();
        let bundle = TrustBundle::new(domain, roots).and_then(|bundle| bundle.ending(ended));
        Ok(bundle.map_err(AuthorityError::from)?)
    }

    /// A certificate for the Envoys of a gateway whose key is elsewhere, by a signing request.
    pub(crate) fn sign(
        &self,
        request: &[u8],
        gateway: &GatewayName,
        lifetime: Duration,
    ) -> Result<Issued, AuthorityError> {
        let party = Party::Envoy(self.cluster.clone(), gateway.clone());
        self.authority.issue(request, &party, &Self::serial(), self.time_of_issue(&party), lifetime)
    }

    /// Now, or the first second after what was revoked: times are whole seconds, and what is made at once after that is meant to be good.
    fn time_of_issue(&self, party: &Party) -> UnixTime {
        let now = SystemClock.now();
        let Party::Envoy(_, gateway) = party else { return now };
        let after = |until: &Duration| UnixTime::since_unix_epoch(until.saturating_add(SECOND));
        self.revoked.get(gateway).map(after).map_or(now, |after| now.max(after))
    }

    fn serial() -> Serial {
        // RFC 5280: positive, at most 20 bytes.
        let mut bytes: [u8; 16] = rand::random();
        bytes[0] &= 0x7f;
        Serial::of(&bytes)
    }

    fn shown(
        &self,
        party: &Party,
        lifetime: Duration,
    ) -> Result<(PrivateKey, Vec<CertificateDer<'static>>), EnvoyCertificateError> {
        let key = PrivateKey::generate()?;
        let now = self.time_of_issue(party);
        let issued = self.authority.issue(&key.request()?, party, &Self::serial(), now, lifetime)?;
        Ok((key, issued.chain))
    }

    fn issue(
        &self,
        gateway: &GatewayName,
        lifetime: Duration,
    ) -> Result<EnvoyCertificate, EnvoyCertificateError> {
        let party = Party::Envoy(self.cluster.clone(), gateway.clone());
        let (key, chain) = self.shown(&party, lifetime)?;
        let id = format!("{party}");
        let roots = to_pem(self.bundle()?.roots());
        Ok(EnvoyCertificate { key, chain: to_pem(&chain), roots, id })
    }

    /// What the agent shows to its gateways, and whom it believes there.
    pub(crate) fn credentials(&self) -> Result<Credentials, EnvoyCertificateError> {
        let (key, chain) = self.shown(&Party::Agent(self.cluster.clone()), LIFETIME)?;
        Ok(Credentials::new(chain, &key, self.bundle()?)?)
    }

    /// Who may come in at the gateways' door.
    pub(crate) fn expected(&self) -> Expect {
        Expect::EnvoysOf(self.cluster.clone())
    }
}

/// Both files appear at once: an agent and a command that start together find one authority.
fn make(folder: &Path, trust_domain: &TrustDomain) -> Result<(), EnvoyCertificateError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        |source| EnvoyCertificateError::File { path, source }
    };
    let beside = folder.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&beside).map_err(file(&beside))?;
    let (certificate, key) = Authority::create(trust_domain, SystemClock.now(), LIFETIME)?;
    let path = beside.join("tls.key");
    write_secret(&path, key.as_bytes()).map_err(file(&path))?;
    let path = beside.join("tls.crt");
    write_public(&path, certificate.as_bytes()).map_err(file(&path))?;
    match fs::rename(&beside, folder) {
        // Somebody else was first.
        Err(_) if folder.join("tls.crt").exists() => fs::remove_dir_all(&beside).map_err(file(&beside)),
        renamed => renamed.map_err(file(folder)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use tidegate_link::identity::CertificateFacts;

    #[test]
    fn what_is_made_at_once_after_a_revocation_is_good() {
        let state = tempfile::tempdir().unwrap();
        let (domain, cluster) = ("fleet.example".parse().unwrap(), "east".parse().unwrap());
        let mut authority = EnvoyAuthority::open(state.path(), domain, cluster).unwrap();
        let gateway: GatewayName = "shop/edge".parse().unwrap();
        let facts = |made: &EnvoyCertificate| {
            CertificateFacts::read(&TrustBundle::certificates(&made.chain).unwrap()[0]).unwrap()
        };
        let before = facts(&authority.issue(&gateway, Duration::from_secs(60)).unwrap());
        let now = Duration::from_secs(SystemClock.now().as_secs());
        authority.revoked.insert(gateway.clone(), now);
        let after = facts(&authority.issue(&gateway, Duration::from_secs(60)).unwrap());
        let bundle = authority.bundle().unwrap();
        assert!(bundle.revokes(&before) && !bundle.revokes(&after));
    }

    #[test]
    fn a_later_revocation_covers_what_an_earlier_one_by_a_clock_that_was_ahead_did() {
        let (mut revoked, gateway) = (BTreeMap::new(), "shop/edge".parse().unwrap());
        let at = Duration::from_secs;
        revoke(&mut revoked, &gateway, at(1600));
        assert_eq!(revoked[&gateway], at(1601), "also what is signed while it is written");
        revoke(&mut revoked, &gateway, at(1000));
        assert_eq!(revoked[&gateway], at(1602), "and what was dated after the first");
        revoke(&mut revoked, &gateway, at(2000));
        assert_eq!(revoked[&gateway], at(2001));
    }

    #[test]
    fn an_authority_is_made_once_and_its_keys_are_for_their_owner() {
        let state = tempfile::tempdir().unwrap();
        let open = || {
            let (domain, cluster) = ("fleet.example".parse().unwrap(), "east".parse().unwrap());
            EnvoyAuthority::open(state.path(), domain, cluster).unwrap()
        };
        let first = open();
        assert_eq!(first.authority.facts(), open().authority.facts());
        let key = state.path().join("gateways/tls.key");
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        let issued = first.issue(&"shop/edge".parse().unwrap(), Duration::from_secs(60)).unwrap();
        assert!(!format!("{issued:?}").contains("PRIVATE"), "a key is shown to nobody");
        let error = envoy_certificate(state.path(), &"shop/edge".parse().unwrap(), LIFETIME).unwrap_err();
        assert!(error.to_string().contains("has not joined a hub's fleet"), "{error}");
    }
}
