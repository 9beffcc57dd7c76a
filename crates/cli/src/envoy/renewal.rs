//! The certificate of a gateway's Envoys is replaced before it ends, by their agent, and the roots by which they know it too.
//!
//! Envoy watches the folder and takes what is renamed into it; no connection ends by that. When something is due is decided by
//! [`due`], without a clock. Somebody may make the folder anew meanwhile, so it is read each time.

use crate::{envoy_certificate::Shown, stop};
use anyhow::{Context as _, Result, bail};
use clap::Parser;
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tidegate_envoy::{AGENT_ROOT, AgentAddress, GATEWAY_PEM};
use tidegate_link::{
    gateway::{Renewed, renew},
    hub::Redial,
    identity::{
        BACKDATED, CertificateFacts, Clock as _, Identity, Refusals, SystemClock, UnixTime, to_pem,
        write_public, write_secret,
    },
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The folder is looked at so often, or each tenth of the certificate's life if that is shorter.
const LOOK: Duration = Duration::from_secs(5);
/// The agent is asked for its roots so often, or each tenth of the certificate's life: an authority is replaced in steps, and
/// nobody should have to wait for two thirds of a year for the next one.
const ROOTS: Duration = Duration::from_secs(300);
/// The shortest of such waits.
const SHORTEST: Duration = Duration::from_millis(100);

#[derive(Debug, Parser)]
pub(crate) struct Renew {
    /// The agent's listen address, HOST:PORT; given several times, those of its replicas.
    #[arg(long = "agent", value_name = "ADDR", required = true)]
    agents: Vec<AgentAddress>,
    /// The folder that `tidegate envoy certificate` made.
    #[arg(long, value_name = "DIR")]
    credentials: PathBuf,
    /// Renew now, whether it is due or not, and end.
    #[arg(long)]
    now: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// To ask for the roots.
    Roots,
    /// To ask for a certificate, and the roots.
    Certificate,
    /// Nothing helps any more but making the folder anew.
    TooLate,
}

/// `of_first` is whether the certificate is of the first of the agent's roots, `asked` when the agent was last asked, so long ago.
fn due(facts: &CertificateFacts, of_first: bool, now: UnixTime, asked: Option<Duration>) -> Due {
    if facts.not_after.as_secs() <= now.as_secs() {
        Due::TooLate
    } else if facts.renew_at() <= now || !of_first {
        Due::Certificate
    } else if asked.is_none_or(|ago| ago >= tenth(facts).min(ROOTS)) {
        Due::Roots
    } else {
        Due::Nothing
    }
}

fn tenth(facts: &CertificateFacts) -> Duration {
    let issued = (facts.not_before + BACKDATED).min(facts.not_after);
    ((facts.not_after - issued) / 10).max(SHORTEST)
}

pub(crate) async fn run(args: &Renew) -> Result<ExitCode> {
    let addresses = dialled(&args.agents);
    if addresses.is_empty() {
        bail!(
            "no agent comes by TCP\n  hint: --agent HOST:PORT; over a Unix socket no certificate is needed"
        );
    }
    // What is wrong from the start is told at once.
    Shown::read(&args.credentials)?;
    if args.now {
        let mut last = None;
        for address in &addresses {
            match ask(&args.credentials, address, true).await {
                Ok(()) => return Ok(ExitCode::SUCCESS),
                Err(error) => last = Some(error.context(format!("the agent at {address}"))),
            }
        }
        return Err(last.context("no agent was asked")?);
    }
    keep(args.credentials.clone(), args.agents.clone(), stop::token(false)).await;
    Ok(ExitCode::SUCCESS)
}

fn dialled(agents: &[AgentAddress]) -> Vec<String> {
    agents.iter().filter(|it| !matches!(it, AgentAddress::Unix(_))).map(ToString::to_string).collect()
}

/// Keeps the folder good until `stop`.
pub(super) async fn keep(folder: PathBuf, agents: Vec<AgentAddress>, stop: CancellationToken) {
    let addresses = dialled(&agents);
    if addresses.is_empty() {
        return;
    }
    let mut keeper =
        Keeper { folder, addresses, at: 0, asked: None, redial: Redial::default(), told: String::new() };
    loop {
        let wait = keeper.step().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

struct Keeper {
    folder: PathBuf,
    addresses: Vec<String>,
    /// Which of the addresses is asked.
    at: usize,
    /// When an agent answered last.
    asked: Option<Instant>,
    redial: Redial,
    /// What was told last: the same over and over would hide other words.
    told: String,
}

impl Keeper {
    /// Does what is due, and says how long to wait.
    async fn step(&mut self) -> Duration {
        let shown = match Shown::read(&self.folder) {
            Ok(shown) => shown,
            // Perhaps between two files of somebody who makes it anew.
            Err(error) => return self.failed(&format!("{error:#}"), LOOK),
        };
        let facts = &shown.credentials.facts;
        let look = tenth(facts).min(LOOK);
        let of_first = shown.root.as_ref() == shown.credentials.bundle.roots().first();
        let is_wanted = match due(facts, of_first, SystemClock.now(), self.asked.map(|at| at.elapsed())) {
            Due::Nothing => return look,
            Due::TooLate => {
                return self.failed(
                    "it has expired; make another: tidegate envoy certificate, on the agent's host",
                    LOOK,
                );
            }
            Due::Roots => false,
            Due::Certificate => true,
        };
        let address = self.addresses[self.at % self.addresses.len()].clone();
        match ask(&self.folder, &address, is_wanted).await {
            Ok(()) => {
                self.asked = Some(Instant::now());
                self.redial = Redial::default();
                self.told.clear();
                look
            }
            Err(error) => {
                self.at = self.at.wrapping_add(1);
                let wait = self.redial.failed(self.addresses.len(), rand::random());
                self.failed(&format!("the agent at {address}: {error:#}"), wait)
            }
        }
    }

    fn failed(&mut self, why: &str, wait: Duration) -> Duration {
        if why != self.told {
            tracing::warn!(folder = %self.folder.display(), "the gateway's certificate is not renewed: {why}");
            self.told = why.to_owned();
        }
        wait
    }
}

/// Asks the agent at an address, and writes what it answers.
async fn ask(folder: &Path, address: &str, is_wanted: bool) -> Result<()> {
    let lock = File::open(folder).with_context(|| format!("{} cannot be opened", folder.display()))?;
    if lock.try_lock().is_err() {
        bail!("somebody else renews it at this moment");
    }
    let shown = Shown::read(folder)?;
    let known = shown.credentials.bundle.roots().to_vec();
    let gateway = shown.gateway;
    let identity = Identity::new(shown.credentials, Refusals::default(), Arc::new(SystemClock));
    let Renewed { shown, roots } = renew(address, &identity, is_wanted).await?;
    let failed = |name: &str| format!("{} cannot be written", folder.join(name).display());
    // First whom to believe: the agent may show another certificate from now on.
    if roots != known {
        write_public(&folder.join(AGENT_ROOT), to_pem(&roots).as_bytes())
            .with_context(|| failed(AGENT_ROOT))?;
        tracing::info!(%gateway, roots = roots.len(), "the agent is known by other roots");
    }
    if let Some((key, chain)) = shown {
        let pem = format!("{}{}", to_pem(&chain), key.to_pem());
        write_secret(&folder.join(GATEWAY_PEM), pem.as_bytes()).with_context(|| failed(GATEWAY_PEM))?;
        let serial =
            chain.first().and_then(|it| CertificateFacts::read(it).ok()).map(|it| it.serial.to_string());
        tracing::info!(%gateway, serial, "the gateway's certificate is renewed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_link::identity::{Authority, Party, PrivateKey, Serial};

    #[test]
    fn a_certificate_is_due_at_two_thirds_of_its_life_or_when_the_authority_is_another() {
        let at = UnixTime::since_unix_epoch;
        let (start, life) = (Duration::from_secs(1_800_000_000), Duration::from_secs(30_000));
        let domain = "fleet.example".parse().unwrap();
        let (certificate, key) = Authority::create(&domain, at(start), life * 2).unwrap();
        let authority = Authority::from_pem(domain, &certificate, &key, None).unwrap();
        let party = Party::Envoy("east".parse().unwrap(), "shop/edge".parse().unwrap());
        let request = PrivateKey::generate().unwrap().request().unwrap();
        let issued = authority.issue(&request, &party, &Serial::of(&[1]), at(start), life).unwrap();
        let due = |of_first, after: u64, asked: Option<u64>| {
            let now = at(start + Duration::from_secs(after));
            super::due(&issued.facts, of_first, now, asked.map(Duration::from_secs))
        };
        assert_eq!(due(true, 0, None), Due::Roots);
        assert_eq!(due(true, 19_999, Some(299)), Due::Nothing);
        assert_eq!(due(true, 19_999, Some(300)), Due::Roots);
        assert_eq!(due(true, 20_000, Some(0)), Due::Certificate);
        assert_eq!(due(false, 0, Some(0)), Due::Certificate);
        assert_eq!((due(true, 29_999, None), due(false, 30_000, None)), (Due::Certificate, Due::TooLate));
    }
}
