//! How a fleet comes up: addresses first, then what listens in this process, then manifests, then
//! the children. Nothing has to wait for anything else to be ready.

use super::{
    Addresses, Binaries, Cluster, ClusterSpec, Fleet, FleetError, FleetSpec,
    manifests::{ClusterView, EAST_WEST, EDGE, EndpointView, INFRA},
};
use crate::{
    clock::LabClock,
    net::{Loopback, Reserved, raise_open_file_limit},
    process::{Child, ChildSpec},
    toy::{Ledger, Toy, ToySpec},
    wan::{Shape, Wan, WanLink},
};
use std::{collections::BTreeMap, ffi::OsString, fs, io, net::SocketAddr, path::Path};
use tidegate_model::ClusterName;
use tokio::sync::Mutex;

/// Addresses kept free for the children of one cluster.
struct Kept {
    agent: Reserved,
    agent_admin: Reserved,
    second_agent: Option<(Reserved, Reserved)>,
    edge: Reserved,
    edge_admin: Reserved,
    east_west: Option<(Reserved, Reserved)>,
}

impl Fleet {
    /// Starts a fleet; [`Fleet::ready`] waits until it serves. Must be called within a tokio runtime.
    pub fn start(spec: FleetSpec, binaries: &Binaries) -> Result<Self, FleetError> {
        raise_open_file_limit();
        let files = tempfile::Builder::new()
            .prefix("tidegate-lab-")
            .tempdir()
            .map_err(failed("cannot make a temporary folder"))?;
        let (loopback, clock, ledger) = (Loopback::claim(), LabClock::start(), Ledger::new());
        let toys = start_toys(&spec, &loopback, &ledger, clock)?;
        let kept: BTreeMap<_, _> = spec
            .clusters
            .iter()
            .map(|cluster| Ok((cluster.name.clone(), Kept::reserve(&loopback, cluster, spec.second_agents)?)))
            .collect::<io::Result<_>>()
            .map_err(failed("cannot reserve addresses"))?;
        let (wan, addresses) =
            start_wan(&spec, &loopback, &kept).map_err(failed("cannot start the links between regions"))?;
        write_manifests(&spec, &toys, &wan, &addresses, files.path())?;
        let logs = files.path().join("logs");
        fs::create_dir_all(&logs).map_err(failed("cannot make the folder for logs"))?;
        // The children bind these now.
        drop(kept);
        let mut clusters = BTreeMap::new();
        for cluster in &spec.clusters {
            let started = start_cluster(cluster, addresses[&cluster.name], binaries, files.path())?;
            clusters.insert(cluster.name.clone(), started);
        }
        let faults = Mutex::default();
        Ok(Self { clusters, toys, wan, faults, spec, clock, ledger, files, loopback })
    }
}

impl Kept {
    fn reserve(loopback: &Loopback, cluster: &ClusterSpec, second_agents: bool) -> io::Result<Self> {
        let two = |wanted: bool| -> io::Result<_> {
            if wanted { Ok(Some((loopback.reserve()?, loopback.reserve()?))) } else { Ok(None) }
        };
        let (east_west, second_agent) = (two(cluster.workloads)?, two(second_agents)?);
        Ok(Self {
            agent: loopback.reserve()?,
            agent_admin: loopback.reserve()?,
            second_agent,
            edge: loopback.reserve()?,
            edge_admin: loopback.reserve()?,
            east_west,
        })
    }

    fn east_west(&self) -> Option<SocketAddr> {
        self.east_west.as_ref().map(|(gateway, _)| gateway.address())
    }
}

fn start_toys(
    spec: &FleetSpec,
    loopback: &Loopback,
    ledger: &Ledger,
    clock: LabClock,
) -> Result<Vec<Toy>, FleetError> {
    let mut toys = Vec::new();
    for cluster in spec.clusters.iter().filter(|cluster| cluster.workloads) {
        for zone in &cluster.zones {
            for service in &spec.services {
                for number in 0..spec.endpoints_per_zone {
                    let toy = ToySpec {
                        service: service.clone(),
                        cluster: cluster.name.clone(),
                        zone: zone.clone(),
                        name: format!("{}-{zone}-{number}", service.name()),
                        ip: loopback.next_ip(),
                    };
                    toys.push(Toy::start(toy, ledger, clock)?);
                }
            }
        }
    }
    Ok(toys)
}

fn start_wan(
    spec: &FleetSpec,
    loopback: &Loopback,
    kept: &BTreeMap<ClusterName, Kept>,
) -> io::Result<(Wan, BTreeMap<ClusterName, Addresses>)> {
    let (mut wan, mut addresses) = (Wan::new(), BTreeMap::new());
    for cluster in &spec.clusters {
        let own = &kept[&cluster.name];
        let access = WanLink::start(loopback.next_ip(), own.edge.address(), Shape::default())?;
        addresses.insert(
            cluster.name.clone(),
            Addresses {
                agent: own.agent.address(),
                agent_admin: own.agent_admin.address(),
                second_agent: own.second_agent.as_ref().map(|(it, admin)| (it.address(), admin.address())),
                edge: own.edge.address(),
                edge_admin: own.edge_admin.address(),
                east_west: own.east_west.as_ref().map(|(it, admin)| (it.address(), admin.address())),
                access: access.address(),
            },
        );
        wan.add_access(cluster.region.clone(), access);
        for other in spec.clusters.iter().filter(|other| other.region != cluster.region) {
            let Some(target) = kept[&other.name].east_west() else { continue };
            let rtt = spec.rtt(&cluster.region, &other.region).unwrap_or_default();
            let shape = Shape { delay: rtt / 2, jitter: spec.jitter, handshake: true };
            let link = WanLink::start(loopback.next_ip(), target, shape)?;
            wan.add_link(cluster.region.clone(), other.region.clone(), link);
        }
    }
    Ok((wan, addresses))
}

