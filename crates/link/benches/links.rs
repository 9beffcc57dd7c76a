//! What the peer links of an agent cost: `cargo bench -p tidegate-link --bench links -- PEERS SECONDS`.
//!
//! As between clusters that joined a hub: the agent observes every peer over mutual TLS with the gateway of that peer, and is
//! observed by all of them through its own east-west gateway, which leads their streams on over a few connections. The peers are
//! threads of this process, too; what is counted is the CPU time of the agent's threads alone. It has no loop, engine and Envoy here.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark talks on its terminal"
)]

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tidegate_link::{
    CLIENT_HEADER, LinkEvent, PeerAddresses, PeerClient, PeerClientConfig, PeerEvent, PeerServer,
    SERIAL_HEADER,
    identity::{
        Authority, Clock, Credentials, Expect, Identity, Party, PrivateKey, Refusals, Serial, SystemClock,
        TrustBundle, TrustDomain, accept,
    },
    proto::{Beat, WatchRequest, peer_link_client::PeerLinkClient},
};
use tidegate_model::{ClusterName, PeerBoot};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::{interval_at, sleep},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request,
    transport::{Channel, Endpoint, Server},
};

const DAY: Duration = Duration::from_secs(86_400);
const BEAT: Duration = Duration::from_millis(100);
/// The threads of the agent, and those of its peers.
const AGENT: &str = "agent";
const PEERS: &str = "peers";
/// The thread that the links have of the agent's.
const LINKS: &str = "peer-links";
/// An Envoy has a connection for each of its workers.
const CONNECTIONS: usize = 2;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|it| it.parse::<usize>().ok());
    let (peers, seconds) = (numbers.next().unwrap_or(100), numbers.next().unwrap_or(60));
    let span = Duration::from_secs(u64::try_from(seconds).unwrap());
    let (fleet, stop) = (Fleet::new(), CancellationToken::new());
    let (far, near) = (runtime(PEERS), runtime(AGENT));
    let home: ClusterName = "home".parse().unwrap();
    let (identity, _) = fleet.identity(&Party::Agent(home.clone()));

    let owners = far.block_on(async {
        let mut owners = PeerAddresses::new();
        for number in 0..peers {
            owners.insert(name(number), vec![owner(&fleet, number, &stop).await]);
        }
        owners
    });
    near.block_on(observe(&home, owners, &identity, &stop));
    tell(&format!("observes {peers} peers"), span);

    let server =
        PeerServer::new(home, "near".parse().unwrap(), boot(peers), stop.clone()).believing(identity);
    server.publish(Vec::new());
    let listener = near.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let gateway = listener.local_addr().unwrap();
    let incoming = TcpListenerStream::new(listener);
    near.spawn(Server::builder().add_service(server.service()).serve_with_incoming(incoming));
    far.block_on(be_observed(&fleet, gateway, peers));
    tell(&format!("observes {peers} peers, and is observed by all of them"), span);
    stop.cancel();
}

fn runtime(threads: &str) -> Runtime {
    Builder::new_multi_thread().enable_all().thread_name(threads).build().unwrap()
}

fn name(number: usize) -> ClusterName {
    format!("peer-{number:03}").parse().unwrap()
}

fn boot(number: usize) -> PeerBoot {
    PeerBoot(u64::try_from(number).unwrap() + 1)
}

