//! Who is measured: which program it is, and how it is started with its endpoints.

use super::{
    ENDPOINTS, SERVICE, ZONE_A, ZONE_B,
    config::{self, Places, Template},
};
use crate::{
    clock::LabClock,
    fetch,
    fleet::{Binaries, ClusterSpec, Fleet, FleetError, FleetSpec, PolicySpec, hostname, spec::known},
    net::Loopback,
    process::{Child, ChildSpec, ProcessError},
    toy::{Ledger, Toy, ToyError, ToySpec},
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::{
    env, fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// How long one may take to serve after its start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Answers in a row after which it serves.
const ANSWERS: u32 = 20;
/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// Where Debian puts servers, which is not on everybody's path.
const SERVERS: &str = "/usr/sbin";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contestant {
    /// Tidegate with an Envoy as its edge.
    Tidegate,
    /// Envoy on its own, with a file.
    Envoy,
    /// `HAProxy`.
    HaProxy,
    /// nginx.
    Nginx,
    /// Traefik.
    Traefik,
}

impl Contestant {
    /// All, in the order in which they are run.
    pub const ALL: [Self; 5] = [Self::Tidegate, Self::Envoy, Self::HaProxy, Self::Nginx, Self::Traefik];

    /// By its name on the command line.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Its name on the command line, which is also its program's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::Envoy => "envoy",
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Traefik => "traefik",
        }
    }

    const fn templates(self) -> &'static [Template] {
        match self {
            Self::Tidegate => &[],
            Self::Envoy => config::ENVOY,
            Self::HaProxy => config::HAPROXY,
            Self::Nginx => config::NGINX,
            Self::Traefik => config::TRAEFIK,
        }
    }

    /// How a proxy is started in the foreground with the first of its files.
    fn arguments(self, file: &Path) -> Vec<std::ffi::OsString> {
        let words: &[&str] = match self {
            // Threads are as many as cores, as for all others.
            Self::Envoy | Self::Tidegate => &["--disable-hot-restart", "-l", "error", "-c"],
            Self::HaProxy => &["-db", "-f"],
            Self::Nginx => &["-e", "stderr", "-c"],
            Self::Traefik => &["--configFile"],
        };
        words.iter().map(Into::into).chain([file.into()]).collect()
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tidegate => "Tidegate + Envoy",
            Self::Envoy => "Envoy alone",
            Self::HaProxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Traefik => "Traefik",
        })
    }
}

impl Serialize for Contestant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The programs of all contestants.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The `tidegate` command.
    pub tidegate: PathBuf,
    /// Envoy, for Tidegate and on its own.
    pub envoy: PathBuf,
    /// Traefik, if it is not to be looked for on the path.
    pub traefik: Option<PathBuf>,
}

impl Programs {
    /// The program of a contestant; `None` if it is not installed.
    #[must_use]
    pub fn of(&self, contestant: Contestant) -> Option<PathBuf> {
        match contestant {
            Contestant::Tidegate => Some(self.tidegate.clone()),
            Contestant::Envoy => Some(self.envoy.clone()),
            Contestant::Traefik if self.traefik.is_some() => self.traefik.clone(),
            Contestant::HaProxy | Contestant::Nginx | Contestant::Traefik => {
                let path = env::var_os("PATH").unwrap_or_default();
                let folders = env::split_paths(&path).chain([PathBuf::from(SERVERS)]);
                folders.map(|folder| folder.join(contestant.name())).find(|file| file.is_file())
            }
        }
    }

    /// The version of a contestant, as its program tells it; Tidegate's with that of its Envoy.
    #[must_use]
    pub fn version(&self, contestant: Contestant) -> Option<String> {
        let program = self.of(contestant)?;
        let flag = match contestant {
            Contestant::Tidegate | Contestant::Envoy => "--version",
            Contestant::HaProxy | Contestant::Nginx => "-v",
            Contestant::Traefik => "version",
        };
        let said = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
        let text = [said.stdout, said.stderr].concat();
        version_in(&String::from_utf8_lossy(&text))
    }
}

/// The first word in a text that reads like a version.
fn version_in(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        let mut parts = word.split(['.', '-']);
        (0..3).all(|_| parts.next().is_some_and(|it| it.parse::<u32>().is_ok()))
    };
    text.split([' ', '/', '\n', '\t', ',']).find(is_version).map(str::to_owned)
}

