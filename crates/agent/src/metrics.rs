//! The metrics of an agent in the Prometheus text format.
//!
//! They are made from one [`Status`] when somebody asks, so nothing is counted twice or kept in two places.

use crate::view::Status;
use std::fmt::Write as _;

/// The text for `/metrics`.
pub(crate) fn text(status: &Status, records: u64) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, f64)>| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let pools = |value: fn(&crate::view::PoolView) -> f64| {
        let labels = |pool: &crate::view::PoolView| {
            format!(r#"service="{}",cluster="{}",zone="{}""#, pool.service, pool.cluster, pool.zone)
        };
        status.pools.iter().map(|pool| (labels(pool), value(pool))).collect::<Vec<_>>()
    };
    let flag = |yes: bool| if yes { 1.0 } else { 0.0 };
    let one = |value: f64| vec![(String::new(), value)];
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float; these counts stay far below 2^53")]
    let number = |value: u64| value as f64;

    family(
        "tidegate_pool_healthy_endpoints",
        "gauge",
        "Healthy endpoints of a pool.",
        pools(|it| it.healthy.into()),
    );
    family(
        "tidegate_pool_expected_endpoints",
        "gauge",
        "Endpoints that a pool should have.",
        pools(|it| it.expected.into()),
    );
    family(
        "tidegate_pool_admit_ratio",
        "gauge",
        "The part of its normal load that a pool is given, reach included.",
        pools(|it| it.admit * it.reach),
    );
    let shares = status.plans.iter().flat_map(|plan| {
        plan.shares.iter().map(|(target, share)| {
            let labels = format!(r#"service="{}",source="{}",target="{target}""#, plan.service, plan.source);
            (labels, f64::from(share.parts()) / 1e4)
        })
    });
    family(
        "tidegate_plan_share_ratio",
        "gauge",
        "The share of a source's traffic that a target is given.",
        shares.collect(),
    );
    let draining = status.draining.iter().map(|it| {
        let labels = format!(r#"service="{}",source="{}",target="{}""#, it.service, it.source, it.target);
        (labels, number(it.in_flight))
    });
    family(
        "tidegate_draining_requests",
        "gauge",
        "Requests and connections in flight at a target that left the plan of a source.",
        draining.collect(),
    );
    let peers = status.peers.iter();
    family(
        "tidegate_peer_reachable",
        "gauge",
        "Whether another cluster is in reach of this one.",
        peers.map(|it| (format!(r#"peer="{}""#, it.cluster), flag(it.state != "Unreachable"))).collect(),
    );
    let replicas = &status.replicas;
    family(
        "tidegate_replicas_heard",
        "gauge",
        "Other replicas of this agent that are heard.",
        one(number(replicas.heard)),
    );
    family(
        "tidegate_replica_refused_total",
        "counter",
        "Streams of replicas that were refused for what was said on them.",
        one(number(replicas.refused)),
    );
    family(
        "tidegate_replica_lost_news_total",
        "counter",
        "Observations that another replica was too slow to take in.",
        one(number(replicas.lost_news)),
    );
    let gateways = status.gateways.iter();
    family(
        "tidegate_gateway_connected",
        "gauge",
        "Whether a gateway is connected to this agent.",
        gateways
            .map(|it| {
                (
                    format!(r#"node="{}",gateway="{}",zone="{}""#, escape(&it.node), it.gateway, it.zone),
                    flag(it.connected),
                )
            })
            .collect(),
    );
    let gateways = status.gateways.iter();
    family(
        "tidegate_gateway_refused_resources",
        "gauge",
        "Resources of which a gateway refused the newest version, and goes on with the one before.",
        gateways
            .map(|it| (format!(r#"node="{}""#, escape(&it.node)), number(it.refused.len() as u64)))
            .collect(),
    );
    let refused = status.gateways.iter().flat_map(|it| {
        it.refused.iter().map(move |refused| {
            let (kind, name, behind) =
                (&refused.kind, escape(&refused.name), escape(&refused.behind.join(", ")));
            (format!(r#"node="{}",type="{kind}",resource="{name}",from="{behind}""#, escape(&it.node)), 1.0)
        })
    });
    family(
        "tidegate_gateway_refused_resource",
        "gauge",
        "A resource that a gateway refused, and the objects that it was made from.",
        refused.collect(),
    );
    family(
        "tidegate_manifest_problems",
        "gauge",
        "Problems in the manifests as last loaded.",
        one(number(status.problems.len() as u64)),
    );
    family(
        "tidegate_manifest_loads_total",
        "counter",
        "How often manifests were loaded.",
        one(number(status.manifests_generation)),
    );
    let checks = &status.checks;
    for (name, kind, help, value) in [
        ("targets", "gauge", "Endpoints that are checked.", number(checks.targets)),
        ("under_way", "gauge", "Checks under way.", number(checks.under_way)),
        (
            "under_way_limit",
            "gauge",
            "The most checks that may be under way; fewer where the limit of open files is low.",
            number(checks.under_way_limit),
        ),
        ("ejected", "gauge", "Endpoints that are ejected because they are slow.", number(checks.ejected)),
        ("made_total", "counter", "Checks made.", number(checks.made)),
        ("failed_total", "counter", "Checks that failed.", number(checks.failed)),
        (
            "not_made_total",
            "counter",
            "Checks that could not be made for a reason on the agent's side.",
            number(checks.not_made),
        ),
        (
            "late_p99_seconds",
            "gauge",
            "99 % of the checks since the start began no later than this after their time.",
            checks.late_p99_ms / 1e3,
        ),
    ] {
        family(&format!("tidegate_check_{name}"), kind, help, one(value));
    }
    let refusals = status.refusals.iter();
    family(
        "tidegate_refusals_total",
        "counter",
        "How often somebody was not believed who they are, or this cluster was not, by reason.",
        refusals.map(|(reason, count)| (format!(r#"reason="{reason}""#), number(*count))).collect(),
    );
    if let Some(api) = &status.kubernetes {
        family(
            "tidegate_kubernetes_age_seconds",
            "gauge",
            "How long ago the cluster's API was heard last; what is in force is no older than this.",
            api.age_ms.map_or_else(Vec::new, |age| one(number(age) / 1e3)),
        );
        let served = api.watches.iter().filter(|(_, word)| *word != "Absent");
        family(
            "tidegate_kubernetes_watch_follows",
            "gauge",
            "Whether changes of a kind are followed; if not, its last good state counts.",
            served.map(|(kind, word)| (format!(r#"kind="{kind}""#), flag(word == "Following"))).collect(),
        );
    }
    family("tidegate_decisions_total", "counter", "Entries written to the timeline.", one(number(records)));
    family(
        "tidegate_ready",
        "gauge",
        "Whether this agent answers gateways.",
        one(flag(status.pending.is_empty())),
    );
    out
}

/// A label value as the text format wants it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{DrainView, GatewayView, PeerStatus, RefusedView};
    use std::collections::BTreeMap;

    #[test]
    fn every_sample_belongs_to_a_family_that_is_described() {
        let status = Status {
            cluster: "us-east".parse().unwrap(),
            region: None,
            boot: 1,
            uptime_ms: 1,
            pending: vec!["manifests".to_owned()],
            manifests_generation: 3,
            problems: Vec::new(),
            pools: Vec::new(),
            plans: Vec::new(),
            shifts: Vec::new(),
            drills: Vec::new(),
            draining: vec![DrainView {
                service: "shop/web".parse().unwrap(),
                source: "us-east/a".into(),
                target: "zone a".parse().unwrap(),
                since_ms: 31_000,
                remaining_ms: 0,
                in_flight: 2,
            }],
            replicas: crate::view::ReplicasView::default(),
            peers: vec![PeerStatus {
                cluster: "us-west".parse().unwrap(),
                state: "Unreachable".into(),
                links: vec![],
            }],
            gateways: vec![GatewayView {
                node: "n\"1".into(),
                gateway: "shop/edge".into(),
                zone: "a".into(),
                connected: true,
                transport: "delta".into(),
                withheld: Vec::new(),
                refused: vec![RefusedView {
                    kind: "cluster".into(),
                    name: "shop/web".into(),
                    error: "no".into(),
                    at_ms: 1,
                    behind: vec!["FailoverPolicy shop/web at p.yaml".into()],
                }],
            }],
            checks: crate::view::ChecksView { under_way_limit: 4096, ..Default::default() },
            refusals: [("expired".to_owned(), 3)].into(),
            kubernetes: Some(crate::view::KubernetesView {
                url: "https://10.0.0.1/".to_owned(),
                age_ms: Some(3_600_000),
                watches: [("Service", "Following"), ("Secret", "Resting"), ("Gateway", "Absent")]
                    .map(|(kind, word)| (kind.to_owned(), word.to_owned()))
                    .into(),
                failing: BTreeMap::new(),
            }),
        };
        let text = text(&status, 7);
        let refused = r#"tidegate_gateway_refused_resource{node="n\"1",type="cluster",resource="shop/web",from="FailoverPolicy shop/web at p.yaml"} 1"#;
        assert!(text.contains(refused), "{text}");
        let draining =
            r#"tidegate_draining_requests{service="shop/web",source="us-east/a",target="zone a"} 2"#;
        assert!(text.contains(draining), "{text}");
        assert!(text.contains("tidegate_gateway_refused_resources{node=\"n\\\"1\"} 1\n"), "{text}");
        assert!(text.contains("tidegate_peer_reachable{peer=\"us-west\"} 0\n"), "{text}");
        assert!(text.contains("tidegate_decisions_total 7\n"), "{text}");
        assert!(text.contains("tidegate_check_under_way_limit 4096\n"), "{text}");
        assert!(text.contains("tidegate_refusals_total{reason=\"expired\"} 3\n"), "{text}");
        assert!(text.contains("tidegate_kubernetes_age_seconds 3600\n"), "{text}");
        assert!(text.contains("tidegate_kubernetes_watch_follows{kind=\"Secret\"} 0\n"), "{text}");
        assert!(!text.contains("kind=\"Gateway\""), "{text}");
        assert!(text.contains("tidegate_ready 0\n"), "{text}");
        let families: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(families.contains(&name), "{line}");
        }
    }
}
