//! What the page of a large fleet costs its hub: 100 clusters with 10,000 services that change all the time, 50 people with a page open,
//! and some whose browsers are stuck. Run it as `cargo xtask bench page`.
//!
//! The hub is a real `tidegate` process. Agents ([`estate`]) and browsers ([`browser`]) are in this process: what they use is not counted,
//! but runs on the same cores.

mod browser;
mod estate;
mod report;

use crate::{
    agents::{Agent, Common, Said},
    hub,
    report::Spread,
};
use anyhow::{Context as _, Result, bail};
use browser::{Open, Witnessed};
use estate::{Large, PER_TEAM, PROBES};
use futures::{StreamExt as _, TryStreamExt as _};
use report::{Load, Report, Visit};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tidegate_lab::{net::Loopback, process::Child};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long anything may take to come about.
const LIMIT: Duration = Duration::from_secs(180);
/// Agents that join beside each other.
const JOINING: usize = 8;
/// Browsers that never read, of each kind.
const STUCK: usize = 10;
/// Between two visits of a new page.
const VISIT: Duration = Duration::from_millis(150);

/// What the open pages show, and how many of each. Half of them is the fleet, as in an incident.
const OPEN: [(&str, usize); 11] = [
    ("/", 20),
    ("/services", 7),
    ("/services?standing=out", 5),
    ("/services?q=team-0012", 4),
    ("/services/team-0003/service-1", 3),
    ("/services/team-0044/service-50", 3),
    ("/timeline", 3),
    ("/shifts", 1),
    ("/drills", 1),
    ("/rollout", 2),
    ("/foresight", 1),
];

/// What somebody new asks for, a page of each kind.
const VISITED: [&str; 10] = [
    "/",
    "/services",
    "/services?sort=rate&desc=1&page=50",
    "/services/team-0077/service-7",
    "/foresight",
    "/shifts",
    "/drills",
    "/rollout",
    "/audit",
    "/timeline",
];

struct Options {
    tidegate: PathBuf,
    clusters: usize,
    teams: usize,
    span: Duration,
    json: Option<PathBuf>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        found.insert(name, value);
    }
    let mut number = |name: &str, default: usize| -> Result<usize> {
        let text = found.remove(name);
        text.map_or(Ok(default), |it| it.parse().with_context(|| format!("{name} {it} is no whole number")))
    };
    let (clusters, teams) = (number("--clusters", 100)?, number("--teams", 100)?);
    let span = Duration::from_secs(u64::try_from(number("--seconds", 60)?)?);
    let mut path = |name: &str| found.remove(name).map(PathBuf::from);
    let tidegate =
        path("--tidegate").context("--tidegate PATH is needed: `cargo xtask bench page` gives it")?;
    let json = path("--json");
    if let Some(unknown) = found.keys().next() {
        bail!("{unknown} is not known");
    }
    if clusters < PROBES || teams == 0 {
        bail!("at least {PROBES} clusters and a team are needed");
    }
    Ok(Options { tidegate, clusters, teams, span, json })
}

/// Measures what the arguments ask for.
pub(crate) async fn run(arguments: impl Iterator<Item = String>) -> Result<()> {
    let options = options(arguments)?;
    let files = tempfile::Builder::new().prefix("tidegate-bench-").tempdir()?;
    hub::write_policies(files.path(), options.clusters, options.teams, PER_TEAM)?;
    eprintln!("{} agents join ...", options.clusters);
    let mut bench = Bench::start(&options, files.path()).await?;
    let mut report =
        Report { clusters: options.clusters, services: options.teams * PER_TEAM, ..Report::default() };
    bench.settle().await;
    eprintln!("Nobody looks for {} s ...", options.span.as_secs());
    report.loads.push(bench.load("nobody looks", options.span).await?);
    eprintln!("{} pages are open for {} s ...", browser::many(&OPEN), options.span.as_secs());
    let open = Open::all(bench.admin, &OPEN, &bench.stop);
    let witness = browser::witness(bench.admin, Arc::clone(&bench.estate), &bench.stop);
    bench.settle().await;
    open.forget();
    let name = format!("{} pages are open", browser::many(&OPEN));
    report.loads.push(bench.load(&name, options.span).await?);
    report.fetched(&open, options.span);
    eprintln!("Somebody new looks at each page ...");
    report.visits = bench.visits(options.span).await?;
    eprintln!("{} browsers are stuck as well, for {} s ...", 2 * STUCK, options.span.as_secs());
    let stuck = browser::stuck(bench.admin, STUCK).await?;
    bench.settle().await;
    let name = format!("{} stuck browsers as well", 2 * STUCK);
    report.loads.push(bench.load(&name, options.span).await?);
    drop(stuck);
    let Witnessed { events, shown } = witness.end().await?;
    // Pages are closed before the hub is.
    bench.stop.cancel();
    report.events = Some(Spread::of(events));
    report.shown = Some(Spread::of(shown));
    println!("{}", report.table());
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
        println!("Written to {}.", path.display());
    }
    Ok(bench.hub.kill().await?)
}

