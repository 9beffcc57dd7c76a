//! A small fleet with everything that can happen to it: two clusters of two zones, one service, both engines.
//!
//! What is true (which endpoint is up, which link is cut) is kept beside the engines, so that their plans are held
//! against the truth and not against what they say themselves.

use crate::{
    Searched,
    fixture::{address, cluster, percent, region, service, zone},
};
use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_engine::{
    Effects, EndpointFacts, Engine, Event, Plan, Policy, Saved, Shares, Shift, ShiftTarget, ShiftedBy,
    Source, Target, Written,
};
use tidegate_model::{Locality, Phase, PoolStatus, Share, Time, Zone};

/// The clusters, each with its region and zones.
pub(crate) const CLUSTERS: [(&str, &str, [&str; 2]); 2] =
    [("east", "us-east", ["a", "b"]), ("west", "us-west", ["x", "y"])];
/// Statuses travel at most so often after one event: a status answers none, so two are too many already.
const MOST_EXCHANGES: usize = 4;
/// How long a shift lasts if nobody ends it.
const SHIFT: Duration = Duration::from_secs(120);

/// One thing that happens. Clusters, zones and endpoints are positions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// An endpoint of a zone fails or recovers.
    Check { of: usize, at: usize, n: u8, up: bool },
    /// The way *from* this cluster to the other one is cut.
    Cut { from: usize },
    /// It is there again.
    Back { from: usize, quick: bool },
    /// The agent of a cluster restarts from what it saved.
    Restart { of: usize },
    /// Traffic is moved away: from the first cluster, or from its first zone alone.
    Shift { whole: bool, force: bool },
    /// The shift is ended.
    ShiftEnd,
    /// Time passes until an engine asks to be woken.
    Tick,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |of: usize| CLUSTERS[of].0;
        match *self {
            Self::Check { of, at, n, up } => {
                let does = if up { "recovers" } else { "fails" };
                write!(f, "endpoint {n} of zone {} in {} {does}", CLUSTERS[of].2[at], name(of))
            }
            Self::Cut { from } => write!(f, "{} loses its way to {}", name(from), name(1 - from)),
            Self::Back { from, quick } => {
                let how = if quick { "at once" } else { "after a while" };
                write!(f, "{} reaches {} again, {how}", name(from), name(1 - from))
            }
            Self::Restart { of } => write!(f, "the agent of {} restarts", name(of)),
            Self::Shift { whole, force } => {
                let what = if whole { "cluster east" } else { "zone a" };
                write!(
                    f,
                    "an operator moves traffic away from {what}{}",
                    if force { " by force" } else { "" }
                )
            }
            Self::ShiftEnd => write!(f, "the shift is ended"),
            Self::Tick => write!(f, "time passes until the next deadline"),
        }
    }
}

/// What a search is about.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// Endpoints per zone and cluster.
    pub(crate) endpoints: [[u8; 2]; 2],
    /// Only the region of the first cluster may serve.
    pub(crate) residency: bool,
    pub(crate) links: bool,
    pub(crate) restarts: bool,
    pub(crate) shifts: bool,
}

#[derive(Clone)]
pub(crate) struct Fleet {
    engines: [Engine; 2],
    policy: Arc<Policy>,
    pub(crate) setup: Setup,
    /// What is true of each endpoint.
    up: BTreeMap<(usize, usize, u8), bool>,
    reaches: [bool; 2],
    shifted: bool,
    now: Time,
}

fn endpoint(at: &str, n: u8) -> (SocketAddr, (Zone, EndpointFacts)) {
    (address(at, n), (zone(at), EndpointFacts { checked: true, ..EndpointFacts::default() }))
}

