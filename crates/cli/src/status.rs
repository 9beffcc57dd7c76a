//! `tidegate status`.

use crate::{admin, shift, table};
use anyhow::Result;
use clap::Parser;
use std::{process::ExitCode, time::Duration};
use tidegate_agent::view::Status;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    options: admin::Options,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let status: Status = args.options.door.get("/api/v1/status").await?;
    match args.options.output {
        admin::Output::Json => say!("{}", serde_json::to_string_pretty(&status)?),
        admin::Output::Table => print(&status),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(status: &Status) {
    let region = status.region.as_ref().map_or_else(String::new, |region| format!(" in {region}"));
    let uptime = Duration::from_secs(status.uptime_ms / 1000);
    say!("cluster {}{region}, agent up {uptime:?}", status.cluster);
    if !status.pending.is_empty() {
        say!("not ready, waiting for: {}", status.pending.join("; "));
    }
    if let Some(api) = &status.kubernetes {
        let age = api.age_ms.map_or_else(
            || "not heard yet; what is in force is from disk".to_owned(),
            |age| format!("heard {:.1} s ago", Duration::from_millis(age).as_secs_f64()),
        );
        say!("Kubernetes API {}: {age}", api.url);
        for (kind, why) in &api.failing {
            say!("  {kind}: {why}; its last good state counts");
        }
    }
    say!("\nPOOLS\n{}", table::pools(&status.pools));
    let mut plans = table::new(&["SERVICE", "FROM", "GOES TO", "STANDS BY"]);
    for plan in &status.plans {
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
    say!("\nPLANS\n{plans}");
    for shift in &status.shifts {
        say!(
            "\n{} % of the traffic is moved away from {} (shift {})",
            shift.percent,
            shift.away_from,
            shift.name
        );
        if let Some(refused) = shift::refused(shift) {
            say!("{refused}");
        }
    }
    for drill in &status.drills {
        let left = Duration::from_secs(drill.remaining_ms.div_ceil(1000));
        say!("\ndrill {} of {}: {}, for {left:?} more", drill.id, drill.by, drill.what);
    }
    if !status.draining.is_empty() {
        let mut draining = table::new(&["SERVICE", "FROM", "LEAVES", "REMAINING", "IN FLIGHT"]);
        for it in &status.draining {
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
        say!("\nDRAINING\n{draining}");
    }
    if !status.peers.is_empty() {
        let mut peers = table::new(&["PEER", "STATE", "LINKS"]);
        for peer in &status.peers {
            peers.add_row([peer.cluster.to_string(), peer.state.clone(), peer.links.join("\n")]);
        }
        say!("\nPEERS\n{peers}");
    }
    let mut gateways = table::new(&["GATEWAY", "NODE", "ZONE", "CONNECTED", "REFUSED"]);
    for gateway in &status.gateways {
        gateways.add_row([
            gateway.gateway.clone(),
            gateway.node.clone(),
            gateway.zone.clone(),
            if gateway.connected { gateway.transport.clone() } else { "no".to_owned() },
            gateway.refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        ]);
    }
    say!("\nGATEWAYS\n{gateways}");
    for gateway in status.gateways.iter().filter(|it| it.connected) {
        for withheld in &gateway.withheld {
            say!("{} at {} does not send {withheld}", gateway.gateway, gateway.node);
        }
    }
    if !status.problems.is_empty() {
        say!("\nPROBLEMS in the manifests (what they name stays as it last was good)");
        for problem in &status.problems {
            say!("{problem}");
        }
    }
    say!("\nwhy: tidegate explain NAMESPACE/NAME");
}
