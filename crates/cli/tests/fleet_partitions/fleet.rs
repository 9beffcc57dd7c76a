//! A hub, three clusters in two regions that joined it, their Envoys, toy services and a load on each edge: each site in a
//! network namespace of its own.
//!
//! | service | is in | so |
//! |---|---|---|
//! | `shop/web` | c1, c2, c3 | no request needs another cluster |
//! | `shop/front` | c1, c2 | requests that enter in c3 go to both, over the sea |
//! | `shop/desk` | c2, c3 | requests that enter in c1 go to c2, in their region; c3 stands by |

use super::{
    clocks::WrongClocks,
    delay::Late,
    manifests::{manifests, policy},
    net::{Namespace, Net, address},
    support::{
        LIMIT, PAUSE,
        command::{Running, finish, tidegate},
        hub::Place,
        pair::certificate,
        proc, wait_until,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tidegate_lab::{
    clock::LabClock,
    fetch,
    fleet::agent::{self, AgentEvent, PlanView, Shares},
    load::{Load, LoadMethod, LoadSpec, LoadTarget, Samples},
    toy::{Ledger, Toy, ToyMode, ToySpec},
};
use tidegate_model::Time;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub(crate) const CLUSTERS: [&str; 3] = ["c1", "c2", "c3"];
pub(crate) const REGIONS: [(&str, &str); 3] = [("c1", "us-east"), ("c2", "us-east"), ("c3", "eu-west")];
pub(crate) const SERVICES: [(&str, &[&str]); 3] =
    [("web", &["c1", "c2", "c3"]), ("front", &["c1", "c2"]), ("desk", &["c2", "c3"])];
const AGENT_ADMIN: u16 = 18_001;
const HUB_ADMIN: &str = "127.0.0.1:18101";
pub(crate) const EDGE_PORT: u16 = 8080;
pub(crate) const EAST_WEST_PORT: u16 = 15_443;
/// The east-west gateways that a cluster may have, each on an address and an administration port of its own.
const EAST_WESTS: [&str; 3] = ["eastwest", "eastwest-2", "eastwest-3"];
const ANSWER: Duration = Duration::from_secs(2);

/// What a fleet is to be able to do.
pub(crate) struct Setup {
    /// More flags of the hub.
    pub(crate) hub_flags: &'static [&'static str],
    /// How late what goes between c1 and c3 is from the start, each way, if that is to be set.
    pub(crate) late: Option<Duration>,
    /// Requests per second on each edge, over all services.
    pub(crate) rate_rps: u32,
    /// East-west gateways of c1; the other clusters have one.
    pub(crate) east_wests: usize,
    /// Clusters whose agents and Envoys have a clock that is wrong.
    pub(crate) wrong_clocks: Option<WrongClocks>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { hub_flags: &[], late: None, rate_rps: 50, east_wests: 1, wrong_clocks: None }
    }
}

/// Two fleets at once would measure each other.
static TURN: Mutex<()> = Mutex::new(());

/// An Envoy with who runs it. Told to end, that one ends its Envoy in order.
pub(crate) struct Gateway(Running);

impl Gateway {
    /// Kills the Envoy itself.
    pub(crate) fn kill(&mut self) {
        for child in proc::descendants(self.0.id()) {
            // It may be gone already.
            let _ = kill_process(Pid::from_raw(child.id).unwrap(), Signal::KILL);
        }
        self.0.ended();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap(), Signal::TERM);
        self.0.ended();
    }
}

/// Who serves, by service and source, as an agent has it.
pub(crate) type Plans = BTreeMap<(String, String), Shares>;

// Fields are dropped in order: what runs ends before its namespace goes.
pub(crate) struct Fleet {
    loads: BTreeMap<&'static str, Load>,
    gateways: BTreeMap<(&'static str, &'static str), Gateway>,
    agents: BTreeMap<&'static str, Running>,
    hub: Option<Running>,
    toys: Vec<Arc<Toy>>,
    pub(crate) net: Net,
    pub(crate) place: Place,
    pub(crate) clock: LabClock,
    /// How late what goes between c1 and c3 is, if that can be set.
    pub(crate) late: Option<Late>,
    envoy: PathBuf,
    hub_flags: Vec<&'static str>,
    rate_rps: u32,
    east_wests: usize,
    wrong_clocks: Option<WrongClocks>,
    /// The plans of a fleet without a fault.
    homes: BTreeMap<&'static str, Plans>,
    _turn: MutexGuard<'static, ()>,
}

