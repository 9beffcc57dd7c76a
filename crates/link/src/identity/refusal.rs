//! Who was refused, and why: for the log, the counters, and whoever is refused.

use super::{Serial, SpiffeId, TrustDomain};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Why somebody is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No certificate can be read.
    Unreadable(String),
    /// The certificate has no id of ours.
    NoIdentity,
    /// It is of another trust domain.
    TrustDomain(TrustDomain),
    /// It is somebody else's: who was expected.
    Party(String),
    /// It has expired, so long ago.
    Expired(Duration),
    /// It will be valid in so long.
    NotYetValid(Duration),
    /// It is signed by itself.
    SelfSigned,
    /// No root that is believed issued it.
    UnknownAuthority,
    /// It was revoked.
    Revoked(Serial),
    /// Its chain does not hold for another reason.
    Chain(String),
    /// The authority of a first contact is not the one that the token names.
    Pin,
}

impl Why {
    /// One word for counters.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::NoIdentity => "no_identity",
            Self::TrustDomain(_) => "other_trust_domain",
            Self::Party(_) => "other_party",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not_yet_valid",
            Self::SelfSigned => "self_signed",
            Self::UnknownAuthority => "unknown_authority",
            Self::Revoked(_) => "revoked",
            Self::Chain(_) => "chain",
            Self::Pin => "pin",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => f.write_str(why),
            Self::NoIdentity => f.write_str("its certificate has no identity of a fleet"),
            Self::TrustDomain(own) => write!(f, "it is of another trust domain than {own}"),
            Self::Party(expected) => write!(f, "{expected} was expected"),
            Self::Expired(ago) => {
                write!(
                    f,
                    "its certificate expired {} s ago; join the cluster again, or make the Envoy's anew",
                    ago.as_secs()
                )
            }
            Self::NotYetValid(left) => {
                write!(f, "its certificate is valid in {} s only; compare the clocks", left.as_secs())
            }
            Self::SelfSigned => f.write_str("its certificate is signed by itself"),
            Self::UnknownAuthority => f.write_str("its certificate is of an authority that is not believed"),
            Self::Revoked(serial) => write!(f, "its certificate {serial} was revoked"),
            Self::Chain(why) => write!(f, "its certificate does not hold: {why}"),
            Self::Pin => f.write_str("its authority is not the one that the join token names"),
        }
    }
}

/// Somebody was not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who} is refused: {why}")]
pub struct Refusal {
    /// Who it says it is.
    pub who: String,
    /// Why not.
    pub why: Why,
}

impl Refusal {
    pub(super) fn of(id: Option<&SpiffeId>, names: &str, why: Why) -> Self {
        let who = match (id, names) {
            (Some(id), _) => id.to_string(),
            (None, "") => "somebody without a name".to_owned(),
            (None, names) => names.to_owned(),
        };
        Self { who, why }
    }
}

/// The same is written to the log once in so long: a stranger must not fill it.
const QUIET: Duration = Duration::from_secs(10);
/// So many different ones are told apart in the log.
const REMEMBERED: usize = 256;

/// Counts refusals by reason, and writes them to the log, the same one every ten seconds at most. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    by_word: BTreeMap<&'static str, u64>,
    logged: BTreeMap<String, Instant>,
}

impl Refusals {
    /// Notes one. `word` names the reason, one of a fixed set.
    pub fn note(&self, word: &'static str, text: &str, now: Instant) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.by_word.entry(word).or_default() += 1;
        counts.logged.retain(|_, at| now.saturating_duration_since(*at) < QUIET);
        if counts.logged.contains_key(text) || counts.logged.len() >= REMEMBERED {
            return;
        }
        counts.logged.insert(text.to_owned(), now);
        drop(counts);
        tracing::warn!(reason = word, "{text}");
    }

    /// How many there were, by reason.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_word.clone()
    }
}
