//! A whole fleet on one machine: manifests in a folder per cluster, toy services, WAN links, and an
//! agent and the Envoys of an edge and an east-west gateway per cluster as child processes; a hub
//! that they join, if there is to be one.
//!
//! Everything lies in one temporary folder: `manifests/CLUSTER`, `state/CLUSTER`, `logs/NAME.log`,
//! and for a hub `hub/policy`, `hub/state`, `hosts/CLUSTER` (how a cluster finds the gateways of the
//! others) and `CLUSTER.sock` (where its Envoys reach its agent). It is removed with the fleet, unless something failed or [`Fleet::keep_files`] was called.

pub mod agent;
mod fault;
mod hub;
pub mod manifests;
mod ready;
pub mod spec;
mod start;

pub use fault::{Fault, Part, Process, ProcessFault};
pub use hub::Rollout;
pub use spec::{Binaries, ClusterSpec, FleetSpec, PolicySpec, RoundTrip, hostname};

use crate::{
    clock::LabClock,
    fetch::{self, FetchError},
    load::{LoadMethod, LoadSpec, LoadTarget},
    net::Loopback,
    process::{Child, ProcessError},
    toy::{Ledger, Toy, ToyError},
    wan::Wan,
};
use agent::AgentEvent;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use tidegate_model::{ClusterName, Region, ServiceName};
use tokio::sync::Mutex;

/// How long an agent may take to answer on its admin address.
const ADMIN_LIMIT: Duration = Duration::from_secs(2);
/// How long a child may take to end in order.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Pages of a timeline that are read at a time; an agent keeps 10,000 entries, 1,000 to a page.
const MAX_PAGES: usize = 20;
/// Requests of one load that may be unanswered at a time.
const IN_FLIGHT_LIMIT: usize = 2000;
/// How long a request of a load may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A fleet that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A file or a socket.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        cause: io::Error,
    },
    /// A toy endpoint.
    #[error(transparent)]
    Toy(#[from] ToyError),
    /// A child process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// An agent that does not answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A fleet that cannot be started like this.
    #[error("{0}")]
    Spec(&'static str),
    /// A name that the fleet does not have.
    #[error("the fleet has no {what} {name}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It did not come up in time.
    #[error("after {limit:?} the fleet still waits for: {}; its logs are in {}", waiting_for.join("; "), logs.display())]
    NotReady {
        /// The time that it had.
        limit: Duration,
        /// What is missing.
        waiting_for: Vec<String>,
        /// Where the logs are kept.
        logs: PathBuf,
    },
}

/// A running fleet. Dropping it kills its children; [`Fleet::stop`] ends them in order.
#[derive(Debug)]
pub struct Fleet {
    // First, so that the children are gone before what they talk to.
    clusters: BTreeMap<ClusterName, Cluster>,
    hub: Option<hub::Hub>,
    toys: Vec<Toy>,
    wan: Wan,
    faults: Mutex<Vec<Fault>>,
    spec: FleetSpec,
    clock: LabClock,
    ledger: Ledger,
    files: TempDir,
    loopback: Loopback,
}

/// A running cluster.
#[derive(Debug)]
struct Cluster {
    spec: ClusterSpec,
    addresses: Addresses,
    agent: Mutex<Child>,
    second_agent: Option<Mutex<Child>>,
    edge: Option<Mutex<Child>>,
    east_west: Option<Mutex<Child>>,
}

/// Where the parts of a cluster listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The agent, for gateways.
    pub agent: SocketAddr,
    /// The agent's admin address.
    pub agent_admin: SocketAddr,
    /// The same of its second replica, if it has one.
    pub second_agent: Option<(SocketAddr, SocketAddr)>,
    /// The edge gateway, in a cluster that has one.
    pub edge: Option<EdgeAddresses>,
    /// The east-west gateway and its Envoy's admin address, in a cluster with workloads.
    pub east_west: Option<(SocketAddr, SocketAddr)>,
}

/// Where an edge listens.
#[derive(Clone, Copy, Debug)]
pub struct EdgeAddresses {
    /// The gateway.
    pub gateway: SocketAddr,
    /// Its Envoy's admin address.
    pub admin: SocketAddr,
    /// Where clients reach it: the access link.
    pub access: SocketAddr,
}

impl Fleet {
    /// What it consists of.
    #[must_use]
    pub const fn spec(&self) -> &FleetSpec {
        &self.spec
    }

    /// Its time.
    #[must_use]
    pub const fn clock(&self) -> LabClock {
        self.clock
    }

    /// Which unsafe requests its endpoints received how often.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Its endpoints.
    #[must_use]
    pub fn toys(&self) -> &[Toy] {
        &self.toys
    }

    /// Its links.
    #[must_use]
    pub const fn wan(&self) -> &Wan {
        &self.wan
    }

    /// Its folder.
    #[must_use]
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// An address of the fleet's own that nothing listens on yet.
    pub fn next_ip(&self) -> std::net::IpAddr {
        self.loopback.next_ip()
    }

    /// Keeps its folder after its end, and says where it is.
    pub fn keep_files(&mut self) -> PathBuf {
        self.files.disable_cleanup(true);
        self.files().to_owned()
    }

    /// Where the parts of a cluster listen.
    pub fn addresses(&self, cluster: &ClusterName) -> Result<Addresses, FleetError> {
        self.cluster(cluster).map(|cluster| cluster.addresses)
    }

    /// Where the edge of a cluster listens.
    pub fn edge(&self, cluster: &ClusterName) -> Result<EdgeAddresses, FleetError> {
        let unknown = || FleetError::Unknown { what: "edge in cluster", name: cluster.to_string() };
        self.addresses(cluster)?.edge.ok_or_else(unknown)
    }

