//! Follows the hub: dials, listens, and dials again when that ends.

use super::{
    InForce, clock::HubClock, drills::Desk, held::Held, join::Member, session, shown::GatewaySecrets,
    vault::Vault,
};
use crate::{admin::Ask, timeline::Timeline, view::HubLinkView};
use rand::Rng as _;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_discovery::Given;
use tidegate_link::{
    access::Grants,
    hub::Redial,
    identity::{Credentials, Expect, Identity, connect},
};
use tidegate_model::PeerBoot;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A stream that lasted so long was a good one: the next failure is a first one again.
const GOOD: Duration = Duration::from_secs(10);

/// How the way to the hub stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Whether the stream is open.
    pub(super) connected: bool,
    /// Since when it is so.
    pub(super) since: Instant,
}

/// The same for who shows it.
#[derive(Clone)]
pub(crate) struct HubLink {
    pub(super) link: watch::Receiver<Link>,
    pub(super) identity: Identity,
}

impl HubLink {
    pub(crate) fn view(&self) -> HubLinkView {
        let Link { connected, since } = *self.link.borrow();
        HubLinkView {
            connected,
            since_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            certificate_ends: self.identity.current().facts.not_after.as_secs(),
        }
    }
}

/// All that the way to the hub needs.
pub(super) struct Client {
    pub(super) folder: PathBuf,
    pub(super) member: Member,
    /// Where it is kept beside the folder.
    pub(super) vault: Option<Vault>,
    pub(super) identity: Identity,
    pub(super) held: Option<Held>,
    /// What the gateways are handed; `None` until there is a certificate for them.
    pub(super) secrets: watch::Sender<Option<GatewaySecrets>>,
    /// Who of the people may ask.
    pub(super) grants: watch::Sender<Grants>,
    pub(super) given: watch::Sender<Given>,
    pub(super) in_force: watch::Receiver<InForce>,
    pub(super) boot: PeerBoot,
    pub(super) asks: mpsc::Sender<Ask>,
    /// What was decided.
    pub(super) timeline: Arc<Timeline>,
    /// How it stands, for whoever asks.
    pub(super) link: watch::Sender<Link>,
    /// What the hub's clock says.
    pub(super) clock: HubClock,
    /// Whether a drill keeps the agent away.
    pub(super) left: watch::Receiver<bool>,
    /// Answers what is asked of drills.
    pub(super) desk: Desk,
    /// Whether the hub is asked for all of the policy, because a delta did not fit.
    pub(super) resend: bool,
    /// Which of the addresses is tried.
    pub(super) at: usize,
}

/// Comes back once it is so; never, once nobody can say it any more.
async fn until(left: &mut watch::Receiver<bool>, so: bool) {
    if left.wait_for(|it| *it == so).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Client {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut redial = Redial::default();
        let mut last = String::new();
        let mut left = self.left.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = until(&mut left, false) => {}
            }
            let began = tokio::time::Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.once() => ended,
                () = until(&mut left, true) => Err("a drill keeps this agent away".to_owned()),
            };
            let why = match ended {
                Ok(()) => "it ended the stream".to_owned(),
                Err(why) => why,
            };
            self.stands(false);
            if began.elapsed() >= GOOD {
                redial = Redial::default();
            }
            // The same words over and over would hide others.
            if why == last {
                tracing::debug!(hub = self.address(), "the hub is not followed: {why}");
            } else {
                let age = self.held.as_ref().map_or(0, |held| held.head.sequence);
                tracing::warn!(
                    hub = self.address(),
                    policy = age,
                    "the hub is not followed: {why}; the policy stays, trying again"
                );
            }
            last = why;
            self.at = self.at.wrapping_add(1);
            let wait = redial.failed(self.member.addresses.len(), rand::rng().random());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The stream is open, or it is not.
    pub(super) fn stands(&self, connected: bool) {
        self.link.send_if_modified(|link| {
            let changed = link.connected != connected;
            if changed {
                *link = Link { connected, since: Instant::now() };
            }
            changed
        });
    }

    /// The address that is tried now.
    pub(super) fn address(&self) -> &str {
        let addresses = &self.member.addresses;
        addresses.get(self.at % addresses.len().max(1)).map_or("", String::as_str)
    }

    /// From now on agent and gateways are who the member is.
    pub(super) fn swap(&self, credentials: Credentials) {
        self.identity.swap(credentials);
        self.grants.send_replace(self.member.trust.grants.clone());
        let new = self.member.secrets();
        self.secrets.send_if_modified(|current| {
            let changed = *current != new;
            *current = new;
            changed
        });
    }

    async fn once(&mut self) -> Result<(), String> {
        let config = self.identity.client(Expect::Hub).map_err(|error| error.to_string())?;
        let channel = connect(self.address(), config).await.map_err(|error| error.to_string())?;
        session::run(self, channel).await
    }
}
