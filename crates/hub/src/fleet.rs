//! What is known of the clusters: who is connected, what each applied, how it is. Pure; times are passed in.
//!
//! A cluster has a session for each agent that is connected (replicas have one each) and keeps the last one after it ended,
//! as the last knowledge. Everything is counted to the cluster of the certificate: no agent can speak for another one.

use crate::view::{
    ClusterView, DecisionView, GatewaySummaryView, ObjectInCluster, ObjectState, PlanSummaryView,
    PoolSummaryView, RejectedView,
};
use crate::{
    condition::{Condition, MAX_NAMES, PoolState},
    facts::Facts,
    knowledge::{Decisions, Plans},
    waves::Seen,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use tidegate_link::hub::proto;
use tidegate_model::ClusterName;
use tidegate_web::{compose::ClusterTold, model::ClusterState};

/// The most agents of one cluster at a time.
pub(crate) const MAX_SESSIONS: usize = 8;
/// The most pools of one cluster.
const MAX_POOLS: usize = 200_000;
/// The most gateways of one cluster.
const MAX_GATEWAYS: usize = 5_000;
/// The most objects that one cluster can reject by name.
const MAX_REJECTED: usize = 1_000;
/// The longest text that is kept.
pub(crate) const MAX_TEXT: usize = 1_000;

/// Why what an agent says is not taken. Its stream ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Excess {
    #[error("a cluster has at most {MAX_SESSIONS} agents at a time")]
    Sessions,
    #[error("a cluster has at most {MAX_POOLS} pools")]
    Pools,
    #[error("a cluster has at most {MAX_GATEWAYS} gateways")]
    Gateways,
    #[error("a cluster tells of so many plans, or of one with so many targets, that something is wrong")]
    Plans,
    #[error("a cluster tells of more flows or rates than there can be")]
    Rates,
    #[error("a text is longer than {MAX_TEXT} bytes")]
    Text,
    #[error("a pool without a name")]
    Name,
}

/// What one agent says.
#[derive(Debug)]
struct Session {
    connected: bool,
    heard: Instant,
    applied: u64,
    rejected: Vec<RejectedView>,
    held_back: Option<String>,
    pools: BTreeMap<(String, String), PoolState>,
    gateways: BTreeMap<String, GatewayState>,
    plans: Plans,
    /// Whether it has told all of it on this stream.
    told: bool,
    /// Whether it has told what became of the policy that it holds.
    answered: bool,
    /// Of the pools as they are, once somebody asked.
    condition: Option<Condition>,
    /// What the page shows of it.
    facts: Facts,
}

#[derive(Debug)]
struct GatewayState {
    connected: bool,
    applied: u64,
    /// The first thing that it refuses.
    refused: Option<String>,
}

impl Session {
    fn seen(&mut self) -> Seen {
        let refused = self.gateways.iter().filter(|(_, it)| it.connected);
        let refused = refused.filter_map(|(node, it)| Some((node.clone(), it.refused.clone()?)));
        let refused: BTreeMap<_, _> = refused.take(MAX_NAMES).collect();
        let pools = &self.pools;
        let condition = (self.told && self.answered).then(|| {
            let pools = self.condition.get_or_insert_with(|| Condition::of(pools)).clone();
            let rejected = self.rejected.iter().map(|it| it.object.clone()).collect();
            Condition { refusing: refused.keys().cloned().collect(), rejected, ..pools }
        });
        Seen {
            connected: self.connected,
            applied: self.applied,
            condition,
            rejected: self.rejected.clone(),
            refused,
        }
    }
}

/// All clusters that were heard since the hub started.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    clusters: BTreeMap<ClusterName, BTreeMap<u64, Session>>,
    decisions: BTreeMap<ClusterName, Decisions>,
    /// Grows with everything that a page shows of it, but for its age.
    revision: u64,
}

