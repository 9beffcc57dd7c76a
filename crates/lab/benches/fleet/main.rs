//! A hub with a thousand agents, and an agent with a hundred peers: `cargo xtask bench fleet`. With `page` as its first argument, a hub
//! whose page fifty people look at ([`page`]): `cargo xtask bench page`.
//!
//! The hub and the observing agent are real `tidegate` processes. The thousand agents are light ones in this process
//! ([`agents`]): real mutual TLS with certificates that they joined for, each with ten services of its own. Every service has a
//! policy at the hub. What they use is not counted, but runs on the same cores.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark talks on its terminal"
)]

mod agents;
mod hub;
mod page;
mod peers;
mod report;

use agents::{Agent, Common, Estate, Said};
use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use report::{Changes, Report, Restart, Spread, Steady};
use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tidegate_lab::{
    net::{Loopback, raise_open_file_limit},
    process::Child,
};
use tidegate_link::hub::proto;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long anything may take to come about.
const LIMIT: Duration = Duration::from_secs(180);
/// Agents that join beside each other.
const JOINING: usize = 16;

/// What is asked for on the command line.
struct Options {
    tidegate: PathBuf,
    agents: usize,
    changes: usize,
    span: Duration,
    away: Duration,
    peers: usize,
    json: Option<PathBuf>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut found: HashMap<String, String> = HashMap::new();
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        found.insert(name, value);
    }
    let mut number = |name: &str, default: usize| -> Result<usize> {
        let text = found.remove(name);
        text.map_or(Ok(default), |it| it.parse().with_context(|| format!("{name} {it} is no whole number")))
    };
    let (agents, changes, peers) =
        (number("--agents", 1000)?, number("--changes", 20)?, number("--peers", 100)?);
    let mut seconds = |name: &str, default| {
        Ok::<_, anyhow::Error>(Duration::from_secs(u64::try_from(number(name, default)?)?))
    };
    let (span, away) = (seconds("--seconds", 20)?, seconds("--away", 30)?);
    let mut path = |name: &str| found.remove(name).map(PathBuf::from);
    let tidegate =
        path("--tidegate").context("--tidegate PATH is needed: `cargo xtask bench fleet` gives it")?;
    let json = path("--json");
    match found.keys().next() {
        Some(unknown) => bail!("{unknown} is not known"),
        None => Ok(Options { tidegate, agents, changes, span, away, peers, json }),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    raise_open_file_limit();
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench").peekable();
    if arguments.next_if(|it| it == "page").is_some() {
        return page::run(arguments).await;
    }
    let options = options(arguments)?;
    let files = tempfile::Builder::new().prefix("tidegate-bench-").tempdir()?;
    let mut report = Report {
        agents: options.agents,
        services: options.agents * SERVICES,
        objects: options.agents * (SERVICES + 1),
        ..Report::default()
    };
    if options.agents > 0 {
        fleet(&options, files.path(), &mut report).await?;
    }
    if options.peers > 0 {
        eprintln!("An agent with {} peers ...", options.peers);
        report.links =
            Some(peers::measure(&options.tidegate, files.path(), options.peers, options.span).await?);
    }
    println!("{}", report.table());
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
        println!("Written to {}.", path.display());
    }
    Ok(())
}

async fn fleet(options: &Options, files: &Path, report: &mut Report) -> Result<()> {
    hub::write_policies(files, options.agents, options.agents, SERVICES)?;
    eprintln!("{} agents join ...", options.agents);
    let began = Instant::now();
    let mut bench = Bench::start(options, files).await?;
    report.joined_s = began.elapsed().as_secs_f64();
    eprintln!("They report for {} s, each one changed service a second ...", options.span.as_secs());
    report.steady = Some(bench.steady().await?);
    eprintln!("The policy changes {} times ...", options.changes);
    report.changes = Some(bench.changes().await?);
    for away in [Duration::ZERO, options.away] {
        eprintln!("The hub is killed, and started after {} s ...", away.as_secs());
        report.restarts.push(bench.restart(away).await?);
    }
    bench.hub.kill().await?;
    Ok(())
}

/// Services of one cluster, each with one pool.
const SERVICES: usize = 10;

/// Each agent reports one changed pool in a second, and is asked nothing.
struct Pools;

impl Pools {
    fn pool(cluster: usize, service: usize, healthy: u32) -> proto::Pool {
        let service = format!("team-{cluster:04}/service-{service}");
        proto::Pool {
            name: Some(proto::PoolName { service, zone: "zone-a".to_owned() }),
            expected: 3,
            healthy,
            admit_ppm: 1_000_000,
            phase: "Serving".to_owned(),
            capacity: None,
        }
    }
}

impl Estate for Pools {
    fn all(&self, cluster: usize) -> proto::Status {
        let pools = (0..SERVICES).map(|it| Self::pool(cluster, it, 3)).collect();
        proto::Status { full: true, pools, ..proto::Status::default() }
    }

    /// The one whose turn it is, in a state that it was not in before.
    fn news(&self, cluster: usize, turn: usize) -> Option<proto::Status> {
        let healthy = if (turn / SERVICES) % 2 == 1 { 3 } else { 2 };
        let pools = vec![Self::pool(cluster, turn % SERVICES, healthy)];
        Some(proto::Status { pools, ..proto::Status::default() })
    }

    fn answers(&self) -> bool {
        false
    }

    fn answer(&self, _: usize, _: proto::AgentWord) -> Option<proto::AgentAnswer> {
        None
    }
}

