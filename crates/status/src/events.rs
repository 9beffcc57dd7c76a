//! Tells events about objects (`events.k8s.io/v1`), as far as [`crate::flood`] lets them through.

use crate::{flood::Flood, leader::Leadership, writer::Object};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tidegate_model::Time;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing::warn;

/// So many may wait; what comes beyond is dropped, and counted by the caller's refusal.
const WAITING: usize = 1_000;

/// The longest note that an API server takes.
const LONGEST_NOTE: usize = 1_024;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// To what.
    pub object: Object,
    /// The object's `metadata.uid`: what shows an event beside its object looks for it. Where it is not known, the API is asked.
    pub uid: Option<String>,
    /// Whether a person should look (`Warning`) or not (`Normal`).
    pub warning: bool,
    /// One word in upper camel case: `FailedOver`.
    pub reason: &'static str,
    /// What was done about it, likewise: `Shift`.
    pub action: &'static str,
    /// The sentence.
    pub note: String,
}

/// Where events are handed in. Telling ends with the last clone.
#[derive(Clone, Debug)]
pub struct Events {
    waiting: mpsc::Sender<Happened>,
    counters: Arc<Counters>,
}

/// What became of events so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Those that were told.
    pub told: u64,
    /// Those that were not, as too many in their time.
    pub held_back: u64,
    /// Those that were refused or not answered.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    told: AtomicU64,
    held_back: AtomicU64,
    failed: AtomicU64,
}

impl Events {
    /// Tells what it is handed, as `controller` (`tidegate.dev/agent`) and `instance` (a pod's name), while it leads.
    #[must_use]
    pub fn start(client: Client, controller: &str, instance: &str, leadership: Leadership) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING);
        let reporter = Reporter { controller: controller.to_owned(), instance: Some(instance.to_owned()) };
        let counters = Arc::<Counters>::default();
        let recorder = Recorder::new(client.clone(), reporter);
        let work = Work { client, recorder, leadership, counters: Arc::clone(&counters) };
        tokio::spawn(work.run(waiting));
        Self { waiting: sender, counters }
    }

    /// Hands one in; `false` if too many wait.
    #[must_use]
    pub fn tell(&self, happened: Happened) -> bool {
        let taken = self.waiting.try_send(happened).is_ok();
        self.counters.held_back.fetch_add(u64::from(!taken), Ordering::Relaxed);
        taken
    }

    /// What became of events so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let Counters { told, held_back, failed } = &*self.counters;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted { told: of(told), held_back: of(held_back), failed: of(failed) }
    }
}

struct Work {
    client: Client,
    recorder: Recorder,
    leadership: Leadership,
    counters: Arc<Counters>,
}

impl Work {
    async fn run(self, mut waiting: mpsc::Receiver<Happened>) {
        let origin = Instant::now();
        let mut flood = Flood::new(Time::ZERO);
        let mut failing = false;
        while let Some(happened) = waiting.recv().await {
            // The one who leads sees the same and tells it.
            let Some(permit) = self.leadership.permit() else { continue };
            let key = (happened.object.clone(), happened.reason);
            let Some(held_back) = flood.admit(Time::from_origin(origin.elapsed()), &key) else {
                self.counters.held_back.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let why = match timeout_at(permit.until, self.tell(&happened, held_back)).await {
                Ok(Ok(())) => {
                    self.counters.told.fetch_add(1, Ordering::Relaxed);
                    failing = false;
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut failing, true) {
                warn!(%why, reason = happened.reason, "events cannot be told to the Kubernetes API; further failures are not logged");
            }
        }
    }

    async fn tell(&self, happened: &Happened, held_back: u64) -> Result<(), kube::Error> {
        let mut reference = reference(happened);
        if reference.uid.is_none() {
            // An object of elsewhere has none here, or may not be read: its event stands for itself.
            let found = happened.object.api(&self.client).get_metadata_opt(&happened.object.name).await;
            reference.uid = found.ok().flatten().and_then(|it| it.metadata.uid);
        }
        self.recorder.publish(&event(happened, held_back), &reference).await
    }
}

fn event(happened: &Happened, held_back: u64) -> Event {
    let mut note = happened.note.clone();
    let more = match held_back {
        0 => String::new(),
        count => format!(" (and {count} more events that are not shown)"),
    };
    let mut end = note.len().min(LONGEST_NOTE - more.len());
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.truncate(end);
    Event {
        type_: if happened.warning { EventType::Warning } else { EventType::Normal },
        reason: happened.reason.to_owned(),
        note: Some(note + &more),
        action: happened.action.to_owned(),
        secondary: None,
    }
}

fn reference(happened: &Happened) -> ObjectReference {
    let object = happened.object.clone();
    ObjectReference {
        api_version: Some(object.api_version),
        kind: Some(object.kind),
        namespace: object.namespace,
        name: Some(object.name),
        uid: happened.uid.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(note: &str) -> Happened {
        let object = Object {
            api_version: "v1".into(),
            kind: "Service".into(),
            plural: "services".into(),
            namespace: Some("shop".into()),
            name: "cart".into(),
        };
        Happened {
            object,
            uid: None,
            warning: true,
            reason: "FailedOver",
            action: "Shift",
            note: note.into(),
        }
    }

    #[test]
    fn a_note_says_what_was_held_back_and_keeps_to_the_servers_limit() {
        assert_eq!(event(&happened("moved"), 0).note.as_deref(), Some("moved"));
        let told = event(&happened("moved"), 7).note.unwrap_or_default();
        assert_eq!(told, "moved (and 7 more events that are not shown)");
        let long = event(&happened(&"ä".repeat(2_000)), 7).note.unwrap_or_default();
        assert!(long.len() <= LONGEST_NOTE && long.ends_with("not shown)"), "{}", long.len());
    }
}
