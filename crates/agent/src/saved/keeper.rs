//! When what is written: the end in the loop, which never waits for the disk, and the thread that owns the files.

use super::{
    AgentPart, StateDir, StateError,
    line::{Head, Line},
};
use crate::core::Core;
use std::{
    fs::File,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tidegate_model::Time;
use tokio::sync::mpsc;

/// So many parts are taken at a time, a few microseconds each: a change that comes meanwhile waits no longer.
const AT_ONCE: usize = 128;
/// Between two times while more than that waits: ten thousand services are saved within a second.
const SOON: Duration = Duration::from_millis(10);
/// Between two times otherwise.
const EVERY: Duration = Duration::from_millis(200);
/// So often it is told that time has passed while anything is under way (a hold-down shrinks), and while nothing is
/// (quiet time halves the next hold-down).
const PULSE: Duration = Duration::from_secs(1);
const SLOW_PULSE: Duration = Duration::from_secs(10);

/// Batches that wait for the disk. When there are more, what changed waits in the core, where it takes no more room.
const QUEUE: usize = 64;

/// A log of this size is followed by another and its content put into the whole; or of half the whole's size, if that is
/// more, so that what is written for a change does not grow with the fleet.
const LOG_BYTES: u64 = 4 << 20;

/// So many logs are put into the whole, however small: each life of an agent begins one.
const LOGS: usize = 8;

/// After a failure of the disk nothing is tried for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// What is written together.
#[derive(Debug)]
struct Batch {
    at: Time,
    /// None: only that time has passed.
    parts: Vec<AgentPart>,
}

/// The end in the loop.
#[derive(Debug)]
pub(crate) struct Keeper {
    sender: mpsc::Sender<Batch>,
    /// Set by the writer: something was lost, all of it is wanted again.
    lost: Arc<AtomicBool>,
    kept_at: Time,
}

/// The other end: [`Writer::run`] is to be run on a thread for blocking work.
#[derive(Debug)]
pub(crate) struct Writer {
    receiver: mpsc::Receiver<Batch>,
    lost: Arc<AtomicBool>,
    folder: StateDir,
    log_bytes: u64,
    pause: Duration,
}

impl Keeper {
    pub(crate) fn new(folder: StateDir) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        let writer = Writer { receiver, lost: Arc::clone(&lost), folder, log_bytes: LOG_BYTES, pause: PAUSE };
        (Self { sender, lost, kept_at: Time::ZERO }, writer)
    }

    /// When [`Keeper::keep_if_due`] has something to do next.
    pub(crate) fn next(&self, core: &Core) -> Option<Time> {
        // An agent that was never ready knows nothing that is not on disk or found again at once.
        core.is_ready().then(|| self.kept_at + pace(core.unsaved(), core.next_deadline().is_some()))
    }

    /// Hands what changed to the writer, if it is time to.
    pub(crate) fn keep_if_due(&mut self, core: &mut Core, now: Time) {
        if self.next(core).is_some_and(|due| due <= now) {
            self.kept_at = now;
            if self.lost.swap(false, Ordering::Relaxed) {
                core.mark_unsaved();
            }
            // Full: the disk is slow, and what changed waits in the core.
            if let Ok(place) = self.sender.try_reserve() {
                place.send(Batch { at: now, parts: core.take_unsaved(AT_ONCE, false, now) });
            }
        }
    }

    /// Hands over all that is left, on the way down.
    pub(crate) async fn finish(self, core: &mut Core, now: Time) {
        loop {
            let parts = core.take_unsaved(AT_ONCE, true, now);
            let last = parts.len() < AT_ONCE;
            // An error means that the writer is gone, which it has told.
            if self.sender.send(Batch { at: now, parts }).await.is_err() || last {
                return;
            }
        }
    }
}

/// How long after one time the next one is due.
const fn pace(unsaved: usize, under_way: bool) -> Duration {
    match (unsaved, under_way) {
        (0, true) => PULSE,
        (0, false) => SLOW_PULSE,
        (1..=AT_ONCE, _) => EVERY,
        _ => SOON,
    }
}

