//! `tidegate drill list`, `show`, `report`, `trend`, `key` and `hand-over`: what the hub keeps of drills.

use crate::{
    admin::{HubDoor, encoded},
    cluster::Options,
    drill_report::Form,
    drill_signed::{Checked, Signed},
    screen::Screen,
    table,
};
use anyhow::{Context, Result, bail};
use clap::Parser;
use comfy_table::Table;
use std::{fs, path::PathBuf, process::ExitCode};
use tidegate_drill::{
    report::{Report, percent},
    trend::{Run, Trend, sparkline, trends},
};
use tidegate_hub::view::{DrillKeysView, DrillView};

#[derive(Debug, Parser)]
pub(crate) struct ListArgs {
    /// Only the runs of this drill, NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    drill: Option<String>,
    /// So many, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Parser)]
pub(crate) struct ShowArgs {
    /// The drill's id, or the beginning of it
    id: String,
    #[command(flatten)]
    door: HubDoor,
}

#[derive(Debug, Parser)]
pub(crate) struct ReportArgs {
    /// The drill's id, or the beginning of it
    id: String,
    /// The form of the report; JSON and HTML are signed
    #[arg(short, long, value_enum, default_value_t = Form::Html)]
    output: Form,
    #[command(flatten)]
    door: HubDoor,
}

#[derive(Debug, Parser)]
pub(crate) struct TrendArgs {
    /// The drill, NAMESPACE/NAME
    drill: String,
    /// So many runs at most, the newest among them
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=1000))]
    runs: u32,
    /// End with exit code 1 if the newest run is a regression
    #[arg(long)]
    fail_on_regression: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Parser)]
pub(crate) struct KeyArgs {
    #[command(flatten)]
    door: HubDoor,
}

#[derive(Debug, Parser)]
pub(crate) struct HandOverArgs {
    /// The report as JSON, as `tidegate drill run -o json` writes it
    file: PathBuf,
    #[command(flatten)]
    door: HubDoor,
}

pub(crate) async fn list(args: &ListArgs) -> Result<()> {
    let views = drills(&args.options.door, args.drill.as_deref(), args.limit).await?;
    if let Some(text) = args.options.output.document(&views)? {
        say!("{}", text.trim_end());
        return Ok(());
    }
    say!("{}", table::shown(&kept_table(&views), Screen::stdout()));
    Ok(())
}

/// The reports that are kept.
pub(crate) fn kept_table(views: &[DrillView]) -> Table {
    let mut rows =
        table::new(&["ID", "DRILL", "TARGET", "STARTED", "VERDICT", "RTO", "ERRORS", "OBJECTIVES", "BY"]);
    for it in views {
        rows.add_row([
            it.id.clone(),
            it.drill.clone(),
            it.target.clone(),
            it.started_at.clone(),
            verdict(it),
            it.rto_ms.map_or_else(|| "-".to_owned(), |ms| tidegate_drill::trend::Kind::Rto.text(ms)),
            it.error_rate.map_or_else(|| "-".to_owned(), percent),
            format!("{}/{}", it.objectives_met, it.objectives),
            it.handed_over_by.clone(),
        ]);
    }
    rows
}

fn verdict(it: &DrillView) -> String {
    match (it.passed, it.ending.as_str()) {
        (true, _) => "passed".to_owned(),
        (false, "completed") => "failed".to_owned(),
        (false, "notStarted") => "not started".to_owned(),
        (false, ending) => ending.to_owned(),
    }
}

pub(crate) async fn drills(door: &HubDoor, drill: Option<&str>, limit: u32) -> Result<Vec<DrillView>> {
    let drill = drill.map(|it| format!("&drill={}", encoded(it))).unwrap_or_default();
    door.get(&format!("/api/v1/drill-reports?limit={limit}{drill}")).await
}

/// What is kept, with its signature as the hub believes it now.
pub(crate) async fn kept(door: &HubDoor, id: &str) -> Result<Checked> {
    let text = door.text(&format!("/api/v1/drill-reports/{}", encoded(id))).await?;
    let keys = keys(door).await?;
    Signed::read(&text)?.check(&keys).context("the hub gave a report that is not what it signed")
}

/// The keys that the hub signs reports with.
pub(crate) async fn keys(door: &HubDoor) -> Result<Vec<tidegate_link::hub::PolicyKey>> {
    let view: DrillKeysView = door.get("/api/v1/drill-keys").await?;
    Ok(tidegate_link::hub::keys_of_pem(&view.keys.concat())?)
}

