//! The hub's desk: what it keeps and what it decides with that, between the streams and the store.

mod access;
mod epoch;
mod policy;
mod rollout;
mod views;

pub use epoch::Superseded;
pub(crate) use policy::{Handed, Judged, Published, Recalled};
pub(crate) use rollout::{Resumed, version};

use crate::{
    authority::{Keys, draw_serial},
    drills::{DrillRefusal, Drilling, ReportRefusal},
    fleet::Fleet,
    lines::Lines,
    page,
    refused::Refused,
    run::HubError,
    store::{AuditRecord, CertificateRecord, STORE, Store, StoreError},
    timeline::{Timeline, What},
    tokens::{MAX_OPEN, MAX_TTL, REMEMBERED, TokenRecord, TokenRefusal, redeem},
    waves::WaveLimits,
};
pub(crate) use access::Asked;
use policy::{Found, Rolling};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, atomic::AtomicU64},
    time::{Duration, Instant},
};
use tidegate_link::{
    access::GrantError,
    hub::{JoinToken, Secret, Trust},
    identity::{
        AuthorityError, CertificateFacts, Clock, Identity, Issued, Party, Refusals, Serial, TrustDomain,
    },
};
use tidegate_model::ClusterName;
use tokio::sync::{Notify, watch};

/// Whose certificate it is, in the audit log.
const GATEWAYS: &str = "gateways";

/// Where the hub's keys are, and how they are read again.
#[derive(Clone, Debug)]
pub(crate) struct KeyPlace {
    pub(crate) state: PathBuf,
    pub(crate) brought: Option<PathBuf>,
    pub(crate) trust_domain: TrustDomain,
}

/// Why something that was asked for is not done.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority does not issue.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The token would last too long, or not at all.
    #[error("a token lasts 1 s to {} h\n  hint: --ttl 1h", MAX_TTL.as_secs() / 3600)]
    Ttl,
    /// There are many tokens already.
    #[error("{MAX_OPEN} tokens are open; wait until some have expired")]
    Tokens,
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
    /// The token is not given.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The report of a drill is not kept, or not found.
    #[error(transparent)]
    Report(#[from] ReportRefusal),
    /// The drill is not run.
    #[error(transparent)]
    Drill(#[from] DrillRefusal),
    /// There is nothing to resume.
    #[error(
        "no rollout has halted, nothing was rolled back, and no connected agent holds a policy that this hub does not know; there is nothing to resume"
    )]
    NothingToResume,
    /// The history has no such policy.
    #[error("there is no policy {0} in the history\n  hint: tidegate rollout history")]
    NoSuchPolicy(String),
    /// It is in force.
    #[error("policy {0} says the same as what is handed out now; there is nothing to roll back")]
    SamePolicy(u64),
}

/// A token that was made. It is told once.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The token.
    pub token: JoinToken,
    /// How long it is good for.
    pub ttl: Duration,
}

/// What is asked for: signing requests (DER) of which only the keys count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'r> {
    pub(crate) agent: &'r [u8],
    /// Empty if the cluster wants no certificate for its gateways.
    pub(crate) gateway: &'r [u8],
}

/// What a cluster is given.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) agent: Issued,
    pub(crate) gateway: Option<Issued>,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Office {
    pub(crate) store: Store,
    pub(crate) identity: Identity,
    pub(crate) policy: watch::Sender<Arc<Handed>>,
    waves: WaveLimits,
    /// Of the policies that it signs.
    pub(crate) epoch: u64,
    superseded: watch::Sender<Option<Superseded>>,
    /// Something changed that a copy of the state must not miss.
    pub(crate) copy_now: Notify,
    /// How often a rollout halted since the start.
    pub(crate) halts: AtomicU64,
    /// Held while a policy is published or a rollout goes on: one at a time.
    rollout: Mutex<Rolling>,
    pub(crate) trust: watch::Sender<Arc<Trust>>,
    place: KeyPlace,
    keys: RwLock<Arc<Keys>>,
    fleet: Mutex<Fleet>,
    /// The ways to the agents.
    pub(crate) lines: Lines,
    /// The drills that it runs.
    pub(crate) drilling: Drilling,
    found: Mutex<Found>,
    /// What webhooks and traces are made of.
    pub(crate) timeline: Timeline,
    /// What waits to be written to the audit log.
    later: Mutex<Vec<AuditRecord>>,
    /// Changes that were refused.
    refused: Mutex<Refused>,
    certificate_ttl: Duration,
}

