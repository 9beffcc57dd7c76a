//! Load for drills and measurements: open loop, on a thread and a runtime of its own.
//!
//! Requests start when they are due, however slow the answers to earlier ones are, and latency counts from the moment a
//! request was *due*: a stall shows in every request that fell into it. What cannot be sent because too many are
//! unanswered is counted as [`Outcome::Overload`], never left out.
//!
//! The timers of the async runtime tick in milliseconds; here a `timerfd` wakes the thread (see `pace`), so a request is
//! late by what the machine is late, and by how much is measured ([`Tally::late`]).
//!
//! Request n goes to target `n % targets`, from source `(n / targets) % sources`. It is known by the header
//! [`HEADER_REQUEST`]: `ID-n`, where ID is drawn for each run, so work that was done twice can be found in access logs.
//!
//! Deliberately absent: redirects, cookies, retries. A request is sent again only if a kept connection turned out to be
//! closed before anything of it was written.

mod books;
mod fetch;
mod idle;
mod lane;
mod pace;
mod target;
mod wire;

pub use books::{Keep, MAX_KEPT, Tally};
pub use target::{Target, TargetError, Trust, Wire};

use crate::{
    clock::{Clock, micros},
    load::{HEADER_REQUEST, Outcome, Sample},
    lock,
};
use books::Books;
pub(crate) use fetch::fetch;
pub(crate) use lane::Lane;
use pace::Pace;
use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tidegate_model::Time;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The header by which a request of a drill is known.
pub const HEADER_ID: &str = HEADER_REQUEST;
/// Faster than one generator can send on time.
pub const MAX_RATE_RPS: u32 = 50_000;
/// Of one run; each has connections of its own.
pub const MAX_TARGETS: usize = 64;
/// Addresses to send from.
pub const MAX_SOURCES: usize = 64;
/// Requests that are started before answers are read again, when the generator runs behind.
const BURST: u32 = 16;
/// Tasks between two looks at the sockets and the timer: 16 tasks of some 10 us keep both in time.
const TASKS_BETWEEN_EVENTS: u32 = 16;

/// What to send, where and how often.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What is asked, in turn.
    pub targets: Vec<Target>,
    /// Own addresses from which it is asked, in turn; none leaves that to the kernel.
    pub sources: Vec<IpAddr>,
    /// Requests per second over all targets.
    pub rate_rps: u32,
    /// Requests that may be unanswered at a time.
    pub in_flight_limit: usize,
    /// How long after it was due a request is given up.
    pub timeout: Duration,
    /// What is kept of each request.
    pub keep: Keep,
    /// The processor that the generator runs on; none leaves that to the kernel.
    pub pinned_to: Option<usize>,
    /// The beginning of the request ids; unique for each run.
    pub id: String,
}

/// A load that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// The rate is zero or above the generator's reach.
    #[error("a load has 1 to {MAX_RATE_RPS} requests per second, not {0}\n  hint: run several generators")]
    Rate(u32),
    /// Too few or too many of something.
    #[error("a load has {least} to {most} {what}, not {found}")]
    Count {
        /// Of what.
        what: &'static str,
        /// At least.
        least: usize,
        /// At most.
        most: usize,
        /// As many as there are.
        found: usize,
    },
    /// A target that cannot be asked.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The thread or its runtime did not start.
    #[error("cannot start the generator: {0}")]
    Start(#[from] io::Error),
}

/// A running load. Dropping it stops it without waiting for answers.
#[derive(Debug)]
pub struct Generator {
    books: Arc<Mutex<Books>>,
    stopping: CancellationToken,
    ended: Option<oneshot::Receiver<()>>,
    id: String,
}

/// What became of the requests of a whole run.
#[derive(Debug)]
pub struct Run {
    /// The sums.
    pub tally: Tally,
    /// The requests, in the order in which they ended; empty unless [`Keep::Samples`].
    pub samples: Vec<Sample>,
    /// The beginning of the request ids.
    pub id: String,
}

impl Generator {
    /// Starts a load; its first request is due now. Must not be called within the thread of a runtime that has only one.
    pub fn start(spec: Spec, clock: Clock) -> Result<Self, GeneratorError> {
        if !(1..=MAX_RATE_RPS).contains(&spec.rate_rps) {
            return Err(GeneratorError::Rate(spec.rate_rps));
        }
        within("targets", spec.targets.len(), 1, MAX_TARGETS)?;
        within("sources", spec.sources.len(), 0, MAX_SOURCES)?;
        within("requests in flight", spec.in_flight_limit, 1, 100_000)?;
        let lanes = lanes(&spec)?;
        let books = Arc::new(Mutex::new(Books::new(spec.keep)));
        let stopping = CancellationToken::new();
        let (ending, ended) = oneshot::channel();
        let id = spec.id.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(TASKS_BETWEEN_EVENTS)
            .build()?;
        let pace = {
            let _inside = runtime.enter();
            Pace::new()?
        };
        let driver =
            Driver { spec, clock, lanes, books: Arc::clone(&books), stopping: stopping.clone(), pace };
        thread::Builder::new().name("load".to_owned()).spawn(move || {
            pin(driver.spec.pinned_to);
            runtime.block_on(driver.run());
            // Nobody waits for one that was dropped.
            let _ = ending.send(());
        })?;
        Ok(Self { books, stopping, ended: Some(ended), id })
    }