impl Fleet {
    /// An agent has connected. What it said in an earlier session is forgotten.
    pub(crate) fn connected(
        &mut self,
        cluster: &ClusterName,
        boot: u64,
        held: u64,
        held_back: Option<String>,
        now: Instant,
    ) -> Result<(), Excess> {
        let sessions = self.clusters.entry(cluster.clone()).or_default();
        // The last knowledge stays until the new session has told its own.
        sessions.retain(|_, session| session.connected);
        if sessions.len() >= MAX_SESSIONS && !sessions.contains_key(&boot) {
            return Err(Excess::Sessions);
        }
        let session = Session {
            connected: true,
            heard: now,
            applied: held,
            rejected: Vec::new(),
            held_back,
            pools: BTreeMap::new(),
            gateways: BTreeMap::new(),
            plans: Plans::default(),
            told: false,
            answered: held == 0,
            condition: None,
            facts: Facts::default(),
        };
        self.revision += 1;
        sessions.insert(boot, session);
        Ok(())
    }

    /// Its stream has ended. What it said stays, as the last that is known.
    pub(crate) fn disconnected(&mut self, cluster: &ClusterName, boot: u64) {
        self.revision += 1;
        if let Some(session) = self.session(cluster, boot) {
            session.connected = false;
        }
    }

    fn session(&mut self, cluster: &ClusterName, boot: u64) -> Option<&mut Session> {
        self.clusters.get_mut(cluster)?.get_mut(&boot)
    }

    /// Why it is given no policy, from now on; `None` when it is again.
    pub(crate) fn hold_back(&mut self, cluster: &ClusterName, boot: u64, why: Option<String>) {
        self.revision += 1;
        if let Some(session) = self.session(cluster, boot) {
            session.held_back = why;
        }
    }

    /// It has applied a policy, with exceptions.
    pub(crate) fn applied(
        &mut self,
        cluster: &ClusterName,
        boot: u64,
        applied: &proto::Applied,
        now: Instant,
    ) {
        self.revision += 1;
        let Some(session) = self.session(cluster, boot) else { return };
        session.heard = now;
        session.applied = applied.sequence;
        session.answered = true;
        let rejected = applied.rejected.iter().take(MAX_REJECTED);
        session.rejected = rejected
            .map(|it| RejectedView { object: short(&it.object), reason: short(&it.reason) })
            .collect();
    }

    /// How it is.
    pub(crate) fn status(
        &mut self,
        cluster: &ClusterName,
        boot: u64,
        status: &proto::Status,
        now: Instant,
        now_ms: u64,
    ) -> Result<(), Excess> {
        self.revision += u64::from(*status != proto::Status::default());
        let Some(session) = self.session(cluster, boot) else { return Ok(()) };
        session.heard = now;
        session.told |= status.full;
        session.condition = None;
        if status.full {
            session.pools.clear();
            session.gateways.clear();
        }
        session.plans.take(status)?;
        for name in &status.removed_pools {
            session.pools.remove(&(name.service.clone(), name.zone.clone()));
        }
        for node in &status.removed_gateways {
            session.gateways.remove(node);
        }
        for pool in &status.pools {
            let name = pool.name.as_ref().ok_or(Excess::Name)?;
            if name.service.len() > MAX_TEXT || name.zone.len() > MAX_TEXT {
                return Err(Excess::Text);
            }
            session.pools.insert((name.service.clone(), name.zone.clone()), PoolState::of(pool));
        }
        for gateway in &status.gateways {
            if gateway.node.len() > MAX_TEXT {
                return Err(Excess::Text);
            }
            let refused = gateway.refused.first().map(|it| short(it));
            let state = GatewayState { connected: gateway.connected, applied: gateway.applied, refused };
            session.gateways.insert(gateway.node.clone(), state);
        }
        session.facts.take(status, now_ms)?;
        if !status.decisions.is_empty() {
            self.decisions.entry(cluster.clone()).or_default().take(boot, &status.decisions)?;
        }
        let Some(session) = self.session(cluster, boot) else { return Ok(()) };
        match (session.pools.len() > MAX_POOLS, session.gateways.len() > MAX_GATEWAYS) {
            (true, _) => Err(Excess::Pools),
            (_, true) => Err(Excess::Gateways),
            _ => Ok(()),
        }
    }

