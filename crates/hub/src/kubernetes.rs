//! Policy from the API of a Kubernetes cluster, as files of one object each, and what its objects are told.
//!
//! What is read is the business of [`Follower`]; which version of an object is handed out, of `documents`, as with any source. An
//! API that is away, or does not know our kinds, changes nothing.

mod drilled;
mod settled;
mod teller;

pub(crate) use drilled::outcome;
pub(crate) use teller::Telling;

use crate::{
    documents::Read,
    office::Office,
    source::{Source, SourceError},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tidegate_api::SourceFile;
use tidegate_discovery::kube::{AccessError, Follower, KubeAccess, KubeOptions, Pace};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

/// A hub that starts waits so long for the API to tell all; then agents are answered with what was handed out before.
const START: Duration = Duration::from_secs(5);
/// How often it is looked when nothing changed: how old all is, is told meanwhile.
const POLL: Duration = Duration::from_secs(2);

/// An API that is followed.
pub(crate) struct Api {
    options: KubeOptions,
    follower: Arc<Follower>,
}

impl Api {
    /// Begins to follow it; `changed` is told when there may be something new.
    pub(crate) async fn open(access: &KubeAccess, changed: &Arc<Notify>) -> Result<Self, AccessError> {
        let (client, url) = access.client().await?;
        let options =
            KubeOptions { client, url, certificates: Vec::new(), saved: None, pace: Pace::default() };
        let follower = Follower::start(&options, Arc::clone(changed));
        if timeout(START, follower.listed()).await.is_err() {
            tracing::warn!("the API at {} did not tell all within {} s", options.url, START.as_secs());
        }
        Ok(Self { options, follower: Arc::new(follower) })
    }

    pub(crate) fn source(&self) -> Box<dyn Source> {
        Box::new(Objects { url: self.options.url.clone(), follower: Arc::clone(&self.follower) })
    }

    /// What comes back tells the objects what became of them, until `stop`.
    pub(crate) fn tell(
        &self,
        office: Arc<Office>,
        stop: CancellationToken,
    ) -> (Telling, impl Future<Output = ()> + use<>) {
        teller::tell(&self.options, office, stop)
    }
}

/// A condition that the hub adds to what is wrong with an object: whether it is so, and why in a word and a sentence.
fn condition(kind: &str, so: bool, (reason, message): (&str, &str), generation: Option<i64>) -> Value {
    let so = if so { "True" } else { "False" };
    let mut condition = json!({"type": kind, "status": so, "reason": reason, "message": message});
    if let Some(generation) = generation {
        condition["observedGeneration"] = generation.into();
    }
    condition
}

struct Objects {
    url: String,
    follower: Arc<Follower>,
}

impl Source for Objects {
    fn read(&mut self) -> Result<Read, SourceError> {
        let followed = self.follower.read().map_err(|why| SourceError(why.to_string()))?;
        let file = |object: &Arc<tidegate_discovery::kube::FleetObject>| SourceFile {
            path: object.subject.path.clone(),
            text: object.text.clone(),
        };
        Ok(Read {
            files: followed.objects.iter().map(file).collect(),
            problems: followed.problems,
            commit: None,
            objects: followed.objects,
        })
    }

    fn interval(&self) -> Duration {
        POLL
    }

    fn who(&self, _read: &Read) -> String {
        format!("Kubernetes API {}", self.url)
    }

    fn age(&self) -> Option<Duration> {
        self.follower.age()
    }
}
