//! A fleet under load, and what became of the requests and of the plans.

use super::{TIDEGATE, envoy, until};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tidegate_lab::{
    clock::LabClock,
    fleet::{
        Binaries, Fleet, FleetSpec,
        agent::{self, AgentEvent, PlanView, PoolView, Shares, home_share},
    },
    load::{Load, LoadMethod, Sample, Samples, Served},
    measure::PlanMove,
};
use tidegate_model::{ClusterName, ServiceName, Time};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) const EAST: &str = "us-east";
pub(crate) const WEST: &str = "us-west";
pub(crate) const EUROPE: &str = "eu-west";
/// Requests per second on each edge.
pub(crate) const RATE: u32 = 200;
/// A fleet comes up in two seconds; on a machine that builds at the same time it takes longer.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Two fleets at once would measure each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// Who serves, by service and source.
pub(crate) type Plans = BTreeMap<(String, String), Shares>;

/// A fleet that serves. When the test fails its files are kept.
pub(crate) struct Course {
    /// There until it is stopped.
    fleet: Option<Fleet>,
    loads: BTreeMap<&'static str, Load>,
    /// The longest time, in milliseconds, for which the machine let this process wait.
    stalled_ms: Arc<AtomicU64>,
    _turn: MutexGuard<'static, ()>,
}

/// The fleet of the demo, with patient checks: a busy machine delays answers, and what is late is not what is lost
/// here. An endpoint that refuses or answers 503 is found as soon as it is asked.
pub(crate) fn spec() -> FleetSpec {
    let mut spec = FleetSpec::demo();
    spec.policy.check_timeout = Duration::from_secs(2);
    spec
}

/// One request of a load, with who served it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) edge: &'static str,
    pub(crate) sample: Sample,
    pub(crate) served: Option<Served>,
}

pub(crate) fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

impl Course {
    /// Starts the fleet and waits until it serves; `None` without Envoy.
    pub(crate) async fn start(test: &str, spec: FleetSpec) -> Option<Self> {
        let envoy = envoy(test)?;
        let turn = TURN.lock().await;
        let binaries = Binaries { tidegate: TIDEGATE.into(), envoy };
        let mut fleet = match spec.hub {
            true => Fleet::start_joined(spec, &binaries).await.unwrap(),
            false => Fleet::start(spec, &binaries).unwrap(),
        };
        fleet.ready(START_LIMIT).await.unwrap();
        Some(Self { fleet: Some(fleet), loads: BTreeMap::new(), stalled_ms: watch_stalls(), _turn: turn })
    }

