//! How time and memory grow with the fleet: 100 clusters at 10^4, 10^5 and 10^6 endpoints.
//!
//! The fleet: 10 regions of 10 clusters of 2 zones, with a gateway in each zone. A service has 10 endpoints in each of its
//! clusters, 5 per zone, and lies in so many clusters as the column `spread` says, each in another region. Each cluster is
//! a source for its own services, in both zones. Every agent knows every other as a peer, and is told all its pools.
//!
//! Each row is a process of its own, so that peaks of memory are its own. The manifests are YAML files in a temporary
//! folder, read as `tidegate simulate` reads them.
//!
//! - *load*: files to configurations, one per cluster.
//! - *start*: every core takes its manifests, a good first check of each endpoint, and the pools of its 99 peers.
//! - *loss*: the 90 agents that are left each hear that the 10 clusters of a region are out of reach, in ten inputs; until
//!   the last plan is there. One thread.
//! - *simulate*: the same fleet in virtual time for 10 s, with checks every second, beats ten times a second and a region
//!   lost at 5 s; requests for ten services.
//!
//! Run it with `cargo xtask bench sim`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks, and fails by panicking")]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_agent::core::{Core, Input};
use tidegate_model::{ClusterName, PoolStatus, ProbeVerdict, Time};
use tidegate_sim::{Fleet, Scenario, simulate};

const CLUSTERS: usize = 100;
const REGIONS: usize = 10;
/// Endpoints of a service in one cluster.
const PER_CLUSTER: usize = 10;

fn main() {
    let args: Vec<String> = env::args().collect();
    match args.iter().position(|it| it == "--case") {
        Some(at) => case(&args[at + 1], args[at + 2].parse().unwrap(), args[at + 3].parse().unwrap()),
        None => {
            for (endpoints, spread) in [(10_000, 4), (100_000, 4), (1_000_000, 4), (1_000_000, 10)] {
                for what in ["cores", "simulate"] {
                    let mut child = Command::new(env::current_exe().unwrap());
                    child.args(["--case", what, &endpoints.to_string(), &spread.to_string()]);
                    assert!(child.status().unwrap().success());
                }
            }
        }
    }
}

fn case(what: &str, endpoints: usize, spread: usize) {
    let folder = tempfile::tempdir().unwrap();
    let services = endpoints / PER_CLUSTER / spread;
    write(folder.path(), services, spread);
    println!("{what} {endpoints} {spread} before {} MB", peak_mb());
    let begun = Instant::now();
    let fleet = Fleet::load(folder.path()).unwrap();
    println!("load {:?} {} MB", begun.elapsed(), peak_mb());
    if what == "cores" {
        cores(&fleet)
    } else {
        play(folder.path(), &fleet)
    }
    println!("end {} MB", peak_mb());
}

fn cores(fleet: &Fleet) {
    let begun = Instant::now();
    let now = Time::from_millis(1);
    let mut cores: Vec<(ClusterName, Core)> = Vec::new();
    for (name, config) in &fleet.configs {
        let mut core = Core::new(name.clone(), None, now);
        core.handle(Input::Manifests(Arc::clone(config)), now);
        for (service, it) in &config.services {
            for address in it.endpoints.keys() {
                core.handle(Input::Checked((service.clone(), *address), ProbeVerdict::Up), now);
            }
        }
        cores.push((name.clone(), core));
    }
    println!("checked {:?} {} MB", begun.elapsed(), peak_mb());
    let told: Vec<(ClusterName, Vec<PoolStatus>)> = cores
        .iter()
        .map(|(name, core)| (name.clone(), core.engine().unwrap().statuses(now).collect()))
        .collect();
    for (name, core) in &mut cores {
        let config = &fleet.configs[name];
        for (peer, pools) in told.iter().filter(|(peer, _)| peer != name) {
            core.handle(Input::Reachable { peer: peer.clone(), quick: true, detail: String::new() }, now);
            let known = |it: &&PoolStatus| config.services.contains_key(&it.service);
            let pools = pools.iter().filter(known).cloned().collect();
            core.handle(Input::RemotePools(peer.clone(), pools), now);
        }
        assert!(core.is_ready());
    }
    println!("start {:?} {} MB", begun.elapsed(), peak_mb());
    let lost = |name: &ClusterName| region(name.as_str()[1..].parse().unwrap()) == 0;
    let gone: Vec<ClusterName> = fleet.configs.keys().filter(|it| lost(it)).cloned().collect();
    let begun = Instant::now();
    let now = Time::from_millis(1000);
    let mut plans = 0;
    for (_, core) in cores.iter_mut().filter(|(name, _)| !lost(name)) {
        for peer in &gone {
            let output = core.handle(Input::Unreachable(peer.clone(), "silent".to_owned()), now);
            plans += output.records.len();
        }
    }
    println!("loss {:?} {} MB, {plans} records", begun.elapsed(), peak_mb());
}

