//! The door for people elsewhere: an admin address over TLS by the fleet's authority, where everybody shows a token.

use super::{Caller, Denied, Grant, Needed};
use crate::{
    hub::{AccessToken, Secret},
    identity::{Accepted, Expect, Identity, TlsError, accept},
};
use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, State, connect_info::Connected},
    http::{Method, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    serve::{IncomingStream, Listener},
};
use std::{fmt, io, net::SocketAddr, sync::Arc, time::Instant};
use tokio::net::TcpListener;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

/// What is kept of the token of a secret.
pub type Known = dyn Fn(&Secret) -> Option<Grant> + Send + Sync;

/// Who is let in, and to what.
#[derive(Clone)]
pub struct Doorkeeper {
    /// What the door shows; and it counts who was refused.
    pub identity: Identity,
    /// Whose a token is.
    pub known: Arc<Known>,
    /// What a request needs, by method and path; `None` for what everybody may ask.
    pub needed: fn(&Method, &str) -> Option<Needed>,
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorkeeper").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Doorkeeper {
    fn caller(&self, request: &Request) -> Result<Caller, Denied> {
        let header = request.headers().get(AUTHORIZATION).and_then(|it| it.to_str().ok());
        let token = header.and_then(|it| it.strip_prefix("Bearer ")).ok_or(Denied::NoToken)?;
        let token: AccessToken = token.parse().map_err(|_| Denied::Unknown)?;
        Caller::of((self.known)(&token.secret), self.identity.now().as_secs())
    }

    /// Counts a refusal, and writes it down.
    fn note(&self, denied: &Denied, what: &str) {
        let text = format!("{what} is refused: {denied}");
        self.identity.refusals().note(denied.word(), &text, Instant::now());
    }
}

impl axum::response::IntoResponse for Denied {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Role { .. } | Self::Fleet(_) | Self::Namespace { .. } => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        };
        let mut response = (status, Json(serde_json::json!({ "error": self.to_string() }))).into_response();
        // For the door, which counts it.
        response.extensions_mut().insert(self);
        response
    }
}

/// Connections over TLS, for axum.
pub struct Door {
    accepted: ReceiverStream<io::Result<Accepted>>,
    address: SocketAddr,
    keeper: Doorkeeper,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Door {
    /// Begins to accept at `listener`, whose address this is.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn open(
        listener: TcpListener,
        address: SocketAddr,
        keeper: Doorkeeper,
        stop: CancellationToken,
    ) -> Result<Self, TlsError> {
        // Whoever has no certificate is welcome; one of this fleet says nothing here, the token does.
        let mut config = (*keeper.identity.server(Expect::AnyAgent, true)?).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let refusals = keeper.identity.refusals().clone();
        Ok(Self { accepted: accept(listener, Arc::new(config), refusals, stop), address, keeper })
    }

    /// Answers until `stop`. Handlers find the [`Caller`] among the extensions of a request.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let router = router.layer(from_fn_with_state(Arc::new(self.keeper.clone()), guard));
        let service = router.into_make_service_with_connect_info::<Whence>();
        if let Err(error) = axum::serve(self, service).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, "people elsewhere are not answered any more");
        }
    }
}

impl Listener for Door {
    type Io = Accepted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Accepted, SocketAddr) {
        loop {
            match self.accepted.next().await {
                Some(Ok(accepted)) => {
                    let from = tonic::transport::server::Connected::connect_info(&accepted).address;
                    return (accepted, from);
                }
                Some(Err(error)) => tracing::warn!(%error, "a connection cannot be accepted"),
                // It stops, and so does the server.
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// At the own machine nobody is asked: a layer for the loopback address.
pub async fn local(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller::local());
    next.run(request).await
}

/// Where somebody comes from.
#[derive(Clone, Copy, Debug)]
struct Whence(SocketAddr);

impl Connected<IncomingStream<'_, Door>> for Whence {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Elsewhere everybody is.
async fn guard(
    State(keeper): State<Arc<Doorkeeper>>,
    ConnectInfo(Whence(from)): ConnectInfo<Whence>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let Some(needed) = (keeper.needed)(request.method(), path) else {
        return next.run(request).await;
    };
    let what = format!("{} {path} from {}", request.method(), from.ip());
    match keeper.caller(&request).and_then(|it| it.may(needed).map(|()| it)) {
        Ok(caller) => {
            tracing::debug!(who = caller.name, what, "asked");
            request.extensions_mut().insert(caller);
            let response = next.run(request).await;
            // What only a handler could know: whose namespace it is.
            if let Some(denied) = response.extensions().get::<Denied>() {
                keeper.note(denied, &what);
            }
            response
        }
        Err(denied) => {
            keeper.note(&denied, &what);
            denied.into_response()
        }
    }
}
