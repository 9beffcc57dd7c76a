//! What was measured, beside the goals.

use crate::peers::PeerLinks;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// A spread of times, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of these times, in milliseconds; the nearest rank. NaN of none.
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied().unwrap_or(f64::NAN)
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// A policy change on its way.
#[derive(Debug, Serialize)]
pub(crate) struct Changes {
    pub(crate) changes: usize,
    /// From the change of the file until the last agent has it.
    pub(crate) last: Spread,
    /// Until an agent has it, over all agents.
    pub(crate) each: Spread,
}

/// The hub with nothing to do but to hear status.
#[derive(Debug, Serialize)]
pub(crate) struct Steady {
    pub(crate) statuses_per_second: f64,
    pub(crate) cpu: f64,
    pub(crate) rss_mb: f64,
    /// The most since it started, joining included.
    pub(crate) peak_mb: f64,
}

/// The hub killed and started.
#[derive(Debug, Serialize)]
pub(crate) struct Restart {
    pub(crate) away_s: f64,
    /// From its start until the agents were back.
    pub(crate) back: Spread,
    /// The most dials in a second while it was away, the first second not counted.
    pub(crate) dials_away: usize,
    /// The most in the second after its death, and after its start.
    pub(crate) dials_death: usize,
    pub(crate) dials_start: usize,
    /// All dials after its start: one for each agent if none was in vain.
    pub(crate) dials_after: usize,
    pub(crate) cpu_s: f64,
    pub(crate) peak_mb: f64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) agents: usize,
    pub(crate) services: usize,
    pub(crate) objects: usize,
    pub(crate) joined_s: f64,
    pub(crate) changes: Option<Changes>,
    pub(crate) steady: Option<Steady>,
    pub(crate) restarts: Vec<Restart>,
    pub(crate) links: Option<PeerLinks>,
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let what =
            format!("{} agents, {} services, {} objects of policy", self.agents, self.services, self.objects);
        table.set_header([what.as_str(), "measured", "goal", ""]);
        let mut row = |what: String, value: f64, unit: &str, at_most: Option<f64>| {
            let goal = at_most.map(|it| format!("at most {it} {unit}")).unwrap_or_default();
            let met = at_most.map_or("", |it| if value <= it { "met" } else { "missed" });
            table.add_row([what, format!("{value:.2} {unit}"), goal, met.to_owned()]);
        };
        if let Some(it) = &self.changes {
            row(
                format!("a change of a file, until the last agent has it, p50 of {}", it.changes),
                it.last.p50,
                "ms",
                None,
            );
            row("  longest".to_owned(), it.last.max, "ms", Some(1000.0));
            row("  until an agent has it, p50".to_owned(), it.each.p50, "ms", None);
            row("  p99".to_owned(), it.each.p99, "ms", None);
        }
        if let Some(it) = &self.steady {
            row(
                format!("hub's CPU at {:.0} status messages a second", it.statuses_per_second),
                it.cpu,
                "cores",
                Some(1.0),
            );
            row("hub's memory".to_owned(), it.rss_mb, "MB", Some(1024.0));
            row("  its peak, while all joined".to_owned(), it.peak_mb, "MB", None);
        }
        for it in &self.restarts {
            row(
                format!("hub killed, away for {:.0} s: all back after its start", it.away_s),
                it.back.max / 1e3,
                "s",
                Some(10.0),
            );
            row("  half of them".to_owned(), it.back.p50 / 1e3, "s", None);
            let count = |it: usize| u32::try_from(it).map_or(f64::NAN, f64::from);
            row("  dials in the second after it died".to_owned(), count(it.dials_death), "", None);
            row("  most dials in a second while away".to_owned(), count(it.dials_away), "", None);
            row("  most dials in a second after its start".to_owned(), count(it.dials_start), "", None);
            row("  dials after its start, in all".to_owned(), count(it.dials_after), "", None);
            row("  hub's CPU until all were back".to_owned(), it.cpu_s, "s", None);
            row("  hub's peak memory".to_owned(), it.peak_mb, "MB", Some(1024.0));
        }
        if let Some(it) = &self.links {
            row(
                format!("agent that observes {} peers, CPU", it.peers),
                it.observing_cpu * 1e2,
                "% of a core",
                Some(5.0),
            );
            row("  observed by all of them, too".to_owned(), it.both_cpu * 1e2, "% of a core", None);
            row("  without a peer".to_owned(), it.alone_cpu * 1e2, "% of a core", None);
            row("  its memory".to_owned(), it.rss_mb, "MB", None);
        }
        table.to_string()
    }
}
