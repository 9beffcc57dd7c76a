//! `tidegate drill run --allow-disruption`: what `kubectl` takes away comes back, whoever is killed. Needs kubectl
//! (`cargo xtask setup`); `TIDEGATE_TEST_KUBECONFIG` names an API to run against, in namespaces that the tests make there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "drill/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "drill/stage.rs"]
mod stage;
mod support;

use cluster::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stage::{Stage, wait_for};
use std::process::{Command, Output, Stdio};
use support::walk::{Walk, in_scene, steps_of};

/// What carries the fault out.
const SCALE: &str = "do: ScaleToZero, workload: deployment/web";
const ISOLATE: &str = "do: Isolate, podLabels: {app: web}";

fn tidegate_drill() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["drill", "run"]);
    command
}

/// A cluster with a Deployment of so many replicas, or `None` after saying that the test was skipped. CI must have kubectl.
fn cluster(test: &str, replicas: u32) -> Option<Cluster> {
    let mut version = Command::new("kubectl");
    version.args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        support::skipped(test, "no kubectl on PATH");
        return None;
    }
    Some(Cluster::start(replicas))
}

/// A drill of the stage, whose fault lasts so long at the cluster.
fn drill(stage: &Stage, cluster: &Cluster, what: &str, lasts: &str) -> Command {
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: lose-pods, namespace: shop}}\nspec:\n  \
         target: {{url: \"{}\"}}\n  fault:\n    type: Kubernetes\n    expiresAfter: {lasts}\n    \
         kubernetes: {{namespace: {}, context: \"{}\", {what}}}\n  \
         steps: {{steady: 1s, fault: {lasts}, observe: 1s}}\n",
        stage.url(),
        cluster.namespace,
        cluster.context,
    );
    let mut command = tidegate_drill();
    command.arg(stage.file("drill.yaml", &text)).env("KUBECONFIG", &cluster.kubeconfig);
    command
}

fn report(ran: &Output) -> Value {
    let said = String::from_utf8_lossy(&ran.stderr);
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn is_isolated(cluster: &Cluster) -> bool {
    !cluster.policies().is_empty()
}

#[test]
fn nothing_is_taken_away_unless_that_is_allowed() {
    let Some(cluster) = cluster("nothing_is_taken_away_unless_that_is_allowed", 3) else { return };
    let stage = Stage::start();
    for what in [SCALE, ISOLATE] {
        let ran = drill(&stage, &cluster, what, "1s").output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("--allow-disruption"), "{said}");
        assert_eq!((cluster.replicas(), is_isolated(&cluster)), (3, false));
    }
    // It is not a word for everything.
    let exec = "target: {url: \"http://127.0.0.1:1/\"}\n  fault: {type: Exec, expiresAfter: 1m, exec: {start: [x], mend: [y]}}";
    let text =
        format!("apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: it}}\nspec:\n  {exec}\n");
    let ran =
        tidegate_drill().arg(stage.file("exec.yaml", &text)).arg("--allow-disruption").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && said.contains("of type Kubernetes"), "{said}");
}

