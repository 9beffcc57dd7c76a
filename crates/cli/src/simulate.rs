//! `tidegate simulate`.

use crate::{admin::Output, table};
use anyhow::{Context, Result};
use clap::Parser;
use std::{fs, path::PathBuf, process::ExitCode};
use tidegate_sim::{Decided, Report, Scenario, picture, simulate};

/// A table of decisions is for reading; the JSON has them all.
const SHOWN: usize = 40;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The scenario: manifests, demand and faults, e.g. examples/incidents/zone-loss.yaml.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Draw what happened into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let scenario = Scenario::read(&args.file)?;
    let fleet = scenario.fleet()?;
    let report = simulate(&scenario, &fleet);
    if let Some(path) = &args.svg {
        fs::write(path, picture(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match args.output.document(&report)? {
        Some(text) => say!("{}", text.trim_end()),
        None => print(&report),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    say!("{}\n", report.title);
    let mut faults = table::new(&[
        "FROM",
        "UNTIL",
        "FAULT",
        "DETECTED",
        "RTO",
        "FAILED",
        "WORST SECOND",
        "SHED",
        "AWAY",
        "BACK",
        "STABLE AGAIN",
    ]);
    let time = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", seconds(ms)));
    for fault in &report.faults {
        let it = &fault.measures;
        faults.add_row([
            format!("{:.1} s", seconds(fault.at_ms)),
            format!("{:.1} s", seconds(fault.until_ms)),
            fault.what.clone(),
            time(it.detect_ms),
            it.rto_ms.map_or_else(|| "none".to_owned(), |ms| format!("{:.1} s", seconds(ms))),
            percent(it.error_fraction),
            percent(it.worst_second),
            percent(it.shed_fraction),
            it.away.to_string(),
            it.back.to_string(),
            time(it.failback_ms),
        ]);
    }
    if report.faults.is_empty() {
        say!("no faults\n");
    } else {
        say!("{faults}\n");
    }
    let measures = &report.measures;
    let mut numbers = table::new(&["WHOLE", "VALUE"]);
    numbers.add_row(["requests".to_owned(), format!("{:.0}", measures.offered)]);
    numbers.add_row(["failed".to_owned(), counted(measures.failed, measures.error_fraction)]);
    numbers.add_row(["failed in the worst second".to_owned(), percent(measures.worst_second)]);
    numbers.add_row(["shed".to_owned(), counted(measures.shed, measures.shed_fraction)]);
    say!("{numbers}\n");
    let mut used = table::new(&["UTILISATION", "MEAN", "PEAK", "AT"]);
    for (place, it) in &report.utilisation {
        let at = format!("{:.1} s", seconds(it.peak_at_ms));
        used.add_row([place.clone(), percent(it.mean), percent(it.peak), at]);
    }
    if used.row_count() > 0 {
        say!("{used}\n");
    }
    let mut moves = table::new(&["SERVICE", "SOURCE", "AWAY", "BACK"]);
    for it in report.moves.iter().filter(|it| it.away + it.back > 0) {
        moves.add_row([it.service.clone(), it.source.clone(), it.away.to_string(), it.back.to_string()]);
    }
    if moves.row_count() > 0 {
        say!("{moves}\n");
    }
    decisions(report);
}

/// What was decided from the first fault on.
fn decisions(report: &Report) {
    let first = report.faults.iter().map(|fault| fault.at_ms).min().unwrap_or(0) * 1000;
    let after: Vec<&Decided> = report.decisions.iter().filter(|it| it.at_micros >= first).collect();
    for decided in after.iter().take(SHOWN) {
        say!("{}", line(decided));
    }
    if after.len() > SHOWN {
        say!("... and {} more decisions: -o json has them all", after.len() - SHOWN);
    }
}

/// A decision as one line.
fn line(decided: &Decided) -> String {
    let record = &decided.record;
    let at = std::time::Duration::from_micros(decided.at_micros).as_secs_f64();
    format!("{at:>8.3} s  {:<10} {}", decided.cluster, record.line())
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

fn counted(count: f64, part: f64) -> String {
    format!("{count:.1} ({})", percent(part))
}

fn percent(part: f64) -> String {
    format!("{:.3} %", part * 100.0)
}
