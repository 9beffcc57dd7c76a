//! What the hub asks and tells of drills, over the stream: the same that the admin address takes, with the same answers.

use crate::{
    admin::{Failure, PAGE, Shared, drills},
    drills::DrillQuery,
};
use axum::{
    extract::Query,
    http::{StatusCode, Uri},
};
use serde::Serialize;
use std::sync::Arc;
use tidegate_link::hub::proto::{self, DrillAnswer, DrillWord, drill_word::Word};
use tokio::sync::Semaphore;

/// So many words are worked on at a time; judging the headroom of a large fleet takes seconds.
const AT_ONCE: usize = 8;
/// A page of the timeline is no longer, in bytes: other messages share the stream.
const MAX_PAGE: usize = 1 << 20;
/// By whom, in the log.
const WHO: &str = "the hub";

/// Answers words.
#[derive(Clone)]
pub(super) struct Desk {
    shared: Shared,
    room: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The answer to a word.
    pub(super) async fn answer(&self, word: DrillWord) -> DrillAnswer {
        let number = word.number;
        let Ok(_place) = self.room.try_acquire() else {
            return answer(number, Err(busy()));
        };
        let found = match word.word {
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
            None => Err(Failure::Error(
                StatusCode::BAD_REQUEST,
                "this agent is too old for what the hub asks of a drill: update it".to_owned(),
            )),
        };
        answer(number, found)
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

fn busy() -> Failure {
    Failure::Error(StatusCode::SERVICE_UNAVAILABLE, "the agent works on other words of the hub".to_owned())
}

fn json(found: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(found)
        .map_err(|error| Failure::Error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn answer(number: u64, found: Result<Vec<u8>, Failure>) -> DrillAnswer {
    match found {
        Ok(body) => DrillAnswer { number, status: 200, body },
        Err(failure) => {
            let (status, why) = failure.parts();
            let body = serde_json::json!({ "error": why }).to_string().into_bytes();
            DrillAnswer { number, status: u32::from(status.as_u16()), body }
        }
    }
}
