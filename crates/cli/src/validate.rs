//! `tidegate validate`: everything that is wrong with manifests, for people, programs and pull requests.
//!
//! Exit codes: 0 nothing is wrong (warnings may be told), 1 something is; with `--strict` warnings count too.

mod github;
mod passed_over;
mod report;
mod sarif;

use crate::manifests::{Fleet, Manifests};
use anyhow::Result;
use clap::{Parser, ValueEnum};
use report::Report;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(after_help = "\
Exit codes: 0 nothing is wrong; 1 an error was told, or with --strict a warning; 2 the command line is wrong.

Examples:
  tidegate validate examples/two-regions
  tidegate validate --strict fleet/ us-east=clusters/use1
  tidegate validate -o sarif fleet/ > tidegate.sarif")]
pub(crate) struct Args {
    /// Folders of manifests, all read as one fleet. A folder in them that is named like a `FleetCluster` holds what is that
    /// cluster's alone; all other files are every cluster's. CLUSTER=DIR gives a folder to a cluster whatever its name.
    #[arg(value_name = "[CLUSTER=]DIR", required = true)]
    manifests: Vec<Manifests>,
    /// Fail on warnings, too.
    #[arg(long)]
    strict: bool,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
    /// Workflow commands of GitHub Actions, which annotate the lines of a pull request.
    Github,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let fleet = Fleet::read(&args.manifests);
    let report = Report::of(&fleet, &args.manifests);
    match args.output {
        Form::Text => say!("{}", report.text(&fleet)),
        Form::Json => say!("{}", serde_json::to_string_pretty(&report)?),
        Form::Sarif => say!("{}", serde_json::to_string_pretty(&sarif::log(&report.problems))?),
        Form::Github => {
            // No line at all where there is nothing to annotate.
            let lines = github::commands(&report);
            if !lines.is_empty() {
                say!("{}", lines.join("\n"));
            }
        }
    }
    let failed = report.errors > 0 || (args.strict && report.warnings > 0);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A path as it is seen from the current folder, if it lies below it: what annotations and code scanning ask for.
fn from_here(path: &str) -> &str {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| std::path::Path::new(path).strip_prefix(here).ok()?.to_str());
    below.filter(|below| !below.is_empty()).unwrap_or(path).trim_start_matches("./")
}
