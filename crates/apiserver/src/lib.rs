//! A Kubernetes API server for tests, on loopback, with an etcd of its own.
//!
//! [`ApiServer::start`] takes the first of:
//!
//! 1. `KUBEBUILDER_ASSETS`: a folder with `etcd` and `kube-apiserver`, as envtest has them.
//! 2. The small server that lies beside the project, in `../shared/kube`: the real API machinery, without controllers.
//!
//! Where there is neither, a test says so and is skipped; with `CI=true` it fails ([`ApiServer::start_or_skip`]). A server that
//! somebody else runs (`TIDEGATE_TEST_KUBECONFIG`) can be written to, but neither stopped nor restarted: [`external`] names it
//! for tests that need no more than that.
//!
//! Everything here blocks: these are processes that a test waits for. They end with the thread that started them, so start and
//! restart them in the test's own thread.

mod binaries;
mod keys;
mod process;
mod stand_in;
mod wait;

pub use stand_in::{Counted, Mood, Served, StandIn};

use binaries::Binaries;
use process::Child;
use std::{
    env, fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// How long a server may take to be ready; the small one takes a second, a real one ten.
const READY: Duration = Duration::from_secs(60);

/// How often other ports are tried when somebody else was faster.
const ATTEMPTS: usize = 5;

/// The user of [`ApiServer::kubeconfig`], who may do everything.
const ADMIN: &str = "admin";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing that could be started.
    #[error(
        "no Kubernetes API server to test with: set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver \
         (setup-envtest fetches one), or put the small server at {0}"
    )]
    Missing(PathBuf),
    /// A file or a process did not do what it should.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A process ended, or was not ready in time.
    #[error("{what}; the end of its log:\n{log}")]
    NotReady {
        /// Which process, and what it did.
        what: String,
        /// The last lines that it wrote.
        log: String,
    },
}

/// What a server is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether what a user may do is decided by RBAC objects; else all may do all.
    pub rbac: bool,
    /// Users beside the administrator, who belong to no group: see [`ApiServer::kubeconfig_of`].
    pub users: Vec<String>,
}

/// A running API server and its etcd. Both end when this is dropped.
#[derive(Debug)]
pub struct ApiServer {
    dir: TempDir,
    binaries: Binaries,
    options: Options,
    port: u16,
    etcd: Option<Child>,
    server: Option<Child>,
}

/// The kubeconfig of a server that somebody else runs, if `TIDEGATE_TEST_KUBECONFIG` names one.
#[must_use]
pub fn external() -> Option<PathBuf> {
    env::var_os("TIDEGATE_TEST_KUBECONFIG").map(PathBuf::from)
}

impl ApiServer {
    /// Starts one, or tells on standard error why the test is skipped.
    ///
    /// # Panics
    /// If there is no server and `CI` is `true`, or there is one and it does not start.
    #[must_use]
    pub fn start_or_skip(options: &Options) -> Option<Self> {
        match Self::start(options) {
            Ok(server) => Some(server),
            Err(error @ Error::Missing(_)) => {
                let line = format!("SKIPPED: {error}");
                assert_ne!(env::var("CI").as_deref(), Ok("true"), "{line}");
                #[allow(clippy::print_stderr)]
                {
                    eprintln!("{line}");
                }
                None
            }
            Err(error) => panic!("the Kubernetes API server does not start: {error}"),
        }
    }

