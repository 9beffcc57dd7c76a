//! From the text of a scenario file to a [`Scenario`]. It does not stop at the first mistake: all are told, in order.

use super::{Demand, Fault, FaultKind, Mark, Named, Place, Scenario, Skew, check};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_api::{Problem, parse_duration, parse_time};
use tidegate_model::{ClusterName, ServiceName, Time, Zone};

/// The longest scenario: a day of steps of 100 ms is still done in minutes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// What right clocks say at the start unless the scenario says otherwise: 2026-01-01T00:00:00Z.
const NEW_YEAR: Duration = Duration::from_secs(1_767_225_600);
/// The shortest period of a flap: below it a check sees noise.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    title: String,
    manifests: Spanned<PathBuf>,
    duration: Spanned<String>,
    #[serde(default)]
    seed: u64,
    starts_at: Option<Spanned<String>>,
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
    drop_status: Option<Spanned<String>>,
    clock_skew: Option<Spanned<String>>,
    ahead: Option<Spanned<String>>,
    behind: Option<Spanned<String>>,
    restart_agent: Option<Spanned<String>>,
    pause_agent: Option<Spanned<String>>,
    stop_gateway: Option<Spanned<String>>,
    number: Option<u16>,
    loss: Option<RawLine>,
    late_line: Option<RawLine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawLine {
    between: Spanned<String>,
    and: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPartition {
    from: Spanned<String>,
    to: Spanned<String>,
}

/// Reads the text of the file `path`.
pub(super) fn scenario(text: &str, path: &Path) -> Result<Scenario, Vec<Problem>> {
    let mut reader =
        Reader { path, problems: Vec::new(), named: Vec::new(), end: Time::from_origin(LONGEST) };
    let raw: Raw = match serde_saphyr::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let at = error.location().map_or(Mark { line: 1, column: 1 }, |at| mark(&at));
            let what = error.without_snippet().to_string();
            let what = what.lines().next().unwrap_or("unreadable");
            // The place is told before it.
            let what = what.split(" at line ").next().unwrap_or(what);
            return Err(vec![check::problem(
                path,
                at,
                what,
                "docs/decision.md lists the fields of a scenario",
            )]);
        }
    };
    let scenario = reader.scenario(raw);
    reader.problems.sort_by_key(|it| (it.line, it.column));
    scenario.filter(|_| reader.problems.is_empty()).ok_or(reader.problems)
}

fn mark(at: &Location) -> Mark {
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Mark { line: number(at.line()), column: number(at.column()) }
}

fn place_of<T>(it: &Spanned<T>) -> Mark {
    mark(&it.referenced)
}

struct Reader<'a> {
    path: &'a Path,
    problems: Vec<Problem>,
    named: Vec<(Mark, Named)>,
    end: Time,
}

