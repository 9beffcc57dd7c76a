//! Open-loop load: requests start when they are due, however slow the answers to earlier ones are,
//! and latency counts from the moment a request was *due*. So a stall of one second shows up in all
//! the requests that fell into it, as it would for as many independent users.
//!
//! Connections are kept and reused; when none is idle a new one is opened. The client follows no
//! redirect and repeats nothing that may have been sent: it sends again only when a kept connection
//! turned out to be closed before the request was written, as every HTTP client does.
//!
//! The clock of the runtime ticks in milliseconds, so latencies are up to 1 ms too long.

mod request;
mod sample;

pub use sample::{Outcome, Sample, Samples, Served};

use crate::{
    clock::{Clock, micros},
    lock,
};
use request::Sender;
use sample::Record;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidegate_model::{ServiceName, Time};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// The header of an answer that names the endpoint which served the request.
pub const HEADER_ENDPOINT: &str = "x-toy-endpoint";
/// The header of an answer that names its zone.
pub const HEADER_ZONE: &str = "x-toy-zone";
/// The header of an answer that names its cluster.
pub const HEADER_CLUSTER: &str = "x-toy-cluster";
/// The header by which a request is known. Envoy writes its own `x-request-id` at an edge, so repeated work is found
/// by this one.
pub const HEADER_REQUEST: &str = "x-lab-request-id";

/// Faster than one generator can send on time.
const MAX_RATE_RPS: u32 = 50_000;

/// What to send, where and how often.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// What the load is called; also the beginning of its request ids.
    pub label: String,
    /// Where requests go: an edge, or the access link to one.
    pub target: SocketAddr,
    /// What is asked for, in turn.
    pub services: Vec<LoadTarget>,
    /// Requests per second over all services.
    pub rate_rps: u32,
    /// How it is asked.
    pub method: LoadMethod,
    /// Requests that may be unanswered at a time; one more fails as [`Outcome::Overload`].
    pub in_flight_limit: usize,
    /// How long after it was due a request is given up.
    pub timeout: Duration,
}

/// One of the services that a load asks for.
#[derive(Clone, Debug)]
pub struct LoadTarget {
    /// The service, for the record.
    pub service: ServiceName,
    /// The host name by which the edge knows it.
    pub host: String,
    /// The path.
    pub path: String,
}

/// How a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadMethod {
    /// Safe to repeat.
    Get,
    /// Not safe to repeat.
    Post,
}

/// A load that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The rate is zero or above the generator's reach.
    #[error("a load has 1 to {MAX_RATE_RPS} requests per second, not {0}")]
    Rate(u32),
    /// No service, or more than 65,535.
    #[error("a load asks for 1 to 65535 services, not {0}")]
    Services(usize),
    /// A label, host name or path that does not fit into a request.
    #[error("{what} {text:?} does not fit into a request")]
    Text {
        /// What it was to be.
        what: &'static str,
        /// What was given.
        text: String,
    },
}

/// A running load. Dropping it stops it without waiting for answers.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stopping: DropGuard,
    driver: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    label: String,
    services: Vec<ServiceName>,
    timeout: Duration,
    record: Mutex<Record>,
    /// Told after each request that ends.
    ended: Notify,
}

impl Load {
    /// Starts a load; its first request is due now.
    pub fn start(spec: LoadSpec, clock: Clock) -> Result<Self, LoadError> {
        if !(1..=MAX_RATE_RPS).contains(&spec.rate_rps) {
            return Err(LoadError::Rate(spec.rate_rps));
        }
        if spec.services.is_empty() || spec.services.len() > usize::from(u16::MAX) {
            return Err(LoadError::Services(spec.services.len()));
        }
        let sender = Arc::new(Sender::new(&spec)?);
        let shared = Arc::new(Shared {
            label: spec.label.clone(),
            services: spec.services.iter().map(|target| target.service.clone()).collect(),
            timeout: spec.timeout,
            record: Mutex::new(Record::new(clock.now())),
            ended: Notify::new(),
        });
        let stopping = CancellationToken::new();
        let driver = Driver { spec, clock, sender, shared: Arc::clone(&shared), stopping: stopping.clone() };
        Ok(Self { shared, stopping: stopping.drop_guard(), driver: tokio::spawn(driver.run()) })
    }

    /// What became of the requests so far; those in flight are not in it.
    #[must_use]
    pub fn samples(&self) -> Samples {
        self.shared.samples()
    }

    /// Waits until every request that was due before `time` has been sent and answered or given up.
    /// Bounded: requests are given up after their timeout.
    pub async fn settled(&self, time: Time) {
        let until = micros(time.since_origin());
        loop {
            let ended = self.shared.ended.notified();
            if self.driver.is_finished() || lock(&self.shared.record).is_settled(until) {
                return;
            }
            ended.await;
        }
    }

    /// Sends no more, waits for what is in flight (until its timeout), and says what became of it all.
    pub async fn stop(self) -> Samples {
        drop(self.stopping);
        // A panic of the driver shows in the log; what was recorded counts all the same.
        let _ = self.driver.await;
        self.shared.samples()
    }
}

impl Shared {
    fn samples(&self) -> Samples {
        lock(&self.record).samples(self.label.clone(), self.services.clone())
    }
}

/// Starts each request when it is due.
struct Driver {
    spec: LoadSpec,
    clock: Clock,
    sender: Arc<Sender>,
    shared: Arc<Shared>,
    stopping: CancellationToken,
}

impl Driver {
    async fn run(self) {
        let start = self.clock.now();
        let room = Arc::new(Semaphore::new(self.spec.in_flight_limit));
        let in_flight = TaskTracker::new();
        let mut number: u64 = 0;
        loop {
            let due = start + Duration::from_micros(number * 1_000_000 / u64::from(self.spec.rate_rps));
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                () = tokio::time::sleep_until(self.clock.instant(due)) => {}
            }
            let service = usize::try_from(number).unwrap_or(usize::MAX) % self.spec.services.len();
            let due_us = micros(due.since_origin());
            lock(&self.shared.record).start(due_us, number, self.clock.now());
            if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
                let (clock, sender, shared) =
                    (self.clock, Arc::clone(&self.sender), Arc::clone(&self.shared));
                in_flight.spawn(async move {
                    let deadline = clock.instant(due + shared.timeout);
                    let (outcome, served) = sender.send(service, number, deadline).await;
                    let latency = clock.now().since(due);
                    lock(&shared.record).end((due_us, number), latency, outcome, service, served);
                    shared.ended.notify_waiters();
                    drop(permit);
                });
            } else {
                let latency = self.clock.now().since(due);
                lock(&self.shared.record).end((due_us, number), latency, Outcome::Overload, service, None);
            }
            self.shared.ended.notify_waiters();
            number += 1;
        }
        in_flight.close();
        in_flight.wait().await;
        self.shared.ended.notify_waiters();
    }
}
