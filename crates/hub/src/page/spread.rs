//! Shifts that somebody asks for at the hub: told to an agent, as if it were done there, and by it to all others.
//!
//! An action spreads over peer links by itself, and of two the newer wins everywhere. So one agent is told, of the clusters that it
//! concerns if one is connected. A moment later the hub looks at what the others tell, and tells those that have not heard of it: their
//! links may be cut. What was done, by whom and with which result is in the audit log.

use super::{Page, history};
use crate::{lines::Stream, timeline::What};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidegate_link::access::{Caller, Denied};
use tidegate_model::{ClusterName, ServiceName};
use tidegate_web::{
    Loss, ShiftAsked, Trouble,
    model::{ClusterState, Fleet, RegionFacts, ShiftFacts},
};
use tokio::time::sleep;

/// An agent answers so soon.
const ANSWER: Duration = Duration::from_secs(3);
/// An action has spread, and is told of, after so long.
const SPREAD: Duration = Duration::from_secs(4);

/// What was done.
#[derive(Debug)]
pub(super) struct Told {
    /// For people.
    pub(super) done: String,
    /// The agent's answer.
    pub(super) body: Vec<u8>,
}

/// What is to be so everywhere.
#[derive(Clone, Debug)]
enum Wanted {
    /// The shift of this name is in force, at least until then.
    Until(String, u64),
    /// It is not.
    Over(String),
}

impl Wanted {
    fn is_so(&self, shifts: &[ShiftFacts]) -> bool {
        // What remains is told to the second, and by clocks of their own.
        let slack = 5_000;
        match self {
            Self::Until(name, ends) => {
                shifts.iter().any(|it| it.name == *name && it.ends_at_ms + slack >= *ends)
            }
            Self::Over(name) => shifts.iter().all(|it| it.name != *name),
        }
    }
}

/// A part of a path or query as it is sent.
pub(super) fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// As `POST /api/v1/shifts` has it.
pub(super) fn query(asked: &ShiftAsked, from: &Loss) -> String {
    let place = match from {
        Loss::Zone(Some(region), zone) => format!("region={region}&zone={zone}"),
        Loss::Zone(None, zone) => format!("zone={zone}"),
        Loss::Cluster(cluster) => format!("cluster={cluster}"),
        Loss::Region(region) => format!("region={region}"),
    };
    let service = asked.service.as_ref().map(|it| format!("&service={it}")).unwrap_or_default();
    let (lasts, comment) = (tidegate_api::duration_text(asked.lasts), encoded(&asked.comment));
    let (percent, force) = (asked.percent, asked.force);
    format!("{place}{service}&percent={percent}&for={lasts}&force={force}&comment={comment}")
}

/// The namespace of the service that a query is limited to; `None` for a whole place.
pub(super) fn namespace(query: &str) -> Option<String> {
    let service = parts(query).remove("service")?;
    Some(service.split_once('/').map_or(service.clone(), |(namespace, _)| namespace.to_owned()))
}

/// The clusters that a query names the place of.
fn concerned(fleet: &Fleet, query: &BTreeMap<String, String>) -> Vec<ClusterName> {
    let (zone, region, cluster) = (query.get("zone"), query.get("region"), query.get("cluster"));
    let there = |of: &RegionFacts| region.is_none_or(|it| of.name.as_str() == it.as_str());
    let all = fleet.regions.iter().filter(|it| there(it)).flat_map(|region| &region.clusters);
    let has = |it: &&tidegate_web::model::ClusterFacts| match (zone, cluster) {
        (Some(zone), _) => it.zones.iter().any(|it| it.name.as_str() == zone.as_str()),
        (None, Some(cluster)) => it.name.as_str() == cluster.as_str(),
        (None, None) => region.is_some(),
    };
    all.filter(has).map(|it| it.name.clone()).collect()
}

impl Page {
    /// The place with its region: of a zone that several regions have, it has to be said.
    pub(super) fn place(&self, loss: &Loss) -> Result<Loss, Trouble> {
        let Loss::Zone(None, zone) = loss else { return Ok(loss.clone()) };
        let fleet = self.newest_fleet();
        let has = |it: &&RegionFacts| {
            it.clusters.iter().flat_map(|cluster| &cluster.zones).any(|it| it.name == *zone)
        };
        match fleet.regions.iter().filter(has).collect::<Vec<_>>().as_slice() {
            [one] => Ok(Loss::Zone(Some(one.name.clone()), zone.clone())),
            [] => Err(Trouble::Unknown(format!("no cluster tells of a zone {zone}"))),
            many => {
                let names: Vec<String> = many.iter().map(|it| it.name.to_string()).collect();
                Err(Trouble::Refused(format!(
                    "zone {zone} is in {}: name the region",
                    names.join(" and in ")
                )))
            }
        }
    }

