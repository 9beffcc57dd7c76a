//! Several replicas of one agent, each a core of its own, in virtual time: what each finds is told to the others as the link
//! would, and all must give their gateways the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_agent::{
    core::{Core, Input, Output},
    journal::{Header, Journal, Limits, read, replay},
    replicas::{Said, Telling, heard, name_of, welcome},
    saved::SavedAgent,
};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_engine::Load;
use tidegate_link::{REPLICA_BEAT, REPLICA_SILENT, ReplicaWord};
use tidegate_model::{Fraction, Locality, PeerBoot, Phase, PoolStatus, ProbeVerdict, ServiceName, Time};
use tidegate_xds::Change;

const MANIFESTS: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: east}
spec: {region: east, proximity: [{region: west, rtt: 60ms}]}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: west}
spec: {region: west, eastWestGateways: [{address: 127.0.9.9, port: 15443}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [127.0.1.1], zone: a}
- {addresses: [127.0.1.2], zone: a}
- {addresses: [127.0.1.3], zone: b}
- {addresses: [127.0.1.4], zone: b}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: tidegate-edge, listeners: [{name: http, port: 10080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]}
";

const CAPACITY: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: web}]
  capacity: {requestsPerSecond: 100}
";

fn config(more: &str) -> Arc<Config> {
    let text = format!("{MANIFESTS}---\n{more}");
    let loaded = Loader::new("east".parse().unwrap()).load(&[SourceFile { path: "f.yaml".into(), text }]);
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.config)
}

struct One {
    boot: PeerBoot,
    core: Core,
    telling: Telling,
    /// What it says.
    facts: BTreeMap<String, Vec<u8>>,
    /// What it found of endpoints, to find what is new.
    found: BTreeMap<u8, bool>,
    /// What its gateways are told.
    resources: BTreeMap<String, String>,
    /// Every input, when and what was decided.
    noted: Vec<(Time, Input, Output)>,
    alive: bool,
}

impl One {
    fn handle(&mut self, input: Input, now: Time) {
        let output = self.core.handle(input.clone(), now);
        for (name, value) in self.telling.retract(&output) {
            assert_eq!(value, None);
            self.facts.remove(&name);
        }
        for change in &output.xds {
            match change {
                Change::Set { scope, kind, name, .. } => {
                    self.resources.insert(format!("{scope} {kind} {name}"), format!("{change:?}"));
                }
                Change::Remove { scope, kind, name } => {
                    self.resources.remove(&format!("{scope} {kind} {name}"));
                }
            }
        }
        self.noted.push((now, input, output));
    }

    fn hear(&mut self, of: PeerBoot, word: &ReplicaWord, now: Time) {
        for input in heard(of, word).unwrap() {
            self.handle(input, now);
        }
    }
}

struct Fleet {
    now: Time,
    config: Arc<Config>,
    all: Vec<One>,
    /// Who died, and when it is noticed.
    dead: Vec<(Time, PeerBoot)>,
    boots: u64,
}

impl Fleet {
    fn new(replicas: usize, more: &str) -> Self {
        let mut fleet = Self { now: Time::ZERO, config: config(more), all: vec![], dead: vec![], boots: 0 };
        (0..replicas).for_each(|_| fleet.start(None));
        (1..=4).for_each(|last| fleet.all_see(last, true));
        fleet.run(20_000);
        assert!(fleet.all.iter().all(|one| one.core.is_ready()));
        fleet
    }