    /// The sums so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.books).tally()
    }

    /// The requests that ended since the `from`-th, in the order in which they ended. For progress while it runs.
    #[must_use]
    pub fn since(&self, from: usize) -> Vec<Sample> {
        lock(&self.books).samples().get(from..).unwrap_or_default().to_vec()
    }

    /// Sends no more, waits for what is in flight (until its timeout), and says what became of it all.
    pub async fn stop(mut self) -> Run {
        self.stopping.cancel();
        if let Some(ended) = self.ended.take() {
            // A panic of the thread shows in the log; what was recorded counts all the same.
            let _ = ended.await;
        }
        let mut books = lock(&self.books);
        Run { tally: books.tally(), samples: books.take(), id: std::mem::take(&mut self.id) }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn within(what: &'static str, found: usize, least: usize, most: usize) -> Result<(), GeneratorError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(GeneratorError::Count { what, least, most, found })
}

fn lanes(spec: &Spec) -> Result<Vec<Arc<Lane>>, GeneratorError> {
    let sources: Vec<Option<IpAddr>> =
        if spec.sources.is_empty() { vec![None] } else { spec.sources.iter().copied().map(Some).collect() };
    // Together they keep as many connections as there may be requests, and one each.
    let idle_limit = spec.in_flight_limit / (sources.len() * spec.targets.len());
    let mut lanes = Vec::new();
    for source in sources {
        for target in &spec.targets {
            lanes.push(Arc::new(Lane::new(target, source, idle_limit)?));
        }
    }
    Ok(lanes)
}

/// A generator that is not pinned measures all the same, so failing is no error.
fn pin(to: Option<usize>) {
    let Some(core) = to else { return };
    let mut set = rustix::thread::CpuSet::new();
    if core < rustix::thread::CpuSet::MAX_CPU {
        set.set(core);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
            tracing::warn!(core, %error, "the generator is not pinned");
        }
    }
}

/// Starts each request when it is due.
struct Driver {
    spec: Spec,
    clock: Clock,
    lanes: Vec<Arc<Lane>>,
    books: Arc<Mutex<Books>>,
    stopping: CancellationToken,
    pace: Pace,
}

impl Driver {
    async fn run(self) {
        let start = self.clock.now();
        let room = Arc::new(Semaphore::new(self.spec.in_flight_limit));
        let in_flight = TaskTracker::new();
        let mut burst = 0;
        for number in 0_u64.. {
            let due = start + Duration::from_nanos(offset_ns(number, self.spec.rate_rps));
            if self.clock.now() < due {
                tokio::select! {
                    biased;
                    () = self.stopping.cancelled() => break,
                    () = self.pace.until(&self.clock, due) => {}
                }
                burst = 0;
            } else {
                burst += 1;
                if burst % BURST == 0 {
                    tokio::task::yield_now().await;
                }
                if self.stopping.is_cancelled() {
                    break;
                }
            }
            self.send(number, due, &room, &in_flight);
        }
        in_flight.close();
        in_flight.wait().await;
    }

    fn send(&self, number: u64, due: Time, room: &Arc<Semaphore>, in_flight: &TaskTracker) {
        let index = usize::try_from(number).unwrap_or(usize::MAX) % self.lanes.len();
        let target = u16::try_from(index % self.spec.targets.len()).unwrap_or(u16::MAX);
        let late = self.clock.now().since(due);
        let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
            let mut books = lock(&self.books);
            books.start(late);
            books.end(due, late, Outcome::Overload, target);
            return;
        };
        lock(&self.books).start(late);
        let lane = Arc::clone(&self.lanes[index]);
        let (clock, books) = (self.clock, Arc::clone(&self.books));
        let deadline = clock.instant(due + self.spec.timeout);
        let id = format!("{}-{number}", self.spec.id);
        in_flight.spawn(async move {
            let outcome = lane.ask(&id, deadline).await;
            lock(&books).end(due, clock.now().since(due), outcome, target);
            drop(permit);
        });
    }
}

/// When request `number` is due, in nanoseconds after the first.
fn offset_ns(number: u64, rate_rps: u32) -> u64 {
    let ns = u128::from(number) * 1_000_000_000 / u128::from(rate_rps);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// A name for a run that no other has: `drill-` and 16 digits.
#[must_use]
pub fn unique_id() -> String {
    format!("drill-{:016x}", rand::random::<u64>())
}

/// Microseconds since the clock's start, as samples have them.
pub(crate) fn due_us(due: Time) -> u64 {
    micros(due.since_origin())
}

#[cfg(test)]
mod tests;
