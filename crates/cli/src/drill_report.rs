//! A drill on the terminal, while it runs and at its end.

use crate::table;
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};
use tidegate_drill::{
    course::Phase,
    report::{Report, html, junit, markdown},
    run::Progress,
};

/// Between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Objectives and measures as tables.
    Text,
    Html,
    Json,
    Junit,
    Md,
}

impl Form {
    /// By the end of a file's name.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        Ok(match path.extension().and_then(|end| end.to_str()) {
            Some("html") => Self::Html,
            Some("json") => Self::Json,
            Some("xml") => Self::Junit,
            Some("md") => Self::Md,
            Some("txt") => Self::Text,
            _ => bail!(
                "{}: no form of a report is known by this end\n  hint: end it in .html, .json, .xml (JUnit), .md or .txt",
                path.display()
            ),
        })
    }

    pub(crate) fn text(self, report: &Report) -> Result<String> {
        Ok(match self {
            Self::Text => text(report),
            Self::Html => html(report),
            Self::Json => serde_json::to_string_pretty(report)? + "\n",
            Self::Junit => junit(report),
            Self::Md => markdown(report),
        })
    }
}

fn text(report: &Report) -> String {
    let mut text = format!("Drill {}: {}\n", report.drill, report.verdict());
    if !report.objectives.is_empty() {
        let mut rows = table::new(&["OBJECTIVE", "MEASURED", ""]);
        for it in &report.objectives {
            let verdict = if it.passed { "met" } else { "missed" };
            rows.add_row([it.objective.clone(), it.measured.clone(), verdict.to_owned()]);
        }
        text.push_str(&format!("\n{rows}\n"));
    }
    let mut rows = table::new(&["MEASURE", "VALUE"]);
    for (what, value) in report.measures() {
        rows.add_row([what.to_owned(), value]);
    }
    if rows.row_count() > 0 {
        text.push_str(&format!("\n{rows}\n"));
    }
    if let Some(error) = &report.mend_error {
        text.push_str(&format!("\nNOT MENDED: {error}\n"));
    }
    text
}

/// Progress on standard error: one line that changes on a terminal, else a line now and then.
pub(crate) struct Shown {
    live: bool,
    phase: Option<Phase>,
    told_at: Duration,
    ended: u64,
    failed: u64,
}

impl Shown {
    pub(crate) fn new() -> Self {
        let live = std::io::stderr().is_terminal();
        Self { live, phase: None, told_at: Duration::ZERO, ended: 0, failed: 0 }
    }

    pub(crate) fn progress(&mut self, now: &Progress) {
        self.ended += now.ended;
        self.failed += now.failed;
        let is_new = self.phase != Some(now.phase);
        if !self.live && !is_new && now.elapsed < self.told_at + BETWEEN_LINES {
            return;
        }
        let line = self.line(now);
        let mut err = std::io::stderr().lock();
        // Who closed standard error does not want to see it.
        let _ = if self.live {
            // The line of a phase that is over stays.
            let end = if is_new && self.phase.is_some() { "\n" } else { "" };
            write!(err, "{end}\r\x1b[2K{line}").and_then(|()| err.flush())
        } else {
            writeln!(err, "{line}")
        };
        self.phase = Some(now.phase);
        self.told_at = now.elapsed;
        if !self.live || now.ended > 0 {
            (self.ended, self.failed) = (0, 0);
        }
    }

    fn line(&self, now: &Progress) -> String {
        let phase = match now.phase {
            Phase::Checking => "checking",
            Phase::Steady => "steady",
            Phase::Fault => "FAULT",
            Phase::Mending => "mending",
            Phase::Watching => "watching",
            Phase::Done => "done",
        };
        let left =
            now.left.map(|left| format!(", {:.0} s left", left.as_secs_f64().ceil())).unwrap_or_default();
        let good = match self.ended {
            0 => "no answers".to_owned(),
            #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
            ended => format!("{:.1} % good", (ended - self.failed) as f64 * 100.0 / ended as f64),
        };
        format!(
            "{:>7.1} s  {phase:<8}  {good}, {} failed so far{left}",
            now.elapsed.as_secs_f64(),
            now.failed_so_far
        )
    }

    pub(crate) fn end(&self, report: &Report) {
        let end = if self.live && self.phase.is_some() { "\n" } else { "" };
        let _ = writeln!(std::io::stderr(), "{end}{}", report.verdict());
    }
}
