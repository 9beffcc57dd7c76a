//! `tidegate get`: one kind of thing, as many as there are, as an agent or the hub knows them.

mod fleet;
mod services;

pub(crate) use fleet::{all, stale};

use crate::{
    screen::Screen,
    table,
    view::{Options, Shown, Whom, show},
};
use anyhow::Result;
use clap::{Parser, Subcommand};
use comfy_table::Table;
use serde::Serialize;
use std::{process::ExitCode, time::Duration};
use tidegate_agent::{
    DrillView,
    view::{GatewayView, PeerStatus, PoolView, Status},
};
use tidegate_hub::view::DrillProgressView;
use tidegate_model::{ClusterName, Phase, Zone};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The services: how healthy they are, how much of them is away from home, and what they would not survive.
    Services(services::Args),
    /// The pools: the endpoints of a service in a zone of a cluster.
    Pools(Pools),
    /// The gateways: whether they are connected, and what they refuse.
    Gateways(Plain),
    /// The clusters, as the agent reaches them, or as the hub knows them.
    Clusters(Plain),
    /// The shifts in force. Every agent knows all of them; the hub asks them.
    Shifts(Plain),
    /// The drills: faults that an agent carries out, or those that the hub runs or ran.
    Drills(Plain),
}

#[derive(Debug, Parser)]
pub(crate) struct Plain {
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Parser)]
pub(crate) struct Pools {
    /// Only of services of this namespace.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only of this service.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service: Option<String>,
    /// Only those in this phase; may be given several times.
    #[arg(long, value_name = "PHASE", value_parser = phase)]
    phase: Vec<Phase>,
    /// Only those of this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<ClusterName>,
    /// Only those in this zone.
    #[arg(long, value_name = "NAME")]
    zone: Option<Zone>,
    #[command(flatten)]
    options: Options,
}

/// So many reports are shown; `tidegate drill list` has more.
const KEPT: u32 = 20;

/// The phases, by their names.
const PHASES: [Phase; 7] = [
    Phase::Serving,
    Phase::Reduced,
    Phase::Out,
    Phase::Holding,
    Phase::Ramping,
    Phase::Shifted,
    Phase::Empty,
];

fn phase(text: &str) -> Result<Phase, String> {
    let found = PHASES.into_iter().find(|it| it.to_string().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        let names: Vec<String> = PHASES.iter().map(ToString::to_string).collect();
        format!("a phase is one of {}", names.join(", "))
    })
}

/// Whether a service, `NAMESPACE/NAME`, is of this namespace.
fn is_of(service: &str, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|it| service.split_once('/').is_some_and(|(of, _)| of == it))
}

