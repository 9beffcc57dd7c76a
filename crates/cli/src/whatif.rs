//! `tidegate whatif`: what would be if places were lost, from the manifests of a whole fleet.
//!
//! Exit codes: 0 it holds, 1 somebody is stranded, down already, or above 100 %, 2 the question cannot be answered.

mod files;
mod print;

use crate::admin::Output;
use anyhow::{Result, bail};
use clap::Parser;
use files::Manifests;
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode, str::FromStr};
use tidegate_engine::{
    Clients, Contingency, Finding, FleetState, Lint, Location, contingency, lint, n_minus_1, n_minus_2,
};

#[derive(Debug, Parser)]
#[command(after_help = "\
Exit codes: 0 it holds; 1 somebody would be stranded or a pool above 100 %; 2 the question cannot be answered.

Examples:
  tidegate whatif --manifests examples/two-regions
  tidegate whatif --manifests examples/two-regions --lose region/us-east
  tidegate whatif --manifests fleet/ us-east=clusters/use1 us-west=clusters/usw2 --pairs")]
pub(crate) struct Args {
    /// A folder of the whole fleet's manifests. A folder in it that is named like a `FleetCluster` holds what is that
    /// cluster's alone; all other files are every cluster's. CLUSTER=DIR gives a folder to a cluster whatever its name.
    #[arg(long, value_name = "[CLUSTER=]DIR", required = true, num_args = 1..)]
    manifests: Vec<Manifests>,
    /// What is lost: zone/REGION/ZONE, zone/ZONE, cluster/NAME or region/NAME. Given several times, all at once.
    /// Without it, each place of the fleet in turn.
    #[arg(long, value_name = "LOCATION")]
    lose: Vec<String>,
    /// Each pair of places in turn (N-2), instead of each place.
    #[arg(long, conflicts_with = "lose")]
    pairs: bool,
    /// Where the clients go that came in at what is lost.
    #[arg(long, value_enum, default_value_t = ClientsArg::Move)]
    clients: ClientsArg,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ClientsArg {
    /// To the nearest place that is left, as load balancers and DNS send them.
    Move,
    /// Nowhere: they are lost with it.
    Gone,
}

/// What programs read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    holds: bool,
    findings: &'a [Finding],
    contingencies: Vec<Judged<'a>>,
}

#[derive(Serialize)]
struct Judged<'a> {
    holds: bool,
    #[serde(flatten)]
    contingency: &'a Contingency,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match answer(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", crate::told(&error));
            ExitCode::from(2)
        }
    }
}

fn answer(args: &Args) -> Result<bool> {
    let state = files::load(&args.manifests)?;
    let lose = locations(&args.lose, &state)?;
    let clients = match args.clients {
        ClientsArg::Move => Clients::Move,
        ClientsArg::Gone => Clients::Gone,
    };
    let contingencies = if !lose.is_empty() {
        vec![contingency(&state, &lose, clients)]
    } else if args.pairs {
        n_minus_2(&state, clients, tidegate_engine::MAX_PAIRS)
    } else {
        n_minus_1(&state, clients)
    };
    let findings = lint(&state);
    let down_now = findings.iter().any(|it| matches!(it.lint, Lint::DownNow { .. } | Lint::NoEndpoints));
    let holds = !down_now && contingencies.iter().all(Contingency::holds);
    match args.output {
        Output::Json => {
            let judged = |it| Judged { holds: Contingency::holds(it), contingency: it };
            let contingencies = contingencies.iter().map(judged).collect();
            println!(
                "{}",
                serde_json::to_string_pretty(&Answer { holds, findings: &findings, contingencies })?
            );
        }
        Output::Table => {
            let text = match contingencies.as_slice() {
                [one] if !lose.is_empty() => print::one(one),
                all => print::all(&state, all, args.pairs),
            };
            println!(
                "{text}{}\n{}",
                print::findings(&findings),
                print::verdict(&contingencies, holds, down_now)
            );
        }
    }
    Ok(holds)
}

/// The places that are named, if the fleet has them.
fn locations(names: &[String], state: &FleetState) -> Result<Vec<Location>> {
    let known: Vec<Location> = state.locations().into_iter().collect();
    names.iter().map(|name| location(name, &known)).collect()
}

fn location(name: &str, known: &[Location]) -> Result<Location> {
    if let Some(found) = Location::from_str(name).ok().filter(|it| known.contains(it)) {
        return Ok(found);
    }
    // A zone's name is mostly unique by itself.
    let by_zone: Vec<&Location> = known
        .iter()
        .filter(|it| matches!(it, Location::Zone(at) if name.strip_prefix("zone/") == Some(at.zone.as_str())))
        .collect();
    if let [one] = by_zone.as_slice() {
        return Ok((*one).clone());
    }
    let texts: Vec<String> = known.iter().map(ToString::to_string).collect();
    let nearest = tidegate_api::nearest_first(name, texts.iter().map(String::as_str));
    let list = nearest.iter().take(20).map(|it| format!("\n    {it}")).collect::<String>();
    match by_zone.len() {
        0 => bail!("the fleet has no {name:?}\n  hint: it has, the nearest name first:{list}"),
        count => bail!("{count} regions have a {name:?}\n  hint: say which:{list}"),
    }
}

impl FromStr for Manifests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            // A path may hold an equals sign; a cluster's name holds no slash.
            Some((name, folder)) if !name.contains('/') => match name.parse() {
                Ok(cluster) => Ok(Self { cluster: Some(cluster), root: PathBuf::from(folder) }),
                Err(error) => Err(format!("{error}; write CLUSTER=DIR or DIR")),
            },
            _ => Ok(Self { cluster: None, root: PathBuf::from(text) }),
        }
    }
}
