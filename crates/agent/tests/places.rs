//! Places that lose their services together, as the agent's core sees them: what gateways report spares a service, and a
//! verdict outlives a restart.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{collections::BTreeSet, fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_agent::{
    core::{Core, Input},
    saved::SavedAgent,
};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_model::{ProbeVerdict, ServiceName, Time, Zone};
use tidegate_xds::{ClusterLoad, LoadReport, LocalityLoad, NodeInfo, NodeLocality, RequestCounts};

const SERVICES: u8 = 6;

/// The cluster `east` with six services, an endpoint of each in the zones a and b, on two nodes per zone.
fn config() -> Arc<Config> {
    let mut text = "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: east}\n\
                    spec: {region: east}\n"
        .to_owned();
    for n in 0..SERVICES {
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: shop}}\n\
             spec: {{ports: [{{name: http, port: 80}}]}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: s{n}, namespace: shop, labels: {{kubernetes.io/service-name: s{n}}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints:\n\
             - {{addresses: [127.0.1.{n}], zone: a, nodeName: a{node}}}\n\
             - {{addresses: [127.0.2.{n}], zone: b, nodeName: b{node}}}\n",
            node = n % 2,
        )
        .unwrap();
    }
    let loaded = Loader::new("east".parse().unwrap()).load(&[SourceFile { path: "fleet.yaml".into(), text }]);
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.config)
}

fn ms(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn service(n: u8) -> ServiceName {
    format!("shop/s{n}").parse().unwrap()
}

fn check(core: &mut Core, n: u8, zone: u8, up: bool, at: Time) {
    let verdict = if up { ProbeVerdict::Up } else { ProbeVerdict::Down("no answer".to_owned()) };
    let address = SocketAddr::from(([127, 0, zone, n], 8080));
    core.handle(Input::Checked((service(n), address), verdict), at);
}

fn start(saved: Option<SavedAgent>) -> Core {
    let mut core = Core::new("east".parse().unwrap(), saved, ms(0));
    core.handle(Input::Manifests(config()), ms(0));
    core
}

/// All is well for a while; then five of six services lose zone a.
fn struck() -> Core {
    let mut core = start(None);
    for n in 0..SERVICES {
        check(&mut core, n, 1, true, ms(10));
        check(&mut core, n, 2, true, ms(10));
    }
    tick(&mut core, 20_000);
    for n in 0..5 {
        check(&mut core, n, 1, false, ms(20_000));
    }
    core
}

/// Follows the core's deadlines.
fn tick(core: &mut Core, until_ms: u64) {
    while let Some(at) = core.next_deadline().filter(|at| *at <= ms(until_ms)) {
        core.handle(Input::Tick, at);
    }
    core.handle(Input::Tick, ms(until_ms));
}

/// Who serves what enters in zone a.
fn plan(core: &Core, n: u8) -> String {
    let plans = core.plan_views();
    let plan = plans.iter().find(|it| it.service == service(n) && it.source == "east/a").unwrap();
    let shares: Vec<String> = plan.shares.iter().map(|(target, share)| format!("{target} {share}")).collect();
    shares.join(", ")
}

/// A gateway's report of requests to a service in a zone that succeeded.
fn report(n: u8, zone: &str, success: u64) -> LoadReport {
    let counts = RequestCounts { success, error: 1, ..RequestCounts::default() };
    let locality = NodeLocality { region: "east".to_owned(), zone: zone.to_owned(), ..Default::default() };
    let cluster = ClusterLoad {
        cluster: service(n).to_string(),
        service: String::new(),
        interval: Duration::from_millis(100),
        dropped: 0,
        shed: Default::default(),
        localities: vec![LocalityLoad { locality, priority: 0, counts, endpoints: Vec::new() }],
    };
    LoadReport { node: Arc::new(NodeInfo::default()), clusters: vec![cluster] }
}

#[test]
fn successes_matter_while_a_place_is_in_doubt_and_spare_a_service() {
    let mut core = start(None);
    assert!(core.successes(&report(5, "a", 1)).is_empty(), "nothing is in doubt");
    core = struck();
    assert!(core.successes(&report(5, "b", 1)).is_empty(), "that zone is not in doubt");
    assert!(core.successes(&report(5, "a", 0)).is_empty(), "errors are no success");
    let successes = core.successes(&report(5, "a", 3));
    assert_eq!(successes, BTreeSet::from([(service(5), "a".parse::<Zone>().unwrap())]));
    for at in (20_200..=22_000).step_by(200) {
        core.handle(Input::Succeeded(successes.clone()), ms(at));
    }
    assert_eq!(plan(&core, 5), "zone a 100 %");
    tick(&mut core, 23_000);
    assert_eq!(plan(&core, 5), "zone b 100 %", "nothing succeeded for a second");
}

#[test]
fn a_verdict_on_a_place_outlives_the_agent() {
    let mut core = struck();
    tick(&mut core, 22_000);
    assert_eq!(plan(&core, 5), "zone b 100 %");
    let text = serde_json::to_string(&core.save(ms(22_000)).unwrap()).unwrap();
    let mut after = start(Some(serde_json::from_str(&text).unwrap()));
    check(&mut after, 5, 1, true, ms(10));
    tick(&mut after, 5000);
    assert_eq!(plan(&after, 5), "zone b 100 %");
    assert_eq!(after.engine().unwrap().locations_out().count(), 1);
}
