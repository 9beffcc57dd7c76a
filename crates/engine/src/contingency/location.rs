//! Places that can be lost, and how they are written.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use tidegate_model::{ClusterName, Locality, Region};

/// A place that can be lost as a whole. Written `zone/REGION/ZONE`, `cluster/NAME` or `region/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Location {
    /// A zone of a region: the pools and sources there, of whichever clusters.
    Zone(Locality),
    /// A cluster with all its zones.
    Cluster(ClusterName),
    /// A region with all its clusters.
    Region(Region),
}

/// Not one of the three forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a location is written zone/REGION/ZONE, cluster/NAME or region/NAME, not {0:?}")]
pub struct LocationError(String);

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let parsed = match text.split('/').collect::<Vec<_>>().as_slice() {
            ["zone", region, zone] => region
                .parse()
                .ok()
                .zip(zone.parse().ok())
                .map(|(region, zone)| Self::Zone(Locality { region, zone })),
            ["cluster", name] => name.parse().ok().map(Self::Cluster),
            ["region", name] => name.parse().ok().map(Self::Region),
            _ => None,
        };
        parsed.ok_or_else(|| LocationError(text.to_owned()))
    }
}

impl TryFrom<String> for Location {
    type Error = LocationError;

    fn try_from(text: String) -> Result<Self, LocationError> {
        text.parse()
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(locality) => f.pad(&format!("zone/{locality}")),
            Self::Cluster(cluster) => f.pad(&format!("cluster/{cluster}")),
            Self::Region(region) => f.pad(&format!("region/{region}")),
        }
    }
}

/// A name that is no place of the fleet, or of more than one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fleet has {} {name:?}", if *matches == 0 { "no".to_owned() } else { matches.to_string() })]
pub struct UnknownLocation {
    /// The name.
    pub name: String,
    /// How many places it may mean.
    pub matches: usize,
    /// All places of the fleet.
    pub known: Vec<Location>,
}

impl super::FleetState {
    /// The place of this name. A zone may be written `zone/ZONE` where that is unique.
    pub fn location(&self, name: &str) -> Result<Location, UnknownLocation> {
        let known: Vec<Location> = self.locations().into_iter().collect();
        if let Some(found) = name.parse().ok().filter(|it| known.contains(it)) {
            return Ok(found);
        }
        let is_meant = |it: &&Location| matches!(it, Location::Zone(at) if name.strip_prefix("zone/") == Some(at.zone.as_str()));
        let meant: Vec<&Location> = known.iter().filter(is_meant).collect();
        match meant.as_slice() {
            [one] => Ok((*one).clone()),
            many => Err(UnknownLocation { name: name.to_owned(), matches: many.len(), known: known.clone() }),
        }
    }
}
