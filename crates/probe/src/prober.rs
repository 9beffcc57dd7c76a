//! The shell: a thread with a runtime of its own, one task that owns the schedule, and a bounded number of checks under
//! way.
//!
//! The thread is its own because of what a check measures: while the agent recomputes its plans, a check on the same
//! thread would find every endpoint slow. And it is one, so that checks are started, answered and judged without a lock.

use crate::{
    Failure, Stats, Target,
    check::{HELD_UP, Outcome, check, tls::TlsStore},
    schedule::{Checked, Done, Due, Schedule},
};
use futures::FutureExt;
use std::{
    collections::BTreeMap,
    hash::Hash,
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tidegate_model::ProbeVerdict;
use tokio::{
    sync::{Notify, mpsc},
    time::sleep_until,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// So many checks are under way at most. One that finds no room is late, not lost. A black hole
/// holds each of its checks for the whole timeout, so with the default of 500 ms this is room for
/// 8,000 dead targets a second. Each takes a file descriptor, so it is less where the limit of open files is low.
pub const IN_FLIGHT_LIMIT: usize = 4096;

/// The part of the process's file descriptors that checks may take: gateways and peers need the rest.
const DESCRIPTOR_PART: usize = 2;

/// Faults of our own are logged once in so long, however many checks they hit.
const COMPLAINT_GAP: Duration = Duration::from_secs(10);

/// A check that starts so late shows that this thread was busy; latencies measured meanwhile say nothing.
const BUSY: Duration = Duration::from_millis(10);

/// Results that are taken at once before anything else gets a turn.
const BATCH: usize = 64;

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
    stats: Arc<Stats>,
    _stop: DropGuard,
}

/// What is new of the targets that the task has not taken yet. It holds each key once, whatever comes.
#[derive(Debug)]
struct Mailbox<K> {
    news: Mutex<News<K>>,
    filled: Notify,
}

/// What is new of the targets.
#[derive(Debug)]
enum News<K> {
    /// These are all.
    All(BTreeMap<K, Target>),
    /// These are new or changed; `None` for those that are gone.
    Some(BTreeMap<K, Option<Target>>),
}

impl<K: Ord + Hash + Clone + Send + 'static> Prober<K> {
    /// Starts a prober without targets on a thread of its own. Its verdicts go to `verdicts`:
    /// for each target the first one, and then each change. It ends when `shutdown` is cancelled,
    /// when it is dropped, and when nobody listens to the verdicts any more.
    ///
    /// # Errors
    /// If the operating system has no thread or no descriptors left for it.
    #[expect(clippy::needless_pass_by_value, reason = "a token is a handle, and is handed over")]
    pub fn start(verdicts: mpsc::Sender<Verdict<K>>, shutdown: CancellationToken) -> io::Result<Self> {
        let targets =
            Arc::new(Mailbox { news: Mutex::new(News::Some(BTreeMap::new())), filled: Notify::new() });
        let stats = Arc::new(Stats::default());
        let stop = shutdown.child_token();
        let limit = in_flight_limit(open_files_limit());
        stats.set_limit(limit);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shell = Shell {
            schedule: Schedule::new(),
            mailbox: Arc::clone(&targets),
            verdicts,
            stats: Arc::clone(&stats),
            tls: Arc::default(),
            limit,
            under_way: 0,
            busy_until: Instant::now(),
            complaints: Complaints::default(),
        };
        let run = shell.run(stop.clone());
        thread::Builder::new().name("tidegate-probe".into()).spawn(move || {
            // As a task of its own: waking what `block_on` itself runs costs a system call for each check.
            let task = runtime.spawn(run);
            let ended = runtime.block_on(task);
            // The end of the runtime ends the checks that are under way.
            if let Err(error) = ended {
                tracing::error!(%error, "health checks have stopped; verdicts stay as they are");
            }
        })?;
        Ok(Self { targets, stats, _stop: stop.drop_guard() })
    }

    /// Makes `targets` the whole set; of entries with one key the last counts. Returns at once.
    ///
    /// What is unchanged keeps its state and schedule (whatever its `known` says now); a changed
    /// configuration is checked at once, with the last verdict as known; another address under the
    /// same key is a new target; what is not in the set is checked no more, and nothing more is
    /// said of it, except what is in the channel already.
    pub fn set(&self, targets: Vec<(K, Target)>) {
        let targets = targets.into_iter().collect();
        *self.targets.news.lock().unwrap_or_else(PoisonError::into_inner) = News::All(targets);
        self.targets.filled.notify_one();
    }

    /// Changes the set where `changed` says so: targets that are new or changed, and keys that are gone. It is as if
    /// [`Self::set`] had been called with the whole set after the change, but costs what changed.
    pub fn change(&self, changed: Vec<(K, Option<Target>)>) {
        match &mut *self.targets.news.lock().unwrap_or_else(PoisonError::into_inner) {
            News::All(targets) => {
                for (key, target) in changed {
                    match target {
                        Some(target) => targets.insert(key, target),
                        None => targets.remove(&key),
                    };
                }
            }
            News::Some(waiting) => waiting.extend(changed),
        }
        self.targets.filled.notify_one();
    }

    /// What it counts.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }
}

