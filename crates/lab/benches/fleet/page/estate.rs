//! What there is in the clusters: services in three clusters each and two zones of those, and how it changes.

use crate::agents::{Estate, cluster};
use rand::random_range;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};
use tidegate_link::hub::proto::{self, AgentAnswer, AgentWord, agent_word};
use tidegate_model::{ClusterName, Phase, ServiceName};
use tidegate_web::{
    compose::Risks,
    model::{
        Capacity, Event, Flow, Foresight, LossFacts, Place, PlanFacts, PolicyField, PoolFacts, ServiceFacts,
        ServiceRow, Standing,
    },
};
use tokio_util::sync::CancellationToken;

/// Services of a team, which is a namespace.
pub(super) const PER_TEAM: usize = 100;
/// The first services are probes: one pool of each says by its healthy endpoints how often it has changed.
pub(super) const PROBES: usize = 10;
/// Endpoints of such a pool.
const WIDE: u32 = 10_000;
/// Clusters of a service.
const PLACES: usize = 3;
const ZONES: [&str; 2] = ["zone-a", "zone-b"];
/// Endpoints of any other pool.
const ENDPOINTS: u32 = 4;
/// Pools change so often: one loses its zone, or gets it back.
const CHANGE: Duration = Duration::from_millis(100);
/// Every so many changes, a probe changes as well: each of them every 2 s.
const PROBE_EVERY: usize = 2;
/// What an agent's timeline holds for the page.
const EVENTS: usize = 500;
/// Of so many pools, the load of one is told anew in a second, and of so many services the rate.
const LOAD_MOVES: usize = 50;
const RATE_MOVES: usize = 40;

/// All clusters.
pub(super) struct Large {
    clusters: Vec<Mutex<Cluster>>,
    services: usize,
    foresight: Vec<u8>,
    changed: AtomicUsize,
    /// When each probe changed, by its turns.
    probed: Mutex<Vec<Vec<Instant>>>,
}

#[derive(Default)]
struct Cluster {
    /// Its services, in order.
    services: Vec<usize>,
    /// Those whose first zone is out.
    out: BTreeSet<usize>,
    probe: u32,
    /// Not told yet.
    news: BTreeSet<usize>,
    decisions: Vec<proto::Decision>,
    events: VecDeque<Event>,
    seq: u64,
}

fn name(service: usize) -> ServiceName {
    let text = format!("team-{:04}/service-{}", service / PER_TEAM, service % PER_TEAM);
    text.parse().expect("letters, digits and hyphens")
}

/// The service of this name.
fn numbered(name: &str) -> Option<usize> {
    let (team, service) = name.strip_prefix("team-")?.split_once("/service-")?;
    Some(team.parse::<usize>().ok()? * PER_TEAM + service.parse::<usize>().ok()?)
}

fn cluster_name(number: usize) -> ClusterName {
    cluster(number).parse().expect("letters, digits and hyphens")
}

fn place(number: usize, zone: &str) -> Place {
    Place { cluster: cluster_name(number), zone: zone.parse().ok() }
}

fn now_micros() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

fn capacity(load: f64) -> Capacity {
    Capacity { unit: "requests/s".to_owned(), declared: 400.0, budget: 320.0, load: Some(load) }
}

fn json<T: Serialize>(what: &T) -> Vec<u8> {
    serde_json::to_vec(what).expect("facts have names as keys")
}

impl Large {
    pub(super) fn new(clusters: usize, teams: usize) -> Self {
        let services = teams * PER_TEAM;
        let mut all: Vec<Cluster> = (0..clusters).map(|_| Cluster::default()).collect();
        for service in 0..services {
            for at in Self::places(service, clusters) {
                all[at].services.push(service);
            }
        }
        for (number, it) in all.iter_mut().enumerate() {
            for turn in 0..EVENTS {
                let service = it.services[turn % it.services.len().max(1)];
                it.happened(number, service, "it was so before anybody looked");
            }
            it.decisions.clear();
        }
        Self {
            clusters: all.into_iter().map(Mutex::new).collect(),
            services,
            foresight: json(&foresight(clusters)),
            changed: AtomicUsize::new(0),
            probed: Mutex::new(vec![Vec::new(); PROBES]),
        }
    }