fn play(folder: &Path, fleet: &Fleet) {
    let mut text = "manifests: .\nduration: 10s\ndemand:\n".to_owned();
    for service in 0..10 {
        writeln!(text, "- {{service: s/s{service:06}, source: c{service:03}/c{service:03}-a, curve: [{{at: 0s, rps: 100}}]}}").unwrap();
    }
    text.push_str("faults: [{at: 5s, lose: region/r0}]\n");
    let scenario = Scenario::parse(&text, &folder.join("scenario.yaml")).unwrap();
    let begun = Instant::now();
    let report = simulate(&scenario, fleet);
    println!(
        "simulate {:?} {} MB {} decisions {:?}",
        begun.elapsed(),
        peak_mb(),
        report.decisions.len(),
        report.measures
    );
}

const fn region(cluster: usize) -> usize {
    cluster % REGIONS
}

fn write(folder: &Path, services: usize, spread: usize) {
    let mut fleet = String::new();
    for cluster in 0..CLUSTERS {
        let own = region(cluster);
        writeln!(fleet, "---\napiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: c{cluster:03}}}\nspec:\n  region: r{own}").unwrap();
        writeln!(fleet, "  eastWestGateways: [{{address: 10.200.0.{cluster}, port: 15443}}]\n  proximity:")
            .unwrap();
        for other in (0..REGIONS).filter(|it| *it != own) {
            let far = own.abs_diff(other);
            writeln!(fleet, "  - {{region: r{other}, rtt: {}ms}}", 20 * far.min(REGIONS - far)).unwrap();
        }
    }
    fs::create_dir(folder.join("fleet")).unwrap();
    fs::write(folder.join("fleet/clusters.yaml"), fleet).unwrap();
    let mut texts = vec![(String::new(), 0_usize); CLUSTERS];
    for service in 0..services {
        for step in 0..spread {
            let cluster = (service + 11 * step) % CLUSTERS;
            let (text, count) = &mut texts[cluster];
            writeln!(text, "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{service:06}, namespace: s}}\nspec:\n  ports: [{{name: http, port: 80, targetPort: 8080}}]").unwrap();
            writeln!(text, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{service:06}-1, namespace: s, labels: {{kubernetes.io/service-name: s{service:06}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints:").unwrap();
            for endpoint in 0..PER_CLUSTER {
                let zone = if endpoint % 2 == 0 { 'a' } else { 'b' };
                writeln!(
                    text,
                    "- {{addresses: [10.{cluster}.{}.{}], zone: c{cluster:03}-{zone}}}",
                    *count / 250,
                    *count % 250 + 1
                )
                .unwrap();
                *count += 1;
            }
        }
    }
    for (cluster, (text, _)) in texts.into_iter().enumerate() {
        let own = folder.join(format!("c{cluster:03}"));
        fs::create_dir(&own).unwrap();
        fs::write(own.join("services.yaml"), text).unwrap();
    }
}

fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
