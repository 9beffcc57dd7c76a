//! Drills whose faults a lab carries out on its own fleet with real Envoys: what they measure beside a client and a clock of the
//! test's own, what is left of them, and that nobody else is broken by them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured is worth reading")]

#[path = "drill/client.rs"]
mod client;
mod support;

use client::{Asked, Client};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    net::SocketAddr,
    process::{Command, Output},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use support::{
    TIDEGATE,
    command::{Running, tidegate},
    course::{Course, EAST, EUROPE, cluster, spec},
    envoy, until,
};
use tidegate_lab::{
    demo::Control,
    fetch,
    fleet::{Binaries, Fleet, FleetSpec, agent::AgentEvent},
};

const HOST: &str = "web.shop.example";

/// A fleet of one service, and the address of its lab.
struct Scene<'a> {
    course: &'a Course,
    lab: SocketAddr,
    folder: tempfile::TempDir,
}

/// Runs a test beside a lab.
async fn with_lab(test: &str, body: impl AsyncFnOnce(&Scene<'_>)) {
    let mut spec = spec();
    spec.services.retain(|service| service.to_string() == "shop/web");
    let Some(course) = Course::start(test, spec).await else { return };
    let control = Control::listen(course.fleet()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene { course: &course, lab: control.address(), folder };
    tokio::select! {
        () = control.serve(course.fleet()) => panic!("a lab serves for ever"),
        () = body(&scene) => {}
    }
    drop(scene);
    course.stop().await;
}

impl Scene<'_> {
    /// Where clients ask at this edge.
    fn edge(&self, name: &str) -> SocketAddr {
        self.course.fleet().addresses(&cluster(name)).unwrap().edge.unwrap().gateway
    }

    fn agent(&self, name: &str) -> SocketAddr {
        self.course.fleet().addresses(&cluster(name)).unwrap().agent_admin
    }

    fn drill(&self, edge: &str, target: &str, lab: &str, steps: &str) -> Command {
        let path = self.folder.path().join("drill.yaml");
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: lab, namespace: shop}}\nspec:\n  \
             target: {{{target}}}\n  fault: {{type: Lab, lab: {{{lab}}}, expiresAfter: 5s}}\n  steps: {{{steps}}}\n  \
             load: {{rateRps: 100, urls: [\"http://{}/\"]}}\n",
            self.edge(edge)
        );
        std::fs::write(&path, text).unwrap();
        let mut command = tidegate();
        command.args(["drill", "run"]).arg(&path);
        command.args(["--header", &format!("host: {HOST}"), "-o", "json"]);
        command
    }

    fn by_lab(&self, edge: &str, target: &str, lab: &str, steps: &str) -> Command {
        let mut command = self.drill(edge, target, lab, steps);
        command.args(["--lab", &self.lab.to_string()]);
        command
    }

    /// Until every pool has all its load, as this cluster sees it.
    async fn whole(&self, name: &str) {
        self.course.until_ready(name).await;
        until("every pool to serve", async || {
            let status = self.course.status(name).await;
            let pools = status["pools"].as_array()?.clone();
            pools.iter().all(|pool| pool["phase"] == "Serving" && pool["reachable"] == true).then_some(())
        })
        .await;
    }

    async fn faults(&self) -> Vec<Value> {
        let answer = fetch::get(self.lab, None, "/api/v1/drills", Duration::from_secs(5)).await.unwrap();
        serde_json::from_slice(&answer.1).unwrap()
    }

    /// Runs a drill beside the test's own client at the same edge.
    async fn measured(&self, edge: &str, target: &str, lab: &str) -> (Value, Vec<Asked>) {
        self.whole(edge).await;
        let client = Client::start(self.edge(edge), HOST, Duration::from_millis(10));
        let ran = finish(self.by_lab(edge, target, lab, "steady: 2s, fault: 4s, observe: 6s")).await;
        let own = tokio::task::spawn_blocking(move || client.stop()).await.unwrap();
        let report = report(&ran);
        println!("{lab} at {target}: {:#}", report["costs"]);
        assert_eq!(report["mended"], Value::Bool(true), "{ran:?}");
        assert!(self.faults().await.is_empty(), "nothing is left of it");
        assert_eq!(report["agents"], Value::Null, "no agent was asked");
        (report, own)
    }

    /// The same, and its first and last bad request, and how many there were, are those of the own client.
    async fn outage(&self, edge: &str, target: &str, lab: &str) -> (f64, f64) {
        let (report, own) = self.measured(edge, target, lab).await;
        let bad = bad(&report, &own);
        assert!(!bad.is_empty(), "{lab}: an own client saw nothing of it");
        let (first, last) = (cost(&report, "firstBadMs"), cost(&report, "lastBadMs"));
        agree(&format!("{lab}, first bad"), first, bad[0]);
        agree(&format!("{lab}, last bad"), last, *bad.last().unwrap());
        (first, last)
    }
}

async fn finish(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn report(ran: &Output) -> Value {
    let said = String::from_utf8_lossy(&ran.stderr);
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
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

/// When the requests of the own client were sent that failed or took more than a second, since the fault.
fn bad(report: &Value, own: &[Asked]) -> Vec<f64> {
    let fault = Duration::from_micros(report["commands"][0]["startedUnixUs"].as_u64().unwrap());
    let is_bad = |asked: &&Asked| !asked.good || asked.took > Duration::from_secs(1);
    let bad = own.iter().filter(|asked| asked.sent + asked.took >= fault).filter(is_bad);
    bad.map(|asked| asked.sent.saturating_sub(fault).as_secs_f64() * 1e3).collect()
}

fn cost(report: &Value, name: &str) -> f64 {
    report["costs"][name].as_f64().unwrap_or_else(|| panic!("{name} of {:#}", report["costs"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_that_a_lab_breaks_are_missed_as_an_own_client_misses_them() {
    let test = "workloads_that_a_lab_breaks_are_missed_as_an_own_client_misses_them";
    with_lab(test, async |scene| {
        for lab in ["do: Status", "do: Refuse", "do: Hang", "do: Slow, delay: 1200ms", "do: Flap, every: 1s"]
        {
            let (_, last) = scene.outage(EAST, "service: shop/web", lab).await;
            // The last quarter of a flap is good; everything else lasts until it is mended.
            let least = if lab.contains("Flap") { 2000.0 } else { 2900.0 };
            assert!(last >= least, "{lab}: it was to last 4 s, and was over after {last} ms");
        }
        // A zone is lost: what is left takes over before it is mended.
        let from = scene.course.events(EAST).await.len();
        let (report, own) = scene.measured(EAST, "zone: us-east-1a, region: us-east", "do: Refuse").await;
        let events = scene.course.events(EAST).await.split_off(from);
        let lost = |it: &&AgentEvent| it.kind == "poolChanged" && it.zone.as_deref() == Some("us-east-1a");
        assert!(events.iter().any(|it| lost(&it)), "the agent saw nothing of it: {events:#?}");
        let last = bad(&report, &own).last().copied().unwrap_or(0.0);
        agree("one zone, last bad", report["costs"]["lastBadMs"].as_f64().unwrap_or(0.0), last);
        assert!(last < 4000.0, "the other zone takes over");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_a_lab_kills_or_pauses_are_missed_as_an_own_client_misses_them() {
    let test = "processes_that_a_lab_kills_or_pauses_are_missed_as_an_own_client_misses_them";
    with_lab(test, async |scene| {
        for lab in ["do: Kill, process: Edge", "do: Pause, process: Edge"] {
            let (first, last) = scene.outage(EAST, "cluster: us-east", lab).await;
            assert!(first < 500.0 && last >= 2900.0, "{lab}: from {first} ms to {last} ms");
        }
        // The same Envoy by its gateway's name.
        let (first, last) = scene.outage(EAST, "gateway: infra/edge, cluster: us-east", "do: Kill").await;
        assert!(first < 500.0 && last >= 2900.0, "the gateway: from {first} ms to {last} ms");
        // What other clusters come in by: they go elsewhere.
        for lab in ["do: Kill, process: EastWest", "do: Pause, process: EastWest"] {
            let from = scene.course.events(EUROPE).await.len();
            let (report, own) = scene.measured(EUROPE, "cluster: us-east", lab).await;
            let events = scene.course.events(EUROPE).await.split_off(from);
            let parted = |it: &AgentEvent| it.kind == "peerChanged" && it.peer.as_deref() == Some(EAST);
            assert!(events.iter().any(parted), "{lab}: the agent saw nothing of it: {events:#?}");
            let last = bad(&report, &own).last().copied().unwrap_or(0.0);
            agree(&format!("{lab}, last bad"), report["costs"]["lastBadMs"].as_f64().unwrap_or(0.0), last);
            assert!(last < 4000.0, "{lab}: us-west takes over");
            until("the peer to be heard again", async || {
                let status = scene.course.status(EUROPE).await;
                status["peers"].as_array()?.iter().all(|it| it["state"] == "Reachable").then_some(())
            })
            .await;
        }
        for lab in ["do: Kill, process: Agent", "do: Pause, process: Agent"] {
            let silent = async {
                until("the fault", async || scene.faults().await.pop()).await;
                fetch::get(scene.agent(EAST), None, "/readyz", Duration::from_secs(1)).await.is_err()
            };
            let ((report, own), silent) = tokio::join!(scene.measured(EAST, "cluster: us-east", lab), silent);
            assert!(silent, "{lab}: the agent answers nobody");
            assert_eq!(
                (cost(&report, "failed"), bad(&report, &own).len()),
                (0.0, 0),
                "{lab}: gateways go on"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_a_lab_cuts_or_delays_are_missed_as_an_own_client_misses_them() {
    let test = "links_that_a_lab_cuts_or_delays_are_missed_as_an_own_client_misses_them";
    with_lab(test, async |scene| {
        let link = "peerLink: {from: eu-west, to: us-east}";
        // Less than a try may take: longer, and requests go to us-west.
        let (report, own) = scene.measured(EUROPE, link, "do: Delay, delay: 20ms").await;
        let median = |part: &str| report["costs"][part]["p50Ms"].as_f64().unwrap();
        let fault = Duration::from_micros(report["commands"][0]["startedUnixUs"].as_u64().unwrap());
        let during = own.iter().filter(|it| (fault..fault + Duration::from_secs(1)).contains(&it.sent));
        let mut took: Vec<f64> = during.map(|asked| asked.took.as_secs_f64() * 1e3).collect();
        took.sort_by(f64::total_cmp);
        agree("delay, median", median("during"), took[took.len() / 2]);
        let longer = median("during") - median("before");
        println!("each way 20 ms longer: an answer takes {longer:.1} ms longer");
        assert!((30.0..=90.0).contains(&longer), "{longer} ms");
        for target in [link, "region: us-east"] {
            let from = scene.course.events(EUROPE).await.len();
            let (report, own) = scene.measured(EUROPE, target, "do: Cut").await;
            let events = scene.course.events(EUROPE).await.split_off(from);
            let parted = |it: &&AgentEvent| it.kind == "peerChanged" && it.peer.as_deref() == Some(EAST);
            assert!(events.iter().any(|it| parted(&it)), "the agent saw nothing of it: {events:#?}");
            let (bad, found) = (bad(&report, &own), report["costs"]["lastBadMs"].as_f64());
            let last = bad.last().copied().unwrap_or(0.0);
            agree(&format!("cut of {target}, last bad"), found.unwrap_or(0.0), last);
            assert!(last < 4000.0, "us-west takes over");
            until("the peer to be heard again", async || {
                let status = scene.course.status(EUROPE).await;
                status["peers"].as_array()?.iter().all(|it| it["state"] == "Reachable").then_some(())
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lab_ends_a_fault_by_itself_and_nobody_else_begins_one() {
    let test = "a_lab_ends_a_fault_by_itself_and_nobody_else_begins_one";
    with_lab(test, async |scene| {
        let (target, status) = ("service: shop/web", "do: Status");
        let long = "steady: 1s, fault: 5s, observe: 1s";

        // The runner is killed: the fault goes on until it expires, and no longer.
        let client = Client::start(scene.edge(EAST), HOST, Duration::from_millis(10));
        let runner = Running::start(&mut scene.by_lab(EAST, target, status, long));
        until("the fault", async || scene.faults().await.pop()).await;
        runner.signal(Signal::KILL);
        let killed = now();
        // Another one is refused meanwhile, and says why.
        let quick = "steady: 1s, fault: 1s, observe: 1s";
        let other = report(&finish(scene.by_lab(EAST, target, "do: Refuse", quick)).await);
        let why = other["ending"]["why"].as_str().unwrap();
        assert!(why.contains("one at a time"), "{why}");
        until("the fault to expire", async || scene.faults().await.is_empty().then_some(())).await;
        let over = now();
        scene.whole(EAST).await;
        let own = tokio::task::spawn_blocking(move || client.stop()).await.unwrap();
        let first = own.iter().find(|asked| !asked.good).unwrap().sent;
        assert!(over > killed, "it outlived the runner");
        let lasted = (over - first).as_secs_f64();
        println!("the fault was to last 5 s; from an own client's first bad request it was {lasted:.2} s");
        assert!((4.7..=5.5).contains(&lasted), "{lasted} s");

        // Without a lab, with another fault, or told to an agent: nothing begins.
        let ran = finish(scene.drill(EAST, target, status, quick)).await;
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(said.contains("--lab 127.0.0.1:18200"), "{said}");
        let mut command = scene.drill(EAST, target, status, quick);
        command.args(["--lab", &scene.agent(EAST).to_string()]);
        let told = report(&finish(command).await);
        let why = told["ending"]["why"].as_str().unwrap();
        assert!(why.contains("I am an agent"), "{why}");
        let mut command = scene.drill(EAST, target, status, quick);
        command.args(["--lab", "192.0.2.1:18200"]);
        let said = String::from_utf8(finish(command).await.stderr).unwrap();
        assert!(said.contains("on loopback only"), "{said}");
        for (target, lab, said) in [
            ("zone: nowhere", "do: Refuse", "no workloads"),
            ("cluster: us-east", "do: Delay, delay: 5ms", "links are cut or delayed"),
            ("hub: true", "do: Kill", "hub"),
        ] {
            let refused = report(&finish(scene.by_lab(EAST, target, lab, quick)).await);
            let why = refused["ending"]["why"].as_str().unwrap();
            assert!(why.contains(said), "{target}, {lab}: {why}");
        }
        assert!(scene.faults().await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_a_lab_kills_pauses_or_cuts_off_is_missed_by_nobody_who_asks_a_service() {
    let test = "a_hub_that_a_lab_kills_pauses_or_cuts_off_is_missed_by_nobody_who_asks_a_service";
    let Some(envoy) = envoy(test) else { return };
    let binaries = Binaries { tidegate: TIDEGATE.into(), envoy };
    let mut fleet = Fleet::start_joined(FleetSpec::tiers(), &binaries).await.unwrap();
    fleet.ready(Duration::from_secs(90)).await.unwrap();
    let control = Control::listen(&fleet).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let edge = fleet.addresses(&cluster("us-central-1")).unwrap().edge.unwrap().gateway;
    let hub = fleet.hub_admin().unwrap();
    let body = async {
        until("an answer", async || {
            let host = HOST.to_owned();
            let asked = tokio::task::spawn_blocking(move || client::ask(edge, &host)).await.unwrap();
            asked.ok()?.0.then_some(())
        })
        .await;
        for lab in ["do: Kill", "do: Pause", "do: Cut", "do: Delay, delay: 100ms"] {
            let text = format!(
                "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: hub, namespace: shop}}\nspec:\n  \
                 target: {{hub: true}}\n  fault: {{type: Lab, lab: {{{lab}}}, expiresAfter: 10s}}\n  \
                 steps: {{steady: 1s, fault: 3s, observe: 2s}}\n  load: {{rateRps: 100, urls: [\"http://{edge}/\"]}}\n"
            );
            let path = folder.path().join("drill.yaml");
            std::fs::write(&path, text).unwrap();
            let mut command = tidegate();
            command.args(["drill", "run", "-o", "json", "--header", &format!("host: {HOST}")]).arg(&path);
            command.args(["--lab", &control.address().to_string()]);
            let running = tokio::spawn(finish(command));
            if lab == "do: Kill" || lab == "do: Pause" {
                until("the hub to be silent", async || {
                    fetch::get(hub, None, "/healthz", Duration::from_millis(500)).await.is_err().then_some(())
                })
                .await;
            }
            let report = report(&running.await.unwrap());
            println!("{lab} of the hub: {:#}", report["costs"]);
            assert_eq!((&report["mended"], &report["passed"]), (&true.into(), &true.into()), "{report:#}");
            assert_eq!(cost(&report, "failed"), 0.0, "{lab}");
            until("the hub to answer", async || {
                fetch::get(hub, None, "/healthz", Duration::from_secs(1)).await.ok().map(drop)
            })
            .await;
        }
    };
    tokio::select! {
        () = control.serve(&fleet) => panic!("a lab serves for ever"),
        () = body => {}
    }
    fleet.stop().await;
}
