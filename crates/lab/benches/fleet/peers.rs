//! A hundred peers of one agent, in this process: owners that it observes, and observers that it answers. They speak plain
//! HTTP/2, as agents without a hub do.

use anyhow::{Context as _, Result, bail};
use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tidegate_lab::{
    fetch,
    net::Loopback,
    process::{Child, ChildSpec},
};
use tidegate_link::{LinkEvent, PeerAddresses, PeerClient, PeerClientConfig, PeerServer};
use tidegate_model::{ClusterName, PeerBoot};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};

const OWN: &str = "home";
/// How long anything may take to come about.
const LIMIT: Duration = Duration::from_secs(60);

/// What an agent with peers used, as parts of a core.
#[derive(Debug, serde::Serialize)]
pub(crate) struct PeerLinks {
    pub(crate) peers: usize,
    /// With no peer at all.
    pub(crate) alone_cpu: f64,
    /// While it observes all of them.
    pub(crate) observing_cpu: f64,
    /// While all of them observe it, too.
    pub(crate) both_cpu: f64,
    pub(crate) rss_mb: f64,
}

/// Measures each for `span`.
pub(crate) async fn measure(
    tidegate: &Path,
    files: &Path,
    peers: usize,
    span: Duration,
) -> Result<PeerLinks> {
    let stop = CancellationToken::new();
    let _guard: DropGuard = stop.clone().drop_guard();
    let mut gateways = PeerAddresses::new();
    for number in 0..peers {
        let name: ClusterName = format!("peer-{number:03}").parse()?;
        gateways.insert(name.clone(), vec![owner(name, number, &stop).await?]);
    }
    let mut agent = Agent::start(tidegate, files, "alone", &PeerAddresses::new()).await?;
    let alone_cpu = agent.cpu(span).await?;
    agent.child.kill().await?;
    let mut agent = Agent::start(tidegate, files, "agent", &gateways).await?;
    agent.until_reachable(peers).await?;
    let observing_cpu = agent.cpu(span).await?;
    let (events, mut heard) = mpsc::channel(1024);
    for number in 0..peers {
        observe(number, agent.listen, events.clone(), stop.clone())?;
    }
    drop(events);
    let mut reached = 0;
    while reached < peers {
        let event = tokio::time::timeout(LIMIT, heard.recv()).await?.context("no observer is left")?;
        if let LinkEvent::Liveness { event: tidegate_link::PeerEvent::Reachable { .. }, .. } = event {
            reached += 1;
        }
    }
    tokio::spawn(async move { while heard.recv().await.is_some() {} });
    let both_cpu = agent.cpu(span).await?;
    let rss_mb = agent.child.usage()?.rss_mb;
    agent.child.kill().await?;
    Ok(PeerLinks { peers, alone_cpu, observing_cpu, both_cpu, rss_mb })
}

async fn owner(name: ClusterName, number: usize, stop: &CancellationToken) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = PeerServer::new(name, "far".parse()?, boot(number)?, stop.clone());
    server.publish(Vec::new());
    let router = tonic::transport::Server::builder().add_service(server.service());
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
    Ok(address)
}

fn observe(
    number: usize,
    agent: SocketAddr,
    events: mpsc::Sender<LinkEvent>,
    stop: CancellationToken,
) -> Result<()> {
    let config = PeerClientConfig {
        own: format!("peer-{number:03}").parse()?,
        boot: boot(number)?,
        peers: PeerAddresses::from([(OWN.parse()?, vec![agent])]),
        origin: Instant::now(),
        identity: None,
    };
    // It lives until it is stopped; nobody has to steer it.
    PeerClient::start(config, events, stop)?;
    Ok(())
}

fn boot(number: usize) -> Result<PeerBoot> {
    Ok(PeerBoot(u64::try_from(number)? + 1))
}

/// The real agent.
struct Agent {
    child: Child,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Agent {
    async fn start(tidegate: &Path, files: &Path, name: &str, gateways: &PeerAddresses) -> Result<Self> {
        let folder = files.join(name);
        fs::create_dir_all(folder.join("manifests"))?;
        fs::write(folder.join("manifests/clusters.yaml"), manifests(gateways)?)?;
        let loopback = Loopback::claim();
        let (listen, admin) = (loopback.reserve()?.address(), loopback.reserve()?.address());
        let mut args: Vec<std::ffi::OsString> =
            ["agent", "--exit-with-stdin", "--cluster", OWN].map(Into::into).to_vec();
        args.extend(["--manifests".into(), folder.join("manifests").into()]);
        args.extend(["--state-dir".into(), folder.join("state").into()]);
        args.extend(["--listen".into(), listen.to_string().into()]);
        args.extend(["--admin".into(), admin.to_string().into()]);
        let log_dir = files.to_owned();
        let child =
            Child::start(ChildSpec { name: name.to_owned(), program: tidegate.to_owned(), args, log_dir })?;
        let mut agent = Self { child, listen, admin };
        let limit = Instant::now() + LIMIT;
        while fetch::get(admin, None, "/healthz", LIMIT).await.is_err() {
            agent.child.check()?;
            if Instant::now() > limit {
                bail!("the agent does not answer at {admin}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(agent)
    }

    async fn until_reachable(&mut self, peers: usize) -> Result<()> {
        let limit = Instant::now() + LIMIT;
        loop {
            let status = fetch::get_json(self.admin, "/api/v1/status", LIMIT).await?;
            let all = status["peers"].as_array().map_or(0, Vec::len);
            let reachable = status["peers"].as_array().into_iter().flatten();
            let reachable = reachable.filter(|it| it["state"] == "Reachable").count();
            if (all, reachable) == (peers, peers) {
                return Ok(());
            }
            self.child.check()?;
            if Instant::now() > limit {
                bail!("{reachable} of {peers} peers are reachable; the last: {}", status["peers"][0]);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What it uses in `span`, after it had a moment to settle.
    async fn cpu(&mut self, span: Duration) -> Result<f64> {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (before, began) = (self.child.usage()?, Instant::now());
        tokio::time::sleep(span).await;
        self.child.check()?;
        Ok((self.child.usage()?.cpu_s - before.cpu_s) / began.elapsed().as_secs_f64())
    }
}

fn manifests(gateways: &PeerAddresses) -> Result<String> {
    let mut text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: {OWN}}}\nspec: {{region: near}}\n"
    );
    for (name, address) in gateways.iter().flat_map(|(name, all)| all.iter().map(move |it| (name, it))) {
        write!(
            text,
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: {name}}}\nspec:\n  region: far\n  \
             eastWestGateways: [{{address: {}, port: {}}}]\n",
            address.ip(),
            address.port()
        )?;
    }
    Ok(text)
}
