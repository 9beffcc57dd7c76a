//! Faults of drills on the lab's own fleet, asked for as agents are asked for theirs: by HTTP, one drill at a time. Each has
//! an expiry, and the lab ends it by itself then, whoever is gone.
//!
//! | request | what |
//! |---|---|
//! | `POST /api/v1/drills?id=..&kind=Lab&lab=Slow%201200ms&zone=..&expires=60s&by=..` | begins; with `dryRun=true` only says whether it would |
//! | `GET /api/v1/drills` | what runs |
//! | `DELETE /api/v1/drills/ID?by=..` | ends it |
//! | `GET /api/v1/time`, `GET /api/v1/decisions` | its clock; an empty timeline: the lab decides nothing |

mod word;

use crate::fleet::{Fault, Fleet, FleetError};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tidegate_api::LabFault;
use tidegate_model::ClusterName;
use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};
use word::Wanted;

/// Tries to end a fault that is over, one after the other.
const TRIES: u32 = 5;
/// From one of them to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// Who breaks the fleet for drills.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    running: Mutex<Option<Running>>,
    changed: Notify,
}

/// The fault of a drill.
#[derive(Debug)]
struct Running {
    id: String,
    by: String,
    what: String,
    /// What is not as it was; none while it flaps back.
    on: Vec<Fault>,
    flaps: Option<Flaps>,
    until: Instant,
    /// How often ending it failed.
    failed: u32,
}

#[derive(Debug)]
struct Flaps {
    faults: Vec<Fault>,
    every: Duration,
    next: Instant,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing(Option<Instant>),
    Flap,
    End,
}

impl Running {
    fn due(&self, now: Instant) -> Due {
        if self.failed >= TRIES {
            // It stays in the list, and whoever asks may try again.
            return Due::Nothing(None);
        }
        if now >= self.until {
            return Due::End;
        }
        match &self.flaps {
            Some(flaps) if self.failed == 0 && now >= flaps.next => Due::Flap,
            Some(flaps) if self.failed == 0 => Due::Nothing(Some(flaps.next.min(self.until))),
            _ => Due::Nothing(Some(self.until)),
        }
    }
}

type Answer = (StatusCode, Value);

fn no(status: StatusCode, why: &(impl ToString + ?Sized)) -> Answer {
    (status, json!({ "error": why.to_string() }))
}

impl Desk {
    /// What is answered to a request; `None` if it is none of these.
    pub(crate) async fn answer(
        &self,
        fleet: &Fleet,
        method: &Method,
        (path, query): (&str, &str),
    ) -> Option<Answer> {
        let path = path.strip_prefix("/api/v1/")?;
        Some(match (method, path.split_once('/').unwrap_or((path, ""))) {
            (&Method::POST, ("drills", "")) => self.begin(fleet, query).await.unwrap_or_else(|no| no),
            (&Method::GET, ("drills", "")) => (StatusCode::OK, self.list().await),
            (&Method::DELETE, ("drills", id)) => {
                let by = word::fields(query).remove("by").unwrap_or_default();
                self.end(fleet, &word::decoded(id), &by).await
            }
            (&Method::GET, ("time", "")) => {
                let clock = fleet.clock();
                let now = clock.unix_micros(clock.now());
                (StatusCode::OK, json!({ "unixMicros": now, "agent": "lab", "last": 0 }))
            }
            (&Method::GET, ("decisions", "")) => (StatusCode::OK, json!([])),
            _ => no(StatusCode::NOT_FOUND, &"a lab has /api/v1/drills, /api/v1/time and /api/v1/decisions"),
        })
    }

    /// Ends and changes faults when their time comes, for ever.
    pub(crate) async fn enforce(&self, fleet: &Fleet) {
        loop {
            let due = self.running.lock().await.as_ref().map(|it| it.due(Instant::now()));
            match due {
                None | Some(Due::Nothing(None)) => self.changed.notified().await,
                Some(Due::Nothing(Some(at))) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                Some(Due::End | Due::Flap) => self.step(fleet).await,
            }
        }
    }

    /// What is due now: it may have become something else while the lock was free.
    async fn step(&self, fleet: &Fleet) {
        let mut running = self.running.lock().await;
        let Some(it) = running.as_mut() else { return };
        match it.due(Instant::now()) {
            Due::Nothing(_) => {}
            Due::End => {
                tracing::info!(drill = it.id, "a drill's fault expired");
                if mend(fleet, it).await.is_ok() {
                    *running = None;
                }
            }
            Due::Flap => {
                if let Err(error) = flap(fleet, it).await {
                    tracing::warn!(drill = it.id, %error, "a fault cannot flap: it ends");
                    it.until = Instant::now();
                }
            }
        }
    }

    async fn begin(&self, fleet: &Fleet, query: &str) -> Result<Answer, Answer> {
        let unread = |why: String| no(StatusCode::BAD_REQUEST, &why);
        let wanted = word::read(query).map_err(unread)?;
        let clusters: Vec<ClusterName> = fleet.spec().clusters.iter().map(|it| it.name.clone()).collect();
        let faults = word::faults(&wanted, &clusters).map_err(unread)?;
        for fault in &faults {
            fleet.has(fault).map_err(|error| no(StatusCode::NOT_FOUND, &error))?;
        }
        let mut running = self.running.lock().await;
        if let Some(other) = running.as_ref().filter(|it| it.id != wanted.id) {
            let why = format!("the drill {} runs in this lab ({}): one at a time", other.id, other.what);
            return Err(no(StatusCode::CONFLICT, &why));
        }
        if wanted.dry_run || running.is_some() {
            return Ok((StatusCode::OK, json!({ "id": wanted.id, "what": told(&faults) })));
        }
        let view = json!({ "id": wanted.id, "what": told(&faults) });
        *running = Some(strike(fleet, wanted, faults).await?);
        self.changed.notify_one();
        Ok((StatusCode::OK, view))
    }

