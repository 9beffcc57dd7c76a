//! A join token: what an operator carries from the hub to a new cluster.
//!
//! `tidegate-join.CLUSTER.SECRET.PIN`: the cluster that it is for, 32 random bytes, and the SHA-256 of the public key of the
//! authority's root, by which the agent knows the hub at first contact. The hub keeps only the SHA-256 of the secret.

use crate::identity::{PersonName, Pin};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use std::{fmt, str::FromStr};
use tidegate_model::ClusterName;

const PREFIX: &str = "tidegate-join";

/// The secret of a token. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new one, by the system's randomness; `None` if it has none to give.
    #[must_use]
    pub fn draw() -> Option<Self> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// From the wire; `None` if it is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// For the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// What the hub keeps of it, hexadecimal. With 256 random bits no salt or slow hash is needed.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(digest(&SHA256, &self.0).as_ref())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// A join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// The cluster that it is for.
    pub cluster: ClusterName,
    /// What only the hub and its bearer know.
    pub secret: Secret,
    /// Which authority the hub has.
    pub pin: Pin,
}

/// Why a text is no token. It does not repeat the text, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a join token\n  hint: copy the whole line that `tidegate cluster join-token` printed; it begins with tidegate-join."
)]
pub struct TokenError;

impl JoinToken {
    /// As it is handed out, secret and all.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}.{}.{}.{}", self.cluster, hex(&self.secret.0), self.pin)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest =
            text.trim().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.')).ok_or(TokenError)?;
        let (rest, pin) = rest.rsplit_once('.').ok_or(TokenError)?;
        // A cluster's name may have dots.
        let (cluster, secret) = rest.rsplit_once('.').ok_or(TokenError)?;
        // A secret has the same form as a pin.
        let secret: Pin = secret.parse().map_err(|_| TokenError)?;
        Ok(Self {
            cluster: cluster.parse().map_err(|_| TokenError)?,
            secret: Secret(secret.to_bytes()),
            pin: pin.parse().map_err(|_| TokenError)?,
        })
    }
}

const ACCESS: &str = "tidegate-access";

/// What somebody shows who asks a hub from elsewhere: `tidegate-access.NAME.SECRET.PIN`, with the pin by which the hub is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// Whose it is: 1 to 63 letters, digits, '-', '_' and '@'.
    pub name: String,
    /// What only the hub and its bearer know.
    pub secret: Secret,
    /// Which authority the hub has.
    pub pin: Pin,
}

/// Why a text is no token. It does not repeat the text, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a token for the hub\n  hint: it is the line that `tidegate access grant` printed, and begins with tidegate-access."
)]
pub struct AccessTokenError;

impl AccessToken {
    /// As it is handed out, secret and all.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{ACCESS}.{}.{}.{}", self.name, hex(&self.secret.0), self.pin)
    }

    /// Whether it is a name.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        text.parse::<PersonName>().is_ok()
    }
}

impl FromStr for AccessToken {
    type Err = AccessTokenError;

    fn from_str(text: &str) -> Result<Self, AccessTokenError> {
        let mut parts = text.trim().split('.');
        let mut next = || parts.next().ok_or(AccessTokenError);
        let (prefix, name, secret, pin) = (next()?, next()?, next()?, next()?);
        if prefix != ACCESS || !Self::is_name(name) || parts.next().is_some() {
            return Err(AccessTokenError);
        }
        // A secret has the same form as a pin.
        let secret: Pin = secret.parse().map_err(|_| AccessTokenError)?;
        let pin = pin.parse().map_err(|_| AccessTokenError)?;
        Ok(Self { name: name.to_owned(), secret: Secret(secret.to_bytes()), pin })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_revealed_and_shown_to_nobody_else() {
        let secret = Secret::draw().unwrap();
        let pin = "ab".repeat(32).parse().unwrap();
        let token = JoinToken { cluster: "us-east-1".parse().unwrap(), secret: secret.clone(), pin };
        let text = token.reveal();
        assert_eq!(format!(" {text}\n").parse::<JoinToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&hex(&secret.0)));
        assert_ne!(secret.hash(), hex(&secret.0));
        for wrong in ["", "tidegate-join", &text[1..], &text[..text.len() - 1], "tidegate-join.a.b.c"] {
            assert_eq!(wrong.parse::<JoinToken>(), Err(TokenError), "{wrong}");
        }
    }
}
