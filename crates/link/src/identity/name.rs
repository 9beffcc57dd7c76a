//! The names: trust domain, party, SPIFFE id.

use std::{fmt, str::FromStr, sync::Arc};
use tidegate_model::{ClusterName, GatewayName};

/// Why a name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a trust domain.
    #[error("a trust domain has 1 to 255 of a-z, 0-9, '.', '-' and '_', not {0:?}")]
    TrustDomain(String),
    /// Not a name of somebody.
    #[error("a name has 1 to 63 letters, digits, '-', '_' and '@'")]
    Person,
    /// Not an id of ours.
    #[error(
        "an identity is spiffe://TRUST-DOMAIN/cluster/NAME/agent (or gateway, or gateway/NAMESPACE/NAME), spiffe://TRUST-DOMAIN/hub or \
         spiffe://TRUST-DOMAIN/person/NAME, not {0:?}"
    )]
    Id(String),
}

/// The name of somebody, as tokens and certificates have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersonName(Arc<str>);

impl FromStr for PersonName {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '@');
        match (1..=63).contains(&text.len()) && text.chars().all(fits) {
            true => Ok(Self(text.into())),
            false => Err(IdentityError::Person),
        }
    }
}

impl fmt::Display for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a fleet's authority: who belongs to one trust domain is known to all in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// As it is written in ids.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
            return Err(IdentityError::TrustDomain(text.chars().take(255).collect()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody is in the fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The hub.
    Hub,
    /// An agent of this cluster. Replicas share the name; each has a certificate of its own.
    Agent(ClusterName),
    /// The gateways of this cluster, which share it: to other clusters.
    Gateway(ClusterName),
    /// The Envoys of one gateway of this cluster: to their own agent, which alone vouches for it.
    Envoy(ClusterName, GatewayName),
    /// Somebody who asks hub or agents from elsewhere. What they may is not in the name: it is granted, and may be taken away.
    Person(PersonName),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the hub"),
            Self::Agent(cluster) => write!(f, "the agent of {cluster}"),
            Self::Gateway(cluster) => write!(f, "a gateway of {cluster}"),
            Self::Envoy(cluster, gateway) => write!(f, "an Envoy of gateway {gateway} of {cluster}"),
            Self::Person(name) => write!(f, "{name}"),
        }
    }
}

/// The id in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpiffeId {
    /// Whose word it is.
    pub trust_domain: TrustDomain,
    /// Who.
    pub party: Party,
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.party {
            Party::Hub => write!(f, "spiffe://{}/hub", self.trust_domain),
            Party::Agent(cluster) => write!(f, "spiffe://{}/cluster/{cluster}/agent", self.trust_domain),
            Party::Gateway(cluster) => write!(f, "spiffe://{}/cluster/{cluster}/gateway", self.trust_domain),
            Party::Envoy(cluster, gateway) => {
                write!(f, "spiffe://{}/cluster/{cluster}/gateway/{gateway}", self.trust_domain)
            }
            Party::Person(name) => write!(f, "spiffe://{}/person/{name}", self.trust_domain),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let wrong = || IdentityError::Id(text.chars().take(255).collect());
        let (domain, path) =
            text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let trust_domain = domain.parse().map_err(|_| wrong())?;
        let party = match path {
            "hub" => Party::Hub,
            path if path.starts_with("person/") => {
                Party::Person(path["person/".len()..].parse().map_err(|_| wrong())?)
            }
            path => {
                let rest = path.strip_prefix("cluster/").ok_or_else(wrong)?;
                let (name, role) = rest.split_once('/').ok_or_else(wrong)?;
                let cluster = name.parse().map_err(|_| wrong())?;
                match role.split_once('/') {
                    None if role == "agent" => Party::Agent(cluster),
                    None if role == "gateway" => Party::Gateway(cluster),
                    Some(("gateway", name)) => Party::Envoy(cluster, name.parse().map_err(|_| wrong())?),
                    _ => return Err(wrong()),
                }
            }
        };
        Ok(Self { trust_domain, party })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        for text in [
            "spiffe://fleet.example/hub",
            "spiffe://fleet.example/cluster/us-east-1/agent",
            "spiffe://fleet.example/cluster/eu/gateway",
            "spiffe://fleet.example/cluster/eu/gateway/shop/edge",
            "spiffe://fleet.example/person/alice@example",
        ] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "spiffe://",
            "spiffe:///hub",
            "spiffe://Fleet/hub",
            "spiffe://fleet/hub/",
            "spiffe://fleet/cluster//agent",
            "spiffe://fleet/cluster/a/b/agent",
            "spiffe://fleet/cluster/a",
            "spiffe://fleet/cluster/a/gateway/",
            "spiffe://fleet/cluster/a/gateway/shop",
            "spiffe://fleet/cluster/a/gateway/shop/edge/x",
            "spiffe://fleet/cluster/a/agent/shop/edge",
            "spiffe://fleet/person/",
            "spiffe://fleet/person/a/b",
            "spiffe://fleet/person/a.b",
            "https://fleet/hub",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
    }
}
