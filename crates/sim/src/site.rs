//! One cluster: its agent while it runs, what survives the agent, and what its gateways hold.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tidegate_agent::{
    core::{Core, ProbeKey, Publish},
    saved::SavedAgent,
};
use tidegate_api::Config;
use tidegate_engine::{EndpointView, Plan};
use tidegate_link::Liveness;
use tidegate_model::{ClusterName, Fraction, PoolStatus, ServiceName, Time, Zone};
use tidegate_probe::{CheckConfig, Target, Tracker};

/// A cluster.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: ClusterName,
    pub(crate) config: Arc<Config>,
    pub(crate) agent: Option<Agent>,
    /// What the agent had on disk when it stopped.
    pub(crate) saved: Option<SavedAgent>,
    /// The lives that its agents have had.
    pub(crate) lives: u64,
    /// The plans that its gateways hold: they keep them while the agent is gone.
    pub(crate) plans: BTreeMap<(ServiceName, Zone), Plan>,
    /// The endpoints that its gateways know, with the agent's last word on their health.
    pub(crate) endpoints: BTreeMap<ServiceName, Vec<EndpointView>>,
}

/// An agent: the pure cores that `tidegate agent` runs, and what its shell would remember.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) life: u64,
    pub(crate) core: Core,
    pub(crate) liveness: Liveness,
    pub(crate) peers: BTreeMap<ClusterName, Vec<SocketAddr>>,
    pub(crate) checks: BTreeMap<ProbeKey, Check>,
    /// What it tells its peers, and the version of it.
    pub(crate) published: Arc<Vec<PoolStatus>>,
    pub(crate) version: u64,
    pub(crate) published_at: Time,
    /// How often one of its admits has fallen, as its beats say.
    pub(crate) falls: u64,
    /// What was heard last of each peer: its life and version.
    pub(crate) heard: BTreeMap<ClusterName, (u64, u64)>,
    /// The next wake that is in the queue.
    pub(crate) wake: Option<Time>,
}

/// A target's check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) tracker: Tracker,
    pub(crate) config: CheckConfig,
    /// Whether its checks were spread over the interval already.
    pub(crate) spread: bool,
    pub(crate) started: Time,
}

impl Site {
    pub(crate) const fn new(name: ClusterName, config: Arc<Config>) -> Self {
        Self {
            name,
            config,
            agent: None,
            saved: None,
            lives: 0,
            plans: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        }
    }

    /// Hands what the agent decided to the gateways, once it may answer them.
    pub(crate) fn push(&mut self) {
        let Some(agent) = &self.agent else { return };
        let Some(engine) = agent.core.engine().filter(|_| agent.core.is_ready()) else { return };
        self.plans.clear();
        self.endpoints.clear();
        for service in engine.services() {
            for plan in engine.plans(service) {
                let key = (service.clone(), plan.source.locality.zone.clone());
                self.plans.insert(key, plan.clone());
            }
            self.endpoints.insert(service.clone(), engine.endpoints(service).collect());
        }
    }
}

impl Agent {
    pub(crate) fn new(core: Core, life: u64, now: Time) -> Self {
        Self {
            life,
            core,
            liveness: Liveness::new(),
            peers: BTreeMap::new(),
            checks: BTreeMap::new(),
            published: Arc::default(),
            version: 0,
            published_at: now,
            falls: 0,
            heard: BTreeMap::new(),
            wake: None,
        }
    }

    /// Takes the whole set of targets; gives those that are new or checked in another way, which are due at once.
    pub(crate) fn set_targets(&mut self, targets: Vec<(ProbeKey, Target)>) -> Vec<ProbeKey> {
        let targets: BTreeMap<ProbeKey, Target> = targets.into_iter().collect();
        self.checks.retain(|key, _| targets.contains_key(key));
        let mut fresh = Vec::new();
        for (key, target) in targets {
            let tracker = match self.checks.get(&key) {
                Some(check) if check.config == target.config => continue,
                Some(check) => check.tracker.reconfigured(&target.config),
                None => Tracker::new(&target.config, target.known),
            };
            let check = Check { tracker, config: target.config, spread: false, started: Time::ZERO };
            // One that is checked in another way has a check in the queue already; two would double its rate.
            if self.checks.insert(key.clone(), check).is_none() {
                fresh.push(key);
            }
        }
        fresh
    }

    /// Takes new statuses of the own pools, and counts the admits that fell.
    pub(crate) fn publish(&mut self, publish: Publish, now: Time) {
        let statuses = match publish {
            Publish::All(statuses) => statuses,
            Publish::Changed(services) => {
                let others = self.published.iter().filter(|it| !services.contains_key(&it.service));
                let mut statuses: Vec<PoolStatus> = others.cloned().collect();
                statuses.extend(services.values().flatten().cloned());
                statuses.sort_by(|a, b| a.service.cmp(&b.service).then(a.locality.cmp(&b.locality)));
                statuses
            }
        };
        let admits = |statuses: &[PoolStatus]| -> BTreeMap<(ServiceName, Zone), Fraction> {
            let key = |status: &PoolStatus| (status.service.clone(), status.locality.zone.clone());
            statuses.iter().map(|status| (key(status), status.admit)).collect()
        };
        let (before, after) = (admits(&self.published), admits(&statuses));
        let fell = after.iter().filter(|(key, admit)| before.get(*key).is_some_and(|old| *admit < old));
        self.falls += fell.count() as u64;
        self.published = Arc::new(statuses);
        self.version += 1;
        self.published_at = now;
    }
}
