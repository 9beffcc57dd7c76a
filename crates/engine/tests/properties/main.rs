//! What holds for every policy, fleet and sequence of events (DESIGN, section 4, invariants), and which property says so:
//!
//! | invariant | property |
//! |---|---|
//! | shares sum to 1 minus shed | [`invariants_hold_after_every_event`], [`a_plan_holds_for_any_candidates`]: `hold_shares` |
//! | residency always, also under shifts and verdicts | [`invariants_hold_after_every_event`], [`verdicts_on_places_hold_too`]: `hold_plan` |
//! | no share to an unreachable or wholly unhealthy pool while an allowed healthy one exists | the same: `hold_plan` |
//! | with capacity declared no pool above its budget in pass 1 | `capacity`: `the_waterfall_gives_out_exactly_what_is_asked_and_never_more_than_a_budget_within_admit` |
//! | admit never rises before its hold-down | [`invariants_hold_after_every_event`]: `Track` |
//! | a replica that joins never raises admit | the same: `Run::joins` |
//! | same inputs, same plan | the same, by two engines; [`a_plan_holds_for_any_candidates`] |
//! | one fault and one recovery: at most once away and once (ramped) back | `faults`: `one_fault_and_one_recovery_are_one_move_away_and_one_back` |
//! | adding health never lowers what is served | [`a_plan_holds_for_any_candidates`]; `capacity`: `adding_health_never_lowers_what_is_served_where_all_sources_reach_the_same_pools` |
//! | a service's last healthy place is not drained | [`invariants_hold_after_every_event`], [`verdicts_on_places_hold_too`]: `Run::spares` |
//! | what is saved in parts is what is saved as a whole | the same: `Disk::follow` |
//! | every run settles | the same: `Run::follow` |
#![allow(clippy::unwrap_used, reason = "tests")]

mod acting;
mod disk;
mod drawn;
mod faults;
#[path = "../fixture/mod.rs"]
mod fixture;

use disk::Disk;
use drawn::{CLUSTERS, PHASES, SERVICES, Step, ZONES, acting, board, policy, remote_pool, step};

use fixture::{cases, cluster, region, service, source, zone};
use proptest::{collection::vec, prelude::*};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{
    Candidate, CandidatePool, Effects, EndpointFacts, Engine, Event, Failback, FailbackMode, FleetView, Plan,
    Policy, Question, RemotePoolView, Rule, Saved, Shares, Target, WhenExhausted, plan,
};
use tidegate_model::{
    ClusterName, Fraction, Locality, Phase, PoolStatus, Region, ServiceName, Share, Time, Zone,
};

/// Runs of events; a soak draws more.
const RUNS: u32 = 2000;
/// The same of whole fleets, which take longer.
const FLEETS: u32 = 300;
/// Single plans, which are cheap.
const PLANS: u32 = 10_000;
/// Wake-ups after the last event, by when the engine has settled.
const SETTLES_WITHIN: usize = 1000;

// ---- what is driven ----

type Endpoints = BTreeMap<SocketAddr, (Zone, EndpointFacts)>;

/// When the admit of a pool, or of our way to a cluster, moved last, and whether it was climbing its ramp.
struct Track {
    admit: Fraction,
    ramping: bool,
    /// `None` while it was not seen to move since an operator or a new policy had a say.
    moved_at: Option<Time>,
}

/// How a governor stands, as it is shown.
struct Stand<'a> {
    admit: Fraction,
    ramping: bool,
    failback: &'a Failback,
}

impl Track {
    fn next(before: Option<&Self>, key: &(ServiceName, Target), stand: &Stand<'_>, now: Time) -> Self {
        let Stand { admit, ramping, failback } = *stand;
        if let Some((before, moved_at)) = before.and_then(|it| Some((it, it.moved_at?)))
            && before.admit < admit
        {
            let climbs = before.ramping;
            let least = if climbs { failback.ramp_interval.value } else { failback.hold_down.value };
            let waited = now.since(moved_at);
            assert!(waited >= least, "{key:?} rose from {} to {admit} after {waited:?}", before.admit);
            let auto = failback.mode.value == FailbackMode::Auto;
            assert!(climbs || auto, "{key:?} rose without an operator's word");
        }
        let moved_at = match before {
            Some(track) if track.admit == admit => track.moved_at,
            Some(_) => Some(now),
            None => None,
        };
        Self { admit, ramping, moved_at }
    }
}

