//! The door for people elsewhere: the admin address over TLS by the fleet's authority, where everybody shows a token.

use crate::{
    access::{Caller, Denied, needed},
    admin::Failure,
    office::Office,
};
use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    serve::Listener,
};
use std::{io, net::SocketAddr, sync::Arc};
use tidegate_link::{
    hub::AccessToken,
    identity::{Accepted, Expect, TlsError, accept},
};
use tokio::net::TcpListener;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

/// Connections over TLS, for axum.
pub(crate) struct Door {
    accepted: ReceiverStream<io::Result<Accepted>>,
    address: SocketAddr,
}

impl Door {
    pub(crate) fn open(
        listener: TcpListener,
        address: SocketAddr,
        office: &Office,
        stop: CancellationToken,
    ) -> Result<Self, TlsError> {
        // Whoever has no certificate is welcome; one of this fleet says nothing here, the token does.
        let mut config = (*office.identity.server(Expect::AnyAgent, true)?).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let refusals = office.identity.refusals().clone();
        Ok(Self { accepted: accept(listener, Arc::new(config), refusals, stop), address })
    }

    /// Answers until `stop`.
    pub(crate) async fn serve(self, router: Router, office: Arc<Office>, stop: CancellationToken) {
        let router = router.layer(from_fn_with_state(office, guard));
        if let Err(error) = axum::serve(self, router).with_graceful_shutdown(stop.cancelled_owned()).await {
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
                Some(Ok(accepted)) => return (accepted, self.address),
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

/// At the hub's own machine nobody is asked.
pub(crate) async fn local(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller::local());
    next.run(request).await
}

/// Elsewhere everybody is.
pub(crate) async fn guard(State(office): State<Arc<Office>>, mut request: Request, next: Next) -> Response {
    let post = request.method() != Method::GET;
    let Some((role, whole_fleet)) = needed(post, request.uri().path()) else {
        return next.run(request).await;
    };
    match caller(&office, &request).and_then(|it| it.may(role, whole_fleet).map(|()| it)) {
        Ok(caller) => {
            tracing::debug!(who = caller.name, method = %request.method(), path = request.uri().path(), "asked");
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(denied) => {
            let what = format!("{} {}", request.method(), request.uri().path());
            office.refuse(denied.word(), &what, &denied.to_string());
            let status = match &denied {
                Denied::Role { .. } | Denied::Fleet(_) => StatusCode::FORBIDDEN,
                _ => StatusCode::UNAUTHORIZED,
            };
            Failure(status, denied.to_string()).into_response()
        }
    }
}

fn caller(office: &Office, request: &Request) -> Result<Caller, Denied> {
    let header = request.headers().get(AUTHORIZATION).and_then(|it| it.to_str().ok());
    let token = header.and_then(|it| it.strip_prefix("Bearer ")).ok_or(Denied::NoToken)?;
    let token: AccessToken = token.parse().map_err(|_| Denied::Unknown)?;
    office.caller(&token.secret)
}