impl Fleet {
    /// Starts it all, with a load on each edge, and waits until it serves as it does without a fault. `None` after saying that
    /// the test was skipped.
    pub(crate) fn start(test: &str, setup: &Setup) -> Option<Self> {
        let envoy = super::support::envoy(test)?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fleet = Self {
            loads: BTreeMap::new(),
            gateways: BTreeMap::new(),
            agents: BTreeMap::new(),
            hub: None,
            toys: Vec::new(),
            net: Net::new(test, &["hub", "c1", "c2", "c3"])?,
            place: Place::new(),
            clock: LabClock::start(),
            late: None,
            envoy,
            hub_flags: setup.hub_flags.to_vec(),
            rate_rps: setup.rate_rps,
            east_wests: setup.east_wests,
            wrong_clocks: setup.wrong_clocks.clone(),
            homes: BTreeMap::new(),
            _turn: turn,
        };
        fleet.late = setup.late.map(|late| fleet.net.lengthen("c1", "c3", EAST_WEST_PORT, late));
        fleet.place.write(
            "fleet.yaml",
            &policy(|cluster| u8::try_from(fleet.east_wests_of(cluster).len()).unwrap()),
        );
        fleet.start_hub();
        for cluster in CLUSTERS {
            fleet.start_toys(cluster);
            let token = fleet.ask_hub(&["cluster", "join-token", cluster, "--ttl", "1h"]);
            fleet.start_agent(cluster, &["--join", token.trim()]);
            for gateway in ["edge"].iter().chain(fleet.east_wests_of(cluster)) {
                let (state, out) = (fleet.place.at(cluster), fleet.place.at(&format!("{cluster}-{gateway}")));
                certificate(&state, &format!("infra/{gateway}"), &out, &[]);
                fleet.start_gateway(cluster, gateway);
            }
        }
        fleet.until_whole();
        for cluster in CLUSTERS {
            fleet.homes.insert(cluster, fleet.plans(cluster).unwrap());
            fleet.start_load(cluster);
        }
        fleet.flow(2);
        fleet.until_converged();
        Some(fleet)
    }

    pub(crate) fn start_hub(&mut self) {
        let mut command = tidegate();
        command.args(["hub", "--listen", &format!("{}:18100", address("hub", 2)), "--admin", HUB_ADMIN]);
        command.args(["--trust-domain", "fleet.example"]).args(&self.hub_flags);
        command.arg("--policies").arg(self.place.at("policies")).arg("--state-dir").arg(self.place.at("hub"));
        let mut running = Running::start(&mut self.net.site("hub").command(&command));
        running.until_said("that it serves", |text| text.contains("serves administration").then_some(()));
        self.hub = Some(running);
    }

    pub(crate) fn kill_hub(&mut self) {
        drop(self.hub.take().unwrap());
    }

    /// Asks the hub by its command line.
    pub(crate) fn ask_hub(&self, arguments: &[&str]) -> String {
        let mut command = tidegate();
        command.args(arguments).args(["--admin", HUB_ADMIN]);
        let ran = finish(&mut self.net.site("hub").command(&command));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    }

    /// Waits until `tidegate cluster list` is as `wanted` says.
    pub(crate) fn until_hub_says(&self, wanted: impl Fn(&str) -> bool, what: &str) {
        wait_until(&format!("the hub to say {what}"), || {
            wanted(&self.ask_hub(&["cluster", "list"])).then_some(())
        });
    }

