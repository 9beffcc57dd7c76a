//! `tidegate status`: all of it on one page, for a look in an incident.

use crate::{
    cluster::cluster_table,
    get,
    screen::{Screen, wrapped},
    shift, table,
    view::{Options, Shown, show},
};
use anyhow::Result;
use clap::Parser;
use std::{fmt::Write as _, process::ExitCode, time::Duration};
use tidegate_agent::view::{DrainView, PlanView, Status};
use tidegate_hub::view::{DrillProgressView, KnowledgeView, RolloutView};

#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let Options { whom, form } = &args.options;
    show(*form, async |screen| match whom.hub() {
        Some(hub) => {
            let known = get::all(&hub).await?;
            let rollout: RolloutView = hub.get("/api/v1/rollout").await?;
            let drills: Vec<DrillProgressView> = hub.get("/api/v1/drills").await?;
            let document = serde_json::json!({ "clusters": known, "rollout": rollout, "drills": drills });
            Shown::new(&document, of_fleet(&known, &rollout, &drills, screen))
        }
        None => {
            let status: Status = whom.agent().get("/api/v1/status").await?;
            Shown::new(&status, of_cluster(&status, form.watch, screen))
        }
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($part:tt)*) => {{ let _ = writeln!($text, $($part)*); }};
}

fn of_fleet(
    known: &[KnowledgeView],
    rollout: &RolloutView,
    drills: &[DrillProgressView],
    screen: Screen,
) -> String {
    let mut text = get::stale(known);
    let clusters: Vec<_> = known.iter().map(|it| it.cluster.clone()).collect();
    line!(text, "CLUSTERS\n{}", table::shown(&cluster_table(&clusters), screen));
    for it in &clusters {
        if let Some(why) = &it.held_back {
            line!(text, "{}: {why}", it.cluster);
        }
    }
    line!(text, "\npolicy {} ({})", rollout.sequence, rollout.version);
    if let Some(why) = rollout.rollout.as_ref().and_then(|it| it.why.as_ref()) {
        line!(text, "its rollout has halted: {why}");
    }
    for problem in &rollout.problems {
        line!(text, "{problem}");
    }
    for it in drills {
        line!(
            text,
            "\ndrill {} of {} runs, begun by {}: tidegate drill stop {} --hub",
            it.id,
            it.drill,
            it.by,
            it.id
        );
    }
    line!(text, "\nwhat is away: tidegate get services --away --hub ADDR");
    text
}

fn of_cluster(status: &Status, watched: bool, screen: Screen) -> String {
    let mut text = String::new();
    let region = status.region.as_ref().map_or_else(String::new, |region| format!(" in {region}"));
    // Who watches wants to see what changes, and this always does.
    let uptime = match watched {
        true => String::new(),
        false => format!(", agent up {:?}", Duration::from_secs(status.uptime_ms / 1000)),
    };
    line!(text, "cluster {}{region}{uptime}", status.cluster);
    if !status.pending.is_empty() {
        line!(text, "not ready, waiting for: {}", status.pending.join("; "));
    }
    of_sources(status, watched, &mut text);
    line!(text, "\nPOOLS\n{}", table::shown(&table::pools(&status.pools), screen));
    line!(text, "\nPLANS\n{}", plans(&status.plans, screen));
    of_orders(status, screen, &mut text);
    if !status.draining.is_empty() {
        line!(text, "\nDRAINING\n{}", draining(&status.draining, screen));
    }
    if !status.peers.is_empty() {
        line!(text, "\nPEERS\n{}", table::shown(&get::peer_table(&status.peers), screen));
    }
    line!(text, "\nGATEWAYS\n{}", table::shown(&get::gateway_table(&status.gateways), screen));
    for gateway in status.gateways.iter().filter(|it| it.connected) {
        for withheld in &gateway.withheld {
            line!(text, "{} at {} does not send {withheld}", gateway.gateway, gateway.node);
        }
    }
    if !status.problems.is_empty() {
        line!(text, "\nPROBLEMS in the manifests (what they name stays as it last was good)");
        for problem in &status.problems {
            line!(text, "{problem}");
        }
    }
    line!(text, "\nwhy: tidegate explain NAMESPACE/NAME");
    text
}

/// Where it hears what is in force, and how old that may be.
fn of_sources(status: &Status, watched: bool, text: &mut String) {
    if let Some(hub) = status.hub.filter(|it| !it.connected) {
        let ago = Duration::from_secs(hub.since_ms / 1000);
        let ago = if watched { String::new() } else { format!(" for {ago:?}") };
        line!(text, "the hub is not followed{ago}; the last good policy counts");
    }
    if let Some(api) = &status.kubernetes {
        let age = api.age_ms.map_or_else(
            || "not heard yet; what is in force is from disk".to_owned(),
            |age| format!("heard {:.1} s ago", Duration::from_millis(age).as_secs_f64()),
        );
        line!(text, "Kubernetes API {}: {age}", api.url);
        for (kind, why) in &api.failing {
            line!(text, "  {kind}: {why}; its last good state counts");
        }
    }
}

/// What operators and drills ordered.
fn of_orders(status: &Status, screen: Screen, text: &mut String) {
    let width = screen.width().unwrap_or(usize::MAX);
    for shift in &status.shifts {
        let moved = format!(
            "{} % of the traffic is moved away from {} (shift {})",
            shift.percent, shift.away_from, shift.name
        );
        line!(text, "\n{}", wrapped(&moved, 2, width));
        if let Some(refused) = shift::refused(shift) {
            line!(text, "{}", wrapped(&refused, 2, width));
        }
    }
    for drill in &status.drills {
        let left = Duration::from_secs(drill.remaining_ms.div_ceil(1000));
        let drill = format!("drill {} of {}: {}, for {left:?} more", drill.id, drill.by, drill.what);
        line!(text, "\n{}", wrapped(&drill, 2, width));
    }
}

fn plans(all: &[PlanView], screen: Screen) -> String {
    let mut plans = table::new(&["SERVICE", "FROM", "GOES TO", "STANDS BY"]);
    for plan in all {
        let mut goes = table::shares(&plan.shares);
        if !plan.shed.is_none() {
            goes = format!("{goes} shed {}", plan.shed).trim_start().to_owned();
        }
        if plan.last_resort {
            goes.push_str(" (last resort)");
        }
        let standby: Vec<String> = plan.standby.iter().map(table::shares).collect();
        plans.add_row([plan.service.to_string(), plan.source.clone(), goes, standby.join(" > ")]);
    }
    table::shown(&plans, screen)
}

fn draining(all: &[DrainView], screen: Screen) -> String {
    let mut draining = table::new(&["SERVICE", "FROM", "LEAVES", "REMAINING", "IN FLIGHT"]);
    for it in all {
        let remaining = match it.remaining_ms {
            0 => "over".to_owned(),
            left => format!("{:.1} s", Duration::from_millis(left).as_secs_f64()),
        };
        let in_flight = match (it.remaining_ms, it.in_flight) {
            (0, pinned) => format!("{pinned} pinned"),
            (_, in_flight) => in_flight.to_string(),
        };
        draining.add_row([
            it.service.to_string(),
            it.source.clone(),
            it.target.to_string(),
            remaining,
            in_flight,
        ]);
    }
    table::shown(&draining, screen)
}
