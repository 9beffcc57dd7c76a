//! The pure core of the agent: inputs in, outputs out. It owns all state that decisions depend on.
//!
//! No I/O and no clock: the shell (`shell`) feeds it manifests, verdicts, peer news and time, and
//! carries out what it returns.

mod shifts;

use crate::{
    checks::Checks,
    saved::SavedAgent,
    timeline::Record,
    translate::{self, Scopes},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_api::{Config, GatewayRole, Service, TrafficShift};
use tidegate_engine::{
    Decision, Effects, EndpointFacts, Engine, Event, NodeId, Saved, Shift, Source, Target,
};
use tidegate_model::{
    ClusterName, GatewayName, Locality, PoolStatus, ProbeVerdict, Region, ServiceName, Time, Zone,
};
use tidegate_probe as probe;
use tidegate_xds::{Change, Scope};

/// A starting agent answers no gateway before it knows its endpoints' health and its peers' pools, but no
/// longer than this: an endpoint that hangs answers no check within the first timeout and its re-check.
pub const START_LIMIT: Duration = Duration::from_secs(2);

/// What is checked: an endpoint, for a service (two services may ask different things of one address).
pub type ProbeKey = (ServiceName, SocketAddr);

/// Something that the shell tells the core. It can be written down: the journal does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "of")]
pub enum Input {
    /// The manifests, all of them.
    Manifests(Arc<Config>),
    /// A check's verdict.
    Checked(ProbeKey, ProbeVerdict),
    /// All pools of another cluster.
    RemotePools(ClusterName, Vec<PoolStatus>),
    /// Another cluster can be reached.
    Reachable {
        /// Which.
        peer: ClusterName,
        /// Whether the silence before was no fault.
        quick: bool,
        /// What was observed, for people.
        detail: String,
    },
    /// Another cluster has been silent for a moment.
    Suspect(ClusterName),
    /// Another cluster is out of reach.
    Unreachable(ClusterName, String),
    /// A gateway in this zone is connected, or was.
    Gateway(Zone),
    /// An operator lets traffic back.
    Release(ServiceName, Target),
    /// The time since 1970: only for shifts that end at a time of day.
    WallClock(Duration),
    /// Somebody moves traffic away.
    Shift(Shift),
    /// The shifts of this name end.
    EndShift(String),
    /// Time has passed.
    Tick,
}

/// What the shell has to do.
#[derive(Debug, Default)]
pub struct Output {
    /// Changes of what gateways are told.
    pub xds: Vec<Change>,
    /// The scopes that are filled now, if there may be new ones.
    pub scopes: Option<BTreeSet<Scope>>,
    /// The whole set of checks, if it changed.
    pub targets: Option<Vec<(ProbeKey, probe::Target)>>,
    /// The gateways of the other clusters, if they changed.
    pub peers: Option<BTreeMap<ClusterName, Vec<SocketAddr>>>,
    /// The gateways of this cluster, if they changed.
    pub gateways: Option<BTreeMap<GatewayName, GatewayRole>>,
    /// The statuses of the own pools, if they changed.
    pub publish: Option<Vec<PoolStatus>>,
    /// Entries for the timeline.
    pub records: Vec<Record>,
    /// Whether the saved state is out of date.
    pub save: bool,
}

/// The core.
#[derive(Debug)]
pub struct Core {
    own: ClusterName,
    /// There once the first manifests named the own cluster's region.
    engine: Option<Engine>,
    saved: Option<Saved>,
    config: Arc<Config>,
    sources: BTreeSet<Source>,
    /// The shifts that the manifests declared and that were started.
    declared: BTreeMap<String, TrafficShift>,
    /// The time since 1970, and when it was told.
    wall: Option<(Duration, Time)>,
    /// Zones of gateways that came before the first manifests.
    early_zones: BTreeSet<Zone>,
    peers: BTreeMap<ClusterName, PeerState>,
    /// Endpoints whose first verdict is awaited.
    unchecked: BTreeSet<ProbeKey>,
    started: Time,
    ready: bool,
    scopes: Scopes,
}

/// What is known of the way to another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Nothing was heard yet since the start.
    Unheard,
    /// It is in reach.
    Reachable,
    /// It has been silent for a moment.
    Suspect,
    /// It is out of reach, and why.
    Unreachable(String),
}

