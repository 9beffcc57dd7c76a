//! What the hub counts, in the Prometheus text format.

use crate::view::ClusterView;
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
    pub(crate) clusters: Vec<ClusterView>,
    pub(crate) drills: DrillNumbers,
}

/// What is known of drills.
#[derive(Default)]
pub(crate) struct DrillNumbers {
    pub(crate) running: bool,
    /// Of each drill the newest run: whether it passed, and when its report was signed, in seconds since 1970.
    pub(crate) newest: BTreeMap<String, (bool, u64)>,
    /// Of each schedule, for how long what was due has not been run, in seconds.
    pub(crate) overdue: BTreeMap<String, u64>,
}

pub(crate) fn text(numbers: &Numbers) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, f64)>| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float; these counts stay far below 2^53")]
    let number = |value: u64| value as f64;
    let one = |value: u64| vec![(String::new(), number(value))];
    let Numbers { sequence, objects, problems, sessions, halted, halts, refusals, clusters, drills } =
        numbers;
    family("tidegate_hub_policy_sequence", "gauge", "The newest policy.", one(*sequence));
    family("tidegate_hub_policy_objects", "gauge", "Objects of the newest policy.", one(*objects as u64));
    family(
        "tidegate_hub_policy_problems",
        "gauge",
        "What is wrong in the source of policy.",
        one(*problems as u64),
    );
    family("tidegate_hub_agents", "gauge", "Agents that are connected.", one(*sessions as u64));
    family(
        "tidegate_hub_rollout_halted",
        "gauge",
        "Whether a rollout waits for an operator.",
        one((*halted).into()),
    );
    family("tidegate_hub_rollout_halts_total", "counter", "How often a rollout halted.", one(*halts));
    let refusals = refusals.iter().map(|(reason, count)| (format!("reason=\"{reason}\""), number(*count)));
    family("tidegate_hub_refusals_total", "counter", "Who was refused, by reason.", refusals.collect());
    let of = |value: &dyn Fn(&ClusterView) -> Option<u64>| -> Vec<(String, f64)> {
        let row = |it: &ClusterView| Some((format!("cluster=\"{}\"", it.cluster), number(value(it)?)));
        clusters.iter().filter_map(row).collect()
    };
    for (name, help, rows) in [
        ("connected", "Whether an agent of a cluster is connected.", of(&|it| Some(it.connected.into()))),
        ("policy_sequence", "The policy that a cluster applied last.", of(&|it| Some(it.applied))),
        (
            "rejected_objects",
            "Objects of the policy that a cluster did not take.",
            of(&|it| Some(it.rejected.len() as u64)),
        ),
        ("held_back", "Whether a cluster is given no policy.", of(&|it| Some(it.held_back.is_some().into()))),
        ("pools", "Pools of a cluster.", of(&|it| Some(it.pools.into()))),
        (
            "pools_not_serving",
            "Pools of a cluster that are not given their whole load.",
            of(&|it| Some(it.pools_not_serving.into())),
        ),
        ("gateways", "Gateways of a cluster that are connected.", of(&|it| Some(it.gateways.into()))),
        (
            "certificate_expiry_timestamp_seconds",
            "When the last certificate ends that was issued to a cluster.",
            of(&|it| it.certificate_ends),
        ),
    ] {
        family(&format!("tidegate_hub_cluster_{name}"), "gauge", help, rows);
    }
    family(
        "tidegate_hub_cluster_heard_age_seconds",
        "gauge",
        "How long ago a cluster was heard; no sample if it was not since the hub started.",
        of(&|it| it.heard_ms).into_iter().map(|(labels, ms)| (labels, ms / 1e3)).collect(),
    );
    family(
        "tidegate_hub_drill_running",
        "gauge",
        "Whether the hub runs a drill.",
        one(drills.running.into()),
    );
    let newest = |value: fn(&(bool, u64)) -> u64| {
        let row = |(drill, it): (&String, &(bool, u64))| (format!("drill=\"{drill}\""), number(value(it)));
        drills.newest.iter().map(row).collect::<Vec<_>>()
    };
    family(
        "tidegate_hub_drill_passed",
        "gauge",
        "Whether the newest run of a drill passed.",
        newest(|(passed, _)| (*passed).into()),
    );
    family(
        "tidegate_hub_drill_run_timestamp_seconds",
        "gauge",
        "When the report of the newest run of a drill was signed.",
        newest(|(_, at)| *at),
    );
    let overdue = drills.overdue.iter();
    family(
        "tidegate_hub_drill_overdue_seconds",
        "gauge",
        "For how long a schedule has been due without anything being started; 0 if the last was started.",
        overdue.map(|(name, seconds)| (format!("schedule=\"{name}\""), number(*seconds))).collect(),
    );
    let version = env!("CARGO_PKG_VERSION");
    family(
        "tidegate_hub_info",
        "gauge",
        "1, with the hub's version.",
        vec![(format!("version=\"{version}\""), 1.0)],
    );
    text
}
