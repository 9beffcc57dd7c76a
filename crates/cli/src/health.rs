//! `tidegate health`: one question to an admin address of this machine, for probes.

use crate::admin;
use anyhow::Result;
use clap::Parser;
use std::{net::SocketAddr, process::ExitCode};

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The admin address of an agent, a hub or an Envoy.
    #[arg(long, value_name = "ADDR", env = "TIDEGATE_ADMIN", default_value = "127.0.0.1:18001")]
    admin: SocketAddr,
    /// What is asked: /readyz or /healthz of agents and hubs, /ready of an Envoy.
    #[arg(long, default_value = "/readyz")]
    path: String,
}

/// Exit code 0 if the answer is good.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let answer = admin::plain(args.admin, http::Method::GET, &args.path).await?;
    say!("{}", answer.trim_end());
    Ok(ExitCode::SUCCESS)
}
