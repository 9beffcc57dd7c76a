//! `tidegate envoy certificate`: what an Envoy shows to its agent over TCP, made beforehand on the agent's host.

use crate::hub::duration;
use anyhow::{Context, Result, bail};
use clap::Parser;
use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidegate_agent::{envoy_certificate, revoke_envoys};
use tidegate_envoy::{AGENT_ROOT, AGENT_SDS, AgentTls, GATEWAY_PEM, GATEWAY_SDS, agent_sds, gateway_sds};
use tidegate_link::identity::{
    CertificateDer, CertificateFacts, Clock, Credentials, Party, PrivateKey, SpiffeId, SystemClock,
    TrustBundle, write_public, write_secret,
};
use tidegate_model::{ClusterName, GatewayName};

#[derive(Debug, Parser)]
pub(crate) struct Certificate {
    /// The state folder of the agent, which has joined a hub. The agent may run.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// The gateway: its Envoys are given what is this gateway's, and nothing else.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    gateway: GatewayName,
    /// The folder to write. It holds a key: carry it to the Envoys' hosts as one carries a key.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where that folder will lie on the Envoys' hosts [default: where it is written]
    #[arg(long, value_name = "DIR")]
    mounted_at: Option<PathBuf>,
    /// How long it is good for, as 720h. `tidegate envoy run` and `tidegate envoy renew` replace it in time by another one that
    /// is good for as long; made again into the same folder, Envoy takes it too without a restart.
    #[arg(long, value_name = "DURATION", default_value = "8760h")]
    ttl: String,
}

pub(crate) fn make(args: &Certificate) -> Result<ExitCode> {
    let ttl = duration("--ttl", &args.ttl)?.max(Duration::from_secs(1));
    let certificate = envoy_certificate(&args.state_dir, &args.gateway, ttl)?;
    let out = &args.out;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(out);
    made.with_context(|| format!("{} cannot be made", out.display()))?;
    let at = match &args.mounted_at {
        Some(at) => at.clone(),
        None => fs::canonicalize(out)?,
    };
    let file = |name: &str| (out.join(name), format!("{} cannot be written", out.join(name).display()));
    let (path, failed) = file(AGENT_ROOT);
    write_public(&path, certificate.roots.as_bytes()).context(failed)?;
    let (path, failed) = file(AGENT_SDS);
    write_public(&path, agent_sds(&at).to_string().as_bytes()).context(failed)?;
    let (path, failed) = file(GATEWAY_SDS);
    write_public(&path, gateway_sds(&at).to_string().as_bytes()).context(failed)?;
    // The last one: Envoy looks when it is replaced.
    let (path, failed) = file(GATEWAY_PEM);
    write_secret(&path, certificate.pem().as_bytes()).context(failed)?;
    say!("{} in {}, for tidegate envoy --credentials {}", certificate.id, out.display(), at.display());
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Parser)]
pub(crate) struct Revoke {
    /// The state folder of the agent, which has joined a hub. The agent may run: it looks every 5 s.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// The gateway whose Envoys are refused with what they have. Others stay.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    gateway: GatewayName,
}

pub(crate) fn revoke(args: &Revoke) -> Result<ExitCode> {
    let path = revoke_envoys(&args.state_dir, &args.gateway)?;
    // Certificates tell whole seconds: what is issued from the next one on is believed.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    std::thread::sleep(
        Duration::from_secs(1).saturating_sub(Duration::from_nanos(now.subsec_nanos().into())),
    );
    say!("What the Envoys of {} were given until now is refused by the agent within 5 s.", args.gateway);
    say!("Copy {} to the agent's replicas, and make the folders of its hosts anew:", path.display());
    say!(
        "tidegate envoy certificate --state-dir {} --gateway {} --out DIR",
        args.state_dir.display(),
        args.gateway
    );
    Ok(ExitCode::SUCCESS)
}

/// How the Envoys of `gateway` and their agent know each other, from such a folder.
pub(crate) fn read(folder: &Path, gateway: &GatewayName) -> Result<AgentTls> {
    let (cluster, trust_domain) = {
        let shown = Shown::read(folder)?;
        if shown.gateway != *gateway {
            bail!(
                "{} is of gateway {}, not {gateway}{HINT}",
                folder.join(GATEWAY_PEM).display(),
                shown.gateway
            );
        }
        if shown.credentials.facts.not_after.as_secs() <= SystemClock.now().as_secs() {
            bail!("{} has expired{HINT}", folder.join(GATEWAY_PEM).display());
        }
        (shown.cluster, shown.credentials.bundle.trust_domain().clone())
    };
    let sds = folder.join(AGENT_SDS);
    if !sds.exists() {
        bail!("{} is not there: an older version made the folder{HINT}", sds.display());
    }
    let agent = SpiffeId { trust_domain, party: Party::Agent(cluster) }.to_string();
    Ok(AgentTls { folder: fs::canonicalize(folder)?, agent })
}

const HINT: &str = "\n  hint: tidegate envoy certificate makes the folder, on the host of the agent";

/// What such a folder holds.
pub(crate) struct Shown {
    pub(crate) cluster: ClusterName,
    pub(crate) gateway: GatewayName,
    /// What is shown, and by which roots the agent is known.
    pub(crate) credentials: Credentials,
    /// The root of what is shown.
    pub(crate) root: Option<CertificateDer<'static>>,
}

impl Shown {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("{} cannot be read{HINT}", path.display()))
        };
        let path = folder.join(GATEWAY_PEM);
        let pem = text(GATEWAY_PEM)?;
        let chain = TrustBundle::certificates(&pem)?;
        let Some(own) = chain.first() else { bail!("{} holds no certificate{HINT}", path.display()) };
        let facts = CertificateFacts::read(own)?;
        let Some(SpiffeId { trust_domain, party: Party::Envoy(cluster, gateway) }) = facts.id else {
            bail!(
                "{} is not the certificate of a gateway's Envoys but of {}{HINT}",
                path.display(),
                facts.names
            );
        };
        let bundle = TrustBundle::new(trust_domain, TrustBundle::certificates(&text(AGENT_ROOT)?)?)?;
        let root = chain.last().cloned();
        let credentials = Credentials::new(chain, &PrivateKey::from_pem(&pem)?, bundle)?;
        Ok(Self { cluster, gateway, credentials, root })
    }
}
