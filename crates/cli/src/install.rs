//! `tidegate install`: the manifests that install Tidegate in a Kubernetes cluster, on standard output. Nothing is asked or changed.

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::ExitCode};
use tidegate_install::{
    agent, crds, documents, gateways, hub,
    values::{Many, Number, When},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the custom resource definitions.
    Crds,
    /// Print the hub: one, with its keys on a disk of its own.
    Hub(Hub),
    /// Print the agents of a cluster.
    Agent(Agent),
    /// Print the Envoys of a Gateway, some for each zone.
    Gateways(Gateways),
    /// Copy this program to a file, for pods whose image has only Envoy.
    #[command(hide = true)]
    Binary(Binary),
}

#[derive(Debug, Args)]
struct Common {
    /// The image of tidegate, with its version: registry.example/tidegate:0.1.0, or with a digest.
    #[arg(long)]
    image: String,
    /// The namespace.
    #[arg(long, default_value = "tidegate-system")]
    namespace: String,
    /// Print the namespace, too.
    #[arg(long)]
    create_namespace: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct Hub {
    #[command(flatten)]
    common: Common,
    /// The ConfigMap with the fleet's policy, a file for each key.
    #[arg(long, value_name = "NAME", default_value = "tidegate-policies")]
    policies: String,
    /// A Git repository in place of it; the image then has to hold the command `git`.
    #[arg(long, value_name = "URL", conflicts_with = "policies")]
    git: Option<String>,
    /// The API of the cluster that the hub is in, in place of both: its objects are told what became of them.
    #[arg(long, conflicts_with_all = ["policies", "git"])]
    kubernetes: bool,
    /// The type of the Service at which agents of other clusters come in: LoadBalancer, NodePort or ClusterIP.
    #[arg(long, value_name = "TYPE", default_value = "LoadBalancer")]
    service: String,
}

#[derive(Debug, Parser)]
pub(crate) struct Agent {
    #[command(flatten)]
    common: Common,
    /// The name of the cluster's `FleetCluster`.
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// How many agents; three outlive the loss of a zone without a pause.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=9))]
    replicas: u32,
    /// Where the hub is. The agents join it with the tokens in the Secret tidegate-agent-join, one for each pod, below its name.
    #[arg(long, value_name = "HOST:PORT")]
    hub: Option<String>,
    /// Let the agents read these Secrets, for the certificates of HTTPS listeners: one, or all of a namespace, or `all` that there
    /// are. Roles know no types: who may read all of a namespace may read its passwords, too.
    #[arg(long, value_name = "NAMESPACE[/NAME]", value_delimiter = ',')]
    read_certificates: Vec<String>,
}

#[derive(Debug, Parser)]
pub(crate) struct Gateways {
    /// The image of tidegate, with its version: registry.example/tidegate:0.1.0, or with a digest.
    #[arg(long)]
    image: String,
    /// The Gateway.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    gateway: tidegate_model::GatewayName,
    /// The name of the cluster's `FleetCluster`.
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// The cluster's region.
    #[arg(long)]
    region: String,
    /// A zone that gets Envoys of its own; once for each zone.
    #[arg(long = "zone", required = true)]
    zones: Vec<String>,
    /// The port of a listener of the Gateway; once for each.
    #[arg(long = "port", required = true, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    ports: Vec<u32>,
    /// The image of Envoy, as its makers publish it.
    #[arg(long, default_value = "docker.io/envoyproxy/envoy:distroless-v1.40.0")]
    envoy_image: String,
    /// The agents' namespace.
    #[arg(long, default_value = "tidegate-system")]
    agent_namespace: String,
    /// How many agents there are.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=9))]
    agents: u32,
    /// The least Envoys of a zone.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    replicas: u32,
    /// The most Envoys of a zone.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_replicas: u32,
    /// How long connections may go on after an Envoy was asked to end, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    drain: u32,
    /// The type of the Service: LoadBalancer, NodePort or ClusterIP.
    #[arg(long, value_name = "TYPE", default_value = "LoadBalancer")]
    service: String,
    /// The Secret with what `tidegate envoy certificate` made, where the cluster has joined a hub.
    #[arg(long, value_name = "NAME")]
    credentials: Option<String>,
}

#[derive(Debug, Parser)]
pub(crate) struct Binary {
    /// The file.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    let text = match command {
        Command::Crds => crds(),
        Command::Hub(args) => {
            let options = args.options();
            options.check()?;
            documents(&hub::objects(&options))
        }
        Command::Agent(args) => {
            let options = args.options()?;
            options.check()?;
            documents(&agent::objects(&options))
        }
        Command::Gateways(args) => {
            let options = args.options();
            options.check()?;
            documents(&gateways::objects(&options))
        }
        Command::Binary(args) => {
            copy(&args)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    say!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}

impl Hub {
    fn options(self) -> hub::Options {
        let Common { image, namespace, create_namespace } = self.common;
        hub::Options {
            namespace,
            create_namespace,
            image,
            policies: self.policies,
            with_policies: When::Known(self.git.is_none() && !self.kubernetes),
            with_git: When::Known(self.git.is_some()),
            git: self.git.unwrap_or_default(),
            with_kubernetes: When::Known(self.kubernetes),
            service: self.service,
        }
    }
}

impl Agent {
    fn options(self) -> Result<agent::Options> {
        let (all, places): (Vec<String>, Vec<String>) =
            self.read_certificates.into_iter().partition(|it| it == "all");
        if !(all.is_empty() || places.is_empty()) {
            bail!("--read-certificates says all and {}\n  hint: say one of both", places.join(","));
        }
        let certificates: Result<Vec<_>, _> = places.iter().map(|it| agent::Certificate::read(it)).collect();
        let Common { image, namespace, create_namespace } = self.common;
        Ok(agent::Options {
            namespace,
            create_namespace,
            image,
            cluster: self.cluster,
            replicas: self.replicas.into(),
            with_hub: When::Known(self.hub.is_some()),
            hub: self.hub.unwrap_or_default(),
            certificates: Many::These(certificates?),
            all_certificates: When::Known(!all.is_empty()),
        })
    }
}

impl Gateways {
    fn options(self) -> gateways::Options {
        gateways::Options {
            namespace: self.gateway.namespace().to_owned(),
            gateway: self.gateway.name().to_owned(),
            image: self.image,
            envoy_image: self.envoy_image,
            cluster: self.cluster,
            region: self.region,
            zones: Many::These(self.zones),
            ports: Many::These(self.ports.into_iter().map(Number::from).collect()),
            agent_namespace: self.agent_namespace,
            agents: Many::These((0..self.agents).map(Number::from).collect()),
            replicas: (self.replicas.into(), self.max_replicas.into()),
            drain_seconds: self.drain.into(),
            service: self.service,
            with_credentials: When::Known(self.credentials.is_some()),
            credentials: self.credentials.unwrap_or_default(),
        }
    }
}

/// Under another name first: whoever finds the file finds all of it.
fn copy(args: &Binary) -> Result<()> {
    let own = std::env::current_exe().context("this program's own file cannot be found")?;
    let part = args.to.with_extension("part");
    let written = fs::copy(&own, &part)
        .and_then(|_| fs::set_permissions(&part, fs::Permissions::from_mode(0o555)))
        .and_then(|()| fs::rename(&part, &args.to));
    written.with_context(|| {
        format!(
            "{} cannot be written\n  hint: name a file in a folder that is there and writable",
            args.to.display()
        )
    })
}
