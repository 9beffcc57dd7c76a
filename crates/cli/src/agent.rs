//! `tidegate agent`.

use crate::stop;
use anyhow::{Result, bail};
use clap::Parser;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use tidegate_agent::{AgentConfig, HubOptions, Listen};
use tidegate_link::hub::JoinToken;
use tidegate_model::ClusterName;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A folder or file of manifests; may be given several times.
    #[arg(long, value_name = "DIR")]
    manifests: Vec<PathBuf>,
    /// The cluster that this agent is for: the name of its `FleetCluster`. One that joined a hub knows it.
    #[arg(long, value_name = "NAME")]
    cluster: Option<ClusterName>,
    /// Join the fleet of a hub with the token that `tidegate cluster join-token` printed, once.
    #[arg(long, value_name = "TOKEN", env = "TIDEGATE_JOIN", hide_env_values = true)]
    join: Option<JoinToken>,
    /// Where the hub is; given several times, also where it may be after the first is lost. Its policy comes before the manifests'; without it the last good one stays in force.
    #[arg(long, value_name = "HOST:PORT")]
    hub: Vec<String>,
    /// Where gateways and, through the east-west gateways, other clusters' agents connect: HOST:PORT (by mutual TLS once the
    /// cluster has joined a hub), unix:PATH, unix:PATH,mode=660, plain:HOST:PORT for gRPC clients,
    /// or replicas:HOST:PORT for other replicas of this agent; may be given several times.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18000")]
    listen: Vec<Listen>,
    /// Health, readiness, metrics and the command line's questions; loopback only: whoever reaches it can move traffic.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18001")]
    admin: SocketAddr,
    /// The same for people elsewhere: by TLS of the fleet's authority, with the tokens that the hub gave (`tidegate access grant`).
    #[arg(long, value_name = "ADDR")]
    admin_tls: Option<SocketAddr>,
    /// Where verdicts and hold-downs are kept over a restart.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// Where another replica of this agent listens; may be given several times.
    #[arg(long = "replica", value_name = "ADDR")]
    replicas: Vec<SocketAddr>,
    /// A name that leads to all replicas of this agent, such as that of a headless Service.
    #[arg(long = "replicas", value_name = "HOST:PORT")]
    replicas_name: Option<String>,
    /// Addresses of other clusters' gateways, as in /etc/hosts, that come before those of the machine's resolver: where this
    /// cluster reaches them by a way of its own. Read at the start.
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// Stop when standard input ends: for whoever starts agents as its children.
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let hub = (args.join.is_some() || !args.hub.is_empty())
        .then_some(HubOptions { addresses: args.hub, token: args.join });
    if args.manifests.is_empty() && hub.is_none() {
        bail!(
            "no manifests given\n  hint: name the folder that holds them, e.g. \
             tidegate agent --manifests examples/one-cluster --cluster {} --state-dir state",
            args.cluster.as_ref().map_or("NAME", ClusterName::as_str)
        );
    }
    small_pages();
    let stop = stop::token(args.exit_with_stdin);
    let config = AgentConfig {
        manifests: args.manifests,
        cluster: args.cluster,
        hub,
        listen: args.listen,
        admin: args.admin,
        admin_tls: args.admin_tls,
        state_dir: args.state_dir,
        replicas: args.replicas,
        replicas_name: args.replicas_name,
        hosts: args.hosts,
    };
    tidegate_agent::run(config, stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// Memory comes in pages of 4 KiB. The allocator would ask for huge ones, of 2 MiB, which the kernel clears whole at the first
/// touch: at the start of an agent with ten thousand services that was a third of its time.
fn small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay allowed");
    }
}
