//! Writes `status`, by server-side apply: only what differs, only as the leader, and never on top of what it has not seen.
//!
//! A write first reads the object. If its status says all that is wanted already, nothing is written, so any number of replicas
//! and restarts cost reads alone. Else the status is applied on condition that the object is still the one that was read
//! (`metadata.resourceVersion`): a leader that was paused for longer than its lease finds that the next one has written, and leaves it.
//!
//! Who has nothing to say of an object any more withdraws what it said ([`Writer::withdraw`]): its entries in lists that several
//! controllers share, and the fields that are its alone. What a process before this one said is found by [`said_by`].

use crate::{
    conditions,
    leader::{Leadership, Permit},
    queue::{Outcome, Queue},
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_model::Time;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

/// Everything is looked at again after so long, in case somebody else changed it.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// So many objects are listed at a time, and so many times at most.
const PAGE: u32 = 500;
const MAX_PAGES: usize = 200;

/// What an object is to be told.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    /// This.
    Status(Value),
    /// Nothing any more by us, who are this controller.
    Nothing(&'static str),
}

/// An object that is told something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Such as `tidegate.dev/v1alpha1`.
    pub api_version: String,
    /// Such as `FailoverPolicy`.
    pub kind: String,
    /// As the API's paths name it, such as `failoverpolicies`.
    pub plural: String,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Object {
    fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }

    /// The objects of its kind, in all namespaces.
    fn all(&self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }

    pub(crate) fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource()),
            None => Api::all_with(client.clone(), &self.resource()),
        }
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Statuses that were written.
    pub written: u64,
    /// Statuses that were found to say all that is wanted.
    pub unchanged: u64,
    /// Writes that were refused or not answered.
    pub failed: u64,
    /// How many wait.
    pub waiting: usize,
    /// How many objects were left out, being too many.
    pub left_out: u64,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    unchanged: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue<Object, Wanted>>,
    filled: Notify,
    counters: Counters,
    origin: Instant,
}

impl Shared {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    fn with<R>(&self, ask: impl FnOnce(&mut Queue<Object, Wanted>, Time) -> R) -> R {
        ask(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner), self.now())
    }
}

/// Where statuses are handed in. Writing ends with the last clone.
#[derive(Clone, Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    _gone: Arc<DropGuard>,
}

impl Writer {
    /// Writes what it is handed, as `manager`, while it leads.
    #[must_use]
    pub fn start(client: Client, manager: &'static str, leadership: Leadership) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Notify::new(),
            counters: Counters::default(),
            origin: Instant::now(),
        });
        let gone = CancellationToken::new();
        let (shared_too, warned) = (Arc::clone(&shared), BTreeMap::new());
        let work = Work { client, manager, leadership, shared: shared_too, warned, busy: false };
        let stop = gone.clone();
        tokio::spawn(async move { stop.run_until_cancelled_owned(work.run()).await });
        Self { shared, _gone: Arc::new(gone.drop_guard()) }
    }

    /// Asks for an object's status to be this: its fields, with conditions that lack `lastTransitionTime`.
    pub fn want(&self, object: Object, status: Value) {
        self.shared.with(|queue, now| queue.want(now, object, Wanted::Status(status)));
        self.shared.filled.notify_one();
    }

    /// Asks for all to be taken from an object's status that this said of it, as `controller` in lists that are shared.
    pub fn withdraw(&self, object: Object, controller: &'static str) {
        self.shared.with(|queue, now| queue.want(now, object, Wanted::Nothing(controller)));
        self.shared.filled.notify_one();
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, object: &Object) {
        self.shared.with(|queue, _| queue.forget(object));
    }

    /// What was done so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let Counters { written, unchanged, failed } = &self.shared.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (waiting, left_out) = self.shared.with(|queue, _| (queue.waiting(), queue.left_out()));
        Counted { written: of(written), unchanged: of(unchanged), failed: of(failed), waiting, left_out }
    }
}

struct Work {
    client: Client,
    manager: &'static str,
    leadership: Leadership,
    shared: Arc<Shared>,
    /// Why objects of a kind could not be written, so that it is logged once.
    warned: BTreeMap<String, String>,
    /// Whether the server was too busy when it was asked last, which is logged once.
    busy: bool,
}

impl Work {
    async fn run(mut self) {
        loop {
            self.leadership.leading().await;
            self.shared.with(Queue::again);
            let again = Instant::now() + LOOK_AGAIN;
            while self.leadership.leads() && Instant::now() < again {
                self.one(again).await;
            }
        }
    }

    /// Writes the next one, or waits until there is one.
    async fn one(&mut self, limit: Instant) {
        let Some((object, wanted, number)) = self.shared.with(Queue::take) else {
            let next = self.shared.with(|queue, _| queue.next_at());
            let until = next.map_or(limit, |next| (self.shared.origin + next.since_origin()).min(limit));
            tokio::select! {
                () = self.shared.filled.notified() => {}
                () = sleep_until(until) => {}
            }
            return;
        };
        let outcome = match self.leadership.permit() {
            Some(permit) => self.write(&object, &wanted, permit).await,
            None => Outcome::Conflict,
        };
        self.shared.with(|queue, now| queue.came(now, &object, number, outcome));
    }