struct Bench {
    hub: Child,
    admin: SocketAddr,
    estate: Arc<Large>,
    common: Arc<Common>,
    stop: CancellationToken,
    _stop: DropGuard,
}

impl Bench {
    /// A hub, and all agents with its policy.
    async fn start(options: &Options, files: &std::path::Path) -> Result<Self> {
        let loopback = Loopback::claim();
        let (listen, admin) = (loopback.reserve()?.address(), loopback.reserve()?.address());
        let mut hub = hub::start(&options.tidegate, files, listen, admin)?;
        hub::until_up(&mut hub, admin).await?;
        let estate = Arc::new(Large::new(options.clusters, options.teams));
        let (tell, mut said) = mpsc::unbounded_channel();
        let common = Arc::new(Common {
            address: listen.to_string(),
            said: tell,
            estate: estate.clone(),
            connected: AtomicUsize::new(0),
            statuses: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        let joined = futures::stream::iter(0..options.clusters).map(|number| {
            let (common, stop) = (Arc::clone(&common), stop.clone());
            async move {
                let token = hub::token(admin, number).await?;
                let agent = Agent::join(number, &common.address, &token).await?;
                tokio::spawn(agent.follow(common, stop));
                Ok::<_, anyhow::Error>(())
            }
        });
        joined.buffer_unordered(JOINING).try_collect::<()>().await?;
        let mut has = 0;
        while has < options.clusters {
            let heard = timeout(LIMIT, said.recv()).await.context("not all agents have the policy")?;
            has += usize::from(matches!(heard, Some(Said::Has(..))));
        }
        tokio::spawn(async move { while said.recv().await.is_some() {} });
        tokio::spawn(Arc::clone(&estate).live(stop.clone()));
        let _stop = stop.clone().drop_guard();
        Ok(Self { hub, admin, estate, common, stop, _stop })
    }

    /// What a change of the setting brought is worked off.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }

    /// What the hub uses for so long.
    async fn load(&mut self, setting: &str, span: Duration) -> Result<Load> {
        let (before, began) = (self.hub.usage()?, Instant::now());
        let told = self.common.statuses.load(Ordering::Relaxed);
        let changed = self.estate.changed();
        tokio::time::sleep(span).await;
        self.hub.check()?;
        let (after, took) = (self.hub.usage()?, began.elapsed().as_secs_f64());
        let rate = |it: usize| u32::try_from(it).map_or(f64::NAN, f64::from) / took;
        Ok(Load {
            setting: setting.to_owned(),
            cpu: (after.cpu_s - before.cpu_s) / took,
            rss_mb: after.rss_mb,
            peak_mb: after.peak_mb,
            statuses_per_second: rate(self.common.statuses.load(Ordering::Relaxed) - told),
            changes_per_second: rate(self.estate.changed() - changed),
        })
    }

    /// Each kind of page, asked for in turn on a connection of its own.
    async fn visits(&self, span: Duration) -> Result<Vec<Visit>> {
        let (ends, mut times) = (Instant::now() + span, BTreeMap::<usize, (Vec<f64>, usize)>::new());
        while Instant::now() < ends {
            for (index, path) in VISITED.iter().enumerate() {
                let (first, bytes) = browser::visit(self.admin, path).await?;
                let (firsts, largest) = times.entry(index).or_default();
                firsts.push(first.as_secs_f64() * 1e3);
                *largest = bytes.max(*largest);
                tokio::time::sleep(VISIT).await;
            }
        }
        let visit = |(index, (firsts, bytes)): (usize, (Vec<f64>, usize))| Visit {
            path: VISITED[index].to_owned(),
            visits: firsts.len(),
            first_byte_ms: Spread::of(firsts),
            bytes,
        };
        Ok(times.into_iter().map(visit).collect())
    }
}
