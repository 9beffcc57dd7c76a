//! `tidegate access`: who may ask the hub from elsewhere.

use crate::{
    admin::{HubDoor, Output, encoded},
    cluster::Options,
    hub::duration,
    table,
};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{process::ExitCode, time::SystemTime};
use tidegate_hub::{
    Role,
    view::{DoneView, GrantView, TokenView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Give somebody a token for the hub's TLS door (`tidegate hub --admin-tls`). It is printed once, and names the hub's authority.
    Grant(Grant),
    /// List who has one.
    List(Options),
    /// Take one away.
    Revoke(Revoke),
}

#[derive(Debug, Parser)]
pub(crate) struct Grant {
    /// Whose it is, as the audit log will say.
    name: String,
    /// viewer: sees. operator: resumes, rolls back, reloads. admin: lets clusters in and out, gives tokens.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// Limit it to a namespace; may be given several times. What concerns the whole fleet is then refused.
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
    /// How long it is good for; at most 8784h.
    #[arg(long, value_name = "DURATION", default_value = "720h")]
    ttl: String,
    #[command(flatten)]
    door: HubDoor,
}

#[derive(Debug, Parser)]
pub(crate) struct Revoke {
    /// Whose.
    name: String,
    #[command(flatten)]
    door: HubDoor,
}

pub(crate) async fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Grant(args) => grant(args).await?,
        Command::List(options) => list(options).await?,
        Command::Revoke(args) => {
            let path = format!("/api/v1/access/{}/revoke", encoded(&args.name));
            let answer: DoneView = args.door.ask(&path).await?;
            say!("{}", answer.done);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn grant(args: &Grant) -> Result<()> {
    let ttl = duration("--ttl", &args.ttl)?.as_secs();
    let namespaces = match &args.namespaces[..] {
        [] => String::new(),
        some => format!("&namespaces={}", encoded(&some.join(","))),
    };
    let (name, role) = (encoded(&args.name), args.role);
    let path = format!("/api/v1/access?name={name}&role={role}&ttl_s={ttl}{namespaces}");
    let made: TokenView = args.door.ask(&path).await?;
    say!("{}", made.token);
    Ok(())
}

async fn list(options: &Options) -> Result<()> {
    let grants: Vec<GrantView> = options.door.get("/api/v1/access").await?;
    if options.output == Output::Json {
        say!("{}", serde_json::to_string_pretty(&grants)?);
        return Ok(());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let mut table = table::new(&["NAME", "ROLE", "NAMESPACES", "HOURS LEFT"]);
    for it in &grants {
        let all = || "all".to_owned();
        let namespaces = it.namespaces.as_ref();
        let namespaces = namespaces.map_or_else(all, |it| it.iter().cloned().collect::<Vec<_>>().join(", "));
        let left = it.expires_at.saturating_sub(now) / 3600;
        table.add_row([it.name.clone(), it.role.to_string(), namespaces, left.to_string()]);
    }
    say!("{table}");
    Ok(())
}