impl Fleet {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut policy = Policy {
            residency: setup.residency.then(|| Written::default_value([region(CLUSTERS[0].1)].into())),
            ..Policy::default()
        };
        policy.failback.ramp_steps = Written::default_value(vec![percent(50.0), percent(100.0)]);
        policy.failback.max_hold_down = Written::default_value(Duration::from_secs(60));
        let mut up = BTreeMap::new();
        for (of, zones) in setup.endpoints.iter().enumerate() {
            for (at, count) in zones.iter().enumerate() {
                up.extend((1..=*count).map(|n| ((of, at, n), true)));
            }
        }
        let engines = [0, 1].map(|of: usize| fresh(of, Saved::default()));
        let policy = Arc::new(policy);
        let now = Time::ZERO;
        let mut fleet = Self { engines, policy, setup, up, reaches: [true; 2], shifted: false, now };
        (0..2).for_each(|of| fleet.begin(of));
        fleet
    }

    /// What an agent tells its engine when it starts: the fleet, the service, then what its checks find.
    fn begin(&mut self, of: usize) {
        let other = CLUSTERS[1 - of];
        let (name, its_region, zones) = CLUSTERS[of];
        self.handle(
            of,
            Event::Topology {
                clusters: BTreeMap::from([(cluster(other.0), region(other.1))]),
                distances: BTreeMap::from([(region(other.1), Duration::from_millis(60))]),
            },
        );
        let source = |at: &str| Source {
            cluster: cluster(name),
            locality: Locality { region: region(its_region), zone: zone(at) },
        };
        self.handle(of, Event::Sources(zones.into_iter().map(source).collect()));
        let known = self.up.keys().filter(|(cluster, ..)| *cluster == of);
        let endpoints = known.map(|(_, at, n)| endpoint(zones[*at], *n)).collect();
        let policy = Arc::clone(&self.policy);
        self.handle(of, Event::Service { name: service("web"), policy, endpoints, replicas: None });
        let verdicts = self.up.iter().filter(|((cluster, ..), _)| *cluster == of);
        for ((_, at, n), up) in verdicts.map(|(key, up)| (*key, *up)).collect::<Vec<_>>() {
            self.check(of, at, n, up);
        }
        self.hear(of);
    }

    fn check(&mut self, of: usize, at: usize, n: u8, up: bool) {
        let address = address(CLUSTERS[of].2[at], n);
        self.handle(of, Event::Checked { service: service("web"), address, up, detail: String::new() });
    }

    fn handle(&mut self, of: usize, event: Event) {
        let effects = self.engines[of].handle(event, self.now);
        self.tell(of, &effects);
    }

    /// What one cluster decided reaches the other one, as far as that one hears it.
    fn tell(&mut self, of: usize, effects: &Effects) {
        let (mut from, mut changed) = (of, !effects.statuses_changed.is_empty());
        for _ in 0..MOST_EXCHANGES {
            if !changed || !self.reaches[1 - from] {
                return;
            }
            from = 1 - from;
            changed = self.hear(from);
        }
        panic!("the statuses of the clusters never come to rest");
    }

    /// Tells a cluster the other one's statuses; whether its own changed by that.
    fn hear(&mut self, by: usize) -> bool {
        let pools: Vec<PoolStatus> = self.engines[1 - by].statuses(self.now).collect();
        let event = Event::RemotePools { cluster: cluster(CLUSTERS[1 - by].0), pools };
        self.reaches[by] && !self.engines[by].handle(event, self.now).statuses_changed.is_empty()
    }

    /// All that can happen now.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let checks =
            self.up.iter().map(|((of, at, n), up)| Action::Check { of: *of, at: *at, n: *n, up: !up });
        let mut actions: Vec<Action> = checks.collect();
        for of in 0..2 {
            if self.setup.links && self.reaches[of] {
                actions.push(Action::Cut { from: of });
            } else if self.setup.links {
                actions.extend([true, false].map(|quick| Action::Back { from: of, quick }));
            }
            if self.setup.restarts {
                actions.push(Action::Restart { of });
            }
        }
        if self.setup.shifts && self.shifted {
            actions.push(Action::ShiftEnd);
        } else if self.setup.shifts {
            let kinds = [(false, false), (true, false), (true, true)];
            actions.extend(kinds.map(|(whole, force)| Action::Shift { whole, force }));
        }
        if self.next_deadline().is_some() {
            actions.push(Action::Tick);
        }
        actions
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.engines.iter().filter_map(Engine::next_deadline).map(|deadline| deadline.at).min()
    }

    pub(crate) fn apply(&mut self, action: Action) {
        match action {
            Action::Check { of, at, n, up } => {
                self.up.insert((of, at, n), up);
                self.check(of, at, n, up);
            }
            Action::Cut { from } => {
                self.reaches[from] = false;
                self.handle(from, Event::Unreachable(cluster(CLUSTERS[1 - from].0)));
            }
            Action::Back { from, quick } => {
                self.reaches[from] = true;
                self.hear(from);
                self.handle(from, Event::Reachable { cluster: cluster(CLUSTERS[1 - from].0), quick });
            }
            Action::Restart { of } => {
                let json = serde_json::to_string(&self.engines[of].save(self.now)).unwrap();
                self.engines[of] = fresh(of, serde_json::from_str(&json).unwrap());
                self.begin(of);
            }
            Action::Shift { whole, force } => {
                self.shifted = true;
                (0..2).for_each(|of| self.handle(of, Event::Shift(shift(whole, force))));
            }
            Action::ShiftEnd => {
                self.shifted = false;
                (0..2).for_each(|of| self.handle(of, Event::ShiftEnded("drain".to_owned())));
            }
            Action::Tick => {
                self.now = self.next_deadline().map_or(self.now, |at| self.now.max(at));
                for of in 0..2 {
                    let effects = self.engines[of].tick(self.now);
                    self.tell(of, &effects);
                }
                self.shifted = self.engines[0].shifts(self.now).next().is_some();
            }
        }
    }

    /// Two fleets of the same key behave the same. Times count as what remains of them; what a quick return of a
    /// lost way would bring back, and how the pending delay of a partial loss runs, are no part of what is saved, so
    /// they are looked at apart.
    pub(crate) fn key(&self) -> String {
        let mut key = format!("{:?} {:?} {}", self.up.values(), self.reaches, self.shifted);
        for (of, engine) in self.engines.iter().enumerate() {
            let mut part = |engine: &Engine, now: Time| {
                key.push_str(&serde_json::to_string(&engine.save(now)).unwrap());
            };
            part(engine, self.now);
            if !self.reaches[of] {
                let mut returned = engine.clone();
                let cluster = cluster(CLUSTERS[1 - of].0);
                returned.handle(Event::Reachable { cluster, quick: true }, self.now);
                part(&returned, self.now);
            }
            let deadline = engine.next_deadline().map(|it| (it.at.since(self.now), it.due));
            key.push_str(&format!("{deadline:?}"));
            for plan in engine.plans(&service("web")) {
                key.push_str(&format!("{:?}{:?}", plan.shares, plan.shed));
            }
        }
        key
    }

    /// Healthy endpoints behind a target, in truth.
    fn healthy(&self, of: usize, target: &Target) -> bool {
        let up_at = |cluster: usize, at: Option<usize>| {
            let there = |key: &(usize, usize, u8)| key.0 == cluster && at.is_none_or(|at| key.1 == at);
            self.up.iter().any(|(key, up)| *up && there(key))
        };
        match target {
            Target::Zone(zone) => up_at(of, CLUSTERS[of].2.iter().position(|it| *it == zone.as_str())),
            Target::Cluster(_) => self.reaches[of] && up_at(1 - of, None),
        }
    }

    fn allowed(&self, of: usize, target: &Target) -> bool {
        let lies_in = if matches!(target, Target::Zone(_)) { of } else { 1 - of };
        !self.setup.residency || lies_in == 0
    }

    fn plans(&self) -> Vec<(usize, &Plan)> {
        let name = service("web");
        let engines = self.engines.iter().enumerate();
        engines.flat_map(|(of, engine)| engine.plans(&name).map(move |plan| (of, plan))).collect()
    }

    /// What is wrong with this state, if anything.
    pub(crate) fn wrong(&self) -> Option<String> {
        let plans = self.plans();
        if plans.len() != 4 {
            return Some(format!("{} plans for 4 sources", plans.len()));
        }
        plans.into_iter().find_map(|(of, plan)| Some(format!("{}: {plan:#?}", self.wrong_plan(of, plan)?)))
    }

    fn wrong_plan(&self, of: usize, plan: &Plan) -> Option<&'static str> {
        let sum: u32 = plan.shares.values().map(|share| share.parts()).sum();
        if sum + plan.shed.parts() != Share::ALL.parts() {
            return Some("shares and shed are not the whole");
        }
        if plan.shares.keys().any(|target| !self.allowed(of, target)) {
            return Some("a forbidden target has a share");
        }
        let zones = CLUSTERS[of].2.map(|at| Target::Zone(zone(at)));
        let all = zones.into_iter().chain([Target::Cluster(cluster(CLUSTERS[1 - of].0))]);
        let served = all.filter(|it| self.allowed(of, it)).any(|it| self.healthy(of, &it));
        if served && (!plan.shed.is_none() || plan.last_resort) {
            return Some("an allowed healthy target is in reach");
        }
        if served && plan.shares.keys().any(|target| !self.healthy(of, target)) {
            return Some("a share goes to nothing healthy");
        }
        None
    }

    /// What is wrong with this state for one in which nothing more happens, if anything.
    pub(crate) fn wrong_when_settled(&self) -> Option<String> {
        let whole = self.up.values().all(|up| *up) && self.reaches == [true; 2] && !self.shifted;
        if !whole {
            return None;
        }
        let statuses = self.engines.iter().flat_map(|engine| engine.statuses(self.now));
        if let Some(status) = statuses.into_iter().find(|it| it.phase != Phase::Serving) {
            return Some(format!("all is well, and a pool does not serve: {status:?}"));
        }
        let at_home = |(of, plan): &(usize, &Plan)| {
            let home = if self.setup.residency && *of == 1 {
                Target::Cluster(cluster(CLUSTERS[0].0))
            } else {
                Target::Zone(plan.source.locality.zone.clone())
            };
            plan.shares == Shares::from_iter([(home, Share::ALL)])
        };
        self.plans()
            .into_iter()
            .find(|it| !at_home(it))
            .map(|(_, plan)| format!("all is well, and away: {plan:#?}"))
    }
}