    /// A replica starts: it hears the others, then its manifests.
    fn start(&mut self, saved: Option<SavedAgent>) {
        self.boots += 1;
        let boot = PeerBoot(self.boots);
        let core = Core::new("east".parse().unwrap(), saved, self.now);
        let (telling, found, resources) = (Telling::default(), BTreeMap::new(), BTreeMap::new());
        let facts = BTreeMap::new();
        let noted = Vec::new();
        let mut one = One { boot, core, telling, facts, found, resources, noted, alive: true };
        for other in self.all.iter_mut().filter(|it| it.alive) {
            other.hear(boot, &ReplicaWord { full: true, ..ReplicaWord::default() }, self.now);
            one.hear(other.boot, &first_word(other, self.now), self.now);
        }
        one.handle(Input::Manifests(Arc::clone(&self.config)), self.now);
        one.handle(Input::RemotePools("west".parse().unwrap(), west()), self.now);
        self.all.push(one);
    }

    fn kill(&mut self, index: usize) {
        self.all[index].alive = false;
        self.dead.push((self.now + REPLICA_SILENT, self.all[index].boot));
    }

    /// What one replica finds itself, and tells the others.
    fn finds(&mut self, index: usize, input: Input) {
        let now = self.now;
        let one = &mut self.all[index];
        let (facts, news) = one.telling.of(&input);
        for (name, value) in &facts {
            one.facts.insert(name.clone(), value.clone().unwrap());
        }
        let boot = one.boot;
        one.handle(input, now);
        let word = ReplicaWord { facts, news: news.into_iter().collect(), ..ReplicaWord::default() };
        self.others(index, |other| other.hear(boot, &word, now));
    }

    fn others(&mut self, index: usize, tell: impl Fn(&mut One)) {
        let others = self.all.iter_mut().enumerate().filter(|(at, it)| *at != index && it.alive);
        others.for_each(|(_, other)| tell(other));
    }

    fn sees(&mut self, index: usize, last: u8, up: bool) {
        if self.all[index].found.insert(last, up) == Some(up) {
            return;
        }
        let verdict = if up { ProbeVerdict::Up } else { ProbeVerdict::Down("refused".to_owned()) };
        self.finds(index, Input::Checked((web(), address(last)), verdict));
    }

    fn all_see(&mut self, last: u8, up: bool) {
        (0..self.all.len()).filter(|at| self.all[*at].alive).collect::<Vec<_>>().into_iter().for_each(|at| {
            self.sees(at, last, up);
        });
    }

    /// The next moment at which anything happens.
    fn next(&self, until: Time) -> Time {
        let beat = REPLICA_BEAT.as_millis();
        let next_beat = (self.now.since_origin().as_millis() / beat + 1) * beat;
        let next_beat = Time::from_millis(u64::try_from(next_beat).unwrap());
        let deadlines = self.all.iter().filter(|one| one.alive).filter_map(|one| one.core.next_deadline());
        let deaths = self.dead.iter().map(|(at, _)| *at);
        // A core that is late is woken at once, and time goes on.
        let soonest = self.now + Duration::from_millis(1);
        deadlines.chain(deaths).chain([next_beat, until]).min().unwrap().max(soonest)
    }

    fn run(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while self.now < until {
            self.now = self.next(until);
            let now = self.now;
            let noticed: Vec<PeerBoot> =
                self.dead.extract_if(.., |(at, _)| *at <= now).map(|(_, boot)| boot).collect();
            for boot in noticed {
                let said = || Said::Silent("gone".to_owned());
                let replica = name_of(boot);
                self.others(usize::MAX, |one| {
                    one.handle(Input::Replica { replica: Arc::clone(&replica), said: said() }, now);
                });
            }
            if now.since_origin().as_millis() % REPLICA_BEAT.as_millis() == 0 {
                for index in 0..self.all.len() {
                    let boot = self.all[index].boot;
                    if self.all[index].alive {
                        self.others(index, |other| other.hear(boot, &ReplicaWord::default(), now));
                    }
                }
            }
            for one in self.all.iter_mut().filter(|it| it.alive) {
                if one.core.next_deadline().is_some_and(|at| at <= now) {
                    one.handle(Input::Tick, now);
                }
            }
        }
    }

