//! Serves gRPC: a connection and all its streams are one task.
//!
//! hyper, and tonic with it, give each stream a task of its own. A heartbeat that comes in over a connection which many streams
//! share then passes through two tasks, and a runtime of several threads wakes one for each, to find that the other had it already: that
//! was two fifths of what heartbeats cost. Here a connection polls its streams itself, those that were woken. Different connections
//! are different tasks: they share the threads as before.

use futures::{
    FutureExt as _, StreamExt as _,
    stream::{FuturesUnordered, Stream},
    task::{ArcWake, AtomicWaker, waker},
};
use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{body::Body, transport::server::Connected};
use tower::{Service, ServiceExt as _};

/// A connection that wakes itself so often at a stretch lets others run.
const ROUNDS: usize = 8;
/// After a connection that could not be accepted: out of files, as a rule, and others need a moment to close theirs.
const AFTER_REFUSAL: Duration = Duration::from_millis(50);

/// What a connection may do.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// A connection that is silent for so long is asked whether it lives, and closed after as long again.
    pub keepalive: Duration,
    /// Streams at a time.
    pub max_streams: u32,
}

/// Serves the connections that come in, until `stop` or the end of `incoming`; comes back when all of them are closed, those
/// that are open at `stop` once their streams have ended.
pub async fn serve_connections<IO, S, B>(
    incoming: impl Stream<Item = io::Result<IO>>,
    service: S,
    limits: ConnectionLimits,
    stop: CancellationToken,
) where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<tonic::codegen::StdError> + Send,
    B: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    let connections = TaskTracker::new();
    {
        // The listening socket is closed before open connections are waited for.
        let mut incoming = pin!(incoming);
        while let Some(accepted) = stop.run_until_cancelled(incoming.next()).await.flatten() {
            match accepted {
                Ok(io) => drop(connections.spawn(serve(io, service.clone(), limits, stop.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(AFTER_REFUSAL).await;
                }
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn serve<IO, S, B>(io: IO, service: S, limits: ConnectionLimits, stop: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<tonic::codegen::StdError> + Send,
    B: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    let caller = io.connect_info();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(caller.clone());
        service.clone().oneshot(request)
    });
    let streams = Streams::default();
    let connection = http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keepalive)
        .keep_alive_timeout(limits.keepalive)
        .max_concurrent_streams(limits.max_streams)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut running = FuturesUnordered::new();
    let mut stopped = pin!(stop.cancelled().fuse());
    let mut ended = Ok(());
    let round = |context: &mut Context<'_>| {
        if stopped.poll_unpin(context).is_ready() {
            connection.as_mut().graceful_shutdown();
        }
        let polled = connection.as_mut().poll(context);
        running.extend(streams.take());
        while let Poll::Ready(Some(())) = running.poll_next_unpin(context) {}
        polled.map(|end| ended = end)
    };
    by_itself(round).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

type Spawned = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Streams that began and are to be polled by their connection.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<Vec<Spawned>>>);

impl Streams {
    fn take(&self) -> Vec<Spawned> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(stream));
    }
}

/// Polls rounds until one is ready. What a round wakes of itself is done in the next one at once, without the runtime.
async fn by_itself(mut round: impl FnMut(&mut Context<'_>) -> Poll<()>) {
    let bell = Arc::new(Bell::default());
    let waker = waker(Arc::clone(&bell));
    poll_fn(|context| {
        bell.task.register(context.waker());
        bell.is_polled.store(true, Ordering::SeqCst);
        let mut own = Context::from_waker(&waker);
        for _ in 0..ROUNDS {
            bell.has_rung.store(false, Ordering::SeqCst);
            if round(&mut own).is_ready() {
                return Poll::Ready(());
            }
            if !bell.has_rung.load(Ordering::SeqCst) {
                break;
            }
        }
        bell.is_polled.store(false, Ordering::SeqCst);
        // Between the last look and this, or because it is not at an end: then others have their turn first.
        if bell.has_rung.load(Ordering::SeqCst) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

/// Wakes the task, except while it is being polled: then it notes that there is more to do.
#[derive(Default)]
struct Bell {
    is_polled: AtomicBool,
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl ArcWake for Bell {
    fn wake_by_ref(bell: &Arc<Self>) {
        bell.has_rung.store(true, Ordering::SeqCst);
        if !bell.is_polled.load(Ordering::SeqCst) {
            bell.task.wake();
        }
    }
}
