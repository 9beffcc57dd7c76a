//! The metrics of an agent in the Prometheus text format.
//!
//! They are made from one [`Status`] when somebody asks, so nothing is counted twice or kept in two places.

use crate::admin::services::{Foreseen, away_of};
use crate::view::Status;
use std::{fmt::Write as _, time::Duration};
use tidegate_engine::Risks;
use tidegate_model::ServiceName;

/// The text for `/metrics`.
pub(crate) fn text(status: &Status, foreseen: Option<&Foreseen>, records: u64) -> String {
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
    family(
        "tidegate_pool_reachable",
        "gauge",
        "Whether this cluster reaches a pool.",
        pools(|it| if it.reachable { 1.0 } else { 0.0 }),
    );
    family(
        "tidegate_pool_hold_remaining_seconds",
        "gauge",
        "What remains of a pool's hold-down.",
        pools(|it| Duration::from_millis(it.hold_remaining_ms).as_secs_f64()),
    );
    let phases = status.pools.iter().map(|it| {
        let (service, cluster, zone, phase) = (&it.service, &it.cluster, &it.zone, it.phase);
        (format!(r#"service="{service}",cluster="{cluster}",zone="{zone}",phase="{phase}""#), 1.0)
    });
    family("tidegate_pool_phase", "gauge", "1 for the phase in which a pool is.", phases.collect());
    let used = foreseen.iter().flat_map(|it| &it.of.used).map(|((service, cluster, zone), ppm)| {
        (format!(r#"service="{service}",cluster="{cluster}",zone="{zone}""#), number(*ppm) / 1e6)
    });
    family(
        "tidegate_pool_utilization_ratio",
        "gauge",
        "What a pool is planned to carry over its declared capacity, as far as this cluster's callers ask for it.",
        used.collect(),
    );
    let plan_labels =
        |plan: &crate::view::PlanView| format!(r#"service="{}",source="{}""#, plan.service, plan.source);
    let away = status.plans.iter().filter_map(|plan| {
        let away = away_of(plan, foreseen)?;
        Some((plan_labels(plan), f64::from(away.parts()) / 1e4))
    });
    family(
        "tidegate_plan_away_ratio",
        "gauge",
        "The part of a source's requests that is not served where it would be with everything healthy.",
        away.collect(),
    );
    family(
        "tidegate_plan_shed_ratio",
        "gauge",
        "The part of a source's requests that is answered with 503.",
        status.plans.iter().map(|it| (plan_labels(it), f64::from(it.shed.parts()) / 1e4)).collect(),
    );
    family(
        "tidegate_plan_last_resort",
        "gauge",
        "Whether nothing that serves a source is healthy.",
        status.plans.iter().map(|it| (plan_labels(it), flag(it.last_resort))).collect(),
    );
    let risk = |of: fn(&Risks) -> usize| {
        let services = foreseen.iter().flat_map(|it| it.of.homes.keys().map(|service| (*it, service)));
        let row = |(it, service): (&Foreseen, &ServiceName)| {
            let losses = it.of.risks.get(service).map_or(0, of);
            (format!(r#"service="{service}""#), number(losses as u64))
        };
        services.map(row).collect::<Vec<_>>()
    };
    family(
        "tidegate_service_stranding_losses",
        "gauge",
        "Single losses of a zone, cluster or region that would leave callers with nothing healthy (N-1).",
        risk(|it| it.stranded_by.len()),
    );
    family(
        "tidegate_service_overloading_losses",
        "gauge",
        "Single losses of a zone, cluster or region that would put a pool above its declared capacity (N-1).",
        risk(|it| it.overloaded_by.len()),
    );
    family(
        "tidegate_foresight_age_seconds",
        "gauge",
        "How old what is told of losses, utilization and of where traffic is at home is.",
        foreseen.map_or_else(Vec::new, |it| one(it.at.elapsed().as_secs_f64())),
    );
    family(
        "tidegate_foresight_duration_seconds",
        "gauge",
        "How long finding it took.",
        foreseen.map_or_else(Vec::new, |it| one(it.took.as_secs_f64())),
    );
    let shift_labels = |it: &crate::ShiftView| {
        let (name, from, by) = (escape(&it.name), escape(&it.away_from), escape(&it.by));
        format!(r#"shift="{name}",away_from="{from}",by="{by}""#)
    };
    family(
        "tidegate_shift_remaining_seconds",
        "gauge",
        "How long a shift still lasts.",
        status.shifts.iter().map(|it| (shift_labels(it), number(it.remaining_ms) / 1e3)).collect(),
    );
    family(
        "tidegate_shift_ratio",
        "gauge",
        "The part of the traffic that a shift moves away.",
        status.shifts.iter().map(|it| (shift_labels(it), f64::from(it.percent) / 100.0)).collect(),
    );
    family(
        "tidegate_drill_fault_remaining_seconds",
        "gauge",
        "How long a fault of a drill still lasts that this agent carries out.",
        status
            .drills
            .iter()
            .map(|it| {
                let labels = format!(r#"drill="{}",what="{}""#, escape(&it.id), escape(&it.what));
                (labels, number(it.remaining_ms) / 1e3)
            })
            .collect(),
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
    let api = status.kubernetes.as_ref();
    family(
        "tidegate_kubernetes_age_seconds",
        "gauge",
        "How long ago the cluster's API was heard last; what is in force is no older than this.",
        api.and_then(|it| it.age_ms).map_or_else(Vec::new, |age| one(number(age) / 1e3)),
    );
    let served = api.iter().flat_map(|it| &it.watches).filter(|(_, word)| *word != "Absent");
    family(
        "tidegate_kubernetes_watch_follows",
        "gauge",
        "Whether changes of a kind are followed; if not, its last good state counts.",
        served.map(|(kind, word)| (format!(r#"kind="{kind}""#), flag(word == "Following"))).collect(),
    );
    let hub = status.hub.as_ref();
    family(
        "tidegate_agent_hub_connected",
        "gauge",
        "Whether the hub is followed; no sample in a cluster that joined none.",
        hub.map_or_else(Vec::new, |it| one(flag(it.connected))),
    );
    family(
        "tidegate_agent_hub_since_seconds",
        "gauge",
        "How long it has been followed, or not.",
        hub.map_or_else(Vec::new, |it| one(number(it.since_ms) / 1e3)),
    );
    let own = hub.map(|it| ("agent".to_owned(), it.certificate_ends));
    let shown = status.certificates.iter().map(|(name, ends)| (name.clone(), *ends));
    family(
        "tidegate_certificate_expiry_timestamp_seconds",
        "gauge",
        "When a certificate ends: the agent's own, and those that gateways show to clients, by their Secret.",
        own.into_iter()
            .chain(shown)
            .map(|(name, ends)| (format!(r#"certificate="{}""#, escape(&name)), number(ends)))
            .collect(),
    );
    let region = status.region.as_ref().map_or_else(String::new, ToString::to_string);
    let version = env!("CARGO_PKG_VERSION");
    family(
        "tidegate_agent_info",
        "gauge",
        "1, with the agent's cluster, region and version.",
        vec![(format!(r#"cluster="{}",region="{region}",version="{version}""#, status.cluster), 1.0)],
    );
    family(
        "tidegate_agent_uptime_seconds",
        "gauge",
        "How long this agent has run.",
        one(number(status.uptime_ms) / 1e3),
    );
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
            hub: Some(crate::view::HubLinkView {
                connected: false,
                since_ms: 61_500,
                certificate_ends: 1_800_000_000,
            }),
            certificates: [("shop/tls".to_owned(), 1_900_000_000)].into(),
        };
        let text = text(&status, None, 7);
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
        assert!(text.contains("tidegate_agent_hub_connected 0\n"), "{text}");
        assert!(text.contains("tidegate_agent_hub_since_seconds 61.5\n"), "{text}");
        let ends = "tidegate_certificate_expiry_timestamp_seconds{certificate=\"shop/tls\"} 1900000000\n";
        assert!(text.contains(ends), "{text}");
        let families: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(families.contains(&name), "{line}");
        }
    }
}