    /// The session that speaks for a cluster: of those that are connected the one that is furthest behind, because an object
    /// is in force in a cluster when all its agents have it.
    fn speaker(&self, cluster: &ClusterName) -> Option<&Session> {
        let sessions = self.clusters.get(cluster)?.values();
        sessions.min_by_key(|session| (!session.connected, session.applied))
    }

    /// The highest policy among those that connected agents hold and the hub does not know; 0 if there are none.
    pub(crate) fn highest_held_back(&self) -> u64 {
        let sessions = self.clusters.values().flatten().map(|(_, session)| session);
        sessions.filter(|it| it.connected && it.held_back.is_some()).map(|it| it.applied).max().unwrap_or(0)
    }

    /// The clusters with a connected agent that is given no policy, and why.
    pub(crate) fn held_back(&self) -> impl Iterator<Item = (&ClusterName, &str)> {
        self.clusters.iter().filter_map(|(cluster, sessions)| {
            let mut there = sessions.values().filter(|it| it.connected);
            there.find_map(|it| Some((cluster, it.held_back.as_deref()?)))
        })
    }

    /// The newest policy that all agents have that are connected and given any; the newest of all without one.
    pub(crate) fn applied_everywhere(&self) -> u64 {
        let sessions = self.clusters.values().flatten().map(|(_, session)| session);
        let there = sessions.filter(|it| it.connected && it.held_back.is_none());
        there.map(|it| it.applied).min().unwrap_or(u64::MAX)
    }

    /// How many agents are connected.
    pub(crate) fn sessions(&self) -> usize {
        self.clusters.values().flatten().filter(|(_, session)| session.connected).count()
    }

    /// One cluster, without what only the store knows.
    pub(crate) fn view(&self, cluster: &ClusterName, now: Instant) -> ClusterView {
        let empty = ClusterView {
            cluster: cluster.clone(),
            connected: false,
            heard_ms: None,
            applied: 0,
            rejected: Vec::new(),
            held_back: None,
            services: 0,
            pools: 0,
            pools_not_serving: 0,
            gateways: 0,
            certificate_ends: None,
            revoked: false,
        };
        let Some(session) = self.speaker(cluster) else { return empty };
        let services: BTreeSet<&str> = session.pools.keys().map(|(service, _)| service.as_str()).collect();
        ClusterView {
            connected: session.connected,
            heard_ms: Some(age(session.heard, now)),
            applied: session.applied,
            rejected: session.rejected.clone(),
            held_back: session.held_back.clone(),
            services: count(services.len()),
            pools: count(session.pools.len()),
            pools_not_serving: count(session.pools.values().filter(|pool| !pool.serving).count()),
            gateways: count(session.gateways.values().filter(|it| it.connected).count()),
            ..empty
        }
    }

    /// The plans and decisions of one cluster, as its agents told of them last.
    pub(crate) fn knowledge(&self, cluster: &ClusterName) -> (Vec<PlanSummaryView>, u32, Vec<DecisionView>) {
        let (plans, more) = self.speaker(cluster).map(|it| it.plans.views()).unwrap_or_default();
        (plans, more, self.decisions.get(cluster).map(Decisions::views).unwrap_or_default())
    }

    /// The pools and gateways of one cluster, as its agents told of them last.
    pub(crate) fn parts(&self, cluster: &ClusterName) -> (Vec<PoolSummaryView>, Vec<GatewaySummaryView>) {
        let Some(session) = self.speaker(cluster) else { return Default::default() };
        let pool = |((service, zone), it): (&(String, String), &PoolState)| PoolSummaryView {
            service: service.clone(),
            zone: zone.clone(),
            healthy: it.healthy,
            expected: it.expected,
            admit_ppm: it.told_ppm,
            phase: it.phase,
        };
        let gateway = |(node, it): (&String, &GatewayState)| GatewaySummaryView {
            node: node.clone(),
            connected: it.connected,
            applied: it.applied,
            refused: it.refused.clone(),
        };
        (session.pools.iter().map(pool).collect(), session.gateways.iter().map(gateway).collect())
    }