    /// Starts a shift; the query is that of `POST /api/v1/shifts`.
    pub(super) async fn start_shift(&self, by: &Caller, query: &str) -> Result<Told, Trouble> {
        let query = self.with_region(query)?;
        let named = parts(&query);
        let target = format!("/api/v1/shifts?{query}");
        let first = concerned(&self.newest_fleet(), &named);
        let (cluster, body) = self.tell(by, ("POST", &target), "shiftStarted", &first).await?;
        let view = read(&body);
        let done = format!(
            "the shift {} moves {} % away from {}; told to {cluster}, and by it to all others",
            text(&view, "name"),
            view.get("percent").and_then(serde_json::Value::as_u64).unwrap_or(100),
            text(&view, "awayFrom"),
        );
        self.check_later(by, ("POST", target), wanted(&view), &cluster);
        Ok(Told { done, body })
    }

    pub(super) async fn extend_shift(&self, by: &Caller, name: &str, lasts: &str) -> Result<Told, Trouble> {
        let target = format!("/api/v1/shifts/{}/extend?for={}", encoded(name), encoded(lasts));
        let (cluster, body) = self.tell(by, ("POST", &target), "shiftExtended", &self.carriers(name)).await?;
        let view = read(&body);
        let done =
            format!("the shift {name} lasts {lasts} from now; told to {cluster}, and by it to all others");
        self.check_later(by, ("POST", target), wanted(&view), &cluster);
        Ok(Told { done, body })
    }

    pub(super) async fn end_shift(&self, by: &Caller, name: &str) -> Result<Told, Trouble> {
        let target = format!("/api/v1/shifts/{}", encoded(name));
        let (cluster, body) = self.tell(by, ("DELETE", &target), "shiftEnded", &self.carriers(name)).await?;
        let done = format!("the shift {name} is ended; told to {cluster}, and by it to all others");
        self.check_later(by, ("DELETE", target), Some(Wanted::Over(name.to_owned())), &cluster);
        Ok(Told { done, body })
    }

    /// The clusters that tell of a shift.
    fn carriers(&self, name: &str) -> Vec<ClusterName> {
        let fleet = self.newest_fleet();
        let named = fleet.shifts.iter().filter(|it| it.name == name);
        named.flat_map(|it| it.clusters.iter().cloned()).collect()
    }

    /// Whether somebody may touch a shift. One that the picture does not have yet the agent judges, who is told in their name.
    pub(super) fn may_touch(&self, by: &Caller, name: &str) -> Result<(), Denied> {
        let fleet = self.newest_fleet();
        let Some(known) = fleet.shifts.iter().find(|it| it.name == name) else { return Ok(()) };
        by.may_in(known.service.as_ref().map(ServiceName::namespace))
    }

    /// The query with the region of its zone: agents take a zone without one for a zone of their own region.
    pub(super) fn with_region(&self, query: &str) -> Result<String, Trouble> {
        let named = parts(query);
        let Some(zone) = named.get("zone").filter(|_| !named.contains_key("region")) else {
            return Ok(query.to_owned());
        };
        let zone = zone.parse().map_err(|error| Trouble::Refused(format!("zone: {error}")))?;
        match self.place(&Loss::Zone(None, zone))? {
            Loss::Zone(Some(region), _) => Ok(format!("{query}&region={region}")),
            _ => Ok(query.to_owned()),
        }
    }

    /// Tells one agent: of those that it concerns first, then of any other. What one refuses all would.
    async fn tell(
        &self,
        by: &Caller,
        (method, target): (&str, &str),
        what: &'static str,
        concerned: &[ClusterName],
    ) -> Result<(ClusterName, Vec<u8>), Trouble> {
        let mut lines: Vec<(ClusterName, Arc<Stream>)> = self.office.lines.clusters().into_iter().collect();
        lines.sort_by_key(|(cluster, _)| !concerned.contains(cluster));
        let mut last = Trouble::Unavailable("no agent is connected; nobody can be told".to_owned());
        for (cluster, stream) in lines {
            match stream.request(by, method, target, ANSWER).await {
                Ok((200, body)) => {
                    let detail = format!("{} told to {cluster}", said(target));
                    self.office.record(What::Shift {
                        how: what,
                        by: by.name.clone(),
                        detail: detail.clone(),
                    });
                    self.note(by, what, detail)?;
                    return Ok((cluster, body));
                }
                Ok((404, body)) => last = Trouble::Unknown(super::answers::error_of(&body)),
                Ok((503, body)) => last = Trouble::Unavailable(super::answers::error_of(&body)),
                Ok((status, body)) => {
                    let why = super::answers::error_of(&body);
                    self.note(by, "shiftRefused", format!("{} by {cluster}: {why}", said(target)))?;
                    return Err(if status == 403 { Trouble::Denied(why) } else { Trouble::Refused(why) });
                }
                Err(why) => last = Trouble::Unavailable(format!("{cluster}: {why}")),
            }
        }
        self.note(by, "shiftRefused", format!("{}: {last}", said(target)))?;
        Err(last)
    }