/// CPU time of the threads of this name so far, in seconds.
fn cpu(threads: &str) -> f64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = tasks.filter(|task| {
        let name = fs::read_to_string(task.join("comm")).unwrap();
        name.trim() == threads || (threads == AGENT && name.trim() == LINKS)
    });
    let spent = named.map(|task| {
        let stat = fs::read_to_string(task.join("schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    });
    spent.sum()
}

fn tell(what: &str, span: Duration) {
    // What the beginning cost is over by then.
    thread::sleep(Duration::from_secs(3));
    let (before, began) = (cpu(AGENT), Instant::now());
    thread::sleep(span);
    let part = (cpu(AGENT) - before) / began.elapsed().as_secs_f64();
    println!("{what}: {:.2} % of a core over {} s", part * 1e2, span.as_secs());
}

/// Who is who.
struct Fleet {
    authority: Authority,
    clock: Arc<dyn Clock>,
}

impl Fleet {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let domain: TrustDomain = "bench".parse().unwrap();
        let (certificate, key) = Authority::create(&domain, clock.now(), DAY * 2).unwrap();
        Self { authority: Authority::from_pem(domain, &certificate, &key, None).unwrap(), clock }
    }

    fn identity(&self, party: &Party) -> (Identity, Serial) {
        let (key, serial) = (PrivateKey::generate().unwrap(), Serial::of(&rand::random::<[u8; 15]>()));
        let request = key.request().unwrap();
        let issued = self.authority.issue(&request, party, &serial, self.clock.now(), DAY).unwrap();
        let roots = [self.authority.root().clone()];
        let bundle = TrustBundle::new(self.authority.trust_domain().clone(), roots).unwrap();
        let credentials = Credentials::new(issued.chain, &key, bundle).unwrap();
        (Identity::new(credentials, Refusals::default(), Arc::clone(&self.clock)), serial)
    }
}

/// A peer that is observed: its agent, behind the TLS of its gateway.
async fn owner(fleet: &Fleet, number: usize, stop: &CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = PeerServer::new(name(number), "far".parse().unwrap(), boot(number), stop.clone());
    server.publish(Vec::new());
    let (identity, _) = fleet.identity(&Party::Gateway(name(number)));
    let config = identity.server(Expect::AnyAgent, false).unwrap();
    let incoming = accept(listener, config, Refusals::default(), stop.clone());
    tokio::spawn(Server::builder().add_service(server.service()).serve_with_incoming(incoming));
    address
}

/// The agent begins to observe; comes back when it has heard all.
async fn observe(home: &ClusterName, owners: PeerAddresses, identity: &Identity, stop: &CancellationToken) {
    let peers = owners.len();
    let config = PeerClientConfig {
        own: home.clone(),
        boot: boot(peers),
        peers: owners,
        origin: Instant::now(),
        identity: Some(identity.clone()),
    };
    let (events, mut heard) = mpsc::channel(1024);
    // It lives until it is stopped; nobody has to steer it.
    PeerClient::start(config, events, stop.clone()).unwrap();
    let mut reached = 0;
    while reached < peers {
        let event = heard.recv().await.unwrap();
        let is_reached = matches!(event, LinkEvent::Liveness { event: PeerEvent::Reachable { .. }, .. });
        reached += usize::from(is_reached);
    }
    tokio::spawn(async move { while heard.recv().await.is_some() {} });
}

/// All peers observe the agent; comes back when each has heard it.
async fn be_observed(fleet: &Fleet, gateway: SocketAddr, peers: usize) {
    let mut ways = Vec::new();
    for _ in 0..CONNECTIONS {
        ways.push(Endpoint::from_shared(format!("http://{gateway}")).unwrap().connect().await.unwrap());
    }
    let (hears, mut heard) = mpsc::channel(peers);
    for number in 0..peers {
        let (_, serial) = fleet.identity(&Party::Agent(name(number)));
        let way = ways[number % CONNECTIONS].clone();
        tokio::spawn(observer(number, way, serial.to_string(), hears.clone()));
    }
    for _ in 0..peers {
        heard.recv().await.unwrap();
    }
}

/// A peer that observes, as the agent's own gateway leads it on.
async fn observer(number: usize, way: Channel, serial: String, hears: mpsc::Sender<()>) {
    let who = format!("URI=spiffe://bench/cluster/{}/agent", name(number));
    let mut client = PeerLinkClient::with_interceptor(way, move |mut request: Request<()>| {
        request.metadata_mut().insert(CLIENT_HEADER, who.parse().unwrap());
        request.metadata_mut().insert(SERIAL_HEADER, serial.parse().unwrap());
        Ok(request)
    });
    let (cluster, boot_id) = (name(number).to_string(), boot(number).0);
    let (watch, requests) = mpsc::channel(1);
    watch.send(WatchRequest { cluster: cluster.clone(), boot_id, acked_version: 0 }).await.unwrap();
    let mut statuses = client.watch(ReceiverStream::new(requests)).await.unwrap().into_inner();
    statuses.message().await.unwrap().unwrap();
    sleep(BEAT.mul_f64(rand::random())).await;
    let beat = |seq, echo_seq| Beat { cluster: cluster.clone(), boot_id, seq, echo_seq, falls: 0 };
    let (out, requests) = mpsc::channel(2);
    out.send(beat(1, 0)).await.unwrap();
    let mut inbound = client.heartbeat(ReceiverStream::new(requests)).await.unwrap().into_inner();
    let mut beats = interval_at(tokio::time::Instant::now() + BEAT, BEAT);
    let (mut seq, mut seen) = (1, 0);
    loop {
        tokio::select! {
            _ = beats.tick() => {
                seq += 1;
                if out.send(beat(seq, seen)).await.is_err() {
                    return;
                }
            }
            // It ends with the agent.
            answer = inbound.message() => match answer {
                Ok(Some(answer)) => {
                    if seen == 0 {
                        hears.send(()).await.unwrap();
                    }
                    seen = answer.seq;
                }
                _ => return,
            },
        }
    }
}
