//! The wide area network of a lab: TCP proxies in this process that stand between sites.
//!
//! A [`WanLink`] is one direction of reach: it listens on an address of the lab and forwards to one
//! target, with a delay each way. A [`Wan`] knows which links lie between which sites, and which
//! sites are in which region, so that two sites can be cut from each other, and a region be taken
//! away as a whole.
//!
//! What differs from a real network: a black hole begins above the kernel, so a new connection is
//! still *accepted* (its handshake succeeds) and only then goes silent.

mod link;

pub use link::{LinkState, Shape, WanLink};

use std::{collections::BTreeMap, fmt, io, time::Duration};
use tidegate_model::{ClusterName, Region};
use tokio::sync::Mutex;

/// An end of a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// A cluster: links lead to its east-west gateway, and through it to its agent.
    Cluster(ClusterName),
    /// The hub, which lies in no region.
    Hub,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cluster(name) => name.as_str(),
            Self::Hub => "hub",
        })
    }
}

/// The links of a fleet, by the sites that they lie between.
#[derive(Debug, Default)]
pub struct Wan {
    regions: BTreeMap<ClusterName, Region>,
    /// By (from, to).
    links: BTreeMap<(Site, Site), WanLink>,
    /// From clients to the edge of a cluster.
    access: BTreeMap<ClusterName, WanLink>,
    states: Mutex<States>,
}

/// What is not open.
#[derive(Debug, Default)]
struct States {
    regions: BTreeMap<Region, LinkState>,
    /// By the two ends, the lower one first.
    pairs: BTreeMap<(Site, Site), LinkState>,
}

impl Wan {
    /// No links yet, between clusters in these regions.
    #[must_use]
    pub fn new(regions: impl IntoIterator<Item = (ClusterName, Region)>) -> Self {
        Self { regions: regions.into_iter().collect(), ..Self::default() }
    }

    /// Adds the link by which `from` reaches `to`, in place of an earlier one.
    pub fn add_link(&mut self, from: Site, to: Site, link: WanLink) {
        self.links.insert((from, to), link);
    }

    /// Adds the link by which clients reach the edge of `cluster`, in place of an earlier one.
    pub fn add_access(&mut self, cluster: ClusterName, link: WanLink) {
        self.access.insert(cluster, link);
    }

    /// The link by which `from` reaches `to`.
    #[must_use]
    pub fn link(&self, from: &Site, to: &Site) -> Option<&WanLink> {
        self.links.get(&(from.clone(), to.clone()))
    }

    /// The link by which clients reach the edge of `cluster`.
    #[must_use]
    pub fn access(&self, cluster: &ClusterName) -> Option<&WanLink> {
        self.access.get(cluster)
    }

    /// Whether a link lies between the two, in one direction at least.
    #[must_use]
    pub fn is_between(&self, one: &Site, other: &Site) -> bool {
        self.link(one, other).is_some() || self.link(other, one).is_some()
    }

    /// Takes a region away without a word: every link from and to it and the access to its edges
    /// swallow all bytes. What lies within it goes on.
    pub async fn black_hole(&self, region: &Region) -> io::Result<()> {
        self.set_region(region, LinkState::BlackHole).await
    }

    /// Cuts a region off with a word: connections are closed, connects are refused.
    pub async fn cut(&self, region: &Region) -> io::Result<()> {
        self.set_region(region, LinkState::Cut).await
    }

    /// Brings a region back. Links to a region that is itself still away, or that are cut by
    /// themselves, stay as they are.
    pub async fn restore(&self, region: &Region) -> io::Result<()> {
        self.set_region(region, LinkState::Open).await
    }

    async fn set_region(&self, region: &Region, state: LinkState) -> io::Result<()> {
        let mut states = self.states.lock().await;
        states.regions.insert(region.clone(), state);
        self.apply(&states).await
    }

    /// Changes what the links between two sites carry, in both directions.
    pub async fn set_between(&self, one: &Site, other: &Site, state: LinkState) -> io::Result<()> {
        let mut states = self.states.lock().await;
        states.pairs.insert(pair(one, other), state);
        self.apply(&states).await
    }

    /// Makes the links between two sites take so much longer, each way, in both directions.
    pub fn delay_between(&self, one: &Site, other: &Site, by: Duration) {
        for (from, to) in [(one, other), (other, one)] {
            if let Some(link) = self.link(from, to) {
                link.delay_by(by);
            }
        }
    }

    /// All at once: a region does not go away link by link.
    async fn apply(&self, states: &States) -> io::Result<()> {
        let links = self.links.iter().map(|((from, to), link)| (link, self.state(states, from, to)));
        let access = self.access.iter().map(|(cluster, link)| {
            (link, self.regions.get(cluster).map_or(LinkState::Open, |region| states.of(region)))
        });
        let changed = links.chain(access).filter(|(link, state)| link.state() != *state);
        futures::future::try_join_all(changed.map(|(link, state)| link.set(state))).await?;
        Ok(())
    }

    /// What the links between two sites are to be.
    fn state(&self, states: &States, from: &Site, to: &Site) -> LinkState {
        let region = |site: &Site| match site {
            Site::Cluster(name) => self.regions.get(name),
            Site::Hub => None,
        };
        let by_pair = states.pairs.get(&pair(from, to)).copied().unwrap_or(LinkState::Open);
        let (one, other) = (region(from), region(to));
        let ends = if one == other { [None, None] } else { [one, other] };
        ends.into_iter().flatten().map(|region| states.of(region)).fold(by_pair, LinkState::max)
    }
}

impl States {
    fn of(&self, region: &Region) -> LinkState {
        self.regions.get(region).copied().unwrap_or(LinkState::Open)
    }
}

fn pair(one: &Site, other: &Site) -> (Site, Site) {
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    (low.clone(), high.clone())
}

#[cfg(test)]
mod tests;
