//! Tokens and certificates for people elsewhere.

use super::{Office, OfficeError};
use crate::authority::draw_serial;
use crate::run::HubError;
use crate::view::GrantView;
use std::{collections::BTreeSet, time::Duration};
use tidegate_link::{
    access::{Grant, GrantError, Role, by_certificate, is_by_certificate},
    hub::{AccessToken, Secret},
    identity::{CertificateDer, Party},
};

/// What somebody is to be given.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// `None` for all.
    pub(crate) namespaces: Option<BTreeSet<String>>,
    pub(crate) ttl: Duration,
}

impl Office {
    /// Gives somebody a token, which is told once.
    pub(crate) fn give(&self, asked: &Asked, who: &str) -> Result<AccessToken, HubError> {
        let grant = self.grant(asked)?;
        let secret = Secret::draw().ok_or(HubError::Randomness)?;
        let pin = self.keys().authority.pin()?;
        self.keep_grant(&secret.hash(), &grant, who, "")?;
        Ok(AccessToken { name: grant.name, secret, pin })
    }

    /// Gives somebody a certificate for the key of a signing request (DER), with those above it. What they may is kept here, by
    /// that key.
    pub(crate) fn certify(
        &self,
        asked: &Asked,
        request: &[u8],
        who: &str,
    ) -> Result<Vec<CertificateDer<'static>>, HubError> {
        let grant = self.grant(asked)?;
        let party = Party::Person(asked.name.parse().map_err(|_| OfficeError::from(GrantError::Name))?);
        let (now, serial) = (self.identity.now(), draw_serial());
        let issued = self.keys().authority.issue(request, &party, &serial, now, asked.ttl)?;
        self.keep_grant(&by_certificate(issued.facts.key), &grant, who, " by certificate")?;
        Ok(issued.chain)
    }

    /// What would be kept, if it may be. What has ended makes room.
    fn grant(&self, asked: &Asked) -> Result<Grant, HubError> {
        if !AccessToken::is_name(&asked.name) {
            return Err(OfficeError::from(GrantError::Name).into());
        }
        let now = self.now();
        let mut others = Vec::new();
        for (kept_as, grant) in self.store.grants()? {
            if grant.expires_at <= now {
                self.store.set_grant(&kept_as, None)?;
            } else {
                others.push(grant);
            }
        }
        let grant = Grant {
            name: asked.name.clone(),
            role: asked.role,
            namespaces: asked.namespaces.clone(),
            expires_at: now.saturating_add(asked.ttl.as_secs()),
        };
        grant.check(asked.ttl, &others).map_err(OfficeError::from)?;
        Ok(grant)
    }

    fn keep_grant(&self, kept_as: &str, grant: &Grant, who: &str, how: &str) -> Result<(), HubError> {
        if self.store.grant(kept_as)?.is_some() {
            return Err(OfficeError::from(GrantError::Key).into());
        }
        self.store.set_grant(kept_as, Some(grant))?;
        // Agents hear of it, too.
        self.renew_trust()?;
        let left = grant.expires_at.saturating_sub(self.now());
        self.audit(who, "granted", format!("{} to {}{how}, for {left} s", grant.role, grant.name))?;
        Ok(())
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
        let view = |(kept_as, grant): (String, Grant)| {
            let by_certificate = is_by_certificate(&kept_as);
            let Grant { name, role, namespaces, expires_at } = grant;
            GrantView { name, role, namespaces, expires_at, by_certificate }
        };
        let mut views: Vec<_> = self.store.grants()?.into_iter().map(view).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    /// What is granted, by what it is kept under. A store that fails knows nobody.
    pub(crate) fn known(&self, kept_as: &str) -> Option<Grant> {
        let grant = self.store.grant(kept_as);
        grant.inspect_err(|error| tracing::error!(%error, "what is granted cannot be read")).ok().flatten()
    }
}
