//! `tidegate rollout`: how far policy is.

use crate::{
    admin::{self, Output},
    cluster::{Options, age},
    table,
};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{net::SocketAddr, process::ExitCode};
use tidegate_hub::view::{DoneView, ObjectInCluster, ObjectState, RolloutView};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show for each object which clusters and gateways have applied it, and how old that knowledge is.
    Status(Options),
    /// Say that the hub's policy counts, although agents hold one that the hub does not know: after an older state was restored.
    Resume(Resume),
}

#[derive(Debug, Parser)]
pub(crate) struct Resume {
    /// The hub's admin address.
    #[arg(long, value_name = "ADDR", env = "TIDEGATE_HUB_ADMIN", default_value = "127.0.0.1:18101")]
    admin: SocketAddr,
}

pub(crate) async fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Status(options) => status(options).await?,
        Command::Resume(args) => {
            let answer: DoneView = admin::ask(args.admin, "/api/v1/rollout/resume").await?;
            say!("{}", answer.done);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(options: &Options) -> Result<()> {
    let rollout: RolloutView = admin::get(options.admin, "/api/v1/rollout").await?;
    if options.output == Output::Json {
        say!("{}", serde_json::to_string_pretty(&rollout)?);
        return Ok(());
    }
    match rollout.sequence {
        0 => say!("no policy yet"),
        sequence => say!("policy {sequence}, version {}", rollout.version),
    }
    let mut table = table::new(&["OBJECT", "WRITTEN AT", "SINCE", "CLUSTER", "STATE", "GATEWAYS", "AGE"]);
    let mut reasons = Vec::new();
    for object in &rollout.objects {
        for it in &object.clusters {
            if let ObjectState::Rejected(why) = &it.state {
                reasons.push(format!("{}: {why}", it.cluster));
            }
            table.add_row([
                object.object.clone(),
                object.place.clone(),
                object.since.to_string(),
                it.cluster.to_string(),
                word(&it.state).to_owned(),
                gateways(it),
                age(it.age_ms),
            ]);
        }
    }
    say!("{table}");
    for reason in reasons {
        say!("{reason}");
    }
    for problem in &rollout.problems {
        say!("{problem}");
    }
    Ok(())
}

const fn word(state: &ObjectState) -> &'static str {
    match state {
        ObjectState::Applied => "applied",
        ObjectState::Rejected(_) => "rejected",
        ObjectState::Pending => "pending",
        ObjectState::Unknown => "unknown",
    }
}

fn gateways(it: &ObjectInCluster) -> String {
    format!("{}/{}", it.gateways_applied, it.gateways)
}