/// So many records may wait for the audit log; more are written to the log of the process only.
const MAX_LATER: usize = 10_000;
/// As the audit log calls it.
const CHANGE_REFUSED: &str = "changeRefused";

impl Office {
    pub(crate) fn open(
        place: KeyPlace,
        certificate_ttl: Duration,
        waves: WaveLimits,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, HubError> {
        let store = Store::open(&place.state.join(STORE))?;
        let epoch = store.epoch()?;
        epoch::refuse_superseded(epoch, store.superseded()?, &place.state)?;
        let now = clock.now();
        let keys = Keys::open(&place.state, place.brought.as_deref(), &place.trust_domain, now)?;
        let trust = keys.trust(revoked(&store, now.as_secs())?, store.grants()?, now)?;
        let identity = Identity::new(keys.hub_credentials(&trust, now)?, Refusals::default(), clock);
        let (handed, rolling) = policy::restore(&store, &trust)?;
        Ok(Self {
            store,
            identity,
            policy: watch::Sender::new(Arc::new(handed)),
            waves,
            epoch,
            superseded: watch::Sender::new(None),
            copy_now: Notify::new(),
            halts: AtomicU64::new(0),
            rollout: Mutex::new(rolling),
            trust: watch::Sender::new(Arc::new(trust)),
            place,
            keys: RwLock::new(Arc::new(keys)),
            fleet: Mutex::default(),
            lines: Lines::default(),
            drilling: Drilling::default(),
            found: Mutex::default(),
            timeline: Timeline::default(),
            later: Mutex::default(),
            refused: Mutex::default(),
            certificate_ttl,
        })
    }

    pub(crate) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which fleet it is the hub of.
    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        &self.place.trust_domain
    }