    fn start_toys(&mut self, cluster: &'static str) {
        let clock = self.clock;
        let names: Vec<&str> =
            SERVICES.iter().filter(|(_, places)| places.contains(&cluster)).map(|(name, _)| *name).collect();
        let specs = names.iter().flat_map(|service| {
            ["a-0", "a-1", "b-0", "b-1"].map(|it| ToySpec {
                service: format!("shop/{service}").parse().unwrap(),
                cluster: cluster.parse().unwrap(),
                zone: format!("{cluster}{}", &it[..1]).parse().unwrap(),
                name: format!("{service}-{cluster}{it}"),
                ip: address(cluster, 2).parse().unwrap(),
            })
        });
        let specs: Vec<ToySpec> = specs.collect();
        let toys = self.net.site(cluster).run(async move {
            let ledger = Ledger::new();
            specs.into_iter().map(|it| Toy::start(it, &ledger, clock).unwrap()).collect::<Vec<_>>()
        });
        let folder = self.place.at(&format!("{cluster}-manifests"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("all.yaml"), manifests(cluster, self.east_wests_of(cluster), &toys)).unwrap();
        self.toys.extend(toys.into_iter().map(Arc::new));
    }

    pub(crate) fn start_agent(&mut self, cluster: &'static str, more: &[&str]) {
        let mut command = tidegate();
        command.args(["agent", "--listen", &format!("{}:18000", address(cluster, 2))]);
        command.args(["--admin", &format!("127.0.0.1:{AGENT_ADMIN}")]).args(more);
        command.args(["--hub", &format!("{}:18100", address("hub", 2))]);
        command.arg("--state-dir").arg(self.place.at(cluster));
        command.arg("--manifests").arg(self.place.at(&format!("{cluster}-manifests")));
        self.set_clock(cluster, &mut command);
        let mut agent = Running::start(&mut self.site(cluster).command(&command));
        agent.until_said("that it is ready", |text| text.contains("ready: gateways").then_some(()));
        self.agents.insert(cluster, agent);
    }

    pub(crate) fn kill_agent(&mut self, cluster: &str) {
        drop(self.agents.remove(cluster).unwrap());
    }

    pub(crate) fn signal_agent(&self, cluster: &str, signal: Signal) {
        self.agents[cluster].signal(signal);
    }

    /// Waits until an agent has said this in its log.
    pub(crate) fn until_said(&self, cluster: &str, text: &str) {
        wait_until(&format!("{cluster} to say {text:?}"), || {
            self.agents[cluster].said().contains(text).then_some(())
        });
    }

    pub(crate) fn start_gateway(&mut self, cluster: &'static str, gateway: &'static str) {
        let admin = format!("127.0.0.1:{}", envoy_admin(gateway));
        let mut command = tidegate();
        command.args(["envoy", "run", "--gateway", &format!("infra/{gateway}"), "--concurrency", "1"]);
        command.args(["--zone", &format!("{cluster}a"), "--admin", &admin]);
        command.args(["--agent", &format!("{}:18000", address(cluster, 2))]);
        command.arg("--credentials").arg(self.place.at(&format!("{cluster}-{gateway}")));
        command.arg("--envoy").arg(&self.envoy);
        self.set_clock(cluster, &mut command);
        let running = Running::start(&mut self.site(cluster).command(&command));
        self.gateways.insert((cluster, gateway), Gateway(running));
    }

    /// Kills an Envoy at once.
    pub(crate) fn kill_gateway(&mut self, cluster: &'static str, gateway: &'static str) {
        self.gateways.remove(&(cluster, gateway)).unwrap().kill();
    }

    /// Ends an Envoy as an operator does.
    pub(crate) fn stop_gateway(&mut self, cluster: &'static str, gateway: &'static str) {
        drop(self.gateways.remove(&(cluster, gateway)).unwrap());
    }

    /// The east-west gateways of a cluster.
    pub(crate) fn east_wests_of(&self, cluster: &str) -> &'static [&'static str] {
        &EAST_WESTS[..if cluster == "c1" { self.east_wests } else { 1 }]
    }

    fn set_clock(&self, cluster: &str, command: &mut Command) {
        if let Some(clocks) = &self.wrong_clocks {
            clocks.set(cluster, command);
        }
    }

    /// When an agent says that something happened, by the clock of the test.
    pub(crate) fn told_at(&self, cluster: &str, event: &AgentEvent) -> Time {
        let minutes = self.wrong_clocks.as_ref().map_or(0, |it| it.ahead_of(cluster));
        let right = event.unix_micros.checked_add_signed(-60_000_000 * i64::from(minutes));
        self.clock.from_unix_micros(right.unwrap())
    }