impl PeerState {
    /// The state as one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unheard => "Unheard",
            Self::Reachable => "Reachable",
            Self::Suspect => "Suspect",
            Self::Unreachable(_) => "Unreachable",
        }
    }
}

impl Core {
    /// A core for the cluster `own` that starts at `now` with what was on disk.
    #[must_use]
    pub fn new(own: ClusterName, saved: Option<SavedAgent>, now: Time) -> Self {
        let SavedAgent { engine: saved, sources, declared_shifts: declared } = saved.unwrap_or_default();
        Self {
            own,
            engine: None,
            saved: Some(saved),
            config: Arc::default(),
            sources,
            declared,
            wall: None,
            early_zones: BTreeSet::new(),
            peers: BTreeMap::new(),
            unchecked: BTreeSet::new(),
            started: now,
            ready: false,
            scopes: Scopes::default(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Time) -> Output {
        let mut output = Output::default();
        let knew_itself = self.knows_itself();
        match input {
            Input::Manifests(config) => self.set_manifests(&config, now, &mut output),
            Input::Checked((service, address), verdict) => {
                self.unchecked.remove(&(service.clone(), address));
                let (up, detail) = match verdict {
                    ProbeVerdict::Up => (true, "answers as expected".to_owned()),
                    ProbeVerdict::Down(why) => (false, why),
                };
                self.tell(Event::Checked { service, address, up, detail }, now, &mut output);
            }
            Input::RemotePools(cluster, pools) => {
                // What a peer tells of a cluster that the manifests do not name is not asked for.
                if self.peers.contains_key(&cluster) {
                    self.tell(Event::RemotePools { cluster, pools }, now, &mut output);
                }
            }
            Input::Reachable { peer, quick, detail } => {
                if self.set_peer(&peer, PeerState::Reachable, detail, &mut output) {
                    self.tell(Event::Reachable { cluster: peer, quick }, now, &mut output);
                }
            }
            Input::Suspect(peer) => {
                self.set_peer(&peer, PeerState::Suspect, "silent".to_owned(), &mut output);
            }
            Input::Unreachable(peer, why) => {
                if self.set_peer(&peer, PeerState::Unreachable(why.clone()), why, &mut output) {
                    self.tell(Event::Unreachable(peer), now, &mut output);
                }
            }
            Input::Gateway(zone) => self.add_source(zone, now, &mut output),
            Input::Release(service, target) => {
                self.tell(Event::Release { service, target }, now, &mut output);
            }
            Input::WallClock(_) | Input::Shift(_) | Input::EndShift(_) => {
                self.handle_shift(input, now, &mut output);
            }
            Input::Tick => {
                if let Some(engine) = &mut self.engine {
                    let effects = engine.tick(now);
                    self.take(&effects, now, &mut output);
                }
            }
        }
        let was_ready = self.ready;
        self.ready = self.ready || self.pending(now).is_empty();
        self.speak(knew_itself, was_ready, now, &mut output);
        output
    }

    /// Whether it knows how its own pools are. Peers are told then, however little is known of theirs: if each
    /// waited for the others' first word, a fleet that starts would wait for the limit.
    fn knows_itself(&self) -> bool {
        self.engine.is_some() && (self.ready || self.unchecked.is_empty())
    }

    /// A new agent calls nothing dead: peers hear of its pools once it knows them, people of its plans once it serves.
    fn speak(&self, knew_itself: bool, was_ready: bool, now: Time, output: &mut Output) {
        let Some(engine) = self.engine.as_ref() else { return };
        if !self.knows_itself() {
            output.publish = None;
        } else if !knew_itself {
            output.publish = Some(engine.statuses(now).collect());
        }
        if !self.ready {
            output.records.retain(|record| matches!(record.kind, "peerChanged" | "shiftChanged"));
        } else if !was_ready {
            let plans = engine.services().flat_map(|service| engine.plans(service));
            output.records = plans
                .map(|plan| Record::of(&Decision::Plan { before: None, after: Arc::new(plan.clone()) }))
                .collect();
        }
    }

    /// When the core wants to be woken, whatever else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let engine = self.engine.as_ref().and_then(Engine::next_deadline).map(|deadline| deadline.at);
        let start = (!self.ready && self.engine.is_some()).then(|| self.started + START_LIMIT);
        [engine, start].into_iter().flatten().min()
    }

    /// Whether gateways may be answered: what is known suffices, or has been waited for long enough.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// What a starting agent still waits for, for people; empty when it is ready.
    #[must_use]
    pub fn pending(&self, now: Time) -> Vec<String> {
        let Some(engine) = &self.engine else {
            return vec![format!("manifests that name the cluster {}", self.own)];
        };
        if self.ready || now.since(self.started) >= START_LIMIT {
            return Vec::new();
        }
        let mut pending = Vec::new();
        if !self.unchecked.is_empty() {
            pending.push(format!("the first check of {} endpoints", self.unchecked.len()));
        }
        for (peer, state) in &self.peers {
            let known = engine.knows_pools_of(peer) || matches!(state, PeerState::Unreachable(_));
            if !known {
                pending.push(format!("the first word of cluster {peer}"));
            }
        }
        pending
    }

    /// What must survive a restart.
    #[must_use]
    pub fn save(&self, now: Time) -> Option<SavedAgent> {
        let engine = self.engine.as_ref()?.save(now);
        let (sources, declared_shifts) = (self.sources.clone(), self.declared.clone());
        Some(SavedAgent { engine, sources, declared_shifts })
    }

    /// The engine, once there is one.
    #[must_use]
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The manifests in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The own cluster.
    #[must_use]
    pub fn own(&self) -> &ClusterName {
        &self.own
    }

    /// The own region, once the manifests named it.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.config.clusters.get(&self.own).map(|cluster| &cluster.region)
    }