/// One that cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum ContestError {
    /// A file or an address.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
    /// Its program is not there.
    #[error("{0} is not installed")]
    Absent(Contestant),
    /// Tidegate's policy.
    #[error("configs/tidegate.yaml: {0}")]
    Policy(#[from] serde_saphyr::Error),
    /// An endpoint.
    #[error(transparent)]
    Toy(#[from] ToyError),
    /// Its process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Tidegate's fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Something that does not answer.
    #[error(transparent)]
    Fetch(#[from] fetch::FetchError),
    /// It does not serve.
    #[error("{contestant} does not serve after {START_LIMIT:?}; the end of its log:\n{tail}")]
    Silent {
        /// Who.
        contestant: Contestant,
        /// The last lines of its log.
        tail: String,
    },
}

/// One that runs and serves. Dropping it kills its processes.
#[derive(Debug)]
pub enum Subject {
    /// Tidegate.
    Fleet(Box<Fleet>),
    /// A proxy.
    Proxy(Box<Proxy>),
}

/// A proxy and its endpoints.
#[derive(Debug)]
pub struct Proxy {
    // First, so that it is gone before what it talks to.
    child: Child,
    listen: SocketAddr,
    toys: Vec<Toy>,
    clock: LabClock,
    _files: TempDir,
    _loopback: Loopback,
}

impl Subject {
    /// Starts one, and waits until it serves. Must be called within a tokio runtime.
    pub async fn start(contestant: Contestant, programs: &Programs) -> Result<Self, ContestError> {
        let program = programs.of(contestant).ok_or(ContestError::Absent(contestant))?;
        if contestant == Contestant::Tidegate {
            let binaries = Binaries { tidegate: program, envoy: programs.envoy.clone() };
            let mut fleet = Fleet::start(fleet_spec()?, &binaries)?;
            fleet.ready(START_LIMIT).await?;
            return Ok(Self::Fleet(Box::new(fleet)));
        }
        let mut proxy = Proxy::start(contestant, program)?;
        proxy.ready(contestant).await?;
        Ok(Self::Proxy(Box::new(proxy)))
    }

    /// Where it listens for requests.
    #[must_use]
    pub fn listen(&self) -> Option<SocketAddr> {
        match self {
            Self::Fleet(fleet) => {
                fleet.addresses(&fleet.spec().clusters.first()?.name).ok().map(|it| it.edge)
            }
            Self::Proxy(proxy) => Some(proxy.listen),
        }
    }

    /// Its endpoints in zone a.
    #[must_use]
    pub fn zone_a(&self) -> Vec<&Toy> {
        let toys = match self {
            Self::Fleet(fleet) => fleet.toys(),
            Self::Proxy(proxy) => &proxy.toys,
        };
        toys.iter().filter(|toy| toy.spec().zone.as_str() == ZONE_A).collect()
    }

    /// Its time.
    #[must_use]
    pub const fn clock(&self) -> LabClock {
        match self {
            Self::Fleet(fleet) => fleet.clock(),
            Self::Proxy(proxy) => proxy.clock,
        }
    }

    /// Writes what it says of itself (statistics and hosts of its Envoy, status and timeline of its agent) into a folder.
    /// Only for Tidegate; others say nothing.
    pub async fn keep(&self, folder: &Path) -> Result<(), ContestError> {
        let Self::Fleet(fleet) = self else { return Ok(()) };
        fs::create_dir_all(folder)
            .map_err(|cause| ContestError::Io { what: "cannot make the folder", cause })?;
        for cluster in &fleet.spec().clusters {
            let addresses = fleet.addresses(&cluster.name)?;
            for (file, address, path) in [
                ("stats.txt", addresses.edge_admin, "/stats"),
                ("clusters.txt", addresses.edge_admin, "/clusters"),
                ("status.json", addresses.agent_admin, "/api/v1/status"),
                ("decisions.json", addresses.agent_admin, "/api/v1/decisions?after=0"),
            ] {
                let text = fetch::get(address, None, path, Duration::from_secs(2)).await?.1;
                fs::write(folder.join(file), text)
                    .map_err(|cause| ContestError::Io { what: "cannot write what was said", cause })?;
            }
        }
        Ok(())
    }

    /// Ends it.
    pub async fn stop(self) {
        match self {
            Self::Fleet(fleet) => fleet.stop().await,
            Self::Proxy(mut proxy) => {
                if let Err(error) = proxy.child.kill().await {
                    tracing::warn!(%error, "a proxy did not end");
                }
            }
        }
    }
}

/// One cluster of two zones with one service, and the policy of `configs/tidegate.yaml`.
fn fleet_spec() -> Result<FleetSpec, ContestError> {
    let policy: Value = serde_saphyr::from_str(config::TIDEGATE)?;
    let cluster = ClusterSpec {
        name: known("us-east"),
        region: known("us-east"),
        zones: vec![known(ZONE_A), known(ZONE_B)],
        workloads: true,
    };
    Ok(FleetSpec {
        clusters: vec![cluster],
        services: vec![known(SERVICE)],
        endpoints_per_zone: u32::try_from(ENDPOINTS).unwrap_or(u32::MAX),
        round_trips: Vec::new(),
        policy: PolicySpec {
            // The file says all of it anew.
            more: policy["spec"].as_object().cloned().unwrap_or_default(),
            ..FleetSpec::demo().policy
        },
        jitter: Duration::ZERO,
    })
}

impl Proxy {
    fn start(contestant: Contestant, program: PathBuf) -> Result<Self, ContestError> {
        let failed = |what| move |cause| ContestError::Io { what, cause };
        let files = tempfile::Builder::new()
            .prefix("tidegate-contest-")
            .tempdir()
            .map_err(failed("cannot make a temporary folder"))?;
        let (loopback, clock) = (Loopback::claim(), LabClock::start());
        let toys = start_toys(&loopback, clock)?;
        let reserve = || loopback.reserve().map_err(failed("cannot reserve an address"));
        let (listen, admin) = (reserve()?, reserve()?);
        let addresses = |first: usize| std::array::from_fn(|number| toys[first + number].address());
        let places = Places {
            listen: listen.address(),
            admin: admin.address(),
            folder: files.path(),
            zone_a: addresses(0),
            zone_b: addresses(ENDPOINTS),
        };
        for template in contestant.templates() {
            fs::write(files.path().join(template.name), template.fill(&places))
                .map_err(failed("cannot write a configuration"))?;
        }
        let first = contestant.templates().first().map_or("", |template| template.name);
        let spec = ChildSpec {
            name: contestant.name().to_owned(),
            program,
            args: contestant.arguments(&files.path().join(first)),
            log_dir: files.path().to_owned(),
        };
        let address = listen.address();
        // The proxy binds these now.
        drop((listen, admin));
        Ok(Self {
            child: Child::start(spec)?,
            listen: address,
            toys,
            clock,
            _files: files,
            _loopback: loopback,
        })
    }

    /// Waits until it has answered some times in a row.
    async fn ready(&mut self, contestant: Contestant) -> Result<(), ContestError> {
        let end = self.clock.now() + START_LIMIT;
        let mut in_a_row = 0;
        while in_a_row < ANSWERS {
            self.child.check()?;
            let host = hostname(&known(SERVICE));
            let answer = fetch::get(self.listen, Some(&host), "/", Duration::from_secs(1)).await;
            if answer.is_ok_and(|(status, _)| status.is_success()) {
                in_a_row += 1;
                continue;
            }
            in_a_row = 0;
            if self.clock.now() > end {
                return Err(ContestError::Silent { contestant, tail: self.child.tail() });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// The endpoints of zone a, then those of zone b.
fn start_toys(loopback: &Loopback, clock: LabClock) -> Result<Vec<Toy>, ToyError> {
    let ledger = Ledger::new();
    let mut toys = Vec::new();
    for zone in [ZONE_A, ZONE_B] {
        for number in 0..ENDPOINTS {
            let spec = ToySpec {
                service: known(SERVICE),
                cluster: known("us-east"),
                zone: known(zone),
                name: format!("web-{zone}-{number}"),
                ip: loopback.next_ip(),
            };
            toys.push(Toy::start(spec, &ledger, clock)?);
        }
    }
    Ok(toys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, version) in [
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://", "2.6.12-1+deb12u4"),
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("Version:      3.7.15\nCodename:     langres\n", "3.7.15"),
            ("\n/e/envoy  version: 9e55809337/1.40.0/Clean/RELEASE/BoringSSL\n", "1.40.0"),
            ("tidegate 0.1.0\n", "0.1.0"),
        ] {
            assert_eq!(version_in(said).as_deref(), Some(version), "{said}");
        }
        assert_eq!(version_in("no such thing"), None);
    }

    #[test]
    fn every_contestant_and_every_proxy_has_a_name_and_a_configuration() {
        for contestant in Contestant::ALL {
            assert_eq!(Contestant::named(contestant.name()), Some(contestant));
            assert_eq!(contestant.templates().is_empty(), contestant == Contestant::Tidegate);
        }
        assert_eq!(Contestant::named("apache"), None);
    }

    #[test]
    fn tidegates_fleet_is_as_large_as_the_others_and_has_the_policy_of_the_file() {
        let spec = fleet_spec().unwrap();
        assert_eq!((spec.clusters.len(), spec.clusters[0].zones.len(), spec.endpoints_per_zone), (1, 2, 4));
        assert_eq!(spec.policy.more["failback"]["holdDown"], "30s");
        assert_eq!(spec.services, [known(SERVICE)]);
    }
}
