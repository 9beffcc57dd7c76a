//! The moment of recovery: when every window from then on is good.

use crate::{clock::micros, load::Sample};
use std::time::Duration;
use tidegate_model::Time;

/// The window over which success is judged.
pub const WINDOW: Duration = Duration::from_secs(1);
/// At most one of so many requests of a window may be no good: 99.9 % are.
const ONE_IN: u64 = 1000;

/// The first moment from `from` on after which in every whole window before `until` 99.9 % of the requests are good;
/// `None` if no window with requests is left to prove it. See the module above for the exact terms.
///
/// Whether the window that begins at t is good changes only where a request enters its end or leaves
/// its beginning. So the last bad t is one of three kinds: the due time of a request (which the next
/// window no longer has), one window before a due time (the next window has it), or the last window.
#[must_use]
pub fn recovery<'a>(
    samples: impl Iterator<Item = &'a Sample>,
    is_good: impl Fn(&Sample) -> bool,
    from: Time,
    until: Time,
) -> Option<Time> {
    let (from, until, window) = (micros(from.since_origin()), micros(until.since_origin()), micros(WINDOW));
    let last_window = until.checked_sub(window).filter(|last| *last >= from)?;
    let mut requests: Vec<(u64, bool)> = samples
        .filter(|sample| (from..until).contains(&sample.due_us))
        .map(|sample| (sample.due_us, is_good(sample)))
        .collect();
    requests.sort_unstable();
    // failed[i]: those among the first i requests that are no good.
    let mut failed = vec![0_u64];
    for (_, good) in &requests {
        failed.push(failed[failed.len() - 1] + u64::from(!good));
    }
    let before = |time: u64| requests.partition_point(|(due, _)| *due < time);
    let is_bad = |start: u64| {
        let (first, end) = (before(start), before(start + window));
        (failed[end] - failed[first]) * ONE_IN > (end - first) as u64
    };
    let recovered = requests
        .iter()
        .flat_map(|(due, _)| [Some(*due), due.checked_sub(window)])
        .flatten()
        .chain([last_window])
        .filter(|start| (from..=last_window).contains(start) && is_bad(*start))
        .max()
        .map_or(from, |last_bad| last_bad + 1);
    let is_proven = recovered <= last_window && requests.last().is_some_and(|(due, _)| *due >= recovered);
    is_proven.then(|| Time::from_origin(Duration::from_micros(recovered)))
}
