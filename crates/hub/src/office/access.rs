//! Tokens for people elsewhere.

use super::{Office, OfficeError};
use crate::run::HubError;
use crate::view::GrantView;
use std::{collections::BTreeSet, time::Duration};
use tidegate_link::{
    access::{Grant, GrantError, Role},
    hub::{AccessToken, Secret},
};

impl Office {
    /// Gives somebody a token, which is told once.
    pub(crate) fn give(
        &self,
        name: &str,
        role: Role,
        namespaces: Option<BTreeSet<String>>,
        ttl: Duration,
        who: &str,
    ) -> Result<AccessToken, HubError> {
        if !AccessToken::is_name(name) {
            return Err(OfficeError::from(GrantError::Name).into());
        }
        let now = self.now();
        let mut others = Vec::new();
        for (hash, grant) in self.store.grants()? {
            if grant.expires_at <= now {
                self.store.set_grant(&hash, None)?;
            } else {
                others.push(grant);
            }
        }
        let expires_at = now.saturating_add(ttl.as_secs());
        let grant = Grant { name: name.to_owned(), role, namespaces, expires_at };
        grant.check(ttl, &others).map_err(OfficeError::from)?;
        let secret = Secret::draw().ok_or(HubError::Randomness)?;
        let pin = self.keys().authority.pin()?;
        self.store.set_grant(&secret.hash(), Some(&grant))?;
        // Agents hear of it, too.
        self.renew_trust()?;
        self.audit(who, "granted", format!("{role} to {name}, for {} s", ttl.as_secs()))?;
        Ok(AccessToken { name: name.to_owned(), secret, pin })
    }

    /// Takes it away; whether there was one.
    pub(crate) fn take_away(&self, name: &str, who: &str) -> Result<bool, HubError> {
        let Some((hash, grant)) = self.store.grants()?.into_iter().find(|(_, it)| it.name == name) else {
            return Ok(false);
        };
        self.store.set_grant(&hash, None)?;
        self.renew_trust()?;
        self.audit(who, "grantRevoked", format!("{} of {name}", grant.role))?;
        self.copy_now.notify_one();
        Ok(true)
    }

    /// Who has one.
    pub(crate) fn grant_views(&self) -> Result<Vec<GrantView>, OfficeError> {
        let view =
            |Grant { name, role, namespaces, expires_at }| GrantView { name, role, namespaces, expires_at };
        let mut views: Vec<_> = self.store.grants()?.into_values().map(view).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    /// Whose token it is. A store that fails knows nobody.
    pub(crate) fn known(&self, secret: &Secret) -> Option<Grant> {
        let grant = self.store.grant(&secret.hash());
        grant.inspect_err(|error| tracing::error!(%error, "tokens cannot be read")).ok().flatten()
    }
}
