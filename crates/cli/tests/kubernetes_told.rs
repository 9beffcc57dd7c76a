//! What a hub tells the objects of a real Kubernetes API of what happened in its fleet, with the rights that it is installed with:
//! two clusters with real Envoys, a drill by a schedule, a cluster that is put out and one that is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{
    thread::sleep,
    time::{Duration, Instant},
};
use support::{
    backend,
    describe::described,
    envoy,
    hub::{ANY, Hub},
    kube::{HUB, apply, hub_rights, kubectl},
    pair::{DOMAIN, EAST, Pair, WEST, get},
    wait_until, workspace,
};
use tidegate_apiserver::{ApiServer, Options};

const DRILL: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: Drill
metadata: {name: leave, namespace: shop}
spec:
  target: {cluster: east}
  fault: {type: Shift, expiresAfter: 60s}
  steps: {steady: 1s, fault: 4s, observe: 3s}
---
apiVersion: tidegate.dev/v1alpha1
kind: DrillSchedule
metadata: {name: often, namespace: shop}
spec: {drill: leave, cron: '* * * * *', timeZone: UTC, suspend: false}
";

fn server() -> Option<ApiServer> {
    let server = ApiServer::start_or_skip(&Options { rbac: true, users: vec![HUB.to_owned()] })?;
    let definitions = workspace().join("deploy/crds");
    kubectl(&server, &["apply", "--server-side", "-k", definitions.to_str().unwrap()], "");
    kubectl(&server, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=20s"], "");
    kubectl(&server, &["create", "namespace", "shop"], "");
    apply(&server, &hub_rights());
    Some(server)
}

fn object(server: &ApiServer, kind: &str, name: &str) -> Value {
    serde_json::from_str(&kubectl(server, &["get", kind, name, "-n", "shop", "-o", "json"], "")).unwrap()
}

/// Waits until `kubectl describe` shows these events of an object.
fn until_shown(server: &ApiServer, kind: &str, name: &str, reasons: &[&str]) {
    let said = wait_until(&format!("{reasons:?} of {kind} {name}"), || {
        let said = described(server, kind, name);
        let events = said.split("\nEvents:").nth(1)?.to_owned();
        reasons.iter().all(|it| events.contains(it)).then_some(events)
    });
    assert!(said.contains("tidegate.dev/hub"), "{said}");
}

#[test]
fn describe_shows_drills_and_clusters_and_their_status_how_they_ended() {
    let test = "describe_shows_drills_and_clusters_and_their_status_how_they_ended";
    let (Some(envoy), Some(server)) = (envoy(test), server()) else { return };
    let mut pair = Pair::start_by(&envoy, backend::start("127.0.0.1"), |place, policy| {
        apply(&server, policy);
        let kubeconfig = server.kubeconfig_of(HUB);
        let source = ["--kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap()];
        Hub::start_from(&source, &place.at("hub"), ANY, &["--trust-domain", DOMAIN])
    });
    for cluster in [EAST, WEST] {
        until_shown(&server, "fleetcluster", cluster, &["ClusterJoined"]);
    }
    pair.east.until_link("beating");
    pair.west.until_link("beating");

    apply(&server, &DRILL.replace("cluster: east", &format!("cluster: {EAST}")));
    let last = |kind: &str, name: &str| object(&server, kind, name)["status"]["lastRun"].clone();
    let next = wait_until("when it runs next", || {
        object(&server, "drillschedules", "often")["status"]["nextRunAt"].as_str().map(str::to_owned)
    });
    assert!(next.ends_with(":00Z"), "{next}");
    let until = Instant::now() + Duration::from_secs(100);
    let begun = loop {
        let last = last("drills", "leave");
        if last["result"] == "Running" {
            break last;
        }
        assert!(Instant::now() < until, "{last}\n{}", pair.hub.running.said());
        sleep(Duration::from_millis(200));
    };
    // Nothing else begins meanwhile.
    apply(
        &server,
        &DRILL
            .replace("cluster: east", &format!("cluster: {EAST}"))
            .replace("suspend: false", "suspend: true"),
    );
    let ended =
        wait_until("its end", || Some(last("drills", "leave")).filter(|it| it["endedAt"].is_string()));
    assert_eq!((&ended["id"], &ended["result"]), (&begun["id"], &"Passed".into()), "{ended}");
    assert_eq!(ended["startedAt"].as_str().map(str::len), Some(20), "{ended}");
    wait_until("the same of its schedule", || {
        let schedule = object(&server, "drillschedules", "often")["status"].clone();
        (schedule["lastRun"] == ended && schedule["nextRunAt"].is_null()).then_some(())
    });
    let shown = kubectl(&server, &["get", "drills,drillschedules", "-n", "shop"], "");
    assert_eq!(shown.matches("Passed").count(), 2, "{shown}");
    until_shown(&server, "drill", "leave", &["DrillStarted", "DrillPassed"]);
    until_shown(&server, "drillschedule", "often", &["DrillStarted"]);

    // What is told is told once.
    let versions = || {
        ["drills", "drillschedules"].map(|it| {
            let name = if it == "drills" { "leave" } else { "often" };
            object(&server, it, name)["metadata"]["resourceVersion"].clone()
        })
    };
    let (before, quiet) = (versions(), Instant::now());
    while quiet.elapsed() < Duration::from_secs(4) {
        sleep(Duration::from_millis(500));
        assert_eq!(versions(), before, "a status was written again");
    }

    let ran = pair.hub.ask(&["cluster", "revoke", WEST]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    until_shown(&server, "fleetcluster", WEST, &["ClusterRevoked"]);
    pair.east.agent.running.signal(rustix::process::Signal::KILL);
    pair.east.agent.running.ended();
    until_shown(&server, "fleetcluster", EAST, &["ClusterLost"]);
    let metrics = get(pair.hub.admin, "/metrics").unwrap();
    assert!(metrics.contains("tidegate_kubernetes_events_total{result=\"told\"}"), "{metrics}");
    assert!(metrics.contains("tidegate_kubernetes_status_writes_total{result=\"failed\"} 0\n"), "{metrics}");
}
