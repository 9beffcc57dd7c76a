//! `tidegate envoy bootstrap` and `tidegate envoy run`.

mod bound;
mod drain;
mod process;
mod renewal;

use crate::{envoy_certificate, stop};
use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};
use tidegate_api::ProcessOptions;
use tidegate_envoy::{
    AgentAddress, BootstrapSpec, Overload, XdsProtocol, bootstrap, envoy_arguments, process_arguments,
};
use tidegate_model::{ClusterName, GatewayName, Region, Zone};
use tokio::process::{Child, Command as Process};

/// An Envoy that was asked to end has so long to do it.
const STOP_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the bootstrap of a gateway's Envoy, as JSON (which is YAML).
    Bootstrap(Bootstrap),
    /// Run Envoy with that bootstrap, until it ends or is told to.
    Run(Run),
    /// Let a running Envoy finish what it has and take no more, before it is ended: for `preStop` of its pod.
    Drain(drain::Drain),
    /// Make the certificate by which the Envoys of a gateway come to an agent that has joined a hub, over TCP.
    Certificate(envoy_certificate::Certificate),
    /// Revoke all such certificates of one gateway, because somebody else has a key of it.
    Revoke(envoy_certificate::Revoke),
    /// Renew that certificate in time, for Envoys that are not run by `tidegate envoy run`, which does it itself.
    Renew(renewal::Renew),
    #[command(hide = true)]
    Bound(bound::Bound),
}

#[derive(Debug, Parser)]
pub(crate) struct Bootstrap {
    #[command(flatten)]
    gateway: Gateway,
    /// Ask Envoy whether it would start with it, instead of printing it.
    #[arg(long)]
    check: bool,
    /// The Envoy binary that is asked [default: `envoy` on PATH]
    #[arg(long, value_name = "PATH", env = "TIDEGATE_ENVOY")]
    envoy: Option<PathBuf>,
}

#[derive(Debug, Parser)]
pub(crate) struct Gateway {
    /// The agent's listen address: HOST:PORT, or unix:PATH on the same host; given several times, those of its replicas.
    /// Each gateway keeps to one of them, by its node id, and goes to another when that one fails.
    #[arg(long = "agent", value_name = "ADDR", default_value = "127.0.0.1:18000")]
    agents: Vec<AgentAddress>,
    /// The folder that `tidegate envoy certificate` made, if the agent has joined a hub and is not on a Unix socket.
    #[arg(long, value_name = "DIR")]
    credentials: Option<PathBuf>,
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
    /// Folders and files of manifests: what the gateway's GatewayTemplate says of its Envoys is taken from them, where no
    /// flag says it.
    #[arg(long, value_name = "PATH")]
    manifests: Vec<PathBuf>,
    /// Worker threads [default: as the GatewayTemplate has it, else one per CPU]
    #[arg(long)]
    concurrency: Option<u32>,
    /// Connections from clients at a time; what is above is closed [default: as the GatewayTemplate has it, else 50000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Heap in MiB, about 80 % of what the process may have: from 90 % of it on it saves, from 95 % on it answers 503
    /// [default: as the GatewayTemplate has it, else 4096]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..=1 << 24))]
    max_heap_mib: Option<u32>,
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

/// All that an Envoy is started with.
struct Start {
    spec: BootstrapSpec,
    file: serde_json::Value,
    arguments: Vec<String>,
}

impl Gateway {
    /// How its Envoys are started.
    fn start(&self) -> Result<Start> {
        let process = process::options(&self.gateway, self.cluster.as_ref(), &self.manifests)?;
        let spec = self.spec(&process)?;
        let file = process::grown(bootstrap(&spec), &process)?;
        let arguments = [envoy_arguments(&spec), process_arguments(&process)].concat();
        Ok(Start { spec, file, arguments })
    }

    fn spec(&self, process: &ProcessOptions) -> Result<BootstrapSpec> {
        let usual = Overload::default();
        let heap = self.max_heap_mib.or(process.max_heap_mib).map(|mib| u64::from(mib) << 20);
        let node_id = || format!("{}@{}:{}", self.gateway, self.zone, self.admin.port());
        let credentials = self.credentials.as_deref();
        let has = |is: fn(&AgentAddress) -> bool| self.agents.iter().any(is);
        if has(|it| matches!(it, AgentAddress::Named(..))) && has(|it| matches!(it, AgentAddress::Unix(_))) {
            bail!(
                "an Envoy looks its agents up by name or goes to sockets, not both\n  hint: name them all by HOST:PORT"
            );
        }
        Ok(BootstrapSpec {
            agents: self.agents.clone(),
            agent_tls: credentials.map(|it| envoy_certificate::read(it, &self.gateway)).transpose()?,
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
            concurrency: self.concurrency.or(process.concurrency),
            overload: Overload {
                max_connections: self
                    .max_connections
                    .or(process.max_connections)
                    .unwrap_or(usual.max_connections),
                max_heap_bytes: heap.unwrap_or(usual.max_heap_bytes),
            },
        })
    }
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Bootstrap(asked) => {
            let start = asked.gateway.start()?;
            if asked.check {
                return check(&binary(asked.envoy), &start).await;
            }
            say!("{}", serde_json::to_string_pretty(&start.file)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(run) => supervise(run).await,
        Command::Certificate(args) => envoy_certificate::make(&args),
        Command::Drain(args) => drain::run(&args).await,
        Command::Revoke(args) => envoy_certificate::revoke(&args),
        Command::Renew(args) => renewal::run(&args).await,
        Command::Bound(bound) => bound::become_it(&bound),
    }
}

async fn supervise(run: Run) -> Result<ExitCode> {
    let stop = stop::token(run.exit_with_stdin);
    let started = run.gateway.start()?;
    let spec = &started.spec;
    let mut child = start(&binary(run.envoy), &started)?;
    tracing::info!(pid = child.id(), node = spec.node_id, admin = %spec.admin, "Envoy started");
    if let Some(tls) = &spec.agent_tls {
        tokio::spawn(renewal::keep(tls.folder.clone(), spec.agents.clone(), stop.clone()));
    }
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

fn binary(named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(|| PathBuf::from("envoy"))
}

/// Whether Envoy would start with it; it connects to nobody.
async fn check(binary: &Path, start: &Start) -> Result<ExitCode> {
    let ran = Process::new(binary)
        .args(["--mode", "validate", "--config-yaml"])
        .arg(start.file.to_string())
        .args(&start.arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| {
            format!("cannot run {}\n  hint: name Envoy by --envoy or TIDEGATE_ENVOY", binary.display())
        })?;
    if ran.status.success() {
        say!("Envoy would start with it");
        return Ok(ExitCode::SUCCESS);
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let why: Vec<&str> =
        said.lines().filter(|line| line.contains("[critical]") || line.contains("error")).collect();
    let why = if why.is_empty() { said.trim().to_owned() } else { why.join("\n") };
    bail!("Envoy would not start with it: {why}\n  hint: mend spec.bootstrap of the GatewayTemplate")
}

fn start(binary: &Path, start: &Start) -> Result<Child> {
    bound::command(binary)?
        .arg("--config-yaml")
        .arg(start.file.to_string())
        .args(&start.arguments)
        .stdin(Stdio::null())
        // When this process ends in an orderly way without waiting.
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {}", binary.display()))
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
