//! A policy that changes while something is wrong: gateways' clusters wait, and no ejection is wiped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_agent::{
    core::{Core, Input, Output},
    passive::Requests,
};
use tidegate_api::{Config, Loader, SourceFile};
use tidegate_model::{ProbeVerdict, ServiceName, Time};
use tidegate_xds::{Change, ResourceType};

/// Two endpoints in each of the zones a and b, under a policy with these fields.
fn config(policy: &str) -> Arc<Config> {
    let text = format!(
        "
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {{name: east}}
spec: {{region: east}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints:
- {{addresses: [127.0.1.1], zone: a}}
- {{addresses: [127.0.1.2], zone: a}}
- {{addresses: [127.0.1.3], zone: b}}
- {{addresses: [127.0.1.4], zone: b}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: ew, namespace: infra}}
spec: {{gatewayClassName: tidegate-eastwest, listeners: [{{name: ew, port: 15443, protocol: HTTP}}]}}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {{name: web, namespace: shop}}
spec: {{targetRefs: [{{kind: Service, name: web}}], {policy}}}
"
    );
    let loaded =
        Loader::new("east".parse().unwrap()).load(&[SourceFile { path: "all.yaml".to_owned(), text }]);
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.config)
}

fn web() -> ServiceName {
    "shop/web".parse().unwrap()
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, last], 8080))
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn check(core: &mut Core, last: u8, up: bool, now: Time) {
    let verdict = if up { ProbeVerdict::Up } else { ProbeVerdict::Down("no answer".to_owned()) };
    core.handle(Input::Checked((web(), address(last)), verdict), now);
}

/// A core whose endpoints are all well.
fn settled(policy: &str) -> Core {
    let mut core = Core::new("east".parse().unwrap(), None, Time::ZERO);
    core.handle(Input::Manifests(config(policy)), Time::ZERO);
    for zone in ["a", "b"] {
        core.handle(Input::Gateway(zone.parse().unwrap()), Time::ZERO);
    }
    (1..=4).for_each(|last| check(&mut core, last, true, at(1)));
    assert!(core.is_ready());
    core
}

fn clusters(output: &Output) -> usize {
    let is_cluster = |change: &&Change| matches!(change, Change::Set { kind: ResourceType::Cluster, .. });
    output.xds.iter().filter(is_cluster).count()
}

/// Follows every deadline until clusters change, and says when.
fn until_clusters_change(core: &mut Core) -> Time {
    for _ in 0..10_000 {
        let now = core.next_deadline().expect("a change waits");
        if clusters(&core.handle(Input::Tick, now)) > 0 {
            return now;
        }
    }
    panic!("nothing changes");
}

const LIMIT: &str = "circuitBreaker: {maxConnections: 9}";

#[test]
fn a_limit_reaches_gateways_at_once_while_all_is_well() {
    let mut core = settled("retry: {attempts: 2}");
    let output = core.handle(Input::Manifests(config(LIMIT)), at(5));
    assert_eq!(clusters(&output), 3, "two zones and the east-west gateway");
}

#[test]
fn a_limit_waits_until_a_fault_and_the_way_back_are_over() {
    let mut core = settled("retry: {attempts: 2}");
    check(&mut core, 1, false, at(10));
    check(&mut core, 2, false, at(10));
    assert_eq!(clusters(&core.handle(Input::Manifests(config(LIMIT)), at(12))), 0);
    check(&mut core, 1, true, at(13));
    check(&mut core, 2, true, at(13));
    // 30 s of hold-down, then steps of 10 %, 50 % and 100 %, 10 s apart.
    let changed = until_clusters_change(&mut core);
    assert!((at(63)..=at(65)).contains(&changed), "{changed:?}");
}

#[test]
fn a_limit_waits_for_a_fault_that_does_not_end_60_s_and_no_longer() {
    let mut core = settled("retry: {attempts: 2}");
    check(&mut core, 1, false, at(10));
    assert_eq!(clusters(&core.handle(Input::Manifests(config(LIMIT)), at(12))), 0);
    assert_eq!(until_clusters_change(&mut core), at(72));
}

#[test]
fn a_limit_that_is_taken_back_while_it_waits_changes_nothing() {
    let mut core = settled("retry: {attempts: 2}");
    check(&mut core, 1, false, at(10));
    core.handle(Input::Manifests(config(LIMIT)), at(12));
    core.handle(Input::Manifests(config("retry: {attempts: 2}")), at(13));
    for _ in 0..1000 {
        let Some(now) = core.next_deadline().filter(|now| *now < at(200)) else { return };
        assert_eq!(clusters(&core.handle(Input::Tick, now)), 0);
    }
    panic!("it does not come to rest");
}

fn ejected(core: &Core) -> Vec<u8> {
    let web = web();
    let endpoints = core.engine().unwrap().endpoints(&web);
    endpoints
        .filter(|it| it.ejected)
        .map(|it| it.address.to_string().as_bytes()["127.0.1.".len()] - b'0')
        .collect()
}

#[test]
fn a_change_of_policy_wipes_no_ejection_but_one_that_asks_for_none_does() {
    let errors = "healthCheck: {passive: {errors: {}}}";
    let mut core = settled(errors);
    let count = |ended, failed| Requests { ended, failed };
    let requests = BTreeMap::from([(address(1), count(40, 30)), (address(2), count(40, 0))]);
    let output = core.handle(Input::Requests(BTreeMap::from([(web(), requests)])), at(10));
    assert_eq!(ejected(&core), [1]);
    let reason = &output.records.iter().find(|it| it.kind == "endpointChanged").unwrap().reason;
    assert!(reason.starts_with("errors: 30 of 40 requests failed in 10 s"), "{reason}");
    let changed = format!("{errors}, failoverThreshold: {{percentage: 90}}, {LIMIT}");
    let output = core.handle(Input::Manifests(config(&changed)), at(12));
    assert_eq!((ejected(&core), clusters(&output)), (vec![1], 0));
    core.handle(Input::Manifests(config(LIMIT)), at(13));
    assert_eq!(ejected(&core), [0_u8; 0]);
}

#[test]
fn an_ejection_ends_by_time_also_after_a_restart() {
    let errors = "healthCheck: {passive: {errors: {}}}";
    let mut core = settled(errors);
    let count = |ended, failed| Requests { ended, failed };
    let requests = BTreeMap::from([(address(1), count(40, 30)), (address(2), count(40, 0))]);
    core.handle(Input::Requests(BTreeMap::from([(web(), requests)])), at(10));
    let mut after = Core::new("east".parse().unwrap(), core.save(at(20)), Time::ZERO);
    after.handle(Input::Manifests(config(errors)), Time::ZERO);
    for core in [&mut core, &mut after] {
        assert_eq!(ejected(core), [1]);
        for _ in 0..1000 {
            let Some(now) = core.next_deadline().filter(|_| !ejected(core).is_empty()) else { break };
            core.handle(Input::Tick, now);
        }
        assert_eq!(ejected(core), [0_u8; 0]);
    }
}
