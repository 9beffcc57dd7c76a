//! The identity kept in a `Secret` of the cluster, for agents whose disk does not outlive their pod. Each replica has a key of its own
//! in it. The Secret is there before (`tidegate install agent`): an agent needs no right to make one.

use super::join::{FILE, HubError, Member};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tidegate_discovery::kube::KubeAccess;
use tidegate_link::identity::write_secret;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// A request to the API may take so long.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// The most that a Secret holds, all its keys together (etcd takes 1 MiB of it); an identity is a few KiB.
const LONGEST: usize = 256 << 10;

/// Which `Secret`, and of which API.
#[derive(Clone, Debug)]
pub struct IdentitySecret {
    /// How the API is reached.
    pub access: KubeAccess,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key of its data: one for each replica, such as the name of its pod.
    pub key: String,
}

/// The `Secret`, reached.
#[derive(Clone)]
pub(super) struct Vault {
    secrets: Api<Secret>,
    name: String,
    key: String,
    changed: Arc<Notify>,
}

impl Vault {
    /// Nothing is asked yet.
    pub(super) async fn open(at: &IdentitySecret) -> Result<Self, HubError> {
        let (client, _): (Client, String) = at.access.client().await?;
        let secrets = Api::namespaced(client, &at.namespace);
        Ok(Self { secrets, name: at.name.clone(), key: at.key.clone(), changed: Arc::default() })
    }

    /// Puts what is kept into the folder, if it lasts longer than what lies there. An API that does not answer is asked again only
    /// where there is nothing else to start with: an agent starts without its API server.
    pub(super) async fn restore(&self, folder: &Path, stop: &CancellationToken) -> Result<(), HubError> {
        let local = Member::load(folder)?;
        loop {
            match self.read().await {
                Ok(kept) => return put(folder, local.as_ref(), kept, self.path()),
                Err(why) if local.is_some() => {
                    tracing::warn!(
                        "the identity's Secret {} cannot be read: {why}; that of the disk is used",
                        self.name
                    );
                    return Ok(());
                }
                Err(why) => {
                    tracing::warn!("the identity's Secret {} cannot be read: {why}; trying again", self.name);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Err(HubError::Stopped),
                () = sleep(RETRY) => {}
            }
        }
    }

    /// As errors name it.
    fn path(&self) -> PathBuf {
        format!("Secret {}, key {}", self.name, self.key).into()
    }

    /// To be called when the file has changed.
    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }

    /// Keeps the file of `folder` in the Secret, now and after each change, until `stop`.
    pub(super) async fn follow(self, folder: Arc<Path>, stop: CancellationToken) {
        loop {
            let wait = match self.keep(&folder).await {
                Ok(()) => None,
                Err(why) => {
                    tracing::warn!(
                        "the identity cannot be kept in the Secret {}: {why}; trying again",
                        self.name
                    );
                    Some(RETRY)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    async fn keep(&self, folder: &Path) -> Result<(), String> {
        let local = Member::load(folder).map_err(|error| error.to_string())?;
        let Some(local) = local else { return Ok(()) };
        let bytes = std::fs::read(folder.join(FILE)).map_err(|error| error.to_string())?;
        let kept = self.read().await?.unwrap_or_default();
        // What a former life of this replica kept may last longer than what it was started with again.
        let newer = Member::read(&kept, self.path()).is_ok_and(|kept| kept.lasts_longer_than(&local));
        if newer || kept == bytes {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"data": {&*self.key: ByteString(bytes)}}));
        let params = PatchParams::default();
        let written = timeout(ANSWER, self.secrets.patch(&self.name, &params, &patch)).await;
        written.map_err(|_| "no answer in time".to_owned())?.map_err(|error| told(&error))?;
        Ok(())
    }

    /// What is kept, if anything is.
    async fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let found = timeout(ANSWER, self.secrets.get_opt(&self.name)).await;
        let found = found.map_err(|_| "no answer in time".to_owned())?.map_err(|error| told(&error))?;
        let data = found.and_then(|secret| secret.data).unwrap_or_default();
        Ok(data
            .into_iter()
            .find(|(name, bytes)| *name == self.key && bytes.0.len() <= LONGEST)
            .map(|(_, bytes)| bytes.0))
    }
}

/// The server's word alone: what was sent holds a key.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            "there is no such Secret (tidegate install agent makes it, empty)".to_owned()
        }
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

fn put(folder: &Path, local: Option<&Member>, kept: Option<Vec<u8>>, at: PathBuf) -> Result<(), HubError> {
    let Some(kept) = kept else { return Ok(()) };
    let member = Member::read(&kept, at)?;
    if local.is_some_and(|local| !member.lasts_longer_than(local)) {
        return Ok(());
    }
    let path = folder.join(FILE);
    write_secret(&path, &kept).map_err(|source| HubError::file(&path, &source))
}
