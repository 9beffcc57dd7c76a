//! `tidegate envoy bootstrap` and `tidegate envoy run`.

use crate::stop;
use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};
use tidegate_envoy::{BootstrapSpec, Overload, XdsProtocol, bootstrap, envoy_arguments};
use tidegate_model::{ClusterName, GatewayName, Region, Zone};
use tokio::process::{Child, Command as Process};

/// An Envoy that was asked to end has so long to do it.
const STOP_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the bootstrap of a gateway's Envoy, as JSON (which is YAML).
    Bootstrap(Gateway),
    /// Run Envoy with that bootstrap, until it ends or is told to.
    Run(Run),
}

#[derive(Debug, Parser)]
pub(crate) struct Gateway {
    /// The agent's listen address; given several times, those of its replicas. Each gateway keeps to one of them, by its
    /// node id, and goes to another when that one fails.
    #[arg(long = "agent", value_name = "ADDR", default_value = "127.0.0.1:18000")]
    agents: Vec<SocketAddr>,
    /// The gateway that this Envoy is a replica of.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    gateway: GatewayName,
    /// The zone that it runs in.
    #[arg(long)]
    zone: Zone,
    /// The region of that zone.
    #[arg(long)]
    region: Option<Region>,
    /// The cluster that it runs in.
    #[arg(long)]
    cluster: Option<ClusterName>,
    /// Envoy's own admin address. It can stop the process, so keep it on loopback.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19000")]
    admin: SocketAddr,
    /// A name that no other Envoy of the agent has [default: GATEWAY@ZONE with the admin port]
    #[arg(long)]
    node_id: Option<String>,
    /// How it asks the agent.
    #[arg(long, value_enum, default_value_t = Protocol::Delta)]
    xds: Protocol,
    /// Worker threads [default: one per CPU]
    #[arg(long)]
    concurrency: Option<u32>,
    /// Connections from clients at a time; what is above is closed.
    #[arg(long, value_name = "COUNT", default_value_t = Overload::default().max_connections,
        value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// Heap in MiB, about 80 % of what the process may have: from 90 % of it on it saves, from 95 % on it answers 503.
    #[arg(long, value_name = "MIB", default_value_t = Overload::default().max_heap_bytes >> 20,
        value_parser = clap::value_parser!(u64).range(64..=1 << 24))]
    max_heap_mib: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    /// Only what changed.
    Delta,
    /// All of a type each time.
    Sotw,
}

#[derive(Debug, Parser)]
pub(crate) struct Run {
    #[command(flatten)]
    gateway: Gateway,
    /// The Envoy binary [default: `envoy` on PATH]
    #[arg(long, value_name = "PATH", env = "TIDEGATE_ENVOY")]
    envoy: Option<PathBuf>,
    /// Stop when standard input ends: for whoever starts gateways as its children.
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

impl Gateway {
    fn spec(&self) -> BootstrapSpec {
        let node_id = || format!("{}@{}:{}", self.gateway, self.zone, self.admin.port());
        BootstrapSpec {
            agents: self.agents.clone(),
            gateway: self.gateway.clone(),
            role: None,
            zone: self.zone.clone(),
            region: self.region.clone(),
            cluster: self.cluster.clone(),
            admin: self.admin,
            node_id: self.node_id.clone().unwrap_or_else(node_id),
            xds: match self.xds {
                Protocol::Delta => XdsProtocol::Delta,
                Protocol::Sotw => XdsProtocol::Sotw,
            },
            concurrency: self.concurrency,
            overload: Overload {
                max_connections: self.max_connections,
                max_heap_bytes: self.max_heap_mib << 20,
            },
        }
    }
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Bootstrap(gateway) => {
            say!("{}", serde_json::to_string_pretty(&bootstrap(&gateway.spec()))?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(run) => supervise(run).await,
    }
}

async fn supervise(run: Run) -> Result<ExitCode> {
    let stop = stop::token(run.exit_with_stdin);
    let spec = run.gateway.spec();
    let binary = run.envoy.unwrap_or_else(|| PathBuf::from("envoy"));
    let mut child = start(&binary, &spec)?;
    tracing::info!(pid = child.id(), node = spec.node_id, admin = %spec.admin, "Envoy started");
    tokio::select! {
        ended = child.wait() => {
            let status = ended?;
            if !status.success() {
                bail!("Envoy ended with {status}; what it said is above");
            }
            Ok(ExitCode::SUCCESS)
        }
        () = stop.cancelled() => {
            end(&mut child).await;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn start(binary: &Path, spec: &BootstrapSpec) -> Result<Child> {
    Process::new(binary)
        .arg("--config-yaml")
        .arg(bootstrap(spec).to_string())
        .args(envoy_arguments(spec))
        .stdin(Stdio::null())
        // When this process ends in an orderly way without waiting; a kill of it is caught by whoever holds its stdin.
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!("cannot run {}\n  hint: name Envoy by --envoy or TIDEGATE_ENVOY; `cargo xtask envoy` fetches it", binary.display())
        })
}

/// Asks Envoy to end, and makes it if it does not.
async fn end(child: &mut Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // An error means that it is gone already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
        tracing::warn!("Envoy did not end in {} s and is killed", STOP_LIMIT.as_secs());
        let _ = child.kill().await;
    }
}
