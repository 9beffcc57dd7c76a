//! An address to listen on, what comes in there, and how it is bound.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    str::FromStr,
};
use tokio::net::{TcpListener, UnixListener};

/// A socket is for its owner alone, unless somebody says otherwise.
const MODE: u32 = 0o600;

/// Where an agent listens for gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `HOST:PORT`: TLS if the cluster has an identity, plain if it has none.
    Tcp(SocketAddr),
    /// `plain:HOST:PORT`: plain; with an identity on loopback only, and for gRPC clients only.
    Plain(SocketAddr),
    /// `replicas:HOST:PORT`: the other replicas of the agent, by TLS if the cluster has an identity. Without one they come in
    /// at any other address too.
    Replicas(SocketAddr),
    /// `unix:PATH` or `unix:PATH,mode=660`: who may open the socket is believed.
    Unix {
        /// Where the socket is made. One that lies there and has nobody behind it is replaced.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Why it cannot be listened there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It is no address.
    #[error(
        "{0:?} is no address to listen on\n  hint: HOST:PORT, unix:PATH, unix:PATH,mode=660, plain:HOST:PORT or replicas:HOST:PORT"
    )]
    Address(String),
    /// Whoever reaches it would be believed, and more than this machine reaches it.
    #[error(
        "plain:{0} is not a loopback address, and this cluster has an identity: whoever reached it would be believed\n  \
         hint: gateways elsewhere come by TLS: --listen {0}, and `tidegate envoy certificate` for each of them"
    )]
    Plain(SocketAddr),
    /// Gateways and replicas show certificates of different authorities, so they have doors of their own.
    #[error(
        "the other replicas of this agent have no way in: it has an identity, and they come by it to an address of their own\n  \
         hint: --listen replicas:HOST:PORT, and that address as --replica of the others"
    )]
    NoReplicas,
    /// It cannot be bound.
    #[error("cannot listen on {at} (xDS and peer links): {source}")]
    Bind {
        /// Where.
        at: String,
        /// Why.
        source: io::Error,
    },
}

/// Who comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Whoever reaches it, and is who it says it is.
    Open,
    /// Gateways, as their certificates say.
    Gateways,
    /// gRPC clients, which have no secrets.
    Clients,
    /// Other replicas of the agent, as their certificates say where there are any.
    Replicas,
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let wrong = || ListenError::Address(text.to_owned());
        if let Some(rest) = text.strip_prefix("unix:") {
            let (path, mode) = match rest.split_once(",mode=") {
                None => (rest, MODE),
                Some((path, mode)) => (path, u32::from_str_radix(mode, 8).map_err(|_| wrong())?),
            };
            // Everybody on the machine may never.
            if path.is_empty() || mode & !0o660 != 0 {
                return Err(wrong());
            }
            return Ok(Self::Unix { path: path.into(), mode });
        }
        if let Some(address) = text.strip_prefix("replicas:") {
            return address.parse().map(Self::Replicas).map_err(|_| wrong());
        }
        match text.strip_prefix("plain:") {
            Some(address) => address.parse().map(Self::Plain).map_err(|_| wrong()),
            None => text.parse().map(Self::Tcp).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Plain(address) => write!(f, "plain:{address}"),
            Self::Replicas(address) => write!(f, "replicas:{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listen {
    /// Who comes in here.
    ///
    /// # Errors
    /// If nobody may.
    pub(crate) fn door(&self, has_identity: bool) -> Result<Door, ListenError> {
        match self {
            Self::Unix { .. } => Ok(Door::Open),
            Self::Replicas(_) => Ok(Door::Replicas),
            Self::Tcp(_) if has_identity => Ok(Door::Gateways),
            Self::Plain(address) if has_identity && !address.ip().is_loopback() => {
                Err(ListenError::Plain(*address))
            }
            Self::Plain(_) if has_identity => Ok(Door::Clients),
            Self::Tcp(_) | Self::Plain(_) => Ok(Door::Open),
        }
    }

    /// Binds it.
    ///
    /// # Errors
    /// If it cannot be bound.
    pub(crate) async fn bind(&self) -> Result<Bound, ListenError> {
        let bound = match self {
            Self::Tcp(address) | Self::Plain(address) | Self::Replicas(address) => {
                TcpListener::bind(address).await.map(Bound::Tcp)
            }
            Self::Unix { path, mode } => socket(path, *mode).map(|it| Bound::Unix(it, path.clone())),
        };
        bound.map_err(|source| ListenError::Bind { at: self.to_string(), source })
    }
}

/// A socket that is bound.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(TcpListener),
    /// With where it lies, which is not where it was made.
    Unix(UnixListener, PathBuf),
}

impl Bound {
    /// Where it is, as gateways dial it.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|it| it.to_string()).unwrap_or_default(),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }
}

/// Made beside, given its mode, then renamed: at no moment may somebody open it who should not.
fn socket(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody answers there"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Only its owner gets to what is made in here.
    let beside = folder.join(format!(".tidegate-{}", std::process::id()));
    fs::create_dir(&beside)?;
    let made = || {
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o700))?;
        let listener = UnixListener::bind(beside.join("s"))?;
        fs::set_permissions(beside.join("s"), fs::Permissions::from_mode(mode))?;
        fs::rename(beside.join("s"), path)?;
        Ok(listener)
    };
    let made = made();
    let _ = fs::remove_file(beside.join("s"));
    fs::remove_dir(&beside)?;
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_doors_follow_from_the_identity() {
        for (text, without, with) in [
            ("127.0.0.1:1", Door::Open, Some(Door::Gateways)),
            ("0.0.0.0:1", Door::Open, Some(Door::Gateways)),
            ("unix:/run/a.sock", Door::Open, Some(Door::Open)),
            ("unix:a.sock,mode=660", Door::Open, Some(Door::Open)),
            ("plain:[::1]:1", Door::Open, Some(Door::Clients)),
            ("plain:10.0.0.1:1", Door::Open, None),
            ("replicas:10.0.0.1:1", Door::Replicas, Some(Door::Replicas)),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.door(false).ok(), listen.door(true).ok()), (Some(without), with), "{text}");
        }
        for text in
            ["", "unix:", "unix:a,mode=666", "unix:a,mode=x", "localhost", "plain:x", "replicas:x", ":18000"]
        {
            assert!(text.parse::<Listen>().unwrap_err().to_string().contains("hint: HOST:PORT"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_replaces_only_one_that_nobody_is_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let listen = Listen::Unix { path: path.clone(), mode: 0o600 };
        let first = listen.bind().await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = listen.bind().await.unwrap_err().to_string();
        assert!(error.contains("somebody answers there"), "{error}");
        drop(first);
        let second = listen.bind().await.unwrap();
        assert_eq!(second.address(), format!("unix:{}", path.display()));
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
