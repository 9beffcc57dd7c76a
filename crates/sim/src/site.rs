//! One cluster: its agent while it runs, what survives the agent, and what its gateways hold.

use crate::world::{ClusterId, EndpointId, World};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_agent::{
    actions::Action,
    core::{Core, ProbeKey, Publish},
    saved::SavedAgent,
};
use tidegate_api::Config;
use tidegate_engine::{EndpointView, Plan};
use tidegate_link::Liveness;
use tidegate_model::{ClusterName, PoolStatus, ServiceName, Time, Zone};
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
    pub(crate) lives: u32,
    /// What its gateways hold while no agent serves them.
    kept: Kept,
}

/// What gateways keep of an agent that is gone: the plans and endpoints of the services that anybody asks for.
#[derive(Debug, Default)]
struct Kept {
    plans: BTreeMap<(ServiceName, Zone), Plan>,
    endpoints: BTreeMap<ServiceName, Vec<EndpointView>>,
}

/// An agent: the pure cores that `tidegate agent` runs, and what its shell would remember.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) life: u32,
    pub(crate) core: Core,
    pub(crate) liveness: Liveness,
    pub(crate) peers: Arc<Vec<(ClusterId, Vec<SocketAddr>)>>,
    /// By the endpoint's number; none for what is not checked.
    checks: Vec<Option<Check>>,
    /// How checks are made, each way once.
    configs: Vec<CheckConfig>,
    /// What it tells its peers, and the version of it.
    pub(crate) published: Arc<Vec<PoolStatus>>,
    pub(crate) version: u32,
    pub(crate) published_at: Time,
    /// How often one of its admits has fallen, as its beats say.
    pub(crate) falls: u32,
    /// What was done about shifts, by what it is about, and when it was said: as links carry it.
    actions: BTreeMap<String, (Action, Time)>,
    /// What was heard last of each cluster: its life and version.
    pub(crate) heard: Vec<(u32, u32)>,
    /// The next wake that is in the queue.
    pub(crate) wake: Option<Time>,
}

/// A target's check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) tracker: Tracker,
    /// The place of how it is made in [`Agent::configs`].
    config: u16,
    /// Whether its checks were spread over the interval already.
    pub(crate) spread: bool,
    pub(crate) started: Time,
}

impl Site {
    pub(crate) fn new(name: ClusterName, config: Arc<Config>) -> Self {
        Self { name, config, agent: None, saved: None, lives: 0, kept: Kept::default() }
    }

    /// The agent, if it serves its gateways.
    fn serving(&self) -> Option<&Agent> {
        self.agent.as_ref().filter(|agent| agent.core.is_ready())
    }

    /// The plan that the gateways of a zone hold for a service. A push takes no time here, so it is the agent's own.
    pub(crate) fn plan(&self, service: &ServiceName, zone: &Zone) -> Option<&Plan> {
        match self.serving().and_then(|agent| agent.core.engine()) {
            Some(engine) => engine.plans(service).find(|plan| plan.source.locality.zone == *zone),
            None => self.kept.plans.get(&(service.clone(), zone.clone())),
        }
    }

    /// The endpoints that the gateways know, with the agent's last word on their health.
    pub(crate) fn endpoints(&self, service: &ServiceName) -> Vec<EndpointView> {
        match self.serving().and_then(|agent| agent.core.engine()) {
            Some(engine) => engine.endpoints(service).collect(),
            None => self.kept.endpoints.get(service).cloned().unwrap_or_default(),
        }
    }

    /// The agent is gone: what it had saved stays on disk, and its last plans at the gateways.
    pub(crate) fn stop(&mut self, wanted: &BTreeSet<ServiceName>, now: Time) {
        let Some(agent) = &self.agent else { return };
        self.saved = agent.core.save(now).or(self.saved.take());
        if let Some(engine) = self.serving().and_then(|agent| agent.core.engine()) {
            let mut kept = Kept::default();
            for service in wanted {
                for plan in engine.plans(service) {
                    let key = (service.clone(), plan.source.locality.zone.clone());
                    kept.plans.insert(key, plan.clone());
                }
                kept.endpoints.insert(service.clone(), engine.endpoints(service).collect());
            }
            self.kept = kept;
        }
        self.agent = None;
    }

