//! Which of several versions of an object is in force: what its sources say, and what was in force before.
//!
//! Deciding again with the outcome as what was in force before changes nothing, so that it does not matter how often
//! an object is looked at.

use super::{Cut, Kept, Reading};
use crate::{
    object::ObjectKey,
    problem::{Cause, Problem},
};
use std::sync::Arc;

/// The version in force, and what is wrong. Readings come in the order of their sources.
pub(super) fn choose(
    key: &ObjectKey,
    readings: &[Reading],
    previous: Option<&Kept>,
    cut: Option<&Cut>,
) -> (Option<Kept>, Vec<Problem>) {
    let is_of = |reading: &Reading, kept: &Kept| {
        reading.object.as_ref().is_some_and(|object| Arc::ptr_eq(object, &kept.object))
    };
    let read = || readings.iter().filter(|reading| reading.comes_before(cut));
    let mut chosen: Option<Kept> = None;
    let mut problems = Vec::new();
    for reading in read() {
        if let Some(first) = &chosen {
            problems.push(duplicate(key, reading, first));
            continue;
        }
        // One that another source tells comes at its turn.
        let old = previous.filter(|old| !read().any(|it| !std::ptr::eq(it, reading) && is_of(it, old)));
        chosen = version(reading, previous, old);
        let stays = reading.bad && chosen.as_ref().is_some_and(|kept| kept.whole);
        for problem in &reading.issues {
            let mut problem = problem.clone();
            if stays && problem.is_error() {
                problem.hint.push_str(" (the object stays in force as it last was)");
            }
            problems.push(problem);
        }
    }
    (chosen, problems)
}

/// The version that a reading puts into force. `previous` was in force before, and `old` is the same unless another
/// reading tells it.
fn version(reading: &Reading, previous: Option<&Kept>, old: Option<&Kept>) -> Option<Kept> {
    let new = reading.object.as_ref().map(|object| Kept { object: Arc::clone(object), whole: !reading.bad });
    match (new, previous) {
        (Some(new), _) if new.whole => Some(new),
        // Of a version with mistakes, only a route's sound rules are worth more than nothing.
        (Some(new), None) => new.object.spec.stands_in_part().then_some(new),
        (Some(new), Some(before)) if !before.whole && new.object.spec.stands_in_part() => Some(new),
        _ => old.cloned(),
    }
}

fn duplicate(key: &ObjectKey, reading: &Reading, first: &Kept) -> Problem {
    let message = format!("the object is already in {}:{}", first.object.file, first.object.at.line);
    let hint = "remove one of them; the first by file name and line is in force";
    let mut duplicate = Problem::of_file(&reading.source, message, hint);
    (duplicate.line, duplicate.column) = (reading.at.line, reading.at.column);
    duplicate.object = Some(key.to_string());
    duplicate.cause = Cause::Conflict;
    duplicate
}
