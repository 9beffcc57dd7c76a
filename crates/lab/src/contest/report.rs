//! The results: as a table on the terminal, as JSON, and as a part of a page. Pure.

use super::{contestant::Contestant, course::Outcome, fault::ZoneFault};
use crate::measure::Millis;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;
use std::{fmt::Write as _, time::Duration};

/// Where the results begin on the page.
const BEGIN: &str = "<!-- results of failover: begin -->";
/// Where they end.
const END: &str = "<!-- results of failover: end -->";
/// What is measured, a column each.
const HEADER: [&str; 9] =
    ["fault", "", "failed", "above 1 s", "RTO", "p99 in cut-over", "longest", "back after", "moves"];

/// All results of a run of the benchmark.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// How: requests per second, and how long the fault lasted.
    pub rate_rps: u32,
    /// Seconds for which a fault lasted.
    pub fault_seconds: f64,
    /// Who was measured, with the version.
    pub contestants: Vec<(Contestant, String)>,
    /// What is missing, and why, for people.
    pub absent: Vec<String>,
    /// One for each fault and contestant, in the order in which they were run.
    pub results: Vec<Entry>,
}

/// The machine, as far as it matters.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Its system, as `linux x86_64`.
    pub system: String,
    /// Cores that the benchmark could use, the endpoints and the load included.
    pub cores: usize,
    /// Processes that ran or waited, averaged over the minute before the benchmark; where the system tells it.
    pub load_before: Option<f64>,
    /// The same over its last minute.
    pub load_after: Option<f64>,
}

/// One fault on one contestant.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The fault.
    pub fault: ZoneFault,
    /// Who had it.
    pub contestant: Contestant,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Report {
    /// The table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(HEADER);
        for row in self.results.iter().map(row) {
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}\n\n{table}\n{}", self.machine_line(), self.goal())
    }

    /// The same in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.machine_line());
        let versions: Vec<_> =
            self.contestants.iter().map(|(who, version)| format!("{who} {version}")).collect();
        let _ = writeln!(text, "Measured: {}.", versions.join(", "));
        for absent in &self.absent {
            let _ = writeln!(text, "Absent: {absent}.");
        }
        let _ = writeln!(
            text,
            "\n| {} |\n|{}",
            HEADER.join(" | "),
            "---|---|---:|---:|---:|---:|---:|---:|---:|"
        );
        for entry in &self.results {
            let _ = writeln!(text, "| {} |", row(entry).join(" | "));
        }
        let _ = writeln!(text, "\n{}", self.goal());
        text
    }

    /// A page with the results between its two marks replaced by these.
    pub fn write_into(&self, page: &str) -> Result<String, PageError> {
        let (head, rest) = page.split_once(BEGIN).ok_or(PageError(BEGIN))?;
        let (_, tail) = rest.split_once(END).ok_or(PageError(END))?;
        Ok(format!("{head}{BEGIN}\n\n{}\n{END}{tail}", self.markdown().trim_end()))
    }

    fn machine_line(&self) -> String {
        let Machine { system, cores, load_before, load_after } = &self.machine;
        let load = |load: &Option<f64>| load.map_or_else(|| "unknown".to_owned(), |it| format!("{it:.2}"));
        format!(
            "{system}, {cores} cores for everything; load average {} before and {} at the end; {} requests/s, a fault of \
             {} s.",
            load(load_before),
            load(load_after),
            self.rate_rps,
            self.fault_seconds
        )
    }

    /// Whether Tidegate lost nothing, was never slow, and nobody lost less.
    fn goal(&self) -> String {
        let usable = || self.results.iter().filter(|it| it.outcome.unusable.is_none());
        let own: Vec<_> = usable().filter(|it| it.contestant == Contestant::Tidegate).collect();
        let missed: Vec<_> = own
            .iter()
            .filter(|it| it.outcome.measures.failed + it.outcome.measures.slow > 0)
            .map(|it| it.fault.to_string())
            .collect();
        let unusable = self.results.len() - usable().count();
        let mut text = match (own.len(), missed.as_slice()) {
            (0, _) => "Goal (0 failed, 0 above 1 s): not measured.".to_owned(),
            (faults, []) => format!("Goal (0 failed, 0 above 1 s): met on {faults} of {faults} faults."),
            (_, missed) => format!("Goal (0 failed, 0 above 1 s): missed on: {}.", missed.join(", ")),
        };
        if unusable > 0 {
            let _ = write!(text, " {unusable} runs were unusable; run it again on a quiet machine.");
        }
        text
    }
}

/// A page without a place for the results.
#[derive(Debug, thiserror::Error)]
#[error("the page has no line `{0}`, so there is no place for the results; put it back")]
pub struct PageError(&'static str);

fn row(entry: &Entry) -> Vec<String> {
    let Entry { fault, contestant, outcome } = entry;
    let mut row = vec![fault.to_string(), contestant.to_string()];
    if let Some(why) = &outcome.unusable {
        row.push(format!("unusable: {why}"));
        row.resize(HEADER.len(), String::new());
        return row;
    }
    let measures = &outcome.measures;
    let or = |time: Option<Duration>, never: &str| {
        time.map_or_else(|| never.to_owned(), |it| Millis(it).to_string())
    };
    row.extend([
        measures.failed.to_string(),
        measures.slow.to_string(),
        or(measures.rto, "never"),
        Millis(measures.p99).to_string(),
        Millis(measures.max).to_string(),
        or(measures.time_to_failback, "not seen"),
        format!("{} + {}", measures.moves.away, measures.moves.back),
    ]);
    row
}