    /// The ways to other clusters.
    #[must_use]
    pub fn peers(&self) -> &BTreeMap<ClusterName, PeerState> {
        &self.peers
    }

    fn tell(&mut self, event: Event, now: Time, output: &mut Output) {
        if let Some(engine) = &mut self.engine {
            let effects = engine.handle(event, now);
            self.take(&effects, now, output);
        }
    }

    /// Carries the engine's effects over into what the shell has to do.
    fn take(&mut self, effects: &Effects, now: Time, output: &mut Output) {
        let Some(engine) = &self.engine else { return };
        output.save |= !effects.decisions.is_empty() || effects.statuses_changed;
        output.records.extend(effects.decisions.iter().map(Record::of));
        if effects.statuses_changed {
            output.publish = Some(engine.statuses(now).collect());
        }
        for service in &effects.removed {
            output.xds.extend(self.scopes.remove_service(service));
        }
        for service in &effects.changed {
            output.xds.extend(self.scopes.service(service, engine, &self.config));
        }
    }

    fn set_peer(&mut self, peer: &ClusterName, new: PeerState, reason: String, output: &mut Output) -> bool {
        let Some(state) = self.peers.get_mut(peer) else { return false };
        if *state == new {
            return false;
        }
        output.records.push(Record {
            kind: "peerChanged",
            peer: Some(peer.clone()),
            state: Some(new.word()),
            reason,
            ..Record::default()
        });
        output.save = true;
        *state = new;
        true
    }

    fn add_source(&mut self, zone: Zone, now: Time, output: &mut Output) {
        let Some(region) = self.region().cloned() else {
            self.early_zones.insert(zone);
            return;
        };
        let source = Source { cluster: self.own.clone(), locality: Locality { region, zone } };
        if self.sources.insert(source) {
            output.save = true;
            self.refresh_sources(now, output);
        }
    }

    fn refresh_sources(&mut self, now: Time, output: &mut Output) {
        self.tell(Event::Sources(self.sources.clone()), now, output);
        output.scopes = Some(self.scopes.filled(&self.sources));
    }

