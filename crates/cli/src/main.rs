//! The command `tidegate`.
//!
//! Exit codes: 0 done, 1 it failed (a demo, a drill: an objective was missed; whatif: it does not hold), 2 the command line is wrong.

#![allow(clippy::print_stderr, reason = "a command line talks")]

#[macro_use]
mod out;

mod access;
mod admin;
mod agent;
mod cluster;
mod demo;
mod diff;
mod drill;
mod drill_hub;
mod drill_kubernetes;
mod drill_lab;
mod drill_remote;
mod drill_report;
mod drill_schedule;
mod drill_signed;
mod envoy;
mod envoy_certificate;
mod explain;
mod get;
mod health;
mod hub;
mod install;
mod manifests;
mod manual;
mod render;
mod replay;
mod rollout;
mod screen;
mod shift;
mod simulate;
mod status;
mod stop;
mod table;
mod timeline;
mod validate;
mod view;
mod whatif;

use clap::{Parser, Subcommand};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// It gives back what it does not need: an agent that reads manifests needs several times for a moment what it keeps. How
/// soon is said in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Service-level failover as platform policy, on unmodified Envoy.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true)]
struct Cli {
    /// How much to log: error, warn, info, debug, trace, or a filter like `tidegate_agent=debug`.
    #[arg(long, global = true, env = "TIDEGATE_LOG", default_value = "info")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the local control plane of a cluster.
    Agent(Box<agent::Args>),
    /// Configure or run a gateway's Envoy.
    #[command(subcommand)]
    Envoy(envoy::Command),
    /// Print the manifests that install Tidegate in a Kubernetes cluster.
    #[command(subcommand)]
    Install(install::Command),
    /// Ask whether an agent, a hub or an Envoy of this machine is ready, for probes.
    Health(health::Args),
    /// Show what an agent knows: pools, plans, peers, gateways.
    Status(status::Args),
    /// List services, pools, gateways, clusters, shifts or drills, with filters.
    #[command(subcommand)]
    Get(get::Command),
    /// Say why a service's traffic goes where it goes.
    Explain(explain::Args),
    /// Tell what was decided, and when.
    Timeline(timeline::Args),
    /// Let traffic back to a place whose policy says `failback.mode: Manual`.
    Failback(explain::FailbackArgs),
    /// Say what would be if a zone, a cluster or a region were lost, before it happens.
    Whatif(whatif::Args),
    /// Tell everything that is wrong with manifests, for a pull request's check.
    Validate(validate::Args),
    /// Tell what a change of manifests changes in plans, and in what would be if a place were lost.
    Diff(diff::Args),
    /// Write the same policy for another data plane, and tell what it cannot say.
    Render(render::Args),
    /// Feed an agent's journal to a fresh core: what it decided, and whether this version decides the same.
    Replay(replay::Args),
    /// Play a scenario against manifests in virtual time: what would happen if this broke.
    Simulate(simulate::Args),
    /// Move traffic away from a zone, a cluster or a region, for a time.
    #[command(subcommand)]
    Shift(shift::Command),
    /// Run the hub of a fleet: who belongs to it, policy out, status in.
    Hub(Box<hub::Args>),
    /// Let clusters into the fleet of a hub, show them, put one out.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Say who may ask the hub from elsewhere, and as what.
    #[command(subcommand)]
    Access(access::Command),
    /// Show how far the hub's policy is in each cluster and gateway.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Break something on purpose, measure the recovery, prove it.
    #[command(subcommand)]
    Drill(drill::Command),
    /// Start a fleet on this machine, break a zone and a region, and measure the recovery.
    Demo(demo::Args),
    /// Write the completions of a shell.
    Completions(manual::Completions),
    /// Write manual pages, one a command.
    Man(manual::Man),
}

/// A word alone is a level: as a filter it would name a part of the program, and silence all others.
fn filter(text: &str) -> Result<EnvFilter, String> {
    if !text.contains(['=', ',']) {
        text.parse::<tracing_subscriber::filter::LevelFilter>()
            .map_err(|_| "there is no such level".to_owned())?;
    }
    let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    // It calls each request that failed an error; whoever asked knows whether it is one.
    let quiet =
        "kube_client::client::builder=off".parse().map_err(|_| "a filter cannot be read".to_owned())?;
    Ok(filter.add_directive(quiet))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.command {
        // The demo draws on the terminal; its parts log to files.
        Command::Demo(_) => "warn",
        _ => cli.log.as_str(),
    };
    let filter = match filter(level) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!(
                "error: --log {level:?}: {error}\n  hint: try --log info, or --log tidegate_agent=debug"
            );
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Agent(args) => agent::run(*args).await,
            Command::Envoy(command) => envoy::run(command).await,
            Command::Install(command) => install::run(command),
            Command::Health(args) => health::run(&args).await,
            Command::Status(args) => status::run(&args).await,
            Command::Get(command) => get::run(&command).await,
            Command::Timeline(args) => timeline::run(&args).await,
            Command::Completions(args) => Ok(manual::completions::<Cli>(&args)),
            Command::Man(args) => manual::man::<Cli>(&args),
            Command::Explain(args) => explain::run(&args).await,
            Command::Failback(args) => explain::failback(&args).await,
            Command::Whatif(args) => Ok(whatif::run(&args).await),
            Command::Validate(args) => validate::run(&args),
            Command::Diff(args) => Ok(diff::run(&args).await),
            Command::Render(args) => Ok(render::run(&args)),
            Command::Replay(args) => replay::run(&args),
            Command::Simulate(args) => simulate::run(&args),
            Command::Shift(command) => shift::run(&command).await,
            Command::Hub(args) => hub::run(*args).await,
            Command::Cluster(command) => cluster::run(&command).await,
            Command::Rollout(command) => rollout::run(&command).await,
            Command::Access(command) => access::run(&command).await,
            Command::Drill(command) => drill::run(command).await,
            Command::Demo(args) => demo::run(args).await,
        }
    });
    // Threads that block on stdin must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error for people: what failed, why, and at the end what to do. Many errors name their cause in their own
/// text; nothing is said twice.
fn told(error: &anyhow::Error) -> String {
    let (mut what, mut hints) = (String::new(), String::new());
    for cause in error.chain() {
        let text = cause.to_string();
        let (text, hint) = text.find("\n  hint:").map_or((text.as_str(), ""), |at| text.split_at(at));
        if what.is_empty() {
            what.push_str(text);
        } else if !what.contains(text) {
            what = format!("{what}: {text}");
        }
        if !hints.contains(hint) {
            hints.push_str(hint);
        }
    }
    what + &hints
}
