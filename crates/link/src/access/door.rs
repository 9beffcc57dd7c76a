//! The door for people elsewhere: an admin address over TLS by the fleet's authority, where everybody shows a token or a certificate.

use super::{Caller, Denied, Grant, Needed, by_certificate, login, tries::Tries};
use crate::{
    hub::AccessToken,
    identity::{Accepted, CertificateFacts, Expect, Identity, PeerInfo, TlsError, accept},
};
use axum::{
    Json, Router,
    body::to_bytes,
    extract::{ConnectInfo, Request, State, connect_info::Connected},
    http::{
        Method, StatusCode, Uri,
        header::{AUTHORIZATION, RETRY_AFTER},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    serve::{IncomingStream, Listener},
};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::net::TcpListener;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

/// What is granted, by what it is kept under: the hash of a token's secret, or [`by_certificate`].
pub type Known = dyn Fn(&str) -> Option<Grant> + Send + Sync;

/// Is told of an address from which too many wrong tokens came, once a minute at most, whichever it is.
pub type Limited = dyn Fn(IpAddr) + Send + Sync;

/// A change that somebody may not make who is known here.
#[derive(Clone, Copy, Debug)]
pub struct RefusedChange<'a> {
    /// Whose token or certificate it was.
    pub who: &'a str,
    /// The method with the path.
    pub path: &'a str,
    /// The rest of the request, with its question mark; empty if there is none.
    pub query: &'a str,
    /// Where it came from.
    pub from: IpAddr,
    /// What would be needed.
    pub why: &'a Denied,
}

/// Is told of each change that is refused.
pub type Refused = dyn Fn(&RefusedChange<'_>) + Send + Sync;

/// Who is let in, and to what.
#[derive(Clone)]
pub struct Doorkeeper {
    /// What the door shows; and it counts who was refused.
    pub identity: Identity,
    /// Whose a token or certificate is.
    pub known: Arc<Known>,
    /// What a request needs, by method and path; `None` for what everybody may ask.
    pub needed: fn(&Method, &str) -> Option<Needed>,
    /// For whoever keeps a record of it.
    pub limited: Arc<Limited>,
    /// The same. Who is not known is not told of: that would be a way to fill the record.
    pub refused: Arc<Refused>,
}

/// A door that is open: who is let in, and what was tried.
struct Guard {
    keeper: Doorkeeper,
    tries: Mutex<Tries>,
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorkeeper").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Guard {
    /// Who shows both is known by the token: it is of this request, the certificate of the connection.
    fn caller(&self, request: &Request, from: &PeerInfo) -> Result<Caller, Denied> {
        let now = self.keeper.identity.now().as_secs();
        let header = request.headers().get(AUTHORIZATION).and_then(|it| it.to_str().ok());
        let bearer = header.and_then(|it| it.strip_prefix("Bearer "));
        let cookie = || login::shown(request.method(), request.uri().path(), request.headers());
        match (bearer.or_else(cookie), from.certificate.as_deref()) {
            (None, None) => Err(Denied::NoToken),
            (None, Some(facts)) => self.of_certificate(facts, now),
            (Some(token), _) => self.of_token(token, from.address.ip(), now),
        }
    }

    /// Whose token it is, unless too many wrong ones came from there.
    fn of_token(&self, token: &str, from: IpAddr, now: u64) -> Result<Caller, Denied> {
        let token = token.parse::<AccessToken>().ok();
        let hash = token.map(|it| it.secret.hash()).unwrap_or_default();
        let clock = Instant::now();
        // A guard in the condition would be held in the block.
        let may = self.tries().may(from, &hash, clock);
        if let Err(wait) = may {
            if self.tries().tells(clock) {
                (self.keeper.limited)(from);
            }
            return Err(Denied::Limited(wait.as_secs() + 1));
        }
        let caller = Caller::of((self.keeper.known)(&hash), now);
        match &caller {
            Err(Denied::Unknown) => self.tries().wrong(from, &hash, clock),
            _ => self.tries().good(hash),
        }
        caller
    }

    fn tries(&self) -> MutexGuard<'_, Tries> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was typed into the form: a cookie, or the form once more.
    async fn enter(&self, request: Request, from: IpAddr) -> Response {
        if login::is_from_elsewhere(request.headers()) {
            return (StatusCode::FORBIDDEN, "this form is sent from another site\n").into_response();
        }
        let body = to_bytes(request.into_body(), login::MAX_FORM).await.unwrap_or_default();
        let token = login::typed(&String::from_utf8_lossy(&body)).unwrap_or_default();
        match self.of_token(&token, from, self.keeper.identity.now().as_secs()) {
            Ok(caller) => {
                tracing::info!(who = caller.name, %from, "looks at the page");
                login::leads("/", Some(&token))
            }
            Err(denied) => {
                self.note(&denied, &format!("POST {} from {from}", login::LOGIN));
                login::form(Some(&denied))
            }
        }
    }

    /// By the certificate of a connection, which may be old: what was revoked since, or has ended, is good for nothing.
    fn of_certificate(&self, facts: &CertificateFacts, now: u64) -> Result<Caller, Denied> {
        if self.keeper.identity.current().bundle.revoked().contains(&facts.serial) {
            return Err(Denied::NotGranted(facts.names.clone()));
        }
        if facts.not_after.as_secs() <= now {
            return Err(Denied::Expired(facts.names.clone()));
        }
        let grant = (self.keeper.known)(&by_certificate(facts.key));
        Caller::of(Some(grant.ok_or_else(|| Denied::NotGranted(facts.names.clone()))?), now)
    }

    /// Counts a refusal, and writes it down.
    fn note(&self, denied: &Denied, what: &str) {
        let text = format!("{what} is refused: {denied}");
        self.keeper.identity.refusals().note(denied.word(), &text, Instant::now());
    }

    /// The same of a request, and tells of it if it would have changed something.
    fn note_request(&self, denied: &Denied, (method, uri): (&Method, &Uri), from: IpAddr) {
        let path = format!("{method} {}", uri.path());
        self.note(denied, &format!("{path} from {from}"));
        if let Some(who) = denied.who().filter(|_| !method.is_safe()) {
            let query = uri.query().map(|it| format!("?{it}")).unwrap_or_default();
            (self.keeper.refused)(&RefusedChange { who, path: &path, query: &query, from, why: denied });
        }
    }
}

impl axum::response::IntoResponse for Denied {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Role { .. } | Self::Fleet(_) | Self::Namespace { .. } => StatusCode::FORBIDDEN,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::UNAUTHORIZED,
        };
        let mut response = (status, Json(serde_json::json!({ "error": self.to_string() }))).into_response();
        if let Self::Limited(seconds) = self {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
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
        // Whoever has no certificate is welcome, and shows a token. One of an agent or a gateway is not for this door.
        let mut config = (*keeper.identity.server(Expect::Person, true)?).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let refusals = keeper.identity.refusals().clone();
        Ok(Self { accepted: accept(listener, Arc::new(config), refusals, stop), address, keeper })
    }

    /// Answers until `stop`. Handlers find the [`Caller`] among the extensions of a request.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let opened = Guard { keeper: self.keeper.clone(), tries: Mutex::default() };
        let router = router.layer(from_fn_with_state(Arc::new(opened), guard));
        let service = router.into_make_service_with_connect_info::<Whence>();
        if let Err(error) = axum::serve(self, service).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, "people elsewhere are not answered any more");
        }
    }
}

