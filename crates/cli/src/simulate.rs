//! `tidegate simulate`.

use crate::{admin::Output, table};
use anyhow::{Context, Result};
use clap::Parser;
use std::{fs, path::PathBuf, process::ExitCode};
use tidegate_sim::{Decided, Fleet, Report, Scenario, picture, simulate};

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
    let fleet = Fleet::load(&scenario.manifests)?;
    let report = simulate(&scenario, &fleet);
    if let Some(path) = &args.svg {
        fs::write(path, picture(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match args.output {
        Output::Json => say!("{}", serde_json::to_string_pretty(&report)?),
        Output::Table => print(&report),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    say!("{}\n", report.title);
    for fault in &report.faults {
        say!("{:>8.1} s to {:>6.1} s  {}", seconds(fault.at_ms), seconds(fault.until_ms), fault.what);
    }
    let measures = &report.measures;
    let time = |ms: Option<u64>, none: &str| {
        ms.map_or_else(|| none.to_owned(), |ms| format!("{:.1} s", seconds(ms)))
    };
    let mut numbers = table::new(&["MEASURE", "VALUE"]);
    numbers.add_row(["detected after".to_owned(), time(measures.detect_ms, "never")]);
    numbers.add_row(["RTO".to_owned(), time(measures.rto_ms, "none while the fault lasted")]);
    numbers.add_row(["last plan change after the end".to_owned(), time(measures.failback_ms, "none")]);
    numbers.add_row(["requests".to_owned(), format!("{:.0}", measures.offered)]);
    numbers.add_row(["failed".to_owned(), counted(measures.failed, measures.error_fraction)]);
    numbers.add_row(["failed in the worst second".to_owned(), percent(measures.worst_second)]);
    numbers.add_row(["shed".to_owned(), counted(measures.shed, measures.shed_fraction)]);
    if let Some((pool, peak)) = &measures.peak_utilisation {
        numbers.add_row(["highest utilisation".to_owned(), format!("{} ({pool})", percent(*peak))]);
    }
    say!("\n{numbers}\n");
    let mut moves = table::new(&["SERVICE", "SOURCE", "AWAY", "BACK"]);
    for it in report.moves.iter().filter(|it| it.away + it.back > 0) {
        moves.add_row([it.service.clone(), it.source.clone(), it.away.to_string(), it.back.to_string()]);
    }
    if moves.row_count() > 0 {
        say!("{moves}\n");
    }
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
