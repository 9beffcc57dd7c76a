//! A service that can be broken in the ways in which services break.

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidegate_envoy::EndpointHealth;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What it does with a request that has arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// 200 with its own name.
    Serve,
    /// Takes the request and never answers.
    Freeze,
    /// This status.
    Answer(u16),
    /// 200, but late.
    Late(Duration),
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: hyper::HeaderMap,
}

pub(crate) struct Toy {
    pub(crate) address: SocketAddr,
    mode: watch::Sender<Mode>,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Toy {
    pub(crate) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = watch::Sender::new(Mode::Serve);
        let seen = Arc::default();
        let server = tokio::spawn(accept(listener, name.to_owned(), mode.subscribe(), Arc::clone(&seen)));
        Self { address, mode, seen, server }
    }

    /// `count` of them, all of this name.
    pub(crate) async fn several(name: &str, count: usize) -> Vec<Self> {
        let mut toys = Vec::new();
        for _ in 0..count {
            toys.push(Self::start(name).await);
        }
        toys
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Its connections are reset, new ones are refused.
    pub(crate) fn kill(&self) {
        self.server.abort();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// The first `healthy` of them healthy, the rest not.
pub(crate) fn addresses(toys: &[Toy], healthy: usize) -> Vec<(SocketAddr, EndpointHealth)> {
    let health = |at| if at < healthy { EndpointHealth::Healthy } else { EndpointHealth::Unhealthy };
    toys.iter().enumerate().map(|(at, toy)| (toy.address, health(at))).collect()
}

async fn accept(
    listener: TcpListener,
    name: String,
    mode: watch::Receiver<Mode>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (name, mode, seen) = (name.clone(), mode.clone(), Arc::clone(&seen));
        let service =
            service_fn(move |request| answer(request, name.clone(), mode.clone(), Arc::clone(&seen)));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    name: String,
    mode: watch::Receiver<Mode>,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let headers = request.headers().clone();
    let id = headers.get("x-request-id").map(|id| id.to_str().unwrap().to_owned()).unwrap_or_default();
    seen.lock().unwrap().push(Seen { id, path: request.uri().to_string(), headers });
    let _ = request.into_body().collect().await;
    let mode = *mode.borrow();
    let status = match mode {
        Mode::Serve => 200,
        Mode::Freeze => std::future::pending().await,
        Mode::Answer(status) => status,
        Mode::Late(by) => {
            tokio::time::sleep(by).await;
            200
        }
    };
    Ok(Response::builder().status(status).body(Full::from(name)).unwrap())
}
