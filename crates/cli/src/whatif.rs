//! `tidegate whatif`: what would be if places were lost, from the manifests of a whole fleet, or as an agent, or the agents of all clusters, see it.
//!
//! Exit codes: 0 it holds, 1 somebody is stranded, down already, or above 100 %, 2 the question cannot be answered.

mod fleet;
pub(crate) mod print;

use crate::{
    admin::{AgentDoor, HubDoor, Token},
    manifests::{Fleet, Manifests},
    view::{self, Form, Shown},
};
use anyhow::{Result, anyhow, bail};
use clap::Parser;
use std::{net::SocketAddr, process::ExitCode};
use tidegate_api::fleet_state;
use tidegate_engine::{Asked, Clients, Foresight, Location, UnknownLocation, foresee};

#[derive(Debug, Parser)]
#[command(group(clap::ArgGroup::new("from").args(["manifests", "admin", "hub"]).required(true)), after_help = "\
Exit codes: 0 it holds; 1 somebody would be stranded or a pool above 100 %; 2 the question cannot be answered.

Examples:
  tidegate whatif --manifests examples/two-regions
  tidegate whatif --manifests examples/two-regions --lose region/us-east
  tidegate whatif --hub 127.0.0.1:18101 --lose zone/us-east/us-east-1a
  tidegate whatif --manifests fleet/ us-east=clusters/use1 us-west=clusters/usw2 --pairs")]
pub(crate) struct Args {
    /// A folder of the whole fleet's manifests. A folder in it that is named like a `FleetCluster` holds what is that
    /// cluster's alone; all other files are every cluster's. CLUSTER=DIR gives a folder to a cluster whatever its name.
    #[arg(long, value_name = "[CLUSTER=]DIR", num_args = 1..)]
    manifests: Vec<Manifests>,
    /// Ask the agent at this admin address instead: how things stand now, for the callers of its cluster.
    #[arg(long, value_name = "ADDR", conflicts_with = "manifests")]
    admin: Option<SocketAddr>,
    /// Ask the hub at this admin address instead: what the agents of all clusters say now, each for its own callers.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["manifests", "admin"])]
    hub: Option<SocketAddr>,
    #[command(flatten)]
    token: Token,
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
    #[command(flatten)]
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ClientsArg {
    /// To the nearest place that is left, as load balancers and DNS send them.
    Move,
    /// Nowhere: they are lost with it.
    Gone,
}

pub(crate) async fn run(args: &Args) -> ExitCode {
    match answer(args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", crate::told(&error));
            ExitCode::from(2)
        }
    }
}

async fn answer(args: &Args) -> Result<bool> {
    let clients = match args.clients {
        ClientsArg::Move => Clients::Move,
        ClientsArg::Gone => Clients::Gone,
    };
    let mut holds = false;
    if let Some(hub) = args.hub {
        let mut holds = Ok(true);
        view::show(args.form, async |screen| {
            let door = HubDoor::at(hub, args.token.clone());
            let answers: fleet::Answers = door.get(&question(args, clients)?).await?;
            let answers = answers.of_own_callers();
            holds = answers.holds();
            answers.shown(screen, !args.lose.is_empty())
        })
        .await?;
        return holds;
    }
    view::show(args.form, async |_| {
        let foresight = match args.admin {
            Some(admin) => from_agent(admin, args, clients).await?,
            None => from_manifests(args, clients)?,
        };
        holds = foresight.holds;
        let text = match foresight.contingencies.as_slice() {
            [one] if !args.lose.is_empty() => print::one(one),
            all => print::all(all, args.pairs),
        };
        let (findings, verdict) = (print::findings(&foresight.findings), print::verdict(&foresight));
        Shown::new(&foresight, format!("{text}{findings}\n{verdict}"))
    })
    .await?;
    Ok(holds)
}

/// As agents and the hub are asked it.
fn question(args: &Args, clients: Clients) -> Result<String> {
    let clients = match clients {
        Clients::Move => "move",
        Clients::Gone => "gone",
    };
    let lose = args.lose.join(",");
    // What no place is called would not be a path either.
    if let Some(bad) = lose.chars().find(|it| !(it.is_ascii_alphanumeric() || "-_./,".contains(*it))) {
        bail!("no place has {bad:?} in its name");
    }
    Ok(format!("/api/v1/contingency?clients={clients}&pairs={}&lose={lose}", args.pairs))
}

async fn from_agent(admin: SocketAddr, args: &Args, clients: Clients) -> Result<Foresight> {
    let door = AgentDoor { admin, token: args.token.clone() };
    door.get(&question(args, clients)?).await
}

fn from_manifests(args: &Args, clients: Clients) -> Result<Foresight> {
    let fleet = Fleet::read(&args.manifests);
    fleet.is_whole()?;
    let state = fleet_state(&fleet.configs());
    let lose: Result<Vec<Location>> =
        args.lose.iter().map(|name| state.location(name).map_err(|error| unknown(&error))).collect();
    let asked = match lose? {
        lose if !lose.is_empty() => Asked::Together(lose),
        _ if args.pairs => Asked::Pairs,
        _ => Asked::Each,
    };
    Ok(foresee(&state, &asked, clients))
}

fn unknown(error: &UnknownLocation) -> anyhow::Error {
    let texts: Vec<String> = error.known.iter().map(ToString::to_string).collect();
    let nearest = tidegate_api::nearest_first(&error.name, texts.iter().map(String::as_str));
    let list = nearest.iter().take(20).map(|it| format!("\n    {it}")).collect::<String>();
    anyhow!("{error}\n  hint: it has, the nearest name first:{list}")
}
