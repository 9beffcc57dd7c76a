//! Traffic shifts as people ask for them at the admin address, and as they are shown.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use tidegate_engine::{Contingency, Fate, Location, MAX_SHIFT, Outlook, Shift, ShiftTarget, ShiftedBy};
use tidegate_model::{ClusterName, Locality, Region, ServiceName, Zone};
use tidegate_web::{Loss, ShiftAsked};

/// The longest comment.
const MAX_COMMENT: usize = 512;

/// What somebody asks for: the fields of `POST /api/v1/shifts`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShiftQuery {
    zone: Option<String>,
    /// Alone: the region. Beside a zone: the zone's region, if it is not the agent's own.
    region: Option<String>,
    cluster: Option<String>,
    service: Option<String>,
    percent: Option<u32>,
    r#for: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    force: bool,
    name: Option<String>,
    /// `operator`, or `drill`, which an operator's shift outranks.
    by: Option<String>,
}

/// A shift in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShiftView {
    /// Its name, by which it is ended.
    pub name: String,
    /// What traffic is moved away from, for people.
    pub away_from: String,
    /// The service that it is for; `None` for all of the place.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// How much of it.
    pub percent: u32,
    /// How long it still lasts.
    pub remaining_ms: u64,
    /// `operator` or `drill`.
    pub by: String,
    /// Why.
    pub comment: String,
    /// Whether it may drain the last healthy place of a service.
    pub force: bool,
    /// The services that it does not move: they would lose their last healthy place. Each leaves once it has another.
    #[serde(default)]
    pub refused: Vec<ServiceName>,
}

/// How long a shift is to last from now: the fields of `POST /api/v1/shifts/NAME/extend`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtendQuery {
    r#for: Option<String>,
}

impl ExtendQuery {
    /// The time that is asked for, or what is wrong with it.
    pub(crate) fn lasts(&self) -> Result<Duration, String> {
        lasts(self.r#for.as_deref())
    }
}

/// Why a shift does not last longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotExtended {
    /// There is none.
    #[error("no shift {0:?} is in force\n  hint: tidegate shift list names those that are")]
    Unknown(String),
    /// It ends with its drill.
    #[error(
        "{0} is of a drill, which ends it by itself\n  hint: a shift of your own outranks it: tidegate shift away"
    )]
    Drill(String),
    /// Shorter is no extension.
    #[error(
        "{0} lasts {left} anyway, which is longer\n  hint: to bring traffic back earlier: tidegate shift end {0}",
        left = tidegate_api::duration_text(Duration::from_secs(.1.as_secs()))
    )]
    Longer(String, Duration),
}

/// How long a shift lasts, as it was typed.
fn lasts(text: Option<&str>) -> Result<Duration, String> {
    let text = text.ok_or("say how long: for=30m, at most 72 hours")?;
    tidegate_api::parse_duration(text)
        .filter(|it| (Duration::from_secs(1)..=MAX_SHIFT).contains(it))
        .ok_or_else(|| format!("for is a duration from 1s to 72h, as 30m or 1h30m, not {text:?}"))
}

impl From<Shift> for ShiftView {
    fn from(shift: Shift) -> Self {
        let Shift { name, target, percent, remaining, by, comment, force } = shift;
        let by = match by {
            ShiftedBy::Operator => "operator",
            ShiftedBy::Drill => "drill",
        };
        Self {
            name,
            away_from: target.to_string(),
            service: target.service,
            percent,
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
            by: by.to_owned(),
            comment,
            force,
            refused: Vec::new(),
        }
    }
}

impl ShiftQuery {
    /// The service that it is limited to.
    pub(crate) fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// What a visitor of the page asks for.
    pub(crate) fn of(asked: &ShiftAsked) -> Self {
        let mut query = Self {
            service: asked.service.as_ref().map(ToString::to_string),
            percent: Some(asked.percent),
            r#for: Some(tidegate_api::duration_text(asked.lasts)),
            comment: Some(asked.comment.clone()),
            force: asked.force,
            ..Self::default()
        };
        match &asked.from {
            Loss::Zone(region, zone) => {
                query.region = region.as_ref().map(ToString::to_string);
                query.zone = Some(zone.to_string());
            }
            Loss::Cluster(cluster) => query.cluster = Some(cluster.to_string()),
            Loss::Region(region) => query.region = Some(region.to_string()),
        }
        query
    }

    /// The namespace that it is limited to; `None` for a whole place.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.service.as_deref().map(|it| it.split_once('/').map_or(it, |(namespace, _)| namespace))
    }

    /// The shift that is asked for, or what is wrong with it.
    pub(crate) fn shift(self, own_region: &Region) -> Result<Shift, String> {
        let target = self.target(own_region)?;
        let Self { percent, r#for: lasts, comment, force, name, by, .. } = self;
        let percent = percent.unwrap_or(100);
        if !(1..=100).contains(&percent) {
            return Err(format!("percent is 1 to 100, not {percent}"));
        }
        let remaining = self::lasts(lasts.as_deref())?;
        let comment = comment.unwrap_or_default();
        if comment.trim().is_empty() || comment.chars().count() > MAX_COMMENT {
            return Err(format!("say why: comment is a text of 1 to {MAX_COMMENT} characters"));
        }
        let by = match by.as_deref() {
            None | Some("operator") => ShiftedBy::Operator,
            Some("drill") => ShiftedBy::Drill,
            Some(other) => return Err(format!("by is operator or drill, not {other:?}")),
        };
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| name_of(&target));
        Ok(Shift { name, target, percent, remaining, by, comment, force })
    }

    fn target(&self, own_region: &Region) -> Result<ShiftTarget, String> {
        let said = |error: tidegate_model::NameError| error.to_string();
        let region = self.region.as_deref().map(Region::new).transpose().map_err(said)?;
        let location = match (&self.zone, region, &self.cluster) {
            (Some(zone), region, None) => {
                let region = region.unwrap_or_else(|| own_region.clone());
                Location::Zone(Locality { region, zone: Zone::new(zone).map_err(said)? })
            }
            (None, Some(region), None) => Location::Region(region),
            (None, None, Some(cluster)) => Location::Cluster(ClusterName::new(cluster).map_err(said)?),
            _ => return Err("name one place: zone, cluster or region".to_owned()),
        };
        let service: Option<ServiceName> =
            self.service.as_deref().map(str::parse).transpose().map_err(said)?;
        Ok(ShiftTarget { location, service })
    }
}

