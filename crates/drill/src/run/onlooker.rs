//! An agent that is asked what it saw, and told nothing: somebody else breaks and mends.

use super::line::{Answer, Answering, Line, Word};
use bytes::Bytes;
use std::{fmt, sync::Arc, time::Duration};

#[derive(Debug)]
struct Onlooker(Arc<dyn Line>);

/// The way to an agent, as one that has no part in any fault.
#[must_use]
pub fn of(line: Arc<dyn Line>) -> Arc<dyn Line> {
    Arc::new(Onlooker(line))
}

impl fmt::Display for Onlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Line for Onlooker {
    fn say(&self, word: Word, limit: Duration) -> Answering<'_> {
        let own = |status, body| Box::pin(async move { Ok(Answer { status, body }) });
        match word {
            Word::May(_) | Word::Start(_) | Word::End { .. } => {
                own(404, Bytes::from_static(br#"{"error": "this agent only looks on"}"#))
            }
            // It may be the one that the fault has killed: that nothing of it runs there needs no asking.
            Word::Faults => own(200, Bytes::from_static(b"[]")),
            other => self.0.say(other, limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers whatever it is asked.
    #[derive(Debug)]
    struct Talkative;

    impl fmt::Display for Talkative {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("talkative")
        }
    }

    impl Line for Talkative {
        fn say(&self, word: Word, _: Duration) -> Answering<'_> {
            Box::pin(async move { Ok(Answer { status: 200, body: format!("{word:?}").into() }) })
        }
    }

    #[tokio::test]
    async fn an_onlooker_is_asked_what_it_saw_and_told_nothing() {
        let line = of(Arc::new(Talkative));
        let limit = Duration::from_secs(1);
        for word in [Word::May("id=x".to_owned()), Word::Start("id=x".to_owned())] {
            assert_eq!(line.say(word, limit).await.unwrap().status, 404);
        }
        assert_eq!(line.say(Word::Faults, limit).await.unwrap().body, "[]");
        assert_eq!(line.say(Word::Clock, limit).await.unwrap().body, "Clock");
        assert_eq!(line.say(Word::Decisions(3), limit).await.unwrap().body, "Decisions(3)");
    }
}
