//! Two clusters that joined a hub, with their Envoys: `us-east`, whose endpoints are all dead, reached by TCP, and `eu-west`,
//! which serves, on a Unix socket, with Envoys that ask for the state of the world.

use super::{
    backend,
    command::{Running, run, tidegate},
    hub::{Agent, Hub, Place, agent_command},
    wait_until,
};
use serde_json::Value;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) const EAST: &str = "us-east";
pub(crate) const WEST: &str = "eu-west";
pub(crate) const DOMAIN: &str = "fleet.example";

pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An HTTP GET on a connection of its own: the status line and the rest, or nothing if none came.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

/// How many requests there were, how many failed, and how long the longest took, in milliseconds.
pub(crate) type Counts = (AtomicU64, AtomicU64, AtomicU64);

/// Sends requests one after the other, each on a connection of its own, until told to stop.
pub(crate) fn load(edge: SocketAddr) -> (Arc<AtomicBool>, Arc<Counts>) {
    load_at(edge, "/")
}

/// The same for another path.
pub(crate) fn load_at(edge: SocketAddr, path: &'static str) -> (Arc<AtomicBool>, Arc<Counts>) {
    let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
    let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&counts));
    std::thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            let asked = Instant::now();
            let served = get(edge, path).is_some_and(|it| it.starts_with("HTTP/1.1 200"));
            counted.0.fetch_add(1, Ordering::SeqCst);
            counted.1.fetch_add(u64::from(!served), Ordering::SeqCst);
            counted.2.fetch_max(u64::try_from(asked.elapsed().as_millis()).unwrap(), Ordering::SeqCst);
        }
    });
    (stop, counts)
}

/// An Envoy with who runs it. Told to end, that one ends its Envoy in order.
pub(crate) struct Gateway(pub(crate) Running);

impl Drop for Gateway {
    fn drop(&mut self) {
        self.0.signal(rustix::process::Signal::TERM);
        self.0.ended();
    }
}

pub(crate) struct Side {
    pub(crate) agent: Agent,
    /// As its Envoys dial it.
    pub(crate) listen: String,
    pub(crate) edge: SocketAddr,
    pub(crate) eastwest: SocketAddr,
    pub(crate) edge_admin: SocketAddr,
    /// The edge and the east-west one.
    pub(crate) envoys: Vec<Gateway>,
}

impl Side {
    pub(crate) fn status(&self) -> Value {
        let ran = run(["status", "-o", "json", "--admin", &self.agent.admin.to_string()]);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// How the link to the other cluster stands.
    pub(crate) fn link(&self) -> String {
        self.status()["peers"][0]["links"][0].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn until_link(&self, words: &str) -> String {
        wait_until(&format!("a link that is {words}"), || Some(self.link()).filter(|it| it.contains(words)))
    }

    /// How often somebody was refused, by the metrics.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        let text = get(self.agent.admin, "/metrics").unwrap();
        let line = format!("tidegate_refusals_total{{reason=\"{reason}\"}} ");
        text.lines().find_map(|it| it.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }
}

pub(crate) struct Pair {
    pub(crate) place: Place,
    pub(crate) hub: Hub,
    pub(crate) east: Side,
    pub(crate) west: Side,
}

fn cluster(name: &str, region: &str, eastwest: SocketAddr) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: {name}}}\nspec:\n  region: {region}\n  \
         eastWestGateways: [{{address: {}, port: {}}}]\n---\n",
        eastwest.ip(),
        eastwest.port()
    )
}

fn gateway(name: &str, at: SocketAddr) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         gatewayClassName: tidegate-{name}\n  addresses: [{{type: IPAddress, value: {}}}]\n  \
         listeners: [{{name: http, port: {}, protocol: HTTP}}]\n",
        at.ip(),
        at.port()
    )
}

fn manifests(edge: SocketAddr, eastwest: SocketAddr, endpoint: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80, targetPort: {port}}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: {port}}}]\nendpoints: [{{addresses: [{ip}], zone: a, conditions: {{ready: true}}}}]\n\
         {}{}---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         parentRefs: [{{name: edge}}]\n  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]\n",
        gateway("edge", edge),
        gateway("eastwest", eastwest),
        ip = endpoint.ip(),
        port = endpoint.port(),
    )
}