    fn plan(&self, index: usize, zone: &str) -> String {
        let plans = self.all[index].core.plan_views();
        let plan = plans.iter().find(|plan| plan.source == format!("east/{zone}")).unwrap();
        let shares: Vec<String> =
            plan.shares.iter().map(|(target, share)| format!("{target} {share}")).collect();
        shares.join(", ")
    }

    fn pool(&self, index: usize, zone: &str) -> String {
        let statuses: Vec<PoolStatus> = self.all[index].core.engine().unwrap().statuses(self.now).collect();
        let it = statuses.into_iter().find(|it| it.locality.zone.as_str() == zone).unwrap();
        format!("{:?} {}/{}", it.phase, it.healthy, it.expected)
    }

    fn moves(&self) -> usize {
        let records = self.all.iter().flat_map(|one| &one.noted).flat_map(|(.., output)| &output.records);
        records.filter(|record| record.kind == "planChanged" && record.before.is_some()).count()
    }

    fn assert_alike(&self) {
        let mut alive = self.all.iter().filter(|one| one.alive);
        let first = alive.next().unwrap();
        for other in alive {
            assert_eq!(first.resources, other.resources, "what gateways are told");
        }
    }
}

fn first_word(of: &One, now: Time) -> ReplicaWord {
    let facts = of.facts.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
    ReplicaWord {
        full: true,
        facts,
        news: vec![],
        welcome: Some(welcome(of.core.snapshot(now))),
        lasting: vec![],
    }
}

fn web() -> ServiceName {
    "shop/web".parse().unwrap()
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, last], 8080))
}

fn west() -> Vec<PoolStatus> {
    vec![PoolStatus {
        service: web(),
        locality: Locality { region: "west".parse().unwrap(), zone: "w".parse().unwrap() },
        expected: 2,
        present: 2,
        healthy: 2,
        admit: Fraction::ONE,
        phase: Phase::Serving,
        hold_remaining: Duration::ZERO,
    }]
}

#[test]
fn a_replica_that_is_cut_off_from_the_endpoints_moves_nothing_while_two_see_them() {
    let mut fleet = Fleet::new(3, "");
    (1..=4).for_each(|last| fleet.sees(1, last, false));
    fleet.run(30_000);
    assert_eq!(fleet.moves(), 0);
    assert_eq!(fleet.pool(1, "a"), "Serving 2/2", "it is outvoted in its own eyes, too");
    fleet.assert_alike();
}

#[test]
fn one_of_two_that_is_cut_off_moves_nothing_either() {
    let mut fleet = Fleet::new(2, "");
    (1..=4).for_each(|last| fleet.sees(0, last, false));
    fleet.run(30_000);
    assert_eq!(fleet.moves(), 0, "a tie leaves endpoints as they were");
    fleet.assert_alike();
}

#[test]
fn a_zone_that_is_lost_is_left_alike_and_comes_back_alike() {
    let mut fleet = Fleet::new(3, "");
    // Each finds it a little later than the one before.
    for index in 0..3 {
        fleet.run(70);
        (1..=2).for_each(|last| fleet.sees(index, last, false));
    }
    fleet.run(100);
    for index in 0..3 {
        assert_eq!(
            (fleet.plan(index, "a"), fleet.pool(index, "a")),
            ("zone b 100 %".into(), "Out 0/2".into())
        );
    }
    fleet.assert_alike();
    for index in 0..3 {
        fleet.run(70);
        (1..=2).for_each(|last| fleet.sees(index, last, true));
    }
    fleet.run(60_000);
    assert_eq!(fleet.plan(0, "a"), "zone a 100 %");
    fleet.assert_alike();
}

#[test]
fn a_zone_that_takes_a_replica_with_it_is_left_by_the_other_one() {
    let mut fleet = Fleet::new(2, "");
    fleet.kill(1);
    (1..=2).for_each(|last| fleet.sees(0, last, false));
    fleet.run(1_100);
    assert_eq!(fleet.plan(0, "a"), "zone b 100 %", "the word of the dead one counts for a second");
}

