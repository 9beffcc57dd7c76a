//! The results: as a table on the terminal, as JSON, and as a part of a page. Pure.

use super::{Layout, contestant::Contestant, course::Outcome, fault::ZoneFault};
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
    /// Which places there were.
    pub layout: Layout,
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
        let mut text = self.machine_line();
        for (layout, entries) in self.layouts() {
            let mut table = Table::new();
            table.load_style(UTF8_FULL_CONDENSED).set_header(HEADER);
            for row in entries.into_iter().map(row) {
                table.add_row(row);
            }
            for column in table.column_iter_mut().skip(2) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            let _ = write!(text, "\n\n{layout}\n{table}");
        }
        format!("{text}\n{}", self.goal())
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
        for (layout, entries) in self.layouts() {
            let rule = "---|---|---:|---:|---:|---:|---:|---:|---:|";
            let _ = writeln!(text, "\n#### {layout}\n\n| {} |\n|{rule}", HEADER.join(" | "));
            for entry in entries {
                let _ = writeln!(text, "| {} |", row(entry).join(" | "));
            }
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

    /// The results of each layout that was measured.
    fn layouts(&self) -> Vec<(Layout, Vec<&Entry>)> {
        let of = |layout| self.results.iter().filter(|it| it.layout == layout).collect::<Vec<_>>();
        let all = Layout::ALL.map(|layout| (layout, of(layout)));
        all.into_iter().filter(|(_, entries)| !entries.is_empty()).collect()
    }

    fn machine_line(&self) -> String {
        let Machine { system, cores, load_before, load_after } = &self.machine;
        let late = self.results.iter().filter(|it| it.outcome.unusable.is_none());
        let late = late.map(|it| it.outcome.late_ms).fold(0.0, f64::max);
        let load = |load: &Option<f64>| load.map_or_else(|| "unknown".to_owned(), |it| format!("{it:.2}"));
        format!(
            "{system}, {cores} cores for everything; load average {} before and {} at the end; {} requests/s, a fault of \
             {} s; the load generator was late by at most {late:.0} ms.",
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
            .map(|it| format!("{} ({})", it.fault, it.layout.name()))
            .collect();
        let unusable: Vec<_> = self.results.iter().filter_map(unusable_because).collect();
        let mut text = match (own.len(), missed.as_slice()) {
            (0, _) => "Goal (0 failed, 0 above 1 s): not measured.".to_owned(),
            (faults, []) => format!("Goal (0 failed, 0 above 1 s): met on {faults} of {faults} faults."),
            (_, missed) => format!("Goal (0 failed, 0 above 1 s): missed on: {}.", missed.join(", ")),
        };
        if !unusable.is_empty() {
            let _ = write!(text, " Unusable: {}.", unusable.join("; "));
        }
        text
    }
}

/// A page without a place for the results.
#[derive(Debug, thiserror::Error)]
#[error("the page has no line `{0}`, so there is no place for the results; put it back")]
pub struct PageError(&'static str);

fn unusable_because(entry: &Entry) -> Option<String> {
    let why = entry.outcome.unusable.as_ref()?;
    Some(format!("{} ({}) with {}, {why}", entry.fault, entry.layout.name(), entry.contestant))
}

fn row(entry: &Entry) -> Vec<String> {
    let Entry { fault, contestant, outcome, .. } = entry;
    let mut row = vec![fault.to_string(), contestant.to_string()];
    if outcome.unusable.is_some() {
        row.push("unusable".to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Measures, Moves};

    fn entry(fault: ZoneFault, contestant: Contestant, failed: u64, unusable: Option<&str>) -> Entry {
        let measures = Measures {
            time_to_detect: None,
            rto: (failed == 0).then_some(Duration::ZERO),
            cut_over: Duration::from_secs(1),
            cut_over_requests: 200,
            cut_over_failed: failed,
            cut_over_error_rate: 0.0,
            p50: Duration::from_millis(1),
            p99: Duration::from_micros(87_300),
            max: Duration::from_millis(204),
            requests: 1000,
            failed,
            overload: 0,
            slow: 0,
            failures: std::collections::BTreeMap::new(),
            time_to_failback: (failed == 0).then(|| Duration::from_millis(50_250)),
            moves: Moves { away: 1, back: 1 },
        };
        let unusable = unusable.map(str::to_owned);
        Entry {
            layout: Layout::Zones,
            fault,
            contestant,
            outcome: Outcome { measures, late_ms: 1.5, unusable },
        }
    }

    fn report(results: Vec<Entry>) -> Report {
        Report {
            machine: Machine {
                system: "linux x86_64".to_owned(),
                cores: 2,
                load_before: Some(0.25),
                load_after: None,
            },
            rate_rps: 200,
            fault_seconds: 7.0,
            contestants: vec![(Contestant::Tidegate, "0.1.0".to_owned())],
            absent: vec!["nginx, which is not installed".to_owned()],
            results,
        }
    }

    #[test]
    fn the_page_says_who_was_there_and_what_was_measured() {
        let killed = ZoneFault::Killed;
        let report = report(vec![
            entry(killed, Contestant::Tidegate, 0, None),
            entry(killed, Contestant::HaProxy, 12, None),
            entry(killed, Contestant::Envoy, 0, Some("the load generator was late by 80 ms")),
        ]);
        let page = format!("# Benchmarks\n\n{BEGIN}\nold\n{END}\nmore\n");
        let expected = "\
# Benchmarks

<!-- results of failover: begin -->

linux x86_64, 2 cores for everything; load average 0.25 before and unknown at the end; 200 requests/s, a fault of 7 s; the load generator was late by at most 2 ms.

Measured: Tidegate + Envoy 0.1.0.
Absent: nginx, which is not installed.

#### Two zones of a cluster

| fault |  | failed | above 1 s | RTO | p99 in cut-over | longest | back after | moves |
|---|---|---:|---:|---:|---:|---:|---:|---:|
| killed | Tidegate + Envoy | 0 | 0 | 0 ms | 87.3 ms | 204.0 ms | 50.25 s | 1 + 1 |
| killed | HAProxy | 12 | 0 | never | 87.3 ms | 204.0 ms | not seen | 1 + 1 |
| killed | Envoy alone | unusable |  |  |  |  |  |  |

Goal (0 failed, 0 above 1 s): met on 1 of 1 faults. Unusable: killed (zones) with Envoy alone, the load generator was late by 80 ms.
<!-- results of failover: end -->
more
";
        assert_eq!(report.write_into(&page).unwrap(), expected);
        let again = report.write_into(expected).unwrap();
        assert_eq!(again, expected, "writing twice changes nothing");
    }

    #[test]
    fn a_page_without_its_marks_is_left_alone() {
        let error = report(Vec::new()).write_into("# Benchmarks\n").unwrap_err().to_string();
        assert!(error.contains(BEGIN), "{error}");
    }

    #[test]
    fn the_goal_is_judged_by_usable_runs_of_tidegate_alone() {
        let frozen = ZoneFault::Frozen;
        let goal = |results| report(results).goal();
        assert!(goal(vec![entry(frozen, Contestant::Nginx, 0, None)]).contains("not measured"));
        let missed = goal(vec![entry(frozen, Contestant::Tidegate, 3, None)]);
        assert_eq!(missed, "Goal (0 failed, 0 above 1 s): missed on: frozen (zones).");
        let unusable = goal(vec![entry(frozen, Contestant::Tidegate, 3, Some("busy"))]);
        assert_eq!(
            unusable,
            "Goal (0 failed, 0 above 1 s): not measured. Unusable: frozen (zones) with Tidegate + Envoy, busy."
        );
    }
}