    /// Where an object stands in a cluster that became what it is with the sequence `since`.
    pub(crate) fn object(
        &self,
        cluster: &ClusterName,
        object: &str,
        since: u64,
        now: Instant,
    ) -> ObjectInCluster {
        let session = self.speaker(cluster);
        let rejected = |session: &Session| {
            session.rejected.iter().find(|it| it.object == object).map(|it| it.reason.clone())
        };
        let state = match session {
            None => ObjectState::Unknown,
            // What it holds is another policy, whatever its number.
            Some(session) if session.held_back.is_some() || session.applied < since => ObjectState::Pending,
            Some(session) => rejected(session).map_or(ObjectState::Applied, ObjectState::Rejected),
        };
        let gateways = || session.iter().flat_map(|it| it.gateways.values()).filter(|it| it.connected);
        ObjectInCluster {
            cluster: cluster.clone(),
            state,
            gateways_applied: count(gateways().filter(|it| it.applied >= since).count()),
            gateways: count(gateways().count()),
            age_ms: session.map(|session| age(session.heard, now)),
        }
    }

    /// What a rollout asks of a cluster.
    pub(crate) fn seen(&mut self, cluster: &ClusterName) -> Seen {
        let Some(sessions) = self.clusters.get_mut(cluster) else { return Seen::default() };
        let speaker = sessions.values_mut().min_by_key(|session| (!session.connected, session.applied));
        speaker.map(Session::seen).unwrap_or_default()
    }

    /// Grows with everything that a page shows, but for ages.
    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// One cluster for the page, at `now`, which is `now_ms` after 1970; `None` if it was not heard.
    pub(crate) fn told(&mut self, cluster: &ClusterName, now: Instant, now_ms: u64) -> Option<ClusterTold> {
        let sessions = self.clusters.get_mut(cluster)?.values_mut();
        let session = sessions.min_by_key(|session| (!session.connected, session.applied))?;
        let plans = &session.plans;
        let summary = session.facts.summary(|| plans.views().0);
        let rejected = session.rejected.iter().map(|it| (it.object.clone(), it.reason.clone()));
        Some(ClusterTold {
            name: cluster.clone(),
            region: session.facts.region.clone(),
            state: if session.connected { ClusterState::Live } else { ClusterState::Lost },
            heard_at_ms: Some(now_ms.saturating_sub(age(session.heard, now))),
            applied: session.applied,
            held_back: session.held_back.clone(),
            rejected: rejected.collect(),
            gateways: session.facts.gateways.values().cloned().collect(),
            peers: session.facts.peers.clone(),
            flows: session.facts.flows(),
            shifts: session.facts.shifts.clone(),
            summary,
        })
    }

    /// The clusters that were heard.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &ClusterName> {
        self.clusters.keys()
    }
}

pub(crate) fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

