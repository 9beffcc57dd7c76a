//! The scenario file: manifests, demand and faults on a time line. Strict: what is not known is told with file and line.

mod check;
mod read;

use crate::fleet::{Fleet, FleetError};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_api::Problem;
use tidegate_model::{ClusterName, Region, ServiceName, Time, Zone};

/// A fleet, its demand and what breaks.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it shows, for its picture.
    pub title: String,
    /// The folder of manifests.
    pub manifests: PathBuf,
    /// How long it lasts.
    pub duration: Duration,
    /// What the randomness of checks, and of what is lost on the way, starts from.
    pub seed: u64,
    /// What clocks that are right say at the start, as time since 1970.
    pub starts_at: Duration,
    /// The requests.
    pub demand: Vec<Demand>,
    /// Requests per second that one endpoint of a service answers; what is above fails. Services without: no limit.
    pub capacity: BTreeMap<ServiceName, f64>,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// The file, for what is found out later.
    pub(crate) path: PathBuf,
    /// Where it says `manifests`.
    pub(crate) manifests_at: Mark,
    /// What it names, and where.
    pub(crate) named: Vec<(Mark, Named)>,
}

/// Requests that enter at one place for one service.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The service.
    pub service: ServiceName,
    /// The cluster at whose gateway they enter.
    pub cluster: ClusterName,
    /// The gateway's zone.
    pub zone: Zone,
    /// Points of the rate in requests per second, by time; straight lines between them.
    pub curve: Vec<(Time, f64)>,
}

impl Demand {
    /// The rate at a time, in requests per second.
    #[must_use]
    pub fn rate(&self, at: Time) -> f64 {
        let after = self.curve.partition_point(|(time, _)| *time <= at);
        let Some(left) = after.checked_sub(1).and_then(|index| self.curve.get(index)) else {
            return self.curve.first().map_or(0.0, |(_, rate)| *rate);
        };
        let Some(right) = self.curve.get(after) else { return left.1 };
        let part = at.since(left.0).as_secs_f64() / right.0.since(left.0).as_secs_f64();
        left.1 + (right.1 - left.1) * part
    }
}

/// Something that breaks, and when it is whole again.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When it strikes.
    pub at: Time,
    /// When it is undone; never if there is none.
    pub until: Option<Time>,
    /// What it is.
    pub kind: FaultKind,
}

impl Fault {
    /// Whether it is in force.
    #[must_use]
    pub fn is_active(&self, now: Time) -> bool {
        self.at <= now && self.until.is_none_or(|until| now < until)
    }

    /// When it ends, at the latest with the scenario.
    #[must_use]
    pub fn end(&self, duration: Duration) -> Time {
        let end = Time::from_origin(duration);
        self.until.map_or(end, |until| until.min(end))
    }
}

/// What breaks.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// Endpoints answer nothing any more; of a cluster or a region also its agent, its gateways and its clients.
    Lose(Place),
    /// Of each pool of the place, this part (rounded up) answers 503.
    BrownOut(Place, f64),
    /// Endpoints refuse connections in the first half of each period.
    Flap(Place, Duration),
    /// Connections from the one cluster to the other get no answer; those the other way do.
    Partition {
        /// Who cannot connect.
        from: ClusterName,
        /// To whom.
        to: ClusterName,
    },
    /// This part of the packets between two clusters is lost, each way, in percent.
    Loss {
        /// The one.
        between: ClusterName,
        /// The other.
        and: ClusterName,
        /// The part.
        percent: f64,
    },
    /// The round trip between two clusters is longer by this.
    LateLine {
        /// The one.
        between: ClusterName,
        /// The other.
        and: ClusterName,
        /// By how much.
        by: Duration,
    },
    /// An east-west gateway of a cluster refuses connections: the one of this number, from 0, in the order of their
    /// addresses, or all of them.
    StopGateway(ClusterName, Option<u16>),
    /// A cluster's agent stands still, as under SIGSTOP; then it goes on where it was.
    PauseAgent(ClusterName),
    /// A cluster's check verdicts, and its pool status at its peers, come late by this.
    SlowTelemetry(ClusterName, Duration),
    /// This part of the pool statuses that a cluster tells its peers is lost on the way, in percent.
    DropStatus(ClusterName, f64),
    /// The wall clock of a cluster's agent is off by so much.
    ClockSkew(ClusterName, Skew),
    /// A cluster's agent is gone and comes back with what it had saved; its gateways keep their last plans.
    RestartAgent(ClusterName),
}

/// How far a wall clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// It shows a later time than it is.
    Ahead(Duration),
    /// It shows an earlier one.
    Behind(Duration),
}

impl Skew {
    /// What such a clock shows at `right`, as time since 1970.
    #[must_use]
    pub const fn show(self, right: Duration) -> Duration {
        match self {
            Self::Ahead(by) => right.saturating_add(by),
            Self::Behind(by) => right.saturating_sub(by),
        }
    }
}

