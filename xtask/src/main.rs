//! The commands of this project's developers: `cargo xtask COMMAND`.
//!
//! Everything that takes more than one plain cargo command to do lies here, so that a laptop and CI do the same.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks on its terminal")]

mod bench;
mod bench_agent;
mod bench_discovery;
mod bench_failover;
mod bench_fleet;
mod bench_load;
mod bench_probe;
mod bench_xds;
mod charts;
mod ci;
mod command;
mod demo;
mod deps;
mod envoy;
mod floors;
mod grpcio;
mod incidents;
mod licence;
mod metadata;
mod packages;
mod progress;
mod schemathesis;
mod setup;
mod soak;
mod table;
mod test;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Build, test and demo commands of Tidegate.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a fleet on this machine with `tidegate demo` (built in release mode)
    Demo {
        #[command(flatten)]
        envoy: EnvoyChoice,
        /// Arguments of `tidegate demo`, after `--`
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Find or fetch Envoy, and print where it is
    Envoy(EnvoyChoice),
    /// Run all tests, or those that the arguments (of cargo nextest) choose
    Test {
        #[command(flatten)]
        envoy: EnvoyChoice,
        /// Arguments of cargo nextest (of cargo test, where nextest is missing)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check format, lints, dependencies and tests, as CI does
    Ci(EnvoyChoice),
    /// Check licences, banned and doubled crates, sources, and which crate may use which
    Deps,
    /// Install the system packages that the tests need
    Setup,
    /// Draw the simulated incidents of docs/decision.md anew
    Incidents,
    /// Test for as long as it takes, with many more cases than CI draws
    #[command(subcommand)]
    Soak(soak::Soak),
    /// Run the benchmarks and show their results
    Bench {
        /// A benchmark target (planner, instructions, eds), or a part of a benchmark's name; `sim` for whole fleets up to
        /// 10^6 endpoints, `probe` for health checks beside Envoy's, `xds` for 1,000 streams, `agent` for
        /// one with 10,000 services, `fleet` for a hub with 1,000 agents and an agent with 100 peers, `page` for a hub whose
        /// page fifty people look at, `load` for the load of drills, `discovery` for an agent with 100,000 endpoints of a Kubernetes API, `failover` for faults of a zone beside other proxies
        name: Option<String>,
        /// Write the results to this file too, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Write the results into docs/benchmarks.md (`failover` only)
        #[arg(long)]
        write: bool,
        /// Arguments of the benchmark, after `--`: `failover` takes --only NAMES, --faults NAMES, --rate N and more, `fleet`
        /// --agents N, --peers N, --changes N, --seconds N and --away SECONDS, `page` --clusters N, --teams N and --seconds N,
        /// `load` --rate N and --seconds N
        #[arg(last = true)]
        args: Vec<String>,
    },
}

#[derive(Args)]
struct EnvoyChoice {
    /// Use this Envoy; else TIDEGATE_ENVOY, the one on PATH, or one that is fetched
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
}

impl EnvoyChoice {
    fn find(self, root: &Path) -> Result<PathBuf> {
        envoy::find(self.envoy, root)
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let root = root()?;
    match command {
        Command::Demo { envoy, args } => demo::run(&root, &envoy.find(&root)?, &args),
        Command::Envoy(envoy) => {
            println!("{}", envoy.find(&root)?.display());
            Ok(())
        }
        Command::Test { envoy, args } => test::run(&root, &envoy.find(&root)?, &args).map(|totals| {
            println!("{totals}");
        }),
        Command::Ci(envoy) => ci::run(&root, || envoy.find(&root)),
        Command::Deps => deps::run(&root),
        Command::Setup => setup::run(),
        Command::Incidents => incidents::run(&root),
        Command::Soak(what) => soak::run(&root, &what),
        Command::Bench { name: Some(name), json, write, args } if name == bench_failover::NAME => {
            bench_failover::run(&root, &envoy::find(None, &root)?, json.as_deref(), write, &args)
        }
        Command::Bench { name: Some(name), json, write: false, args } if name == bench_load::NAME => {
            bench_load::run(&root, json.as_deref(), &args)
        }
        Command::Bench { name: Some(name), json, write: false, args }
            if [bench_fleet::NAME, bench_fleet::PAGE].contains(&&*name) =>
        {
            bench_fleet::run(&root, &name, json.as_deref(), &args)
        }
        Command::Bench { write, args, .. } if write || !args.is_empty() => {
            bail!("--write and arguments after `--` belong to `bench {}`", bench_failover::NAME)
        }
        Command::Bench { name: Some(name), json, .. } if name == bench_agent::NAME => {
            bench_agent::run(&root, &envoy::find(None, &root)?, json.as_deref())
        }
        Command::Bench { name: Some(name), json, .. } if name == bench_discovery::NAME => {
            if json.is_some() {
                bail!("`bench {}` prints its results only; leave --json out", bench_discovery::NAME);
            }
            bench_discovery::run(&root, &envoy::find(None, &root)?)
        }
        Command::Bench { name: Some(name), json, .. } if name == bench_probe::NAME => {
            bench_probe::run(&root, &envoy::find(None, &root)?, json.as_deref())
        }
        Command::Bench { name, json, .. } if name.as_deref() == Some("xds") => {
            bench_xds::run(&root, json.as_deref())
        }
        Command::Bench { name, json, .. } => bench::run(&root, name.as_deref(), json.as_deref()),
    }
}

/// The workspace's folder. Cargo says it at run time; a binary that is started by hand falls back to where it was built.
fn root() -> Result<PathBuf> {
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = own.parent().context("xtask lies in no workspace; run it as `cargo xtask`")?;
    Ok(root.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::fs;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_behind_two_dashes_belong_to_the_demo() {
        let cli = Cli::parse_from(["xtask", "demo", "--envoy", "/e", "--", "--port", "80"]);
        let Command::Demo { envoy, args } = cli.command else { panic!("not a demo") };
        assert_eq!(envoy.envoy, Some("/e".into()));
        assert_eq!(args, ["--port", "80"]);
    }

    #[test]
    fn only_the_benchmark_of_failover_writes_a_page_and_takes_arguments() {
        let bench = |words: &[&str]| Cli::parse_from(["xtask", "bench"].iter().chain(words)).command;
        let Command::Bench { write, args, .. } = bench(&["failover", "--write", "--", "--only", "nginx"])
        else {
            panic!("not a benchmark")
        };
        assert_eq!((write, args), (true, vec!["--only".to_owned(), "nginx".to_owned()]));
        for words in [["planner", "--write"].as_slice(), &["agent", "--", "--services"], &["--write"]] {
            let error = run(bench(words)).unwrap_err().to_string();
            assert!(error.contains("belong to `bench failover`"), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_soak_draws_ten_million_cases_unless_told_otherwise() {
        let cli = Cli::parse_from(["xtask", "soak", "engine"]);
        let Command::Soak(soak::Soak::Engine { cases, .. }) = cli.command else { panic!("not a soak") };
        assert_eq!(cases, 10_000_000);
    }

    #[test]
    fn arguments_of_test_belong_to_the_test_runner() {
        let cli = Cli::parse_from(["xtask", "test", "-p", "tidegate-probe", "--nocapture"]);
        let Command::Test { args, .. } = cli.command else { panic!("not a test") };
        assert_eq!(args, ["-p", "tidegate-probe", "--nocapture"]);
    }

    #[test]
    fn every_command_that_the_pages_show_is_taken() {
        let root = root().unwrap();
        let pages = fs::read_dir(root.join("docs")).unwrap().map(|it| it.unwrap().path());
        let pages =
            pages.filter(|it| it.extension().is_some_and(|it| it == "md")).chain([root.join("README.md")]);
        let mut taken = 0;
        for page in pages {
            let text = fs::read_to_string(&page).unwrap();
            for line in text.lines().filter(|it| it.starts_with("cargo xtask ")) {
                let words = line.split(" #").next().unwrap_or_default().split_whitespace().skip(1);
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{}: {line}\n{error}", page.display());
                }
                taken += 1;
            }
        }
        assert!(taken > 3, "only {taken} were found");
    }
}
