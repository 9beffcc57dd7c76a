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
//! Times are those that the process had a processor. Run it with `cargo xtask bench sim`; `cargo bench -p tidegate-sim
//! --bench scale -- --most 100000` leaves out what is larger.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks, and fails by panicking")]

use std::{env, fmt::Write as _, fs, path::Path, process::Command, sync::Arc, time::Duration};
use tidegate_agent::core::{Core, Input};
use tidegate_engine::Target;
use tidegate_model::{ClusterName, PoolStatus, ProbeVerdict, Time};
use tidegate_sim::{Fleet, Scenario, simulate};

const CLUSTERS: usize = 100;
const REGIONS: usize = 10;
/// Endpoints of a service in one cluster.
const PER_CLUSTER: usize = 10;
/// Endpoints of the whole fleet, and in how many clusters each service lies.
const SHAPES: [(usize, usize); 4] = [(10_000, 4), (100_000, 4), (1_000_000, 4), (1_000_000, 10)];
/// What is aimed at for a million endpoints.
const GOALS: &str = "goals at 1000000: loss <= 2 s, peak <= 1024 MB";

fn main() {
    let args: Vec<String> = env::args().collect();
    if let Some(at) = args.iter().position(|it| it == "--case") {
        return case(&args[at + 1], args[at + 2].parse().unwrap(), args[at + 3].parse().unwrap());
    }
    let most = args.iter().position(|it| it == "--most").map(|at| args[at + 1].parse().unwrap());
    println!(
        "{CLUSTERS} clusters in {REGIONS} regions, 2 zones each; times are CPU seconds of one thread; {GOALS}"
    );
    println!("{}", ROW.map(|(name, width)| format!("{name:>width$}")).join("  "));
    for (endpoints, spread) in SHAPES.into_iter().filter(|(it, _)| most.is_none_or(|most| *it <= most)) {
        for what in ["cores", "simulate"] {
            let mut child = Command::new(env::current_exe().unwrap());
            child.args(["--case", what, &endpoints.to_string(), &spread.to_string()]);
            assert!(child.status().unwrap().success());
        }
    }
}

/// The columns and their widths.
const ROW: [(&str, usize); 9] = [
    ("case", 8),
    ("endpoints", 9),
    ("spread", 6),
    ("services", 8),
    ("load s", 8),
    ("start s", 8),
    ("loss s", 8),
    ("sim 10 s", 8),
    ("peak MB", 8),
];

fn case(what: &str, endpoints: usize, spread: usize) {
    let folder = tempfile::tempdir().unwrap();
    let services = endpoints / PER_CLUSTER / spread;
    write(folder.path(), services, spread);
    let begun = cpu();
    let fleet = Fleet::load(folder.path()).unwrap();
    let load = cpu() - begun;
    let found: usize =
        fleet.configs.values().flat_map(|it| it.services.values()).map(|it| it.endpoints.len()).sum();
    assert_eq!(found, endpoints);
    let text = |time: Duration| format!("{:.2}", time.as_secs_f64());
    let none = || "-".to_owned();
    let [start, loss, sim] = if what == "cores" {
        let (start, loss) = cores(&fleet);
        [text(start), text(loss), none()]
    } else {
        [none(), none(), text(play(folder.path(), &fleet))]
    };
    let numbers = [endpoints, spread, services].map(|it| it.to_string());
    let cells = [what.to_owned()].into_iter().chain(numbers).chain([text(load), start, loss, sim]);
    let cells = cells.chain([peak_mb().to_string()]);
    let cells: Vec<String> = cells.zip(ROW).map(|(cell, (_, width))| format!("{cell:>width$}")).collect();
    println!("{}", cells.join("  "));
}

/// The cores alone: how long they take to start, and to take in the loss of a region.
fn cores(fleet: &Fleet) -> (Duration, Duration) {
    let begun = cpu();
    let now = Time::from_millis(1);
    let mut cores: Vec<(&ClusterName, Core)> = Vec::new();
    for (name, config) in &fleet.configs {
        let mut core = Core::new(name.clone(), None, now);
        core.handle(Input::Manifests(Arc::clone(config)), now);
        for (service, it) in &config.services {
            for address in it.endpoints.keys() {
                core.handle(Input::Checked((service.clone(), *address), ProbeVerdict::Up), now);
            }
        }
        core.forget_unsaved();
        cores.push((name, core));
    }
    let told: Vec<(&ClusterName, Vec<PoolStatus>)> =
        cores.iter().map(|(name, core)| (*name, core.engine().unwrap().statuses(now).collect())).collect();
    for (name, core) in &mut cores {
        let config = &fleet.configs[*name];
        for (peer, pools) in told.iter().filter(|(peer, _)| peer != name) {
            let detail = String::new();
            core.handle(Input::Reachable { peer: (*peer).clone(), quick: true, detail }, now);
            // As the simulation tells it: what the manifests do not name means nothing to an agent.
            let known = |it: &&PoolStatus| config.services.contains_key(&it.service);
            let pools = pools.iter().filter(known).cloned().collect();
            core.handle(Input::RemotePools((*peer).clone(), pools), now);
            // An agent writes it down meanwhile.
            core.forget_unsaved();
        }
        assert!(core.is_ready());
    }
    let start = cpu() - begun;
    drop(told);
    let lost = |name: &ClusterName| region(name.as_str()[1..].parse().unwrap()) == 0;
    let gone: Vec<&ClusterName> = fleet.configs.keys().filter(|it| lost(it)).collect();
    let begun = cpu();
    let now = Time::from_millis(1000);
    for (_, core) in cores.iter_mut().filter(|(name, _)| !lost(name)) {
        for peer in &gone {
            core.handle(Input::Unreachable((*peer).clone(), "silent".to_owned()), now);
        }
    }
    let loss = cpu() - begun;
    for (_, core) in cores.iter().filter(|(name, _)| !lost(name)) {
        let engine = core.engine().unwrap();
        let mut plans = engine.services().flat_map(|service| engine.plans(service));
        let gone = |target: &Target| matches!(target, Target::Cluster(it) if lost(it));
        assert!(plans.all(|plan| !plan.standby.iter().any(|tier| tier.keys().any(gone))));
    }
    (start, loss)
}

fn play(folder: &Path, fleet: &Fleet) -> Duration {
    let mut text = "manifests: .\nduration: 10s\ndemand:\n".to_owned();
    for service in 0..10 {
        let source = format!("c{service:03}/c{service:03}-a");
        writeln!(text, "- {{service: s/s{service:06}, source: {source}, curve: [{{at: 0s, rps: 100}}]}}")
            .unwrap();
    }
    text.push_str("faults: [{at: 5s, lose: region/r0}]\n");
    let scenario = Scenario::parse(&text, &folder.join("scenario.yaml")).unwrap();
    let begun = cpu();
    let report = simulate(&scenario, fleet);
    assert!(report.measures.offered > 0.0 && report.measures.failed < 1.0, "{:?}", report.measures);
    cpu() - begun
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

/// The time that this process has had a processor: others on the machine do not count.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// The most memory that this process has had at once.
fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