#[test]
fn a_replica_that_dies_moves_nothing() {
    let mut fleet = Fleet::new(2, "");
    fleet.kill(1);
    fleet.run(30_000);
    assert_eq!(fleet.moves(), 0);
}

#[test]
fn a_replica_that_starts_in_mid_hold_down_goes_on_with_it() {
    let mut fleet = Fleet::new(2, "");
    let old = fleet.all[1].core.save(fleet.now);
    for last in 1..=2 {
        fleet.all_see(last, false);
    }
    fleet.run(5_000);
    for last in 1..=2 {
        fleet.all_see(last, true);
    }
    fleet.run(10_000);
    assert_eq!(fleet.pool(0, "a"), "Holding 2/2");
    fleet.kill(1);
    fleet.run(2_000);
    // One with an old disk, and one with none.
    fleet.start(old);
    fleet.start(None);
    for index in 2..4 {
        (1..=4).for_each(|last| fleet.sees(index, last, true));
    }
    assert_eq!((fleet.pool(2, "a"), fleet.pool(3, "a")), ("Holding 2/2".into(), "Holding 2/2".into()));
    fleet.run(100);
    fleet.assert_alike();
    // 12 of 30 s are over.
    fleet.run(17_000);
    assert_eq!(fleet.pool(2, "a"), "Holding 2/2");
    fleet.run(1_500);
    for index in [0, 2, 3] {
        assert_eq!(fleet.pool(index, "a"), "Ramping 2/2");
    }
    fleet.run(30_000);
    fleet.assert_alike();
    assert_eq!(fleet.plan(3, "a"), "zone a 100 %");
}

#[test]
fn what_one_that_was_cut_off_says_of_the_pools_drains_nobody() {
    let mut fleet = Fleet::new(2, "");
    let mut lonely = Fleet::new(1, "");
    (1..=4).for_each(|last| lonely.sees(0, last, false));
    lonely.run(1_000);
    (1..=4).for_each(|last| lonely.sees(0, last, true));
    lonely.run(1_000);
    assert_eq!(lonely.pool(0, "a"), "Holding 2/2");
    let (word, now) = (first_word(&lonely.all[0], lonely.now), fleet.now);
    fleet.all[0].hear(PeerBoot(77), &word, now);
    fleet.run(5_000);
    assert_eq!((fleet.pool(0, "a").as_str(), fleet.moves()), ("Serving 2/2", 0));
}

#[test]
fn one_that_was_frozen_takes_over_how_the_pools_stand() {
    let mut fleet = Fleet::new(2, "");
    fleet.all[1].alive = false;
    (1..=2).for_each(|last| fleet.sees(0, last, false));
    fleet.run(3_000);
    (1..=2).for_each(|last| fleet.sees(0, last, true));
    fleet.run(1_000);
    assert_eq!(fleet.pool(0, "a"), "Holding 2/2");
    // It wakes, saw nothing of it, and its links are made anew.
    fleet.all[1].alive = true;
    fleet.run(500);
    assert_eq!(fleet.pool(1, "a"), "Serving 2/2");
    let word = first_word(&fleet.all[0], fleet.now);
    let (boot, now) = (fleet.all[0].boot, fleet.now);
    fleet.all[1].hear(boot, &word, now);
    assert_eq!(fleet.pool(1, "a"), "Holding 2/2");
}

fn demand(fleet: &mut Fleet, index: usize, rps: u64) {
    let rates = BTreeMap::from([(web(), Load::Rate { rps: rps * 1000 })]);
    fleet.finds(index, Input::Demand { zone: "a".parse().unwrap(), rates });
}

fn asked_for(fleet: &Fleet, index: usize) -> u64 {
    let (demand, _) = fleet.all[index].core.demand();
    demand.values().map(|load| load.thousandths() / 1000).sum()
}