/// What a shift would do: the answer of `GET /api/v1/shift-preview`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShiftPreview {
    /// The shift that is asked for.
    pub shift: ShiftView,
    /// The services that it would move, before and after.
    pub moves: Contingency,
    /// What would be if each place were lost besides.
    pub losses: Vec<LossView>,
}

/// What would be if a place were lost, without and with the shift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossView {
    /// What is lost.
    pub lost: String,
    /// Services that would be served by nothing healthy as things stand, of callers who are still there.
    pub stranded_before: BTreeSet<ServiceName>,
    /// The same with the shift.
    pub stranded: BTreeSet<ServiceName>,
    /// Services with a pool above its declared capacity as things stand.
    pub overloaded_before: BTreeSet<ServiceName>,
    /// The same with the shift.
    pub overloaded: BTreeSet<ServiceName>,
}

impl LossView {
    /// Whether the shift makes this loss worse than it would be without.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        !self.stranded.is_subset(&self.stranded_before) || !self.overloaded.is_subset(&self.overloaded_before)
    }
}

impl ShiftPreview {
    /// Of what the engine says; only what concerns `only`, if that is a service.
    pub(crate) fn of(shift: Shift, outlook: Outlook, only: Option<&str>) -> Self {
        let Outlook { mut moves, refused, before, after } = outlook;
        let concerns = |service: &ServiceName| only.is_none_or(|it| service.to_string() == it);
        moves.services.retain(|it| concerns(&it.service) && it.fate != Fate::Untouched);
        moves.stranded.retain(|it| concerns(&it.service));
        moves.forbidden.retain(|it| concerns(&it.service));
        if only.is_some() {
            // These are sums over all services.
            moves.locations.clear();
        }
        let stranded = |it: &Contingency| {
            let those = it.stranded.iter().filter(|it| it.source.is_some()).map(|it| &it.service);
            those.filter(|it| concerns(it)).cloned().collect()
        };
        let overloaded = |it: &Contingency| {
            it.overloaded().map(|(service, _)| service).filter(|it| concerns(it)).cloned().collect()
        };
        let losses = before.iter().zip(&after).map(|(before, after)| LossView {
            lost: after.lost.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
            stranded_before: stranded(before),
            stranded: stranded(after),
            overloaded_before: overloaded(before),
            overloaded: overloaded(after),
        });
        Self { losses: losses.collect(), moves, shift: ShiftView { refused, ..shift.into() } }
    }
}

/// One shift per target, so the target gives it a name that is easy to type.
fn name_of(target: &ShiftTarget) -> String {
    let place = match &target.location {
        Location::Zone(locality) => format!("zone-{}", locality.zone),
        Location::Cluster(cluster) => format!("cluster-{cluster}"),
        Location::Region(region) => format!("region-{region}"),
    };
    match &target.service {
        Some(service) => format!("{place}-{}-{}", service.namespace(), service.name()),
        None => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(change: impl FnOnce(&mut ShiftQuery)) -> Result<Shift, String> {
        let mut query = ShiftQuery {
            zone: Some("a".to_owned()),
            r#for: Some("30m".to_owned()),
            comment: Some("rack work".to_owned()),
            ..ShiftQuery::default()
        };
        change(&mut query);
        query.shift(&"us-east".parse().unwrap())
    }

    #[test]
    fn a_zone_is_one_of_the_own_region_unless_another_is_named() {
        let shift = asked(|_| {}).unwrap();
        assert_eq!((shift.name.as_str(), shift.percent), ("zone-a", 100));
        assert_eq!(shift.target.to_string(), "zone us-east/a");
        assert_eq!(shift.remaining, Duration::from_secs(1800));
        let far = asked(|query| query.region = Some("us-west".to_owned())).unwrap();
        assert_eq!(far.target.to_string(), "zone us-west/a");
        let one = asked(|query| query.service = Some("shop/web".to_owned())).unwrap();
        assert_eq!(
            (one.name.as_str(), one.target.to_string().as_str()),
            ("zone-a-shop-web", "shop/web in zone us-east/a")
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (what, found) in [
            ("name one place", asked(|query| query.zone = None)),
            ("name one place", asked(|query| query.cluster = Some("west".to_owned()))),
            ("percent is 1 to 100", asked(|query| query.percent = Some(0))),
            ("say how long", asked(|query| query.r#for = None)),
            ("1s to 72h", asked(|query| query.r#for = Some("73h".to_owned()))),
            ("say why", asked(|query| query.comment = Some(" ".to_owned()))),
            ("NAMESPACE/NAME", asked(|query| query.service = Some("web".to_owned()))),
            ("operator or drill", asked(|query| query.by = Some("me".to_owned()))),
        ] {
            let error = found.unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
