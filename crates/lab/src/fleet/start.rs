//! How a fleet comes up: addresses first, then what listens in this process, then manifests, then
//! the children. Nothing has to wait for anything else to be ready, but for a hub, if there is one.

use super::{
    Addresses, Binaries, Cluster, ClusterSpec, EdgeAddresses, Fleet, FleetError, FleetSpec,
    hub::{Hub, HubStart},
    manifests::{ClusterView, EAST_WEST, EDGE, EndpointView, INFRA, Reach},
};
use crate::{
    clock::LabClock,
    net::{Loopback, Reserved, raise_open_file_limit},
    process::{Child, ChildSpec},
    toy::{Ledger, Toy, ToySpec},
    wan::{Shape, Site, Wan, WanLink},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use tidegate_model::ClusterName;
use tokio::sync::Mutex;

/// From any cluster to the hub, each way: it stands somewhere on the same continent.
const HUB_DELAY: Duration = Duration::from_millis(20);

/// Addresses kept free for the children of one cluster.
struct Kept {
    agent: Reserved,
    agent_admin: Reserved,
    second_agent: Option<(Reserved, Reserved)>,
    edge: Option<(Reserved, Reserved)>,
    east_west: Option<(Reserved, Reserved)>,
}

/// A fleet before its children run.
struct Ground {
    spec: FleetSpec,
    binaries: Binaries,
    files: TempDir,
    loopback: Loopback,
    clock: LabClock,
    ledger: Ledger,
    toys: Vec<Toy>,
    wan: Wan,
    addresses: BTreeMap<ClusterName, Addresses>,
    kept: BTreeMap<ClusterName, Kept>,
    /// Where the hub listens, and its admin address.
    hub: Option<(Reserved, Reserved)>,
}

impl Fleet {
    /// Starts a fleet without a hub; [`Fleet::ready`] waits until it serves. Must be called within a tokio runtime.
    pub fn start(spec: FleetSpec, binaries: &Binaries) -> Result<Self, FleetError> {
        if spec.hub {
            return Err(FleetError::Spec("a fleet with a hub is started by Fleet::start_joined"));
        }
        Ground::lay(spec, binaries)?.launch(None, &BTreeMap::new())
    }

    /// Starts a fleet, and the hub before, if it has one: each agent joins with a token of its own.
    pub async fn start_joined(spec: FleetSpec, binaries: &Binaries) -> Result<Self, FleetError> {
        if !spec.hub {
            return Self::start(spec, binaries);
        }
        if spec.second_agents {
            return Err(FleetError::Spec("a fleet with a hub has one agent per cluster"));
        }
        let mut ground = Ground::lay(spec, binaries)?;
        let hub = ground.start_hub()?;
        let tokens = hub.tokens(ground.addresses.keys()).await?;
        ground.launch(Some(hub), &tokens)
    }
}

impl Ground {
    fn lay(spec: FleetSpec, binaries: &Binaries) -> Result<Self, FleetError> {
        raise_open_file_limit();
        let files = tempfile::Builder::new()
            .prefix("tidegate-lab-")
            .tempdir()
            .map_err(failed("cannot make a temporary folder"))?;
        fs::create_dir_all(files.path().join("logs")).map_err(failed("cannot make the folder for logs"))?;
        let (loopback, clock, ledger) = (Loopback::claim(), LabClock::start(), Ledger::new());
        let toys = start_toys(&spec, &loopback, &ledger, clock)?;
        let reserve = || -> io::Result<_> {
            let clusters = spec.clusters.iter();
            let kept =
                clusters.map(|it| Ok((it.name.clone(), Kept::reserve(&loopback, it, spec.second_agents)?)));
            Ok((kept.collect::<io::Result<BTreeMap<_, _>>>()?, two(&loopback, spec.hub)?))
        };
        let (kept, hub) = reserve().map_err(failed("cannot reserve addresses"))?;
        let hub_at = hub.as_ref().map(|(it, _)| it.address());
        let (wan, addresses) = start_wan(&spec, &loopback, &kept, hub_at)
            .map_err(failed("cannot start the links between sites"))?;
        let binaries = binaries.clone();
        let ground = Self { spec, binaries, files, loopback, clock, ledger, toys, wan, addresses, kept, hub };
        ground.write_manifests()?;
        Ok(ground)
    }

    fn start_hub(&mut self) -> Result<Hub, FleetError> {
        let (listen, admin) = self.hub.take().ok_or(FleetError::Spec("there is no hub to start"))?;
        let reach = self
            .addresses
            .iter()
            .filter_map(|(name, it)| Some((name.clone(), (gateway_name(name), it.east_west?.0.port()))));
        let start = HubStart {
            tidegate: &self.binaries.tidegate,
            files: self.files.path(),
            listen: listen.address(),
            admin: admin.address(),
            reach: reach.collect(),
        };
        // It binds these now.
        drop((listen, admin));
        Hub::start(start, &self.spec)
    }

    fn launch(
        mut self,
        hub: Option<Hub>,
        tokens: &BTreeMap<ClusterName, String>,
    ) -> Result<Fleet, FleetError> {
        // The children bind these now.
        self.kept.clear();
        let mut clusters = BTreeMap::new();
        for spec in &self.spec.clusters {
            let start = ClusterStart {
                spec,
                fleet: &self.spec,
                addresses: self.addresses[&spec.name],
                binaries: &self.binaries,
                files: self.files.path(),
                joins: tokens.get(&spec.name).and_then(|token| {
                    let link = self.wan.link(&Site::Cluster(spec.name.clone()), &Site::Hub)?;
                    Some((link.address(), token.as_str()))
                }),
            };
            clusters.insert(spec.name.clone(), start.children()?);
        }
        let Self { spec, files, loopback, clock, ledger, toys, wan, .. } = self;
        Ok(Fleet { clusters, hub, toys, wan, faults: Mutex::default(), spec, clock, ledger, files, loopback })
    }

    fn write_manifests(&self) -> Result<(), FleetError> {
        for own in &self.spec.clusters {
            let folder = self.files.path().join("manifests").join(own.name.as_str());
            let write = || -> io::Result<()> {
                fs::create_dir_all(&folder)?;
                for (name, text) in self.manifests(own).map_err(io::Error::other)? {
                    fs::write(folder.join(name), text)?;
                }
                if self.spec.hub {
                    let hosts = self.files.path().join("hosts");
                    fs::create_dir_all(&hosts)?;
                    fs::write(hosts.join(own.name.as_str()), self.hosts(own))?;
                }
                Ok(())
            };
            write().map_err(failed(&format!("cannot write the manifests in {}", folder.display())))?;
        }
        Ok(())
    }

    fn manifests(
        &self,
        own: &ClusterSpec,
    ) -> Result<BTreeMap<&'static str, String>, serde_saphyr::SerializeError> {
        // Its own gateway as it is, others by the link that leads there.
        let reach: Reach = self
            .addresses
            .iter()
            .filter_map(|(name, it)| {
                let own_gateway = it.east_west.map(|(gateway, _)| gateway);
                let address = if *name == own.name { own_gateway } else { self.way(own, name) }?;
                Some((name.clone(), (address.ip().to_string(), address.port())))
            })
            .collect();
        let endpoints: Vec<_> = self
            .toys
            .iter()
            .filter(|toy| toy.spec().cluster == own.name)
            .map(|toy| EndpointView {
                name: toy.spec().name.clone(),
                service: toy.spec().service.clone(),
                zone: toy.spec().zone.clone(),
                address: toy.address(),
            })
            .collect();
        let Addresses { edge, east_west, .. } = self.addresses[&own.name];
        let (edge, east_west) = (edge.map(|it| it.gateway), east_west.map(|(gateway, _)| gateway));
        let view =
            ClusterView { fleet: &self.spec, own, edge, east_west, reach: &reach, endpoints: &endpoints };
        view.files()
    }

    /// The link by which a cluster reaches another one.
    fn way(&self, own: &ClusterSpec, other: &ClusterName) -> Option<SocketAddr> {
        let [from, to] = [&own.name, other].map(|name| Site::Cluster(name.clone()));
        self.wan.link(&from, &to).map(WanLink::address)
    }

    /// How a cluster finds the gateways of the others: the hub tells all the same names, and each has links of its own.
    fn hosts(&self, own: &ClusterSpec) -> String {
        let ways = self.addresses.keys().filter_map(|name| Some((name, self.way(own, name)?)));
        ways.map(|(name, way)| format!("{} {}\n", way.ip(), gateway_name(name))).collect()
    }
}