fn age(heard: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(heard).as_millis()).unwrap_or(u64::MAX)
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pool(service: &str, phase: &str) -> proto::Pool {
        let name = Some(proto::PoolName { service: service.to_owned(), zone: "z".to_owned() });
        proto::Pool { name, phase: phase.to_owned(), ..Default::default() }
    }

    fn gateway(node: &str, applied: u64) -> proto::Gateway {
        proto::Gateway { node: node.to_owned(), connected: true, applied, ..Default::default() }
    }

    #[test]
    fn what_is_known_of_an_object_follows_what_the_agent_says_and_grows_old() {
        let (mut fleet, now) = (Fleet::default(), Instant::now());
        let east: ClusterName = "us-east".parse().unwrap();
        let state = |fleet: &Fleet, since| fleet.object(&east, "A", since, now + Duration::from_secs(3));
        assert_eq!((state(&fleet, 1).state, state(&fleet, 1).age_ms), (ObjectState::Unknown, None));
        fleet.connected(&east, 7, 1, None, now).unwrap();
        assert_eq!(state(&fleet, 1).state, ObjectState::Applied);
        assert_eq!(state(&fleet, 2).state, ObjectState::Pending);
        let rejected = vec![proto::Rejected { object: "A".to_owned(), reason: "no".to_owned() }];
        fleet.applied(&east, 7, &proto::Applied { sequence: 2, rejected }, now);
        assert_eq!(state(&fleet, 2).state, ObjectState::Rejected("no".to_owned()));
        assert_eq!(fleet.object(&east, "B", 2, now).state, ObjectState::Applied);
        let gateways = vec![gateway("g1", 2), gateway("g2", 1)];
        let pools = vec![pool("shop/web", "Serving"), pool("shop/api", "Out")];
        let full = proto::Status { full: true, gateways, pools, ..Default::default() };
        fleet.status(&east, 7, &full, now, 0).unwrap();
        let seen = state(&fleet, 2);
        assert_eq!((seen.gateways_applied, seen.gateways, seen.age_ms), (1, 2, Some(3000)));
        // A delta changes what it names only.
        let delta = proto::Status {
            gateways: vec![gateway("g2", 2)],
            removed_pools: vec![proto::PoolName { service: "shop/api".to_owned(), zone: "z".to_owned() }],
            ..Default::default()
        };
        fleet.status(&east, 7, &delta, now, 0).unwrap();
        assert_eq!(state(&fleet, 2).gateways_applied, 2);
        let view = fleet.view(&east, now);
        assert_eq!((view.services, view.pools, view.pools_not_serving), (1, 1, 0));
        // What it said last stays known after it is gone.
        fleet.disconnected(&east, 7);
        let view = fleet.view(&east, now);
        assert!(!view.connected && view.pools == 1 && view.applied == 2);
    }

    #[test]
    fn a_cluster_that_is_given_nothing_has_applied_nothing_whatever_the_number_of_its_policy() {
        let (mut fleet, now) = (Fleet::default(), Instant::now());
        let east: ClusterName = "us-east".parse().unwrap();
        fleet.connected(&east, 1, 2, Some("it holds another policy 2".to_owned()), now).unwrap();
        assert_eq!(fleet.object(&east, "A", 2, now).state, ObjectState::Pending);
        assert_eq!(fleet.held_back().collect::<Vec<_>>(), [(&east, "it holds another policy 2")]);
        fleet.hold_back(&east, 1, None);
        assert_eq!(fleet.object(&east, "A", 2, now).state, ObjectState::Applied);
        assert_eq!(fleet.held_back().count(), 0);
    }

    #[test]
    fn a_cluster_is_as_far_as_the_last_of_its_agents_and_has_limits() {
        let (mut fleet, now) = (Fleet::default(), Instant::now());
        let east: ClusterName = "us-east".parse().unwrap();
        fleet.connected(&east, 1, 5, None, now).unwrap();
        fleet.connected(&east, 2, 4, None, now).unwrap();
        assert_eq!(fleet.object(&east, "A", 5, now).state, ObjectState::Pending);
        fleet.disconnected(&east, 2);
        assert_eq!(fleet.object(&east, "A", 5, now).state, ObjectState::Applied);
        for boot in 3..=9 {
            fleet.connected(&east, boot, 5, None, now).unwrap();
        }
        assert_eq!(fleet.connected(&east, 99, 5, None, now), Err(Excess::Sessions));
        let huge = "x".repeat(MAX_TEXT + 1);
        let status = proto::Status { pools: vec![pool(&huge, "Out")], ..Default::default() };
        assert_eq!(fleet.status(&east, 1, &status, now, 0), Err(Excess::Text));
        let pools = (0..=MAX_POOLS).map(|n| pool(&n.to_string(), "Out")).collect();
        let status = proto::Status { pools, ..Default::default() };
        assert_eq!(fleet.status(&east, 1, &status, now, 0), Err(Excess::Pools));
    }
}
