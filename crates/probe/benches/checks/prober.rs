//! The prober under measurement, in a process of its own.

use crate::{cpu, shown::Measured};
use std::{
    env,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};
use tidegate_probe::{CheckConfig, CheckKind, Prober, Target};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// First checks, and second ones at a random time: after two intervals and a half all is steady.
const WARM_UP: Duration = Duration::from_millis(2_500);

/// The address of a target: each has one of its own, so no pair of addresses runs out of ports.
pub(crate) fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + index)
}

/// `prober PORT TARGETS MILLISECONDS`: checks, and prints what it counted.
pub(crate) fn run(args: &[String]) {
    let [port, targets, millis] = [0, 1, 2].map(|index| args[index].parse::<u32>().unwrap());
    let port = u16::try_from(port).unwrap();
    // The channel's only other end: a change of a verdict would show as a failure.
    let (sender, mut verdicts) = mpsc::channel(1024);
    let prober = Prober::start(sender, CancellationToken::new()).unwrap();
    let config = CheckConfig::new(CheckKind::http("/healthz"));
    let target = |index| Target {
        address: (address(index), port).into(),
        config: config.clone(),
        known: None,
        siblings: None,
    };
    prober.set((0..targets).map(|index| (index, target(index))).collect());
    let listener = thread::spawn(move || while verdicts.blocking_recv().is_some() {});
    thread::sleep(WARM_UP);
    let stats = prober.stats();
    let (before, cpu, start) = (stats.snapshot(), cpu::used("self"), Instant::now());
    thread::sleep(Duration::from_millis(millis.into()));
    let (after, cpu, wall) = (stats.snapshot(), cpu::used("self") - cpu, start.elapsed());
    let micros = |part| after.late_at_most(&before, part).as_micros();
    println!(
        "{} {} {} {} {} {}",
        after.checks - before.checks,
        after.failed + after.local - before.failed - before.local,
        wall.as_micros(),
        cpu.as_micros(),
        micros(0.5),
        micros(0.99)
    );
    drop(prober);
    listener.join().unwrap();
}

pub(crate) fn measure(core: u32, port: u16, targets: u32, time: Duration) -> Measured {
    let output = cpu::on_core(core, &env::current_exe().unwrap())
        .arg("prober")
        .args([u32::from(port), targets, u32::try_from(time.as_millis()).unwrap()].map(|arg| arg.to_string()))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [checks, failed, wall, cpu, median, tail] = numbers[..] else {
        panic!("the prober said {text:?}, {}", String::from_utf8_lossy(&output.stderr));
    };
    let micros = Duration::from_micros;
    let late = Some([micros(median), micros(tail)]);
    Measured { checks, failed, wall: micros(wall), cpu: micros(cpu), late }
}
