//! Who may ask the hub what, away from its own machine. Pure; times are passed in.
//!
//! A token has a name, a role, an end, and perhaps namespaces that it is limited to. The hub keeps the SHA-256 of its secret. The
//! door for the hub's own machine (`--admin`, loopback) asks for none: whoever is there is [`Caller::local`].

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

/// The longest that a token may be good for.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(366 * 86_400);
/// The most tokens at a time.
pub(crate) const MAX_GRANTS: usize = 1000;
/// The most namespaces of one token.
const MAX_NAMESPACES: usize = 100;

/// What somebody may do. Each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// See.
    Viewer,
    /// Resume and roll back, read the source again, hand over reports of drills.
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

/// What the hub keeps of a token, by the hash of its secret. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grant {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// None for all.
    pub(crate) namespaces: Option<BTreeSet<String>>,
    pub(crate) expires_at: u64,
}

/// Why a token is not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Its time.
    #[error("a token lasts 1 s to {} h\n  hint: --ttl 720h", MAX_TTL.as_secs() / 3600)]
    Ttl,
    /// Too many.
    #[error("there are {MAX_GRANTS} tokens; revoke some: tidegate access list")]
    Many,
    /// The name is used.
    #[error("{0} has a token already\n  hint: tidegate access revoke {0}")]
    Twice(String),
    /// Its namespaces.
    #[error(
        "a token has at most {MAX_NAMESPACES} namespaces, and an admin's has none: it is for the whole fleet"
    )]
    Namespaces,
    /// The name is none.
    #[error("a name has 1 to 63 letters, digits, '-', '_' and '@'")]
    Name,
}

impl Grant {
    /// Whether it may be given, beside those that there are.
    pub(crate) fn check(&self, ttl: Duration, others: &[Self]) -> Result<(), GrantError> {
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
pub(crate) struct Caller {
    /// For the audit.
    pub(crate) name: String,
    pub(crate) role: Role,
    /// None for all.
    pub(crate) namespaces: Option<BTreeSet<String>>,
}

/// Why somebody is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("a token is needed: --token-file FILE or TIDEGATE_TOKEN")]
    NoToken,
    #[error("the hub knows no such token, or it was revoked")]
    Unknown,
    #[error("the token of {0} has expired")]
    Expired(String),
    #[error("{name} is {role}, and this needs {needed}")]
    Role { name: String, role: Role, needed: Role },
    #[error("{0} is limited to namespaces, and this concerns the whole fleet")]
    Fleet(String),
}

impl Denied {
    /// One word for counters.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::NoToken => "access_no_token",
            Self::Unknown => "access_unknown",
            Self::Expired(_) => "access_expired",
            Self::Role { .. } => "access_role",
            Self::Fleet(_) => "access_namespace",
        }
    }
}

impl Caller {
    /// Somebody at the hub's own machine.
    pub(crate) fn local() -> Self {
        Self { name: "operator".to_owned(), role: Role::Admin, namespaces: None }
    }

    /// By what the hub keeps of the token, at `now` in seconds since 1970.
    pub(crate) fn of(grant: Option<Grant>, now: u64) -> Result<Self, Denied> {
        let Grant { name, role, namespaces, expires_at } = grant.ok_or(Denied::Unknown)?;
        if now >= expires_at { Err(Denied::Expired(name)) } else { Ok(Self { name, role, namespaces }) }
    }

    /// Whether it may do what needs this role, for the whole fleet or only for what it is limited to.
    pub(crate) fn may(&self, needed: Role, whole_fleet: bool) -> Result<(), Denied> {
        if self.role < needed {
            return Err(Denied::Role { name: self.name.clone(), role: self.role, needed });
        }
        if whole_fleet && self.namespaces.is_some() {
            return Err(Denied::Fleet(self.name.clone()));
        }
        Ok(())
    }

    /// Whether it sees an object (`Kind NAMESPACE/NAME`). What belongs to no namespace is everybody's.
    pub(crate) fn sees(&self, object: &str) -> bool {
        let name = object.split_once(' ').map_or(object, |(_, name)| name);
        let namespace = name.split_once('/').map(|(namespace, _)| namespace);
        self.namespaces.as_ref().zip(namespace).is_none_or(|(own, it)| own.contains(it))
    }
}

/// What a request needs: the role, and whether it concerns the whole fleet. `None` for what everybody may ask.
pub(crate) fn needed(post: bool, path: &str) -> Option<(Role, bool)> {
    match (post, path) {
        (false, "/healthz" | "/readyz") => None,
        (false, "/api/v1/rollout" | "/api/v1/clusters" | "/api/v1/rollout/history") => {
            Some((Role::Viewer, false))
        }
        (false, "/metrics" | "/api/v1/audit") => Some((Role::Viewer, true)),
        (false, "/api/v1/drill-reports" | "/api/v1/drill-keys" | "/api/v1/drill-schedules") => {
            Some((Role::Viewer, false))
        }
        (false, path) if path.starts_with("/api/v1/drill-reports/") => Some((Role::Viewer, false)),
        (true, "/api/v1/drill-reports") => Some((Role::Operator, false)),
        (true, "/api/v1/reload") => Some((Role::Operator, false)),
        (true, "/api/v1/rollout/resume" | "/api/v1/rollout/rollback") => Some((Role::Operator, true)),
        // Whatever is not named is an admin's.
        _ => Some((Role::Admin, true)),
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
        assert_eq!(viewer.may(Role::Viewer, true), Ok(()));
        let denied = viewer.may(Role::Operator, false).unwrap_err();
        assert_eq!(denied.to_string(), "alice is viewer, and this needs operator");
        assert_eq!(operator.may(Role::Operator, false), Ok(()));
        assert_eq!(operator.may(Role::Operator, true).unwrap_err().word(), "access_namespace");
        assert!(operator.sees("FailoverPolicy shop/web") && operator.sees("FleetCluster us-east"));
        assert!(!operator.sees("FailoverPolicy pay/web") && viewer.sees("FailoverPolicy pay/web"));
        assert_eq!(Caller::of(Some(grant(Role::Admin, None)), 100), Err(Denied::Expired("alice".to_owned())));
        assert_eq!(Caller::of(None, 1), Err(Denied::Unknown));
        // What nobody thought of needs the most.
        assert_eq!(needed(true, "/api/v1/new"), Some((Role::Admin, true)));
        assert_eq!(needed(true, "/api/v1/tokens"), Some((Role::Admin, true)));
        let hour = Duration::from_secs(3600);
        assert_eq!(grant(Role::Viewer, Some("a")).check(hour, &[]), Ok(()));
        assert_eq!(grant(Role::Admin, Some("a")).check(hour, &[]), Err(GrantError::Namespaces));
        assert_eq!(grant(Role::Viewer, None).check(Duration::ZERO, &[]), Err(GrantError::Ttl));
        let twice = grant(Role::Viewer, None).check(hour, &[grant(Role::Admin, None)]);
        assert_eq!(twice, Err(GrantError::Twice("alice".to_owned())));
    }
}
