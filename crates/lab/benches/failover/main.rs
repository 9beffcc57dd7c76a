//! Failover beside other proxies: what a fault of a zone costs behind Tidegate and behind those who do the same job. Run
//! it as `cargo xtask bench failover`; docs/benchmarks.md says what is measured and how.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark talks on its terminal"
)]

mod network;
mod options;

use anyhow::{Context as _, Result, bail};
use network::Network;
use options::Options;
use std::{env, fs, thread};
use tidegate_lab::{
    contest::{
        Layout,
        contestant::Contestant,
        course::{self, Outcome},
        fault::ZoneFault,
        report::{Entry, Machine, Report},
        subject::Subject,
    },
    measure::Millis,
    net::raise_open_file_limit,
};

/// How often a run is made anew when the machine was too busy for it.
const TRIES: u32 = 3;

fn main() -> Result<()> {
    let options = Options::read(env::args().skip(1))?;
    // Before any thread is there: the process is replaced.
    let network = network::of_its_own();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Dropped on Ctrl-C, what runs is killed. Without a handler the first process of a namespace would not hear it.
    runtime.block_on(async {
        tokio::select! {
            done = run(&options, &network) => done,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

async fn run(options: &Options, network: &Network) -> Result<()> {
    raise_open_file_limit();
    let (contestants, mut absent) = entered(options);
    let mut faults = options.faults.clone();
    if let Network::Shared(why) = network {
        if faults.contains(&ZoneFault::BlackHoled) {
            absent.push(format!("the fault {}, because {why}", ZoneFault::BlackHoled));
        }
        faults.retain(|fault| *fault != ZoneFault::BlackHoled);
    }
    for absent in &absent {
        eprintln!("absent: {absent}");
    }
    let mut report = Report {
        machine: machine(),
        rate_rps: options.schedule.rate_rps,
        fault_seconds: options.schedule.fault.as_secs_f64(),
        contestants,
        absent,
        results: Vec::new(),
    };
    for layout in &options.layouts {
        for fault in &faults {
            for (contestant, _) in &report.contestants {
                let (layout, fault, contestant) = (*layout, *fault, *contestant);
                match measured(options, layout, contestant, fault).await {
                    Ok(outcome) => report.results.push(Entry { layout, fault, contestant, outcome }),
                    // One that fails does not take the others' results along.
                    Err(error) => {
                        let absent = format!("{contestant}, {fault} ({}): {error:#}", layout.name());
                        eprintln!("absent: {absent}");
                        report.absent.push(absent);
                    }
                }
            }
        }
    }
    report.machine.load_after = load_average();
    publish(options, &report)
}

fn publish(options: &Options, report: &Report) -> Result<()> {
    println!("{}", report.table());
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(report)? + "\n")
            .with_context(|| format!("writing {}", path.display()))?;
        println!("Written to {}.", path.display());
    }
    if let Some(path) = &options.page {
        let page = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        fs::write(path, report.write_into(&page)?).with_context(|| format!("writing {}", path.display()))?;
        println!("Written into {}.", path.display());
    }
    Ok(())
}

/// Who is there, with the version, and who is absent.
fn entered(options: &Options) -> (Vec<(Contestant, String)>, Vec<String>) {
    let (mut there, mut absent) = (Vec::new(), Vec::new());
    for contestant in &options.contestants {
        match options.programs.version(*contestant) {
            Some(version) => there.push((*contestant, version)),
            None => absent.push(format!("{contestant}, which is not installed")),
        }
    }
    (there, absent)
}

/// One fault on one contestant, made anew when the run says nothing.
async fn measured(
    options: &Options,
    layout: Layout,
    contestant: Contestant,
    fault: ZoneFault,
) -> Result<Outcome> {
    let mut tries = 0;
    loop {
        tries += 1;
        let subject =
            Subject::start(contestant, layout, &options.programs).await.context("it did not start")?;
        let outcome = course::run(&subject, fault, &options.schedule).await?;
        if outcome.unusable.is_none() || tries == TRIES {
            eprintln!("{fault} ({}), {contestant}: {}", layout.name(), told(&outcome));
            if let Some(folder) = options.keep.as_ref() {
                let name = format!("{}-{}-{}", layout.name(), fault.name(), contestant.name());
                if let Err(error) = subject.keep(&folder.join(name)).await {
                    eprintln!("note: what {contestant} says of itself is not kept: {error}");
                }
            }
            subject.stop().await;
            return Ok(outcome);
        }
        eprintln!("{fault} ({}), {contestant}: once more, {}", layout.name(), told(&outcome));
        subject.stop().await;
    }
}

fn told(outcome: &Outcome) -> String {
    let it = &outcome.measures;
    let unusable = outcome.unusable.as_ref().map(|why| format!("unusable ({why}): ")).unwrap_or_default();
    format!(
        "{unusable}{} of {} failed, {} above 1 s, p99 {}, longest {}, generator late by {:.1} ms",
        it.failed,
        it.requests,
        it.slow,
        Millis(it.p99),
        Millis(it.max),
        outcome.late_ms
    )
}

fn machine() -> Machine {
    Machine {
        system: format!("{} {}", env::consts::OS, env::consts::ARCH),
        cores: thread::available_parallelism().map_or(1, usize::from),
        load_before: load_average(),
        load_after: None,
    }
}

/// The load average of the last minute, where the system tells it as Linux does.
fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