    async fn list(&self) -> Value {
        let now = Instant::now();
        let running = self.running.lock().await;
        let view = running.as_ref().map(|it| {
            let left = u64::try_from(it.until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX);
            json!({ "id": it.id, "what": it.what, "by": it.by, "remainingMs": left })
        });
        view.into_iter().collect()
    }

    async fn end(&self, fleet: &Fleet, id: &str, by: &str) -> Answer {
        let mut running = self.running.lock().await;
        let Some(it) = running.as_mut().filter(|it| it.id == id) else {
            return no(StatusCode::NOT_FOUND, &format!("no fault of drill {id:?} runs in this lab"));
        };
        tracing::info!(drill = id, by, "a drill's fault is ended");
        it.failed = 0;
        let mended = mend(fleet, it).await;
        if mended.is_ok() {
            *running = None;
        }
        self.changed.notify_one();
        match mended {
            Ok(()) => (StatusCode::OK, json!({ "ended": id })),
            Err(error) => no(StatusCode::INTERNAL_SERVER_ERROR, &error),
        }
    }
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// All of it, or nothing.
async fn strike(fleet: &Fleet, wanted: Wanted, faults: Vec<Fault>) -> Result<Running, Answer> {
    let now = Instant::now();
    let mut running = Running {
        id: wanted.id,
        by: wanted.by,
        what: format!("{}: {}", wanted.what, told(&faults)),
        on: Vec::new(),
        flaps: None,
        until: now + wanted.expires,
        failed: 0,
    };
    for fault in faults.clone() {
        if let Err(error) = fleet.fault(fault.clone()).await {
            // What was half done is undone as far as it goes.
            let left = mend(fleet, &mut running).await.err();
            let left = left.map(|left| format!("; and what was begun is not undone: {left}"));
            let why = format!("{error}{}", left.unwrap_or_default());
            return Err(no(StatusCode::INTERNAL_SERVER_ERROR, &why));
        }
        running.on.push(fault);
    }
    if let LabFault::Flap(every) = wanted.what {
        running.flaps = Some(Flaps { faults, every, next: now + every });
    }
    Ok(running)
}

/// Undoes what is on, the last first; what cannot be undone stays in it.
async fn mend(fleet: &Fleet, running: &mut Running) -> Result<(), FleetError> {
    while let Some(fault) = running.on.last() {
        match fleet.mend(fault).await {
            // Somebody else restored the fleet meanwhile.
            Ok(_) | Err(FleetError::Unknown { .. }) => drop(running.on.pop()),
            Err(error) => {
                tracing::error!(drill = running.id, %error, "a drill's fault cannot be ended");
                running.failed += 1;
                running.until = Instant::now() + AGAIN;
                return Err(error);
            }
        }
    }
    Ok(())
}

/// From refusing to serving, or back.
async fn flap(fleet: &Fleet, running: &mut Running) -> Result<(), FleetError> {
    let is_on = !running.on.is_empty();
    if is_on {
        mend(fleet, running).await?;
    }
    let Some(flaps) = &mut running.flaps else { return Ok(()) };
    flaps.next += flaps.every;
    if !is_on {
        for fault in flaps.faults.clone() {
            fleet.fault(fault.clone()).await?;
            running.on.push(fault);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(flaps: Option<Duration>) -> (Running, Instant) {
        let now = Instant::now();
        let flaps = flaps.map(|every| Flaps { faults: Vec::new(), every, next: now + every });
        let (id, by, what) = (String::new(), String::new(), String::new());
        (Running { id, by, what, on: Vec::new(), flaps, until: now + AGAIN * 10, failed: 0 }, now)
    }

    #[tokio::test]
    async fn a_fault_ends_when_its_time_is_over_and_flaps_until_then() {
        let (plain, now) = running(None);
        assert_eq!(plain.due(now), Due::Nothing(Some(now + AGAIN * 10)));
        assert_eq!(plain.due(now + AGAIN * 10), Due::End);
        let (flapping, now) = running(Some(AGAIN));
        assert_eq!(flapping.due(now), Due::Nothing(Some(now + AGAIN)));
        assert_eq!(flapping.due(now + AGAIN), Due::Flap);
        assert_eq!(flapping.due(now + AGAIN * 10), Due::End, "its end comes first");
    }

    #[tokio::test]
    async fn what_cannot_be_ended_is_tried_again_so_often_and_stays_in_the_list() {
        let (mut stuck, now) = running(Some(AGAIN));
        stuck.failed = 1;
        assert_eq!(stuck.due(now + AGAIN), Due::Nothing(Some(now + AGAIN * 10)), "it flaps no more");
        stuck.failed = TRIES;
        assert_eq!(stuck.due(now + AGAIN * 10), Due::Nothing(None));
    }
}
