//! The agent's way to the hub: joining, the policy that it hands out, and how this cluster is.
//!
//! Nothing here is needed to fail over. The last good policy lies on disk (`keep`) and is handed to the loader like the files
//! of a folder (`files`), before the hub is asked for anything. Where the hub and a local manifest name the same object, the
//! hub's is in force and the local one is told as a problem: its files come first by path. What the hub says is believed if
//! it is signed and not older than what is held.

mod client;
mod clock;
mod drills;
mod files;
mod held;
mod join;
mod keep;
mod plans;
mod report;
mod session;
mod shown;
mod vault;

pub(crate) use files::{is_from_hub, is_handed_out, rejected};
pub(crate) use plans::elsewhere;
pub(crate) use report::Report;
pub(crate) use shown::GatewaySecrets;

use crate::{
    admin::{Ask, Shared, services::Foresight},
    page::Page,
    shell::since_1970,
    timeline::Timeline,
};
use client::Client;
pub(crate) use client::HubLink;
use clock::HubClock;
pub(crate) use clock::HubTime;
use drills::Desk;
use held::Held;
use std::{path::Path, sync::Arc, time::Instant};
use tidegate_discovery::Given;
use tidegate_link::{
    access::Grants,
    hub::{JoinToken, proto},
    identity::{Identity, Refusals, SystemClock, TrustDomain},
};
use tidegate_model::{ClusterName, PeerBoot};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use vault::Vault;

pub use join::HubError;
pub use vault::IdentitySecret;

/// Which cluster of which fleet the agent of a state folder is, if it has joined one.
pub(crate) fn joined(state: &Path) -> Result<Option<(ClusterName, TrustDomain)>, HubError> {
    let member = join::Member::load(&state.join(FOLDER))?;
    Ok(member.map(|it| (it.cluster, it.trust.bundle.trust_domain().clone())))
}

/// What the rest of the agent and its way to the hub have of each other.
#[derive(Clone)]
pub(crate) struct Way {
    /// The loop.
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) timeline: Arc<Timeline>,
    /// Whether a drill keeps the agent away from the hub.
    pub(crate) left: watch::Receiver<bool>,
}

impl Way {
    /// The way, and who says that a drill keeps the agent away from the hub.
    pub(crate) fn new(asks: &mpsc::Sender<Ask>, timeline: &Arc<Timeline>) -> (watch::Sender<bool>, Self) {
        let away = watch::Sender::new(false);
        let way = Self { asks: asks.clone(), timeline: Arc::clone(timeline), left: away.subscribe() };
        (away, way)
    }
}

/// The cluster and the life of an agent, by which it is known whichever way it is asked.
pub(crate) fn agent_name(cluster: &ClusterName, boot: PeerBoot) -> Arc<str> {
    format!("{cluster}/{:016x}", boot.0).into()
}

/// The folder below the agent's state.
const FOLDER: &str = "hub";

/// How an agent comes to its hub.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Where the hub is, as `HOST:PORT`, and where else it may be; if there is none, where it was when the agent joined.
    pub addresses: Vec<String>,
    /// The token, for a first start.
    pub token: Option<JoinToken>,
    /// Where what came of it is kept beside the state folder.
    pub secret: Option<IdentitySecret>,
}

/// What became of what was handed out: the number, and the objects that are not in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InForce {
    pub(crate) sequence: u64,
    pub(crate) rejected: Vec<proto::Rejected>,
}

/// A cluster that belongs to a fleet.
pub(crate) struct Membership {
    /// The cluster, by its certificate.
    pub(crate) cluster: ClusterName,
    /// What the agent shows to hub and peers, and whom it believes.
    pub(crate) identity: Identity,
    /// What its gateways are handed.
    pub(crate) secrets: watch::Receiver<Option<GatewaySecrets>>,
    /// Who of the people may ask.
    pub(crate) grants: watch::Receiver<Grants>,
    /// What the hub hands out.
    pub(crate) given: watch::Receiver<Given>,
    /// To be told what became of it.
    pub(crate) in_force: watch::Sender<InForce>,
    /// How the way to the hub stands.
    pub(crate) link: HubLink,
    /// What the hub's clock says.
    pub(crate) clock: watch::Receiver<HubTime>,
    /// What the hub asks for its page, and the agent's own.
    pub(crate) page: Arc<Page>,
}

