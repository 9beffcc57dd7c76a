//! `tidegate agent`.

use crate::stop;
use anyhow::{Context, Result, bail};
use clap::Parser;
use http::Uri;
use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};
use tidegate_agent::{
    AgentConfig, Collector, HubOptions, IdentitySecret, KubeAccess, Listen, MAX_PLACES, SecretPlace,
    Webhooks, parse_collector, parse_url,
};
use tidegate_link::hub::JoinToken;
use tidegate_model::ClusterName;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A folder or file of manifests; may be given several times.
    #[arg(long, value_name = "DIR")]
    manifests: Vec<PathBuf>,
    /// Read the objects of the cluster from its Kubernetes API: as the service account of its pod, or by --kubeconfig.
    #[arg(long)]
    kubernetes: bool,
    /// A kubeconfig to reach the Kubernetes API by.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without it, its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where the certificates of HTTPS listeners are: a Secret, or all of a namespace. Without it, all Secrets that may be read.
    #[arg(long, value_name = "NAMESPACE[/NAME]", requires = "kubernetes", value_delimiter = ',')]
    certificates: Vec<SecretPlace>,
    /// The cluster that this agent is for: the name of its `FleetCluster`. One that joined a hub knows it.
    #[arg(long, value_name = "NAME")]
    cluster: Option<ClusterName>,
    /// Join the fleet of a hub with the token that `tidegate cluster join-token` printed, once.
    #[arg(long, value_name = "TOKEN", env = "TIDEGATE_JOIN", hide_env_values = true)]
    join: Option<JoinToken>,
    /// The same in a file; where there is none, the agent has to have joined before.
    #[arg(long, value_name = "FILE", conflicts_with = "join")]
    join_file: Option<PathBuf>,
    /// A Secret of the Kubernetes API in which what came of joining is kept, for agents whose disk does not outlive their pod. It has to
    /// be there, and may be empty.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "hub")]
    identity_secret: Option<SecretName>,
    /// The key of that Secret's data: one for each replica, such as the name of its pod.
    #[arg(long, value_name = "KEY", default_value = "identity.json", requires = "identity_secret")]
    identity_key: String,
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
    /// Tell this address what happens (verdicts, failovers, shifts, drills, what gateways refuse) as `CloudEvents`; may be given several
    /// times.
    #[arg(long = "webhook", value_name = "URL", value_parser = parse_url)]
    webhooks: Vec<Uri>,
    /// A file with a token that webhooks are shown; read for each event.
    #[arg(long, value_name = "FILE", requires = "webhooks")]
    webhook_token_file: Option<PathBuf>,
    /// Send traces of what is decided, pushed to gateways and acknowledged to an OpenTelemetry collector, by OTLP over gRPC.
    #[arg(long, value_name = "URL", value_parser = parse_collector)]
    otlp: Option<Collector>,
    /// Stop when standard input ends: for whoever starts agents as its children.
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let access = KubeAccess { kubeconfig: args.kubeconfig, context: args.context };
    let secret = args.identity_secret.map(|at| IdentitySecret {
        access: access.clone(),
        namespace: at.namespace,
        name: at.name,
        key: args.identity_key,
    });
    let join = match &args.join_file {
        Some(file) => token_in(file)?,
        None => args.join,
    };
    let hub = (join.is_some() || !args.hub.is_empty()).then_some(HubOptions {
        addresses: args.hub,
        token: join,
        secret,
    });
    if args.manifests.is_empty() && hub.is_none() && !args.kubernetes {
        bail!(
            "no manifests given\n  hint: name the folder that holds them, e.g. \
             tidegate agent --manifests examples/one-cluster --cluster {} --state-dir state; \
             or --kubernetes in a cluster",
            args.cluster.as_ref().map_or("NAME", ClusterName::as_str)
        );
    }
    if args.certificates.len() > MAX_PLACES {
        bail!(
            "--certificates names more than {MAX_PLACES} places\n  hint: name namespaces in place of their Secrets"
        );
    }
    small_pages();
    let stop = stop::token(args.exit_with_stdin);
    let config = AgentConfig {
        manifests: args.manifests,
        kubernetes: args.kubernetes.then_some(access),
        certificates: args.certificates,
        cluster: args.cluster,
        hub,
        listen: args.listen,
        admin: args.admin,
        admin_tls: args.admin_tls,
        state_dir: args.state_dir,
        replicas: args.replicas,
        replicas_name: args.replicas_name,
        hosts: args.hosts,
        webhooks: (!args.webhooks.is_empty())
            .then_some(Webhooks { urls: args.webhooks, token: args.webhook_token_file }),
        collector: args.otlp,
    };
    tidegate_agent::run(config, stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// The token in a file. None is there once the Secret that held it was removed.
/// A Secret and its namespace.
#[derive(Clone, Debug)]
struct SecretName {
    namespace: String,
    name: String,
}

impl FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
        let (namespace, name) =
            parts.ok_or("is not NAMESPACE/NAME of a Secret, such as tidegate/tidegate-agent-identity")?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

fn token_in(file: &Path) -> Result<Option<JoinToken>> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("the join token in {} cannot be read", file.display()))?,
    };
    let token = text.trim().parse();
    token.map(Some).with_context(|| {
        format!("{} holds no join token\n  hint: `tidegate cluster join-token` prints one", file.display())
    })
}

/// Memory comes in pages of 4 KiB. The allocator would ask for huge ones, of 2 MiB, which the kernel clears whole at the first
/// touch: at the start of an agent with ten thousand services that was a third of its time.
fn small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay allowed");
    }
}