    fn places(service: usize, clusters: usize) -> BTreeSet<usize> {
        (0..PLACES).map(|place| (service + place * 37) % clusters).collect()
    }

    fn cluster(&self, number: usize) -> MutexGuard<'_, Cluster> {
        self.clusters[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many changes there were.
    pub(super) fn changed(&self) -> usize {
        self.changed.load(Relaxed)
    }

    /// Changes until `stop`.
    pub(super) async fn live(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(CHANGE);
        let mut turn = 0_usize;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.flip();
            turn += 1;
            if turn.is_multiple_of(PROBE_EVERY) {
                self.probe(turn / PROBE_EVERY % PROBES);
            }
        }
    }

    /// A service loses a zone of a cluster, or gets it back.
    fn flip(&self) {
        let number = random_range(0..self.clusters.len());
        let mut cluster = self.cluster(number);
        let services: Vec<usize> = cluster.services.iter().copied().filter(|it| *it >= PROBES).collect();
        let Some(service) = services.get(random_range(0..services.len().max(1))).copied() else { return };
        let is_back = cluster.out.remove(&service);
        if !is_back {
            cluster.out.insert(service);
        }
        cluster.news.insert(service);
        let text = if is_back { "zone-a serves again" } else { "zone-a gets nothing: 0 of 4 healthy" };
        cluster.happened(number, service, text);
        self.changed.fetch_add(1, Relaxed);
    }

    fn probe(&self, probe: usize) {
        let mut cluster = self.cluster(probe);
        cluster.probe += 1;
        cluster.news.insert(probe);
        self.probed.lock().unwrap_or_else(PoisonError::into_inner)[probe].push(Instant::now());
        self.changed.fetch_add(1, Relaxed);
    }

    /// When changes of a probe were made that a page shows with so many healthy endpoints of the service, and did not with the number
    /// before.
    pub(super) fn shown(&self, probe: usize, healthy: u32, before: u32) -> Vec<Instant> {
        let probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        let most = WIDE + ENDPOINTS * u32::try_from(PLACES * ZONES.len() - 1).unwrap_or(0);
        let turns = |healthy: u32| usize::try_from(most.saturating_sub(healthy)).unwrap_or(0);
        probed[probe].get(turns(before)..turns(healthy)).unwrap_or_default().to_vec()
    }
}

impl Cluster {
    fn happened(&mut self, number: usize, service: usize, text: &str) {
        self.seq += 1;
        let (unix_micros, name) = (now_micros(), name(service));
        self.decisions.push(proto::Decision {
            seq: self.seq,
            unix_micros,
            kind: "planChanged".to_owned(),
            service: name.to_string(),
            text: format!("{name}: {text}"),
        });
        self.events.push_front(Event {
            at_ms: unix_micros / 1000,
            cluster: cluster_name(number),
            seq: self.seq,
            kind: "planChanged".to_owned(),
            text: format!("{name}: {text}"),
            pool: Some((place(number, ZONES[0]), Phase::Out)),
            service: Some(name),
        });
        self.events.truncate(EVENTS);
    }

    fn counts(&self, number: usize, service: usize, zone: &str) -> (Phase, u32, u32) {
        if service == number && service < PROBES && zone == ZONES[0] {
            (Phase::Serving, WIDE, WIDE - self.probe)
        } else if zone == ZONES[0] && self.out.contains(&service) {
            (Phase::Out, ENDPOINTS, 0)
        } else {
            (Phase::Serving, ENDPOINTS, ENDPOINTS)
        }
    }

    fn pool(&self, number: usize, service: usize, zone: &str) -> proto::Pool {
        let (phase, expected, healthy) = self.counts(number, service, zone);
        let of = capacity(f64::from(random_range(50_u32..200)));
        proto::Pool {
            name: Some(pool_name(service, zone)),
            expected,
            healthy,
            admit_ppm: if phase == Phase::Out { 0 } else { 1_000_000 },
            phase: format!("{phase:?}"),
            capacity: Some(proto::PoolCapacity {
                unit: of.unit,
                declared: of.declared,
                budget: of.budget,
                load: of.load,
            }),
        }
    }

