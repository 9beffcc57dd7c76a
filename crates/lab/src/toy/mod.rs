//! Toy services: HTTP/1.1 servers in this process, each endpoint on an address of its own, that
//! fail in every way an endpoint can, when told to.
//!
//! `GET /healthz` is answered 200; anything else 200 with headers that say who served it
//! ([`HEADER_ENDPOINT`] and its siblings). A request counts when it has been received whole: the
//! work of a real service is done then, whether or not an answer ever leaves. So requests count in
//! the modes [`ToyMode::Hang`] and [`ToyMode::Status503`] too, and an unsafe request that is tried
//! again after such a fault shows up as repeated work in the [`Ledger`].

mod ledger;
mod serve;

pub use ledger::{Ledger, Repeated};

use crate::{clock::LabClock, net::Door};
use http::HeaderValue;
use std::{
    collections::VecDeque,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_model::{ClusterName, ServiceName, Time, Zone};
use tokio::sync::{Mutex, watch};

pub use tidegate_drill::load::{
    HEADER_CLUSTER, HEADER_ENDPOINT, HEADER_REQUEST as HEADER_LAB_REQUEST, HEADER_ZONE,
};
/// The header that names the service of the endpoint which served a request.
pub const HEADER_SERVICE: &str = "x-toy-service";
/// The path of the health check.
pub const HEALTH_PATH: &str = "/healthz";

/// Seconds for which [`Toy::per_second`] remembers its counts.
const SECONDS_KEPT: usize = 120;

/// What a toy endpoint is called and where it lives.
#[derive(Clone, Debug)]
pub struct ToySpec {
    /// The service it belongs to.
    pub service: ServiceName,
    /// The cluster it lies in.
    pub cluster: ClusterName,
    /// The zone it lies in.
    pub zone: Zone,
    /// Its own name, unique in the lab.
    pub name: String,
    /// The address it listens on.
    pub ip: IpAddr,
}

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToyMode {
    /// It answers 200 at once.
    Serve,
    /// It is gone: its listener and every open connection are closed, connects are refused.
    Refuse,
    /// It accepts and reads, and never answers, like a process that was stopped: what it swallowed
    /// is answered when it serves again, if the client still waits.
    Hang,
    /// It answers 503 to everything, its health path included.
    Status503,
    /// It answers 200 after this long.
    Slow(Duration),
    /// It answers 503 to so many percent of its requests, drawn evenly but the same in each run; its health path
    /// answers 200, so that no check sees it.
    Errors(u8),
}

impl fmt::Display for ToyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serve => f.write_str("serves"),
            Self::Refuse => f.write_str("refuses"),
            Self::Hang => f.write_str("hangs"),
            Self::Status503 => f.write_str("answers 503"),
            Self::Slow(delay) => write!(f, "answers after {delay:?}"),
            Self::Errors(percent) => write!(f, "answers 503 to {percent} %"),
        }
    }
}

/// A toy that cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("toy endpoint {name} cannot listen on {address}: {cause}")]
pub struct ToyError {
    name: String,
    address: SocketAddr,
    cause: io::Error,
}

/// A running toy endpoint. Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct Toy {
    spec: ToySpec,
    door: Door,
    state: Arc<State>,
    /// One change of mode at a time.
    changing: Mutex<()>,
}

/// What a toy's connections share.
#[derive(Debug)]
struct State {
    /// The `x-toy-*` headers of each answer.
    headers: [(&'static str, HeaderValue); 4],
    body: bytes::Bytes,
    name: Arc<str>,
    mode: watch::Sender<ToyMode>,
    requests: AtomicU64,
    seconds: std::sync::Mutex<VecDeque<(u64, u64)>>,
    ledger: Ledger,
    clock: LabClock,
}

impl Toy {
    /// Starts an endpoint in the mode [`ToyMode::Serve`], on a port that is free.
    pub fn start(spec: ToySpec, ledger: &Ledger, clock: LabClock) -> Result<Self, ToyError> {
        Self::start_at(spec, 0, ledger, clock)
    }

    /// The same on a port that is known before; 0 is any free one.
    pub fn start_at(spec: ToySpec, port: u16, ledger: &Ledger, clock: LabClock) -> Result<Self, ToyError> {
        let address = SocketAddr::new(spec.ip, port);
        let failed = |cause| ToyError { name: spec.name.clone(), address, cause };
        let header =
            |text: &str| HeaderValue::from_str(text).map_err(|error| failed(io::Error::other(error)));
        let state = Arc::new(State {
            headers: [
                (HEADER_ENDPOINT, header(&spec.name)?),
                (HEADER_ZONE, header(spec.zone.as_str())?),
                (HEADER_CLUSTER, header(spec.cluster.as_str())?),
                (HEADER_SERVICE, header(&spec.service.to_string())?),
            ],
            body: format!("{} from {} in {}\n", spec.service, spec.name, spec.zone).into(),
            name: spec.name.as_str().into(),
            mode: watch::Sender::new(ToyMode::Serve),
            requests: AtomicU64::new(0),
            seconds: std::sync::Mutex::default(),
            ledger: ledger.clone(),
            clock,
        });
        let shared = Arc::clone(&state);
        let serve = move |stream| serve::connection(stream, Arc::clone(&shared));
        let door = Door::start(address, Arc::new(serve)).map_err(failed)?;
        Ok(Self { spec, door, state, changing: Mutex::default() })
    }

    /// Where it listens, also while it refuses.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// What it is.
    #[must_use]
    pub const fn spec(&self) -> &ToySpec {
        &self.spec
    }

    /// How it behaves now.
    #[must_use]
    pub fn mode(&self) -> ToyMode {
        *self.state.mode.borrow()
    }

    /// Changes how it behaves; in force when this returns, also for requests that are in flight.
    /// After [`ToyMode::Refuse`] it listens at the same address again.
    pub async fn set(&self, mode: ToyMode) -> Result<(), ToyError> {
        let _one_at_a_time = self.changing.lock().await;
        self.state.mode.send_replace(mode);
        if mode == ToyMode::Refuse {
            self.door.close().await;
            return Ok(());
        }
        self.door.open().await.map_err(|cause| ToyError {
            name: self.spec.name.clone(),
            address: self.address(),
            cause,
        })
    }

    /// Requests received since the start, health checks left out.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Requests received in each second of lab time, oldest first, as (second, requests); seconds
    /// without any are left out, and only the last two minutes are kept.
    #[must_use]
    pub fn per_second(&self) -> Vec<(u64, u64)> {
        lock(&self.state.seconds).iter().copied().collect()
    }

    /// Requests received in the last whole second before `now`.
    #[must_use]
    pub fn last_second(&self, now: Time) -> u64 {
        let Some(wanted) = now.since_origin().as_secs().checked_sub(1) else { return 0 };
        let seconds = lock(&self.state.seconds);
        seconds.iter().rev().find(|(second, _)| *second == wanted).map_or(0, |(_, requests)| *requests)
    }
}

impl State {
    /// Counts a request, and gives its number, from zero.
    fn count(&self) -> u64 {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let second = self.clock.now().since_origin().as_secs();
        let mut seconds = lock(&self.seconds);
        match seconds.back_mut() {
            Some((last, requests)) if *last >= second => *requests += 1,
            _ => {
                if seconds.len() == SECONDS_KEPT {
                    seconds.pop_front();
                }
                seconds.push_back((second, 1));
            }
        }
        number
    }
}

/// The lock, also if a thread panicked while it held it: counters stay usable.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
