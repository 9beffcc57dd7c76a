//! The connections from one source to one target, and one request on them.

use super::{
    HEADER_ID, Target, TargetError, Wire,
    idle::Idle,
    target::Checked,
    wire::{self, Body, Opened},
};
use crate::{load::Outcome, lock};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
};
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::time::{Instant, timeout_at};

/// The largest answer that is read whole.
const MAX_ANSWER: usize = 1 << 20;
/// Requests at a time on one HTTP/2 connection: what servers usually allow.
const STREAMS: usize = 100;
/// The message of a gRPC call: not compressed, no bytes.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// The connections from one source to one target.
pub(crate) struct Lane {
    to: Checked,
    from: Option<IpAddr>,
    idle: Mutex<Idle<http1::SendRequest<Body>>>,
    shared: Mutex<Vec<Shared>>,
    /// Who opens a shared connection; the others wait for it.
    opening: tokio::sync::Mutex<()>,
    body: Bytes,
}

/// An HTTP/2 connection, and a token for each request on it.
#[derive(Clone)]
struct Shared {
    sender: http2::SendRequest<Body>,
    users: Arc<()>,
}

/// What became of an attempt that was not answered.
enum Lost {
    /// Nothing of it was sent: it may be sent again.
    Unsent,
    Broken,
}

impl Lane {
    /// At most `idle_limit` of its HTTP/1 connections wait for their next request.
    pub(crate) fn new(target: &Target, from: Option<IpAddr>, idle_limit: usize) -> Result<Self, TargetError> {
        let body = if target.wire == Wire::Grpc { Bytes::from_static(EMPTY_MESSAGE) } else { Bytes::new() };
        Ok(Self {
            to: Checked::new(target)?,
            from,
            idle: Mutex::new(Idle::new(idle_limit)),
            shared: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            body,
        })
    }

    /// Sends a request and reads its answer, until the deadline. Without a connection by then it was never sent, which is
    /// [`Outcome::Connect`]: only what was sent can be lost.
    pub(crate) async fn ask(&self, id: &str, deadline: Instant) -> Outcome {
        let sent = AtomicBool::new(false);
        let answer = async {
            if self.to.wire == Wire::Http1 {
                self.ask_alone(id, &sent).await
            } else {
                self.ask_shared(id, &sent).await
            }
        };
        match timeout_at(deadline, answer).await {
            Ok(outcome) => outcome,
            Err(_) if sent.load(Ordering::Relaxed) => Outcome::Timeout,
            Err(_) => Outcome::Connect,
        }
    }

    async fn ask_alone(&self, id: &str, handed_over: &AtomicBool) -> Outcome {
        // Each turn takes a connection out: it ends at the latest when all that were kept are gone.
        loop {
            let kept = lock(&self.idle).take(Instant::now());
            let is_new = kept.is_none();
            let mut sender = match kept {
                Some(sender) if sender.is_closed() => continue,
                Some(sender) => sender,
                // Apart: each request would else have room for what opening a connection needs, 6 KB.
                None => match Box::pin(wire::open(&self.to, self.from)).await {
                    Ok(Opened::Http1(sender)) => sender,
                    _ => return Outcome::Connect,
                },
            };
            if sender.ready().await.is_err() {
                if is_new {
                    return Outcome::Broken;
                }
                continue;
            }
            handed_over.store(true, Ordering::Relaxed);
            let sent = sender.try_send_request(self.request(id)).await;
            match answered(self.to.wire, sent.map_err(|mut error| unsent(error.take_message().is_some())))
                .await
            {
                Ok(outcome) => {
                    if !sender.is_closed() {
                        lock(&self.idle).put(Instant::now(), sender);
                    }
                    return outcome;
                }
                Err(Lost::Unsent) if !is_new => handed_over.store(false, Ordering::Relaxed),
                Err(_) => return Outcome::Broken,
            }
        }
    }

    async fn ask_shared(&self, id: &str, handed_over: &AtomicBool) -> Outcome {
        loop {
            let (mut shared, is_new) = match self.kept_shared() {
                Some(shared) => (shared, false),
                None => {
                    let opening = self.opening.lock().await;
                    if let Some(shared) = self.kept_shared() {
                        (shared, false)
                    } else {
                        let Ok(Opened::Http2(sender)) = Box::pin(wire::open(&self.to, self.from)).await
                        else {
                            return Outcome::Connect;
                        };
                        let shared = Shared { sender, users: Arc::new(()) };
                        lock(&self.shared).push(shared.clone());
                        drop(opening);
                        (shared, true)
                    }
                }
            };
            if shared.sender.ready().await.is_err() {
                if is_new {
                    return Outcome::Broken;
                }
                continue;
            }
            handed_over.store(true, Ordering::Relaxed);
            let sent = shared.sender.try_send_request(self.request(id)).await;
            match answered(self.to.wire, sent.map_err(|mut error| unsent(error.take_message().is_some())))
                .await
            {
                Ok(outcome) => return outcome,
                Err(Lost::Unsent) if !is_new => handed_over.store(false, Ordering::Relaxed),
                Err(_) => return Outcome::Broken,
            }
        }
    }

    /// A connection with room for one more request; forgets those that are closed.
    fn kept_shared(&self) -> Option<Shared> {
        let mut shared = lock(&self.shared);
        shared.retain(|it| !it.sender.is_closed());
        shared.iter().find(|it| Arc::strong_count(&it.users) <= STREAMS).cloned()
    }

    fn request(&self, id: &str) -> Request<Body> {
        let mut request = Request::new(Body::new(self.body.clone()));
        *request.method_mut() = self.to.method.clone();
        *request.uri_mut() = self.to.uri.clone();
        let headers = request.headers_mut();
        for (name, value) in &self.to.headers {
            headers.append(name.clone(), value.clone());
        }
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert("x-request-id", id.clone());
            headers.insert(HeaderName::from_static(HEADER_ID), id);
        }
        request
    }
}

fn unsent(given_back: bool) -> Lost {
    if given_back { Lost::Unsent } else { Lost::Broken }
}

/// Reads an answer to its end: only a whole one is an answer.
async fn answered(wire: Wire, sent: Result<Response<Incoming>, Lost>) -> Result<Outcome, Lost> {
    let (head, body) = sent?.into_parts();
    let Ok(whole) = Limited::new(body, MAX_ANSWER).collect().await else {
        return Ok(Outcome::Broken);
    };
    let grpc = grpc_status(&head.headers).or_else(|| whole.trailers().and_then(grpc_status));
    Ok(match grpc {
        Some(status) if status != 0 => Outcome::Grpc(status),
        // The call of a server that said nothing of how it went is not answered.
        None if wire == Wire::Grpc && head.status.is_success() => Outcome::Broken,
        _ => Outcome::Status(head.status.as_u16()),
    })
}

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
