//! What a process uses, as Linux says it in `/proc`.

use std::{fs, io};

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Its memory, in MB of 2^20 bytes.
    pub rss_mb: f64,
    /// The most that it ever was.
    pub peak_mb: f64,
    /// CPU time of all its threads, user and system, in seconds.
    pub cpu_s: f64,
}

impl Usage {
    /// Of the process with this id.
    ///
    /// # Errors
    /// If it has ended, or the system has no `/proc`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mb = |name: &str| {
            let line = status.lines().find_map(|it| it.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kb| kb / 1024.0)
        };
        let missing = || io::Error::other(format!("/proc/{pid}/status tells no memory: has it ended?"));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // After the name, which ends at the last bracket: user and system time are the 12th and 13th field.
        let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
        let ticks: f64 = fields.skip(11).take(2).filter_map(|it| it.parse::<f64>().ok()).sum();
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).map_err(io::Error::other)?;
        Ok(Self {
            rss_mb: mb("VmRSS:").ok_or_else(missing)?,
            peak_mb: mb("VmHWM:").ok_or_else(missing)?,
            cpu_s: ticks / f64::from(per_second),
        })
    }
}
