//! A disk that is given what changed, a part at a time, and holds at any moment what the whole would be.

use std::collections::BTreeMap;
use tidegate_engine::{Engine, Gathered, PartKey, SavedPart};
use tidegate_model::Time;

/// More than any history leaves unsaved.
const ALL: usize = 10_000;

/// The newest part of each key, and when it was given.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    parts: BTreeMap<PartKey, (SavedPart, Time)>,
    events: usize,
}

impl Disk {
    /// Takes some of what changed; after every third event all of it, and that must be as good as the whole.
    pub(crate) fn follow(&mut self, engine: &mut Engine, now: Time) {
        self.events += 1;
        if self.events.is_multiple_of(3) {
            self.flush(engine, now);
        } else {
            self.take(engine.take_unsaved(1, false, now), now);
        }
    }

    /// Takes all of what changed: now it must be as good as the whole.
    pub(crate) fn flush(&mut self, engine: &mut Engine, now: Time) {
        let parts = engine.take_unsaved(ALL, true, now);
        self.take(parts, now);
        assert_eq!(engine.unsaved(), 0);
        let mut gathered = Gathered::default();
        for (part, at) in self.parts.values() {
            let mut part = part.clone();
            part.age(now.since(*at));
            gathered.take(part);
        }
        assert_eq!(gathered.into_saved(), engine.save(now), "what was given in parts is the whole");
    }

    fn take(&mut self, parts: Vec<SavedPart>, now: Time) {
        self.parts.extend(parts.into_iter().map(|part| (part.key(), (part, now))));
    }

    /// The engine begins anew at `now`, with all that is here.
    pub(crate) fn restart(&mut self, now: Time) {
        for (part, at) in self.parts.values_mut() {
            part.age(now.since(*at));
            part.stop();
        }
    }
}
