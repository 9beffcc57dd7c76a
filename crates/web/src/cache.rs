//! Rendered parts of pages, so that fifty pages that show the same cost one rendering.
//!
//! A part is kept for one version of the picture, one sight, and [`FRESH`]: what it says of ages is never older than that. Who comes
//! while it is being rendered waits for it. What failed is not kept.

use crate::{Trouble, sight::Sight};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// How long a part is shown again. Browsers count ages on by themselves; this is for those that do not.
const FRESH: Duration = Duration::from_secs(2);
/// Parts that are kept; of up to 200 KB each. The oldest goes first.
const PARTS: usize = 64;

/// What a part depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) version: u64,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) sight: Sight,
    pub(crate) is_operator: bool,
}

/// The main part of a page, and its title.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) title: String,
    pub(crate) main: String,
}

type Cell = Arc<OnceCell<Arc<Part>>>;

#[derive(Default)]
pub(crate) struct Parts(Mutex<BTreeMap<Key, (Instant, Cell)>>);

impl Parts {
    /// The part, rendered now or a moment ago.
    pub(crate) async fn get(
        &self,
        key: Key,
        now: Instant,
        render: impl Future<Output = Result<Part, Trouble>>,
    ) -> Result<Arc<Part>, Trouble> {
        let cell = self.cell(key, now);
        cell.get_or_try_init(|| async { render.await.map(Arc::new) }).await.cloned()
    }

    fn cell(&self, key: Key, now: Instant) -> Cell {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|_, (made, _)| now.saturating_duration_since(*made) < FRESH);
        if parts.len() >= PARTS && !parts.contains_key(&key) {
            let oldest = parts.iter().min_by_key(|(_, (made, _))| *made).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                parts.remove(&oldest);
            }
        }
        parts.entry(key).or_insert_with(|| (now, Cell::default())).1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    fn key(version: u64) -> Key {
        let visitor = crate::Visitor { name: "a".to_owned(), is_operator: false, namespaces: None };
        let sight = Sight::of(&visitor);
        Key { version, path: "/".to_owned(), query: String::new(), sight, is_operator: false }
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_rendering() {
        let (parts, rendered, now) = (Parts::default(), AtomicU32::new(0), Instant::now());
        let one = |version, now| {
            let rendered = &rendered;
            parts.get(key(version), now, async move {
                tokio::task::yield_now().await;
                rendered.fetch_add(1, SeqCst);
                Ok(Part { title: String::new(), main: String::new() })
            })
        };
        futures::future::join_all((0..50).map(|_| one(1, now))).await;
        assert_eq!(rendered.load(SeqCst), 1);
        one(2, now).await.unwrap();
        one(2, now + FRESH).await.unwrap();
        assert_eq!(rendered.load(SeqCst), 3, "a new version and an old age are rendered");
    }

    #[tokio::test]
    async fn what_failed_is_tried_again_and_no_more_than_so_many_are_kept() {
        let (parts, now) = (Parts::default(), Instant::now());
        let failed = parts.get(key(1), now, async { Err(Trouble::Unavailable("later".to_owned())) }).await;
        assert!(failed.is_err());
        let part = || async { Ok(Part { title: "t".to_owned(), main: String::new() }) };
        assert!(parts.get(key(1), now, part()).await.is_ok());
        for version in 0..200 {
            parts.get(key(version), now, part()).await.unwrap();
        }
        assert!(parts.0.lock().unwrap().len() <= PARTS);
    }
}