/// Two engines fed the same, and what is watched of the first.
struct Run {
    engines: [Engine; 2],
    now: Time,
    services: BTreeMap<usize, (Policy, Endpoints)>,
    tracks: BTreeMap<(ServiceName, Target), Track>,
    /// Whether a shift may leave pools less than their governors do.
    shifted: bool,
    /// The pools that verdicts drained when it was looked last.
    drained: BTreeSet<(ServiceName, Target)>,
    /// What the first was asked to save, part by part.
    disk: Disk,
}

fn address(in_zone: usize, n: u8) -> SocketAddr {
    fixture::address(ZONES[in_zone], n)
}

impl Run {
    fn new(policies: Vec<Policy>) -> Self {
        let engine = Engine::new(cluster("east"), region("us-east"), Saved::default());
        let mut run = Self {
            engines: [engine.clone(), engine],
            now: Time::ZERO,
            services: BTreeMap::new(),
            tracks: BTreeMap::new(),
            shifted: false,
            drained: BTreeSet::new(),
            disk: Disk::default(),
        };
        run.topology(&[0, 1, 2, 3]);
        run.handle(&Event::Sources([source("a"), source("b")].into()), run.now);
        for (position, policy) in policies.into_iter().enumerate() {
            let facts = EndpointFacts { checked: true, ..EndpointFacts::default() };
            let endpoints = (0..2).flat_map(|zone_at| (1..4).map(move |n| (zone_at, n)));
            let endpoints =
                endpoints.map(|(at, n)| (address(at, n), (zone(ZONES[at]), facts))).collect::<Endpoints>();
            run.services.insert(position, (policy, endpoints));
            run.tell_service(position);
            for zone_at in 0..2 {
                run.check_zone(position, zone_at, true);
            }
        }
        run
    }

    fn both(&mut self, mut call: impl FnMut(&mut Engine) -> Effects) {
        let [one, other] = &mut self.engines;
        let effects = call(one);
        assert_eq!(effects, call(other), "the same inputs, the same effects");
        self.heed(&effects);
        self.watch();
        self.disk.follow(&mut self.engines[0], self.now);
    }

    fn handle(&mut self, event: &Event, at: Time) {
        self.both(|engine| engine.handle(event.clone(), at));
    }

    fn topology(&mut self, members: &[usize]) {
        let clusters = members.iter().map(|at| (cluster(CLUSTERS[*at].0), region(CLUSTERS[*at].1))).collect();
        let distances = BTreeMap::from([(region("us-west"), Duration::from_millis(60))]);
        self.handle(&Event::Topology { clusters, distances }, self.now);
    }

    fn tell_service(&mut self, position: usize) {
        let Some((policy, endpoints)) = self.services.get(&position) else { return };
        let (policy, endpoints) = (Arc::new(policy.clone()), endpoints.clone());
        let name = service(SERVICES[position]);
        self.handle(&Event::Service { name, policy, endpoints, replicas: None }, self.now);
    }

    fn check(&mut self, position: usize, address: SocketAddr, up: bool, at: Time) {
        let service = service(SERVICES[position]);
        self.handle(&Event::Checked { service, address, up, detail: String::new() }, at);
    }

