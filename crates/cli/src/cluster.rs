//! `tidegate cluster`: who belongs to the fleet.

use crate::{
    admin::{HubDoor, Output, encoded},
    hub::duration,
    screen::Screen,
    table,
};
use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use comfy_table::Table;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use tidegate_hub::view::{ClusterView, DoneView, KnowledgeView, TokenView};
use tidegate_model::ClusterName;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token with which the agent of one cluster joins, once.
    JoinToken(JoinToken),
    /// Show the clusters and how the hub knows them.
    List(Options),
    /// Show what the hub knows of a cluster: where its requests go if not to where they enter, and what was decided last.
    Show(Show),
    /// Put a cluster out: its certificates are revoked and its streams end. Its agent goes on with the policy that it has.
    Revoke(Revoke),
}

/// Which hub is asked, and in which form the answer is printed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) door: HubDoor,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Parser)]
pub(crate) struct Show {
    /// The cluster.
    cluster: ClusterName,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Parser)]
pub(crate) struct JoinToken {
    /// The cluster that it is for.
    cluster: ClusterName,
    /// How long it is good for, as 1h or 30m; at most 168h.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    ttl: String,
    /// The state folder of a hub that does not run; else the running hub is asked.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// With --state-dir: the folder with the authority, if the hub runs with --ca.
    #[arg(long, value_name = "DIR", requires = "state_dir")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    door: HubDoor,
}

#[derive(Debug, Parser)]
pub(crate) struct Revoke {
    /// The cluster.
    cluster: ClusterName,
    /// Only what its gateways show to other clusters, because somebody else has a key of them. Its agent stays, and gets them
    /// another one at once.
    #[arg(long)]
    gateways: bool,
    #[command(flatten)]
    door: HubDoor,
}

pub(crate) async fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::JoinToken(args) => join_token(args).await?,
        Command::List(options) => list(options).await?,
        Command::Show(args) => show(args).await?,
        Command::Revoke(args) => {
            let only = if args.gateways { "?gateways=true" } else { "" };
            let path = format!("/api/v1/clusters/{}/revoke{only}", encoded(args.cluster.as_str()));
            let answer: DoneView = args.door.ask(&path).await?;
            say!("{}", answer.done);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn join_token(args: &JoinToken) -> Result<()> {
    let ttl = duration("--ttl", &args.ttl)?;
    let token = match &args.state_dir {
        None => {
            let cluster = encoded(args.cluster.as_str());
            let path = format!("/api/v1/tokens?cluster={cluster}&ttl_s={}", ttl.as_secs());
            let made: TokenView = args.door.ask(&path).await?;
            made.token
        }
        // A typo must not become a new hub.
        Some(folder) if !folder.join("trust-domain").exists() => {
            bail!("{} is not the state folder of a hub", folder.display());
        }
        Some(folder) => {
            tidegate_hub::token_of_stopped(folder, args.ca.as_deref(), &args.cluster, ttl)?.token.reveal()
        }
    };
    say!("{token}");
    Ok(())
}

async fn list(options: &Options) -> Result<()> {
    let clusters: Vec<ClusterView> = options.door.get("/api/v1/clusters").await?;
    if let Some(text) = options.output.document(&clusters)? {
        say!("{}", text.trim_end());
        return Ok(());
    }
    say!("{}", table::shown(&cluster_table(&clusters), Screen::stdout()));
    for it in &clusters {
        if let Some(why) = &it.held_back {
            say!("{}: {why}", it.cluster);
        }
        for rejected in &it.rejected {
            say!("{}: {} is rejected: {}", it.cluster, rejected.object, rejected.reason);
        }
    }
    Ok(())
}

/// How the hub knows the clusters.
pub(crate) fn cluster_table(clusters: &[ClusterView]) -> Table {
    let mut table = table::new(&[
        "CLUSTER",
        "AGENT",
        "POLICY",
        "REJECTED",
        "SERVICES",
        "POOLS",
        "NOT SERVING",
        "GATEWAYS",
    ]);
    for it in clusters {
        table.add_row([
            it.cluster.to_string(),
            standing(it),
            if it.applied == 0 { "-".to_owned() } else { it.applied.to_string() },
            it.rejected.len().to_string(),
            it.services.to_string(),
            it.pools.to_string(),
            it.pools_not_serving.to_string(),
            it.gateways.to_string(),
        ]);
    }
    table
}

async fn show(args: &Show) -> Result<()> {
    let path = format!("/api/v1/clusters/{}", encoded(args.cluster.as_str()));
    let known: KnowledgeView = args.options.door.get(&path).await?;
    if let Some(text) = args.options.output.document(&known)? {
        say!("{}", text.trim_end());
        return Ok(());
    }
    let it = &known.cluster;
    let pools = format!("{} pools ({} not serving)", it.pools, it.pools_not_serving);
    say!("{}: {}; {} services, {pools}, {} gateways", it.cluster, standing(it), it.services, it.gateways);
    if known.plans.is_empty() {
        say!("All requests go to the zone where they enter.");
    } else {
        let mut table = table::new(&["SERVICE", "FROM", "TO", "WHY"]);
        for plan in &known.plans {
            let mut to: Vec<String> =
                plan.shares.iter().map(|it| format!("{} {}", permille(it.permille), it.target)).collect();
            if plan.shed_permille > 0 {
                to.push(format!("{} 503", permille(plan.shed_permille)));
            }
            table.add_row([plan.service.clone(), plan.zone.clone(), to.join(", "), plan.why.clone()]);
        }
        say!("{table}");
    }
    if known.more_plans > 0 {
        say!("and {} more", known.more_plans);
    }
    for decision in &known.decisions {
        say!("{}  {}", clock(decision.unix_micros), decision.text);
    }
    Ok(())
}

fn permille(share: u32) -> String {
    format!("{}.{}%", share / 10, share % 10)
}

/// The time of day, UTC.
pub(crate) fn clock(unix_micros: u64) -> String {
    let seconds = unix_micros / 1_000_000 % 86_400;
    let millis = unix_micros / 1000 % 1000;
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn standing(it: &ClusterView) -> String {
    let age = age(it.heard_ms);
    match (it.connected, it.revoked, it.heard_ms) {
        (true, ..) => format!("connected, heard {age} ago"),
        (false, true, _) => "revoked".to_owned(),
        (false, _, Some(_)) => format!("gone, heard {age} ago"),
        (false, _, None) if it.certificate_ends.is_none() => "has not joined".to_owned(),
        (false, _, None) => "not heard since the hub started".to_owned(),
    }
}

/// An age in whole seconds.
pub(crate) fn age(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| tidegate_api::duration_text(Duration::from_secs(ms / 1000)))
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn an_age_is_told_in_the_units_that_people_use() {
        let ages = [None, Some(0), Some(999), Some(45_999), Some(90_000), Some(90_000_000)].map(age);
        assert_eq!(ages, ["-", "0s", "0s", "45s", "1m30s", "25h"]);
    }
}
