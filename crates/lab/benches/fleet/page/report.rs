//! What was measured, beside the goals.

use super::browser::Open;
use crate::report::Spread;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;
use std::time::Duration;

/// What the hub used in a setting.
#[derive(Debug, Serialize)]
pub(super) struct Load {
    pub(super) setting: String,
    /// Parts of a core.
    pub(super) cpu: f64,
    pub(super) rss_mb: f64,
    /// The most since it started.
    pub(super) peak_mb: f64,
    pub(super) statuses_per_second: f64,
    pub(super) changes_per_second: f64,
}

/// A kind of page that somebody new asks for, while the others are open.
#[derive(Debug, Serialize)]
pub(super) struct Visit {
    pub(super) path: String,
    pub(super) visits: usize,
    pub(super) first_byte_ms: Spread,
    /// Of the largest answer.
    pub(super) bytes: usize,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) clusters: usize,
    pub(super) services: usize,
    pub(super) loads: Vec<Load>,
    pub(super) visits: Vec<Visit>,
    /// Main parts that open pages fetched.
    pub(super) fetched: Vec<Visit>,
    /// All of them, a second.
    pub(super) fetched_per_second: f64,
    /// From a change at an agent, which looks once a second, to the event at a page; in milliseconds.
    pub(super) events: Option<Spread>,
    /// Until the page has what it shows.
    pub(super) shown: Option<Spread>,
}

impl Report {
    pub(super) fn fetched(&mut self, open: &Open, span: Duration) {
        let mut all = 0;
        for (path, fetches) in open.fetches() {
            all += fetches.len();
            let bytes = fetches.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
            let first_byte_ms = Spread::of(fetches.iter().map(|(first, _)| *first).collect());
            self.fetched.push(Visit { path, visits: fetches.len(), first_byte_ms, bytes });
        }
        self.fetched_per_second = number(all) / span.as_secs_f64();
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let what = format!("{} clusters, {} services", self.clusters, self.services);
        table.set_header([what.as_str(), "measured", "goal", ""]);
        let mut row = |what: String, value: f64, unit: &str, at_most: Option<f64>| {
            let goal = at_most.map(|it| format!("at most {it} {unit}")).unwrap_or_default();
            let met = at_most.map_or("", |it| if value <= it { "met" } else { "missed" });
            table.add_row([what, format!("{value:.2} {unit}"), goal, met.to_owned()]);
        };
        for it in &self.loads {
            let Load { setting, statuses_per_second, changes_per_second, .. } = it;
            row(
                format!(
                    "{setting}: hub's CPU ({statuses_per_second:.0} statuses/s, {changes_per_second:.0} changes/s)"
                ),
                it.cpu,
                "cores",
                Some(1.0),
            );
            row("  its memory".to_owned(), it.rss_mb, "MB", Some(500.0));
            row("  the most so far".to_owned(), it.peak_mb, "MB", Some(500.0));
        }
        for (what, visits) in [("", &self.visits), ("open ", &self.fetched)] {
            for it in visits {
                let path = &it.path;
                row(
                    format!("{what}{path}: first byte, p50 of {}", it.visits),
                    it.first_byte_ms.p50,
                    "ms",
                    Some(50.0),
                );
                row("  p99".to_owned(), it.first_byte_ms.p99, "ms", Some(50.0));
                row("  largest".to_owned(), number(it.bytes) / 1e3, "KB", Some(200.0));
            }
        }
        row("main parts that open pages fetched".to_owned(), self.fetched_per_second, "/s", None);
        for (what, spread) in [("event at a page", &self.events), ("page shows it", &self.shown)] {
            let Some(it) = spread else { continue };
            row(format!("a change at an agent, until the {what}, p50"), it.p50, "ms", None);
            row("  p99".to_owned(), it.p99, "ms", None);
            row("  longest".to_owned(), it.max, "ms", None);
        }
        table.to_string()
    }
}

fn number(of: usize) -> f64 {
    u32::try_from(of).map_or(f64::NAN, f64::from)
}
