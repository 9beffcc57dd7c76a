//! The report as Markdown, for a pull request or a wiki.

use super::{Report, lines};
use std::fmt::Write as _;

/// The report as Markdown.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = format!(
        "# Drill {}: {}\n\n{}. {} requests/s by {} to {}, from {}.\n",
        cell(&report.drill),
        if report.passed { "passed" } else { "failed" },
        cell(&report.verdict()),
        report.load.rate_rps,
        report.load.protocol,
        cell(&report.urls.join(", ")),
        if report.started_at.is_empty() { "never" } else { &report.started_at },
    );
    if !report.objectives.is_empty() {
        text.push_str("\n| objective | measured | |\n|---|---|---|\n");
        for it in &report.objectives {
            let verdict = if it.passed { "met" } else { "**missed**" };
            let _ = writeln!(text, "| {} | {} | {verdict} |", cell(&it.objective), cell(&it.measured));
        }
    }
    if let Some(costs) = &report.costs {
        text.push_str("\n| measure | value |\n|---|---|\n");
        for (what, value) in lines(costs) {
            let _ = writeln!(text, "| {what} | {value} |");
        }
        if let Some(agents) = &report.agents {
            text.push_str("\n| recovery | |\n|---|---|\n");
            for (what, value) in super::agents::lines(agents) {
                let _ = writeln!(text, "| {what} | {value} |");
            }
        }
        text.push_str("\n| latency | p50 | p99 | p99.9 | longest |\n|---|---|---|---|---|\n");
        for (what, it) in
            [("before", costs.before), ("in the cut-over", costs.during), ("after", costs.after)]
        {
            let ms = super::duration;
            let (p50, p99, p999, max) = (ms(it.p50_ms), ms(it.p99_ms), ms(it.p999_ms), ms(it.max_ms));
            let _ = writeln!(text, "| {what} | {p50} | {p99} | {p999} | {max} |");
        }
    }
    if let Some(error) = &report.mend_error {
        let _ = writeln!(text, "\n**Not mended:** {}", cell(error));
    }
    text
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}
