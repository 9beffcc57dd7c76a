//! People: who may ask a hub or an agent what, away from its own machine. Deciding is pure; times are passed in.
//!
//! Somebody shows a token, or a certificate of the fleet's authority. What is granted to either has a name, a role, an end, and
//! perhaps namespaces that it is limited to. The hub keeps it by the SHA-256 of the token's secret or of the certificate's public
//! key, and hands that to its agents, so that both are good at their doors too, also while the hub is away. The certificate itself
//! says only who somebody is, so what it is good for can be taken away. The door for the own machine (`--admin`, loopback) asks
//! for neither: whoever is there is [`Caller::local`].

mod door;
mod login;
mod tries;

pub use door::{Door, Doorkeeper, Known, Limited, Refused, RefusedChange, local};
pub use login::{COOKIE, is_page};

use crate::identity::Pin;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    time::Duration,
};

/// The longest that a token may be good for.
pub const MAX_TTL: Duration = Duration::from_secs(366 * 86_400);
/// The most tokens at a time.
pub const MAX_GRANTS: usize = 1000;
/// The most namespaces of one token.
const MAX_NAMESPACES: usize = 100;

/// What somebody may do. Each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// See.
    Viewer,
    /// Resume and roll back, read the source again.
    Operator,
    /// Let clusters in and put them out, and give tokens to others.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// It is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is viewer, operator or admin")]
pub struct NoRole;

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|it| it.to_string() == text)
            .ok_or(NoRole)
    }
}

/// What is kept of a token, by the hash of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Whose it is.
    pub name: String,
    /// What may be done with it.
    pub role: Role,
    /// What it is limited to; `None` for all.
    pub namespaces: Option<BTreeSet<String>>,
    /// When it ends, in seconds since 1970.
    pub expires_at: u64,
}

/// What is granted: to tokens by the hash of their secret, hexadecimal, and to certificates by [`by_certificate`].
pub type Grants = BTreeMap<String, Grant>;

/// Under what the grant of a certificate is kept: its public key. Who is given a name that somebody else had is not mistaken for
/// them. No hash of a secret looks like it.
#[must_use]
pub fn by_certificate(key: Pin) -> String {
    format!("{BY_CERTIFICATE}{key}")
}

/// Whether what is kept under this is the grant of a certificate.
#[must_use]
pub fn is_by_certificate(kept_as: &str) -> bool {
    kept_as.starts_with(BY_CERTIFICATE)
}

const BY_CERTIFICATE: &str = "certificate:";

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The role.
    pub role: Role,
    /// Whether a token that is limited to namespaces is refused whatever it asks for.
    pub whole_fleet: bool,
}

impl Needed {
    /// By this role, whatever its namespaces.
    #[must_use]
    pub const fn of(role: Role) -> Self {
        Self { role, whole_fleet: false }
    }

    /// By this role, for the whole fleet.
    #[must_use]
    pub const fn everywhere(role: Role) -> Self {
        Self { role, whole_fleet: true }
    }
}

/// Why a token is not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Its time.
    #[error("a token or certificate lasts 1 s to {} h\n  hint: --ttl 720h", MAX_TTL.as_secs() / 3600)]
    Ttl,
    /// Too many.
    #[error("there are {MAX_GRANTS} tokens and certificates; revoke some: tidegate access list")]
    Many,
    /// The name is used.
    #[error("{0} has a token or certificate already\n  hint: tidegate access revoke {0}")]
    Twice(String),
    /// Its namespaces.
    #[error(
        "a token has at most {MAX_NAMESPACES} namespaces, and an admin's has none: it is for the whole fleet"
    )]
    Namespaces,
    /// The key is used.
    #[error("this key has a certificate already\n  hint: let tidegate access certificate make another one")]
    Key,
    /// The name is none.
    #[error("a name has 1 to 63 letters, digits, '-', '_' and '@'")]
    Name,
}

impl Grant {
    /// Whether it may be given, beside those that there are.
    ///
    /// # Errors
    /// If it may not.
    pub fn check(&self, ttl: Duration, others: &[Self]) -> Result<(), GrantError> {
        if ttl < Duration::from_secs(1) || ttl > MAX_TTL {
            return Err(GrantError::Ttl);
        }
        if others.len() >= MAX_GRANTS {
            return Err(GrantError::Many);
        }
        if others.iter().any(|it| it.name == self.name) {
            return Err(GrantError::Twice(self.name.clone()));
        }
        let limited = self.namespaces.as_ref();
        if limited.is_some_and(|it| it.len() > MAX_NAMESPACES || self.role == Role::Admin) {
            return Err(GrantError::Namespaces);
        }
        Ok(())
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For the audit.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// None for all.
    pub namespaces: Option<BTreeSet<String>>,
}

/// Why somebody is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing was shown.
    #[error(
        "a token is needed: --token-file FILE or TIDEGATE_TOKEN; or a certificate: --client-cert and --client-key"
    )]
    NoToken,
    /// Nothing is known of it.
    #[error("no such token is known here, or it was revoked")]
    Unknown,
    /// Nothing is granted to a certificate.
    #[error("nothing is granted to the certificate of {0} here, or it was revoked")]
    NotGranted(String),
    /// Its time is over.
    #[error("what was granted to {0} has expired")]
    Expired(String),
    /// Many were wrong that came from there.
    #[error("too many wrong tokens came from this address; try again in {0} s")]
    Limited(u64),
    /// Its role is too low.
    #[error("{name} is {role}, and this needs {needed}")]
    Role {
        /// Whose token it is.
        name: String,
        /// What may be done with it.
        role: Role,
        /// What would be needed.
        needed: Role,
    },
    /// It is limited to namespaces.
    #[error("{0} is limited to namespaces, and this concerns the whole fleet")]
    Fleet(String),
    /// It is limited to others.
    #[error("{name} is limited to other namespaces than {namespace}")]
    Namespace {
        /// Whose token it is.
        name: String,
        /// What was asked for.
        namespace: String,
    },
}