#[test]
fn what_replicas_measure_adds_up_and_counts_a_while_after_one_fell_silent() {
    let mut fleet = Fleet::new(2, CAPACITY);
    for _ in 0..120 {
        demand(&mut fleet, 0, 50);
        demand(&mut fleet, 1, 30);
        fleet.run(1_000);
    }
    assert_eq!((asked_for(&fleet, 0), asked_for(&fleet, 1)), (80, 80));
    fleet.kill(1);
    for _ in 0..6 {
        fleet.run(1_000);
        demand(&mut fleet, 0, 50);
    }
    assert_eq!(asked_for(&fleet, 0), 80, "its gateways are not here yet");
    for _ in 0..120 {
        fleet.run(1_000);
        demand(&mut fleet, 0, 80);
    }
    assert_eq!(asked_for(&fleet, 0), 80, "what came over is not counted twice");
}

#[test]
fn a_replay_decides_what_replicas_decided() {
    let mut fleet = Fleet::new(2, CAPACITY);
    demand(&mut fleet, 1, 100);
    (1..=2).for_each(|last| fleet.all_see(last, false));
    fleet.run(2_000);
    fleet.kill(1);
    fleet.run(10_000);
    let folder = tempfile::tempdir().unwrap();
    let header = Header::first("east".parse().unwrap(), None, 1);
    let limits = Limits { queue: 1_000_000, ..Limits::default() };
    let (mut journal, writer) = Journal::new(folder.path().to_owned(), header, limits);
    let one = &mut fleet.all[0];
    for (at, input, output) in std::mem::take(&mut one.noted) {
        journal.note(at, input, output.records, &one.core);
    }
    drop(journal);
    writer.run();
    let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let replayed = replay(&[read(&path).unwrap()], true);
    assert!(replayed.exact && replayed.inputs > 100, "{}", replayed.inputs);
    assert_eq!(replayed.difference, None);
}

#[derive(Clone, Debug)]
enum Step {
    /// An endpoint changes, and each replica finds it after so many steps of 10 ms.
    Changes(u8, bool, [u8; 3]),
    /// One replica alone errs about an endpoint for a while.
    Errs(usize, u8, u16),
    Passes(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..=4_u8, any::<bool>(), [0..100_u8, 0..100, 0..100])
            .prop_map(|(last, up, late)| Step::Changes(last, up, late)),
        (0..3_usize, 1..=4_u8, 1..5_000_u16).prop_map(|(index, last, ms)| Step::Errs(index, last, ms)),
        (1..20_000_u16).prop_map(Step::Passes),
    ]
}

fn play(steps: Vec<Step>) {
    let mut fleet = Fleet::new(3, "");
    let mut truth: BTreeMap<u8, bool> = (1..=4).map(|last| (last, true)).collect();
    for step in steps {
        match step {
            Step::Changes(last, up, late) => {
                truth.insert(last, up);
                for tick in 0..100 {
                    (0..3).filter(|index| late[*index] == tick).for_each(|index| fleet.sees(index, last, up));
                    fleet.run(10);
                }
            }
            Step::Errs(index, last, ms) => {
                fleet.sees(index, last, !truth[&last]);
                fleet.run(ms.into());
                fleet.sees(index, last, truth[&last]);
            }
            Step::Passes(ms) => fleet.run(ms.into()),
        }
    }
    // Hold-downs double up to ten minutes.
    fleet.run(900_000);
    fleet.assert_alike();
    let down: BTreeSet<u8> = truth.into_iter().filter(|(_, up)| !up).map(|(last, _)| last).collect();
    let plan = fleet.plan(0, "a");
    if down.is_empty() {
        assert_eq!(plan, "zone a 100 %");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn replicas_tell_their_gateways_the_same_after_any_history(
        steps in prop::collection::vec(step(), 1..12)
    ) {
        play(steps);
    }
}
