//! What was measured, as a table and as JSON.

use serde_json::{Value, json};
use std::time::Duration;

/// One measurement.
pub(crate) struct Measured {
    pub(crate) checks: u64,
    pub(crate) failed: u64,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// How late checks started, half of them and 99 % of them; unknown for Envoy.
    pub(crate) late: Option<[Duration; 2]>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.checks as f64 / self.wall.as_secs_f64()
    }

    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.checks as f64 / self.cpu.as_secs_f64()
    }

    pub(crate) fn cpu_per_100_000(&self) -> f64 {
        1e5 / self.per_cpu_second()
    }
}

/// A measurement and what it was of.
pub(crate) struct Row {
    pub(crate) who: &'static str,
    pub(crate) targets: u32,
    pub(crate) measured: Measured,
    /// Variance to mean of the connections per 10 ms at the server: 1 is what independent checks make, bursts make more.
    pub(crate) dispersion: f64,
}

impl Row {
    pub(crate) fn json(&self) -> Value {
        let it = &self.measured;
        let late = it.late.map(|late| late.map(|late| late.as_secs_f64() * 1e3));
        json!({
            "who": self.who,
            "targets": self.targets,
            "checks": it.checks,
            "failed": it.failed,
            "checksPerSecond": it.per_second(),
            "checksPerCpuSecond": it.per_cpu_second(),
            "cpuSecondsPer100000": it.cpu_per_100_000(),
            "lateP50Ms": late.map(|late| late[0]),
            "lateP99Ms": late.map(|late| late[1]),
            "dispersionPer10Ms": self.dispersion,
        })
    }
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "  {:<10}{:>9}{:>11}{:>9}{:>14}{:>14}{:>11}{:>11}{:>12}\n",
        "", "targets", "checks/s", "failed", "per CPU s", "CPU s/100k", "late p50", "late p99", "dispersion"
    );
    for row in rows {
        let it = &row.measured;
        let late = |index: usize| match it.late {
            Some(late) => format!("{:.2} ms", late[index].as_secs_f64() * 1e3),
            None => "-".to_owned(),
        };
        text += &format!(
            "  {:<10}{:>9}{:>11.0}{:>9}{:>14.0}{:>14.2}{:>11}{:>11}{:>12.2}\n",
            row.who,
            row.targets,
            it.per_second(),
            it.failed,
            it.per_cpu_second(),
            it.cpu_per_100_000(),
            late(0),
            late(1),
            row.dispersion
        );
    }
    text
}
