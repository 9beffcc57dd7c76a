//! The replicas of one agent and what is between them, in virtual time.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_agent::{
    core::{Core, Input, Output},
    replicas::{Said, Telling, heard, name_of, welcome},
    saved::SavedAgent,
};
use tidegate_api::{Config, Loader, SourceFile};
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

pub(crate) const CAPACITY: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: web}]
  capacity: {requestsPerSecond: 100}
";

pub(crate) fn config(more: &str) -> Arc<Config> {
    let text = format!("{MANIFESTS}---\n{more}");
    let loaded = Loader::new("east".parse().unwrap()).load(&[SourceFile { path: "f.yaml".into(), text }]);
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.config)
}

pub(crate) struct One {
    pub(crate) boot: PeerBoot,
    pub(crate) core: Core,
    pub(crate) telling: Telling,
    /// What it says.
    pub(crate) facts: BTreeMap<String, Vec<u8>>,
    /// What it found of endpoints, to find what is new.
    pub(crate) found: BTreeMap<u8, bool>,
    /// What its gateways are told.
    pub(crate) resources: BTreeMap<String, String>,
    /// Every input, when and what was decided.
    pub(crate) noted: Vec<(Time, Input, Output)>,
    pub(crate) alive: bool,
}

impl One {
    pub(crate) fn handle(&mut self, input: Input, now: Time) {
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

    pub(crate) fn hear(&mut self, of: PeerBoot, word: &ReplicaWord, now: Time) {
        for input in heard(of, word).unwrap() {
            self.handle(input, now);
        }
    }
}

pub(crate) struct Fleet {
    pub(crate) now: Time,
    pub(crate) config: Arc<Config>,
    pub(crate) all: Vec<One>,
    /// Who died, and when it is noticed.
    pub(crate) dead: Vec<(Time, PeerBoot)>,
    pub(crate) boots: u64,
}

impl Fleet {
    pub(crate) fn new(replicas: usize, more: &str) -> Self {
        let mut fleet = Self { now: Time::ZERO, config: config(more), all: vec![], dead: vec![], boots: 0 };
        (0..replicas).for_each(|_| fleet.start(None));
        (1..=4).for_each(|last| fleet.all_see(last, true));
        fleet.run(20_000);
        assert!(fleet.all.iter().all(|one| one.core.is_ready()));
        fleet
    }

    /// A replica starts: it hears the others, then its manifests.
    pub(crate) fn start(&mut self, saved: Option<SavedAgent>) {
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

    pub(crate) fn kill(&mut self, index: usize) {
        self.all[index].alive = false;
        self.dead.push((self.now + REPLICA_SILENT, self.all[index].boot));
    }

    /// What one replica finds itself, and tells the others.
    pub(crate) fn finds(&mut self, index: usize, input: Input) {
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

    pub(crate) fn others(&mut self, index: usize, tell: impl Fn(&mut One)) {
        let others = self.all.iter_mut().enumerate().filter(|(at, it)| *at != index && it.alive);
        others.for_each(|(_, other)| tell(other));
    }

    pub(crate) fn sees(&mut self, index: usize, last: u8, up: bool) {
        if self.all[index].found.insert(last, up) == Some(up) {
            return;
        }
        let verdict = if up { ProbeVerdict::Up } else { ProbeVerdict::Down("refused".to_owned()) };
        self.finds(index, Input::Checked((web(), address(last)), verdict));
    }

    pub(crate) fn all_see(&mut self, last: u8, up: bool) {
        (0..self.all.len()).filter(|at| self.all[*at].alive).collect::<Vec<_>>().into_iter().for_each(|at| {
            self.sees(at, last, up);
        });
    }

    /// The next moment at which anything happens.
    pub(crate) fn next(&self, until: Time) -> Time {
        let beat = REPLICA_BEAT.as_millis();
        let next_beat = (self.now.since_origin().as_millis() / beat + 1) * beat;
        let next_beat = Time::from_millis(u64::try_from(next_beat).unwrap());
        let deadlines = self.all.iter().filter(|one| one.alive).filter_map(|one| one.core.next_deadline());
        let deaths = self.dead.iter().map(|(at, _)| *at);
        // A core that is late is woken at once, and time goes on.
        let soonest = self.now + Duration::from_millis(1);
        deadlines.chain(deaths).chain([next_beat, until]).min().unwrap().max(soonest)
    }

    pub(crate) fn run(&mut self, ms: u64) {
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
            if now.since_origin().as_millis().is_multiple_of(REPLICA_BEAT.as_millis()) {
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

    pub(crate) fn plan(&self, index: usize, zone: &str) -> String {
        let plans = self.all[index].core.plan_views();
        let plan = plans.iter().find(|plan| plan.source == format!("east/{zone}")).unwrap();
        let shares: Vec<String> =
            plan.shares.iter().map(|(target, share)| format!("{target} {share}")).collect();
        shares.join(", ")
    }

    pub(crate) fn pool(&self, index: usize, zone: &str) -> String {
        let statuses: Vec<PoolStatus> = self.all[index].core.engine().unwrap().statuses(self.now).collect();
        let it = statuses.into_iter().find(|it| it.locality.zone.as_str() == zone).unwrap();
        format!("{:?} {}/{}", it.phase, it.healthy, it.expected)
    }

    pub(crate) fn moves(&self) -> usize {
        let records = self.all.iter().flat_map(|one| &one.noted).flat_map(|(.., output)| &output.records);
        records.filter(|record| record.kind == "planChanged" && record.before.is_some()).count()
    }

    pub(crate) fn assert_alike(&self) {
        let mut alive = self.all.iter().filter(|one| one.alive);
        let first = alive.next().unwrap();
        for other in alive {
            assert_eq!(first.resources, other.resources, "what gateways are told");
        }
    }
}

pub(crate) fn first_word(of: &One, now: Time) -> ReplicaWord {
    let facts = of.facts.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
    ReplicaWord {
        full: true,
        facts,
        news: vec![],
        welcome: Some(welcome(of.core.snapshot(now))),
        lasting: vec![],
    }
}

pub(crate) fn web() -> ServiceName {
    "shop/web".parse().unwrap()
}

pub(crate) fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, last], 8080))
}

pub(crate) fn west() -> Vec<PoolStatus> {
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
