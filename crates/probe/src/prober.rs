//! The shell: one task that owns the schedule, and a bounded number of checks under way.

use crate::{Failure, Target, check::check, schedule::Schedule};
use futures::FutureExt;
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tidegate_model::ProbeVerdict;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::sleep_until,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// So many checks are under way at most. One that finds no room is late, not lost. A black hole
/// holds each of its checks for the whole timeout, so with the default of 500 ms this is room for
/// 2,000 dead targets a second; it also keeps the prober within common limits of open files.
pub const IN_FLIGHT_LIMIT: usize = 1024;

/// Faults of our own are logged once in so long, however many checks they hit.
const COMPLAINT_GAP: Duration = Duration::from_secs(10);

/// What was found out about a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<K> {
    /// Which target.
    pub key: K,
    /// Up, or down and why.
    pub verdict: ProbeVerdict,
    /// Whether it is the first verdict about this target since it was added.
    pub first: bool,
}

/// Checks a set of targets until it is dropped or told to shut down.
#[derive(Debug)]
pub struct Prober<K> {
    targets: Arc<Mailbox<K>>,
    _stop: DropGuard,
}

/// The newest set of targets that the task has not taken yet.
#[derive(Debug)]
struct Mailbox<K> {
    targets: Mutex<Option<BTreeMap<K, Target>>>,
    filled: Notify,
}

impl<K: Ord + Clone + Send + 'static> Prober<K> {
    /// Starts a prober without targets on the current tokio runtime. Its verdicts go to `verdicts`:
    /// for each target the first one, and then each change. It ends when `shutdown` is cancelled,
    /// when it is dropped, and when nobody listens to the verdicts any more.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use = "a prober that is dropped stops"]
    #[expect(clippy::needless_pass_by_value, reason = "a token is a handle, and is handed over")]
    pub fn start(verdicts: mpsc::Sender<Verdict<K>>, shutdown: CancellationToken) -> Self {
        let targets = Arc::new(Mailbox { targets: Mutex::new(None), filled: Notify::new() });
        let stop = shutdown.child_token();
        tokio::spawn(run(Arc::clone(&targets), verdicts, stop.clone()));
        Self { targets, _stop: stop.drop_guard() }
    }

    /// Makes `targets` the whole set; of entries with one key the last counts. Returns at once.
    ///
    /// What is unchanged keeps its state and schedule (whatever its `known` says now); a changed
    /// configuration is checked at once, with the last verdict as known; another address under the
    /// same key is a new target; what is not in the set is checked no more, and nothing more is
    /// said of it, except what is in the channel already.
    pub fn set(&self, targets: Vec<(K, Target)>) {
        let targets = targets.into_iter().collect();
        *self.targets.targets.lock().unwrap_or_else(PoisonError::into_inner) = Some(targets);
        self.targets.filled.notify_one();
    }
}

async fn run<K: Ord + Clone + Send + 'static>(
    mailbox: Arc<Mailbox<K>>,
    verdicts: mpsc::Sender<Verdict<K>>,
    stop: CancellationToken,
) {
    let mut schedule = Schedule::new();
    // Dropped at the end, which ends the checks that are under way.
    let mut under_way = JoinSet::new();
    let mut complaints = Complaints::default();
    loop {
        while under_way.len() < IN_FLIGHT_LIMIT
            && let Some((ticket, target)) = schedule.start_due(Instant::now())
        {
            under_way.spawn(async move {
                let result = AssertUnwindSafe(check(target.address, &target.config)).catch_unwind().await;
                (ticket, target, result.unwrap_or_else(|_| Err(Failure::Local("the check panicked".into()))))
            });
        }
        let wake = schedule.next_due().filter(|_| under_way.len() < IN_FLIGHT_LIMIT);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = mailbox.filled.notified() => {
                let targets = mailbox.targets.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(targets) = targets {
                    schedule.reconcile(targets, Instant::now());
                }
            }
            permit = verdicts.reserve(), if schedule.has_verdict() => {
                let Ok(permit) = permit else { return };
                if let Some(verdict) = schedule.next_verdict() {
                    permit.send(verdict);
                }
            }
            Some(done) = under_way.join_next(), if !under_way.is_empty() => {
                // An error would be a cancelled check, and only dropping the set cancels.
                let Ok((ticket, target, result)) = done else { continue };
                let now = Instant::now();
                if let Err(Failure::Local(reason)) = &result {
                    complaints.hear(&target, reason, now);
                }
                schedule.finish(ticket, result, now, rand::random());
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {}
            () = verdicts.closed() => return,
        }
    }
}

/// Faults of our own, which would otherwise be silent: they change no verdict.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    fn hear(&mut self, target: &Target, reason: &str, now: Instant) {
        if self.last.is_some_and(|last| now.duration_since(last) < COMPLAINT_GAP) {
            self.unsaid += 1;
            return;
        }
        tracing::warn!(
            address = %target.address,
            reason,
            others = self.unsaid,
            "a health check could not be made; verdicts stay as they are",
        );
        *self = Self { last: Some(now), unsaid: 0 };
    }
}