    fn rate(service: usize) -> proto::ServiceRate {
        let rate = f64::from(random_range(50_u32..400));
        proto::ServiceRate { service: name(service).to_string(), rate, failed: 0.0 }
    }

    /// Pools and plans of these services.
    fn tell(&self, number: usize, services: &BTreeSet<usize>, status: &mut proto::Status) {
        for service in services {
            status.pools.extend(ZONES.map(|zone| self.pool(number, *service, zone)));
            if self.out.contains(service) {
                status.plans.push(proto::Plan {
                    name: Some(pool_name(*service, ZONES[0])),
                    shares: vec![proto::PlanShare { target: format!("zone {}", ZONES[1]), permille: 1000 }],
                    shed_permille: 0,
                    rule: "NotAdmitted".to_owned(),
                    why: "zone zone-a gets nothing: 0 of 4 healthy".to_owned(),
                });
            } else {
                status.removed_plans.push(pool_name(*service, ZONES[0]));
            }
        }
    }

    fn facts(&self, number: usize, service: usize, clusters: usize) -> ServiceFacts {
        let name = name(service);
        let places = Large::places(service, clusters);
        let pool = |at: usize, zone: &str| {
            let (phase, expected, healthy) = self.counts(at, service, zone);
            PoolFacts {
                region: region(at).parse().expect("letters, digits and hyphens"),
                place: place(at, zone),
                phase,
                expected,
                healthy,
                admit_permille: if phase == Phase::Out { 0 } else { 1000 },
                hold_remaining_ms: 0,
                capacity: Some(capacity(99.0)),
                reachable: true,
            }
        };
        let plan = |zone: &&str| PlanFacts {
            source: place(number, zone),
            shares: vec![(format!("zone {zone}"), 10_000)],
            shed_permille: 0,
            standby: vec![vec![(format!("cluster {}", cluster((number + 1) % clusters)), 10_000)]],
            last_resort: false,
            reasons: (0..6)
                .map(|it| format!("place {it} is not needed: the ones before it take all"))
                .collect(),
        };
        let field = |field: &str| PolicyField {
            field: field.to_owned(),
            value: "10s".to_owned(),
            from: format!("FailoverPolicy {name} (team.yaml:12)"),
        };
        ServiceFacts {
            row: ServiceRow {
                name: name.clone(),
                standing: Standing::Good,
                phase: Phase::Serving,
                expected: 0,
                healthy: 0,
                clusters: places.iter().map(|it| cluster_name(*it)).collect(),
                away_permille: 0,
                shed_permille: 0,
                at_risk: None,
                cannot_fail_over: None,
                rate: None,
                why: None,
                changed_at_ms: None,
            },
            pools: places.iter().flat_map(|at| ZONES.map(|zone| pool(*at, zone))).collect(),
            plans: ZONES.iter().map(plan).collect(),
            timeline: self.events.iter().filter(|it| it.service.as_ref() == Some(&name)).cloned().collect(),
            policy: ["failback.holdDown", "failback.rampUp", "trip.healthyBelow"].map(field).to_vec(),
            told_by: vec![(cluster_name(number), now_micros() / 1000)],
            missing: Vec::new(),
        }
    }
}

fn pool_name(service: usize, zone: &str) -> proto::PoolName {
    proto::PoolName { service: name(service).to_string(), zone: zone.to_owned() }
}

fn region(cluster: usize) -> String {
    format!("region-{}", cluster % 10)
}

/// Of each region, cluster, and zone of a region: what an agent says for its own callers.
fn foresight(clusters: usize) -> Foresight {
    let regions = (0..10).map(|it| format!("region {}", region(it)));
    let zones = (0..10).flat_map(|it| ZONES.map(|zone| format!("zone {zone} of {}", region(it))));
    let lost = regions.chain(zones).chain((0..clusters).map(|it| format!("cluster {}", cluster(it))));
    let flow = |to: usize| Flow {
        from: place(0, ZONES[0]),
        to: place(to % clusters, ZONES[1]),
        rate: Some(100.0),
        failed: Some(0.0),
        services: 30,
        standing: Standing::Good,
    };
    let loss = |lost: String| LossFacts {
        holds: true,
        unserved: Vec::new(),
        unserved_services: 0,
        places: (0..4).map(|it| (place(it % clusters, ZONES[0]), Some(300), Some(450))).collect(),
        before: (0..4).map(flow).collect(),
        after: (0..6).map(flow).collect(),
        sentences: (0..4).map(|it| format!("{it} services of {lost} go to the next zone")).collect(),
        lost: vec![lost],
    };
    Foresight { holds: true, findings: Vec::new(), losses: lost.map(loss).collect(), age_ms: Some(500) }
}