    async fn write(&mut self, object: &Object, wanted: &Wanted, permit: Permit) -> Outcome {
        let counters = &self.shared.counters;
        // What was withdrawn is nobody's business here any more.
        let done = if matches!(wanted, Wanted::Nothing(_)) { Outcome::Gone } else { Outcome::Done };
        let answer = timeout_at(permit.until, apply(&self.client, self.manager, object, wanted)).await;
        if matches!(answer, Ok(Ok(_))) && std::mem::take(&mut self.busy) {
            info!("the Kubernetes API takes statuses again");
        }
        let why = match answer {
            Ok(Ok(Written::Yes)) => {
                counters.written.fetch_add(1, Ordering::Relaxed);
                self.warned.remove(&object.kind);
                return done;
            }
            Ok(Ok(Written::Needless)) => {
                counters.unchanged.fetch_add(1, Ordering::Relaxed);
                return done;
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Outcome::Gone,
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => return Outcome::Conflict,
            Ok(Err(kube::Error::Api(status))) if status.code == 429 => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.busy, true) {
                    warn!("the Kubernetes API is too busy to take statuses; they are told later");
                }
                let asked = status.details.as_ref().map_or(0, |it| it.retry_after_seconds);
                return Outcome::Busy(Some(Duration::from_secs(asked.into())));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        counters.failed.fetch_add(1, Ordering::Relaxed);
        let Object { kind, name, namespace, .. } = object;
        if self.warned.insert(kind.clone(), why.clone()).as_ref() == Some(&why) {
            debug!(%kind, %name, ?namespace, %why, "a status cannot be written");
        } else {
            warn!(%kind, %name, ?namespace, %why, "a status cannot be written; it is tried again");
        }
        Outcome::Failed
    }
}

enum Written {
    Yes,
    Needless,
}

async fn apply(
    client: &Client,
    manager: &str,
    object: &Object,
    wanted: &Wanted,
) -> Result<Written, kube::Error> {
    let api = object.api(client);
    let present = api.get(&object.name).await?;
    let status = present.data.get("status").unwrap_or(&Value::Null);
    let next = match wanted {
        Wanted::Status(wanted) => conditions::next(status, wanted, &now_text()),
        Wanted::Nothing(controller) => {
            let (left, said) = conditions::withdrawn(status, controller);
            (said || has_own(&present.metadata, manager)).then_some(left)
        }
    };
    let Some(status) = next else { return Ok(Written::Needless) };
    let patch = json!({
        "apiVersion": object.api_version,
        "kind": object.kind,
        "metadata": {"name": object.name, "resourceVersion": present.metadata.resource_version},
        "status": status,
    });
    let params = PatchParams::apply(manager).force();
    api.patch_status(&object.name, &params, &Patch::Apply(&patch)).await?;
    Ok(Written::Yes)
}

/// Whether fields of the status are what `manager` applied, beside lists that are shared.
fn has_own(metadata: &ObjectMeta, manager: &str) -> bool {
    let own = metadata.managed_fields.iter().flatten().filter(|it| is_status_of(it, manager));
    let fields = own.filter_map(|it| it.fields_v1.as_ref()?.0.get("f:status")?.as_object());
    fields.flat_map(|it| it.keys()).any(|name| !["f:parents", "f:ancestors", "."].contains(&name.as_str()))
}

fn is_status_of(entry: &ManagedFieldsEntry, manager: &str) -> bool {
    entry.manager.as_deref() == Some(manager) && entry.subresource.as_deref() == Some("status")
}

/// The objects of a kind, as of `like`, of whose status `manager` wrote something, or that say something by `controller`, be it in
/// another life. Who applies a list that is shared takes it over, with what others say in it: both have to be looked for.
///
/// # Errors
/// If the API does not tell, or not all of it.
pub async fn said_by(
    client: &Client,
    (manager, controller): (&str, &str),
    like: &Object,
) -> Result<Vec<Object>, kube::Error> {
    let (api, mut params, mut said) = (like.all(client), ListParams::default().limit(PAGE), Vec::new());
    for _ in 0..MAX_PAGES {
        let page = api.list(&params).await?;
        let is_ours = |it: &DynamicObject| {
            let mut entries = it.metadata.managed_fields.iter().flatten();
            let status = it.data.get("status").unwrap_or(&Value::Null);
            entries.any(|entry| is_status_of(entry, manager)) || conditions::withdrawn(status, controller).1
        };
        let ours = page.items.into_iter().filter(is_ours).map(|it| it.metadata);
        said.extend(
            ours.filter_map(|it| Some(Object { namespace: it.namespace, name: it.name?, ..like.clone() })),
        );
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    Ok(said)
}

/// As Kubernetes writes times: whole seconds, UTC.
#[must_use]
pub fn now_text() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
