//! Drills whose faults agents carry out, on a fleet with real Envoys: what they measure beside a client and a clock of the test's own,
//! and what is left of them when the runner is killed, another drill runs, or a guard fires.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured is worth reading")]

#[path = "drill/client.rs"]
mod client;
#[path = "drill/stage.rs"]
#[allow(dead_code, reason = "only its guard is needed here")]
mod stage;
mod support;

use client::{Asked, Client};
use rustix::process::Signal;
use serde_json::Value;
use stage::Stage;
use std::{
    net::{SocketAddr, TcpListener},
    process::{Command, Output},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use support::{
    command::{Running, tidegate},
    course::{Course, EAST, EUROPE, cluster, spec},
    until,
};
use tidegate_lab::fetch;

const HOST: &str = "web.shop.example";
const ZONE: &str = "us-east-1a";

fn tidegate_drill() -> Command {
    let mut command = tidegate();
    command.args(["drill", "run"]);
    command
}

/// A fleet of one service, and where its eastern edge and agent are.
struct Scene {
    course: Course,
    edge: SocketAddr,
    agent: SocketAddr,
    folder: tempfile::TempDir,
    /// What is broken.
    target: String,
}

impl Scene {
    async fn start(test: &str) -> Option<Self> {
        let mut spec = spec();
        spec.services.retain(|service| service.to_string() == "shop/web");
        let course = Course::start(test, spec).await?;
        let addresses = course.fleet().addresses(&cluster(EAST)).unwrap();
        let (edge, agent) = (addresses.edge.unwrap().gateway, addresses.agent_admin);
        let target = format!("zone: {ZONE}, region: {EAST}");
        Some(Self { course, edge, agent, folder: tempfile::tempdir().unwrap(), target })
    }

    /// A drill of the eastern zone where the gateways stand, unless another target was set.
    fn drill(&self, name: &str, fault: &str, steps: &str, more: &str) -> Command {
        let path = self.folder.path().join(format!("{name}.yaml"));
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             target: {{{}}}\n  fault: {{{fault}}}\n  steps: {{{steps}}}\n  \
             load: {{rateRps: 100, urls: [\"http://{}/\"]}}\n{more}",
            self.target, self.edge
        );
        std::fs::write(&path, text).unwrap();
        let mut command = tidegate_drill();
        command.arg(&path).args(["--header", &format!("host: {HOST}"), "-o", "json"]);
        command.args(["--agent", &self.agent.to_string()]);
        command
    }

    fn client(&self) -> Client {
        Client::start(self.edge, HOST, Duration::from_millis(10))
    }

    /// Until every pool has all its load.
    async fn whole(&self) {
        until("every pool to serve", async || {
            let status = self.course.status(EAST).await;
            let pools = status["pools"].as_array().unwrap().clone();
            pools.iter().all(|pool| pool["phase"] == "Serving").then_some(())
        })
        .await;
    }

    /// The faults that the agent says it carries out.
    async fn faults(&self) -> Vec<Value> {
        let answer = fetch::get(self.agent, None, "/api/v1/drills", Duration::from_secs(5)).await.unwrap();
        serde_json::from_slice(&answer.1).unwrap()
    }
}

async fn finish(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn report(ran: &Output) -> Value {
    let said = String::from_utf8_lossy(&ran.stderr);
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// When the agents were told, since 1970.
fn fault_at(report: &Value) -> Duration {
    Duration::from_micros(report["commands"][0]["startedUnixUs"].as_u64().unwrap())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Close enough: 50 ms, or 5 %.
fn agree(what: &str, found_ms: f64, own_ms: f64) {
    println!("{what}: the report says {found_ms:.1} ms, an own client {own_ms:.1} ms");
    let apart = (found_ms - own_ms).abs();
    assert!(apart <= 50.0 || apart <= own_ms * 0.05, "{what}: {found_ms} ms and {own_ms} ms");
}

/// Runs a drill beside the test's own client.
async fn measured(scene: &Scene, name: &str, fault: &str) -> (Value, Vec<Asked>) {
    let client = scene.client();
    let ran = finish(scene.drill(name, fault, "steady: 2s, fault: 4s, observe: 2s", "")).await;
    let own = tokio::task::spawn_blocking(move || client.stop()).await.unwrap();
    let report = report(&ran);
    println!("{name}: {:#}\n{:#}", report["costs"], report["agents"]);
    assert_eq!((&report["passed"], &report["mended"]), (&Value::Bool(true), &Value::Bool(true)), "{ran:?}");
    assert!(scene.faults().await.is_empty(), "nothing is left of it");
    (report, own)
}

/// The bad requests of the own client, as times since the fault.
fn bad(report: &Value, own: &[Asked], is_bad: impl Fn(&Asked) -> bool) -> Vec<f64> {
    let fault = fault_at(report);
    let bad = own.iter().filter(|asked| asked.sent + asked.took >= fault && is_bad(asked));
    bad.map(|asked| asked.sent.saturating_sub(fault).as_secs_f64() * 1e3).collect()
}

fn cost(report: &Value, name: &str) -> f64 {
    report["costs"][name].as_f64().unwrap_or_else(|| panic!("{name} of {:#}", report["costs"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_at_gateways_are_measured_as_an_own_client_measures_them() {
    let test = "faults_at_gateways_are_measured_as_an_own_client_measures_them";
    let Some(scene) = Scene::start(test).await else { return };
    for (name, fault, part) in [
        ("abort", "type: Abort, status: 503, expiresAfter: 30s", 1.0),
        ("brownout", "type: Brownout, percent: 50, expiresAfter: 30s", 0.5),
    ] {
        let (report, own) = measured(&scene, name, fault).await;
        let bad = bad(&report, &own, |asked| !asked.good);
        agree("first bad", cost(&report, "firstBadMs"), bad[0]);
        agree("last bad", cost(&report, "lastBadMs"), *bad.last().unwrap());
        assert!(report["costs"]["rtoMs"].is_null(), "it recovers only by mending");
        let (found, own) = (cost(&report, "failed") / 400.0, bad.len() as f64 / 400.0);
        println!("{name}: {found:.3} of the report's requests failed, {own:.3} of an own client's");
        assert!((found - part).abs() < 0.15 && (own - part).abs() < 0.15);
    }
    let fault = "type: Delay, delay: 1200ms, expiresAfter: 30s";
    let (report, own) = measured(&scene, "delay", fault).await;
    let slow = bad(&report, &own, |asked| asked.took >= Duration::from_secs(1));
    agree("first slow", cost(&report, "firstBadMs"), slow[0]);
    agree("last slow", cost(&report, "lastBadMs"), *slow.last().unwrap());
    let fault = "type: Abort, status: 503, markedOnly: true, expiresAfter: 30s";
    let (report, own) = measured(&scene, "marked", fault).await;
    assert_eq!((cost(&report, "failed"), bad(&report, &own, |asked| !asked.good).len()), (0.0, 0));
    scene.course.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gateway_breaks_as_an_own_client_measures_it_and_no_other() {
    let test = "one_gateway_breaks_as_an_own_client_measures_it_and_no_other";
    let Some(mut scene) = Scene::start(test).await else { return };
    scene.target = format!("gateway: infra/edge, cluster: {EAST}");
    let elsewhere = scene.course.fleet().addresses(&cluster(EUROPE)).unwrap().edge.unwrap().gateway;
    let other = Client::start(elsewhere, HOST, Duration::from_millis(20));
    let (report, own) = measured(&scene, "abort", "type: Abort, status: 503, expiresAfter: 30s").await;
    let failed = bad(&report, &own, |asked| !asked.good);
    agree("first bad", cost(&report, "firstBadMs"), failed[0]);
    agree("last bad", cost(&report, "lastBadMs"), *failed.last().unwrap());
    assert!((cost(&report, "failed") - 400.0).abs() < 60.0, "{}", cost(&report, "failed"));
    // It takes requests, and answers none of them.
    let (report, own) = measured(&scene, "held", "type: BlackHole, expiresAfter: 30s").await;
    let failed = bad(&report, &own, |asked| !asked.good);
    agree("first held", cost(&report, "firstBadMs"), failed[0]);
    agree("last held", cost(&report, "lastBadMs"), *failed.last().unwrap());
    assert_eq!(cost(&report, "lost"), cost(&report, "failed"), "taken, and never answered");
    let other = tokio::task::spawn_blocking(move || other.stop()).await.unwrap();
    let broken = other.iter().filter(|asked| !asked.good).count();
    println!("of {} requests to another cluster's edge {broken} failed meanwhile", other.len());
    assert_eq!(broken, 0);
    // A name that there is not, and what has no meaning there, start nothing.
    for (target, fault, said) in [
        ("gateway: infra/egde, cluster: us-east", "type: Abort, status: 503", "there are: infra/edge"),
        ("gateway: infra/eastwest, cluster: us-east", "type: Abort, status: 503", "there are: infra/edge"),
        ("gateway: infra/edge, cluster: us-east", "type: Shift", "a gateway has no pools"),
        ("gateway: infra/edge", "type: Abort, status: 503", "in which cluster"),
    ] {
        scene.target = target.to_owned();
        let fault = format!("{fault}, expiresAfter: 5s");
        let ran = finish(scene.drill("refused", &fault, "steady: 1s, fault: 1s, observe: 1s", "")).await;
        let report = self::report(&ran);
        let why = report["ending"]["why"].as_str().unwrap_or_default();
        assert_eq!(report["ending"]["how"], "notStarted", "{report:#}");
        assert!(why.contains(said), "{target}: {why}");
    }
    scene.course.stop().await;
}

/// The push and what left the zone, beside what an own client was served by.
fn pushed_and_drained(report: &Value, own: &[Asked]) {
    let (part, fault) = (&report["agents"], fault_at(report));
    let agent = &part["agents"][0];
    let of = |name: &str| agent[name].as_f64().unwrap_or_else(|| panic!("{name} of {agent:#}"));
    let gateways = agent["gateways"].as_array().unwrap();
    assert!(!gateways.is_empty(), "{agent:#}");
    let (decided, first, last) = (of("decideMs"), of("pushFirstMs"), of("pushLastMs"));
    assert!(decided <= first && first <= last && last < 4000.0, "{decided} {first} {last}");
    println!(
        "decided after {decided:.1} ms, the first gateway had it after {first:.1} ms, the last after {last:.1} ms"
    );
    // The last request that was sent there, by who served it. An agent knows it to a report of its gateways.
    let until = fault + Duration::from_secs(4);
    let home = own.iter().filter(|asked| asked.at_home && asked.sent >= fault && asked.sent < until);
    let left = home.map(|asked| (asked.sent - fault).as_secs_f64() * 1e3).fold(0.0, f64::max);
    let (drained, less) = (of("drainMs"), of("drainUncertaintyMs"));
    println!(
        "drained: the report says {drained:.1} ms or up to {less:.1} ms less, an own client {left:.1} ms"
    );
    // It sends each 10 ms; reports come after their interval, when a busy machine lets them.
    assert!((drained - less - 250.0..=drained + 50.0).contains(&left), "{left} is not in {drained} - {less}");
    let gateway = gateways[0]["gateway"].as_str().unwrap();
    assert!(agent["inForce"]["gateways"][gateway].as_str().is_some_and(|it| it.contains('.')), "{agent:#}");
    let pools = part["traffic"]["pools"].as_array().unwrap();
    let rps = |broken: bool, bin: usize| -> f64 {
        let of = pools.iter().filter(|pool| pool["broken"] == broken);
        of.filter_map(|pool| pool["rps"][bin].as_f64()).sum()
    };
    println!("shares: {pools:?}");
    // The fault is on from 2 s to 6 s.
    assert!(rps(true, 0) > 0.0 && rps(true, 4) < 1.0 && rps(false, 4) > 50.0, "{pools:#?}");
    let kinds: Vec<&str> =
        part["decisions"].as_array().unwrap().iter().filter_map(|it| it["kind"].as_str()).collect();
    assert!(kinds.contains(&"planChanged") && !kinds.contains(&"pushAcked"), "{kinds:?}");
    assert!(part["moves"].as_u64().is_some_and(|moves| (1..=2).contains(&moves)), "{}", part["moves"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_agents_decide_about_is_measured_and_no_request_fails() {
    let test = "what_agents_decide_about_is_measured_and_no_request_fails";
    let Some(scene) = Scene::start(test).await else { return };
    for (name, fault) in
        [("verdict", "type: Verdict, expiresAfter: 30s"), ("shift", "type: Shift, expiresAfter: 30s")]
    {
        scene.whole().await;
        let from = scene.course.events(EAST).await.len();
        let (report, asked) = measured(&scene, name, fault).await;
        assert_eq!((cost(&report, "failed"), bad(&report, &asked, |asked| !asked.good).len()), (0.0, 0));
        let fault = fault_at(&report);
        let events = scene.course.events(EAST).await.split_off(from);
        let plan = events.iter().find(|it| it.kind == "planChanged").expect("it moves away");
        let part = &report["agents"];
        let decided = part["detectMs"].as_f64().unwrap() + part["decideMs"].as_f64().unwrap();
        let own = Duration::from_micros(plan.unix_micros).saturating_sub(fault).as_secs_f64() * 1e3;
        agree("decided", decided, own);
        let agent = &part["agents"][0];
        pushed_and_drained(&report, &asked);
        assert!(agent["moves"].as_u64().unwrap() >= 1, "{agent:#}");
        assert!(
            agent["clockAheadMs"].as_f64().unwrap().abs() <= agent["uncertaintyMs"].as_f64().unwrap() + 1.0
        );
    }
    scene.whole().await;
    // Packets to the zone vanish: what is safe is tried elsewhere after its per-try timeout.
    let silent = TcpListener::bind("0.0.0.0:0").unwrap();
    let via = format!("127.77.0.1:{}", silent.local_addr().unwrap().port());
    let fault = format!("type: BlackHole, via: \"{via}\", expiresAfter: 30s");
    let (report, own) = measured(&scene, "hole", &fault).await;
    let touched = bad(&report, &own, |asked| asked.took >= Duration::from_millis(200));
    let (late, failed) = (touched.len(), bad(&report, &own, |asked| !asked.good).len());
    println!("{late} requests of the own client were late, {failed} failed");
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_ok(), "nobody was sent there");
    assert_eq!((cost(&report, "failed"), failed), (0.0, 0));
    scene.course.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_drill_whoever_is_gone() {
    let Some(scene) = Scene::start("nothing_is_left_of_a_drill_whoever_is_gone").await else { return };
    let abort = "type: Abort, status: 503, expiresAfter: 5s";
    let long = "steady: 1s, fault: 5s, observe: 1s";

    // The runner is killed: the fault goes on until it expires, and no longer.
    let client = scene.client();
    let runner = Running::start(&mut scene.drill("killed", abort, long, ""));
    until("the fault", async || scene.faults().await.pop()).await;
    runner.signal(Signal::KILL);
    let killed = now();
    assert_eq!(scene.faults().await.len(), 1, "nobody mended it");
    until("the fault to expire", async || scene.faults().await.is_empty().then_some(())).await;
    let own = tokio::task::spawn_blocking(move || client.stop()).await.unwrap();
    let bad: Vec<&Asked> = own.iter().filter(|asked| !asked.good).collect();
    let lasted = (bad.last().unwrap().sent - bad[0].sent).as_secs_f64() * 1e3;
    println!("the fault was to last 5 s, an own client saw {lasted:.1} ms of it");
    assert!((lasted - 5000.0).abs() <= 250.0, "{lasted} ms");
    assert!(bad.last().unwrap().sent > killed, "it outlived the runner");

    // Of two, one is refused.
    let other = "type: Delay, delay: 100ms, expiresAfter: 5s";
    let quick = "steady: 1s, fault: 2s, observe: 1s";
    let (one, two) = tokio::join!(
        finish(scene.drill("one", abort, quick, "")),
        finish(scene.drill("two", other, quick, ""))
    );
    let reports = [report(&one), report(&two)];
    let passed = |report: &&Value| report["passed"] == true;
    assert_eq!(reports.iter().filter(passed).count(), 1, "{reports:#?}");
    let refused = reports.iter().find(|report| !passed(report)).unwrap();
    let why = refused["ending"]["why"].as_str().unwrap();
    assert!(why.contains("touches"), "{why}");

    // A guard mends.
    let stage = Stage::start();
    let guard = format!(
        "  guards: [{{httpCheck: {{url: \"{}\", interval: 100ms, timeout: 400ms, failures: 2}}}}]\n",
        stage.guard_url()
    );
    let fault = "type: Abort, status: 503, expiresAfter: 60s";
    let client = scene.client();
    let command = scene.drill("guarded", fault, "steady: 1s, fault: 30s, observe: 2s", &guard);
    let running = tokio::spawn(finish(command));
    until("the fault", async || scene.faults().await.pop()).await;
    stage.alarm();
    let alarm = now();
    let ran = running.await.unwrap();
    let own = tokio::task::spawn_blocking(move || client.stop()).await.unwrap();
    let last = own.iter().rfind(|asked| !asked.good).unwrap().sent;
    println!("the guard mended within {:?}", last.saturating_sub(alarm));
    assert!(last.saturating_sub(alarm) <= Duration::from_secs(1), "{:?}", last.saturating_sub(alarm));
    let report = report(&ran);
    assert_eq!((ran.status.code(), &report["mended"]), (Some(1), &Value::Bool(true)));
    assert!(report["ending"]["why"].as_str().unwrap().contains("guard"), "{}", report["ending"]);
    scene.course.stop().await;
}
