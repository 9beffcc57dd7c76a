//! Faults on purpose, and their end.

use super::{Fleet, FleetError};
use crate::{
    process::Child,
    toy::{Toy, ToyMode},
    wan::{LinkState, Site},
};
use std::{fmt, time::Duration};
use tidegate_model::{ClusterName, Region, ServiceName, Time, Zone};
use tokio::sync::Mutex;

/// Something that is taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All endpoints of all services in a zone. Gateways and agents that stand there live on.
    Zone {
        /// The zone.
        zone: Zone,
        /// How the endpoints fail.
        mode: ToyMode,
    },
    /// The endpoints of a part of the fleet. Gateways and agents live on.
    Workloads {
        /// Which of them.
        of: Part,
        /// How they fail.
        mode: ToyMode,
    },
    /// A region, without a word: a black hole swallows all that goes there or comes from there. What
    /// runs in it runs on.
    Region {
        /// The region.
        region: Region,
    },
    /// One endpoint.
    Endpoint {
        /// Its name.
        name: String,
        /// How it fails.
        mode: ToyMode,
    },
    /// What lies between two sites, both ways, without a word: what one cluster's agent and gateways send to the
    /// other's, or what its agent and the hub send each other.
    Link {
        /// The two.
        between: [Site; 2],
    },
    /// What lies between two sites takes so much longer, each way.
    Far {
        /// The two.
        between: [Site; 2],
        /// So much.
        by: Duration,
    },
    /// The hub.
    Hub {
        /// What is done to it.
        fault: ProcessFault,
    },
    /// A process of a cluster.
    Process {
        /// The cluster.
        cluster: ClusterName,
        /// Which of its processes.
        process: Process,
        /// What is done to it.
        fault: ProcessFault,
    },
}

/// A part of the fleet's workloads: those of which all that is named is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Of this service.
    pub service: Option<ServiceName>,
    /// In this region.
    pub region: Option<Region>,
    /// In this cluster.
    pub cluster: Option<ClusterName>,
    /// In this zone.
    pub zone: Option<Zone>,
}

/// A process of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// The agent.
    Agent,
    /// The agent's second replica.
    SecondAgent,
    /// The edge: Envoy and what runs it.
    Edge,
    /// The east-west gateway: Envoy and what runs it.
    EastWest,
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessFault {
    /// It is killed; the restore starts it again with the same arguments.
    Kill,
    /// It is frozen; the restore lets it go on.
    Freeze,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone { zone, mode } => write!(f, "zone {zone} ({mode})"),
            Self::Workloads { of, mode } => write!(f, "workloads {of} ({mode})"),
            Self::Region { region } => write!(f, "region {region} (black hole)"),
            Self::Endpoint { name, mode } => write!(f, "endpoint {name} ({mode})"),
            Self::Link { between: [one, other] } => write!(f, "link {one} - {other} (black hole)"),
            Self::Far { between: [one, other], by } => write!(f, "link {one} - {other} ({by:?} longer)"),
            Self::Hub { fault } => write!(f, "hub ({fault})"),
            Self::Process { cluster, process, fault } => write!(f, "{process} of {cluster} ({fault})"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.service.as_ref().map(|it| format!("of service {it}")),
            self.zone.as_ref().map(|it| format!("in zone {it}")),
            self.cluster.as_ref().map(|it| format!("in cluster {it}")),
            self.region.as_ref().map(|it| format!("in region {it}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Agent => "agent",
            Self::SecondAgent => "second agent",
            Self::Edge => "edge gateway",
            Self::EastWest => "east-west gateway",
        })
    }
}

impl fmt::Display for ProcessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "killed",
            Self::Freeze => "frozen",
        })
    }
}

impl Fault {
    pub(super) fn is_about(&self, name: &ClusterName, wanted: Process) -> bool {
        matches!(self, Self::Process { cluster, process, .. } if cluster == name && *process == wanted)
    }
}

impl Fleet {
    /// Whether there is what a fault is about.
    pub fn has(&self, fault: &Fault) -> Result<(), FleetError> {
        match fault {
            Fault::Zone { zone, .. } => {
                self.toys_of("zone", zone.as_str(), |toy| toy.spec().zone == *zone).map(drop)
            }
            Fault::Workloads { of, .. } => {
                self.toys_of("workloads", &of.to_string(), |toy| self.is_part(toy, of)).map(drop)
            }
            Fault::Endpoint { name, .. } => {
                self.toys_of("endpoint", name, |toy| toy.spec().name == *name).map(drop)
            }
            Fault::Region { region } => match self.clusters_of(region).next() {
                Some(_) => Ok(()),
                None => Err(FleetError::Unknown { what: "region", name: region.to_string() }),
            },
            Fault::Link { between: [one, other] } | Fault::Far { between: [one, other], .. } => {
                if self.wan.is_between(one, other) {
                    return Ok(());
                }
                Err(FleetError::Unknown { what: "link", name: format!("{one} - {other}") })
            }
            Fault::Hub { .. } => self.the_hub().map(drop),
            Fault::Process { cluster, process, .. } => self.child(cluster, *process).map(drop),
        }
    }

