//! What a fleet consists of.

use std::{path::PathBuf, time::Duration};
use tidegate_model::{ClusterName, Region, ServiceName, Zone};

/// A fleet: clusters in regions, the same services in each cluster that has workloads.
#[derive(Clone, Debug)]
pub struct FleetSpec {
    /// The clusters.
    pub clusters: Vec<ClusterSpec>,
    /// The services, the same in every cluster.
    pub services: Vec<ServiceName>,
    /// Endpoints of each service in each zone of a cluster with workloads.
    pub endpoints_per_zone: u32,
    /// Round-trip times between regions, each pair once.
    pub round_trips: Vec<RoundTrip>,
    /// Up to so much more on each way between regions.
    pub jitter: Duration,
    /// The failover policy of the fleet.
    pub policy: PolicySpec,
    /// Whether each agent has a second replica.
    pub second_agents: bool,
    /// Whether there is a hub, from which all clusters have their policy and who they are: then they reach each other by
    /// mutual TLS only. Started by [`super::Fleet::start_joined`], without second agents.
    pub hub: bool,
    /// Worker threads of each Envoy; by itself it has one per CPU.
    pub concurrency: Option<u32>,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Its name.
    pub name: ClusterName,
    /// Where it lies.
    pub region: Region,
    /// Its zones, at least one; the gateways stand in the first.
    pub zones: Vec<Zone>,
    /// Whether it has endpoints, and with them an east-west gateway.
    pub workloads: bool,
    /// Whether it has an edge gateway, for clients.
    pub edge: bool,
}

/// How far two regions are from each other.
#[derive(Clone, Debug)]
pub struct RoundTrip {
    /// The two regions.
    pub between: [Region; 2],
    /// There and back.
    pub rtt: Duration,
}

/// What the fleet's `FailoverPolicy` says.
#[derive(Clone, Debug)]
pub struct PolicySpec {
    /// From one active check to the next.
    pub check_interval: Duration,
    /// How long an answer to a check may take.
    pub check_timeout: Duration,
    /// How long a pool must be healthy before it gets load again.
    pub hold_down: Duration,
    /// The steps of the way back, in percent, the last one 100.
    pub ramp_steps: Vec<u32>,
    /// From one step to the next.
    pub ramp_interval: Duration,
    /// Further fields of the policy's `spec`, as a user would write them; they replace those of the same name.
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// The programs that a fleet runs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The `tidegate` command.
    pub tidegate: PathBuf,
    /// Envoy.
    pub envoy: PathBuf,
}

impl FleetSpec {
    /// The fleet of the demo: two regions with workloads, two zones each, three services with two
    /// endpoints per zone; and a third region, nearest to us-east, that has only an edge.
    #[must_use]
    pub fn demo() -> Self {
        let cluster = |name: &str, zones: &[&str], workloads| ClusterSpec {
            name: known(name),
            region: known(name),
            zones: zones.iter().map(|zone| known(zone)).collect(),
            workloads,
            edge: true,
        };
        Self {
            clusters: vec![
                cluster("us-east", &["us-east-1a", "us-east-1b"], true),
                cluster("us-west", &["us-west-1a", "us-west-1b"], true),
                cluster("eu-west", &["eu-west-1a"], false),
            ],
            services: ["shop/web", "shop/cart", "shop/pay"].map(known).into(),
            endpoints_per_zone: 2,
            // About what a packet takes between Virginia, Oregon and Ireland and back.
            round_trips: vec![
                apart("us-east", "us-west", 65),
                apart("eu-west", "us-east", 70),
                apart("eu-west", "us-west", 120),
            ],
            jitter: Duration::from_millis(2),
            policy: PolicySpec {
                check_interval: Duration::from_millis(500),
                check_timeout: Duration::from_millis(300),
                hold_down: Duration::from_secs(3),
                ramp_steps: vec![10, 50, 100],
                ramp_interval: Duration::from_secs(1),
                more: serde_json::Map::new(),
            },
            second_agents: false,
            hub: false,
            concurrency: None,
        }
    }

    /// The fleet of `tidegate demo --fleet`: a hub, three clusters with workloads in two regions that all joined it, and in
    /// front of them, nearer to us-east, a cluster that has only an edge.
    #[must_use]
    pub fn tiers() -> Self {
        let with_workloads = |region: &str, number: u32| ClusterSpec {
            name: known(&format!("{region}-{number}")),
            region: known(region),
            zones: ["a", "b"].map(|zone| known(&format!("{region}-{number}{zone}"))).into(),
            workloads: true,
            edge: false,
        };
        let edge = ClusterSpec {
            name: known("us-central-1"),
            region: known("us-central"),
            zones: vec![known("us-central-1a")],
            workloads: false,
            edge: true,
        };
        Self {
            clusters: vec![
                edge,
                with_workloads("us-east", 1),
                with_workloads("us-east", 2),
                with_workloads("us-west", 1),
            ],
            // About what a packet takes between Iowa, Virginia and Oregon and back.
            round_trips: vec![
                apart("us-central", "us-east", 30),
                apart("us-central", "us-west", 40),
                apart("us-east", "us-west", 65),
            ],
            hub: true,
            // Nine processes on one machine: each Envoy has little to do.
            concurrency: Some(1),
            ..Self::demo()
        }
    }

    /// The round-trip time between two regions, if it is given.
    #[must_use]
    pub fn rtt(&self, one: &Region, other: &Region) -> Option<Duration> {
        let is_pair = |[a, b]: &[Region; 2]| (a == one && b == other) || (a == other && b == one);
        self.round_trips.iter().find(|pair| is_pair(&pair.between)).map(|pair| pair.rtt)
    }

    /// The cluster with this name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&ClusterSpec> {
        self.clusters.iter().find(|cluster| cluster.name.as_str() == name)
    }
}

impl ClusterSpec {
    /// The zone in which the gateways stand.
    #[must_use]
    pub fn gateway_zone(&self) -> &Zone {
        self.zones.first().expect("a cluster has at least one zone")
    }
}

fn apart(one: &str, other: &str, ms: u64) -> RoundTrip {
    RoundTrip { between: [known(one), known(other)], rtt: Duration::from_millis(ms) }
}

/// A name written in this crate.
pub(crate) fn known<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("the names in this crate are well-formed")
}

/// The host name by which edges know a service: `web.shop.example`.
#[must_use]
pub fn hostname(service: &ServiceName) -> String {
    format!("{}.{}.example", service.name(), service.namespace())
}
