//! `tidegate demo`.

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::{
    io::IsTerminal,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tidegate_lab::{
    demo::{self, Course, DemoError, DemoOptions},
    fleet::Binaries,
};

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The Envoy binary [default: `envoy` on PATH]
    #[arg(long, value_name = "PATH", env = "TIDEGATE_ENVOY")]
    envoy: Option<PathBuf>,
    /// Show a whole fleet: a hub, and an edge cluster in front of three clusters in two regions, with mutual TLS. The hub dies
    /// first; without it a zone, a link and a region are lost and come back. Linux only.
    #[arg(long)]
    fleet: bool,
    /// Write all measurements to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the fleet running at the end, until Ctrl-C, and print what there is to try.
    #[arg(long)]
    keep: bool,
    /// Lose nothing by itself: run the fleet until Ctrl-C, and let `tidegate drill run FILE --lab ADDR` break it by this address
    /// of loopback.
    #[arg(long, value_name = "ADDR", value_parser = loopback, conflicts_with_all = ["json", "keep", "rate", "post"])]
    admin: Option<SocketAddr>,
    /// Requests per second on each edge.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Send POST instead of GET: requests that must never be repeated.
    #[arg(long)]
    post: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let envoy = match args.envoy {
        Some(path) if path.is_file() => path,
        Some(path) => bail!("there is no Envoy at {}\n  hint: `cargo xtask envoy` fetches one and prints its path", path.display()),
        None => on_path(Path::new("envoy")).context("no Envoy named and none on PATH\n  hint: --envoy PATH; or run `cargo xtask demo`, which fetches one")?,
    };
    let binaries = Binaries { tidegate: std::env::current_exe().context("where this program lies")?, envoy };
    let stdout = std::io::stdout();
    if args.fleet && !cfg!(target_os = "linux") {
        bail!(
            "--fleet needs Linux, where each gateway has a loopback address of its own\n  hint: without it the demo runs here, too"
        );
    }
    let options = DemoOptions {
        course: if args.fleet { Course::Fleet } else { Course::Regions },
        json: args.json,
        keep: args.keep,
        rate_rps: args.rate,
        post: args.post,
        live: stdout.is_terminal(),
        ..DemoOptions::new(binaries)
    };
    if let Some(admin) = args.admin {
        return match demo::serve(options, admin, &mut std::io::stdout()).await {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(DemoError::Interrupted) => Ok(ExitCode::from(130)),
            Err(error) => Err(error.into()),
        };
    }
    match demo::run(options, &mut std::io::stdout()).await {
        Ok(report) if report.passed => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::FAILURE),
        // What a shell expects of a program that was interrupted.
        Err(DemoError::Interrupted) => Ok(ExitCode::from(130)),
        Err(error) => Err(error.into()),
    }
}

/// Whoever reaches a lab's address may break its fleet.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().map_err(|_| "write an address and a port: 127.0.0.1:18200")?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("a lab is reached on loopback only: 127.0.0.1:18200".to_owned())
}

/// Where the shell would find a program.
pub(crate) fn on_path(name: &Path) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
