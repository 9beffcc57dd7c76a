//! The agent at scale: how long a health change takes to be applied in a real Envoy when thousands of services are
//! loaded, what the agent costs, and how soon a restarted one serves. Run it as `cargo xtask bench agent`.
//!
//! Everything is real: the `tidegate` binary, Envoy, health checks over TCP, requests through the edge. A change begins
//! at the moment at which its last check was answered, and ends when the answer of another endpoint is there. The peer
//! is an Envoy that reads the same change from a file.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark talks on its terminal"
)]

mod estate;
mod peer;
mod reader;
mod report;
mod toys;
mod watch;

use anyhow::{Context as _, Result, bail};
use estate::Size;
use report::Report;
use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tidegate_lab::{
    fetch,
    net::{Loopback, raise_open_file_limit},
    process::{Child, ChildSpec},
};
use toys::{Patient, Toys};
use watch::{Asker, Cause};

/// What is asked for on the command line; see `cargo xtask bench agent --help`.
struct Options {
    tidegate: PathBuf,
    envoy: PathBuf,
    size: Size,
    span: Duration,
    json: Option<PathBuf>,
}

fn options() -> Result<Options> {
    let mut found: HashMap<String, String> = HashMap::new();
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        found.insert(name, value);
    }
    let mut number = |name: &str, default: usize| -> Result<usize> {
        let text = found.remove(name);
        text.map_or(Ok(default), |it| it.parse().with_context(|| format!("{name} {it} is no whole number")))
    };
    let size = Size {
        many: number("--services", 10_000)?,
        endpoints: number("--endpoints", 10)?.max(1),
        watched: number("--watched", 88)?.clamp(1, 10_000),
    };
    let span = Duration::from_secs(u64::try_from(number("--seconds", 20)?)?);
    let mut path = |name: &str| found.remove(name).map(PathBuf::from);
    let options = Options {
        tidegate: path("--tidegate")
            .context("--tidegate PATH is needed: `cargo xtask bench agent` gives it")?,
        envoy: path("--envoy").context("--envoy PATH is needed: `cargo xtask bench agent` gives it")?,
        json: path("--json"),
        size,
        span,
    };
    match found.keys().next() {
        Some(unknown) => bail!("{unknown} is not known"),
        None => Ok(options),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = options()?;
    raise_open_file_limit();
    let files = tempfile::Builder::new().prefix("tidegate-bench-").tempdir()?;
    let bench = Bench::start(options, files.path()).await?;
    let mut report = Report::new(bench.options.size);
    eprintln!("Envoy alone, reading each change from a file ...");
    bench.peer(&mut report).await?;
    eprintln!("Tidegate and Envoy ...");
    bench.tidegate(&mut report).await?;
    println!("{}", report.table());
    if let Some(path) = &bench.options.json {
        fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
        println!("Written to {}.", path.display());
    }
    Ok(())
}

/// All that both runs need.
struct Bench<'a> {
    options: Options,
    files: &'a Path,
    loopback: Loopback,
    toys: Arc<Toys>,
    port: u16,
}

impl<'a> Bench<'a> {
    async fn start(options: Options, files: &'a Path) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await?;
        let port = listener.local_addr()?.port();
        let watched = 0..options.size.watched;
        let patients = watched.map(|it| (estate::watched_ips(it)[0], Arc::new(Patient::default()))).collect();
        let toys = Arc::new(Toys { patients, ..Toys::default() });
        toys::serve(Arc::clone(&toys), listener);
        fs::create_dir_all(files.join("logs"))?;
        Ok(Self { options, files, loopback: Loopback::claim(), toys, port })
    }

    fn child(&self, name: &str, program: &Path, args: Vec<OsString>) -> Result<Child> {
        let spec = ChildSpec {
            name: name.to_owned(),
            program: program.to_owned(),
            args,
            log_dir: self.files.join("logs"),
        };
        Ok(Child::start(spec)?)
    }

    fn addresses<const N: usize>(&self) -> Result<[SocketAddr; N]> {
        let reserved: Vec<_> = (0..N).map(|_| self.loopback.reserve()).collect::<Result<_, _>>()?;
        Ok(std::array::from_fn(|it| reserved[it].address()))
    }

    async fn peer(&self, report: &mut Report) -> Result<()> {
        let [edge, admin] = self.addresses()?;
        let size = self.options.size;
        let (files, bootstrap) = peer::Files::write(self.files, size, self.port, edge, admin)?;
        let args = ["--disable-hot-restart", "--log-level", "error", "--config-path"];
        let args = args.iter().map(OsString::from).chain([bootstrap.into()]).collect();
        let started = Instant::now();
        let mut envoy = self.child("peer", &self.options.envoy, args)?;
        serves(&mut envoy, edge, size.watched).await?;
        report.file_serves_s = started.elapsed().as_secs_f64();
        let watched =
            (0..size.watched).map(|it| (Cause::File(files.clone()), estate::watched_ips(it))).collect();
        // As many changes per second as the checks of the other run make.
        let pause = Duration::from_millis(780);
        let applied = watch::run(edge, watched, self.options.span, pause).await?;
        envoy.kill().await?;
        report.file = Some(applied.into());
        Ok(())
    }