impl Reader<'_> {
    /// Notes a mistake. Gives nothing, which is what is known of what was meant.
    fn wrong<T, N>(
        &mut self,
        at: &Spanned<T>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<N> {
        self.problems.push(check::problem(self.path, place_of(at), what, hint));
        None
    }

    fn scenario(&mut self, raw: Raw) -> Option<Scenario> {
        let duration = self.duration(&raw.duration).and_then(|it| match it {
            _ if it.is_zero() || it > LONGEST => {
                self.wrong(&raw.duration, "duration is nothing, or more than a day", "write e.g. 5m")
            }
            _ => Some(it),
        });
        if let Some(duration) = duration {
            self.end = Time::from_origin(duration);
        }
        let starts_at = raw.starts_at.as_ref().map_or(Some(NEW_YEAR), |text| {
            let hint = "write e.g. 2026-01-01T00:00:00Z";
            let seconds = parse_time(&text.value);
            seconds
                .map(Duration::from_secs)
                .or_else(|| self.wrong(text, format!("{:?} is no time of day in UTC", text.value), hint))
        });
        let demand: Vec<Demand> = raw.demand.iter().filter_map(|it| self.demand(it)).collect();
        let mut capacity = BTreeMap::new();
        for item in &raw.capacity {
            let service = self.service(&item.value.service);
            let rate = self.rate(&item.value.per_endpoint);
            let (Some(service), Some(rate)) = (service, rate) else { continue };
            if capacity.insert(service.clone(), rate).is_some() {
                let what = format!("the capacity of {service} is written twice");
                self.wrong::<_, ()>(&item.value.service, what, "keep one of them");
            }
        }
        let mut faults: Vec<(Mark, Fault)> = Vec::new();
        for raw in &raw.faults {
            faults.extend(self.fault(raw).map(|fault| (place_of(raw), fault)));
        }
        self.problems.extend(check::contradictions(self.path, &faults));
        Some(Scenario {
            title: raw.title,
            manifests: self.path.parent().unwrap_or(Path::new("")).join(&raw.manifests.value),
            duration: duration?,
            seed: raw.seed,
            starts_at: starts_at?,
            demand,
            capacity,
            faults: faults.into_iter().map(|(_, fault)| fault).collect(),
            path: self.path.to_owned(),
            manifests_at: place_of(&raw.manifests),
            named: std::mem::take(&mut self.named),
        })
    }

    fn duration(&mut self, text: &Spanned<String>) -> Option<Duration> {
        parse_duration(&text.value).or_else(|| {
            let value = &text.value;
            let negative = value.strip_prefix('-').is_some_and(|rest| parse_duration(rest).is_some());
            let (what, hint) = if negative {
                (format!("{value:?} is negative"), "times count from the start of the scenario, which is 0s")
            } else {
                (format!("{value:?} is no duration"), "write e.g. 500ms, 10s or 1m30s")
            };
            self.wrong(text, what, hint)
        })
    }

    fn name<T>(&mut self, text: &Spanned<String>) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        match text.value.parse::<T>() {
            Ok(name) => Some(name),
            Err(error) => self.wrong(text, error.to_string(), "use the name that the manifests use"),
        }
    }

    fn service(&mut self, text: &Spanned<String>) -> Option<ServiceName> {
        let service: ServiceName = self.name(text)?;
        self.named.push((place_of(text), Named::Service(service.clone())));
        Some(service)
    }

    fn cluster(&mut self, text: &Spanned<String>) -> Option<ClusterName> {
        let cluster: ClusterName = self.name(text)?;
        self.named.push((place_of(text), Named::Place(Place::Cluster(cluster.clone()))));
        Some(cluster)
    }

    fn rate(&mut self, rate: &Spanned<f64>) -> Option<f64> {
        if rate.value.is_finite() && (0.0..=1e9).contains(&rate.value) {
            return Some(rate.value);
        }
        self.wrong(rate, format!("{} is no rate", rate.value), "write requests per second, 0 to 1e9")
    }

    fn percent(&mut self, percent: &Spanned<f64>) -> Option<f64> {
        if (0.0..=100.0).contains(&percent.value) {
            return Some(percent.value);
        }
        self.wrong(percent, format!("a percentage is 0 to 100, not {}", percent.value), "write e.g. 30")
    }

    fn demand(&mut self, raw: &Spanned<RawDemand>) -> Option<Demand> {
        let RawDemand { service, source, curve } = &raw.value;
        let place = source.value.split_once('/').and_then(|(cluster, zone)| {
            Some((cluster.parse::<ClusterName>().ok()?, zone.parse::<Zone>().ok()?))
        });
        if place.is_none() {
            let hint = "write CLUSTER/ZONE, e.g. us-east/us-east-1a";
            self.wrong::<_, ()>(source, format!("{:?} is no source", source.value), hint);
        }
        let curve = self.curve(raw, curve);
        let service = self.service(service)?;
        let (cluster, zone) = place?;
        let named = Named::Source(service.clone(), cluster.clone(), zone.clone());
        self.named.push((place_of(source), named));
        Some(Demand { service, cluster, zone, curve: curve? })
    }

    fn curve(&mut self, raw: &Spanned<RawDemand>, curve: &[Spanned<RawPoint>]) -> Option<Vec<(Time, f64)>> {
        let mut points: Vec<(Time, f64)> = Vec::new();
        for point in curve {
            let (at, rate) = (self.duration(&point.value.at), self.rate(&point.value.rps));
            let (at, rate) = (Time::from_origin(at?), rate?);
            if points.last().is_some_and(|(last, _)| *last >= at) {
                let what = "the points of a curve must go forward in time";
                return self.wrong(&point.value.at, what, "sort them by at");
            }
            points.push((at, rate));
        }
        if points.is_empty() {
            return self.wrong(raw, "the curve has no points", "write e.g. [{at: 0s, rps: 100}]");
        }
        Some(points)
    }

    fn fault(&mut self, raw: &Spanned<RawFault>) -> Option<Fault> {
        let it = &raw.value;
        let kinds = [
            it.lose.is_some(),
            it.brown_out.is_some(),
            it.flap.is_some(),
            it.partition.is_some(),
            it.slow_telemetry.is_some(),
            it.drop_status.is_some(),
            it.clock_skew.is_some(),
            it.restart_agent.is_some(),
            it.pause_agent.is_some(),
            it.stop_gateway.is_some(),
            it.loss.is_some(),
            it.late_line.is_some(),
        ];
        let at = self.duration(&it.at).map(Time::from_origin);
        let length = it.r#for.as_ref().map(|text| (text, self.duration(text)));
        if let Some((text, Some(Duration::ZERO))) = length {
            self.wrong::<_, ()>(
                text,
                "the fault lasts no time",
                "write e.g. for: 30s, or leave it out: to the end",
            );
        }
        if kinds.iter().filter(|there| **there).count() != 1 {
            let what = "a fault does exactly one thing";
            let hint = "write one of lose, brownOut, flap, partition, loss, lateLine, stopGateway, slowTelemetry, dropStatus, \
                        clockSkew, restartAgent, pauseAgent";
            return self.wrong(raw, what, hint);
        }
        let measured = it.brown_out.is_some() || it.drop_status.is_some() || it.loss.is_some();
        let delayed = it.slow_telemetry.is_some() || it.late_line.is_some();
        let belongs = [
            (it.percent.is_some(), measured, "percent", "brownOut, dropStatus or loss"),
            (it.period.is_some(), it.flap.is_some(), "period", "flap"),
            (it.delay.is_some(), delayed, "delay", "slowTelemetry or lateLine"),
            (
                it.ahead.is_some() != it.behind.is_some(),
                it.clock_skew.is_some(),
                "one of ahead and behind",
                "clockSkew",
            ),
        ];
        if let Some((_, _, field, kind)) = belongs.iter().find(|(there, kind, ..)| there != kind) {
            let what = format!("{field} belongs to {kind}, and {kind} needs it");
            return self.wrong(raw, what, format!("write both or neither, e.g. {kind} with {field}"));
        }
        if it.number.is_some() && it.stop_gateway.is_none() {
            return self.wrong(raw, "number belongs to stopGateway", "leave it out, or stop a gateway");
        }
        let kind = self.kind(raw);
        let at = at?;
        if at >= self.end {
            let what = format!("the fault strikes at {}, when the scenario is over", it.at.value);
            return self.wrong(&it.at, what, "let it strike earlier, or make duration longer");
        }
        let until = match length {
            Some((_, length)) => Some(at + length?),
            None => None,
        };
        Some(Fault { at, until, kind: kind? })
    }

    fn kind(&mut self, raw: &Spanned<RawFault>) -> Option<FaultKind> {
        let it = &raw.value;
        if let Some(place) = &it.lose {
            return Some(FaultKind::Lose(self.place(place)?));
        }
        if let (Some(place), Some(percent)) = (&it.brown_out, &it.percent) {
            let (place, percent) = (self.place(place), self.percent(percent));
            return Some(FaultKind::BrownOut(place?, percent?));
        }
        if let (Some(place), Some(period)) = (&it.flap, &it.period) {
            let (place, length) = (self.place(place), self.duration(period)?);
            if length < SHORTEST_PERIOD {
                return self.wrong(period, "a period is 10ms or longer", "write e.g. 5s");
            }
            return Some(FaultKind::Flap(place?, length));
        }
        if let Some(RawPartition { from, to }) = &it.partition {
            let (from, to) = self.two(from, to)?;
            return Some(FaultKind::Partition { from, to });
        }
        if let (Some(RawLine { between, and }), Some(percent)) = (&it.loss, &it.percent) {
            let (line, percent) = (self.two(between, and), self.percent(percent));
            let (between, and) = line?;
            return Some(FaultKind::Loss { between, and, percent: percent? });
        }
        if let (Some(RawLine { between, and }), Some(delay)) = (&it.late_line, &it.delay) {
            let (line, by) = (self.two(between, and), self.duration(delay));
            let (between, and) = line?;
            return Some(FaultKind::LateLine { between, and, by: by? });
        }
        if let Some(cluster) = &it.stop_gateway {
            return Some(FaultKind::StopGateway(self.cluster(cluster)?, it.number));
        }
        if let Some(cluster) = &it.pause_agent {
            if it.r#for.is_none() {
                return self.wrong(raw, "a pause needs the time that it takes", "write e.g. for: 250ms");
            }
            return Some(FaultKind::PauseAgent(self.cluster(cluster)?));
        }
        if let (Some(cluster), Some(delay)) = (&it.slow_telemetry, &it.delay) {
            let (cluster, delay) = (self.cluster(cluster), self.duration(delay));
            return Some(FaultKind::SlowTelemetry(cluster?, delay?));
        }
        if let (Some(cluster), Some(percent)) = (&it.drop_status, &it.percent) {
            let (cluster, percent) = (self.cluster(cluster), self.percent(percent));
            return Some(FaultKind::DropStatus(cluster?, percent?));
        }
        if let Some(cluster) = &it.clock_skew {
            let cluster = self.cluster(cluster);
            let ahead = it.ahead.as_ref().map(|by| self.duration(by)).map(|by| by.map(Skew::Ahead));
            let behind = it.behind.as_ref().map(|by| self.duration(by)).map(|by| by.map(Skew::Behind));
            return Some(FaultKind::ClockSkew(cluster?, ahead.or(behind)??));
        }
        match &it.restart_agent {
            Some(cluster) if it.r#for.is_some() => Some(FaultKind::RestartAgent(self.cluster(cluster)?)),
            _ => self.wrong(raw, "a restart needs the time that it takes", "write e.g. for: 20s"),
        }
    }

    /// Two clusters that are not the same.
    fn two(&mut self, one: &Spanned<String>, other: &Spanned<String>) -> Option<(ClusterName, ClusterName)> {
        let (a, b) = (self.cluster(one), self.cluster(other));
        let (a, b) = (a?, b?);
        if a == b {
            return self.wrong(other, "a cluster always reaches itself", "name two clusters");
        }
        Some((a, b))
    }

    fn place(&mut self, text: &Spanned<String>) -> Option<Place> {
        let parsed = text.value.split_once('/').and_then(|(kind, name)| match kind {
            "region" => name.parse().ok().map(Place::Region),
            "cluster" => name.parse().ok().map(Place::Cluster),
            "zone" => name.parse().ok().map(Place::Zone),
            "endpoint" => name.parse().ok().map(Place::Endpoint),
            _ => None,
        });
        let Some(place) = parsed else {
            let hint = "write zone/NAME, cluster/NAME, region/NAME or endpoint/IP:PORT";
            return self.wrong(text, format!("{:?} is no place", text.value), hint);
        };
        self.named.push((place_of(text), Named::Place(place.clone())));
        Some(place)
    }
}