/// The soft limit of open files of this process; `None` without one.
fn open_files_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// How many checks may be under way with such a limit of open files.
fn in_flight_limit(open_files: Option<u64>) -> usize {
    let share =
        open_files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX)) / DESCRIPTOR_PART;
    let limit = share.clamp(1, IN_FLIGHT_LIMIT);
    if limit < IN_FLIGHT_LIMIT {
        tracing::warn!(
            open_files,
            checks_at_once = limit,
            "the limit of open files is low: when many endpoints hang at once, checks will be late \
             (raise it to {}: ulimit -n, LimitNOFILE)",
            IN_FLIGHT_LIMIT * DESCRIPTOR_PART
        );
    }
    limit
}

/// All that the prober's task owns.
struct Shell<K> {
    schedule: Schedule<K>,
    mailbox: Arc<Mailbox<K>>,
    verdicts: mpsc::Sender<Verdict<K>>,
    stats: Arc<Stats>,
    tls: Arc<TlsStore>,
    limit: usize,
    under_way: usize,
    /// Latencies of checks that started before this are not believed.
    busy_until: Instant,
    complaints: Complaints,
}

/// A check that has ended.
struct Ended {
    due: Due,
    started: Instant,
    outcome: Outcome,
}

impl<K: Ord + Hash + Clone + Send + 'static> Shell<K> {
    async fn run(mut self, stop: CancellationToken) {
        // At most as many as may be under way are in it.
        let (ended, mut results) = mpsc::unbounded_channel();
        let mut batch = Vec::with_capacity(BATCH);
        let (mailbox, verdicts) = (Arc::clone(&self.mailbox), self.verdicts.clone());
        loop {
            self.start_due(&ended);
            let wake = self.schedule.next_due(self.under_way < self.limit);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = mailbox.filled.notified() => self.take_targets(),
                permit = verdicts.reserve(), if self.schedule.has_verdict() => {
                    let Ok(permit) = permit else { return };
                    if let Some(verdict) = self.schedule.next_verdict() {
                        permit.send(verdict);
                    }
                }
                _ = results.recv_many(&mut batch, BATCH) => self.finish(&mut batch),
                () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => self.judge(),
                () = verdicts.closed() => return,
            }
        }
    }

    fn start_due(&mut self, ended: &mpsc::UnboundedSender<Ended>) {
        while self.under_way < self.limit {
            let started = Instant::now();
            let Some(due) = self.schedule.start_due(started) else { break };
            self.stats.started(due.late);
            if due.late > BUSY {
                self.busy_until = started;
            }
            self.under_way += 1;
            let (ended, tls) = (ended.clone(), Arc::clone(&self.tls));
            tokio::spawn(async move {
                let target = &due.target;
                let outcome =
                    AssertUnwindSafe(check(target.address, target.config(), &tls)).catch_unwind().await;
                let outcome = outcome.unwrap_or_else(|_| Outcome::local("the check panicked".into()));
                // Whoever listened is gone when this fails, and with it all interest.
                let _ = ended.send(Ended { due, started, outcome });
            });
        }
        self.stats.show(self.schedule.len(), self.under_way);
    }

    fn take_targets(&mut self) {
        let taken = std::mem::replace(
            &mut *self.mailbox.news.lock().unwrap_or_else(PoisonError::into_inner),
            News::Some(BTreeMap::new()),
        );
        match taken {
            News::All(targets) => self.schedule.reconcile(targets, Instant::now()),
            News::Some(changed) => self.schedule.change(changed, Instant::now()),
        }
    }

    fn finish(&mut self, batch: &mut Vec<Ended>) {
        let now = Instant::now();
        for Ended { due, started, outcome } in batch.drain(..) {
            self.under_way -= 1;
            let Outcome { result, latency } = outcome;
            if let Err(Failure::Local(reason)) = &result {
                self.complaints.hear(&due.target, reason, now);
            }
            self.stats.finished(result.is_err(), matches!(result, Err(Failure::Local(_))));
            let latency = latency.filter(|_| started > self.busy_until);
            let done = Done { ticket: due.ticket, ip: due.target.address.ip(), result, latency };
            self.schedule.finish(done, now, rand::random());
        }
    }

    fn judge(&mut self) {
        let now = Instant::now();
        let trust = now.saturating_duration_since(self.busy_until) > HELD_UP;
        self.schedule.judge_due(now, trust);
        self.stats.show_ejected(self.schedule.ejected());
    }
}

/// Faults of our own, which would otherwise be silent: they change no verdict.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    fn hear(&mut self, target: &Checked, reason: &str, now: Instant) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_take_a_part_of_the_descriptors_and_never_more_than_their_limit() {
        for (open_files, checks) in [
            (None, IN_FLIGHT_LIMIT),
            (Some(1 << 20), IN_FLIGHT_LIMIT),
            (Some(8192), 4096),
            (Some(1024), 512),
            (Some(0), 1),
        ] {
            assert_eq!(in_flight_limit(open_files), checks, "{open_files:?}");
        }
    }
}