impl Listener for Door {
    type Io = Accepted;
    type Addr = PeerInfo;

    async fn accept(&mut self) -> (Accepted, PeerInfo) {
        loop {
            match self.accepted.next().await {
                Some(Ok(accepted)) => {
                    let from = tonic::transport::server::Connected::connect_info(&accepted);
                    return (accepted, from);
                }
                Some(Err(error)) => tracing::warn!(%error, "a connection cannot be accepted"),
                // It stops, and so does the server.
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<PeerInfo> {
        Ok(PeerInfo { address: self.address, certificate: None })
    }
}

/// At the own machine nobody is asked: a layer for the loopback address.
pub async fn local(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller::local());
    next.run(request).await
}

/// Where somebody comes from, and with which certificate.
#[derive(Clone, Debug)]
struct Whence(PeerInfo);

impl Connected<IncomingStream<'_, Door>> for Whence {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(stream.remote_addr().clone())
    }
}

/// Elsewhere everybody is.
async fn guard(
    State(opened): State<Arc<Guard>>,
    ConnectInfo(Whence(from)): ConnectInfo<Whence>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if login::is_in_address(request.uri()) {
        let text =
            "a token does not belong into an address, where logs keep it: Authorization: Bearer TOKEN\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    match (request.method(), path) {
        (&Method::GET, login::LOGIN) => return login::form(None),
        (&Method::POST, login::LOGIN) => return opened.enter(request, from.address.ip()).await,
        (&Method::POST, login::LOGOUT) => return login::leads(login::LOGIN, None),
        _ => {}
    }
    let is_browser = request.method() == Method::GET && login::is_page(path);
    let Some(needed) = (opened.keeper.needed)(request.method(), path) else {
        return next.run(request).await;
    };
    let (method, uri, address) = (request.method().clone(), request.uri().clone(), from.address.ip());
    match opened.caller(&request, &from).and_then(|it| it.may(needed).map(|()| it)) {
        Ok(caller) => {
            tracing::debug!(who = caller.name, %method, path = uri.path(), from = %address, "asked");
            request.extensions_mut().insert(caller);
            let response = next.run(request).await;
            // What only a handler could know: whose namespace it is.
            if let Some(denied) = response.extensions().get::<Denied>() {
                opened.note_request(denied, (&method, &uri), address);
            }
            response
        }
        Err(denied) => {
            opened.note_request(&denied, (&method, &uri), address);
            let is_nobody = denied.who().is_none();
            match denied {
                Denied::Limited(_) if is_browser => login::form(Some(&denied)),
                _ if is_browser && is_nobody => login::needed(),
                _ => denied.into_response(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