    pub(crate) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.identity.now().as_secs()
    }

    pub(crate) fn refuse(&self, word: &'static str, who: &str, why: &str) {
        self.identity.refusals().note(word, &format!("{who} is refused: {why}"), Instant::now());
    }

    fn audit_record(&self, who: &str, what: &str, detail: String) -> AuditRecord {
        AuditRecord { at_ms: self.now() * 1000, who: who.to_owned(), what: what.to_owned(), detail }
    }

    pub(crate) fn audit(&self, who: &str, what: &str, detail: String) -> Result<(), StoreError> {
        self.store.audit(&[self.audit_record(who, what, detail)])
    }

    /// The same in a moment, with others: for what agents say, of which there may be many at once.
    pub(crate) fn audit_later(&self, who: &str, what: &str, detail: String) {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if later.len() >= MAX_LATER {
            tracing::error!(who, what, detail, "the audit log cannot follow");
            return;
        }
        later.push(self.audit_record(who, what, detail));
    }

    /// Somebody known may not make a change: `request` is the method with the path, and the query.
    pub(crate) fn refuse_change(&self, who: &str, request: (&str, &str), why: String) {
        let record = self.refused.lock().unwrap_or_else(PoisonError::into_inner).note(
            who,
            request,
            why,
            Instant::now(),
        );
        if let Some((who, detail)) = record {
            self.audit_later(&who, CHANGE_REFUSED, detail);
        }
    }

    /// Records how often it was tried since; what is not due yet, too, if it is over.
    pub(crate) fn count_refused(&self, over: bool) {
        let due = self.refused.lock().unwrap_or_else(PoisonError::into_inner).due(Instant::now(), over);
        for (who, detail) in due {
            self.audit_later(&who, CHANGE_REFUSED, detail);
        }
    }

    /// Something happened that webhooks and traces may tell of.
    pub(crate) fn record(&self, what: What) {
        self.timeline.tell(page::now_micros(), what);
    }

    /// Writes what waits.
    pub(crate) fn write_audit(&self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut *self.later.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() { Ok(()) } else { self.store.audit(&waiting) }
    }

    /// Makes a token.
    pub(crate) fn make_token(
        &self,
        cluster: &ClusterName,
        ttl: Duration,
        who: &str,
    ) -> Result<NewToken, OfficeError> {
        let pin = self.keys().authority.pin()?;
        let made = make_token(&self.store, cluster, ttl, pin, self.now())?;
        self.audit(who, "tokenMade", format!("for {cluster}, good for {} s", ttl.as_secs()))?;
        Ok(made)
    }

    /// Redeems a token: certificates for the keys of the requests.
    pub(crate) fn join(
        &self,
        cluster: &ClusterName,
        secret: Option<&Secret>,
        wanted: Wanted<'_>,
    ) -> Result<Result<Certificates, TokenRefusal>, OfficeError> {
        let issued = self.issue(cluster, wanted)?;
        let now = self.now();
        let key = issued.agent.facts.key.to_string();
        let decide = |record: Option<&TokenRecord>| redeem(record, cluster, &key, now);
        let decided = match secret {
            Some(secret) => self.store.with_token(&secret.hash(), decide)?.map(drop),
            None => Err(TokenRefusal::Wrong),
        };
        if let Err(refusal) = decided {
            return Ok(Err(refusal));
        }
        self.keep(cluster, &issued, "joined")?;
        Ok(Ok(issued))
    }

    /// New certificates for an agent that has one.
    pub(crate) fn renew(
        &self,
        cluster: &ClusterName,
        wanted: Wanted<'_>,
    ) -> Result<Certificates, OfficeError> {
        let issued = self.issue(cluster, wanted)?;
        self.keep(cluster, &issued, "renewed")?;
        Ok(issued)
    }

    fn issue(&self, cluster: &ClusterName, wanted: Wanted<'_>) -> Result<Certificates, AuthorityError> {
        let (keys, now) = (self.keys(), self.identity.now());
        let issue = |request: &[u8], party: Party| {
            keys.authority.issue(request, &party, &draw_serial(), now, self.certificate_ttl)
        };
        let gateway = (!wanted.gateway.is_empty())
            .then(|| issue(wanted.gateway, Party::Gateway(cluster.clone())))
            .transpose()?;
        Ok(Certificates { agent: issue(wanted.agent, Party::Agent(cluster.clone()))?, gateway })
    }

    fn keep(&self, cluster: &ClusterName, issued: &Certificates, what: &str) -> Result<(), StoreError> {
        let each = [("agent", Some(&issued.agent)), (GATEWAYS, issued.gateway.as_ref())];
        for (whose, facts) in each.into_iter().filter_map(|(whose, it)| Some((whose, &it?.facts))) {
            let not_after = facts.not_after.as_secs();
            let record = CertificateRecord {
                cluster: cluster.clone(),
                not_after,
                revoked: false,
                gateways: whose == GATEWAYS,
            };
            self.store.keep_certificate(facts.serial.as_str(), &record)?;
            let detail = format!("certificate {} for the {whose}", facts.serial);
            self.audit(&format!("agent of {cluster}"), what, detail)?;
            tracing::info!(%cluster, serial = %facts.serial, whose, what, "a new certificate");
        }
        Ok(())
    }

    /// An agent shows a certificate of this authority: one that was issued after the state was copied from which this hub started
    /// is known again by it.
    pub(crate) fn shown(&self, cluster: &ClusterName, facts: &CertificateFacts) -> Result<(), StoreError> {
        let record = CertificateRecord {
            cluster: cluster.clone(),
            not_after: facts.not_after.as_secs(),
            revoked: false,
            gateways: false,
        };
        if self.store.bring_certificate(facts.serial.as_str(), &record)? {
            let detail = format!("certificate {}, which this hub's state does not know", facts.serial);
            self.audit(&format!("agent of {cluster}"), "shown", detail)?;
        }
        Ok(())
    }

    /// Revokes everything that was issued to a cluster, and its streams end; or what was issued for its gateways, and its agent
    /// asks for another one.
    pub(crate) fn revoke(
        &self,
        cluster: &ClusterName,
        gateways_only: bool,
        who: &str,
    ) -> Result<usize, HubError> {
        let count = self.store.revoke(cluster, gateways_only, self.now())?;
        let whose = if gateways_only { "the gateways of " } else { "" };
        self.audit(who, "revoked", format!("{count} certificates of {whose}{cluster}"))?;
        self.copy_now.notify_one();
        self.renew_trust()?;
        Ok(count)
    }

    /// Reads the keys again: an authority may have been replaced. Whether anything changed.
    pub(crate) fn reload_keys(&self) -> Result<bool, HubError> {
        let KeyPlace { state, brought, trust_domain } = &self.place;
        let new = Keys::open(state, brought.as_deref(), trust_domain, self.identity.now())?;
        let old = self.keys();
        let same = new.authority.facts() == old.authority.facts() && new.other_roots == old.other_roots;
        if same {
            return Ok(false);
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        self.renew_trust()?;
        self.audit("operator", "authorityChanged", "the roots or the issuing certificate".to_owned())?;
        Ok(true)
    }

    /// A new certificate for the hub, and whom the fleet believes as it is now.
    pub(crate) fn renew_trust(&self) -> Result<(), HubError> {
        let (keys, now) = (self.keys(), self.identity.now());
        let trust = keys.trust(revoked(&self.store, now.as_secs())?, self.store.grants()?, now)?;
        self.identity.swap(keys.hub_credentials(&trust, now)?);
        self.trust.send_if_modified(|current| {
            // A list that says the same is signed anew each time, and no news.
            let changed = current.bundle != trust.bundle
                || current.policy_keys != trust.policy_keys
                || current.grants != trust.grants;
            if changed {
                *current = Arc::new(trust);
            }
            changed
        });
        Ok(())
    }
}