struct Bench<'o> {
    options: &'o Options,
    files: &'o Path,
    hub: Child,
    admin: SocketAddr,
    common: Arc<Common>,
    said: mpsc::UnboundedReceiver<Said>,
    _stop: tokio_util::sync::DropGuard,
}

impl<'o> Bench<'o> {
    /// A hub, and all agents with its policy.
    async fn start(options: &'o Options, files: &'o Path) -> Result<Self> {
        let loopback = Loopback::claim();
        let (listen, admin) = (loopback.reserve()?.address(), loopback.reserve()?.address());
        let mut hub = hub::start(&options.tidegate, files, listen, admin)?;
        hub::until_up(&mut hub, admin).await?;
        let (tell, said) = mpsc::unbounded_channel();
        let common = Arc::new(Common {
            address: listen.to_string(),
            said: tell,
            estate: Arc::new(Pools),
            connected: 0.into(),
            statuses: 0.into(),
        });
        let stop = CancellationToken::new();
        let joined = futures::stream::iter(0..options.agents).map(|number| {
            let (common, stop) = (Arc::clone(&common), stop.clone());
            async move {
                let token = hub::token(admin, number).await?;
                let agent = Agent::join(number, &common.address, &token).await?;
                tokio::spawn(agent.follow(common, stop));
                Ok::<_, anyhow::Error>(())
            }
        });
        joined.buffer_unordered(JOINING).try_collect::<()>().await?;
        let mut bench = Self { options, files, hub, admin, common, said, _stop: stop.drop_guard() };
        let first = bench.has(0).await?;
        eprintln!("  policy {} is with all of them", first.sequence);
        Ok(bench)
    }

    async fn steady(&mut self) -> Result<Steady> {
        // What joining brought is worked off.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (before, began) = (self.hub.usage()?, Instant::now());
        let said = self.common.statuses.load(Ordering::Relaxed);
        tokio::time::sleep(self.options.span).await;
        self.hub.check()?;
        let (after, took) = (self.hub.usage()?, began.elapsed().as_secs_f64());
        let said = u32::try_from(self.common.statuses.load(Ordering::Relaxed) - said)?;
        Ok(Steady {
            statuses_per_second: f64::from(said) / took,
            cpu: (after.cpu_s - before.cpu_s) / took,
            rss_mb: after.rss_mb,
            peak_mb: after.peak_mb,
        })
    }

    /// One policy of a team is another one each time. The file is moved into place: it is never half there.
    async fn changes(&mut self) -> Result<Changes> {
        let (mut last, mut each) = (Vec::new(), Vec::new());
        let mut newest = 1;
        for change in 0..self.options.changes {
            let team = change * 7 % self.options.agents;
            let beside = self.files.join("team.new");
            fs::write(&beside, hub::team_policies(team, SERVICES, change + 11)?)?;
            let began = Instant::now();
            fs::rename(&beside, hub::team_file(self.files, team))?;
            let has = self.has(newest).await?;
            newest = has.sequence;
            let times = has.at.iter().map(|at| at.duration_since(began).as_secs_f64() * 1e3);
            let times: Vec<f64> = times.collect();
            last.push(times.iter().copied().fold(0.0, f64::max));
            each.extend(times);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(Changes { changes: self.options.changes, last: Spread::of(last), each: Spread::of(each) })
    }

    /// When each agent has got a policy newer than `than`.
    async fn has(&mut self, than: u64) -> Result<Has> {
        let mut has = Has { sequence: than, at: Vec::new() };
        while has.at.len() < self.options.agents {
            let said = timeout(LIMIT, self.said.recv()).await;
            let said = said.with_context(|| format!("only {} agents have a new policy", has.at.len()))?;
            if let Some(Said::Has(sequence, at)) = said
                && sequence > than
            {
                has.sequence = has.sequence.max(sequence);
                has.at.push(at);
            }
        }
        Ok(has)
    }

    async fn restart(&mut self, away: Duration) -> Result<Restart> {
        while self.said.try_recv().is_ok() {}
        let killed = Instant::now();
        self.hub.kill().await?;
        tokio::time::sleep(away).await;
        let started = Instant::now();
        self.hub.restart().await?;
        let (mut back, mut dials) = (Vec::new(), Vec::new());
        while back.len() < self.options.agents {
            let said = timeout(LIMIT, self.said.recv()).await;
            match said.with_context(|| format!("only {} agents are back", back.len()))? {
                Some(Said::Dials(at)) => dials.push(at),
                Some(Said::Back(at)) if at > started => {
                    back.push(at.duration_since(started).as_secs_f64() * 1e3);
                }
                _ => {}
            }
        }
        let usage = self.hub.usage()?;
        hub::until_up(&mut self.hub, self.admin).await?;
        let second = Duration::from_secs(1);
        Ok(Restart {
            away_s: away.as_secs_f64(),
            back: Spread::of(back),
            dials_death: most(&dials, |at| at < killed + second),
            dials_away: most(&dials, |at| at >= killed + second && at < started),
            dials_start: most(&dials, |at| at >= started),
            dials_after: dials.iter().filter(|at| **at >= started).count(),
            cpu_s: usage.cpu_s,
            peak_mb: usage.peak_mb,
        })
    }
}

/// The most in any second, of those that count.
fn most(times: &[Instant], counts: impl Fn(Instant) -> bool) -> usize {
    let mut times: Vec<Instant> = times.iter().copied().filter(|at| counts(*at)).collect();
    times.sort();
    let within = |from: &Instant| times.partition_point(|at| *at < *from + Duration::from_secs(1));
    times.iter().enumerate().map(|(at, from)| within(from) - at).max().unwrap_or(0)
}

struct Has {
    sequence: u64,
    at: Vec<Instant>,
}