impl Denied {
    /// Who is known and may not; `None` for whom nobody knows.
    #[must_use]
    pub fn who(&self) -> Option<&str> {
        match self {
            Self::Role { name, .. } | Self::Fleet(name) | Self::Namespace { name, .. } => Some(name),
            _ => None,
        }
    }

    /// One word for counters.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoToken => "access_no_token",
            Self::Unknown | Self::NotGranted(_) => "access_unknown",
            Self::Expired(_) => "access_expired",
            Self::Limited(_) => "access_limited",
            Self::Role { .. } => "access_role",
            Self::Fleet(_) | Self::Namespace { .. } => "access_namespace",
        }
    }
}

impl Caller {
    /// Somebody at the own machine.
    #[must_use]
    pub fn local() -> Self {
        Self { name: "operator".to_owned(), role: Role::Admin, namespaces: None }
    }

    /// By what is kept of the token, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// If nothing is, or it has expired.
    pub fn of(grant: Option<Grant>, now: u64) -> Result<Self, Denied> {
        let Grant { name, role, namespaces, expires_at } = grant.ok_or(Denied::Unknown)?;
        if now >= expires_at { Err(Denied::Expired(name)) } else { Ok(Self { name, role, namespaces }) }
    }

    /// Whether it may do what needs this.
    ///
    /// # Errors
    /// If it may not, and why.
    pub fn may(&self, needed: Needed) -> Result<(), Denied> {
        if self.role < needed.role {
            let needed = needed.role;
            return Err(Denied::Role { name: self.name.clone(), role: self.role, needed });
        }
        if needed.whole_fleet && self.namespaces.is_some() {
            return Err(Denied::Fleet(self.name.clone()));
        }
        Ok(())
    }

    /// Whether it may touch what belongs to this namespace; `None` is what belongs to none, a place or the whole fleet.
    ///
    /// # Errors
    /// If it is limited to others.
    pub fn may_in(&self, namespace: Option<&str>) -> Result<(), Denied> {
        match (&self.namespaces, namespace) {
            (None, _) => Ok(()),
            (Some(own), Some(it)) if own.contains(it) => Ok(()),
            (Some(_), Some(it)) => {
                Err(Denied::Namespace { name: self.name.clone(), namespace: it.to_owned() })
            }
            (Some(_), None) => Err(Denied::Fleet(self.name.clone())),
        }
    }

    /// Whether it sees an object (`Kind NAMESPACE/NAME`). What belongs to no namespace is everybody's.
    #[must_use]
    pub fn sees(&self, object: &str) -> bool {
        let name = object.split_once(' ').map_or(object, |(_, name)| name);
        let namespace = name.split_once('/').map(|(namespace, _)| namespace);
        self.namespaces.as_ref().zip(namespace).is_none_or(|(own, it)| own.contains(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_may_what_the_role_says_in_time_and_in_place() {
        let grant = |role, namespaces: Option<&str>| Grant {
            name: "alice".to_owned(),
            role,
            namespaces: namespaces.map(|it| BTreeSet::from([it.to_owned()])),
            expires_at: 100,
        };
        let caller = |role, namespaces| Caller::of(Some(grant(role, namespaces)), 99).unwrap();
        let (viewer, operator) = (caller(Role::Viewer, None), caller(Role::Operator, Some("shop")));
        assert_eq!(viewer.may(Needed::everywhere(Role::Viewer)), Ok(()));
        let denied = viewer.may(Needed::of(Role::Operator)).unwrap_err();
        assert_eq!(denied.to_string(), "alice is viewer, and this needs operator");
        assert_eq!(operator.may(Needed::of(Role::Operator)), Ok(()));
        assert_eq!(operator.may(Needed::everywhere(Role::Operator)).unwrap_err().word(), "access_namespace");
        assert_eq!((operator.may_in(Some("shop")), viewer.may_in(None)), (Ok(()), Ok(())));
        let denied = operator.may_in(Some("pay")).unwrap_err();
        assert_eq!(denied.to_string(), "alice is limited to other namespaces than pay");
        assert_eq!(operator.may_in(None), Err(Denied::Fleet("alice".to_owned())));
        assert!(operator.sees("FailoverPolicy shop/web") && operator.sees("FleetCluster us-east"));
        assert!(!operator.sees("FailoverPolicy pay/web") && viewer.sees("FailoverPolicy pay/web"));
        assert_eq!(Caller::of(Some(grant(Role::Admin, None)), 100), Err(Denied::Expired("alice".to_owned())));
        assert_eq!(Caller::of(None, 1), Err(Denied::Unknown));
        let hour = Duration::from_secs(3600);
        assert_eq!(grant(Role::Viewer, Some("a")).check(hour, &[]), Ok(()));
        assert_eq!(grant(Role::Admin, Some("a")).check(hour, &[]), Err(GrantError::Namespaces));
        assert_eq!(grant(Role::Viewer, None).check(Duration::ZERO, &[]), Err(GrantError::Ttl));
        let twice = grant(Role::Viewer, None).check(hour, &[grant(Role::Admin, None)]);
        assert_eq!(twice, Err(GrantError::Twice("alice".to_owned())));
    }
}