    /// What a peer tells that concerns this cluster: the pools of services that its manifests name, as those of others
    /// mean nothing to it. Both are in order of services.
    pub(crate) fn concerning(&self, pools: &[PoolStatus]) -> Vec<PoolStatus> {
        let mut own = self.config.services.keys().peekable();
        let mut concerning = Vec::new();
        for status in pools {
            while own.next_if(|name| **name < status.service).is_some() {}
            if own.peek().is_some_and(|name| **name == status.service) {
                concerning.push(status.clone());
            }
        }
        concerning
    }
}

impl Agent {
    pub(crate) fn new(core: Core, life: u32, clusters: usize, now: Time) -> Self {
        Self {
            life,
            core,
            liveness: Liveness::new(),
            peers: Arc::default(),
            checks: Vec::new(),
            configs: Vec::new(),
            published: Arc::default(),
            version: 0,
            published_at: now,
            falls: 0,
            actions: BTreeMap::new(),
            heard: vec![(0, 0); clusters],
            wake: None,
        }
    }

    /// Takes the set of targets, which an agent here learns once in its life, since manifests do not change. Gives the
    /// endpoints to check, in their order.
    pub(crate) fn set_targets(
        &mut self,
        targets: Vec<(ProbeKey, Target)>,
        cluster: ClusterId,
        world: &World,
    ) -> Vec<EndpointId> {
        self.checks.resize_with(world.size(cluster), || None);
        let mut fresh = Vec::with_capacity(targets.len());
        for ((service, address), Target { config, known, .. }) in targets {
            let Some(endpoint) = world.find(cluster, &service, address) else { continue };
            let tracker = Tracker::new(known);
            let config = self.config(config);
            let check = Check { tracker, config, spread: false, started: Time::ZERO };
            if let Some(slot) = self.checks.get_mut(endpoint.index()) {
                *slot = Some(check);
                fresh.push(endpoint);
            }
        }
        fresh.sort_unstable();
        fresh
    }

    /// The place of a configuration. Beyond 65,535 different ones the last serves for all others.
    fn config(&mut self, config: CheckConfig) -> u16 {
        let place = self.configs.iter().position(|it| *it == config).unwrap_or_else(|| {
            self.configs.push(config);
            self.configs.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    /// The check of an endpoint, and how it is made.
    pub(crate) fn check(&mut self, endpoint: EndpointId) -> Option<(&mut Check, &CheckConfig)> {
        let check = self.checks.get_mut(endpoint.index())?.as_mut()?;
        let config = self.configs.get(usize::from(check.config))?;
        Some((check, config))
    }

    /// A check of an endpoint begins; how long it may take.
    pub(crate) fn begin_check(&mut self, endpoint: EndpointId, now: Time) -> Option<Duration> {
        let (check, config) = self.check(endpoint)?;
        check.started = now;
        Some(config.timeout)
    }

    /// Takes new statuses of the own pools, and counts the admits that fell.
    pub(crate) fn publish(&mut self, publish: Publish, now: Time) {
        fn key(status: &PoolStatus) -> (&ServiceName, &Zone) {
            (&status.service, &status.locality.zone)
        }
        let statuses = match publish {
            Publish::All(statuses) => statuses,
            Publish::Changed(services) => {
                let others = self.published.iter().filter(|it| !services.contains_key(&it.service));
                let mut statuses: Vec<PoolStatus> = others.cloned().collect();
                statuses.extend(services.values().flatten().cloned());
                statuses.sort_by(|a, b| key(a).cmp(&key(b)));
                statuses
            }
        };
        let mut before = self.published.iter().peekable();
        for status in &statuses {
            while before.next_if(|old| key(old) < key(status)).is_some() {}
            let fell = before.peek().is_some_and(|old| key(old) == key(status) && status.admit < old.admit);
            self.falls += u32::from(fell);
        }
        self.published = Arc::new(statuses);
        self.version += 1;
        self.published_at = now;
    }

    /// Passes on what was done about shifts. Before the first pools it waits for them.
    pub(crate) fn pass_on(&mut self, actions: Vec<Action>, now: Time) {
        self.actions.extend(actions.into_iter().map(|action| (action.name(), (action, now))));
        if self.version > 0 {
            self.version += 1;
            self.published_at = now;
        }
    }

    /// The same with what remains of each; of what nothing remains is not told.
    pub(crate) fn actions(&self, now: Time) -> Vec<Action> {
        let told = self.actions.values().filter_map(|(action, at)| {
            let remaining = action.remaining().saturating_sub(now.since(*at));
            let mut action = action.clone();
            if let Some(shift) = &mut action.shift {
                shift.remaining = remaining;
            }
            (!remaining.is_zero()).then_some(action)
        });
        told.collect()
    }
}