/// The name by which a hub's policy calls the east-west gateway of a cluster.
fn gateway_name(cluster: &ClusterName) -> String {
    format!("gateways.{cluster}.lab")
}

fn two(loopback: &Loopback, wanted: bool) -> io::Result<Option<(Reserved, Reserved)>> {
    if wanted { Ok(Some((loopback.reserve()?, loopback.reserve()?))) } else { Ok(None) }
}

impl Kept {
    fn reserve(loopback: &Loopback, cluster: &ClusterSpec, second_agents: bool) -> io::Result<Self> {
        Ok(Self {
            agent: loopback.reserve()?,
            agent_admin: loopback.reserve()?,
            second_agent: two(loopback, second_agents)?,
            edge: two(loopback, cluster.edge)?,
            east_west: two(loopback, cluster.workloads)?,
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
    hub: Option<SocketAddr>,
) -> io::Result<(Wan, BTreeMap<ClusterName, Addresses>)> {
    let regions = spec.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.region.clone()));
    let (mut wan, mut addresses) = (Wan::new(regions), BTreeMap::new());
    let site = |name: &ClusterName| Site::Cluster(name.clone());
    let pair =
        |it: &Option<(Reserved, Reserved)>| it.as_ref().map(|(it, admin)| (it.address(), admin.address()));
    for cluster in &spec.clusters {
        let own = &kept[&cluster.name];
        let edge = match pair(&own.edge) {
            Some((gateway, admin)) => {
                let link = WanLink::start(loopback.next_ip(), gateway, Shape::default())?;
                let access = link.address();
                wan.add_access(cluster.name.clone(), link);
                Some(EdgeAddresses { gateway, admin, access })
            }
            None => None,
        };
        let at = Addresses {
            agent: own.agent.address(),
            agent_admin: own.agent_admin.address(),
            second_agent: pair(&own.second_agent),
            edge,
            east_west: pair(&own.east_west),
        };
        addresses.insert(cluster.name.clone(), at);
        for other in spec.clusters.iter().filter(|other| other.name != cluster.name) {
            let Some(target) = kept[&other.name].east_west() else { continue };
            let rtt = spec.rtt(&cluster.region, &other.region).unwrap_or_default();
            let shape = Shape { delay: rtt / 2, jitter: spec.jitter, handshake: true };
            // A hub's policy names one port for all who come.
            let port = if hub.is_some() { target.port() } else { 0 };
            let link = WanLink::start_at((loopback.next_ip(), port).into(), target, shape)?;
            wan.add_link(site(&cluster.name), site(&other.name), link);
        }
        if let Some(hub) = hub {
            let shape = Shape { delay: HUB_DELAY, jitter: spec.jitter, handshake: true };
            wan.add_link(site(&cluster.name), Site::Hub, WanLink::start(loopback.next_ip(), hub, shape)?);
        }
    }
    Ok((wan, addresses))
}

/// What the children of one cluster are started with.
struct ClusterStart<'a> {
    spec: &'a ClusterSpec,
    fleet: &'a FleetSpec,
    addresses: Addresses,
    binaries: &'a Binaries,
    files: &'a Path,
    /// How it reaches the hub, and its token.
    joins: Option<(SocketAddr, &'a str)>,
}

impl ClusterStart<'_> {
    fn children(&self) -> Result<Cluster, FleetError> {
        let Addresses { agent, agent_admin, second_agent: second, edge, east_west } = self.addresses;
        let gateway = |name: &'static str, admin: Option<SocketAddr>| {
            admin.map(|admin| self.start(name, self.envoy_args(name, admin))).transpose()
        };
        let east_west = gateway(EAST_WEST, east_west.map(|(_, admin)| admin))?;
        let second_agent = match second {
            Some((listen, admin)) => {
                let state = self.state("second-state")?;
                Some(self.start("second-agent", self.agent_args(listen, admin, state, Some(agent)))?)
            }
            None => None,
        };
        let other = second.map(|(agent, _)| agent);
        let args = self.agent_args(agent, agent_admin, self.state("state")?, other);
        Ok(Cluster {
            spec: self.spec.clone(),
            addresses: self.addresses,
            agent: self.start("agent", args)?,
            second_agent,
            edge: gateway(EDGE, edge.map(|it| it.admin))?,
            east_west,
        })
    }

    fn start(&self, part: &str, args: Vec<OsString>) -> Result<Mutex<Child>, FleetError> {
        let child = Child::start(ChildSpec {
            name: format!("{}-{part}", self.spec.name),
            program: self.binaries.tidegate.clone(),
            args: args.into_iter().chain(["--exit-with-stdin".into()]).collect(),
            log_dir: self.files.join("logs"),
        })?;
        Ok(Mutex::new(child))
    }

    fn agent_args(
        &self,
        listen: SocketAddr,
        admin: SocketAddr,
        state: PathBuf,
        other: Option<SocketAddr>,
    ) -> Vec<OsString> {
        let name = self.spec.name.as_str();
        let manifests = self.files.join("manifests").join(name);
        let mut args: Vec<OsString> =
            vec!["agent".into(), "--cluster".into(), name.into(), "--manifests".into(), manifests.into()];
        let (listen, admin) = (listen.to_string(), admin.to_string());
        args.extend(["--listen".into(), listen.into(), "--admin".into(), admin.into()]);
        args.extend(["--state-dir".into(), state.into()]);
        args.extend(other.into_iter().flat_map(|other| ["--replica".into(), other.to_string().into()]));
        if let Some((hub, token)) = self.joins {
            args.extend(["--hub".into(), hub.to_string().into(), "--join".into(), token.into()]);
            args.extend(["--listen".into(), self.socket()]);
            args.extend(["--hosts".into(), self.files.join("hosts").join(name).into()]);
        }
        args
    }

    /// Where the Envoys of a cluster that joined a hub reach their agent: on the same host they need no certificate.
    fn socket(&self) -> OsString {
        let mut socket = OsString::from("unix:");
        socket.push(self.files.join(format!("{}.sock", self.spec.name)));
        socket
    }

    fn envoy_args(&self, gateway: &str, admin: SocketAddr) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["envoy".into(), "run".into()];
        let agents = [Some(self.addresses.agent), self.addresses.second_agent.map(|(agent, _)| agent)];
        match self.joins {
            Some(_) => args.extend(["--agent".into(), self.socket()]),
            None => {
                let agents = agents.iter().flatten();
                args.extend(agents.flat_map(|agent| ["--agent".into(), agent.to_string().into()]));
            }
        }
        args.extend([
            "--gateway".into(),
            format!("{INFRA}/{gateway}").into(),
            "--zone".into(),
            self.spec.gateway_zone().as_str().into(),
            "--envoy".into(),
            self.binaries.envoy.clone().into(),
            "--admin".into(),
            admin.to_string().into(),
        ]);
        let threads =
            self.fleet.concurrency.map(|threads| ["--concurrency".into(), threads.to_string().into()]);
        args.extend(threads.into_iter().flatten());
        args
    }

    fn state(&self, folder: &str) -> Result<PathBuf, FleetError> {
        let state = self.files.join(folder).join(self.spec.name.as_str());
        fs::create_dir_all(&state).map_err(failed(&format!("cannot make {}", state.display())))?;
        Ok(state)
    }
}

pub(super) fn failed(what: &str) -> impl FnOnce(io::Error) -> FleetError {
    let what = what.to_owned();
    move |cause| FleetError::Io { what, cause }
}