pub(crate) async fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Services(args) => services::run(args).await?,
        Command::Pools(args) => {
            show(args.options.form, async |screen| match args.options.whom.hub() {
                Some(hub) => fleet::pools(&fleet::all(&hub).await?, args, screen),
                None => pools(&status(&args.options.whom).await?, args, screen),
            })
            .await?;
        }
        Command::Gateways(Plain { options }) => {
            show(options.form, async |screen| match options.whom.hub() {
                Some(hub) => fleet::gateways(&fleet::all(&hub).await?, screen),
                None => {
                    let gateways = status(&options.whom).await?.gateways;
                    listed(&gateways, &gateway_table(&gateways), screen)
                }
            })
            .await?;
        }
        Command::Clusters(Plain { options }) => {
            show(options.form, async |screen| match options.whom.hub() {
                Some(hub) => fleet::clusters(&hub, screen).await,
                None => clusters(&status(&options.whom).await?, screen),
            })
            .await?;
        }
        Command::Shifts(Plain { options }) => {
            crate::shift::list(&options.whom, options.form).await?;
        }
        Command::Drills(Plain { options }) => {
            show(options.form, async |screen| match options.whom.hub() {
                Some(hub) => {
                    let running: Vec<DrillProgressView> = hub.get("/api/v1/drills").await?;
                    let kept = crate::drill_hub::drills(&hub, None, KEPT).await?;
                    let document = serde_json::json!({ "running": running, "kept": kept });
                    let shown = listed(&document, &crate::drill_hub::kept_table(&kept), screen)?;
                    let running = table::shown(&running_table(&running), screen);
                    Ok(shown.below(&format!("RUNNING\n{running}\n\nKEPT\n")))
                }
                None => {
                    let faults: Vec<DrillView> = options.whom.agent().get("/api/v1/drills").await?;
                    listed(&faults, &fault_table(&faults), screen)
                }
            })
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(whom: &Whom) -> Result<Status> {
    whom.agent().get("/api/v1/status").await
}

/// Nothing is told as such: an empty table could be a mistake.
fn listed(document: &impl Serialize, table: &Table, screen: Screen) -> Result<Shown> {
    let text = if table.row_count() == 0 { "none".to_owned() } else { table::shown(table, screen) };
    Shown::new(document, text)
}

fn pools(status: &Status, args: &Pools, screen: Screen) -> Result<Shown> {
    let found: Vec<&PoolView> = status.pools.iter().filter(|it| args.takes_view(it)).collect();
    listed(&found, &table::pools(found.iter().copied()), screen)
}

impl Pools {
    fn takes_view(&self, it: &PoolView) -> bool {
        self.takes(&it.service.to_string(), &it.cluster, it.zone.as_str(), Some(it.phase))
    }

    fn takes(&self, service: &str, cluster: &ClusterName, zone: &str, phase: Option<Phase>) -> bool {
        is_of(service, self.namespace.as_deref())
            && self.service.as_ref().is_none_or(|it| it == service)
            && self.cluster.as_ref().is_none_or(|it| it == cluster)
            && self.zone.as_ref().is_none_or(|it| it.as_str() == zone)
            && (self.phase.is_empty() || phase.is_some_and(|it| self.phase.contains(&it)))
    }
}

/// The gateways of an agent.
pub(crate) fn gateway_table(gateways: &[GatewayView]) -> Table {
    let mut table = table::new(&["GATEWAY", "NODE", "ZONE", "CONNECTED", "REFUSED"]);
    for gateway in gateways {
        table.add_row([
            gateway.gateway.clone(),
            gateway.node.clone(),
            gateway.zone.clone(),
            if gateway.connected { gateway.transport.clone() } else { "NO".to_owned() },
            gateway.refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        ]);
    }
    table
}

/// The ways to other clusters.
pub(crate) fn peer_table(peers: &[PeerStatus]) -> Table {
    let mut table = table::new(&["PEER", "STATE", "LINKS"]);
    for peer in peers {
        table.add_row([peer.cluster.to_string(), peer.state.clone(), peer.links.join("\n")]);
    }
    table
}

/// A cluster, as an agent sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterRow {
    cluster: ClusterName,
    /// `Own`, or how the way to it stands.
    state: String,
    pools: usize,
    not_serving: usize,
}

fn clusters(status: &Status, screen: Screen) -> Result<Shown> {
    let own = (&status.cluster, "Own");
    let all = [own].into_iter().chain(status.peers.iter().map(|it| (&it.cluster, it.state.as_str())));
    let row = |(cluster, state): (&ClusterName, &str)| {
        let of = || status.pools.iter().filter(|it| it.cluster == *cluster);
        let not_serving = of().filter(|it| !matches!(it.phase, Phase::Serving | Phase::Empty)).count();
        ClusterRow { cluster: cluster.clone(), state: state.to_owned(), pools: of().count(), not_serving }
    };
    let rows: Vec<ClusterRow> = all.map(row).collect();
    let mut table = table::new(&["CLUSTER", "STATE", "POOLS", "NOT SERVING"]);
    for it in &rows {
        table.add_row([
            it.cluster.to_string(),
            it.state.clone(),
            it.pools.to_string(),
            it.not_serving.to_string(),
        ]);
    }
    listed(&rows, &table, screen)
}

fn left(ms: u64) -> String {
    format!("{:?}", Duration::from_secs(ms.div_ceil(1000)))
}

fn fault_table(faults: &[DrillView]) -> Table {
    let mut table = table::new(&["DRILL", "WHAT", "REMAINING", "BY"]);
    for it in faults {
        table.add_row([it.id.clone(), it.what.clone(), left(it.remaining_ms), it.by.clone()]);
    }
    table
}

fn running_table(running: &[DrillProgressView]) -> Table {
    let mut table = table::new(&["ID", "DRILL", "PHASE", "LEFT", "REQUESTS", "FAILED", "BY"]);
    for it in running {
        table.add_row([
            it.id.clone(),
            it.drill.clone(),
            it.phase.map_or_else(|| "beginning".to_owned(), |phase| format!("{phase:?}")),
            it.left_ms.map_or_else(|| "-".to_owned(), left),
            it.ended.to_string(),
            it.failed.to_string(),
            it.by.clone(),
        ]);
    }
    table
}