impl Estate for Large {
    fn all(&self, number: usize) -> proto::Status {
        let mut cluster = self.cluster(number);
        cluster.news.clear();
        let gateway = |zone: &str| proto::Gateway {
            node: format!("{}-{zone}", self::cluster(number)),
            gateway: "edge/edge".to_owned(),
            zone: zone.to_owned(),
            connected: true,
            applied: 1,
            refused: Vec::new(),
        };
        let others = (0..self.clusters.len()).filter(|it| *it != number);
        let peer = |it: usize| proto::Peer {
            cluster: self::cluster(it),
            state: "Reachable".to_owned(),
            rtt_ms: Some(3.5),
        };
        let mut status = proto::Status {
            full: true,
            gateways: ZONES.map(gateway).to_vec(),
            region: region(number),
            peers: Some(proto::Peers { peers: others.map(peer).collect() }),
            shifts: Some(proto::Shifts::default()),
            flows: ZONES.map(flow).to_vec(),
            rates: cluster.services.iter().map(|it| Cluster::rate(*it)).collect(),
            ..proto::Status::default()
        };
        let services = cluster.services.iter().copied().collect();
        cluster.tell(number, &services, &mut status);
        status.removed_plans.clear();
        status
    }

    fn news(&self, number: usize, turn: usize) -> Option<proto::Status> {
        let mut cluster = self.cluster(number);
        let mut status =
            proto::Status { decisions: std::mem::take(&mut cluster.decisions), ..Default::default() };
        let news = std::mem::take(&mut cluster.news);
        cluster.tell(number, &news, &mut status);
        // What is asked for moves all the time.
        let moved = |every: usize| {
            cluster.services.iter().copied().filter(move |it| (it + turn).is_multiple_of(every))
        };
        status.pools.extend(moved(LOAD_MOVES).map(|it| cluster.pool(number, it, ZONES[1])));
        status.rates.extend(moved(RATE_MOVES).map(Cluster::rate));
        status.flows.push(flow(ZONES[turn % ZONES.len()]));
        Some(status)
    }

    fn answers(&self) -> bool {
        true
    }

    fn answer(&self, number: usize, word: AgentWord) -> Option<AgentAnswer> {
        let target = match word.word {
            Some(agent_word::Word::Request(request)) => request.target,
            _ => String::new(),
        };
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let body = match path {
            "/facts/foresight" => Some(self.foresight.clone()),
            "/facts/risks" => Some(json(&Risks {
                at_risk: (0..self.services).step_by(100).map(name).collect(),
                cannot_fail_over: BTreeSet::new(),
            })),
            "/facts/timeline" => {
                let limit = query.split('&').find_map(|it| it.strip_prefix("limit=")?.parse().ok());
                let cluster = self.cluster(number);
                Some(json(&cluster.events.iter().take(limit.unwrap_or(EVENTS)).collect::<Vec<_>>()))
            }
            _ => path.strip_prefix("/facts/services/").and_then(|it| {
                let service = numbered(it).filter(|service| *service < self.services)?;
                Some(json(&self.cluster(number).facts(number, service, self.clusters.len())))
            }),
        };
        let status = if body.is_some() { 200 } else { 404 };
        let body = body.unwrap_or_else(|| b"{\"error\":\"there is no such thing here\"}".to_vec());
        Some(AgentAnswer { number: word.number, status, body })
    }
}

fn flow(zone: &str) -> proto::Flow {
    let rate = f64::from(random_range(20_000_u32..40_000));
    proto::Flow { zone: zone.to_owned(), target: format!("zone {zone}"), rate, failed: 0.0 }
}

/// By number of endpoints that are healthy, the last that a page showed of each probe.
pub(super) type Seen = BTreeMap<usize, u32>;