/// A log that is being written.
struct Open {
    file: File,
    head: Head,
    bytes: u64,
    /// The logs that the whole does not hold yet.
    logs: usize,
}

impl Open {
    const fn is_full(&self, limit: u64) -> bool {
        self.bytes >= limit || self.logs >= LOGS
    }
}

impl Writer {
    /// Writes until the keeper is dropped. What goes wrong is logged, and all is written again later.
    pub(crate) fn run(mut self) {
        let mut open: Option<Open> = None;
        let mut failed: Option<Instant> = None;
        let mut work: Option<JoinHandle<Result<u64, StateError>>> = None;
        let mut limit = self.log_bytes;
        let mut life = None;
        while let Some(batch) = self.receiver.blocking_recv() {
            if work.as_ref().is_some_and(JoinHandle::is_finished) {
                limit = self.log_bytes.max(work.take().and_then(finished).unwrap_or(0) / 2);
            }
            if failed.is_some_and(|at| at.elapsed() < self.pause) {
                continue;
            }
            match self.write(batch, &mut open, &mut life) {
                // What came meanwhile is not on disk.
                Ok(()) if failed.take().is_some() => self.lost.store(true, Ordering::Relaxed),
                Ok(()) => {}
                Err(problem) => {
                    tracing::error!(%problem, "state is not saved; a restart now would forget hold-downs");
                    // What came of the line is not known, so the next one begins another file.
                    (open, failed) = (None, Some(Instant::now()));
                }
            }
            if work.is_none()
                && let Some(full) = open.take_if(|open| open.is_full(limit))
            {
                let folder = self.folder.clone();
                work = Some(std::thread::spawn(move || folder.compact(full.head.number)));
            }
        }
        work.and_then(finished);
    }

    fn write(
        &mut self,
        first: Batch,
        open: &mut Option<Open>,
        life: &mut Option<u64>,
    ) -> Result<(), StateError> {
        let mut text = Vec::new();
        let at = first.at;
        encode(first, &mut text).map_err(StateError::io(&self.folder.log(0)))?;
        // What waits is written together.
        for _ in 0..QUEUE {
            let Ok(batch) = self.receiver.try_recv() else { break };
            encode(batch, &mut text).map_err(StateError::io(&self.folder.log(0)))?;
        }
        let log = match open {
            Some(log) => log,
            None => open.insert(self.begin(life, at)?),
        };
        let written = log.file.write_all(&text).and_then(|()| log.file.sync_data());
        written.map_err(StateError::io(&self.folder.log(log.head.number)))?;
        log.bytes += text.len() as u64;
        Ok(())
    }

    fn begin(&self, life: &mut Option<u64>, at: Time) -> Result<Open, StateError> {
        let (last, logs) = self.folder.last_head()?;
        let life = *life.get_or_insert(last.life + 1);
        let head = Head { life, number: last.number + 1, at, ..last };
        let file = self.folder.begin_log(head).map_err(StateError::io(&self.folder.log(head.number)))?;
        Ok(Open { file, head, bytes: 0, logs: logs + 1 })
    }
}

fn encode(batch: Batch, text: &mut Vec<u8>) -> io::Result<()> {
    let at = batch.at;
    if batch.parts.is_empty() {
        return Line::Until(at).write(text);
    }
    batch.parts.into_iter().try_for_each(|part| Line::Part(at, part).write(text))
}

/// The length of the whole that was made; `None` if that failed, which is told: the logs are there still.
fn finished(work: JoinHandle<Result<u64, StateError>>) -> Option<u64> {
    match work.join() {
        Ok(Ok(length)) => Some(length),
        Ok(Err(problem)) => {
            tracing::error!(%problem, "the state is not put together; its logs grow until it is");
            None
        }
        Err(_) => {
            tracing::error!("the state is not put together: its writer panicked");
            None
        }
    }
}

#[cfg(test)]
mod tests;