    /// How all endpoints of a service in a cluster behave from now on.
    pub(crate) fn set_toys(&self, cluster: &str, service: &str, mode: ToyMode) {
        for toy in self.toys_of(cluster, service) {
            let toy = Arc::clone(toy);
            self.site(cluster).run(async move { toy.set(mode).await.unwrap() });
        }
    }

    /// Where the endpoints of a service in a cluster listen.
    pub(crate) fn addresses(&self, cluster: &str, service: &str) -> BTreeSet<String> {
        self.toys_of(cluster, service).map(|it| it.address().to_string()).collect()
    }

    fn toys_of(&self, cluster: &str, service: &str) -> impl Iterator<Item = &Arc<Toy>> {
        self.toys
            .iter()
            .filter(move |toy| toy.spec().cluster.as_str() == cluster && toy.spec().service.name() == service)
    }

    /// What an Envoy answers on its administration port.
    pub(crate) fn ask_envoy(&self, cluster: &str, gateway: &str, path: &str) -> Value {
        let (admin, path) = (socket("127.0.0.1", envoy_admin(gateway)), path.to_owned());
        self.site(cluster).run(async move { fetch::get_json(admin, &path, ANSWER).await.unwrap() })
    }

    /// All that the edge of a cluster answers to a request for a host, headers included.
    pub(crate) fn whole_answer(&self, cluster: &str, host: &str) -> String {
        let edge = socket(&address(cluster, 2), EDGE_PORT);
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        self.site(cluster).run(async move {
            let mut stream = TcpStream::connect(edge).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        })
    }

    /// Waits until an east-west gateway that was started serves, and the other clusters hear this one through it and all others.
    pub(crate) fn until_linked(&self, cluster: &str, gateway: &str) {
        let (admin, site) = (socket("127.0.0.1", envoy_admin(gateway)), self.site(cluster));
        wait_until(&format!("{gateway} of {cluster} to serve"), || {
            let info = site.run(async move { fetch::get_json(admin, "/server_info", ANSWER).await.ok() })?;
            (info["state"] == "LIVE").then_some(())
        });
        let links = self.east_wests_of(cluster).len();
        for other in CLUSTERS.iter().filter(|it| **it != cluster) {
            wait_until(&format!("{other} to hear {cluster} through {links} gateways"), || {
                let status = self.ask(other, "/api/v1/status")?;
                let peer = status["peers"].as_array()?.iter().find(|it| it["cluster"] == cluster)?;
                let beating = |it: &&Value| it.as_str().is_some_and(|it| it.contains("beating"));
                (peer["links"].as_array()?.iter().filter(beating).count() == links).then_some(())
            });
        }
    }

    /// The process of an agent.
    pub(crate) fn agent_id(&self, cluster: &str) -> u32 {
        self.agents[cluster].id()
    }

    /// Asks an agent by its command line.
    pub(crate) fn ask_agent(&self, cluster: &str, arguments: &[&str]) -> String {
        let mut command = tidegate();
        command.args(arguments).args(["--admin", &format!("127.0.0.1:{AGENT_ADMIN}")]);
        let ran = finish(&mut self.site(cluster).command(&command));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    }

    fn start_load(&mut self, cluster: &'static str) {
        let services = SERVICES.map(|(name, _)| LoadTarget {
            service: format!("shop/{name}").parse().unwrap(),
            host: format!("{name}.shop.example"),
            path: "/".to_owned(),
        });
        let spec = LoadSpec {
            label: cluster.to_owned(),
            target: socket(&address(cluster, 2), EDGE_PORT),
            services: services.into(),
            rate_rps: self.rate_rps,
            method: LoadMethod::Get,
            in_flight_limit: 1000,
            timeout: Duration::from_secs(10),
        };
        let clock = self.clock;
        let load = self.site(cluster).run(async move { Load::start(spec, clock).unwrap() });
        self.loads.insert(cluster, load);
    }

    /// All requests that entered in a cluster so far.
    pub(crate) fn requests(&self, cluster: &str) -> Samples {
        self.loads[cluster].samples()
    }