pub(crate) async fn show(args: &ShowArgs) -> Result<()> {
    let checked = kept(&args.door, &args.id).await?;
    say!("{}", Form::Text.text(&checked.report)?.trim_end());
    say!("\n{}: {}", checked.report.id, checked.signature);
    Ok(())
}

pub(crate) async fn report(args: &ReportArgs) -> Result<()> {
    let checked = kept(&args.door, &args.id).await?;
    say!("{}", checked.text(args.output)?.trim_end());
    Ok(())
}

pub(crate) async fn key(args: &KeyArgs) -> Result<()> {
    let view: DrillKeysView = args.door.get("/api/v1/drill-keys").await?;
    say!("{}", view.keys.concat().trim_end());
    Ok(())
}

pub(crate) async fn hand_over_file(args: &HandOverArgs) -> Result<()> {
    let text =
        fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let checked = handed_over(&args.door, text).await?;
    say!("{} is kept: {}", checked.report.id, checked.signature);
    Ok(())
}

async fn handed_over(door: &HubDoor, text: String) -> Result<Checked> {
    let signed = door.send_text("/api/v1/drill-reports", text).await?;
    let keys = keys(door).await?;
    Signed::read(&signed)?.check(&keys).context("the hub's answer is not what it signed")
}

/// Hands a report over after a drill. One that cannot be is written to a file, and said; the drill's outcome stays what it is.
pub(crate) async fn hand_over(door: &HubDoor, report: &Report) -> Option<Checked> {
    let text = match serde_json::to_string(report) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("error: the report cannot be written as JSON: {error}");
            return None;
        }
    };
    match handed_over(door, text.clone()).await {
        Ok(checked) => {
            eprintln!("the hub keeps the report {}: {}", report.id, checked.signature);
            Some(checked)
        }
        Err(error) => {
            let path = PathBuf::from(format!("{}.json", report.id));
            let told = crate::told(&error);
            match fs::write(&path, text) {
                Ok(()) => eprintln!(
                    "error: the report could not be handed to the hub, and is in {0}: {told}\n  hint: tidegate drill hand-over {0}",
                    path.display()
                ),
                Err(write) => eprintln!(
                    "error: the report could not be handed to the hub: {told}\nerror: nor written to {}: {write}",
                    path.display()
                ),
            }
            None
        }
    }
}

pub(crate) async fn trend(args: &TrendArgs) -> Result<ExitCode> {
    let mut views = drills(&args.options.door, Some(&args.drill), 1000).await?;
    // What was never broken has nothing to compare, and another target is another drill.
    views.retain(|it| it.error_rate.is_some());
    let Some(target) = views.first().map(|it| it.target.clone()) else {
        bail!("no run of the drill {} broke anything\n  hint: tidegate drill list", args.drill);
    };
    views.retain(|it| it.target == target);
    views.truncate(args.runs as usize);
    views.reverse();
    let run = |it: &DrillView| Run {
        rto_ms: it.rto_ms,
        error_rate: it.error_rate,
        stable_recovery_ms: it.stable_recovery_ms,
    };
    let found = trends(&views.iter().map(run).collect::<Vec<_>>());
    let regressed = found.iter().any(|it| it.regression);
    let runs: Vec<&str> = views.iter().map(|it| it.id.as_str()).collect();
    let document = serde_json::json!({
        "drill": args.drill, "target": target, "runs": runs, "regression": regressed, "trends": found
    });
    match args.options.output.document(&document)? {
        Some(text) => say!("{}", text.trim_end()),
        None => print(args, &target, views.len(), &found),
    }
    Ok(if regressed && args.fail_on_regression { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(args: &TrendArgs, target: &str, runs: usize, found: &[Trend]) {
    say!("{} of {target}, {runs} runs", args.drill);
    let mut rows = table::new(&["MEASURE", "RUNS", "NEWEST", "MEDIAN BEFORE", "DEVIATION", ""]);
    for it in found {
        let text = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |it_| it.measure.text(it_));
        let word = match (it.regression, it.median) {
            (true, _) => "REGRESSION",
            (false, Some(_)) => "as before",
            (false, None) => "too few values before",
        };
        rows.add_row([
            it.measure.name().to_owned(),
            sparkline(&it.values),
            it.newest.map_or_else(|| "not recovered".to_owned(), |value| it.measure.text(value)),
            text(it.median),
            text(it.deviation),
            word.to_owned(),
        ]);
    }
    say!("{rows}");
}
