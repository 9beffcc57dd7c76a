//! Faults as they are asked for at the admin address, and as they are shown there.

use super::{DrillKind, DrilledGateway, Fault, MAX_EXPIRY};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};
use tidegate_engine::{Location, ShiftTarget};
use tidegate_model::{ClusterName, GatewayName, Locality, Region, ServiceName, Zone};

/// The longest id, and the longest name of who starts one, in bytes.
const MAX_TEXT: usize = 200;
/// Where packets are swallowed: the first addresses for documentation (RFC 5737), which no network carries.
const SWALLOWS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 9);
/// A request waits no longer.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// What is asked for, as the fields of `/api/v1/drills`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DrillQuery {
    id: Option<String>,
    kind: Option<String>,
    zone: Option<String>,
    /// Alone: the region. Beside a zone: the zone's region, if it is not the agent's own.
    region: Option<String>,
    cluster: Option<String>,
    /// That gateway in this cluster, or in the one that is named beside it.
    gateway: Option<String>,
    /// Alone: the service in this cluster.
    service: Option<String>,
    /// Of a peer link: the cluster whose agents hear nothing of the other one, and that one.
    link_from: Option<String>,
    link_to: Option<String>,
    /// Whether it is the way to the hub.
    #[serde(default)]
    hub: bool,
    percent: Option<u32>,
    #[serde(default)]
    marked_only: bool,
    /// Of `Abort`.
    status: Option<u16>,
    /// Of `Delay`.
    delay: Option<String>,
    /// Of `BlackHole`: the first of the addresses that swallow packets.
    via: Option<SocketAddr>,
    /// Of `Lab`, which no agent carries out.
    lab: Option<String>,
    expires: Option<String>,
    by: Option<String>,
    /// Whether it is only asked for whether it may begin.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// A fault that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillView {
    /// The drill, by which it is ended.
    pub id: String,
    /// What is done to what, for people.
    pub what: String,
    /// What is broken, for people.
    pub target: String,
    /// How long it still lasts.
    pub remaining_ms: u64,
    /// Who started it.
    pub by: String,
}

impl From<Fault> for DrillView {
    fn from(fault: Fault) -> Self {
        let remaining_ms = u64::try_from(fault.remaining.as_millis()).unwrap_or(u64::MAX);
        Self {
            what: fault.to_string(),
            target: fault.whereabouts(),
            id: fault.id,
            remaining_ms,
            by: fault.by,
        }
    }
}

impl DrillQuery {
    /// The fault that is asked for, or what is wrong with it.
    pub(crate) fn fault(self, own: &ClusterName, own_region: &Region) -> Result<Fault, String> {
        let target = self.target(own, own_region)?;
        let gateway = self.gateway()?;
        let kind = match (self.kind()?, &gateway) {
            (DrillKind::BlackHole(_), Some(_)) => DrillKind::Swallow,
            (kind, _) => kind,
        };
        let Self { id, percent, marked_only, expires, by, .. } = self;
        let is_id = |id: &String| {
            let good = |it: u8| it.is_ascii_alphanumeric() || b"-._".contains(&it);
            (1..=MAX_TEXT).contains(&id.len()) && id.bytes().all(good)
        };
        let id = id.filter(is_id).ok_or("id is 1 to 200 letters, digits and -._")?;
        let percent = percent.unwrap_or(100);
        if !(1..=100).contains(&percent) {
            return Err(format!("percent is 1 to 100, not {percent}"));
        }
        let at_gateways = matches!(kind, DrillKind::Abort(_) | DrillKind::Delay(_) | DrillKind::Brownout);
        if gateway.is_some() && !at_gateways && kind != DrillKind::Swallow {
            return Err(
                "a gateway has no pools of its own: kind is Abort, Delay, Brownout, or BlackHole without via"
                    .to_owned(),
            );
        }
        if marked_only && !at_gateways {
            return Err(
                "only Abort, Delay and Brownout know which requests are marked: leave out markedOnly"
                    .to_owned(),
            );
        }
        if percent < 100 && !at_gateways && kind != DrillKind::Shift {
            return Err("a Verdict or a BlackHole is about all of its target: leave out percent".to_owned());
        }
        let expires = expires.ok_or("say when it ends by itself: expires=60s, at most 1h")?;
        let remaining = tidegate_api::parse_duration(&expires)
            .filter(|it| (Duration::from_secs(1)..=MAX_EXPIRY).contains(it))
            .ok_or_else(|| format!("expires is a duration from 1s to 1h, not {expires:?}"))?;
        let by = by.unwrap_or_default();
        if by.trim().is_empty() || by.len() > MAX_TEXT {
            return Err("say who: by is a text of 1 to 200 bytes".to_owned());
        }
        Ok(Fault { id, target, gateway, kind, percent, marked_only, remaining, until_unix_ms: None, by })
    }