fn fresh(of: usize, saved: Saved) -> Engine {
    Engine::new(cluster(CLUSTERS[of].0), region(CLUSTERS[of].1), saved)
}

fn shift(whole: bool, force: bool) -> Shift {
    let (name, its_region, zones) = CLUSTERS[0];
    let location = if whole {
        tidegate_engine::Location::Cluster(cluster(name))
    } else {
        let (region, zone) = (region(its_region), zone(zones[0]));
        tidegate_engine::Location::Zone(Locality { region, zone })
    };
    Shift {
        name: "drain".to_owned(),
        target: ShiftTarget { location, service: None },
        percent: 100,
        remaining: SHIFT,
        by: ShiftedBy::Operator,
        comment: "a search".to_owned(),
        force,
    }
}

impl Searched for Fleet {
    type Action = Action;
    const TICK: Action = Action::Tick;

    fn actions(&self) -> Vec<Action> {
        self.actions()
    }

    fn apply(&mut self, action: Action) {
        self.apply(action);
    }

    fn key(&self) -> String {
        self.key()
    }

    fn is_settled(&self) -> bool {
        self.next_deadline().is_none()
    }

    fn wrong(&self) -> Option<String> {
        self.wrong()
    }

    fn wrong_when_settled(&self) -> Option<String> {
        self.wrong_when_settled()
    }
}