/// Joins if that was not done before, and follows the hub until `stop`. When it returns there is a policy: the one on disk, or
/// the hub's first.
pub(crate) async fn open(
    state: &Path,
    options: HubOptions,
    cluster: Option<&ClusterName>,
    boot: PeerBoot,
    Way { asks, timeline, left }: Way,
    stop: CancellationToken,
) -> Result<Membership, HubError> {
    let folder = state.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(|source| HubError::file(&folder, &source))?;
    let vault = match &options.secret {
        Some(secret) => Some(Vault::open(secret).await?),
        None => None,
    };
    if let Some(vault) = &vault {
        vault.restore(&folder, &stop).await?;
    }
    let member = join::member(&folder, options, cluster, &stop).await?;
    if let Some(vault) = vault.clone() {
        tokio::spawn(vault.follow(folder.as_path().into(), stop.clone()));
    }
    let identity = member.identity(Refusals::default(), Arc::new(SystemClock))?;
    let (held, problems) = keep::load(&folder, &member.trust);
    for problem in problems {
        tracing::error!("{problem}");
    }
    if let Some(held) = &held {
        tracing::info!(
            sequence = held.head.sequence,
            version = held.head.version,
            "the last good policy is on disk"
        );
    }
    let given = watch::Sender::new(held.as_ref().map(Held::given).unwrap_or_default());
    let secrets = watch::Sender::new(member.secrets());
    let grants = watch::Sender::new(member.trust.grants.clone());
    let (in_force_tx, in_force) = watch::channel(InForce::default());
    let clock = HubClock::load(&folder, since_1970(), Instant::now());
    let link = watch::Sender::new(client::Link { connected: false, since: Instant::now() });
    let agent = agent_name(&member.cluster, boot);
    let shared = Shared {
        asks: asks.clone(),
        timeline: Arc::clone(&timeline),
        agent,
        telling: None,
        hooks: None,
        spans: None,
        foresight: Foresight::default(),
    };
    let page = Page::new(shared.clone(), member.cluster.clone());
    let mut membership = Membership {
        cluster: member.cluster.clone(),
        identity: identity.clone(),
        secrets: secrets.subscribe(),
        grants: grants.subscribe(),
        given: given.subscribe(),
        in_force: in_force_tx,
        link: HubLink { link: link.subscribe(), identity: identity.clone() },
        clock: clock.subscribe(),
        page: Arc::clone(&page),
    };
    let desk = Desk::new(shared, page);
    let client = Client {
        desk,
        link,
        clock,
        left,
        folder,
        member,
        vault,
        identity,
        held,
        secrets,
        grants,
        given,
        in_force,
        boot,
        asks,
        timeline,
        resend: false,
        at: 0,
    };
    tokio::spawn(client.run(stop.clone()));
    tokio::select! {
        () = stop.cancelled() => return Err(HubError::Stopped),
        complete = membership.complete() => complete?,
    }
    Ok(membership)
}

impl Membership {
    /// Waits until there is all that an agent starts with. After the first start it lies on disk.
    async fn complete(&mut self) -> Result<(), HubError> {
        if self.secrets.borrow().is_none() {
            tracing::info!(
                "waiting for the hub to give the gateways a certificate, which it did not when this cluster joined"
            );
            self.secrets.wait_for(Option::is_some).await.map_err(|_| HubError::Stopped)?;
        }
        if self.given.borrow().number == 0 {
            tracing::info!("waiting for the first policy of the hub");
            self.given.wait_for(|given| given.number != 0).await.map_err(|_| HubError::Stopped)?;
        }
        self.given.mark_unchanged();
        Ok(())
    }
}
