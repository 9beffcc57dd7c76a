//! `tidegate shift`: move traffic away from a place, see what is moved, end it.

use crate::{admin, table};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{process::ExitCode, time::Duration};
use tidegate_agent::ShiftView;
use tidegate_model::{ClusterName, Region, ServiceName, Zone};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Move traffic away from a zone, a cluster or a region.
    Away(Away),
    /// Show the shifts in force.
    List(List),
    /// End a shift: traffic comes back by the ramp of each service's policy.
    End(End),
}

#[derive(Debug, Parser)]
#[command(group(clap::ArgGroup::new("place").args(["zone", "cluster", "region"]).required(true).multiple(true)))]
pub(crate) struct Away {
    /// The zone; of the agent's own region unless --region names another.
    #[arg(long, value_name = "NAME", conflicts_with = "cluster")]
    zone: Option<Zone>,
    /// The cluster.
    #[arg(long, value_name = "NAME", conflicts_with = "region")]
    cluster: Option<ClusterName>,
    /// The region.
    #[arg(long, value_name = "NAME")]
    region: Option<Region>,
    /// Only this service.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service: Option<ServiceName>,
    /// How long, as 30m or 1h30m; at most 72h.
    #[arg(long = "for", value_name = "DURATION")]
    lasts: String,
    /// How much of the traffic.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    percent: u32,
    /// Why, for whoever finds the traffic gone.
    #[arg(long, value_name = "TEXT")]
    comment: String,
    /// Move it even from the last healthy place of a service.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    door: admin::AgentDoor,
}

#[derive(Debug, Parser)]
pub(crate) struct List {
    #[command(flatten)]
    options: admin::Options,
}

#[derive(Debug, Parser)]
pub(crate) struct End {
    /// Its name, as `tidegate shift list` shows it.
    name: String,
    #[command(flatten)]
    door: admin::AgentDoor,
}

pub(crate) async fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Away(args) => away(args).await?,
        Command::List(args) => list(args).await?,
        Command::End(args) => {
            args.door.delete(&format!("/api/v1/shifts/{}", admin::encoded(&args.name))).await?;
            say!("{} has ended; the traffic comes back by the ramp", args.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn away(args: &Away) -> Result<()> {
    let mut fields = vec![
        ("for", args.lasts.clone()),
        ("percent", args.percent.to_string()),
        ("comment", args.comment.clone()),
        ("force", args.force.to_string()),
    ];
    fields.extend(args.zone.iter().map(|it| ("zone", it.to_string())));
    fields.extend(args.cluster.iter().map(|it| ("cluster", it.to_string())));
    fields.extend(args.region.iter().map(|it| ("region", it.to_string())));
    fields.extend(args.service.iter().map(|it| ("service", it.to_string())));
    let query: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", admin::encoded(value))).collect();
    let view: ShiftView = args.door.ask(&format!("/api/v1/shifts?{}", query.join("&"))).await?;
    say!(
        "{} % of the traffic leaves {} for {:?}; end it with: tidegate shift end {}",
        view.percent,
        view.away_from,
        Duration::from_secs(view.remaining_ms.div_ceil(1000)),
        view.name
    );
    if let Some(refused) = refused(&view) {
        say!("{refused}");
    }
    Ok(())
}

async fn list(args: &List) -> Result<()> {
    let views: Vec<ShiftView> = args.options.door.get("/api/v1/shifts").await?;
    if args.options.output == admin::Output::Json {
        say!("{}", serde_json::to_string_pretty(&views)?);
        return Ok(());
    }
    if views.is_empty() {
        say!("no shift is in force");
        return Ok(());
    }
    let mut shifts = table::new(&["NAME", "AWAY FROM", "PERCENT", "REMAINING", "BY", "COMMENT"]);
    let refusals: Vec<String> = views.iter().filter_map(refused).collect();
    for view in views {
        let forced = if view.force { " (force)" } else { "" };
        shifts.add_row([
            view.name,
            view.away_from,
            format!("{} %{forced}", view.percent),
            format!("{:?}", Duration::from_secs(view.remaining_ms.div_ceil(1000))),
            view.by,
            view.comment,
        ]);
    }
    say!("{shifts}");
    for refusal in refusals {
        say!("{refusal}");
    }
    Ok(())
}

/// Whom a shift does not move, if there is anybody.
pub(crate) fn refused(view: &ShiftView) -> Option<String> {
    const NAMED: usize = 10;
    let count = view.refused.len();
    let named: Vec<String> = view.refused.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
    (count > 0).then(|| {
        format!(
            "{} is refused for {}{more}: last healthy place; use --force to move them all the same. Each moves \
             once it has another healthy place.",
            view.name,
            named.join(", ")
        )
    })
}