    /// Lets so many seconds' worth of requests come to their end on each edge.
    pub(crate) fn flow(&self, seconds: u32) {
        let ended = |cluster: &&str| self.requests(cluster).requests.len();
        let more = usize::try_from(self.rate_rps * seconds).unwrap();
        let wanted = CLUSTERS.each_ref().map(|it| ended(it) + more);
        wait_until("requests to come to their end", || {
            CLUSTERS.iter().zip(wanted).all(|(it, wanted)| ended(it) >= wanted).then_some(())
        });
    }

    pub(crate) fn site(&self, cluster: &str) -> &Namespace {
        self.net.site(cluster)
    }

    /// What an agent answers on its admin address, if it answers.
    pub(crate) fn ask(&self, cluster: &str, path: &str) -> Option<Value> {
        let (admin, path) = (socket("127.0.0.1", AGENT_ADMIN), path.to_owned());
        self.site(cluster).run(async move { fetch::get_json(admin, &path, ANSWER).await.ok() })
    }

    /// What an agent has reported since its start, if it answers.
    pub(crate) fn events(&self, cluster: &str) -> Option<Vec<AgentEvent>> {
        let mut all: Vec<AgentEvent> = Vec::new();
        loop {
            let after = all.last().map_or(0, |last| last.seq);
            let page = agent::events(&self.ask(cluster, &format!("/api/v1/decisions?after={after}"))?);
            if page.last().is_none_or(|last| last.seq <= after) {
                return Some(all);
            }
            all.extend(page);
        }
    }

    pub(crate) fn plans(&self, cluster: &str) -> Option<Plans> {
        let plans = agent::plans(&self.ask(cluster, "/api/v1/status")?).into_iter();
        Some(plans.map(|PlanView { service, source, shares }| ((service, source), shares)).collect())
    }

    /// All pools are in reach and serve, all peers are heard, all gateways are there: no plan is asked for.
    fn until_whole(&self) {
        for cluster in CLUSTERS {
            wait_until(&format!("{cluster} to be whole"), || self.not_whole(cluster).is_none().then_some(()));
        }
    }

    /// What keeps a cluster from being as it is without a fault.
    fn not_whole(&self, cluster: &str) -> Option<String> {
        let Some(status) = self.ask(cluster, "/api/v1/status") else {
            return Some(format!("{cluster} does not answer"));
        };
        let entries = |name: &str| status[name].as_array().cloned().unwrap_or_default();
        let peers = entries("peers");
        if peers.len() != 2 || peers.iter().any(|it| it["state"] != "Reachable") {
            return Some(format!("peers of {cluster}: {}", status["peers"]));
        }
        let pools = agent::pools(&status);
        let wanted: usize = SERVICES.iter().map(|(_, places)| places.len() * 2).sum();
        if let Some(pool) = pools.iter().find(|it| it.phase != "Serving" || it.reach < 1.0) {
            return Some(format!("a pool in {cluster}: {pool:?}"));
        }
        let gateways = entries("gateways").iter().filter(|it| it["connected"] == true).count();
        (pools.len() != wanted || gateways != 1 + self.east_wests_of(cluster).len())
            .then(|| format!("{cluster} has {} pools and {gateways} gateways", pools.len()))
    }

    /// What is not as it was before any fault.
    pub(crate) fn not_converged(&self) -> Option<String> {
        CLUSTERS.iter().find_map(|cluster| {
            self.not_whole(cluster).or_else(|| {
                let plans = self.plans(cluster)?;
                (plans != self.homes[*cluster]).then(|| format!("the plans of {cluster}: {plans:?}"))
            })
        })
    }

    /// Waits until all is as it was before any fault.
    pub(crate) fn until_converged(&self) {
        let end = Instant::now() + LIMIT;
        while let Some(why) = self.not_converged() {
            assert!(Instant::now() < end, "not converged after {LIMIT:?}: {why}");
            std::thread::sleep(PAUSE);
        }
    }
}

fn socket(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn envoy_admin(gateway: &str) -> u16 {
    let number = EAST_WESTS.iter().position(|it| *it == gateway).map_or(0, |it| it + 1);
    19_000 + u16::try_from(number).unwrap()
}
