//! `tidegate hub`.

use crate::{admin::HubDoor, cluster::Options, stop};
use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use http::Uri;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};
use tidegate_hub::{
    Collector, HubConfig, KubeAccess, PolicySource, StateCopy, WaveLimits, Webhooks, parse_collector,
    parse_url,
    view::{DoneView, StandbyView},
};
use tidegate_link::identity::TrustDomain;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show whether a hub stands by for another one, and how old its copy is.
    Status(Options),
    /// Make a hub that stands by the hub. The one before must not write any more: if it still runs, stop it.
    Promote(Promote),
}

#[derive(Debug, Parser)]
pub(crate) struct Promote {
    #[command(flatten)]
    door: HubDoor,
}

#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(group(clap::ArgGroup::new("source").args(["policies", "git", "kubernetes"]).required(true)))]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where its keys, its history and its audit log are kept.
    #[arg(long, value_name = "DIR", required = true)]
    state_dir: Option<PathBuf>,
    /// A folder of policy: `FleetCluster`, `FailoverPolicy`, `FailoverProfile`, `TrafficShift`.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// A Git repository of policy, read with the command `git`.
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// The branch of the repository.
    #[arg(long, value_name = "NAME", default_value = "main", requires = "git", conflicts_with_all = ["policies", "kubernetes"])]
    git_branch: String,
    /// The folder in the repository.
    #[arg(long, value_name = "DIR", requires = "git", conflicts_with_all = ["policies", "kubernetes"])]
    git_path: Option<PathBuf>,
    /// How often the repository is asked; POST /api/v1/reload asks at once.
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "git", conflicts_with_all = ["policies", "kubernetes"])]
    git_interval: String,
    /// A file of those who may sign (`allowed_signers` of `ssh-keygen`): a commit that none of them signed by SSH is not taken.
    #[arg(long, value_name = "FILE", requires = "git", conflicts_with_all = ["policies", "kubernetes"])]
    git_signers: Option<PathBuf>,
    /// The API of a Kubernetes cluster, whose objects are told what became of them: as the service account of its pod, or by --kubeconfig.
    #[arg(long)]
    kubernetes: bool,
    /// A kubeconfig to reach the Kubernetes API by.
    #[arg(long, value_name = "FILE", requires = "kubernetes", conflicts_with_all = ["policies", "git"])]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without it, its current one.
    #[arg(long, value_name = "NAME", requires = "kubernetes", conflicts_with_all = ["policies", "git"])]
    context: Option<String>,
    /// Where agents connect, with TLS of the fleet's own.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:18100")]
    listen: SocketAddr,
    /// Health, metrics and the command line's questions; loopback only.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18101")]
    admin: SocketAddr,
    /// The same for people elsewhere: by TLS of the fleet's authority, with tokens of `tidegate access grant`.
    #[arg(long, value_name = "ADDR")]
    admin_tls: Option<SocketAddr>,
    /// The name of the fleet in its certificates, for a first start; `tidegate` if nothing is said.
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<TrustDomain>,
    /// A folder with an authority of your own: tls.crt, tls.key and ca.crt, as cert-manager writes them.
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,
    /// How long an agent's certificate lasts. It is renewed at two thirds of it, and a hub may be gone for the last third.
    #[arg(long, value_name = "DURATION", default_value = "720h")]
    certificate_ttl: String,
    /// A folder where a copy of the state folder is kept while the hub runs, from which another hub can start. It holds the fleet's
    /// keys: it belongs on a disk that only hubs reach.
    #[arg(long, value_name = "DIR")]
    copy_to: Option<PathBuf>,
    /// How often the copy is made anew; after a revocation it is at once.
    #[arg(long, value_name = "DURATION", default_value = "1m", requires = "copy_to")]
    copy_every: String,
    /// Stand by for the hub that copies its state to this folder: keep it, send agents on, write nothing, until
    /// `tidegate hub promote`.
    #[arg(long, value_name = "DIR")]
    standby_of: Option<PathBuf>,
    /// A wave of clusters that has taken a new policy (`FleetCluster.spec.rolloutWave`) is watched for so long before the next one
    /// is handed it.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    wave_bake: String,
    /// A cluster of a wave is waited for so long: one that is away is left out then, one that is there and has not taken the
    /// policy halts the rollout.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    wave_patience: String,
    /// A cluster may lose so many percent of its healthy endpoints or of the load that its pools are given; more halts the rollout.
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=100))]
    wave_loss: u64,
    /// Tell this address what only a hub knows (policies that are rejected, rollouts that halt, clusters that are lost, shifts, drills) as
    /// `CloudEvents`; may be given several times.
    #[arg(long = "webhook", value_name = "URL", value_parser = parse_url)]
    webhooks: Vec<Uri>,
    /// A file with a token that webhooks are shown; read for each event.
    #[arg(long, value_name = "FILE", requires = "webhooks")]
    webhook_token_file: Option<PathBuf>,
    /// Send traces of how policies reach clusters to an OpenTelemetry collector, by OTLP over gRPC.
    #[arg(long, value_name = "URL", value_parser = parse_collector)]
    otlp: Option<Collector>,
    /// Stop when standard input ends: for whoever starts hubs as its children.
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    match &args.command {
        None => serve(args).await?,
        Some(Command::Status(options)) => status(options).await?,
        Some(Command::Promote(promote)) => {
            let answer: DoneView = promote.door.ask("/api/v1/promote").await?;
            say!("{}", answer.done);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(options: &Options) -> Result<()> {
    let view: StandbyView = options.door.get("/api/v1/standby").await?;
    if let Some(text) = options.output.document(&view)? {
        say!("{}", text.trim_end());
        return Ok(());
    }
    let policy = format!("policy {}, version {}, epoch {}", view.sequence, view.version, view.epoch);
    match (&view.copy, view.copy_age_ms) {
        (Some(copy), Some(age)) => {
            say!("stands by: {policy}; the copy in {copy} was the newest {} s ago", age / 1000);
        }
        _ => say!("is the hub: {policy}"),
    }
    if let Some(problem) = view.problem {
        say!("{problem}");
    }
    Ok(())
}

async fn serve(args: Args) -> Result<()> {
    let Some(state_dir) = args.state_dir else {
        bail!("where is its state?\n  hint: --state-dir DIR");
    };
    let policies = match (args.policies, args.git) {
        (Some(folder), _) => PolicySource::Folder(folder),
        (None, Some(url)) => PolicySource::Git {
            url,
            branch: args.git_branch,
            path: args.git_path.unwrap_or_default(),
            signers: args.git_signers,
            interval: duration("--git-interval", &args.git_interval)?.max(Duration::from_secs(1)),
        },
        (None, None) if args.kubernetes => {
            PolicySource::Kubernetes(KubeAccess { kubeconfig: args.kubeconfig, context: args.context })
        }
        (None, None) => bail!("no policy given\n  hint: --policies DIR, --git URL or --kubernetes"),
    };
    if let PolicySource::Folder(folder) = &policies {
        std::fs::read_dir(folder)
            .with_context(|| format!("the policies {} cannot be read", folder.display()))?;
    }
    let every = duration("--copy-every", &args.copy_every)?.max(Duration::from_secs(1));
    let config = HubConfig {
        state_dir,
        policies,
        listen: args.listen,
        admin: args.admin,
        admin_tls: args.admin_tls,
        trust_domain: args.trust_domain,
        authority: args.ca,
        certificate_ttl: duration("--certificate-ttl", &args.certificate_ttl)?,
        webhooks: (!args.webhooks.is_empty())
            .then_some(Webhooks { urls: args.webhooks, token: args.webhook_token_file }),
        collector: args.otlp,
        standby_of: args.standby_of,
        copy: args.copy_to.map(|folder| StateCopy { folder, every }),
        waves: WaveLimits {
            bake: duration("--wave-bake", &args.wave_bake)?,
            patience: duration("--wave-patience", &args.wave_patience)?,
            loss_ppm: args.wave_loss * 10_000,
        },
    };
    Ok(tidegate_hub::run(config, stop::token(args.exit_with_stdin)).await?)
}

/// A duration of the command line.
pub(crate) fn duration(option: &str, text: &str) -> Result<Duration> {
    tidegate_api::parse_duration(text)
        .with_context(|| format!("{option} {text:?} is no duration\n  hint: for example 30s or 1h30m"))
}
