//! Connections that wait for their next request. The one that was used last is used next, so those that the load does not need
//! (a stall made many) age, and are let go.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// How long a connection waits: longer than requests of one target are apart at any rate worth measuring, and far below what servers
/// grant (nginx 75 s, Envoy 1 h).
const MAX_AGE: Duration = Duration::from_secs(5);

/// Kept connections, the one that waits longest first.
#[derive(Debug)]
pub(super) struct Idle<C> {
    kept: VecDeque<(Instant, C)>,
    limit: usize,
}

impl<C> Idle<C> {
    /// At most `limit` wait at a time, and at least one may.
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: VecDeque::new(), limit: limit.max(1) }
    }

    /// Keeps one that is free since `now`; where there is no room the oldest goes.
    pub(super) fn put(&mut self, now: Instant, connection: C) {
        self.expire(now);
        if self.kept.len() == self.limit {
            self.kept.pop_front();
        }
        self.kept.push_back((now, connection));
    }

    /// The one that was used last.
    pub(super) fn take(&mut self, now: Instant) -> Option<C> {
        let taken = self.kept.pop_back();
        self.expire(now);
        taken.map(|(_, connection)| connection)
    }

    /// Dropping a connection closes it.
    fn expire(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= MAX_AGE) {
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stall_left_is_let_go_and_what_the_load_needs_is_kept() {
        let start = Instant::now();
        let mut idle = Idle::new(2000);
        for connection in 0..1700 {
            idle.put(start, connection);
        }
        // Afterwards two are needed at a time, each millisecond.
        let mut used = std::collections::BTreeSet::new();
        for ms in 0..6000 {
            let now = start + Duration::from_millis(ms);
            let pair = [idle.take(now).unwrap(), idle.take(now).unwrap()];
            used.extend(pair);
            for connection in pair {
                idle.put(now, connection);
            }
            assert_eq!(idle.kept.len(), if ms < 5000 { 1700 } else { 2 }, "after {ms} ms");
        }
        assert_eq!(used.into_iter().collect::<Vec<_>>(), [1698, 1699], "no new ones");
    }

    #[test]
    fn at_most_so_many_wait_and_the_oldest_goes_first() {
        let now = Instant::now();
        let mut idle = Idle::new(2);
        for connection in 0..3 {
            idle.put(now, connection);
        }
        assert_eq!([idle.take(now), idle.take(now), idle.take(now)], [Some(2), Some(1), None]);
        // A limit of none is one: a connection would never be used twice.
        let mut one = Idle::new(0);
        one.put(now, 7);
        assert_eq!(one.take(now), Some(7));
    }
}
