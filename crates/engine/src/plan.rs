//! The result of a decision: for one service and one source, who serves what share, who stands by, and why.

mod shares;

use crate::{capacity::Budget, policy::Origin};
use serde::{Deserialize, Serialize};
pub use shares::Shares;
use std::{fmt, str::FromStr, sync::Arc};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, Region, ServiceName, Share, Zone};

/// Where requests enter: gateways and clients of one zone of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The cluster.
    pub cluster: ClusterName,
    /// The zone of that cluster.
    pub locality: Locality,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.cluster, self.locality.zone))
    }
}

/// What a source can send to: a zone of its own cluster, or another cluster as a whole, whose
/// east-west gateway chooses the zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// A zone of the source's own cluster.
    Zone(Zone),
    /// Another cluster.
    Cluster(ClusterName),
}

/// Neither `zone NAME` nor `cluster NAME`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a target is written \"zone NAME\" or \"cluster NAME\", not {0:?}")]
pub struct TargetError(String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let parsed = match text.split_once(' ') {
            Some(("zone", name)) => name.parse().ok().map(Self::Zone),
            Some(("cluster", name)) => name.parse().ok().map(Self::Cluster),
            _ => None,
        };
        parsed.ok_or_else(|| TargetError(text.to_owned()))
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(zone) => f.pad(&format!("zone {zone}")),
            Self::Cluster(cluster) => f.pad(&format!("cluster {cluster}")),
        }
    }
}

/// Where the traffic of one source for one service goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The service.
    pub service: ServiceName,
    /// The source.
    pub source: Source,
    /// Who serves, with shares above zero. With `shed` they sum to 10000 exactly.
    pub shares: Shares,
    /// What is answered with 503 at the gateway.
    pub shed: Share,
    /// Who stands by: each entry serves when everything before it is gone. Its shares sum to 10000.
    pub standby: Arc<[Shares]>,
    /// Whether all that serve are unhealthy, and are tried only because nothing better is left.
    pub last_resort: bool,
    /// Why, for each target that was looked at, in the order of the tiers.
    pub reasons: Vec<Reason>,
}

/// Why a target has the share it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// The target.
    pub target: Target,
    /// Its region.
    pub region: Region,
    /// Its tier, from 1; `None` when no tier of the order names it.
    pub tier: Option<u32>,
    /// Its share.
    pub share: Share,
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// The part of its normal load that it is given.
    pub admit: Fraction,
    /// Where it stands.
    pub phase: Phase,
    /// The rule that decided.
    pub rule: Rule,
    /// Where that rule was written.
    pub origin: Origin,
    /// What it may take and what the fleet sends it, where capacity is declared and demand is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Box<Budget>>,
    /// What acts on it besides its health, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
}

/// What acts on a target besides its health: a verdict on its place, a shift, or why one does not act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The rule that its reason names, if it is given nothing; [`Rule::LastPlace`] in any case.
    pub rule: Rule,
    /// The same for people.
    pub note: Arc<str>,
}

impl Hold {
    /// The rule as it is told: what acts on a target is the better explanation of its getting nothing.
    pub(crate) fn told(hold: Option<&Self>, rule: Rule) -> Rule {
        match hold {
            Some(hold) if rule == Rule::NotAdmitted || hold.rule == Rule::LastPlace => hold.rule,
            _ => rule,
        }
    }
}

/// The rules of the planner, by which a target got its share or was refused one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// Its tier is the first that has anything to give; it serves within its admit.
    Preferred,
    /// An earlier tier could not keep everything, and the rest went on to this one.
    Overflow,
    /// Nothing was left over when its tier was reached.
    NotNeeded,
    /// It is below its whole admit, so it takes no traffic of others while a Serving pool remains.
    NoForeignTraffic,
    /// Nothing else was left, so it serves beyond its admit.
    BeyondAdmit,
    /// It serves within what its healthy endpoints are declared to take.
    WithinBudget,
    /// It is given all that its healthy endpoints are declared to take; the rest goes on.
    BudgetSpent,
    /// Traffic was moved on to it, so that requests of another source, which find room nowhere else, are served.
    MovedOn,
    /// Traffic was moved on from it, to make room for requests of another source, which find room nowhere else.
    MadeRoom,
    /// All budgets are spent, so it serves beyond its own.
    BeyondBudget,
    /// Nothing allowed is healthy, so its endpoints are tried all the same.
    LastResort,
    /// It is given nothing: its admit is zero.
    NotAdmitted,
    /// It is healthy again, and the policy's `failback.mode` is Manual: it waits for an operator's word.
    AwaitsRelease,
    /// Nothing is expected of it.
    Empty,
    /// Its cluster is out of reach for this one.
    Unreachable,
    /// The policy's residency forbids its region.
    Residency,
    /// No tier of the policy's order names it.
    NotInOrder,
    /// Its place is declared out, and it leaves with the others.
    LocationOut,
    /// An operator or a drill moved its traffic away.
    Shifted,
    /// A shift is refused: it is the last healthy place of the service.
    LastPlace,
}