    fn check_zone(&mut self, position: usize, zone_at: usize, up: bool) {
        let Some((_, endpoints)) = self.services.get(&position) else { return };
        let there = endpoints.iter().filter(|(_, (its, _))| its.as_str() == ZONES[zone_at]);
        for address in there.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.check(position, address, up, self.now);
        }
    }

    /// Follows the deadlines up to `end`, or all of them; how many there were.
    fn follow(&mut self, end: Option<Time>) -> usize {
        for wake_ups in 0..=SETTLES_WITHIN {
            let due = self.engines[0].next_deadline().filter(|it| end.is_none_or(|end| it.at <= end));
            let Some(deadline) = due else { return wake_ups };
            self.now = self.now.max(deadline.at);
            let now = self.now;
            self.both(|engine| engine.tick(now));
        }
        panic!("the engine does not settle, next is {:?}", self.engines[0].next_deadline());
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait(ms) => {
                let end = self.now + Duration::from_millis(ms);
                self.follow(Some(end));
                self.now = self.now.max(end);
            }
            Step::Back(ms) => {
                let before =
                    Time::from_origin(self.now.since_origin().saturating_sub(Duration::from_millis(ms)));
                self.check(0, address(0, 1), false, before);
                self.both(|engine| engine.tick(before));
            }
            Step::Check { service, zone, n, up } => self.check(service, address(zone, n), up, self.now),
            Step::CheckZone { service, zone, up } => self.check_zone(service, zone, up),
            Step::Endpoints { service, endpoints } => {
                let policy =
                    self.services.remove(&service).map_or_else(Policy::default, |(policy, _)| policy);
                self.services.insert(service, (policy, endpoints.into_iter().map(endpoint).collect()));
                self.tell_service(service);
            }
            Step::Remote { cluster: at, pools } => {
                let pools = pools.into_iter().map(|pool| status(at, pool)).collect();
                self.handle(&Event::RemotePools { cluster: cluster(CLUSTERS[at].0), pools }, self.now);
            }
            Step::Unreachable(at) => self.handle(&Event::Unreachable(cluster(CLUSTERS[at].0)), self.now),
            Step::Reachable(at, quick) => {
                let to = Target::Cluster(cluster(CLUSTERS[at].0));
                self.tracks.retain(|(_, target), _| !quick || *target != to);
                self.handle(&Event::Reachable { cluster: cluster(CLUSTERS[at].0), quick }, self.now);
            }
            Step::Topology(members) => self.topology(&members),
            Step::Sources(members) => {
                let sources = members.iter().map(|at| source(ZONES[*at])).collect();
                self.handle(&Event::Sources(sources), self.now);
            }
            Step::Removed(position) => {
                self.services.remove(&position);
                self.handle(&Event::ServiceRemoved(service(SERVICES[position])), self.now);
            }
            Step::Release { service: position, zone: at } => {
                self.tracks.clear();
                let target = Target::Zone(zone(ZONES[at]));
                self.handle(&Event::Release { service: service(SERVICES[position]), target }, self.now);
            }
            Step::ReleaseCluster { service: position, cluster: at } => {
                self.tracks.clear();
                let target = Target::Cluster(cluster(CLUSTERS[at].0));
                self.handle(&Event::Release { service: service(SERVICES[position]), target }, self.now);
            }
            Step::Policy { service, policy } => {
                self.tracks.clear();
                if let Some(it) = self.services.get_mut(&service) {
                    it.0 = *policy;
                }
                self.tell_service(service);
            }
            Step::Demand { service: position, zone: zone_at, load } => {
                let (source, service) = (source(ZONES[zone_at]), service(SERVICES[position]));
                self.handle(&Event::Demand { source, rates: BTreeMap::from([(service, load)]) }, self.now);
            }
            Step::RemoteDemand { service: position, cluster: at, load } => {
                let demand = BTreeMap::from([(service(SERVICES[position]), [(zone("x"), load)].into())]);
                let cluster = cluster(CLUSTERS[at].0);
                self.handle(&Event::RemoteDemand { cluster, view: FleetView::default(), demand }, self.now);
            }
            Step::Arrivals { service: position, at, from, load } => {
                let from = BTreeMap::from([(cluster(CLUSTERS[from].0), load)]);
                let from = BTreeMap::from([(service(SERVICES[position]), from)]);
                self.handle(&Event::Arrivals { at: cluster(CLUSTERS[at].0), from }, self.now);
            }
            Step::Restart => self.restart(),
            other => self.act(other),
        }
    }

    fn restart(&mut self) {
        let members: Vec<usize> = (0..CLUSTERS.len())
            .filter(|at| self.engines[0].fleet().clusters.contains_key(CLUSTERS[*at].0))
            .collect();
        let sources = self.engines[0].fleet().sources.clone();
        let now = self.now;
        let json = self.engines.each_ref().map(|it| serde_json::to_string(&it.save(now)).unwrap());
        assert_eq!(json[0], json[1]);
        let saved: Saved = serde_json::from_str(&json[0]).unwrap();
        // Whatever was not asked for yet is asked for on the way down.
        self.disk.flush(&mut self.engines[0], now);
        let engine = Engine::new(cluster("east"), region("us-east"), saved);
        let tracks = std::mem::take(&mut self.tracks);
        self.engines = [engine.clone(), engine];
        self.disk.restart(now);
        self.both(|engine| engine.tick(now));
        self.topology(&members);
        self.handle(&Event::Sources(sources), now);
        // Services come back one by one; what was watched of them is watched on.
        self.tracks = tracks;
        for position in self.services.keys().copied().collect::<Vec<_>>() {
            let name = service(SERVICES[position]);
            let others = self.tracks.extract_if(.., |(it, _), _| *it != name).collect::<Vec<_>>();
            self.tell_service(position);
            self.tracks.extend(others);
        }
    }

    /// Holds the invariants against what the first engine shows.
    fn watch(&mut self) {
        let engine = &self.engines[0];
        let known: BTreeSet<&ServiceName> = engine.services().collect();
        let remote: Vec<RemotePoolView> = engine.remote_pools().collect();
        let pools = engine
            .statuses(self.now)
            .map(|it| (it.service, Target::Zone(it.locality.zone), it.admit, it.phase == Phase::Ramping));
        let pools = if self.shifted { self.governors() } else { pools.collect() };
        // Our way to a cluster is either whole or lost, so between the two it climbs.
        let ways = remote.iter().map(|it| {
            let (service, target) = (it.status.service.clone(), Target::Cluster(it.cluster.clone()));
            (service, target, it.reach, !it.reach.is_zero())
        });
        let mut tracks = BTreeMap::new();
        for (service, target, admit, ramping) in pools.into_iter().chain(ways) {
            let stand = Stand { admit, ramping, failback: &engine.policy(&service).unwrap().failback };
            let key = (service, target);
            tracks.insert(key.clone(), Track::next(self.tracks.get(&key), &key, &stand, self.now));
        }
        self.tracks = tracks;
        for name in known {
            let remote: Vec<&RemotePoolView> =
                remote.iter().filter(|it| it.status.service == *name).collect();
            let healthy = healthy_at(engine.statuses_of(name, self.now), &remote);
            engine.plans(name).for_each(|plan| hold_plan(engine, plan, &healthy));
        }
    }
}

