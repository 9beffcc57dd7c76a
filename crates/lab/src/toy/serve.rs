//! One connection to a toy endpoint.

use super::{HEADER_LAB_REQUEST, HEALTH_PATH, State, ToyMode};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc};
use tokio::net::TcpStream;

/// The largest request body that a toy reads.
const MAX_BODY: usize = 1 << 20;

pub(super) fn connection(stream: TcpStream, state: Arc<State>) -> BoxFuture<'static, ()> {
    async move {
        let service = service_fn(move |request| answer(request, Arc::clone(&state)));
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::trace!(%error, "a toy's connection ended");
        }
    }
    .boxed()
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    if Limited::new(body, MAX_BODY).collect().await.is_err() {
        // Not received whole, so nothing was done.
        return Ok(respond(StatusCode::BAD_REQUEST, Full::default(), &state));
    }
    let is_check = head.uri.path() == HEALTH_PATH;
    let mut number = None;
    if !is_check {
        number = Some(state.count());
        if !head.method.is_safe() {
            state.ledger.book(request_id(&head.headers), &state.name);
        }
    }
    let status = verdict(&state, number).await;
    let body = if is_check || status != StatusCode::OK { Full::default() } else { state.body.clone().into() };
    Ok(respond(status, body, &state))
}

/// Waits as long as the mode says, also when it changes meanwhile, and says how to answer the request of this number; a
/// check has none.
async fn verdict(state: &State, number: Option<u64>) -> StatusCode {
    let mut mode = state.mode.subscribe();
    loop {
        let now = *mode.borrow_and_update();
        match now {
            ToyMode::Serve => return StatusCode::OK,
            ToyMode::Status503 => return StatusCode::SERVICE_UNAVAILABLE,
            ToyMode::Errors(percent) => {
                let fails = number.is_some_and(|number| percent_of(number, &state.name) < percent);
                return if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            }
            // The toy holds the sender for as long as the connection lives: an error cannot come.
            ToyMode::Refuse | ToyMode::Hang => drop(mode.changed().await),
            ToyMode::Slow(delay) => {
                tokio::select! {
                    () = tokio::time::sleep(delay) => return StatusCode::OK,
                    _ = mode.changed() => {}
                }
            }
        }
    }
}

/// A number below 100 that looks drawn (the finalizer of splitmix64), another for each endpoint: errors come in runs, as
/// they do in life, and those of siblings have nothing to do with each other.
fn percent_of(number: u64, endpoint: &str) -> u8 {
    let seed = endpoint.bytes().fold(1, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut bits = number.wrapping_add(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    u8::try_from((bits ^ (bits >> 31)) % 100).unwrap_or(u8::MAX)
}

fn request_id(headers: &HeaderMap) -> Option<&str> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    header(HEADER_LAB_REQUEST).or_else(|| header("x-request-id"))
}

fn respond(status: StatusCode, body: Full<Bytes>, state: &State) -> Response<Full<Bytes>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in &state.headers {
        response.headers_mut().insert(*name, value.clone());
    }
    response
}
