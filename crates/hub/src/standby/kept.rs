//! What a hub that stands by keeps: the newest whole copy of the other hub's state, in a folder of its own.

use crate::{
    authority::Keys,
    copy::{self, AS_OF, EPOCH},
    office::{revoked, trust_domain},
    run::{HubConfig, HubError},
    store::{AuditRecord, STORE, Store},
    view::StandbyView,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use tidegate_link::{
    access::Grants,
    identity::{Clock as _, Credentials, Identity, Refusals, SystemClock, write_public},
};

/// Below the own state folder, until it is promoted.
const KEPT: &str = "standby";

/// What is known of what is kept.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of the store in the copy: when it was written, and its size.
    stamp: Option<(SystemTime, u64)>,
    /// When the other hub last found its copy to be the newest, in milliseconds since 1970.
    as_of_ms: u64,
    sequence: u64,
    version: String,
    epoch: u64,
    pub(super) grants: Grants,
    /// Why the copy is not followed now.
    problem: Option<String>,
}

#[derive(Debug)]
pub(super) struct Kept {
    of: PathBuf,
    state: PathBuf,
    brought: Option<PathBuf>,
    seen: Mutex<Seen>,
    /// Held while the copy is taken, or taken over.
    taking: Mutex<()>,
}

impl Kept {
    pub(super) fn new(config: &HubConfig, of: PathBuf) -> Self {
        let (state, brought) = (config.state_dir.clone(), config.authority.clone());
        Self { of, state, brought, seen: Mutex::default(), taking: Mutex::default() }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is kept.
    fn folder(&self) -> PathBuf {
        self.state.join(KEPT)
    }

    /// Whether the state folder is that of a hub which nobody has superseded: then it does not stand by.
    pub(super) fn is_hub(&self) -> Result<bool, HubError> {
        let path = self.state.join(STORE);
        if !path.exists() {
            return Ok(false);
        }
        let store = Store::open(&path)?;
        Ok(store.epoch()? >= copy::number(&self.of.join(EPOCH)) && store.superseded()? == 0)
    }

    /// Takes the copy if it is another one; whether it is. Without any copy yet, that is an error.
    pub(super) fn look(&self) -> Result<bool, HubError> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.take();
        let mut seen = self.seen();
        seen.problem = taken.as_ref().err().map(ToString::to_string);
        match taken {
            // What was kept before still serves.
            Err(error) if seen.stamp.is_some() => {
                drop(seen);
                tracing::warn!(%error, "the copy is not followed; what is kept stays as it was");
                Ok(false)
            }
            taken => taken,
        }
    }

    fn take(&self) -> Result<bool, HubError> {
        let (from, to) = (self.of.join(STORE), self.folder());
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| HubError::File { path, source }
        };
        let found = fs::metadata(&from).map_err(file(&from))?;
        let stamp = Some((found.modified().map_err(file(&from))?, found.len()));
        let as_of_ms = copy::number(&self.of.join(AS_OF));
        if self.seen().stamp == stamp {
            self.seen().as_of_ms = as_of_ms;
            return Ok(false);
        }
        fs::create_dir_all(to.join("ca")).map_err(file(&to))?;
        copy::keys(&self.of, &to)?;
        if self.brought.is_none() && !to.join("ca/tls.key").exists() {
            let why = "the copy has no authority, because the other hub was given one\n  hint: give it to this one too: --ca DIR";
            return Err(file(&to.join("ca/tls.key"))(io::Error::other(why)));
        }
        let (beside, store) = (to.join("hub.redb.new"), to.join(STORE));
        fs::copy(&from, &beside).map_err(file(&beside))?;
        fs::rename(&beside, &store).map_err(file(&store))?;
        let store = Store::open(&store)?;
        let sequence = store.newest()?;
        let version = store.head(sequence)?.map(|it| crate::office::version(&it)).unwrap_or_default();
        let (epoch, grants) = (store.epoch()?, store.grants()?);
        *self.seen() = Seen { stamp, as_of_ms, sequence, version, epoch, grants, problem: None };
        Ok(true)
    }

    fn keys(&self) -> Result<(Keys, Store), HubError> {
        let folder = self.folder();
        let domain = trust_domain(&folder, None)?;
        let keys = Keys::open(&folder, self.brought.as_deref(), &domain, SystemClock.now())?;
        Ok((keys, Store::open(&folder.join(STORE))?))
    }

    /// A certificate of a hub, by the authority of the copy.
    pub(super) fn credentials(&self) -> Result<Credentials, HubError> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let ((keys, store), now) = (self.keys()?, SystemClock.now());
        let trust = keys.trust(revoked(&store, now.as_secs())?, store.grants()?, now)?;
        keys.hub_credentials(&trust, now)
    }

    pub(super) fn identity(&self) -> Result<Identity, HubError> {
        Ok(Identity::new(self.credentials()?, Refusals::default(), Arc::new(SystemClock)))
    }

    /// Makes what is kept the state of a hub with the next epoch, which comes back.
    pub(super) fn promote(&self, who: &str) -> Result<u64, HubError> {
        // What the other hub wrote last, if it can still be read.
        self.look()?;
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, to) = (self.folder(), &self.state);
        let epoch = {
            let store = Store::open(&from.join(STORE))?;
            let epoch = store.epoch()?.max(copy::number(&self.of.join(EPOCH))) + 1;
            let text = format!("epoch {epoch}, over the copy in {}", self.of.display());
            let at_ms = SystemClock.now().as_secs() * 1000;
            let (who, what) = (who.to_owned(), "promoted".to_owned());
            store.promoted(epoch, &AuditRecord { at_ms, who, what, detail: text })?;
            epoch
        };
        fs::create_dir_all(to.join("ca")).map_err(|source| HubError::File { path: to.clone(), source })?;
        copy::keys(&from, to)?;
        // The store comes last: where it lies, all of it does.
        let store = to.join(STORE);
        fs::rename(from.join(STORE), &store).map_err(|source| HubError::File { path: store, source })?;
        let told = self.of.join(EPOCH);
        if let Err(error) = write_public(&told, format!("{epoch}\n").as_bytes()) {
            tracing::warn!(%error, path = %told.display(), "the other hub hears of it from agents only");
        }
        tracing::info!(epoch, who, "this hub is promoted");
        Ok(epoch)
    }

    pub(super) fn view(&self) -> StandbyView {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis());
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let seen = self.seen();
        StandbyView {
            stands_by: true,
            sequence: seen.sequence,
            version: seen.version.clone(),
            epoch: seen.epoch,
            copy: Some(self.of.display().to_string()),
            copy_age_ms: Some(now.saturating_sub(seen.as_of_ms)),
            problem: seen.problem.clone(),
        }
    }
}
