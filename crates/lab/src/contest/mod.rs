//! Failover beside others: the same endpoints, the same faults and the same load behind Tidegate with its Envoy and
//! behind other proxies, measured by the same rules. `cargo xtask bench failover` runs it.
//!
//! A service has four endpoints in each of two places: two zones of a cluster, or two clusters with a round trip of 65 ms
//! between them ([`Layout`]). The gateway stands at home, which is preferred; the other place stands by. All that a contestant is told lies in `configs/`, one file or two for each. Nothing is read from the proxies: what
//! moved, and when, is seen in the answers, which name the endpoint that gave them. So a move means the same for all.
//!
//! | module | what it is |
//! |---|---|
//! | [`contestant`] | who is measured, and where its program is |
//! | [`subject`] | one that runs and serves |
//! | [`proxy`] | a proxy with its files and its endpoints |
//! | [`config`] | its configuration, with the addresses filled in |
//! | [`fault`] | what is done at home |
//! | [`course`] | one fault on one contestant, under load |
//! | [`traffic`] | from the answers to moves; pure |
//! | [`report`] | the results as a table, as JSON and as a page |

pub mod config;
pub mod contestant;
pub mod course;
pub mod fault;
pub mod proxy;
pub mod report;
pub mod subject;
pub mod traffic;

use crate::load::Served;
use serde::{Serialize, Serializer};
use std::fmt;
use tidegate_model::{ClusterName, Zone};

/// The cluster at home.
const HOME_CLUSTER: &str = "us-east";
/// The zone at home, where home is a zone.
const HOME_ZONE: &str = "us-east-1a";
/// Endpoints in each place.
pub const ENDPOINTS: usize = 4;
/// The service.
pub const SERVICE: &str = "shop/web";

/// Which two places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// Two zones of one cluster.
    Zones,
    /// Two clusters in two regions, two zones in each.
    Clusters,
}

impl Layout {
    /// Both, in the order in which they are run.
    pub const ALL: [Self; 2] = [Self::Zones, Self::Clusters];

    /// By its name on the command line.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.name() == name)
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zones => "zones",
            Self::Clusters => "clusters",
        }
    }

    /// Whether this is at home.
    #[must_use]
    pub fn is_home(self, cluster: &str, zone: &str) -> bool {
        match self {
            Self::Zones => zone == HOME_ZONE,
            Self::Clusters => cluster == HOME_CLUSTER,
        }
    }

    /// Whether somebody at home served.
    #[must_use]
    pub fn at_home(self, served: &Served) -> bool {
        self.is_home(&served.cluster, &served.zone)
    }

    /// Where the endpoints are: the places of those at home, then of those that stand by; each has so many endpoints.
    fn places(self) -> (Vec<(ClusterName, Zone)>, usize) {
        let place = |cluster, zone| (crate::fleet::spec::known(cluster), crate::fleet::spec::known(zone));
        match self {
            Self::Zones => (vec![place("us-east", "us-east-1a"), place("us-east", "us-east-1b")], ENDPOINTS),
            Self::Clusters => {
                let places = [
                    ("us-east", "us-east-1a"),
                    ("us-east", "us-east-1b"),
                    ("us-west", "us-west-1a"),
                    ("us-west", "us-west-1b"),
                ];
                (places.into_iter().map(|(cluster, zone)| place(cluster, zone)).collect(), ENDPOINTS / 2)
            }
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Zones => "Two zones of a cluster",
            Self::Clusters => "Two clusters, 65 ms apart",
        })
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_have_as_many_endpoints_at_home_as_standing_by() {
        for layout in Layout::ALL {
            assert_eq!(Layout::named(layout.name()), Some(layout));
            let (places, each) = layout.places();
            let at_home =
                |(cluster, zone): &&(ClusterName, Zone)| layout.is_home(cluster.as_str(), zone.as_str());
            let home = places.iter().take_while(at_home).count();
            assert_eq!((home * each, places.len()), (ENDPOINTS, 2 * home), "{layout}");
        }
    }
}
