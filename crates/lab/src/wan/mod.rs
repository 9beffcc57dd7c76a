//! The wide area network of a lab: TCP proxies in this process that stand between regions.
//!
//! A [`WanLink`] is one direction of reach: it listens on an address of the lab and forwards to one
//! target, with a delay each way. A [`Wan`] knows which links touch which region, so that a region
//! can be taken away as a whole.
//!
//! What differs from a real network: a black hole begins above the kernel, so a new connection is
//! still *accepted* (its handshake succeeds) and only then goes silent.

mod link;

pub use link::{LinkState, Shape, WanLink};

use std::{collections::BTreeMap, io};
use tidegate_model::Region;
use tokio::sync::Mutex;

/// The links of a fleet, by the regions that they touch.
#[derive(Debug, Default)]
pub struct Wan {
    /// By (from, to).
    links: BTreeMap<(Region, Region), WanLink>,
    /// From clients to the edge of a region.
    access: BTreeMap<Region, WanLink>,
    /// Regions that are not open.
    states: Mutex<BTreeMap<Region, LinkState>>,
}

impl Wan {
    /// No links yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the link by which `from` reaches `to`, in place of an earlier one.
    pub fn add_link(&mut self, from: Region, to: Region, link: WanLink) {
        self.links.insert((from, to), link);
    }

    /// Adds the link by which clients reach the edge of `region`, in place of an earlier one.
    pub fn add_access(&mut self, region: Region, link: WanLink) {
        self.access.insert(region, link);
    }

    /// The link by which `from` reaches `to`.
    #[must_use]
    pub fn link(&self, from: &Region, to: &Region) -> Option<&WanLink> {
        self.links.get(&(from.clone(), to.clone()))
    }

    /// The link by which clients reach the edge of `region`.
    #[must_use]
    pub fn access(&self, region: &Region) -> Option<&WanLink> {
        self.access.get(region)
    }

    /// Takes a region away without a word: every link from and to it and the access to its edge
    /// swallow all bytes.
    pub async fn black_hole(&self, region: &Region) -> io::Result<()> {
        self.set(region, LinkState::BlackHole).await
    }

    /// Cuts a region off with a word: connections are closed, connects are refused.
    pub async fn cut(&self, region: &Region) -> io::Result<()> {
        self.set(region, LinkState::Cut).await
    }

    /// Brings a region back. Links to a region that is itself still away stay as they are.
    pub async fn restore(&self, region: &Region) -> io::Result<()> {
        self.set(region, LinkState::Open).await
    }

    async fn set(&self, region: &Region, state: LinkState) -> io::Result<()> {
        let mut states = self.states.lock().await;
        states.insert(region.clone(), state);
        let of = |region: &Region| states.get(region).copied().unwrap_or(LinkState::Open);
        let links = self
            .links
            .iter()
            .filter(|((from, to), _)| from == region || to == region)
            .map(|((from, to), link)| (link, of(from).max(of(to))));
        let access = self.access.get(region).map(|link| (link, of(region)));
        // All at once: a region does not go away link by link.
        futures::future::try_join_all(links.chain(access).map(|(link, state)| link.set(state))).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