#[test]
fn a_workload_is_scaled_to_zero_and_back_to_what_it_was() {
    let Some(cluster) = cluster("a_workload_is_scaled_to_zero_and_back_to_what_it_was", 3) else { return };
    let stage = Stage::start();
    let run = drill(&stage, &cluster, SCALE, "3s")
        .args(["--allow-disruption", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("no replicas", || cluster.replicas() == 0);
    let ran = run.wait_with_output().unwrap();
    let report = report(&ran);
    assert_eq!(cluster.replicas(), 3);
    assert_eq!((ran.status.code(), &report["mended"]), (Some(0), &Value::Bool(true)), "{report:#}");
    assert_eq!(report["commands"].as_array().unwrap().len(), 2, "{report:#}");
}

#[test]
fn pods_are_isolated_and_reached_again() {
    let Some(cluster) = cluster("pods_are_isolated_and_reached_again", 3) else { return };
    let stage = Stage::start();
    let run = drill(&stage, &cluster, ISOLATE, "3s")
        .args(["--allow-disruption", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the policy", || is_isolated(&cluster));
    let policies = cluster.policies();
    let ran = run.wait_with_output().unwrap();
    let report = report(&ran);
    assert!(!is_isolated(&cluster));
    assert_eq!((ran.status.code(), &report["mended"]), (Some(0), &Value::Bool(true)), "{report:#}");
    let [policy] = policies.as_slice() else { panic!("{policies:?}") };
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"]["app"], "web");
    assert_eq!(policy["spec"]["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
    assert_eq!(policy["metadata"]["labels"]["tidegate.dev/drill"], report["id"]);
    assert!(policy["spec"]["ingress"].is_null() && policy["spec"]["egress"].is_null());
}

#[test]
fn a_runner_that_is_killed_leaves_the_cluster_as_it_was() {
    for what in [SCALE, ISOLATE] {
        let Some(cluster) = cluster("a_runner_that_is_killed_leaves_the_cluster_as_it_was", 3) else {
            return;
        };
        let stage = Stage::start();
        let mut run = drill(&stage, &cluster, what, "60s").arg("--allow-disruption").spawn().unwrap();
        wait_for("the fault", || cluster.replicas() == 0 || is_isolated(&cluster));
        kill_process(Pid::from_child(&run), Signal::KILL).unwrap();
        run.wait().unwrap();
        wait_for("mending", || cluster.replicas() == 3 && !is_isolated(&cluster));
    }
}

#[test]
fn what_somebody_scaled_meanwhile_is_left_alone() {
    // Before the fault: it does not begin, and nothing is given back.
    let Some(cluster) = cluster("what_somebody_scaled_meanwhile_is_left_alone", 3) else { return };
    let stage = Stage::start();
    let run = drill(&stage, &cluster, SCALE, "60s")
        .args(["--allow-disruption", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("a request of its load", || stage.asked() > 3);
    cluster.kubectl(&["scale", "deployment/web", "--replicas=5"]);
    let ran = run.wait_with_output().unwrap();
    let report = report(&ran);
    assert_eq!((ran.status.code(), cluster.replicas()), (Some(1), 5));
    let why = report["ending"]["why"].as_str().unwrap();
    assert!(why.contains("ended with code 1") && why.contains("replicas"), "{why}");
    // While it lasts.
    let run = drill(&stage, &cluster, SCALE, "3s").arg("--allow-disruption").stdout(Stdio::null()).spawn();
    let mut run = run.unwrap();
    wait_for("no replicas", || cluster.replicas() == 0);
    cluster.kubectl(&["scale", "deployment/web", "--replicas=2"]);
    assert!(run.wait().unwrap().success());
    assert_eq!(cluster.replicas(), 2);
}

#[test]
fn what_cannot_be_taken_away_is_told_before_anything_begins() {
    let Some(cluster) = cluster("what_cannot_be_taken_away_is_told_before_anything_begins", 0) else {
        return;
    };
    let stage = Stage::start();
    let missing = "do: ScaleToZero, workload: deployment/wbe";
    for (what, said) in [(SCALE, "nothing to take away"), (missing, "not found")] {
        let ran = drill(&stage, &cluster, what, "1s").arg("--allow-disruption").output().unwrap();
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{told}");
        assert!(told.contains("nothing was broken") && told.contains(said), "{told}");
    }
    let mut without = drill(&stage, &cluster, SCALE, "1s");
    let ran = without.arg("--allow-disruption").env("PATH", "/nowhere").output().unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && told.contains("kubectl must be on PATH"), "{told}");
    assert_eq!(stage.asked(), 0);
}

#[test]
fn the_page_takes_pods_away_as_written() {
    let test = "the_page_takes_pods_away_as_written";
    let Some(cluster) = cluster(test, 3) else { return };
    let Some(mut walk) = Walk::without_envoy(test) else { return };
    let stage = Stage::start();
    let table = [
        ("https://shop.example/health", &*stage.url()),
        ("namespace: shop, workload", &*format!("namespace: {}, workload", cluster.namespace)),
        ("context: prod-east", &*format!("context: {}", cluster.context)),
        ("steady: 10s, fault: 30s, observe: 30s", "steady: 1s, fault: 2s, observe: 1s"),
    ];
    walk.kubeconfig(&cluster.kubeconfig);
    walk.follow(&in_scene(steps_of("docs/drills.md", Some("## Faults of Kubernetes")), &table));
    assert!(stage.asked() > 10, "the load was sent");
    assert_eq!(cluster.replicas(), 3);
}
