//! The pure core of the agent: inputs in, outputs out. It owns all state that decisions depend on.
//!
//! No I/O and no clock: the shell (`shell`) feeds it manifests, verdicts, peer news and time, and
//! carries out what it returns.

mod actions;
mod asked;
mod clocks;
mod demand;
mod draining;
mod drills;
mod facts;
mod manifests;
mod measures;
mod passive;
mod peer;
mod replicas;
mod saving;
mod shifts;
mod start;
mod touched;
mod ways;

pub(crate) use asked::Need;
use manifests::Asked;
pub use peer::PeerState;
pub use start::{START_LIMIT, UNHEARD_LIMIT};
pub use touched::Publish;
use touched::{Touched, take};
use ways::Ways;
pub use ways::gateway_names;

use crate::{
    actions::{Action, Actions},
    draining::{Draining, Flow},
    drills::{Drills, Fault},
    passive::{Passive, Requests},
    replicas::Said,
    saved::{Resolved, SavedAgent},
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
use tidegate_api::{Config, ConfigChange, GatewayRole, TrafficShift};
use tidegate_engine::{Engine, Event, Load, Policy, Saved, Shift, Source, Target};
use tidegate_model::{
    ClusterName, GatewayName, Locality, PoolStatus, ProbeVerdict, Region, ServiceName, Time, Zone,
};
use tidegate_probe as probe;
use tidegate_xds::{Change, Scope};

/// The most zones that requests may enter in. Each costs a plan of every service, and a client names its zone itself.
const MAX_SOURCES: usize = 256;

/// What is checked: an endpoint, for a service (two services may ask different things of one address).
pub type ProbeKey = (ServiceName, SocketAddr);

/// Something that the shell tells the core. It can be written down: the journal does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "of")]
pub enum Input {
    /// The manifests, all of them.
    Manifests(Arc<Config>),
    /// What changed of the manifests since they were told last, in whichever way.
    ManifestsChanged(Arc<ConfigChange>),
    /// A check's verdict.
    Checked(ProbeKey, ProbeVerdict),
    /// All pools of another cluster.
    RemotePools(ClusterName, Vec<PoolStatus>),
    /// What is new of another cluster's pools.
    RemotePoolsChanged {
        /// Which.
        peer: ClusterName,
        /// Pools that are new or changed.
        changed: Vec<PoolStatus>,
        /// Pools that are gone.
        removed: Vec<(ServiceName, Zone)>,
    },
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
    /// A round trip to another cluster was measured.
    RoundTrip {
        /// Which.
        peer: ClusterName,
        /// Smoothed, of its nearest gateway.
        rtt: Duration,
    },
    /// Where names of other clusters' gateways lead now; of others nothing is new.
    Resolved(Resolved),
    /// A gateway in this zone is connected, or was.
    Gateway(Zone),
    /// An operator lets traffic back.
    Release(ServiceName, Target),
    /// What the gateways of this zone are asked for: downstream requests, each once.
    Demand {
        /// Where the requests enter.
        zone: Zone,
        /// Of the services whose capacity is declared.
        rates: BTreeMap<ServiceName, Load>,
    },
    /// What is asked for in another cluster, all of it, and what that cluster cannot reach.
    PeerDemand {
        /// Which.
        peer: ClusterName,
        /// By service and zone.
        demand: BTreeMap<ServiceName, BTreeMap<Zone, Load>>,
        /// The clusters out of its reach.
        unreachable: BTreeSet<ClusterName>,
    },
    /// What a gateway of this zone has in flight at targets that drain.
    InFlight {
        /// The gateway's node.
        gateway: Arc<str>,
        /// Where it stands.
        zone: Zone,
        /// What is in flight and what starts, by service and target.
        flows: BTreeMap<ServiceName, BTreeMap<Target, Flow>>,
    },
    /// Requests that ended at endpoints since the last time, by all gateways; of the services whose policy judges by them.
    Requests(BTreeMap<ServiceName, BTreeMap<SocketAddr, Requests>>),
    /// Requests were just seen to succeed: of these services, in these own zones.
    Succeeded(BTreeSet<(ServiceName, Zone)>),
    /// The time since 1970: only for what ends at a time of day, and for which of two operators' actions is the newer.
    WallClock(Duration),
    /// The time since 1970 by the hub's clock: by it all agents of a fleet read the ends of declared shifts.
    HubClock(Duration),
    /// Another replica of this agent says something.
    Replica {
        /// Its life, by name.
        replica: Arc<str>,
        /// What.
        said: Said,
    },
    /// Somebody moves traffic away: an operator or a drill, at this agent.
    Shift(Shift),
    /// Somebody lets the shifts of this name last so long from now, at this agent.
    ExtendShift(String, Duration),
    /// Somebody ends the shifts of this name, at this agent.
    EndShift(String),
    /// What was done about shifts elsewhere.
    Actions(Vec<Action>),
    /// A drill breaks something, at this agent.
    Drill(Box<Fault>),
    /// The fault of a drill ends.
    EndDrill {
        /// The drill.
        id: String,
        /// By whom or why, for people.
        by: String,
    },
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
    /// Checks that are new or changed, and those that are no more; nothing while [`Self::targets`] says it all.
    pub changed_targets: Vec<(ProbeKey, Option<probe::Target>)>,
    /// The gateways of the other clusters, if they changed.
    pub peers: Option<BTreeMap<ClusterName, Vec<SocketAddr>>>,
    /// The clusters of which a drill lets nothing be heard, if they changed.
    pub cut: Option<BTreeSet<ClusterName>>,
    /// Whether a drill keeps the agent away from its hub, if that changed.
    pub leaves_hub: Option<bool>,
    /// The gateways of this cluster, if they changed.
    pub gateways: Option<BTreeMap<GatewayName, GatewayRole>>,
    /// The statuses of the own pools, if they changed.
    pub publish: Option<Publish>,
    /// What was done about shifts and is news: to be passed on.
    pub actions: Vec<Action>,
    /// Entries for the timeline.
    pub records: Vec<Record>,
    touched: Touched,
}

/// The core.
#[derive(Debug)]
pub struct Core {
    own: ClusterName,
    /// There once the first manifests named the own cluster's region.
    engine: Option<Engine>,
    saved: Option<Saved>,
    config: Arc<Config>,
    /// Manifests that were told and cannot be in force, as they do not name the own cluster: changes are of these.
    unusable: Option<Arc<Config>>,
    asked: Asked,
    /// The policy that the engine was told last: most services have the same.
    policy: Option<Arc<Policy>>,
    sources: BTreeSet<Source>,
    /// The shifts that the manifests declared and that were started.
    declared: BTreeMap<String, TrafficShift>,
    /// Those that were over when they were read.
    over: BTreeSet<String>,
    /// What operators did about shifts, here and elsewhere.
    actions: Actions,
    /// Who this agent is, for what is done at it: its cluster, and its life.
    origin: Arc<str>,
    /// Where the names of other clusters' gateways led last.
    resolved: Resolved,
    /// The gateways of other clusters, as everybody was told last.
    ways: Ways,
    clocks: clocks::Clocks,
    /// Zones of gateways that came before the first manifests.
    early_zones: BTreeSet<Zone>,
    peers: BTreeMap<ClusterName, PeerState>,
    /// Endpoints whose first verdict is awaited.
    unchecked: BTreeSet<ProbeKey>,
    /// A starting agent is ready then, whatever it still waits for.
    start_until: Time,
    ready: bool,
    scopes: Scopes,
    /// What left plans and may have requests in flight.
    draining: Draining,
    /// The faults of drills.
    drills: Drills,
    /// What requests find at endpoints.
    passive: Passive,
    /// What other replicas of this agent say.
    replicas: replicas::Replicas,
    /// Whether sources or declared shifts changed since they were saved.
    unsaved: bool,
}

impl Core {
    /// A core for the cluster `own` that starts at `now` with what was on disk.
    #[must_use]
    pub fn new(own: ClusterName, saved: Option<SavedAgent>, now: Time) -> Self {
        let SavedAgent {
            engine: saved,
            sources,
            declared_shifts: declared,
            actions: known,
            resolved,
            drills,
        } = saved.unwrap_or_default();
        let mut actions = Actions::default();
        for action in known {
            // They were taken in once: none of them can be refused now.
            let _ = actions.take(action, None, now);
        }
        Self {
            origin: Arc::from(own.as_str()),
            own,
            engine: None,
            saved: Some(saved),
            config: Arc::default(),
            unusable: None,
            asked: Asked::default(),
            policy: None,
            sources,
            declared,
            over: BTreeSet::new(),
            actions,
            resolved,
            ways: Ways::new(),
            clocks: clocks::Clocks::default(),
            early_zones: BTreeSet::new(),
            peers: BTreeMap::new(),
            unchecked: BTreeSet::new(),
            start_until: now + START_LIMIT,
            ready: false,
            scopes: Scopes::default(),
            draining: Draining::default(),
            drills: Drills::restored(drills, now),
            passive: Passive::default(),
            replicas: replicas::Replicas::default(),
            unsaved: false,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Time) -> Output {
        let mut output = Output::default();
        let knew_itself = self.knows_itself();
        self.replicas.watch(now);
        match input {
            Input::Manifests(config) => self.set_manifests(&config, now, &mut output),
            Input::ManifestsChanged(change) => self.change_manifests(&change, now, &mut output),
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
            Input::RemotePoolsChanged { peer: cluster, changed, removed } => {
                if self.peers.contains_key(&cluster) {
                    let event = Event::RemotePoolsChanged { cluster, changed, removed };
                    self.tell(event, now, &mut output);
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
            Input::RoundTrip { peer, rtt } => {
                self.tell(Event::RoundTrip { cluster: peer, rtt }, now, &mut output);
            }
            Input::Resolved(found) => self.resolve(found, now, &mut output),
            Input::Gateway(zone) => self.add_source(zone, now, &mut output),
            Input::Release(service, target) => {
                self.tell(Event::Release { service, target }, now, &mut output);
            }
            Input::Demand { .. } | Input::PeerDemand { .. } | Input::Succeeded(_) => {
                self.handle_demand(input, now, &mut output);
            }
            Input::InFlight { gateway, zone, flows } => self.draining.report(&gateway, &zone, &flows, now),
            Input::Requests(requests) => self.count_requests(&requests, now, &mut output),
            Input::Replica { replica, said } => self.hear_replica(&replica, said, now, &mut output),
            Input::WallClock(_)
            | Input::HubClock(_)
            | Input::Shift(_)
            | Input::ExtendShift(..)
            | Input::EndShift(_)
            | Input::Actions(_) => {
                self.handle_shift(input, now, &mut output);
            }
            Input::Drill(_) | Input::EndDrill { .. } => self.handle_drill(input, now, &mut output),
            Input::Tick => {
                if let Some(engine) = &mut self.engine {
                    let effects = engine.tick(now);
                    take(effects, &mut output);
                }
            }
        }
        self.expire_drills(now, &mut output);
        self.forget_replicas(now, &mut output);
        self.judge_errors(now, &mut output);
        self.translate(now, &mut output);
        let was_ready = self.ready;
        self.ready = self.ready || !self.waits(now);
        self.speak(knew_itself, was_ready, now, &mut output);
        output
    }

    /// When the core wants to be woken, whatever else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let engine = self.engine.as_ref().and_then(Engine::next_deadline).map(|deadline| deadline.at);
        let start = self.engine.as_ref().filter(|_| !self.ready).map(|engine| self.start_limit(engine));
        let (draining, replicas) = (self.draining.deadline(), self.replicas.deadline());
        let drills = self.drills.deadline();
        let parts = [draining, self.passive.deadline(), self.scopes.deadline(), replicas, drills];
        [engine, start].into_iter().chain(parts).flatten().min()
    }

    /// Whether gateways may be answered: what is known suffices, or has been waited for long enough.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready
    }

    /// The engine, once there is one.
    #[must_use]
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The manifests in force.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The manifests that were told last, if they cannot be in force.
    pub(crate) const fn unusable(&self) -> Option<&Arc<Config>> {
        self.unusable.as_ref()
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
            take(engine.handle(event, now), output);
        }
    }

    /// What gateways are told of the services that changed.
    fn translate(&mut self, now: Time, output: &mut Output) {
        let Some(engine) = &self.engine else { return };
        let mut xds = Vec::new();
        for service in std::mem::take(&mut output.touched.removed) {
            self.draining.remove(&service);
            self.passive.remove(&service);
            xds.extend(self.scopes.remove_service(&service));
        }
        output.touched.plans.append(&mut self.draining.over(now));
        output.touched.plans.extend(self.scopes.take_turn(engine, now));
        for service in std::mem::take(&mut output.touched.plans) {
            draining::plans(&mut self.draining, &service, engine, &self.config, self.ready, now);
            xds.extend(self.scopes.service(&service, &self.config, engine, &self.draining, now));
        }
        xds.extend(self.scopes.unserved(&self.sources, now));
        xds.extend(self.scopes.faults(&self.sources, &self.drills));
        // What routes name comes before them.
        xds.append(&mut output.xds);
        output.xds = xds;
    }

    /// Gateways are to be told of all services, whatever changed.
    fn tell_gateways_all(&self, output: &mut Output) {
        output.touched.plans.extend(self.config.services.keys().cloned());
        output.scopes = Some(self.scopes.filled(&self.sources));
    }

    fn add_source(&mut self, zone: Zone, now: Time, output: &mut Output) {
        let Some(region) = self.region().cloned() else {
            self.early_zones.insert(zone);
            return;
        };
        let source = Source { cluster: self.own.clone(), locality: Locality { region, zone: zone.clone() } };
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains(&source) {
            return;
        }
        let looks = self.scopes.look(&zone);
        if self.sources.insert(source) {
            self.unsaved = true;
            self.refresh_sources(now, output);
        }
        if looks {
            self.tell_gateways_all(output);
        }
    }
}

/// What each gateway of the manifests is for.
#[must_use]
pub fn roles(config: &Config) -> BTreeMap<GatewayName, GatewayRole> {
    config.gateways.iter().map(|(name, it)| (name.clone(), it.role)).collect()
}

/// The scopes that a gateway of `role` in `zone` sees.
#[must_use]
pub fn scopes_of(gateway: &GatewayName, role: GatewayRole, zone: &Zone, tunnels: bool) -> Vec<Scope> {
    translate::scopes_of(gateway, role, zone, tunnels)
}

/// The scope that gRPC clients in a zone see.
#[must_use]
pub fn grpc_scope(zone: &Zone) -> Scope {
    translate::grpc(zone)
}