    /// The clusters that have an edge.
    pub fn edges(&self) -> impl Iterator<Item = &ClusterName> {
        self.spec.clusters.iter().filter(|cluster| cluster.edge).map(|cluster| &cluster.name)
    }

    /// The process ids of a cluster's children that run, by name. Each leads a process group of the same id.
    pub async fn pids(&self, cluster: &ClusterName) -> Result<Vec<(String, u32)>, FleetError> {
        let mut pids = Vec::new();
        for child in self.cluster(cluster)?.children() {
            let child = child.lock().await;
            pids.extend(child.pid().map(|pid| (child.spec().name.clone(), pid)));
        }
        Ok(pids)
    }

    /// A load on the edge of a cluster that asks for each service in turn.
    pub fn load(
        &self,
        cluster: &ClusterName,
        rate_rps: u32,
        method: LoadMethod,
    ) -> Result<LoadSpec, FleetError> {
        let target = |service: &ServiceName| LoadTarget {
            service: service.clone(),
            host: hostname(service),
            path: "/".to_owned(),
        };
        Ok(LoadSpec {
            label: cluster.to_string(),
            target: self.edge(cluster)?.access,
            services: self.spec.services.iter().map(target).collect(),
            rate_rps,
            method,
            in_flight_limit: IN_FLIGHT_LIMIT,
            timeout: REQUEST_TIMEOUT,
        })
    }

    /// Fails, with the end of its log, if a child has ended that no fault has killed.
    pub async fn check(&self) -> Result<(), FleetError> {
        let faults = self.faults.lock().await;
        for (name, cluster) in &self.clusters {
            for (process, child) in cluster.processes() {
                if !faults.iter().any(|fault| fault.is_about(name, process)) {
                    child.lock().await.check()?;
                }
            }
        }
        match &self.hub {
            Some(hub) if !faults.iter().any(|fault| matches!(fault, Fault::Hub { .. })) => {
                Ok(hub.child.lock().await.check()?)
            }
            _ => Ok(()),
        }
    }

    /// What the agent of a cluster says of itself.
    pub async fn agent_status(&self, cluster: &ClusterName) -> Result<Value, FleetError> {
        let admin = self.addresses(cluster)?.agent_admin;
        Ok(fetch::get_json(admin, "/api/v1/status", ADMIN_LIMIT).await?)
    }

    /// What the policy in force at a cluster's agent says of a field, for the first service: the field, its value, and who
    /// said so.
    pub async fn rule(&self, cluster: &ClusterName, field: &str) -> Result<Option<String>, FleetError> {
        let Some(service) = self.spec.services.first() else { return Ok(None) };
        let path = format!("/api/v1/explain/{service}");
        let explained = fetch::get_json(self.addresses(cluster)?.agent_admin, &path, ADMIN_LIMIT).await?;
        let rules = explained["rules"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(rules.filter(|rule| rule.starts_with(field)).map(str::to_owned).next())
    }

    /// The timeline of a cluster's agent after entry `after`, oldest first. Numbers begin again at 1
    /// when an agent starts again.
    pub async fn decisions(&self, cluster: &ClusterName, after: u64) -> Result<Vec<AgentEvent>, FleetError> {
        let admin = self.addresses(cluster)?.agent_admin;
        let mut all: Vec<AgentEvent> = Vec::new();
        for _ in 0..MAX_PAGES {
            let after = all.last().map_or(after, |last| last.seq);
            let path = format!("/api/v1/decisions?after={after}");
            let page = agent::events(&fetch::get_json(admin, &path, ADMIN_LIMIT).await?);
            // A page that does not go on would be read for ever.
            if page.last().is_none_or(|last| last.seq <= after) {
                break;
            }
            all.extend(page);
        }
        Ok(all)
    }

    /// Ends all children in order: gateways first, so that they do not see their agents go.
    pub async fn stop(self) {
        for is_agent in [false, true] {
            let children = self
                .clusters
                .values()
                .flat_map(Cluster::processes)
                .filter(|(process, _)| matches!(process, Process::Agent | Process::SecondAgent) == is_agent)
                .map(|(_, child)| async move {
                    if let Err(error) = child.lock().await.stop(STOP_LIMIT).await {
                        tracing::warn!(%error, "a child did not end in order");
                    }
                });
            futures::future::join_all(children).await;
        }
        if let Some(hub) = &self.hub
            && let Err(error) = hub.child.lock().await.stop(STOP_LIMIT).await
        {
            tracing::warn!(%error, "the hub did not end in order");
        }
    }

    fn cluster(&self, name: &ClusterName) -> Result<&Cluster, FleetError> {
        self.clusters.get(name).ok_or_else(|| FleetError::Unknown { what: "cluster", name: name.to_string() })
    }

    /// The clusters of a region.
    pub fn clusters_of(&self, region: &Region) -> impl Iterator<Item = &ClusterName> {
        self.clusters.values().filter(move |it| it.spec.region == *region).map(|cluster| &cluster.spec.name)
    }
}

impl Cluster {
    fn processes(&self) -> impl Iterator<Item = (Process, &Mutex<Child>)> {
        let east_west = self.east_west.as_ref().map(|child| (Process::EastWest, child));
        let second = self.second_agent.as_ref().map(|child| (Process::SecondAgent, child));
        let edge = self.edge.as_ref().map(|child| (Process::Edge, child));
        [(Process::Agent, &self.agent)].into_iter().chain(edge).chain(second).chain(east_west)
    }

    fn children(&self) -> impl Iterator<Item = &Mutex<Child>> {
        self.processes().map(|(_, child)| child)
    }
}
