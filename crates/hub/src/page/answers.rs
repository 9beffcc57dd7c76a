//! What is asked of all agents, and how their answers become one.

use super::{Page, anybody};
use futures::future::join_all;
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidegate_link::access::Caller;
use tidegate_model::{ClusterName, ServiceName};
use tidegate_web::{
    Loss, Trouble,
    compose::Risks,
    model::{ClusterState, Event, ServiceFacts},
};

/// Somebody waits for the page.
const SOON: Duration = Duration::from_secs(3);
/// What would be is seconds of work for an agent of a large fleet.
pub(super) const FORESEE: Duration = Duration::from_secs(20);
/// Events of one answer.
const MAX_EVENTS: usize = 1000;
/// Events of one service.
const MAX_OF_SERVICE: usize = 500;

/// Of a cluster: status and body, or why there is none.
pub(super) type Answer = (ClusterName, Result<(u16, Vec<u8>), String>);

/// By cluster.
type Missing = Vec<(ClusterName, String)>;

/// A place as it is written in a question to an agent.
pub(super) fn written(loss: &Loss) -> String {
    match loss {
        Loss::Zone(Some(region), zone) => format!("zone/{region}/{zone}"),
        Loss::Zone(None, zone) => format!("zone/{zone}"),
        Loss::Cluster(cluster) => format!("cluster/{cluster}"),
        Loss::Region(region) => format!("region/{region}"),
    }
}

pub(super) fn error_of(body: &[u8]) -> String {
    let said = serde_json::from_slice::<serde_json::Value>(body).ok();
    let said = said.and_then(|it| it.get("error")?.as_str().map(str::to_owned));
    said.unwrap_or_else(|| "its agent could not answer".to_owned())
}

impl Page {
    /// The answers of all clusters. Those that belong to the fleet and are not connected, too.
    pub(super) async fn ask_all(&self, target: &str, limit: Duration) -> Vec<Answer> {
        self.ask_all_for(&anybody(), target, limit).await
    }

    /// The same, asked by somebody: agents judge what they may see.
    pub(super) async fn ask_all_for(&self, by: &Caller, target: &str, limit: Duration) -> Vec<Answer> {
        let lines = self.office.lines.clusters();
        let asked = lines
            .iter()
            .map(async |(cluster, stream)| (cluster.clone(), stream.request(by, "GET", target, limit).await));
        let mut answers = join_all(asked).await;
        let fleet = self.newest_fleet();
        let all = fleet.regions.iter().flat_map(|region| &region.clusters);
        let away = all.filter(|it| it.state != ClusterState::Revoked && !lines.contains_key(&it.name));
        answers.extend(away.map(|it| (it.name.clone(), Err("its agent is not connected".to_owned()))));
        answers
    }

