//! What the hub asks and tells, over the stream: the same that the admin address takes, with the same answers. Drills have words of their
//! own; anything else comes as a request, in the name of somebody whom the hub knows.

use crate::{
    access,
    admin::{self, Failure, PAGE, Shared, drills},
    drills::DrillQuery,
    page::{self, Page},
};
use axum::{
    Router,
    body::Body,
    extract::{Query, Request},
    http::{Method, StatusCode, Uri},
};
use serde::Serialize;
use std::sync::Arc;
use tidegate_link::{
    access::{Caller, Role},
    hub::proto::{self, AgentAnswer, AgentWord, agent_word::Word},
};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

/// So many words are worked on at a time; judging the headroom of a large fleet takes seconds.
const AT_ONCE: usize = 8;
/// And so many requests.
const REQUESTS: usize = 8;
/// A page of the timeline is no longer, in bytes: other messages share the stream.
const MAX_PAGE: usize = 1 << 20;
/// An answer is no longer, in bytes.
const MAX_ANSWER: usize = 2 << 20;
/// By whom, in the log.
const WHO: &str = "the hub";

/// Answers words.
#[derive(Clone)]
pub(super) struct Desk {
    shared: Shared,
    /// What the admin address has, and the facts of the page.
    router: Router,
    room: Arc<Semaphore>,
    /// Requests wait for no drill, and no drill for them.
    requests: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(shared: Shared, page: Arc<Page>) -> Self {
        let router = admin::router(shared.clone()).merge(page::routes(page));
        Self {
            shared,
            router,
            room: Arc::new(Semaphore::new(AT_ONCE)),
            requests: Arc::new(Semaphore::new(REQUESTS)),
        }
    }

    /// The answer to a word.
    pub(super) async fn answer(&self, word: AgentWord) -> AgentAnswer {
        let number = word.number;
        let word = match word.word {
            Some(Word::Request(request)) => return self.request(number, request).await,
            other => other,
        };
        let Ok(_place) = self.room.try_acquire() else {
            return answer(number, Err(busy()));
        };
        let found = match word {
            Some(Word::May(query)) => self.begin(&query, true).await,
            Some(Word::Start(query)) => self.begin(&query, false).await,
            Some(Word::End(proto::EndFault { id, by })) => {
                drills::mend(&self.shared, WHO, id, by).await.and_then(|()| json(&"ended"))
            }
            Some(Word::Faults(_)) => drills::faults(&self.shared).await.and_then(|it| json(&it)),
            Some(Word::Clock(_)) => json(&drills::now(&self.shared)),
            Some(Word::DecisionsAfter(after)) => self.page(after),
            Some(Word::Traffic(service)) => self.traffic(&service).await,
            Some(Word::InForce(_)) => drills::what_is_in_force(&self.shared).await.and_then(|it| json(&it)),
            Some(Word::Request(_)) | None => Err(Failure::Error(
                StatusCode::BAD_REQUEST,
                "this agent is too old for what the hub asks: update it".to_owned(),
            )),
        };
        answer(number, found)
    }

    /// As if it came to the admin address. What anybody may not there, nobody may here.
    async fn request(&self, number: u64, request: proto::Request) -> AgentAnswer {
        let Ok(_place) = self.requests.try_acquire() else {
            return answer(number, Err(busy()));
        };
        let made = asked(request);
        let (caller, request) = match made {
            Ok(made) => made,
            Err(failure) => return answer(number, Err(failure)),
        };
        tracing::debug!(who = caller.name, what = %request.uri(), "the hub asks");
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = u32::from(response.status().as_u16());
        match axum::body::to_bytes(response.into_body(), MAX_ANSWER).await {
            Ok(body) => AgentAnswer { number, status, body: body.into() },
            Err(_) => {
                let text = format!("the answer has more than {MAX_ANSWER} bytes; ask for less");
                answer(number, Err(Failure::Error(StatusCode::PAYLOAD_TOO_LARGE, text)))
            }
        }
    }

    async fn begin(&self, query: &str, dry_run: bool) -> Result<Vec<u8>, Failure> {
        let bad = |why: String| Failure::Error(StatusCode::BAD_REQUEST, why);
        let uri: Uri = format!("/?{query}").parse().map_err(|error| bad(format!("{error}")))?;
        let Query(mut query) =
            Query::<DrillQuery>::try_from_uri(&uri).map_err(|error| drills::unread(&error))?;
        query.dry_run = dry_run;
        let view = drills::begin(&self.shared, WHO, query).await?;
        json(&view)
    }

    async fn traffic(&self, service: &str) -> Result<Vec<u8>, Failure> {
        let service = if service.is_empty() { None } else { Some(drills::named(service)?) };
        json(&drills::goes_where(&self.shared, service).await?)
    }

    fn page(&self, after: u64) -> Result<Vec<u8>, Failure> {
        let mut most = PAGE;
        loop {
            let page = json(&self.shared.timeline.after(after, most))?;
            if page.len() <= MAX_PAGE || most == 1 {
                return Ok(page);
            }
            most = (most / 2).max(1);
        }
    }
}

/// The request, and who asks. Only what people do at the hub's page and API is taken; faults come by words of their own.
fn asked(request: proto::Request) -> Result<(Caller, Request), Failure> {
    let bad = |why: String| Failure::Error(StatusCode::BAD_REQUEST, why);
    let by = request.by.ok_or_else(|| bad("nobody asks".to_owned()))?;
    let role: Role = by.role.parse().map_err(|error| bad(format!("{error}")))?;
    let namespaces = by.limited.then(|| by.namespaces.into_iter().collect());
    let caller = Caller { name: format!("{} (at the hub)", by.name), role, namespaces };
    let method: Method = request.method.parse().map_err(|_| bad("no such method".to_owned()))?;
    let uri: Uri = request.target.parse().map_err(|error| bad(format!("{error}")))?;
    let is_facts = uri.path().starts_with("/facts/") && method == Method::GET;
    let is_shift = uri.path().starts_with("/api/v1/shifts");
    if method != Method::GET && !is_shift {
        return Err(bad(format!("the hub does not ask for {method} {}", uri.path())));
    }
    if !is_facts && let Some(needed) = access::needed(&method, uri.path()) {
        caller.may(needed)?;
    }
    let mut made = Request::new(Body::empty());
    (*made.method_mut(), *made.uri_mut()) = (method, uri);
    made.extensions_mut().insert(caller.clone());
    Ok((caller, made))
}

fn busy() -> Failure {
    Failure::Error(StatusCode::SERVICE_UNAVAILABLE, "the agent works on other words of the hub".to_owned())
}

fn json(found: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(found)
        .map_err(|error| Failure::Error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn answer(number: u64, found: Result<Vec<u8>, Failure>) -> AgentAnswer {
    match found {
        Ok(body) => AgentAnswer { number, status: 200, body },
        Err(failure) => {
            let (status, why) = failure.parts();
            let body = serde_json::json!({ "error": why }).to_string().into_bytes();
            AgentAnswer { number, status: u32::from(status.as_u16()), body }
        }
    }
}
