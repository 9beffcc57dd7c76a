//! What a shift would do, as text.

use super::{left, refused};
use crate::{
    screen::{Screen, wrapped},
    whatif::print::before_and_after,
};
use std::{collections::BTreeSet, fmt::Write as _};
use tidegate_agent::{LossView, ShiftPreview};
use tidegate_engine::Contingency;
use tidegate_model::ServiceName;

/// So many services are shown, those that are worst off first, and so many named in a line.
const SHOWN: usize = 20;
const NAMED: usize = 5;

/// Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($part:tt)*) => {{ let _ = writeln!($text, $($part)*); }};
}

pub(super) fn text(preview: &ShiftPreview, screen: Screen) -> String {
    let ShiftPreview { shift, moves, losses } = preview;
    let width = screen.width().unwrap_or(usize::MAX);
    let mut text = String::new();
    let question =
        format!("If {} % of the traffic left {} for {}:", shift.percent, shift.away_from, left(shift));
    line!(text, "{}\n", wrapped(&question, 2, width));
    if moves.services.is_empty() {
        let why = match shift.refused.is_empty() {
            true => ": of what this agent sees nothing is served there now",
            false => "",
        };
        line!(text, "{}", wrapped(&format!("Nothing would move{why}."), 2, width));
    } else {
        let (shown, more) = worst_first(moves);
        text.push_str(&before_and_after(&shown));
        if more > 0 {
            line!(text, "and {more} more services that move; see less by --service");
        }
    }
    if let Some(refused) = refused(shift) {
        line!(text, "\n{}", wrapped(&format!("REFUSED: {refused}"), 2, width));
    }
    line!(text, "\nN-1 AFTERWARDS");
    for loss in losses.iter().filter(|it| it.is_worse()) {
        line!(text, "{}", wrapped(&worse(loss), 2, width));
    }
    let fails = |it: &&LossView| !it.stranded.is_empty() || !it.overloaded.is_empty();
    let failing = losses.iter().filter(fails).count();
    let verdict = match (losses.iter().any(LossView::is_worse), failing) {
        (true, _) => "While it is in force less may go wrong than now.".to_owned(),
        (false, 0) => format!("Each of {} losses would still leave everything served.", losses.len()),
        (false, failing) => {
            format!("No loss does more harm than now; {failing} of {} do some either way.", losses.len())
        }
    };
    line!(text, "{}", wrapped(&verdict, 0, width));
    text
}

/// The services with the most used pools after it, and how many more there are.
fn worst_first(moves: &Contingency) -> (Contingency, usize) {
    let mut shown = moves.clone();
    let used = |it: &tidegate_engine::ServiceOutcome| {
        it.pools.iter().filter_map(|pool| pool.utilization_after.or(pool.factor)).max()
    };
    shown.services.sort_by_key(|it| std::cmp::Reverse(used(it)));
    let more = shown.services.len().saturating_sub(SHOWN);
    shown.services.truncate(SHOWN);
    (shown, more)
}

fn worse(loss: &LossView) -> String {
    let new = |now: &BTreeSet<ServiceName>, before: &BTreeSet<ServiceName>| -> Vec<String> {
        now.difference(before).map(ToString::to_string).collect()
    };
    let said = |what: &str, services: Vec<String>| {
        let more = match services.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = services.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        (!services.is_empty()).then(|| format!("{what} {named}{more}"))
    };
    let harm = [
        said("leave nothing healthy for", new(&loss.stranded, &loss.stranded_before)),
        said("overload", new(&loss.overloaded, &loss.overloaded_before)),
    ];
    format!("losing {} would {}", loss.lost, harm.into_iter().flatten().collect::<Vec<_>>().join(", and "))
}