fn write_manifests(
    spec: &FleetSpec,
    toys: &[Toy],
    wan: &Wan,
    addresses: &BTreeMap<ClusterName, Addresses>,
    files: &Path,
) -> Result<(), FleetError> {
    for own in &spec.clusters {
        let reach = spec
            .clusters
            .iter()
            .filter_map(|other| {
                // Its own gateway as it is, others by the link that leads there.
                let link = wan.link(&own.region, &other.region).map(WanLink::address);
                let own_gateway = addresses[&other.name].east_west.map(|(gateway, _)| gateway);
                let address = if other.name == own.name { own_gateway } else { link };
                Some((other.name.clone(), address?))
            })
            .collect();
        let endpoints: Vec<_> = toys
            .iter()
            .filter(|toy| toy.spec().cluster == own.name)
            .map(|toy| EndpointView {
                name: toy.spec().name.clone(),
                service: toy.spec().service.clone(),
                zone: toy.spec().zone.clone(),
                address: toy.address(),
            })
            .collect();
        let Addresses { edge, east_west, .. } = addresses[&own.name];
        let east_west = east_west.map(|(gateway, _)| gateway);
        let view = ClusterView { fleet: spec, own, edge, east_west, reach: &reach, endpoints: &endpoints };
        let folder = files.join("manifests").join(own.name.as_str());
        let write = || -> io::Result<()> {
            fs::create_dir_all(&folder)?;
            for (name, text) in view.files().map_err(io::Error::other)? {
                fs::write(folder.join(name), text)?;
            }
            Ok(())
        };
        write().map_err(failed(&format!("cannot write the manifests in {}", folder.display())))?;
    }
    Ok(())
}

fn start_cluster(
    cluster: &ClusterSpec,
    addresses: Addresses,
    binaries: &Binaries,
    files: &Path,
) -> Result<Cluster, FleetError> {
    let name = cluster.name.as_str();
    let start = |part: &str, args: Vec<OsString>| {
        let spec = ChildSpec {
            name: format!("{name}-{part}"),
            program: binaries.tidegate.clone(),
            args: args.into_iter().chain(["--exit-with-stdin".into()]).collect(),
            log_dir: files.join("logs"),
        };
        Child::start(spec).map(Mutex::new)
    };
    let agent_args = |listen: SocketAddr, admin: SocketAddr, state: &Path, other: Option<SocketAddr>| {
        let mut args: Vec<OsString> = vec![
            "agent".into(),
            "--manifests".into(),
            files.join("manifests").join(name).into(),
            "--cluster".into(),
            name.into(),
            "--listen".into(),
            listen.to_string().into(),
            "--admin".into(),
            admin.to_string().into(),
            "--state-dir".into(),
            state.into(),
        ];
        args.extend(other.into_iter().flat_map(|other| ["--replica".into(), other.to_string().into()]));
        args
    };
    let agents = [Some(addresses.agent), addresses.second_agent.map(|(agent, _)| agent)];
    let envoy_args = |gateway: &str, admin: SocketAddr| -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["envoy".into(), "run".into()];
        args.extend(agents.iter().flatten().flat_map(|agent| ["--agent".into(), agent.to_string().into()]));
        args.extend([
            "--gateway".into(),
            format!("{INFRA}/{gateway}").into(),
            "--zone".into(),
            cluster.gateway_zone().as_str().into(),
            "--envoy".into(),
            binaries.envoy.clone().into(),
            "--admin".into(),
            admin.to_string().into(),
        ]);
        args
    };
    let state_of = |part: &str| -> Result<_, FleetError> {
        let state = files.join(part).join(name);
        fs::create_dir_all(&state).map_err(failed(&format!("cannot make {}", state.display())))?;
        Ok(state)
    };
    let east_west = match addresses.east_west {
        Some((_, admin)) => Some(start(EAST_WEST, envoy_args(EAST_WEST, admin))?),
        None => None,
    };
    let (first, admin, second) = (addresses.agent, addresses.agent_admin, addresses.second_agent);
    let second_agent = match second {
        Some((agent, admin)) => {
            Some(start("second-agent", agent_args(agent, admin, &state_of("second-state")?, Some(first)))?)
        }
        None => None,
    };
    let other = second.map(|(agent, _)| agent);
    Ok(Cluster {
        spec: cluster.clone(),
        addresses,
        agent: start("agent", agent_args(first, admin, &state_of("state")?, other))?,
        second_agent,
        edge: start(EDGE, envoy_args(EDGE, addresses.edge_admin))?,
        east_west,
    })
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> FleetError {
    let what = what.to_owned();
    move |cause| FleetError::Io { what, cause }
}
