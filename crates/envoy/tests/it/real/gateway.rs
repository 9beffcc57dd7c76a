//! A real Envoy with the bootstrap and the resources of this crate.

use super::{
    ads::Ads,
    load::{ask, http1},
};
use crate::fixtures::{gateway, region, zone};
use hyper::{Method, body::Bytes};
use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tidegate_api::GatewayRole;
use tidegate_envoy::{
    AgentAddress, BootstrapSpec, Overload, Resource, XdsProtocol, bootstrap, envoy_arguments,
};
use tokio::process::{Child, Command};

/// The binary, or `None` after saying that the test was skipped. CI must have it.
pub(crate) fn envoy(test: &str) -> Option<PathBuf> {
    binary(test, "TIDEGATE_ENVOY", "1.40.0")
}

/// The same and the oldest supported release, for tests that run on both.
pub(crate) fn envoys(test: &str) -> impl Iterator<Item = PathBuf> {
    envoy(test).into_iter().chain(binary(test, "TIDEGATE_ENVOY_OLDEST", "1.36.2"))
}

fn binary(test: &str, variable: &str, version: &str) -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    let fetched = || tools.join(format!("envoy-{version}/envoy"));
    let path = std::env::var_os(variable).map_or_else(fetched, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    skipped(test, &format!("no Envoy at {} (set {variable})", path.display()));
    None
}

/// Says that a test was skipped: on stderr, and in the file from which `cargo xtask test` makes its summary.
pub(crate) fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}");
    eprintln!("{line}");
    if let Some(log) = std::env::var_os("TIDEGATE_SKIPPED") {
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        writeln!(log, "{line}").unwrap();
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{line}");
}

pub(crate) fn spec(agent: SocketAddr, role: GatewayRole) -> BootstrapSpec {
    BootstrapSpec {
        agents: vec![AgentAddress::Tcp(agent)],
        agent_tls: None,
        gateway: gateway(),
        role: Some(role),
        zone: zone("a"),
        region: Some(region()),
        cluster: Some("west".parse().unwrap()),
        admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        node_id: "edge-0".to_owned(),
        xds: XdsProtocol::Sotw,
        concurrency: Some(1),
        overload: Overload::default(),
    }
}

pub(crate) struct Gateway {
    /// Where its one listener is.
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) ads: Ads,
    folder: TempDir,
    _process: Child,
}

impl Gateway {
    /// Returns when it serves these resources, one listener among them.
    pub(crate) async fn start(envoy: &Path, role: GatewayRole, resources: Vec<Resource>) -> Self {
        Self::bearing(Overload::default(), envoy, role, resources).await
    }

    /// The same with limits of its own.
    pub(crate) async fn bearing(
        overload: Overload,
        envoy: &Path,
        role: GatewayRole,
        resources: Vec<Resource>,
    ) -> Self {
        let mut ads = Ads::start().await;
        ads.want(resources);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bootstrap.json");
        let spec = BootstrapSpec { overload, ..spec(ads.address, role) };
        std::fs::write(&file, bootstrap(&spec).to_string()).unwrap();
        let process = Command::new(envoy)
            .args(envoy_arguments(&spec))
            .args(["--log-level", "warning", "--config-path"])
            .arg(&file)
            .arg("--admin-address-path")
            .arg(folder.path().join("admin"))
            // What it writes down is awaited by tests, not by its buffer of 10 s.
            .args(["--file-flush-interval-msec", "50"])
            .stdout(Stdio::from(std::fs::File::create(folder.path().join("out")).unwrap()))
            .stderr(Stdio::from(std::fs::File::create(folder.path().join("log")).unwrap()))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        ads.applied().await;
        let admin = std::fs::read_to_string(folder.path().join("admin")).unwrap().parse().unwrap();
        let mut gateway = Self { address: admin, admin, ads, folder, _process: process };
        gateway.address = gateway.listener().await;
        gateway
    }

    /// Gives it these resources; returns when they are in force. Envoy confirms on its main thread; its
    /// worker takes updates between requests, so it has them once it has served one more.
    pub(crate) async fn update(&mut self, resources: Vec<Resource>) {
        self.ads.want(resources);
        self.ads.applied().await;
        ask(&http1(), Method::GET, format!("http://{}/", self.address), &[], Bytes::new()).await;
    }

    /// A page of its administration.
    pub(crate) async fn admin(&self, path: &str) -> String {
        ask(&http1(), Method::GET, format!("http://{}{path}", self.admin), &[], Bytes::new()).await.body
    }

    /// What it wrote down of requests.
    pub(crate) fn access_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out")).unwrap()
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// It has confirmed its routes; workers open the listener within moments, and nothing tells when.
    async fn listener(&self) -> SocketAddr {
        for _ in 0..200 {
            let text = self.admin("/listeners").await;
            let address = text.lines().next().and_then(|line| line.rsplit("::").next()?.parse().ok());
            if let Some(address) = address
                && tokio::net::TcpStream::connect(address).await.is_ok()
            {
                return address;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no listener: {}\n{}", self.admin("/config_dump").await, self.log());
    }
}