/// Where something breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All clusters of a region.
    Region(Region),
    /// A cluster.
    Cluster(ClusterName),
    /// A zone.
    Zone(Zone),
    /// One address.
    Endpoint(SocketAddr),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Region(name) => write!(f, "region {name}"),
            Self::Cluster(name) => write!(f, "cluster {name}"),
            Self::Zone(name) => write!(f, "zone {name}"),
            Self::Endpoint(address) => write!(f, "endpoint {address}"),
        }
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lose(place) => write!(f, "{place} lost"),
            Self::BrownOut(place, percent) => write!(f, "{place}: {percent} % fail"),
            Self::Flap(place, period) => write!(f, "{place} flaps every {} s", seconds(*period)),
            Self::Partition { from, to } => write!(f, "{from} cannot reach {to}"),
            Self::Loss { between, and, percent } => {
                write!(f, "{percent} % of packets lost between {between} and {and}")
            }
            Self::LateLine { between, and, by } => {
                write!(f, "{} s more of round trip between {between} and {and}", seconds(*by))
            }
            Self::StopGateway(cluster, None) => write!(f, "all east-west gateways of {cluster} stopped"),
            Self::StopGateway(cluster, Some(number)) => {
                write!(f, "east-west gateway {number} of {cluster} stopped")
            }
            Self::PauseAgent(cluster) => write!(f, "agent of {cluster} stands still"),
            Self::SlowTelemetry(cluster, delay) => {
                write!(f, "{cluster}: telemetry late by {} s", seconds(*delay))
            }
            Self::DropStatus(cluster, percent) => write!(f, "{cluster}: {percent} % of its pool status lost"),
            Self::ClockSkew(cluster, Skew::Ahead(by)) => {
                write!(f, "clock of {cluster} {} s ahead", seconds(*by))
            }
            Self::ClockSkew(cluster, Skew::Behind(by)) => {
                write!(f, "clock of {cluster} {} s behind", seconds(*by))
            }
            Self::RestartAgent(cluster) => write!(f, "agent of {cluster} gone"),
        }
    }
}

/// Seconds as people write them: a millisecond is as fine as anything here.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Where something is written in the scenario file: line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// The line.
    pub(crate) line: u32,
    /// The column in characters.
    pub(crate) column: u32,
}

/// A name in the scenario file that the manifests must know too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Place(Place),
    Service(ServiceName),
    /// Requests for a service that enter at a cluster's gateway in a zone.
    Source(ServiceName, ClusterName, Zone),
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{path}: {source}\n  hint: name a scenario file, e.g. examples/incidents/zone-loss.yaml")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It says things that have no meaning; each with line, column and what to do, in the order of the file.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Content(Vec<Problem>),
    /// Its manifests are wrong themselves.
    #[error(transparent)]
    Manifests(#[from] FleetError),
}

impl Scenario {
    /// Reads a scenario file; its `manifests` are taken relative to it.
    ///
    /// # Errors
    /// If it cannot be read, or says something that has no meaning: with line, column and what to do.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text =
            fs::read_to_string(path).map_err(|source| ScenarioError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads the text of the scenario file `path`.
    ///
    /// # Errors
    /// If it says something that has no meaning. What only the manifests can tell is [`Scenario::fleet`]'s to find.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScenarioError> {
        read::scenario(text, path).map_err(ScenarioError::Content)
    }

    /// Loads the manifests that it names, and holds its names against them.
    ///
    /// # Errors
    /// If the manifests cannot be read or have mistakes, or do not know a name of the scenario.
    pub fn fleet(&self) -> Result<Fleet, ScenarioError> {
        let fleet = Fleet::load(&self.manifests).map_err(|error| match error {
            FleetError::Problems { .. } => ScenarioError::Manifests(error),
            // There is nothing there: the scenario's line is to blame.
            FleetError::Io { .. } | FleetError::Empty { .. } => {
                ScenarioError::Content(vec![check::no_fleet(self, &error)])
            }
        })?;
        let problems = check::unknown(self, &fleet);
        if problems.is_empty() { Ok(fleet) } else { Err(ScenarioError::Content(problems)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_straight_between_its_points() {
        let text = "manifests: m\nduration: 5m\ndemand:\n- {service: a/b, source: c/z, curve: [{at: 10s, rps: 100}, {at: 20s, rps: 200}]}\n";
        let scenario = Scenario::parse(text, Path::new("a/s.yaml")).unwrap();
        assert_eq!(scenario.manifests, Path::new("a/m"));
        let rate = |ms| scenario.demand[0].rate(Time::from_millis(ms));
        assert_eq!(
            [rate(0), rate(10_000), rate(15_000), rate(20_000), rate(60_000)],
            [100.0, 100.0, 150.0, 200.0, 200.0]
        );
    }
}