/// The certificate of a gateway's Envoys, made as a user does.
pub(crate) fn certificate(state: &Path, gateway: &str, out: &Path, more: &[&str]) {
    let mut command = tidegate();
    command.args(["envoy", "certificate", "--gateway", gateway]).args(more);
    let ran = super::command::finish(command.arg("--state-dir").arg(state).arg("--out").arg(out));
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

impl Pair {
    pub(crate) fn start(envoy: &Path, more: &[&str]) -> Self {
        Self::start_with(envoy, more, free())
    }

    /// With endpoints that serve on both sides.
    pub(crate) fn start_whole(envoy: &Path, more: &[&str]) -> Self {
        Self::start_with(envoy, more, backend::start("127.0.0.1"))
    }

    fn start_with(envoy: &Path, more: &[&str], endpoint: SocketAddr) -> Self {
        Self::start_by(envoy, endpoint, |place, policy| {
            place.write("fleet.yaml", policy);
            Hub::start(place, "127.0.0.1:0", &[&["--trust-domain", DOMAIN], more].concat())
        })
    }

    /// The same with another hub, which is handed this policy.
    pub(crate) fn start_by(
        envoy: &Path,
        endpoint: SocketAddr,
        hub: impl FnOnce(&Place, &str) -> Hub,
    ) -> Self {
        let place = Place::new();
        let (east, west) = ((free(), free(), endpoint), (free(), free(), backend::start("127.0.0.1")));
        let policy = "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {name: fleet, namespace: shop}\nspec:\n  \
            targetRefs: [{group: tidegate.dev, kind: Fleet, name: default}]\n  healthCheck: {active: {type: TCP, interval: 1s}}\n";
        let fleet = [cluster(EAST, "us", east.1), cluster(WEST, "eu", west.1), policy.to_owned()].concat();
        let hub = hub(&place, &fleet);
        let socket = format!("unix:{}", place.at("west.sock").display());
        let east = side(&place, &hub, envoy, EAST, "127.0.0.1:0", east);
        let west = side(&place, &hub, envoy, WEST, &socket, west);
        Self { place, hub, east, west }
    }

    /// Waits until a request that enters in the east is served in the west.
    pub(crate) fn until_served(&self) {
        wait_until("an answer from the other cluster", || {
            get(self.east.edge, "/").filter(|it| it.starts_with("HTTP/1.1 200"))
        });
    }
}

fn side(
    place: &Place,
    hub: &Hub,
    envoy: &Path,
    name: &str,
    listen: &str,
    (edge, eastwest, endpoint): (SocketAddr, SocketAddr, SocketAddr),
) -> Side {
    let folder = place.at(&format!("{name}-manifests"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("all.yaml"), manifests(edge, eastwest, endpoint)).unwrap();
    let mut command = agent_command(&place.at(name), Some(&folder), listen);
    let address = hub.listen.to_string();
    let mut agent = Agent::start(command.args(["--hub", &address, "--join", &hub.token(name)]));
    let listen = agent.running.until_said("where it listens", |text| {
        let line = text.lines().find(|line| line.contains("serves xDS"))?;
        Some(line.split("address=").nth(1)?.split_whitespace().next()?.trim_matches('"').to_owned())
    });
    let admins = [free(), free()];
    let envoys = ["shop/edge", "shop/eastwest"].into_iter().zip(admins).map(|(gateway, admin)| {
        let mut command = tidegate();
        command.args(["envoy", "run", "--gateway", gateway, "--zone", "a", "--concurrency", "1"]);
        command.args(["--agent", &listen, "--admin", &admin.to_string()]).arg("--envoy").arg(envoy);
        if listen.starts_with("unix:") {
            // The other form of xDS hands out secrets too.
            command.args(["--xds", "sotw"]);
        } else {
            let out: PathBuf = place.at(&format!("{name}-{}", gateway.replace('/', "-")));
            certificate(&place.at(name), gateway, &out, &[]);
            command.arg("--credentials").arg(out);
        }
        Gateway(Running::start(&mut command))
    });
    Side { envoys: envoys.collect(), agent, listen, edge, eastwest, edge_admin: admins[0] }
}
