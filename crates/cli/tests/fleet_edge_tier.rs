//! `examples/edge-tier` with real agents and Envoys: requests enter in a cluster without workloads, and are served by the clusters
//! behind it, also when a zone of these is lost and then a whole one of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it measured")]

mod support;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use support::{TIDEGATE, envoy, pair::free, until, workspace};
use tidegate_lab::{
    clock::LabClock,
    fetch,
    load::{Load, LoadMethod, LoadSpec, LoadTarget, Sample, Samples},
    net::Loopback,
    process::{Child, ChildSpec},
    toy::{Ledger, Toy, ToyMode, ToySpec},
};
use tidegate_model::Time;

/// The clusters behind the edge, with the third number of their addresses.
const BEHIND: [(&str, u8); 2] = [("us-east", 4), ("us-west", 5)];
const PORT: u16 = 8080;
const RATE: u32 = 100;

/// A cluster's processes. Dropping them kills them.
struct Cluster {
    agent: Child,
    gateway: Child,
    admin: SocketAddr,
}

struct Tiers {
    clusters: BTreeMap<&'static str, Cluster>,
    toys: Vec<Toy>,
    load: Load,
    clock: LabClock,
    _loopback: Loopback,
    _files: tempfile::TempDir,
}

/// A folder of the example, with the addresses moved to a block that no other test has.
fn copy(folder: &str, to: &Path, block: u8) -> PathBuf {
    let to = to.join(folder);
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(workspace().join("examples/edge-tier").join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap().replace("127.0.", &format!("127.{block}."));
        fs::write(to.join(path.file_name().unwrap()), text).unwrap();
    }
    to
}

fn start_toys(block: u8, clock: LabClock) -> Vec<Toy> {
    let endpoints = BEHIND.iter().flat_map(|cluster| [11, 12, 21, 22].map(|last| (cluster, last)));
    let toys = endpoints.map(|((cluster, third), last)| {
        let spec = ToySpec {
            service: "shop/web".parse().unwrap(),
            cluster: cluster.parse().unwrap(),
            zone: format!("{cluster}-1{}", if last < 20 { 'a' } else { 'b' }).parse().unwrap(),
            name: format!("web-{cluster}-{last}"),
            ip: IpAddr::from([127, block, *third, last]),
        };
        Toy::start_at(spec, PORT, &Ledger::new(), clock).unwrap()
    });
    toys.collect()
}

fn start_cluster(files: &Path, name: &'static str, fleet: &Path, block: u8, envoy: &Path) -> Cluster {
    let (listen, admin, envoy_admin) = (free(), free(), free());
    let own = copy(name, files, block);
    let child = |part: &str, arguments: &[&str], more: Vec<OsString>| {
        let args = arguments.iter().map(Into::into).chain(more).chain(["--exit-with-stdin".into()]);
        let name = format!("{name}-{part}");
        let spec =
            ChildSpec { name, program: TIDEGATE.into(), args: args.collect(), log_dir: files.to_owned() };
        Child::start(spec).unwrap()
    };
    let (gateway, zone) = match name {
        "edge" => ("shop/edge", "us-central-1a".to_owned()),
        _ => ("shop/eastwest", format!("{name}-1a")),
    };
    let at = listen.to_string();
    let agent: [&str; 7] = ["agent", "--cluster", name, "--listen", &at, "--admin", &admin.to_string()];
    let folders = [fleet.to_owned(), own].into_iter().flat_map(|it| ["--manifests".into(), it.into()]);
    let state: [OsString; 2] = ["--state-dir".into(), files.join(format!("{name}-state")).into()];
    let envoy_admin = envoy_admin.to_string();
    let run =
        ["envoy", "run", "--gateway", gateway, "--zone", &zone, "--agent", &at, "--admin", &envoy_admin];
    let run: Vec<&str> = run.into_iter().chain(["--concurrency", "1"]).collect();
    Cluster {
        agent: child("agent", &agent, folders.chain(state).collect()),
        gateway: child("gateway", &run, vec!["--envoy".into(), envoy.into()]),
        admin,
    }
}