    fn set_manifests(&mut self, config: &Arc<Config>, now: Time, output: &mut Output) {
        let Some(own) = config.clusters.get(&self.own) else {
            // The loader has told it as a problem; without a region nothing can be decided.
            return;
        };
        let region = own.region.clone();
        let before = std::mem::replace(&mut self.config, Arc::clone(config));
        let first = self.engine.is_none();
        if self.engine.as_ref().is_none_or(|engine| engine.fleet().region != region) {
            let saved = self.saved.take().or_else(|| self.engine.as_ref().map(|engine| engine.save(now)));
            self.engine = Some(Engine::new(self.own.clone(), region.clone(), saved.unwrap_or_default()));
        }
        self.set_sources(&region);
        self.set_peers(&before, output);
        let (clusters, distances) = topology(config, &self.own);
        self.tell(Event::Topology { clusters, distances }, now, output);
        self.refresh_sources(now, output);
        for name in before.services.keys().filter(|name| !config.services.contains_key(*name)) {
            self.tell(Event::ServiceRemoved(name.clone()), now, output);
        }
        for (name, service) in &config.services {
            // The own engine may be new even where the manifests are not, so all are told; what is the same changes nothing.
            let event = Event::Service {
                name: name.clone(),
                policy: Arc::new(service.policy.engine.clone()),
                endpoints: facts(service),
                replicas: None,
            };
            self.tell(event, now, output);
        }
        self.declare_shifts(first, now, output);
        self.set_targets(output);
        output.xds.extend(self.scopes.gateways(config));
        output.scopes = Some(self.scopes.filled(&self.sources));
        output.gateways = Some(roles(config));
    }

    /// Requests may enter in each zone that has endpoints, and where gateways were seen.
    fn set_sources(&mut self, region: &Region) {
        let zones = self.config.services.values().flat_map(|service| service.endpoints.values());
        let mut zones: BTreeSet<Zone> = zones.map(|endpoint| endpoint.zone.clone()).collect();
        zones.append(&mut self.early_zones);
        self.sources.retain(|source| source.cluster == self.own && source.locality.region == *region);
        self.sources.extend(zones.into_iter().map(|zone| Source {
            cluster: self.own.clone(),
            locality: Locality { region: region.clone(), zone },
        }));
    }

    fn set_peers(&mut self, before: &Config, output: &mut Output) {
        let ways = |config: &Config| -> BTreeMap<ClusterName, Vec<SocketAddr>> {
            let others = config
                .clusters
                .iter()
                .filter(|(name, it)| **name != self.own && !it.east_west_gateways.is_empty());
            others.map(|(name, it)| (name.clone(), it.east_west_gateways.clone())).collect()
        };
        let now = ways(&self.config);
        if now != ways(before) {
            self.peers.retain(|name, _| now.contains_key(name));
            for name in now.keys() {
                self.peers.entry(name.clone()).or_insert(PeerState::Unheard);
            }
            output.peers = Some(now);
        }
    }

    fn set_targets(&mut self, output: &mut Output) {
        let Some(engine) = &self.engine else { return };
        let mut targets = Vec::new();
        for (name, service) in &self.config.services {
            let Some(checks) = Checks::of(&service.policy) else { continue };
            let endpoints = engine.endpoints(name);
            targets.extend(endpoints.map(|it| ((name.clone(), it.address), checks.target(name, &it))));
        }
        let known = targets.iter().filter(|(_, target)| target.known.is_none());
        self.unchecked = known.map(|(key, _)| key.clone()).collect();
        output.targets = Some(targets);
    }
}

/// Nodes and workloads are not read yet: every node is taken to be Ready.
fn facts(service: &Service) -> BTreeMap<SocketAddr, (Zone, EndpointFacts)> {
    let checked = service.policy.active_check.is_some();
    let endpoints = service.endpoints.iter();
    let facts = |it: &tidegate_api::Endpoint| EndpointFacts {
        ready: it.ready,
        terminating: it.terminating,
        checked,
        node: it.node.as_deref().map(NodeId::named),
        ..EndpointFacts::default()
    };
    endpoints.map(|(address, it)| (*address, (it.zone.clone(), facts(it)))).collect()
}

/// The other clusters, and the declared distances to their regions: what this cluster declares, else what the
/// other side declares of this region.
fn topology(
    config: &Config,
    own: &ClusterName,
) -> (BTreeMap<ClusterName, Region>, BTreeMap<Region, Duration>) {
    let others = || config.clusters.iter().filter(|(name, _)| *name != own);
    let clusters = others().map(|(name, it)| (name.clone(), it.region.clone())).collect();
    (clusters, config.distances_from(own))
}

/// What each gateway of the manifests is for.
#[must_use]
pub fn roles(config: &Config) -> BTreeMap<GatewayName, GatewayRole> {
    config.gateways.iter().map(|(name, it)| (name.clone(), it.role)).collect()
}

/// The scopes that a gateway of `role` in `zone` sees.
#[must_use]
pub fn scopes_of(gateway: &GatewayName, role: GatewayRole, zone: &Zone) -> Vec<Scope> {
    translate::scopes_of(gateway, role, zone)
}