    /// Makes a fault happen, and says when it began. It lasts until [`Fleet::restore`].
    pub async fn fault(&self, fault: Fault) -> Result<Time, FleetError> {
        let mut faults = self.faults.lock().await;
        self.has(&fault)?;
        let began = self.clock.now();
        match &fault {
            Fault::Workloads { of, mode } => {
                self.set_toys("workloads", &of.to_string(), *mode, |toy| self.is_part(toy, of)).await?;
            }
            Fault::Zone { zone, mode } => {
                self.set_toys("zone", zone.as_str(), *mode, |toy| toy.spec().zone == *zone).await?;
            }
            Fault::Endpoint { name, mode } => {
                self.set_toys("endpoint", name, *mode, |toy| toy.spec().name == *name).await?;
            }
            Fault::Region { region } => {
                self.wan.black_hole(region).await.map_err(link_failed(region))?;
            }
            Fault::Link { between: [one, other] } => {
                self.wan.set_between(one, other, LinkState::BlackHole).await.map_err(link_failed(one))?;
            }
            Fault::Far { between: [one, other], by } => self.wan.delay_between(one, other, *by),
            Fault::Hub { fault } => strike(&self.the_hub()?.child, *fault).await?,
            Fault::Process { cluster, process, fault } => {
                strike(self.child(cluster, *process)?, *fault).await?;
            }
        }
        faults.push(fault);
        Ok(began)
    }

    /// Undoes one fault, the newest if it happened more than once, and says when it began to.
    pub async fn mend(&self, fault: &Fault) -> Result<Time, FleetError> {
        let mut faults = self.faults.lock().await;
        let unknown = || FleetError::Unknown { what: "such fault now:", name: fault.to_string() };
        let at = faults.iter().rposition(|it| it == fault).ok_or_else(unknown)?;
        let began = self.clock.now();
        self.undo(fault).await?;
        faults.remove(at);
        Ok(began)
    }

    /// Undoes every fault, the last first, and says when it began to.
    pub async fn restore(&self) -> Result<Time, FleetError> {
        let mut faults = self.faults.lock().await;
        let began = self.clock.now();
        while let Some(fault) = faults.last() {
            self.undo(fault).await?;
            faults.pop();
        }
        Ok(began)
    }

    async fn undo(&self, fault: &Fault) -> Result<(), FleetError> {
        match fault {
            Fault::Zone { zone, .. } => {
                self.set_toys("zone", zone.as_str(), ToyMode::Serve, |toy| toy.spec().zone == *zone).await
            }
            Fault::Endpoint { name, .. } => {
                self.set_toys("endpoint", name, ToyMode::Serve, |toy| toy.spec().name == *name).await
            }
            Fault::Workloads { of, .. } => {
                self.set_toys("workloads", &of.to_string(), ToyMode::Serve, |toy| self.is_part(toy, of)).await
            }
            Fault::Far { between: [one, other], .. } => {
                self.wan.delay_between(one, other, Duration::ZERO);
                Ok(())
            }
            Fault::Region { region } => self.wan.restore(region).await.map_err(link_failed(region)),
            Fault::Link { between: [one, other] } => {
                self.wan.set_between(one, other, LinkState::Open).await.map_err(link_failed(one))
            }
            Fault::Hub { fault } => heal(&self.the_hub()?.child, *fault).await,
            Fault::Process { cluster, process, fault } => heal(self.child(cluster, *process)?, *fault).await,
        }
    }

    /// Changes the mode of all endpoints that are meant, at once.
    async fn set_toys(
        &self,
        what: &'static str,
        name: &str,
        mode: ToyMode,
        meant: impl Fn(&Toy) -> bool,
    ) -> Result<(), FleetError> {
        let toys = self.toys_of(what, name, meant)?;
        futures::future::try_join_all(toys.into_iter().map(|toy| toy.set(mode))).await?;
        Ok(())
    }

    /// The endpoints that are meant; at least one.
    fn toys_of(
        &self,
        what: &'static str,
        name: &str,
        meant: impl Fn(&Toy) -> bool,
    ) -> Result<Vec<&Toy>, FleetError> {
        let toys: Vec<_> = self.toys.iter().filter(|toy| meant(toy)).collect();
        if toys.is_empty() {
            return Err(FleetError::Unknown { what, name: name.to_owned() });
        }
        Ok(toys)
    }

    fn is_part(&self, toy: &Toy, of: &Part) -> bool {
        let toy = toy.spec();
        of.service.as_ref().is_none_or(|service| toy.service == *service)
            && of.zone.as_ref().is_none_or(|zone| toy.zone == *zone)
            && of.cluster.as_ref().is_none_or(|cluster| toy.cluster == *cluster)
            && of.region.as_ref().is_none_or(|region| self.clusters_of(region).any(|it| *it == toy.cluster))
    }

    fn child(&self, cluster: &ClusterName, wanted: Process) -> Result<&Mutex<Child>, FleetError> {
        let mut processes = self.cluster(cluster)?.processes();
        let unknown =
            || FleetError::Unknown { what: "such process:", name: format!("{wanted} of {cluster}") };
        processes.find(|(process, _)| *process == wanted).map(|(_, child)| child).ok_or_else(unknown)
    }
}

async fn strike(child: &Mutex<Child>, fault: ProcessFault) -> Result<(), FleetError> {
    let mut child = child.lock().await;
    match fault {
        ProcessFault::Kill => child.kill().await?,
        ProcessFault::Freeze => child.pause()?,
    }
    Ok(())
}

async fn heal(child: &Mutex<Child>, fault: ProcessFault) -> Result<(), FleetError> {
    let mut child = child.lock().await;
    match fault {
        ProcessFault::Kill => child.restart().await?,
        ProcessFault::Freeze => child.resume()?,
    }
    Ok(())
}

fn link_failed(of: &impl fmt::Display) -> impl FnOnce(std::io::Error) -> FleetError {
    let what = format!("cannot change the links of {of}");
    move |cause| FleetError::Io { what, cause }
}
