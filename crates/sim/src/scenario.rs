//! The scenario file: manifests, demand and faults on a time line. Strict: what is not known is told with file and line.

use serde::Deserialize;
use serde_saphyr::Spanned;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_api::parse_duration;
use tidegate_model::{ClusterName, Region, ServiceName, Time, Zone};

/// The longest scenario: a day of steps of 100 ms is still done in minutes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A fleet, its demand and what breaks.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it shows, for its picture.
    pub title: String,
    /// The folder of manifests.
    pub manifests: PathBuf,
    /// How long it lasts.
    pub duration: Duration,
    /// What the randomness of checks starts from.
    pub seed: u64,
    /// The requests.
    pub demand: Vec<Demand>,
    /// Requests per second that one endpoint of a service answers; what is above fails. Services without: no limit.
    pub capacity: BTreeMap<ServiceName, f64>,
    /// What breaks.
    pub faults: Vec<Fault>,
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
    /// A cluster's check verdicts, and its pool status at its peers, come late by this.
    SlowTelemetry(ClusterName, Duration),
    /// A cluster's agent is gone and comes back with what it had saved; its gateways keep their last plans.
    RestartAgent(ClusterName),
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
            Self::Flap(place, period) => write!(f, "{place} flaps every {} s", period.as_secs_f64()),
            Self::Partition { from, to } => write!(f, "{from} cannot reach {to}"),
            Self::SlowTelemetry(cluster, delay) => {
                write!(f, "{cluster}: telemetry late by {} s", delay.as_secs_f64())
            }
            Self::RestartAgent(cluster) => write!(f, "agent of {cluster} gone"),
        }
    }
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
    /// It says something that has no meaning.
    #[error("{path}:{line}:{column}: {what}\n  hint: {hint}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
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
    /// If it says something that has no meaning.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScenarioError> {
        let reader = Reader { path };
        let raw: Raw = serde_saphyr::from_str(text).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            let what = error.without_snippet().to_string();
            let what = what.lines().next().unwrap_or("unreadable").to_owned();
            let hint = "docs/decision.md lists the fields of a scenario".to_owned();
            ScenarioError::Content { path: path.to_owned(), line, column, what, hint }
        })?;
        let duration = reader.duration(&raw.duration)?;
        if duration.is_zero() || duration > LONGEST {
            return Err(reader.wrong(
                &raw.duration,
                "duration is nothing, or more than a day",
                "write e.g. 5m",
            ));
        }
        let demand = raw.demand.iter().map(|it| reader.demand(it)).collect::<Result<_, _>>()?;
        let faults = raw.faults.iter().map(|it| reader.fault(it)).collect::<Result<_, _>>()?;
        let mut capacity = BTreeMap::new();
        for item in &raw.capacity {
            let service = reader.name(&item.value.service)?;
            let rate = reader.rate(&item.value.per_endpoint)?;
            capacity.insert(service, rate);
        }
        let base = path.parent().unwrap_or(Path::new(""));
        Ok(Self {
            title: raw.title,
            manifests: base.join(&raw.manifests),
            duration,
            seed: raw.seed,
            demand,
            capacity,
            faults,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    title: String,
    manifests: PathBuf,
    duration: Spanned<String>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    demand: Vec<Spanned<RawDemand>>,
    #[serde(default)]
    capacity: Vec<Spanned<RawCapacity>>,
    #[serde(default)]
    faults: Vec<Spanned<RawFault>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawDemand {
    service: Spanned<String>,
    source: Spanned<String>,
    curve: Vec<Spanned<RawPoint>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPoint {
    at: Spanned<String>,
    rps: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCapacity {
    service: Spanned<String>,
    per_endpoint: Spanned<f64>,
}

/// One of the actions, with what belongs to it. Not an untagged enum: that would lose the lines.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawFault {
    at: Spanned<String>,
    r#for: Option<Spanned<String>>,
    lose: Option<Spanned<String>>,
    brown_out: Option<Spanned<String>>,
    percent: Option<Spanned<f64>>,
    flap: Option<Spanned<String>>,
    period: Option<Spanned<String>>,
    partition: Option<RawPartition>,
    slow_telemetry: Option<Spanned<String>>,
    delay: Option<Spanned<String>>,
    restart_agent: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPartition {
    from: Spanned<String>,
    to: Spanned<String>,
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn wrong<T>(&self, at: &Spanned<T>, what: impl Into<String>, hint: impl Into<String>) -> ScenarioError {
        ScenarioError::Content {
            path: self.path.to_owned(),
            line: at.referenced.line(),
            column: at.referenced.column(),
            what: what.into(),
            hint: hint.into(),
        }
    }

    fn duration(&self, text: &Spanned<String>) -> Result<Duration, ScenarioError> {
        parse_duration(&text.value).ok_or_else(|| {
            self.wrong(text, format!("{:?} is no duration", text.value), "write e.g. 500ms, 10s or 1m30s")
        })
    }

    fn time(&self, text: &Spanned<String>) -> Result<Time, ScenarioError> {
        self.duration(text).map(Time::from_origin)
    }

    fn name<T>(&self, text: &Spanned<String>) -> Result<T, ScenarioError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let name = text.value.parse::<T>();
        name.map_err(|error| self.wrong(text, error.to_string(), "use the name that the manifests use"))
    }

    fn rate(&self, rate: &Spanned<f64>) -> Result<f64, ScenarioError> {
        if rate.value.is_finite() && (0.0..=1e9).contains(&rate.value) {
            return Ok(rate.value);
        }
        Err(self.wrong(rate, format!("{} is no rate", rate.value), "write requests per second, 0 to 1e9"))
    }

    fn demand(&self, raw: &Spanned<RawDemand>) -> Result<Demand, ScenarioError> {
        let RawDemand { service, source, curve } = &raw.value;
        let hint = "write CLUSTER/ZONE, e.g. us-east/us-east-1a";
        let Some((cluster, zone)) = source.value.split_once('/') else {
            return Err(self.wrong(source, format!("{:?} is no source", source.value), hint));
        };
        let (Ok(cluster), Ok(zone)) = (cluster.parse(), zone.parse()) else {
            return Err(self.wrong(source, format!("{:?} is no source", source.value), hint));
        };
        let mut points: Vec<(Time, f64)> = Vec::new();
        for point in curve {
            let (at, rate) = (self.time(&point.value.at)?, self.rate(&point.value.rps)?);
            if points.last().is_some_and(|(last, _)| *last >= at) {
                return Err(self.wrong(
                    &point.value.at,
                    "the points of a curve must go forward in time",
                    "sort them by at",
                ));
            }
            points.push((at, rate));
        }
        if points.is_empty() {
            return Err(self.wrong(raw, "the curve has no points", "write e.g. [{at: 0s, rps: 100}]"));
        }
        Ok(Demand { service: self.name(service)?, cluster, zone, curve: points })
    }

    fn fault(&self, raw: &Spanned<RawFault>) -> Result<Fault, ScenarioError> {
        let it = &raw.value;
        let kinds = [
            it.lose.is_some(),
            it.brown_out.is_some(),
            it.flap.is_some(),
            it.partition.is_some(),
            it.slow_telemetry.is_some(),
            it.restart_agent.is_some(),
        ];
        if kinds.iter().filter(|there| **there).count() != 1 {
            let what = "a fault does exactly one thing";
            let hint = "write one of lose, brownOut, flap, partition, slowTelemetry, restartAgent";
            return Err(self.wrong(raw, what, hint));
        }
        let belongs = [
            (it.percent.is_some(), it.brown_out.is_some(), "percent", "brownOut"),
            (it.period.is_some(), it.flap.is_some(), "period", "flap"),
            (it.delay.is_some(), it.slow_telemetry.is_some(), "delay", "slowTelemetry"),
        ];
        if let Some((_, _, field, kind)) = belongs.iter().find(|(there, kind, ..)| there != kind) {
            let what = format!("{field} belongs to {kind}, and {kind} needs it");
            return Err(self.wrong(raw, what, format!("write both or neither, e.g. {kind} with {field}")));
        }
        let at = self.time(&it.at)?;
        let until = it.r#for.as_ref().map(|text| self.duration(text)).transpose()?.map(|length| at + length);
        Ok(Fault { at, until, kind: self.kind(raw)? })
    }

    fn kind(&self, raw: &Spanned<RawFault>) -> Result<FaultKind, ScenarioError> {
        let it = &raw.value;
        if let Some(place) = &it.lose {
            return Ok(FaultKind::Lose(self.place(place)?));
        }
        if let (Some(place), Some(percent)) = (&it.brown_out, &it.percent) {
            if !(0.0..=100.0).contains(&percent.value) {
                return Err(self.wrong(percent, "a percentage is 0 to 100", "write e.g. 30"));
            }
            return Ok(FaultKind::BrownOut(self.place(place)?, percent.value));
        }
        if let (Some(place), Some(period)) = (&it.flap, &it.period) {
            let length = self.duration(period)?;
            if length < Duration::from_millis(10) {
                return Err(self.wrong(period, "a period is 10ms or longer", "write e.g. 5s"));
            }
            return Ok(FaultKind::Flap(self.place(place)?, length));
        }
        if let Some(RawPartition { from, to }) = &it.partition {
            return Ok(FaultKind::Partition { from: self.name(from)?, to: self.name(to)? });
        }
        if let (Some(cluster), Some(delay)) = (&it.slow_telemetry, &it.delay) {
            return Ok(FaultKind::SlowTelemetry(self.name(cluster)?, self.duration(delay)?));
        }
        match &it.restart_agent {
            Some(cluster) if it.r#for.is_some() => Ok(FaultKind::RestartAgent(self.name(cluster)?)),
            _ => Err(self.wrong(raw, "a restart needs the time that it takes", "write e.g. for: 20s")),
        }
    }

    fn place(&self, text: &Spanned<String>) -> Result<Place, ScenarioError> {
        let parsed = text.value.split_once('/').and_then(|(kind, name)| match kind {
            "region" => name.parse().ok().map(Place::Region),
            "cluster" => name.parse().ok().map(Place::Cluster),
            "zone" => name.parse().ok().map(Place::Zone),
            "endpoint" => name.parse().ok().map(Place::Endpoint),
            _ => None,
        });
        parsed.ok_or_else(|| {
            let hint = "write zone/NAME, cluster/NAME, region/NAME or endpoint/IP:PORT";
            self.wrong(text, format!("{:?} is no place", text.value), hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Scenario::parse(text, Path::new("a/s.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_what_to_do() {
        let told = error("manifests: m\nduration: 5m\nfaults:\n- {at: 1s, lose: zone/a, percent: 3}\n");
        assert!(told.starts_with("a/s.yaml:4:3: percent belongs to brownOut"), "{told}");
        let told = error("manifests: m\nduration: 5m\nfaults:\n- {at: 1s, lose: planet/a}\n");
        assert!(
            told.starts_with("a/s.yaml:4:18: \"planet/a\" is no place\n  hint: write zone/NAME"),
            "{told}"
        );
        let told = error("manifests: m\nduration: 5m\nfault: []\n");
        assert!(told.starts_with("a/s.yaml:3:1: ") && told.contains("fault"), "{told}");
        let told = error("manifests: m\nduration: soon\n");
        assert!(told.starts_with("a/s.yaml:2:11: \"soon\" is no duration"), "{told}");
    }

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
