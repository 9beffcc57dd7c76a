//! From "the change can be known" to "a request goes elsewhere", for one service after the other and all at once.

use crate::{
    estate::host,
    toys::{Patient, SERVED_BY},
};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, header::HOST};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// A change that is not applied by then is counted as lost.
const GIVE_UP: Duration = Duration::from_secs(10);

/// Keeps asking an edge for one watched service, on one connection.
pub(crate) struct Asker {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Asker {
    pub(crate) async fn connect(edge: SocketAddr, watched: usize) -> Result<Self> {
        let stream = TcpStream::connect(edge).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: host(watched) })
    }

    /// Who served a request; `None` when nobody did.
    pub(crate) async fn ask(&mut self) -> Result<Option<Ipv4Addr>> {
        self.sender.ready().await?;
        let request = Request::get("/").header(HOST, &self.host).body(Empty::new())?;
        let answer = self.sender.send_request(request).await?;
        let served = answer.headers().get(SERVED_BY).and_then(|it| it.to_str().ok()?.parse().ok());
        answer.into_body().collect().await?;
        Ok(served)
    }

    /// Asks until `wanted` serves: the time at which its first answer was there.
    pub(crate) async fn until(&mut self, wanted: Ipv4Addr) -> Result<Instant> {
        let limit = Instant::now() + GIVE_UP;
        while Instant::now() < limit {
            if self.ask().await? == Some(wanted) {
                return Ok(Instant::now());
            }
        }
        bail!("{} was not served by {wanted} within {GIVE_UP:?}", self.host)
    }
}

/// How the changes of one service are made.
#[derive(Clone)]
pub(crate) enum Cause {
    /// The endpoint's answers to health checks change.
    Checks(Arc<Patient>),
    /// A file is moved into place.
    File(crate::peer::Files),
}

impl Cause {
    /// Makes the change: the time from which it could be known.
    async fn make(&self, watched: usize, sick: bool) -> Result<Instant> {
        match self {
            Self::Checks(patient) => {
                let told = tokio::time::timeout(GIVE_UP, patient.turn(sick)).await;
                told.with_context(|| format!("w-{watched:04} is not checked"))
            }
            Self::File(files) => {
                files.set(watched, !sick)?;
                Ok(Instant::now())
            }
        }
    }
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Microseconds from known to applied, falls and returns.
    pub(crate) micros: Histogram<u64>,
    /// Changes that were not applied in time, or failed.
    pub(crate) lost: Vec<String>,
    /// Changes per second.
    pub(crate) rate: f64,
}

/// Lets each watched service fall ill and recover, over and over, for `span`. `pause` is waited before each change.
pub(crate) async fn run(
    edge: SocketAddr,
    watched: Vec<(Cause, [Ipv4Addr; 2])>,
    span: Duration,
    pause: Duration,
) -> Result<Applied> {
    let started = Instant::now();
    let until = started + span;
    let mut tasks = tokio::task::JoinSet::new();
    let count = u32::try_from(watched.len()).unwrap_or(u32::MAX);
    for (number, (cause, ips)) in watched.into_iter().enumerate() {
        // Not all in step.
        let first = pause.max(Duration::from_secs(1)) * u32::try_from(number).unwrap_or(0) / count.max(1);
        tasks.spawn(async move {
            let mut found = Vec::new();
            let mut lost = None;
            tokio::time::sleep(first).await;
            if let Err(error) = cycle(edge, number, &cause, ips, until, pause, &mut found).await {
                lost = Some(format!("{error:#}"));
            }
            (found, lost)
        });
    }
    let mut applied =
        Applied { micros: Histogram::new_with_bounds(1, 60_000_000, 3)?, lost: Vec::new(), rate: 0.0 };
    while let Some(done) = tasks.join_next().await {
        let (found, lost) = done?;
        for it in found {
            applied.micros.saturating_record(u64::try_from(it.as_micros()).unwrap_or(u64::MAX));
        }
        applied.lost.extend(lost);
    }
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let changes = applied.micros.len() as f64;
    applied.rate = changes / started.elapsed().as_secs_f64();
    Ok(applied)
}

async fn cycle(
    edge: SocketAddr,
    number: usize,
    cause: &Cause,
    [first, second]: [Ipv4Addr; 2],
    until: Instant,
    pause: Duration,
    found: &mut Vec<Duration>,
) -> Result<()> {
    let mut asker = Asker::connect(edge, number).await?;
    asker.until(first).await?;
    while Instant::now() < until {
        for (sick, wanted) in [(true, second), (false, first)] {
            tokio::time::sleep(pause).await;
            let known = cause.make(number, sick).await?;
            let applied = asker.until(wanted).await?;
            found.push(applied.saturating_duration_since(known));
        }
    }
    Ok(())
}
