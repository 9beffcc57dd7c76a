//! Who may join: one token, one cluster, one key, for a time.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tidegate_model::ClusterName;

/// The longest that a token may be good for.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(7 * 86_400);
/// The most tokens that may be open at a time.
pub(crate) const MAX_OPEN: usize = 1000;
/// A token is remembered for so long after its end, so that a late use is told apart from a wrong one.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);

/// What the hub keeps of a token, by the hash of its secret. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenRecord {
    pub(crate) cluster: ClusterName,
    pub(crate) made_at: u64,
    pub(crate) expires_at: u64,
    /// The key that it was redeemed for.
    pub(crate) redeemed_by: Option<String>,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenRefusal {
    #[error("the hub knows no such token")]
    Wrong,
    #[error("the token was made for another cluster")]
    OtherCluster,
    #[error("the token expired {0} s ago")]
    Expired(u64),
    #[error("the token was redeemed before, by another key")]
    Reused,
}

impl TokenRefusal {
    /// One word for counters.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Wrong => "token_wrong",
            Self::OtherCluster => "token_other_cluster",
            Self::Expired(_) => "token_expired",
            Self::Reused => "token_reused",
        }
    }
}

/// Redeems a token for `key` (its pin), at `now` in seconds since 1970: what to keep of it from now on. The same key may ask
/// again while the token lasts, because an answer may have been lost on its way.
pub(crate) fn redeem(
    record: Option<&TokenRecord>,
    cluster: &ClusterName,
    key: &str,
    now: u64,
) -> Result<TokenRecord, TokenRefusal> {
    let record = record.ok_or(TokenRefusal::Wrong)?;
    if record.cluster != *cluster {
        return Err(TokenRefusal::OtherCluster);
    }
    if record.redeemed_by.as_ref().is_some_and(|by| by != key) {
        return Err(TokenRefusal::Reused);
    }
    if now >= record.expires_at {
        return Err(TokenRefusal::Expired(now - record.expires_at));
    }
    Ok(TokenRecord { redeemed_by: Some(key.to_owned()), ..record.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_for_its_cluster_in_its_time() {
        let (east, west) = ("us-east".parse().unwrap(), "us-west".parse().unwrap());
        let fresh = TokenRecord { cluster: east, made_at: 0, expires_at: 100, redeemed_by: None };
        let east = fresh.cluster.clone();
        assert_eq!(redeem(None, &east, "k", 1), Err(TokenRefusal::Wrong));
        assert_eq!(redeem(Some(&fresh), &west, "k", 1), Err(TokenRefusal::OtherCluster));
        assert_eq!(redeem(Some(&fresh), &east, "k", 100), Err(TokenRefusal::Expired(0)));
        let used = redeem(Some(&fresh), &east, "k", 99).unwrap();
        assert_eq!(used.redeemed_by.as_deref(), Some("k"));
        // The same key again, as long as it lasts; never another.
        assert_eq!(redeem(Some(&used), &east, "k", 99), Ok(used.clone()));
        assert_eq!(redeem(Some(&used), &east, "k", 160), Err(TokenRefusal::Expired(60)));
        assert_eq!(redeem(Some(&used), &east, "other", 99), Err(TokenRefusal::Reused));
    }
}
