//! `TrafficShift`: an operator moves traffic away from a place, for a time.

use super::places::{Mention, Mentions};
use crate::{
    config::ShiftExpiry,
    fields::{Field, Fields, Issues, Wrong},
    object::Meta,
    read, time,
    yaml::Node,
};
use std::time::Duration;
use tidegate_engine::MAX_SHIFT;
use tidegate_model::{ClusterName, Region, ServiceName, Zone};

/// The longest comment that is kept.
const MAX_COMMENT: usize = 512;
/// The shortest shift that is worth its name.
const MIN_SHIFT: Duration = Duration::from_secs(1);

/// Fields that people look for right below `spec`.
const NESTED: [&str; 4] = ["awayFrom.zone", "awayFrom.region", "awayFrom.cluster", "awayFrom.service"];

/// What a `TrafficShift` says.
#[derive(Debug, PartialEq)]
pub(crate) struct ShiftSpec {
    pub(crate) name: String,
    pub(crate) away_from: AwayFrom,
    pub(crate) service: Option<Field<ServiceName>>,
    pub(crate) percent: u32,
    pub(crate) expiry: ShiftExpiry,
    pub(crate) comment: String,
    pub(crate) force: bool,
    /// The places that it names.
    pub(crate) mentions: Mentions,
}

/// The place.
#[derive(Debug, PartialEq)]
pub(crate) enum AwayFrom {
    /// A zone; of the own region unless another is written.
    Zone(Option<Region>, Zone),
    Cluster(ClusterName),
    Region(Region),
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<ShiftSpec> {
    let hint = "add `spec: {awayFrom: {zone: ...}, for: 30m, comment: ...}`";
    let mut spec = fields.required_map("spec", hint, issues)?;
    let mut mentions = Vec::new();
    let hint = "name the place: `awayFrom: {zone: us-east-1a}`, a cluster or a region";
    let place =
        spec.required_map("awayFrom", hint, issues).map(|away| read_away(away, &mut mentions, issues));
    let percent = spec.value("percent", issues, read::integer(1..=100)).map_or(100, |percent| percent.value);
    let expiry = read_expiry(&mut spec, issues);
    let hint = "say why, for whoever finds the traffic gone: `comment: \"rack work until ten\"`";
    let comment = spec.required_value("comment", hint, issues, comment);
    let force = spec.value("force", issues, read::boolean).is_some_and(|force| force.value);
    spec.finish_knowing(&NESTED, issues);
    let (away_from, service) = place?;
    Some(ShiftSpec {
        name: format!("{}/{}", meta.namespace, meta.name),
        away_from: away_from?,
        service,
        percent,
        expiry: expiry?,
        comment: comment?.value,
        force,
        mentions,
    })
}

fn read_away(
    mut away: Fields<'_>,
    mentions: &mut Mentions,
    issues: &mut Issues,
) -> (Option<AwayFrom>, Option<Field<ServiceName>>) {
    let at = away.at;
    let zone = away.value("zone", issues, read::name("zone", Zone::new));
    let region = away.value("region", issues, read::name("region", Region::new));
    let cluster = away.value("cluster", issues, read::name("cluster", ClusterName::new));
    let named = ["zone", "region", "cluster"].map(|name| away.node(name).is_some());
    let service = away.value("service", issues, service);
    away.finish(issues);
    mentions.extend(zone.iter().map(|it| (it.at, Mention::Zone(it.value.clone()))));
    mentions.extend(region.iter().map(|it| (it.at, Mention::Region(it.value.clone()))));
    mentions.extend(cluster.iter().map(|it| (it.at, Mention::Cluster(it.value.clone()))));
    let place = match (zone, region, cluster) {
        (Some(zone), region, None) => Some(AwayFrom::Zone(region.map(|it| it.value), zone.value)),
        (None, Some(region), None) => Some(AwayFrom::Region(region.value)),
        (None, None, Some(cluster)) => Some(AwayFrom::Cluster(cluster.value)),
        (None, None, None) => {
            // One that cannot be read was told already.
            if named == [false; 3] {
                issues.error(at, "spec.awayFrom names no place", "add zone, cluster or region");
            }
            None
        }
        (_, _, Some(cluster)) => {
            let hint = "keep one of them; write a TrafficShift for each place";
            issues.error(cluster.at, "spec.awayFrom names a cluster and another place", hint);
            None
        }
    };
    (place, service)
}

fn read_expiry(spec: &mut Fields<'_>, issues: &mut Issues) -> Option<ShiftExpiry> {
    let at = spec.value("expiresAt", issues, instant);
    let lasts = spec.value("for", issues, read::duration(MIN_SHIFT..=MAX_SHIFT));
    let named = ["expiresAt", "for"].map(|name| spec.node(name).is_some());
    match (at, lasts) {
        (Some(_), Some(lasts)) => {
            issues.error(lasts.at, "spec has expiresAt and for", "keep one of them");
            None
        }
        (Some(at), None) => Some(ShiftExpiry::At(at.value)),
        (None, Some(lasts)) => Some(ShiftExpiry::For(lasts.value)),
        (None, None) => {
            if named == [false; 2] {
                let hint = "every shift ends: add `for: 30m`, or expiresAt with a time; at most 72 hours";
                issues.error(spec.at, "spec does not say when the shift ends", hint);
            }
            None
        }
    }
}

fn comment(node: &Node) -> Result<String, Wrong> {
    let text = read::text(node)?;
    if text.trim().is_empty() || text.chars().count() > MAX_COMMENT {
        let expected = format!("a text of 1 to {MAX_COMMENT} characters");
        return Err(Wrong::new(expected, "say why, for whoever finds the traffic gone"));
    }
    Ok(text)
}

fn service(node: &Node) -> Result<ServiceName, Wrong> {
    let text = read::text(node)?;
    text.parse().map_err(|_| Wrong::new("a service as NAMESPACE/NAME", "write for example shop/web"))
}

fn instant(node: &Node) -> Result<u64, Wrong> {
    let text = read::text(node)?;
    time::unix_seconds(&text).ok_or_else(|| {
        let hint = "write it with its offset from UTC: 2026-11-01T12:00:00Z or 2026-11-01T13:00:00+01:00";
        Wrong::new("a time as RFC 3339 has it", hint)
    })
}