    fn gateway(&self) -> Result<Option<DrilledGateway>, String> {
        let Some(name) = &self.gateway else { return Ok(None) };
        if self.via.is_some() {
            return Err("a gateway that is the target holds requests itself: leave out via".to_owned());
        }
        let name: GatewayName = name.parse().map_err(|error: tidegate_model::NameError| error.to_string())?;
        Ok(Some(DrilledGateway { name, everywhere: self.cluster.is_none() }))
    }

    fn kind(&self) -> Result<DrillKind, String> {
        let kind = match self.kind.as_deref() {
            Some("Verdict") => DrillKind::Verdict,
            Some("Shift") => DrillKind::Shift,
            Some("BlackHole") => DrillKind::BlackHole(self.via.unwrap_or(SWALLOWS)),
            Some("Brownout") => DrillKind::Brownout,
            Some("Abort") => {
                let status = self.status.filter(|status| (400..=599).contains(status));
                DrillKind::Abort(status.ok_or("an Abort needs a status, 400 to 599")?)
            }
            Some("Delay") => {
                let by = self.delay.as_deref().and_then(tidegate_api::parse_duration);
                let by = by.filter(|by| (Duration::from_millis(1)..=MAX_DELAY).contains(by));
                DrillKind::Delay(by.ok_or("a Delay needs a delay, 1ms to 60s")?)
            }
            Some("Lab") => {
                let what = self.lab.as_deref().unwrap_or_default();
                return Err(format!(
                    "{what:?} of type Lab: a fault of type Lab breaks the fleet of a lab, and I am an agent: name the lab, --lab ADDR"
                ));
            }
            other => {
                return Err(format!(
                    "kind is Verdict, Shift, BlackHole, Abort, Delay or Brownout, and not {:?}: this agent is Tidegate {}; a newer one may know more",
                    other.unwrap_or_default(),
                    env!("CARGO_PKG_VERSION")
                ));
            }
        };
        let kind = match (&self.link_from, self.hub) {
            (None, false) => kind,
            _ if self.kind.as_deref() != Some("BlackHole") || self.via.is_some() => {
                return Err(
                    "a peer link, or the way to the hub, is only cut: kind=BlackHole without via".to_owned()
                );
            }
            (Some(from), _) => DrillKind::CutLink(ClusterName::new(from).map_err(|error| error.to_string())?),
            (None, true) => DrillKind::LeaveHub,
        };
        let only = |given: bool, field: &str, of: &str| {
            if given { Err(format!("{field} is for {of} only")) } else { Ok(()) }
        };
        only(self.status.is_some() && !matches!(kind, DrillKind::Abort(_)), "status", "Abort")?;
        only(self.delay.is_some() && !matches!(kind, DrillKind::Delay(_)), "delay", "Delay")?;
        only(self.via.is_some() && !matches!(kind, DrillKind::BlackHole(_)), "via", "BlackHole")?;
        Ok(kind)
    }

    fn target(&self, own: &ClusterName, own_region: &Region) -> Result<ShiftTarget, String> {
        let said = |error: tidegate_model::NameError| error.to_string();
        let region = self.region.as_deref().map(Region::new).transpose().map_err(said)?;
        let service: Option<ServiceName> =
            self.service.as_deref().map(str::parse).transpose().map_err(said)?;
        if self.hub || self.link_from.is_some() || self.link_to.is_some() {
            let others = [&self.zone, &self.region, &self.cluster, &self.service, &self.gateway];
            let location = match (&self.link_from, &self.link_to, self.hub) {
                _ if others.iter().any(|it| it.is_some()) => None,
                (Some(_), Some(to), false) => Some(ClusterName::new(to).map_err(said)?),
                (None, None, true) => Some(own.clone()),
                _ => None,
            };
            let location = location.ok_or("name one target: linkFrom and linkTo, or hub=true")?;
            return Ok(ShiftTarget { location: Location::Cluster(location), service: None });
        }
        let beside = [&self.zone, &self.region, &self.service];
        if self.gateway.is_some() && beside.iter().any(|it| it.is_some()) {
            return Err("name one target: a gateway, and beside it at most its cluster".to_owned());
        }
        let location = match (&self.zone, region, &self.cluster) {
            (None, None, None) if self.gateway.is_some() => Location::Cluster(own.clone()),
            (Some(zone), region, None) => {
                let region = region.unwrap_or_else(|| own_region.clone());
                Location::Zone(Locality { region, zone: Zone::new(zone).map_err(said)? })
            }
            (None, Some(region), None) => Location::Region(region),
            (None, None, Some(cluster)) => Location::Cluster(ClusterName::new(cluster).map_err(said)?),
            (None, None, None) if service.is_some() => Location::Cluster(own.clone()),
            _ => return Err("name one target: service, zone, cluster, region or gateway".to_owned()),
        };
        Ok(ShiftTarget { location, service })
    }
}
