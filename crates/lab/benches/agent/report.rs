//! What was measured, beside its goals (DESIGN, section 9).

use crate::{estate::Size, watch};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

/// From known to applied. Times in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Applied {
    pub(crate) changes: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// What went wrong, a line per service.
    pub(crate) lost: Vec<String>,
}

impl From<watch::Applied> for Applied {
    fn from(it: watch::Applied) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let ms = |micros: u64| micros as f64 / 1e3;
        Self {
            changes: it.micros.len(),
            per_second: it.rate,
            p50_ms: ms(it.micros.value_at_quantile(0.5)),
            p99_ms: ms(it.micros.value_at_quantile(0.99)),
            max_ms: ms(it.micros.max()),
            lost: it.lost,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) services: usize,
    pub(crate) endpoints: usize,
    pub(crate) file: Option<Applied>,
    pub(crate) tidegate: Option<Applied>,
    /// The agent's CPU in parts of one core, while it was measured.
    pub(crate) agent_cpu: f64,
    pub(crate) checks_per_second: f64,
    pub(crate) agent_rss_mb: f64,
    pub(crate) agent_peak_mb: f64,
    pub(crate) restarted_mb: f64,
    pub(crate) agent_up_s: f64,
    pub(crate) first_start_s: f64,
    pub(crate) again_up_s: f64,
    pub(crate) again_serves_s: f64,
    /// From up until a client that only reads has all services.
    pub(crate) again_read_s: f64,
    /// Seconds from the start of the peer, with its files, to its first answer.
    pub(crate) file_serves_s: f64,
}

impl Report {
    pub(crate) fn new(size: Size) -> Self {
        Self {
            services: size.many + size.watched,
            endpoints: size.many * size.endpoints + 2 * size.watched,
            file: None,
            tidegate: None,
            agent_cpu: 0.0,
            checks_per_second: 0.0,
            agent_rss_mb: 0.0,
            agent_peak_mb: 0.0,
            restarted_mb: 0.0,
            agent_up_s: 0.0,
            first_start_s: 0.0,
            again_up_s: 0.0,
            again_serves_s: 0.0,
            again_read_s: 0.0,
            file_serves_s: 0.0,
        }
    }

    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header([
            &format!("{} services, {} endpoints", self.services, self.endpoints),
            "Tidegate",
            "Envoy, from a file",
            "ratio",
            "goal",
        ]);
        if let (Some(ours), Some(file)) = (&self.tidegate, &self.file) {
            let mut row = |name: &str, of: fn(&Applied) -> f64, goal: &str| {
                let (ours, file) = (of(ours), of(file));
                let cells = [format!("{ours:.2}"), format!("{file:.2}"), format!("{:.2}", ours / file)];
                table.add_row([name.to_owned()].into_iter().chain(cells).chain([goal.to_owned()]));
            };
            row("change applied, p50 (ms)", |it| it.p50_ms, "3");
            row("change applied, p99 (ms)", |it| it.p99_ms, "10");
            row("change applied, longest (ms)", |it| it.max_ms, "");
            row("changes per second", |it| it.per_second, "100");
        }
        let mut single = |name: &str, value: String, goal: &str| {
            table.add_row([name, &value, "", "", goal]);
        };
        single("checks answered per second", format!("{:.0}", self.checks_per_second), "");
        single("agent's CPU (cores)", format!("{:.2}", self.agent_cpu), "");
        single("agent's memory (MB)", format!("{:.0}", self.agent_rss_mb), "200");
        single("its peak (MB)", format!("{:.0}", self.agent_peak_mb), "");
        single("restarted, its memory (MB)", format!("{:.0}", self.restarted_mb), "");
        single("first start: agent up (s)", format!("{:.2}", self.agent_up_s), "");
        single("first start: edge serves (s)", format!("{:.2}", self.first_start_s), "");
        single("restart: agent up (s)", format!("{:.2}", self.again_up_s), "");
        let read = format!("{:.2}", self.again_read_s);
        single("restart: from up to all services read by a first client (s)", read, "2");
        // The peer is started with the bare clusters and routes: no retries, no ejection.
        let [ours, file] = [self.again_serves_s, self.file_serves_s];
        let cells =
            [format!("{ours:.2}"), format!("{file:.2}"), format!("{:.2}", ours / file), "2".to_owned()];
        table.add_row(["restart: from up to a new edge serving (s)".to_owned()].into_iter().chain(cells));
        let lost = [&self.tidegate, &self.file].into_iter().flatten().flat_map(|it| &it.lost);
        lost.fold(table.to_string(), |text, it| format!("{text}\nlost: {it}"))
    }
}
