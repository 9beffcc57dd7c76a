//! Two clusters of two zones, each with two agent replicas, and statuses that come late or get lost.
//!
//! What an agent may be excused by is what it was told last, and no more:
//! - Of its own zones it knows the truth at once: both replicas check, and they tell each other. One that is isolated
//!   (from the endpoints and from the other) is not believed, and its own plans are not looked at while it is. But its
//!   last word has a vote until it is stale ([`FRESH`], 3 s), and of two, one vote stands against the other: until then
//!   an endpoint that fails or recovers stays what it was. That is the longest that anything is excused here.
//! - Of the other cluster it knows the statuses that arrived last. In every state its plans are right by those.
//! - Late knowledge lasts no longer than until time passes: the link tells all again with every heartbeat (100 ms), and
//!   no deadline is nearer than that. So after each tick, plans are right by what is true.

use crate::{
    Searched,
    fixture::{address, cluster, percent, region, service, zone},
    fleet::CLUSTERS,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{
    EndpointFacts, Engine, Event, FRESH, Plan, Policy, Saved, Source, Target, Verdicts, Written,
};
use tidegate_model::{Locality, Phase, PoolStatus, Share, Time};

/// What is searched beside faults.
#[derive(Clone, Copy)]
pub(crate) struct Scope {
    /// Statuses wait until they are delivered, or get lost.
    pub(crate) mail: bool,
    /// Replicas of the first cluster restart and are isolated.
    pub(crate) replicas: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The endpoint of a zone fails or recovers.
    Check {
        of: usize,
        at: usize,
        up: bool,
    },
    /// What a cluster was told last arrives there.
    Deliver {
        to: usize,
    },
    /// It gets lost.
    Lose {
        to: usize,
    },
    /// A replica of the first cluster restarts from its disk, and joins the other.
    Restart {
        replica: usize,
    },
    /// The second replica of the first cluster loses its way to everybody, or finds it again.
    Isolate(bool),
    Tick,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Check { of, at, up } => {
                let does = if up { "recovers" } else { "fails" };
                write!(f, "zone {} of {} {does}", CLUSTERS[of].2[at], CLUSTERS[of].0)
            }
            Self::Deliver { to } => write!(f, "{} hears the other's statuses", CLUSTERS[to].0),
            Self::Lose { to } => write!(f, "the statuses for {} get lost", CLUSTERS[to].0),
            Self::Restart { replica } => write!(f, "replica {replica} of {} restarts", CLUSTERS[0].0),
            Self::Isolate(true) => write!(f, "replica 1 of {} is isolated", CLUSTERS[0].0),
            Self::Isolate(false) => write!(f, "replica 1 of {} is back", CLUSTERS[0].0),
            Self::Tick => write!(f, "time passes until the next deadline"),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Late {
    scope: Scope,
    /// Per cluster, its replicas.
    engines: [[Engine; 2]; 2],
    /// What is true of the endpoint of each zone.
    up: [[bool; 2]; 2],
    /// What is on the way to each cluster.
    mail: [Option<Vec<PoolStatus>>; 2],
    /// What arrived there last.
    heard: [Vec<PoolStatus>; 2],
    isolated: bool,
    /// Until when the last word of the isolated replica counts.
    word_until: Time,
    /// Whether nothing happened since time passed.
    fresh: bool,
    now: Time,
}

impl Late {
    pub(crate) fn new(scope: Scope) -> Self {
        // Late enough for a word of the origin to be stale.
        let now = Time::from_millis(10_000);
        let engines = [0, 1].map(|of| [0, 1].map(|_| begin(of, Saved::default(), now)));
        let (mail, heard) = ([None, None], [Vec::new(), Vec::new()]);
        let (up, isolated, fresh) = ([[true; 2]; 2], false, true);
        let mut late = Self { scope, engines, up, mail, heard, isolated, word_until: now, fresh, now };
        (0..2).for_each(|of| late.check(of));
        (0..2).for_each(|to| late.hear(to));
        late
    }

    fn is_cut_off(&self, of: usize, replica: usize) -> bool {
        self.isolated && (of, replica) == (0, 1)
    }

    /// What a replica's checks find: the truth, or nothing at all.
    fn finds(&self, of: usize, replica: usize, at: usize) -> bool {
        self.up[of][at] && !self.is_cut_off(of, replica)
    }

    /// Every replica checks, tells the other, and what changed is on its way to the other cluster.
    fn check(&mut self, of: usize) {
        let before = self.statuses(of);
        for (replica, at) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (up, address) = (self.finds(of, replica, at), address(CLUSTERS[of].2[at], 1));
            let event = Event::Checked { service: service("web"), address, up, detail: String::new() };
            self.engines[of][replica].handle(event, self.now);
        }
        self.observe(of);
        if self.statuses(of) != before {
            self.tell(1 - of);
        }
    }

    /// Replicas that reach each other tell what they found.
    fn observe(&mut self, of: usize) {
        if self.isolated && of == 0 {
            return;
        }
        for replica in 0..2 {
            let found = [0, 1].map(|at| (address(CLUSTERS[of].2[at], 1), self.finds(of, 1 - replica, at)));
            let verdicts = Verdicts::from([(service("web"), BTreeMap::from(found))]);
            let (name, at) = (format!("r{}", 1 - replica).into(), self.now);
            self.engines[of][replica].handle(Event::ReplicaObserved { replica: name, verdicts, at }, at);
        }
    }

    /// What the other cluster is told: by the replica that is never isolated.
    fn statuses(&self, of: usize) -> Vec<PoolStatus> {
        self.engines[of][0].statuses(self.now).collect()
    }

    fn tell(&mut self, to: usize) {
        self.mail[to] = Some(self.statuses(1 - to));
        if !self.scope.mail {
            self.hear(to);
        }
    }

    /// All that the other cluster's agents say now.
    fn hear(&mut self, to: usize) {
        let told = self.mail[to].take().unwrap_or_else(|| self.statuses(1 - to));
        self.heard[to].clone_from(&told);
        for replica in 0..2 {
            if self.is_cut_off(to, replica) {
                continue;
            }
            let event = Event::RemotePools { cluster: cluster(CLUSTERS[1 - to].0), pools: told.clone() };
            self.engines[to][replica].handle(event, self.now);
        }
    }

    fn restart(&mut self, replica: usize) {
        let json = serde_json::to_string(&self.engines[0][replica].save(self.now)).unwrap();
        let mut engine = begin(0, serde_json::from_str(&json).unwrap(), self.now);
        if !self.isolated {
            engine.handle(Event::Merge(self.engines[0][1 - replica].snapshot(self.now)), self.now);
        }
        self.engines[0][replica] = engine;
        self.check(0);
    }

    fn tick(&mut self) {
        self.now = self.due().map_or(self.now, |at| self.now.max(at));
        (0..2).for_each(|of| self.observe(of));
        for engine in self.engines.iter_mut().flatten() {
            engine.tick(self.now);
        }
        // A heartbeat brings what was lost or late.
        self.mail = [None, None];
        (0..2).for_each(|to| self.hear(to));
    }

    /// The next deadline that is about anything but the word of a replica, which is told anew before it is stale. What
    /// an isolated one said goes stale with the first of them.
    fn due(&self) -> Option<Time> {
        let due = |engine: &Engine| {
            let mut silent = engine.clone();
            for replica in ["r0", "r1"] {
                let (replica, verdicts) = (replica.into(), Verdicts::new());
                silent.handle(Event::ReplicaObserved { replica, verdicts, at: Time::ZERO }, self.now);
            }
            silent.tick(self.now);
            silent.next_deadline().map(|deadline| deadline.at)
        };
        let stale = (self.isolated).then(|| self.engines[0][0].next_deadline().map(|it| it.at)).flatten();
        self.engines.iter().flatten().filter_map(due).chain(stale).min()
    }

    /// Whether an endpoint is up by those whose votes count: the truth, unless an isolated replica's last word is fresh.
    fn votes_say(&self, of: usize, at: usize) -> bool {
        if of == 0 && self.isolated && self.now < self.word_until {
            let own = zone(CLUSTERS[of].2[at]);
            return self.statuses(of).iter().any(|it| it.locality.zone == own && it.healthy > 0);
        }
        self.up[of][at]
    }

    /// What is wrong with a plan, where `is_healthy` says what is known of targets.
    fn wrong_plan(plan: &Plan, of: usize, is_healthy: impl Fn(&Target) -> bool) -> Option<&'static str> {
        let sum: u32 = plan.shares.values().map(|share| share.parts()).sum();
        if sum + plan.shed.parts() != Share::ALL.parts() {
            return Some("shares and shed are not the whole");
        }
        let zones = CLUSTERS[of].2.map(|at| Target::Zone(zone(at)));
        let mut all = zones.into_iter().chain([Target::Cluster(cluster(CLUSTERS[1 - of].0))]);
        let served = all.any(|target| is_healthy(&target));
        if served && (!plan.shed.is_none() || plan.last_resort) {
            return Some("a healthy target is known");
        }
        (served && !plan.shares.keys().all(is_healthy)).then_some("a share goes to what is known to be dead")
    }

    fn plans(&self) -> impl Iterator<Item = (usize, &Plan)> {
        let pairs = [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter();
        let believed = pairs.filter(|(of, replica)| !self.is_cut_off(*of, *replica));
        believed.flat_map(|(of, replica)| {
            let name = service("web");
            self.engines[of][replica].plans(&name).map(move |plan| (of, plan)).collect::<Vec<_>>()
        })
    }
}

impl Searched for Late {
    type Action = Action;
    const TICK: Action = Action::Tick;

    fn actions(&self) -> Vec<Action> {
        let zones = [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter();
        let mut actions: Vec<Action> =
            zones.map(|(of, at)| Action::Check { of, at, up: !self.up[of][at] }).collect();
        for to in (0..2).filter(|to| self.mail[*to].is_some()) {
            actions.extend([Action::Deliver { to }, Action::Lose { to }]);
        }
        if self.scope.replicas {
            actions.extend([0, 1].map(|replica| Action::Restart { replica }));
            actions.push(Action::Isolate(!self.isolated));
        }
        if self.due().is_some() {
            actions.push(Action::Tick);
        }
        actions
    }

    fn apply(&mut self, action: Action) {
        self.fresh = action == Action::Tick;
        match action {
            Action::Check { of, at, up } => {
                self.up[of][at] = up;
                self.check(of);
            }
            Action::Deliver { to } => self.hear(to),
            Action::Lose { to } => self.mail[to] = None,
            Action::Restart { replica } => self.restart(replica),
            Action::Isolate(isolated) => {
                (self.isolated, self.word_until) = (isolated, self.now + FRESH);
                self.check(0);
                if !isolated {
                    let snapshot = self.engines[0][0].snapshot(self.now);
                    self.engines[0][1].handle(Event::Merge(snapshot), self.now);
                    self.hear(0);
                }
            }
            Action::Tick => self.tick(),
        }
    }

    fn key(&self) -> String {
        let mut key =
            format!("{:?}{:?}{:?}{:?}{}", self.up, self.mail, self.heard, self.isolated, self.fresh);
        for engine in self.engines.iter().flatten() {
            key.push_str(&serde_json::to_string(&engine.save(self.now)).unwrap());
            engine.plans(&service("web")).for_each(|plan| key.push_str(&format!("{:?}", plan.shares)));
        }
        key.push_str(&format!("{:?}", self.due().map(|at| at.since(self.now))));
        key
    }

    fn is_settled(&self) -> bool {
        self.due().is_none() && self.mail == [None, None] && self.fresh
    }

    fn wrong(&self) -> Option<String> {
        self.plans().find_map(|(of, plan)| {
            let known = |target: &Target| match target {
                Target::Zone(it) => {
                    let at = CLUSTERS[of].2.iter().position(|name| *name == it.as_str());
                    at.is_some_and(|at| self.votes_say(of, at))
                }
                Target::Cluster(_) if self.fresh => (0..2).any(|at| self.votes_say(1 - of, at)),
                Target::Cluster(_) => self.heard[of].iter().any(|status| status.healthy > 0),
            };
            Some(format!("{}: {plan:#?}", Self::wrong_plan(plan, of, known)?))
        })
    }

    fn wrong_when_settled(&self) -> Option<String> {
        if self.up != [[true; 2]; 2] || self.isolated {
            return None;
        }
        let engines = self.engines.iter().flatten();
        let mut statuses = engines.flat_map(|engine| engine.statuses(self.now));
        if let Some(status) = statuses.find(|it| it.phase != Phase::Serving) {
            return Some(format!("all is well, and a pool does not serve: {status:?}"));
        }
        let home = |plan: &Plan| {
            tidegate_engine::Shares::from_iter([(
                Target::Zone(plan.source.locality.zone.clone()),
                Share::ALL,
            )])
        };
        let away = self.plans().find(|(_, plan)| plan.shares != home(plan));
        away.map(|(_, plan)| format!("all is well, and away: {plan:#?}"))
    }
}

/// An agent that starts: it is told the fleet and the service; no check has answered yet.
fn begin(of: usize, saved: Saved, now: Time) -> Engine {
    let ((name, its_region, zones), other) = (CLUSTERS[of], CLUSTERS[1 - of]);
    let mut policy = Policy::default();
    policy.failback.ramp_steps = Written::default_value(vec![percent(50.0), percent(100.0)]);
    policy.failback.max_hold_down = Written::default_value(Duration::from_secs(60));
    let mut engine = Engine::new(cluster(name), region(its_region), saved);
    let source = |at: &str| Source {
        cluster: cluster(name),
        locality: Locality { region: region(its_region), zone: zone(at) },
    };
    let facts = EndpointFacts { checked: true, ..EndpointFacts::default() };
    let events = [
        Event::Topology {
            clusters: BTreeMap::from([(cluster(other.0), region(other.1))]),
            distances: BTreeMap::new(),
        },
        Event::Sources(zones.into_iter().map(source).collect::<BTreeSet<_>>()),
        Event::Service {
            name: service("web"),
            policy: Arc::new(policy),
            endpoints: zones.into_iter().map(|at| (address(at, 1), (zone(at), facts))).collect(),
            replicas: None,
        },
    ];
    for event in events {
        engine.handle(event, now);
    }
    engine
}