    /// Those that could be read; the others with the reason. An error if there are none of the first.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        target: &str,
        limit: Duration,
    ) -> Result<(Vec<(ClusterName, T)>, Missing), Trouble> {
        let (mut found, mut missing, mut unknown) = (Vec::new(), Vec::new(), None);
        for (cluster, answer) in self.ask_all(target, limit).await {
            match answer {
                Ok((200, body)) => match serde_json::from_slice(&body) {
                    Ok(read) => found.push((cluster, read)),
                    Err(error) => missing.push((cluster, format!("its answer cannot be read: {error}"))),
                },
                // It has no such thing, which is an answer as well.
                Ok((404, body)) => unknown = Some(error_of(&body)),
                Ok((_, body)) => missing.push((cluster, error_of(&body))),
                Err(why) => missing.push((cluster, why)),
            }
        }
        match (found.is_empty(), unknown, missing.first()) {
            (false, ..) => Ok((found, missing)),
            (true, Some(why), _) => Err(Trouble::Unknown(why)),
            (true, None, Some((cluster, why))) => Err(Trouble::Unavailable(format!("{cluster}: {why}"))),
            (true, None, None) => {
                Err(Trouble::Unavailable("no agent is connected; nobody can answer".to_owned()))
            }
        }
    }

    pub(super) async fn service_facts(&self, name: &ServiceName) -> Result<ServiceFacts, Trouble> {
        let target = format!("/facts/services/{name}");
        let (answers, missing) = self.all::<ServiceFacts>(&target, SOON).await?;
        let fleet = self.newest_fleet();
        let row = fleet.services.iter().find(|it| it.name == *name).cloned();
        let mut whole = None::<ServiceFacts>;
        for (cluster, mut facts) in answers {
            // Each answers for its own pools; of others it has only what they told it.
            facts.pools.retain(|it| it.place.cluster == cluster);
            match &mut whole {
                None => whole = Some(facts),
                Some(whole) => {
                    whole.pools.extend(facts.pools);
                    whole.plans.extend(facts.plans);
                    whole.timeline.extend(facts.timeline);
                    whole.told_by.extend(facts.told_by);
                }
            }
        }
        let mut whole = whole.ok_or_else(|| Trouble::Unknown(format!("no service {name}")))?;
        newest_first(&mut whole.timeline, MAX_OF_SERVICE);
        // Whoever does not know the service is not missed.
        let has_it = |cluster: &ClusterName| row.as_ref().is_some_and(|row| row.clusters.contains(cluster));
        whole.missing = missing.into_iter().filter(|(cluster, _)| has_it(cluster)).collect();
        whole.row = row.unwrap_or(whole.row);
        Ok(whole)
    }

    /// What happened: as agents tell it now, and of those that are away what they told last. Each is asked for its part of what is
    /// shown, and once more if more of that is its own: of a hundred that tell all, a hundredth would be shown.
    pub(super) async fn events(&self, before_ms: Option<u64>, limit: usize) -> Vec<Event> {
        let limit = limit.min(MAX_EVENTS);
        let before = before_ms.map(|it| format!("&before={it}")).unwrap_or_default();
        let target = |limit: usize| format!("/facts/timeline?limit={limit}{before}");
        let part = part(limit, self.office.lines.clusters().len());
        let (found, _) = self.all::<Vec<Event>>(&target(part), SOON).await.unwrap_or_default();
        let mut told: BTreeMap<ClusterName, Vec<Event>> = found.into_iter().collect();
        let (lines, by, target) = (self.office.lines.clusters(), anybody(), target(limit));
        let asked = has_more(&told, part, limit).into_iter().filter_map(|cluster| {
            let stream = Arc::clone(lines.get(&cluster)?);
            let (by, target) = (&by, &target);
            Some(async move { (cluster, stream.request(by, "GET", target, SOON).await) })
        });
        for (cluster, answer) in join_all(asked).await {
            // What came first stays if no more comes.
            if let Ok((200, body)) = answer
                && let Ok(all) = serde_json::from_slice(&body)
            {
                told.insert(cluster, all);
            }
        }
        let mut events: Vec<Event> = self.kept(&told, before_ms);
        events.extend(told.into_values().flatten());
        newest_first(&mut events, limit);
        events
    }

    fn kept(&self, told: &BTreeMap<ClusterName, Vec<Event>>, before_ms: Option<u64>) -> Vec<Event> {
        let fleet = self.office.fleet();
        let silent: Vec<ClusterName> =
            fleet.clusters().filter(|it| !told.contains_key(*it)).cloned().collect();
        let of = |cluster: ClusterName| {
            let (.., decisions) = fleet.knowledge(&cluster);
            decisions.into_iter().map(move |it| Event {
                at_ms: it.unix_micros / 1000,
                cluster: cluster.clone(),
                seq: it.seq,
                kind: it.kind,
                service: it.service.and_then(|it| it.parse().ok()),
                // What was told for a record does not say it apart from the text.
                pool: None,
                text: it.text,
            })
        };
        let all = silent.into_iter().flat_map(of);
        all.filter(|it| before_ms.is_none_or(|before| it.at_ms < before)).collect()
    }

    /// Which services would not stand a loss; `None` if nobody can say.
    pub(super) async fn risks(&self) -> Option<Risks> {
        let (answers, _) = self.all::<Risks>("/facts/risks", FORESEE).await.ok()?;
        let mut whole = Risks::default();
        for (_, risks) in answers {
            whole.add(risks);
        }
        Some(whole)
    }
}

/// Of `limit` events, how many each of so many clusters is asked for: four times its share.
fn part(limit: usize, clusters: usize) -> usize {
    (4 * limit).div_ceil(clusters.max(1)).min(limit)
}

/// Clusters that told as many as they were asked for, the oldest of which is among the newest `limit` of all: what they have besides may
/// be, too.
fn has_more(told: &BTreeMap<ClusterName, Vec<Event>>, part: usize, limit: usize) -> Vec<ClusterName> {
    if part >= limit {
        return Vec::new();
    }
    let mut times: Vec<u64> = told.values().flatten().map(|it| it.at_ms).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let oldest_shown = times.get(limit - 1).copied().unwrap_or(0);
    let is_cut = |events: &[Event]| {
        events.len() >= part && events.iter().map(|it| it.at_ms).min().is_some_and(|it| it >= oldest_shown)
    };
    told.iter().filter(|(_, events)| is_cut(events)).map(|(cluster, _)| cluster.clone()).collect()
}

fn newest_first(events: &mut Vec<Event>, most: usize) {
    events.sort_by(|a, b| (b.at_ms, &b.cluster, b.seq).cmp(&(a.at_ms, &a.cluster, a.seq)));
    events.truncate(most);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(cluster: &str, times: impl Iterator<Item = u64>) -> (ClusterName, Vec<Event>) {
        let cluster: ClusterName = cluster.parse().unwrap();
        let event = |at_ms| Event {
            at_ms,
            cluster: cluster.clone(),
            seq: at_ms,
            kind: "planChanged".to_owned(),
            service: None,
            pool: None,
            text: String::new(),
        };
        (cluster.clone(), times.map(event).collect())
    }

    #[test]
    fn each_is_asked_for_its_part_and_whoever_has_more_of_the_newest_once_more() {
        assert_eq!((part(500, 1), part(500, 4), part(500, 100), part(500, 0)), (500, 500, 20, 500));
        // One in trouble has told 20 of the newest, and may have more; the others' are older, or they have no more.
        let told: BTreeMap<_, _> =
            [events("trouble", 980..1000), events("quiet", 0..20), events("short", 990..995)].into();
        let names = |limit| has_more(&told, 20, limit).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(25), ["trouble"]);
        assert_eq!(names(500), ["quiet", "trouble"], "there is room for all");
        assert!(names(15).is_empty() && names(20).is_empty());
    }
}