impl Tiers {
    /// Starts it all and waits until requests are served, then puts a load on the edge.
    async fn start(envoy: &Path) -> Self {
        let (loopback, clock) = (Loopback::claim(), LabClock::start());
        let IpAddr::V4(ip) = loopback.next_ip() else { panic!("not an IPv4 address") };
        let block = ip.octets()[1];
        let files = tempfile::tempdir().unwrap();
        let fleet = copy("fleet", files.path(), block);
        let toys = start_toys(block, clock);
        let names = ["edge"].into_iter().chain(BEHIND.map(|(name, _)| name));
        let clusters =
            names.map(|name| (name, start_cluster(files.path(), name, &fleet, block, envoy))).collect();
        let edge = SocketAddr::new(IpAddr::from([127, block, 3, 1]), 10080);
        until("an answer at the edge", async || {
            let (status, _) =
                fetch::get(edge, Some("shop.example"), "/", Duration::from_secs(2)).await.ok()?;
            status.is_success().then_some(())
        })
        .await;
        let target = LoadTarget {
            service: "shop/web".parse().unwrap(),
            host: "shop.example".to_owned(),
            path: "/".to_owned(),
        };
        let spec = LoadSpec {
            label: "edge".to_owned(),
            target: edge,
            services: vec![target],
            rate_rps: RATE,
            method: LoadMethod::Get,
            in_flight_limit: 1000,
            timeout: Duration::from_secs(10),
        };
        let load = Load::start(spec, clock).unwrap();
        Self { clusters, toys, load, clock, _loopback: loopback, _files: files }
    }

    /// How many requests that were due since then each zone has served.
    fn served(samples: &Samples, since: Time) -> BTreeMap<String, usize> {
        let mut served = BTreeMap::new();
        for sample in samples.requests.iter().filter(|it| it.due() >= since) {
            let zone = samples.served_by(sample).map_or("nobody", |it| it.zone.as_str()).to_owned();
            *served.entry(zone).or_default() += 1;
        }
        served
    }

    /// Waits until a second of requests was served by these zones and by no other.
    async fn until_served_by(&self, zones: &[&str]) {
        until(&format!("requests to be served by {zones:?} alone"), async || {
            let samples = self.load.samples();
            let last: Vec<&Sample> = samples.requests.iter().rev().take(RATE as usize).collect();
            let by = |sample: &Sample| samples.served_by(sample).map(|it| it.zone.to_string());
            let by: Option<std::collections::BTreeSet<String>> = last.iter().map(|it| by(it)).collect();
            let wanted = zones.iter().map(|it| (*it).to_owned()).collect();
            (last.len() == RATE as usize && by? == wanted).then_some(())
        })
        .await;
    }

    async fn set(&self, mode: ToyMode, meant: impl Fn(&ToySpec) -> bool) {
        for toy in self.toys.iter().filter(|toy| meant(toy.spec())) {
            toy.set(mode).await.unwrap();
        }
    }

    fn failed(&self) -> Vec<Sample> {
        let samples = self.load.samples().requests;
        samples.into_iter().filter(|sample| !sample.outcome.is_success()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_cluster_serves_by_the_clusters_behind_it_and_survives_a_zone_and_a_cluster_of_them() {
    let test = "an_edge_cluster_serves_by_the_clusters_behind_it_and_survives_a_zone_and_a_cluster_of_them";
    let Some(envoy) = envoy(test) else { return };
    if !cfg!(target_os = "linux") {
        return support::skipped(test, "each endpoint has a loopback address of its own, which needs Linux");
    }
    let mut tiers = Tiers::start(&envoy).await;
    tiers.until_served_by(&["us-east-1a", "us-east-1b"]).await;

    let zone_lost = tiers.clock.now();
    tiers.set(ToyMode::Refuse, |toy| toy.zone.as_str() == "us-east-1a").await;
    // Of us-east half is left: it keeps half of what came to it, the rest goes on to us-west.
    tiers.until_served_by(&["us-east-1b", "us-west-1a", "us-west-1b"]).await;

    // All of us-east: its agent, its gateway, what is left of its endpoints.
    let cluster_lost = tiers.clock.now();
    let east = tiers.clusters.get_mut("us-east").unwrap();
    east.gateway.kill().await.unwrap();
    east.agent.kill().await.unwrap();
    tiers.set(ToyMode::Refuse, |toy| toy.cluster.as_str() == "us-east").await;
    tiers.until_served_by(&["us-west-1a", "us-west-1b"]).await;
    let status =
        fetch::get_json(tiers.clusters["edge"].admin, "/api/v1/status", Duration::from_secs(2)).await;
    let status = status.unwrap();
    let peer = status["peers"].as_array().unwrap().iter().find(|it| it["cluster"] == "us-east").unwrap();
    assert_eq!(peer["state"], "Unreachable", "{peer}");

    let samples = tiers.load.samples();
    let slowest = samples.requests.iter().map(Sample::latency).max().unwrap();
    eprintln!(
        "MEASURED {} requests, {} failed, longest {slowest:?}; since the zone {:?}, since the cluster {:?}",
        samples.requests.len(),
        tiers.failed().len(),
        Tiers::served(&samples, zone_lost),
        Tiers::served(&samples, cluster_lost),
    );
    assert_eq!(tiers.failed(), [], "no safe request fails");
    assert_eq!(samples.dropped, 0);
}