    fn note(&self, by: &Caller, what: &str, detail: String) -> Result<(), Trouble> {
        self.office.audit_later(&by.name, what, detail);
        self.office.write_audit().map_err(history::store)
    }

    /// Looks later who has not heard of it.
    fn check_later(
        &self,
        by: &Caller,
        (method, target): (&'static str, String),
        wanted: Option<Wanted>,
        told: &ClusterName,
    ) {
        let Some(wanted) = wanted else { return };
        let (office, by, told) = (Arc::clone(&self.office), by.clone(), told.clone());
        tokio::spawn(async move {
            sleep(SPREAD).await;
            for (cluster, stream) in office.lines.clusters() {
                let now = (std::time::Instant::now(), super::now_ms());
                let seen = office.fleet().told(&cluster, now.0, now.1);
                let lacks =
                    seen.is_some_and(|it| it.state == ClusterState::Live && !wanted.is_so(&it.shifts));
                if cluster == told || !lacks {
                    continue;
                }
                let answer = stream.request(&by, method, &target, ANSWER).await;
                let result = match answer {
                    Ok((200, _)) => "told directly".to_owned(),
                    Ok((status, _)) => format!("not taken ({status})"),
                    Err(why) => why,
                };
                let detail = format!("{} in {cluster}, whose links brought no word: {result}", said(&target));
                office.audit_later(&by.name, "shiftRepeated", detail);
            }
        });
    }
}

fn wanted(view: &serde_json::Value) -> Option<Wanted> {
    let remaining = view.get("remainingMs")?.as_u64()?;
    Some(Wanted::Until(text(view, "name"), super::now_ms().saturating_add(remaining)))
}

fn read(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn text(view: &serde_json::Value, field: &str) -> String {
    view.get(field).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// A request as the audit log has it.
fn said(target: &str) -> String {
    let rest = target.strip_prefix("/api/v1/shifts").unwrap_or(target);
    decoded(rest.trim_start_matches(['?', '/']))
}

/// The fields of a query.
fn parts(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|it| it.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        let hex = more.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        match (first, hex.and_then(|it| u8::from_str_radix(it, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = more;
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_the_same_however_it_was_written() {
        let asked = ShiftAsked {
            from: Loss::Cluster("east".parse().unwrap()),
            service: Some("shop/web".parse().unwrap()),
            percent: 50,
            lasts: Duration::from_secs(1800),
            comment: "rack & roll, 100 %".to_owned(),
            force: false,
        };
        let written = query(&asked, &asked.from);
        let read = parts(&written);
        assert_eq!(read["comment"], asked.comment);
        assert_eq!((read["for"].as_str(), read["cluster"].as_str()), ("30m", "east"));
        assert_eq!(decoded("a%2"), "a%2");
        assert_eq!(namespace(&written).as_deref(), Some("shop"));
        assert_eq!((namespace("service=pay%2Fweb"), namespace("zone=a")), (Some("pay".to_owned()), None));
    }

    #[test]
    fn who_carries_a_shift_that_ends_sooner_has_not_heard() {
        let shift = ShiftFacts {
            name: "a".to_owned(),
            away_from: String::new(),
            service: None,
            percent: 100,
            ends_at_ms: 100_000,
            by: "operator".to_owned(),
            comment: String::new(),
            clusters: Vec::new(),
            refused: Vec::new(),
        };
        let shifts = [shift];
        assert!(Wanted::Until("a".to_owned(), 104_000).is_so(&shifts));
        assert!(!Wanted::Until("a".to_owned(), 200_000).is_so(&shifts));
        assert!(!Wanted::Over("a".to_owned()).is_so(&shifts) && Wanted::Over("b".to_owned()).is_so(&shifts));
    }
}
