//! Who is measured: which program it is, where it is, and how it is started.

use super::config::{self, Template};
use crate::{fetch, fleet::FleetError, process::ProcessError, toy::ToyError};
use serde::{Serialize, Serializer};
use std::{
    env,
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// How long one may take to serve after its start.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);
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

    /// The files of a proxy; the first is the one that it is started with.
    pub(super) const fn templates(self) -> &'static [Template] {
        match self {
            Self::Tidegate => &[],
            Self::Envoy => config::ENVOY,
            Self::HaProxy => config::HAPROXY,
            Self::Nginx => config::NGINX,
            Self::Traefik => config::TRAEFIK,
        }
    }

    /// How a proxy is started in the foreground with the first of its files.
    pub(super) fn arguments(self, file: &Path) -> Vec<OsString> {
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
}
