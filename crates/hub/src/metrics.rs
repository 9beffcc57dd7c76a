//! What the hub counts, in the Prometheus text format.

use std::{collections::BTreeMap, fmt::Write as _};

/// The numbers of one moment.
pub(crate) struct Numbers {
    pub(crate) sequence: u64,
    pub(crate) objects: usize,
    pub(crate) problems: usize,
    pub(crate) sessions: usize,
    pub(crate) halted: bool,
    pub(crate) halts: u64,
    pub(crate) refusals: BTreeMap<&'static str, u64>,
}

pub(crate) fn text(numbers: &Numbers) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: u64| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    gauge("tidegate_hub_policy_sequence", "The newest policy.", numbers.sequence);
    gauge("tidegate_hub_policy_objects", "Objects of the newest policy.", numbers.objects as u64);
    gauge("tidegate_hub_policy_problems", "What is wrong in the source of policy.", numbers.problems as u64);
    gauge("tidegate_hub_agents", "Agents that are connected.", numbers.sessions as u64);
    gauge("tidegate_hub_rollout_halted", "Whether a rollout waits for an operator.", numbers.halted.into());
    let name = "tidegate_hub_rollout_halts_total";
    let help = "How often a rollout halted.";
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", numbers.halts);
    let name = "tidegate_hub_refusals_total";
    let _ = writeln!(text, "# HELP {name} Who was refused, by reason.\n# TYPE {name} counter");
    for (reason, count) in &numbers.refusals {
        let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
    }
    text
}
