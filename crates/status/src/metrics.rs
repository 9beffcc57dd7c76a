//! What telling counts, in the Prometheus text format: the same names for agents and hubs.

use crate::{events, writer};
use std::fmt::Write as _;

/// The rows for `/metrics`.
#[must_use]
pub fn text(statuses: writer::Counted, events: events::Counted) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: &[(&str, u64)]| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (result, count) in rows {
            let labels = if result.is_empty() { String::new() } else { format!("{{result=\"{result}\"}}") };
            let _ = writeln!(text, "{name}{labels} {count}");
        }
    };
    family(
        "tidegate_kubernetes_status_writes_total",
        "counter",
        "Statuses of objects of the Kubernetes API: written, found to say all already, refused or not answered.",
        &[("written", statuses.written), ("unchanged", statuses.unchanged), ("failed", statuses.failed)],
    );
    family(
        "tidegate_kubernetes_status_waiting",
        "gauge",
        "Statuses that wait to be written; where another replica leads, it writes them.",
        &[("", statuses.waiting as u64)],
    );
    family(
        "tidegate_kubernetes_status_left_out_total",
        "counter",
        "Objects whose status is not written, being too many.",
        &[("", statuses.left_out)],
    );
    family(
        "tidegate_kubernetes_events_total",
        "counter",
        "Events: told, held back as too many, refused or not answered.",
        &[("told", events.told), ("held_back", events.held_back), ("failed", events.failed)],
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_a_row_of_a_family_with_a_type() {
        let statuses = writer::Counted { written: 1, unchanged: 2, failed: 3, waiting: 4, left_out: 5 };
        let text = text(statuses, events::Counted { told: 6, held_back: 7, failed: 8 });
        for row in [
            "tidegate_kubernetes_status_writes_total{result=\"unchanged\"} 2\n",
            "tidegate_kubernetes_status_waiting 4\n",
            "tidegate_kubernetes_status_left_out_total 5\n",
            "tidegate_kubernetes_events_total{result=\"held_back\"} 7\n",
        ] {
            assert!(text.contains(row), "{text}");
        }
        let page = include_str!("../../../docs/metrics.md");
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        for (name, kind) in types {
            assert!(page.contains(&format!("| `{name}` | {kind} |")), "{name} is not in docs/metrics.md");
        }
        let families = text.lines().filter(|it| it.starts_with("# TYPE ")).count();
        assert_eq!((families, text.lines().filter(|it| !it.starts_with('#')).count()), (4, 8));
    }
}