fn endpoint((at, n, state): (usize, u8, u8)) -> (SocketAddr, (Zone, EndpointFacts)) {
    let facts = EndpointFacts {
        ready: state != 0,
        terminating: state == 1,
        checked: state != 2,
        node_ready: state != 4,
        ..EndpointFacts::default()
    };
    // Now and then an address appears in another zone than the one it is named for.
    let in_zone = if state == 3 { (at + 1) % ZONES.len() } else { at };
    (address(at, n), (zone(ZONES[in_zone]), facts))
}

fn status(at: usize, pool: (usize, bool, CandidatePool, Phase, u64)) -> PoolStatus {
    let (in_service, second_zone, pool, phase, hold) = pool;
    PoolStatus {
        service: service(SERVICES[in_service]),
        locality: Locality {
            region: region(CLUSTERS[at].1),
            zone: zone(if second_zone { "y" } else { "x" }),
        },
        expected: pool.expected,
        present: pool.present,
        healthy: pool.healthy,
        admit: pool.admit,
        phase,
        hold_remaining: Duration::from_secs(hold),
    }
}

// ---- what must hold ----

/// The healthy endpoints that a source reaches at each target, from what the engine shows beside its plans.
fn healthy_at(own: impl Iterator<Item = PoolStatus>, remote: &[&RemotePoolView]) -> BTreeMap<Target, u64> {
    let mut counts: BTreeMap<Target, (u64, u64)> = BTreeMap::new();
    for status in own {
        let target = Target::Zone(status.locality.zone);
        counts.insert(target, (u64::from(status.healthy), u64::from(status.expected)));
    }
    for view in remote.iter().filter(|it| it.reachable) {
        let (healthy, expected) = counts.entry(Target::Cluster(view.cluster.clone())).or_default();
        *healthy += u64::from(view.status.healthy);
        *expected += u64::from(view.status.expected);
    }
    let healthy = |(healthy, expected)| if expected == 0 { 0 } else { healthy };
    counts.into_iter().map(|(target, counts)| (target, healthy(counts))).collect()
}

fn region_of(clusters: &BTreeMap<ClusterName, Region>, target: &Target) -> Region {
    match target {
        Target::Zone(_) => region("us-east"),
        Target::Cluster(name) => clusters[name].clone(),
    }
}

