//! CPU time of processes, and on which core they run.

use std::{fs, path::Path, process::Command, time::Duration};

/// The ticks in which Linux counts CPU time for programs (`USER_HZ`).
const TICKS_PER_SECOND: u32 = 100;

/// User and system time of a process, all threads; `self` is this one.
pub(crate) fn used(process: &str) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The second field is a name in brackets, which may hold anything.
    let (_, rest) = text.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u32 = [11, 12].iter().map(|&index| fields[index].parse::<u32>().unwrap()).sum();
    Duration::from_secs(ticks.into()) / TICKS_PER_SECOND
}

/// A command that runs on one core, where `taskset` is there to say so.
pub(crate) fn on_core(core: u32, program: &Path) -> Command {
    let taskset = Path::new("/usr/bin/taskset");
    if !taskset.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(taskset);
    command.arg("--cpu-list").arg(core.to_string()).arg(program);
    command
}