    /// Starts one on free ports of loopback, and waits until it is ready.
    ///
    /// # Errors
    /// If there is none that could be started, or it does not become ready within a minute.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let binaries = Binaries::find()?;
        let mut tried = 0;
        loop {
            tried += 1;
            let port = free_ports().map_err(io_error("finding free ports"))?;
            match Self::start_on(binaries.clone(), options, port) {
                Err(Error::NotReady { .. }) if tried < ATTEMPTS => {}
                done => return done,
            }
        }
    }

    fn start_on(binaries: Binaries, options: &Options, port: u16) -> Result<Self, Error> {
        let dir = tempfile::Builder::new()
            .prefix("kube-api")
            .tempdir()
            .map_err(io_error("a folder for the server"))?;
        let options = options.clone();
        let mut server = Self { dir, binaries, options, port, etcd: None, server: None };
        server.write_tokens()?;
        server.start_etcd()?;
        server.start_server()?;
        server.write_kubeconfigs()?;
        Ok(server)
    }

    /// Where a client finds the server, and as whom: an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of(ADMIN)
    }

    /// The same for one of [`Options::users`].
    #[must_use]
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.kubeconfig"))
    }

    /// The server's port on 127.0.0.1; it stays the same over a restart.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The token that a user names himself with.
    #[must_use]
    pub fn token(user: &str) -> String {
        format!("token-of-{user}")
    }

    /// `kubectl` as the administrator.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.kubectl_as(ADMIN)
    }

    /// `kubectl` as one of [`Options::users`].
    #[must_use]
    pub fn kubectl_as(&self, user: &str) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", self.kubeconfig_of(user)).env("HOME", self.dir.path());
        command
    }

    /// Ends the API server at once, as a crash does; etcd goes on.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts the API server again after [`Self::kill`], on the same port with the same certificate and tokens.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill();
        self.start_server()
    }

    /// Keeps a copy of what is stored now; the server is stopped and started again for it.
    ///
    /// # Errors
    /// If the copy cannot be made, or the server does not start again.
    pub fn keep(&mut self) -> Result<Kept, Error> {
        let copy = tempfile::tempdir().map_err(io_error("a folder for the copy"))?;
        self.kill();
        self.etcd = None;
        copy_all(&self.etcd_dir(), copy.path()).map_err(io_error("copying what etcd holds"))?;
        self.start_etcd()?;
        self.start_server()?;
        Ok(Kept(copy))
    }

    /// Puts everything back to what it was at [`Self::keep`], resource versions included, as a restored backup does.
    ///
    /// # Errors
    /// If the copy cannot be put back, or the server does not start again.
    pub fn put_back(&mut self, kept: &Kept) -> Result<(), Error> {
        self.kill();
        self.etcd = None;
        fs::remove_dir_all(self.etcd_dir()).map_err(io_error("removing what etcd holds"))?;
        copy_all(kept.0.path(), &self.etcd_dir()).map_err(io_error("putting back what etcd held"))?;
        self.start_etcd()?;
        self.start_server()
    }

    fn etcd_dir(&self) -> PathBuf {
        self.dir.path().join("etcd")
    }

    fn start_etcd(&mut self) -> Result<(), Error> {
        let (clients, peers) = (url(self.port + 1), url(self.port + 2));
        let mut command = Command::new(self.binaries.etcd());
        command
            .arg("--data-dir")
            .arg(self.etcd_dir())
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args([
                "--initial-cluster",
                &format!("default={peers}"),
                "--unsafe-no-fsync",
                "--log-level",
                "warn",
            ]);
        self.etcd = Some(Child::spawn("etcd", &command, self.dir.path())?);
        Ok(())
    }

    fn start_server(&mut self) -> Result<(), Error> {
        let mut command = self.binaries.server(self.dir.path())?;
        let mode = if self.options.rbac { "RBAC" } else { "AlwaysAllow" };
        command
            .args(["--etcd-servers", &url(self.port + 1), "--secure-port", &self.port.to_string()])
            .args(["--bind-address", "127.0.0.1", "--authorization-mode", mode])
            .arg("--cert-dir")
            .arg(self.certificates())
            .arg("--token-auth-file")
            .arg(self.dir.path().join("tokens.csv"));
        let mut child = Child::spawn("kube-apiserver", &command, self.dir.path())?;
        wait::until_ready(&mut child, self.port, &Self::token(ADMIN), READY)?;
        self.server = Some(child);
        Ok(())
    }

    fn certificates(&self) -> PathBuf {
        self.dir.path().join("certs")
    }

    fn write_tokens(&self) -> Result<(), Error> {
        let admin = format!("{},{ADMIN},{ADMIN},\"system:masters\"\n", Self::token(ADMIN));
        let users = self.options.users.iter().map(|user| format!("{},{user},{user}\n", Self::token(user)));
        let text: String = [admin].into_iter().chain(users).collect();
        fs::write(self.dir.path().join("tokens.csv"), text).map_err(io_error("writing the tokens"))
    }

    fn write_kubeconfigs(&self) -> Result<(), Error> {
        let authority = self.certificates().join("apiserver.crt");
        for user in self.options.users.iter().map(String::as_str).chain([ADMIN]) {
            let (token, port, authority) = (Self::token(user), self.port, authority.display());
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
                 clusters:\n- name: test\n  cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority: \"{authority}\"}}\n\
                 users:\n- name: {user}\n  user: {{token: \"{token}\"}}\n\
                 contexts:\n- name: test\n  context: {{cluster: test, user: {user}}}\n"
            );
            fs::write(self.kubeconfig_of(user), text).map_err(io_error("writing a kubeconfig"))?;
        }
        Ok(())
    }
}

/// What was stored at one time.
#[derive(Debug)]
pub struct Kept(TempDir);

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The first of three ports in a row that nobody listens on.
fn free_ports() -> io::Result<u16> {
    loop {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let free = |offset: u16| {
            first.checked_add(offset).is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        };
        if (0..3).all(free) {
            return Ok(first);
        }
    }
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io { what: what.to_owned(), source }
}