fn hold_plan(engine: &Engine, plan: &Plan, healthy: &BTreeMap<Target, u64>) {
    let policy = engine.policy(&plan.service).unwrap();
    hold_shares(plan);
    let allowed = |target: &Target| {
        let region = region_of(&engine.fleet().clusters, target);
        let cluster = match target {
            Target::Zone(_) => &engine.fleet().own,
            Target::Cluster(cluster) => cluster,
        };
        policy.residency.as_ref().is_none_or(|only| only.value.allows(&region, cluster))
    };
    for target in plan.shares.keys().chain(plan.standby.iter().flat_map(Shares::keys)) {
        assert!(allowed(target), "residency forbids {target}: {plan:#?}");
    }
    let is_healthy = |target: &Target| healthy.get(target).is_some_and(|healthy| *healthy > 0);
    if plan.reasons.iter().any(|it| it.tier.is_some() && is_healthy(&it.target)) {
        let may_shed = policy.capacity.is_some() && policy.when_exhausted.value == WhenExhausted::Shed;
        let served = plan.shed.is_none() || may_shed;
        assert!(!plan.last_resort && served, "something healthy is allowed: {plan:#?}");
        assert!(plan.shares.keys().all(is_healthy), "{healthy:?}: {plan:#?}");
    }
    for target in plan.standby.iter().flat_map(Shares::keys) {
        assert!(is_healthy(target), "{target} stands by: {plan:#?}");
    }
}

/// What holds of the shares of every plan, whatever it was made of.
fn hold_shares(plan: &Plan) {
    let sum = |shares: &Shares| shares.values().map(|share| share.parts()).sum::<u32>();
    assert_eq!(sum(&plan.shares) + plan.shed.parts(), Share::ALL.parts(), "{plan:#?}");
    assert!(plan.shares.values().all(|share| !share.is_none()));
    let mut used: BTreeSet<&Target> = plan.shares.keys().collect();
    for tier in plan.standby.iter() {
        assert_eq!(sum(tier), Share::ALL.parts(), "{plan:#?}");
        for target in tier.keys() {
            assert!(used.insert(target), "{target} stands by twice: {plan:#?}");
            let reason = plan.reasons.iter().find(|it| it.target == *target).unwrap();
            assert!(reason.phase != Phase::Out && reason.rule != Rule::Unreachable, "{target}: {plan:#?}");
        }
    }
}

fn config(usual: u32) -> ProptestConfig {
    ProptestConfig {
        cases: cases(usual),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(RUNS))]

    #[test]
    fn invariants_hold_after_every_event(
        policies in [policy(), policy()],
        steps in vec(step(2), 1..24),
    ) {
        let mut run = Run::new(policies.into());
        for step in steps {
            run.step(step);
        }
        run.follow(None);
        prop_assert_eq!(run.engines[0].next_deadline(), None);
    }
}

proptest! {
    #![proptest_config(config(FLEETS))]

    #[test]
    fn verdicts_on_places_hold_too(
        policy in policy(),
        zone_at in 0..2_usize,
        steps in vec(prop_oneof![acting(SERVICES.len()), step(SERVICES.len())], 1..16),
    ) {
        let mut run = Run::new(vec![policy; SERVICES.len()]);
        // All but one of the services lose a zone, which is then declared out.
        (1..SERVICES.len()).for_each(|service| run.step(Step::CheckZone { service, zone: zone_at, up: false }));
        run.step(Step::Wait(1000));
        for step in steps {
            run.step(step);
        }
        run.follow(None);
    }
}

proptest! {
    #![proptest_config(config(PLANS))]

    #[test]
    fn a_plan_holds_for_any_candidates(
        policy in policy(),
        zones in vec((remote_pool(), 0..PHASES.len()), 0..=3),
        clusters in vec((vec(remote_pool(), 1..3), 0..PHASES.len(), any::<bool>()), 0..=4),
        turn in 0..7usize,
        better in 0..7usize,
    ) {
        let mut candidates = board(&zones, &clusters);
        let (service, source, distances) = (service("web"), source("a"), BTreeMap::new());
        let ask = |candidates: &[Candidate], previous: Option<&Plan>| {
            let (service, source, policy, distances) = (&service, &source, &policy, &distances);
            plan(&Question { service, source, policy, candidates, distances }, previous)
        };
        let first = ask(&candidates, None);
        hold_shares(&first);
        prop_assert_eq!(&ask(&candidates, Some(&first)), &first, "planning again changes nothing");
        let mut turned = candidates.clone();
        turned.rotate_left(turn.min(candidates.len()));
        prop_assert_eq!(&ask(&turned, None), &first, "the order of the candidates decides nothing");
        // One more healthy endpoint somewhere never turns service into none.
        if let Some(candidate) = candidates.get_mut(better) {
            candidate.pools.values_mut().for_each(|pool| pool.healthy = pool.healthy.saturating_add(1));
            let after = ask(&candidates, Some(&first));
            hold_shares(&after);
            let serves = |plan: &Plan| !plan.last_resort && plan.shed.is_none();
            prop_assert!(serves(&after) || !serves(&first), "{:#?}", after);
        }
    }
}