    /// Starts a load on each of these edges, and waits until it has flowed for a while.
    pub(crate) async fn load(&mut self, edges: &[&'static str], method: LoadMethod) {
        for edge in edges {
            let spec = self.fleet().load(&cluster(edge), RATE, method).unwrap();
            self.loads.insert(edge, Load::start(spec, self.clock()).unwrap());
        }
        self.flow(edges, 2).await;
    }

    pub(crate) fn clock(&self) -> LabClock {
        self.fleet().clock()
    }

    /// Lets so many seconds' worth of requests come to their end on each of these edges.
    pub(crate) async fn flow(&self, edges: &[&'static str], seconds: u32) {
        let ended = |edge: &&str| self.loads[*edge].samples().requests.len();
        let more = usize::try_from(RATE * seconds).unwrap();
        let wanted: Vec<usize> = edges.iter().map(|edge| ended(edge) + more).collect();
        until("requests to come to their end", async || {
            self.fleet().check().await.unwrap();
            edges.iter().map(ended).zip(&wanted).all(|(ended, wanted)| ended >= *wanted).then_some(())
        })
        .await;
    }

    /// All requests of an edge so far.
    pub(crate) fn requests(&self, edge: &'static str) -> Vec<Request> {
        let samples: Samples = self.loads[edge].samples();
        assert_eq!(samples.dropped, 0);
        let served = |sample: &Sample| samples.served_by(sample).cloned();
        samples
            .requests
            .iter()
            .map(|sample| Request { edge, sample: *sample, served: served(sample) })
            .collect()
    }

    /// The requests of these edges that failed.
    pub(crate) fn failed(&self, edges: &[&'static str]) -> Vec<Request> {
        let all = edges.iter().flat_map(|edge| self.requests(edge));
        all.filter(|request| !request.sample.outcome.is_success()).collect()
    }

    /// Waits until every request that is due before now has come to its end.
    pub(crate) async fn settle(&self) {
        let now = self.clock().now();
        for load in self.loads.values() {
            load.settled(now).await;
        }
    }

    /// The plans of a cluster's agent, once it answers.
    pub(crate) async fn plans(&self, name: &str) -> Plans {
        let status = self.status(name).await;
        let plans = agent::plans(&status).into_iter();
        plans.map(|PlanView { service, source, shares }| ((service, source), shares)).collect()
    }

    /// The pools of a service's cluster and zone as its own agent sees them.
    pub(crate) async fn pools(&self, name: &str, zone: &str) -> Vec<PoolView> {
        let mut pools = agent::pools(&self.status(name).await);
        pools.retain(|pool| pool.cluster == name && pool.zone == zone);
        pools
    }

    pub(crate) async fn status(&self, name: &str) -> serde_json::Value {
        until("the agent's status", async || self.fleet().agent_status(&cluster(name)).await.ok()).await
    }

    /// What an agent has reported since its start.
    pub(crate) async fn events(&self, name: &str) -> Vec<AgentEvent> {
        until("the agent's timeline", async || self.fleet().decisions(&cluster(name), 0).await.ok()).await
    }

    /// Waits until the agent of a cluster reports something at or after `since`, and says when it did.
    pub(crate) async fn reported(
        &self,
        name: &str,
        since: Time,
        is_it: impl Fn(&AgentEvent) -> bool,
    ) -> Time {
        until("an agent's report", async || {
            let events = self.fleet().decisions(&cluster(name), 0).await.ok()?;
            let mut times = events.iter().filter(|event| is_it(event)).map(|event| self.time(event));
            times.find(|at| *at >= since)
        })
        .await
    }

    pub(crate) fn time(&self, event: &AgentEvent) -> Time {
        self.clock().from_unix_micros(event.unix_micros)
    }

    /// Waits until the plans of a cluster are as `wanted` says.
    pub(crate) async fn until_plans(&self, what: &str, name: &str, wanted: impl Fn(&Plans) -> bool) {
        until(what, async || wanted(&self.plans(name).await).then_some(())).await;
    }

    /// Waits until an agent has all its peers in reach.
    pub(crate) async fn until_peers_are_heard(&self, name: &str) {
        until("all peers to be in reach", async || {
            let status = self.status(name).await;
            status["peers"].as_array()?.iter().all(|peer| peer["state"] == "Reachable").then_some(())
        })
        .await;
    }

    /// Kills the agent of a cluster and starts it again, and waits until it is ready. Undoes all other faults, too.
    pub(crate) async fn restart_agent(&self, name: &str) {
        use tidegate_lab::fleet::{Fault, Process, ProcessFault};
        let kill =
            Fault::Process { cluster: cluster(name), process: Process::Agent, fault: ProcessFault::Kill };
        self.fleet().fault(kill).await.unwrap();
        self.fleet().restore().await.unwrap();
        self.until_ready(name).await;
    }

    pub(crate) async fn until_ready(&self, name: &str) {
        let admin = self.fleet().addresses(&cluster(name)).unwrap().agent_admin;
        until("the agent to be ready", async || {
            let answer = tidegate_lab::fetch::get(admin, None, "/readyz", Duration::from_secs(2)).await;
            answer.is_ok_and(|(status, _)| status.is_success()).then_some(())
        })
        .await;
    }

    pub(crate) fn fleet(&self) -> &Fleet {
        self.fleet.as_ref().unwrap()
    }

    pub(crate) async fn stop(mut self) {
        self.fleet.take().unwrap().stop().await;
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        if let Some(fleet) = self.fleet.as_mut().filter(|_| std::thread::panicking()) {
            eprintln!("manifests, state and logs are kept in {}", fleet.keep_files().display());
            let stalled = self.stalled_ms.load(Ordering::Relaxed);
            eprintln!(
                "the machine stood still for up to {stalled} ms; agents call 300 ms of silence suspect"
            );
        }
    }
}

/// Measures how late this process is woken, as long as somebody holds what is returned.
fn watch_stalls() -> Arc<AtomicU64> {
    const NAP: Duration = Duration::from_millis(10);
    let longest = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&longest);
    std::thread::spawn(move || {
        while Arc::strong_count(&seen) > 1 {
            let asleep = Instant::now();
            std::thread::sleep(NAP);
            let late = asleep.elapsed().saturating_sub(NAP);
            seen.fetch_max(u64::try_from(late.as_millis()).unwrap(), Ordering::Relaxed);
        }
    });
    longest
}

/// The moves of plans away from `homes` and back, from an agent's timeline.
pub(crate) fn moves(events: &[AgentEvent], homes: &Plans, clock: LabClock) -> Vec<PlanMove> {
    let mut moves = Vec::new();
    for event in events.iter().filter(|event| event.kind == "planChanged") {
        let key = (event.service.clone().unwrap(), event.source.clone().unwrap());
        // The first entry of a plan has nothing before it.
        let (Some(home), Some(before), Some(after)) = (homes.get(&key), &event.before, &event.after) else {
            continue;
        };
        moves.push(PlanMove {
            at: clock.from_unix_micros(event.unix_micros),
            service: key.0.parse::<ServiceName>().unwrap(),
            source: key.1,
            home_share_before: home_share(home, before),
            home_share_after: home_share(home, after),
        });
    }
    moves
}

/// The moves of each service and source apart.
pub(crate) fn by_source(moves: &[PlanMove]) -> BTreeMap<(String, String), Vec<PlanMove>> {
    let mut apart: BTreeMap<_, Vec<PlanMove>> = BTreeMap::new();
    for it in moves {
        apart.entry((it.service.to_string(), it.source.clone())).or_default().push(it.clone());
    }
    apart
}

/// All of a plan's shares in 1/10000 that go to `target`.
pub(crate) fn share(plans: &Plans, service: &str, source: &str, target: &str) -> u32 {
    plans[&(service.to_owned(), source.to_owned())].get(target).copied().unwrap_or(0)
}