    async fn tidegate(&self, report: &mut Report) -> Result<()> {
        let size = self.options.size;
        let [edge, agent_at, agent_admin, envoy_admin, second_admin] = self.addresses()?;
        let manifests = self.files.join("manifests");
        estate::write(&manifests, size, self.port, edge)?;
        let mut agent = self.agent(&manifests, agent_at, agent_admin)?;
        let started = Instant::now();
        up(&mut agent, agent_admin).await?;
        report.agent_up_s = started.elapsed().as_secs_f64();
        let mut envoy = self.envoy("edge", agent_at, envoy_admin)?;
        serves(&mut envoy, edge, size.watched).await?;
        report.first_start_s = started.elapsed().as_secs_f64();
        // Every endpoint has been checked at least once before anything is measured.
        self.all_checked(&mut agent).await?;
        idle(&mut agent).await?;
        let before = agent.usage()?;
        let checks = self.toys.checks.load(Ordering::Relaxed);
        let measured = Instant::now();
        let watched = (0..size.watched).map(|it| {
            let ips = estate::watched_ips(it);
            (Cause::Checks(Arc::clone(&self.toys.patients[&ips[0]])), ips)
        });
        let applied = watch::run(edge, watched.collect(), self.options.span, Duration::ZERO).await?;
        let wall = measured.elapsed().as_secs_f64();
        let after = agent.usage()?;
        report.agent_cpu = (after.cpu_s - before.cpu_s) / wall;
        report.checks_per_second =
            f64::from(u32::try_from(self.toys.checks.load(Ordering::Relaxed) - checks)?) / wall;
        report.agent_rss_mb = after.rss_mb;
        report.agent_peak_mb = after.peak_mb;
        report.tidegate = Some(applied.into());
        eprintln!("The agent again, with what it knew, and a new Envoy ...");
        envoy.kill().await?;
        agent.terminate()?;
        agent.wait(Duration::from_secs(10)).await?;
        let mut agent = self.agent(&manifests, agent_at, agent_admin)?;
        let started = Instant::now();
        up(&mut agent, agent_admin).await?;
        report.again_up_s = started.elapsed().as_secs_f64();
        let mut envoy = self.envoy("edge-2", agent_at, second_admin)?;
        let from_up = Instant::now();
        serves(&mut envoy, edge, size.watched).await?;
        report.again_serves_s = from_up.elapsed().as_secs_f64();
        report.restarted_mb = agent.usage()?.rss_mb;
        eprintln!("The agent once more, and a client that only reads ...");
        envoy.kill().await?;
        agent.terminate()?;
        agent.wait(Duration::from_secs(10)).await?;
        let mut agent = self.agent(&manifests, agent_at, agent_admin)?;
        up(&mut agent, agent_admin).await?;
        let services = size.many + size.watched;
        let read = reader::read_all(agent_at, "infra/edge", estate::ZONES[0], services).await?;
        report.again_read_s = read.as_secs_f64();
        Ok(())
    }

    fn agent(&self, manifests: &Path, listen: SocketAddr, admin: SocketAddr) -> Result<Child> {
        let args: Vec<OsString> = vec![
            "agent".into(),
            "--exit-with-stdin".into(),
            "--manifests".into(),
            manifests.into(),
            "--cluster".into(),
            estate::CLUSTER.into(),
            "--listen".into(),
            listen.to_string().into(),
            "--admin".into(),
            admin.to_string().into(),
            "--state-dir".into(),
            self.files.join("state").into(),
        ];
        self.child("agent", &self.options.tidegate, args)
    }

    fn envoy(&self, name: &str, agent: SocketAddr, admin: SocketAddr) -> Result<Child> {
        let args: Vec<OsString> = vec![
            "envoy".into(),
            "run".into(),
            "--exit-with-stdin".into(),
            "--agent".into(),
            agent.to_string().into(),
            "--gateway".into(),
            "infra/edge".into(),
            "--zone".into(),
            estate::ZONES[0].into(),
            "--envoy".into(),
            self.options.envoy.clone().into(),
            "--admin".into(),
            admin.to_string().into(),
        ];
        self.child(name, &self.options.tidegate, args)
    }

    /// Waits until so many checks were answered as there are endpoints.
    async fn all_checked(&self, agent: &mut Child) -> Result<()> {
        let size = self.options.size;
        let wanted = u64::try_from(size.many * size.endpoints + 2 * size.watched)?;
        let limit = Instant::now() + Duration::from_secs(150);
        while self.toys.checks.load(Ordering::Relaxed) < wanted {
            agent.check()?;
            if Instant::now() > limit {
                bail!("only {} of {wanted} checks came", self.toys.checks.load(Ordering::Relaxed));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// Waits until the agent's administration answers.
async fn up(agent: &mut Child, admin: SocketAddr) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(120);
    while fetch::get(admin, None, "/healthz", Duration::from_secs(1)).await.is_err() {
        agent.check()?;
        if Instant::now() > limit {
            bail!("the agent does not answer at {admin}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Waits until a child has worked off what its start brought (for two seconds it uses less than a third of a core), but
/// no longer than half a minute: what it needs without end is part of what is measured.
async fn idle(child: &mut Child) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let before = child.usage()?.cpu_s;
        tokio::time::sleep(Duration::from_secs(2)).await;
        child.check()?;
        if child.usage()?.cpu_s - before < 0.7 || Instant::now() > limit {
            return Ok(());
        }
    }
}

/// Waits until the last of the watched services is served through `edge`. Envoy begins to listen when it has all
/// clusters, so the first answer means that all services are there.
async fn serves(envoy: &mut Child, edge: SocketAddr, watched: usize) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(180);
    let last = watched - 1;
    loop {
        if let Ok(mut asker) = Asker::connect(edge, last).await
            && let Ok(Some(_)) = asker.ask().await
        {
            return Ok(());
        }
        envoy.check()?;
        if Instant::now() > limit {
            bail!("nothing is served at {edge}; the end of the log:\n{}", envoy.tail());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
