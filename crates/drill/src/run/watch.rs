//! Asking agents each second what goes where, while a drill runs.

use super::{
    agents::read,
    line::{Line, Word},
};
use crate::timeline::Told;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tidegate_api::DrillTarget;
use tokio::task::{AbortHandle, JoinSet};

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// An answer that takes longer is left out: the next one says as much, as all counts are sums.
const PATIENCE: Duration = Duration::from_millis(900);
/// Answers that are kept of an agent: a drill of four hours. After that nothing more is asked.
const MAX_ANSWERS: usize = 4 * 3600;
/// Numbers that are kept of all agents together.
const MAX_NUMBERS: usize = 5_000_000;

/// What an agent told so far.
#[derive(Debug, Default)]
struct Book {
    told: Vec<Told>,
    /// Why it told nothing the last time it was asked.
    why_not: Option<String>,
}

type Books = Arc<Mutex<Vec<Book>>>;

/// Asks until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    books: Books,
    task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    pub(super) fn start(lines: Vec<Arc<dyn Line>>, target: &DrillTarget) -> Self {
        let books: Books = Arc::new(Mutex::new(lines.iter().map(|_| Book::default()).collect()));
        let word = Word::Traffic(match target {
            DrillTarget::Service(name) => Some(name.to_string()),
            _ => None,
        });
        let task = tokio::spawn(watch(lines, word, Arc::clone(&books))).abort_handle();
        Self { books, task }
    }

    /// What each of them told, in the order of the lines; or why one told nothing.
    pub(super) fn end(self) -> Vec<Result<Vec<Told>, String>> {
        let books = std::mem::take(&mut *crate::lock(&self.books));
        let told = |book: Book| match book.why_not {
            Some(why) if book.told.is_empty() => Err(why),
            _ => Ok(book.told),
        };
        books.into_iter().map(told).collect()
    }
}

async fn watch(lines: Vec<Arc<dyn Line>>, word: Word, books: Books) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut numbers = 0;
    for _ in 0..MAX_ANSWERS {
        tick.tick().await;
        let mut asked = JoinSet::new();
        for (place, line) in lines.iter().cloned().enumerate() {
            let word = word.clone();
            asked.spawn(async move { (place, read::<Told>(&line, word, PATIENCE).await) });
        }
        for (place, told) in asked.join_all().await {
            let mut books = crate::lock(&books);
            let Some(book) = books.get_mut(place) else { return };
            match told {
                Ok(told) => {
                    numbers += told.targets.len() + told.pools.len();
                    book.told.push(told);
                }
                Err(why) => book.why_not = Some(why),
            }
        }
        if numbers > MAX_NUMBERS {
            break;
        }
    }
}