/// Makes a token in a store, whether its hub runs or not.
pub(crate) fn make_token(
    store: &Store,
    cluster: &ClusterName,
    ttl: Duration,
    pin: tidegate_link::identity::Pin,
    now: u64,
) -> Result<NewToken, OfficeError> {
    if ttl < Duration::from_secs(1) || ttl > MAX_TTL {
        return Err(OfficeError::Ttl);
    }
    if store.tidy_tokens(now.saturating_sub(REMEMBERED.as_secs()), now)? >= MAX_OPEN {
        return Err(OfficeError::Tokens);
    }
    let secret = Secret::draw().ok_or(OfficeError::Randomness)?;
    let record = TokenRecord {
        cluster: cluster.clone(),
        made_at: now,
        expires_at: now + ttl.as_secs(),
        redeemed_by: None,
    };
    let kept = store.with_token(&secret.hash(), |_| Ok::<_, std::convert::Infallible>(record))?;
    drop(kept);
    Ok(NewToken { token: JoinToken { cluster: cluster.clone(), secret, pin }, ttl })
}

/// The serials of certificates that were revoked and have not expired.
pub(crate) fn revoked(store: &Store, now: u64) -> Result<Vec<Serial>, StoreError> {
    let all = store.certificates()?.into_iter();
    let revoked = all.filter(|(_, it)| it.revoked && it.not_after >= now);
    Ok(revoked.filter_map(|(serial, _)| serial.parse().ok()).collect())
}

/// Where the state folder says which trust domain it is of; a new one is given `wanted`.
pub(crate) fn trust_domain(state: &Path, wanted: Option<&TrustDomain>) -> Result<TrustDomain, HubError> {
    let path = state.join("trust-domain");
    let file = |source| HubError::File { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let kept: TrustDomain = text.trim().parse()?;
            match wanted.filter(|wanted| **wanted != kept) {
                Some(wanted) => Err(HubError::TrustDomain { kept, wanted: wanted.clone() }),
                None => Ok(kept),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let chosen = wanted.cloned().map_or_else(|| "tidegate".parse(), Ok)?;
            tidegate_link::identity::write_public(&path, format!("{chosen}\n").as_bytes()).map_err(file)?;
            Ok(chosen)
        }
        Err(source) => Err(file(source)),
    }
}
