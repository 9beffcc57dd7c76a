//! What a hub does not let begin, by whoever asks or by a schedule, and that it says why: two clusters with real Envoys.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};
use support::{
    command::{finish, run, tidegate},
    envoy,
    hub::{ANY, Hub, bound},
    pair::{EAST, Pair, WEST, get},
    wait_until,
};

/// A service that only the east has.
const SOLO: &str = "---
apiVersion: v1
kind: Service
metadata: {name: solo, namespace: shop}
spec: {ports: [{name: http, port: 80, targetPort: PORT}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: solo-1, namespace: shop, labels: {kubernetes.io/service-name: solo}}
addressType: IPv4
ports: [{name: http, port: PORT}]
endpoints: [{addresses: [127.0.0.1], zone: a, conditions: {ready: true}}]
";

fn manifest(name: &str, cluster: &str, fault: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         target: {{cluster: {cluster}}}\n  fault: {{{fault}, expiresAfter: 60s}}\n  steps: {{steady: 1s, fault: 2s, observe: 1s}}\n"
    )
}

fn schedule(drill: &str) -> String {
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: DrillSchedule\nmetadata: {{name: {drill}, namespace: shop}}\n\
         spec: {{drill: {drill}, cron: \"* * * * *\", timeZone: UTC}}\n"
    )
}

/// Both sides serve, and the hub knows it.
fn whole(test: &str, more: &[&str]) -> Option<Pair> {
    let pair = Pair::start_whole(&envoy(test)?, more);
    for edge in [pair.east.edge, pair.west.edge] {
        wait_until("an answer", || get(edge, "/").filter(|it| it.starts_with("HTTP/1.1 200")));
    }
    pair.east.until_link("beating");
    pair.west.until_link("beating");
    wait_until("both clusters", || {
        let clusters = pair.hub.json(&["cluster", "list"]);
        clusters.as_array()?.iter().all(|it| it["connected"] == true && it["pools"] == 1).then_some(())
    });
    Some(pair)
}

fn drill(pair: &Pair, text: &str) -> Command {
    let path = pair.place.at("drill.yaml");
    fs::write(&path, text).unwrap();
    let mut command = tidegate();
    command.args(["drill", "run", "-o", "json"]).arg(path);
    command
}

fn faults(agent: SocketAddr) -> Vec<Value> {
    wait_until("the faults of an agent", || {
        let text = get(agent, "/api/v1/drills")?;
        serde_json::from_str::<Value>(text.split_once("\r\n\r\n")?.1).ok()?.as_array().cloned()
    })
}

/// Waits until a schedule skipped its drill for this reason: it is due each minute, and the first may come too early.
fn until_skipped(hub: &Hub, schedule: &str, why: &str) -> Value {
    let until = Instant::now() + Duration::from_secs(130);
    loop {
        let view = hub.json(&["drill", "schedule"]);
        let runs = view["runs"].as_array().cloned().unwrap_or_default();
        let is_it = |run: &&Value| {
            run["schedule"] == schedule && run["skipped"].as_str().is_some_and(|it| it.contains(why))
        };
        if let Some(run) = runs.iter().find(is_it) {
            return run.clone();
        }
        assert!(Instant::now() < until, "{why}: {view:#}\n{}", hub.running.said());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_schedule_skips_what_a_shift_touches_and_records_why() {
    let Some(pair) = whole("a_schedule_skips_what_a_shift_touches_and_records_why", &[]) else { return };
    // A shift of a service there: the drill would mix with it.
    let agent = pair.west.agent.admin.to_string();
    let shift =
        ["shift", "away", "--yes", "--cluster", WEST, "--for", "1h", "--comment", "test", "--admin", &agent];
    let ran = run(shift);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    pair.place.write("drills.yaml", &[manifest("leave", WEST, "type: Verdict"), schedule("leave")].concat());
    let run = until_skipped(&pair.hub, "shop/leave", "shift");
    assert!(run["skipped"].as_str().unwrap().contains("touches"), "{run}");
    assert!(faults(pair.west.agent.admin).is_empty());
}

#[test]
fn a_schedule_skips_a_drill_while_an_agent_is_away_and_records_why() {
    let test = "a_schedule_skips_a_drill_while_an_agent_is_away_and_records_why";
    let Some(Pair { place, hub, east, west }) = whole(test, &[]) else { return };
    drop(west);
    place.write("drills.yaml", &[manifest("leave", WEST, "type: Verdict"), schedule("leave")].concat());
    until_skipped(&hub, "shop/leave", &format!("an agent is away: nobody of {WEST} is connected"));
    let audit = hub.audit();
    assert!(audit.contains(r#""what":"drillSkipped""#) && audit.contains("an agent is away"), "{audit}");
    drop(east);
}

#[test]
fn what_the_rest_could_not_bear_is_not_begun_by_a_hub_or_its_schedule() {
    let test = "what_the_rest_could_not_bear_is_not_begun_by_a_hub_or_its_schedule";
    let Some(pair) = whole(test, &[]) else { return };
    let port = support::backend::start("127.0.0.1").port();
    let folder = pair.place.at(&format!("{EAST}-manifests"));
    fs::write(folder.join("solo.yaml"), SOLO.replace("PORT", &port.to_string())).unwrap();
    wait_until("a second service", || {
        let pools = pair.east.status()["pools"].as_array()?.clone();
        let serves = |it: &Value| it["phase"] == "Serving";
        (pools.len() >= 2 && pools.iter().all(serves)).then_some(())
    });
    let text = manifest("lose-solo", EAST, "type: Verdict");
    let ran = finish(drill(&pair, &text).args(["--hub", &pair.hub.admin.to_string()]));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let why = report["ending"]["why"].as_str().unwrap();
    assert_eq!((ran.code, &report["ending"]["how"]), (Some(1), &Value::from("notStarted")), "{ran:?}");
    assert!(why.contains("no headroom") && why.contains("shop/solo"), "{why}");
    pair.place.write("drills.yaml", &[text, schedule("lose-solo")].concat());
    let run = until_skipped(&pair.hub, "shop/lose-solo", "no headroom");
    assert!(run["id"].as_str().is_some_and(|id| id.starts_with("drill-")), "it has a report: {run}");
    assert!(faults(pair.east.agent.admin).is_empty());
}

#[test]
fn a_viewer_watches_drills_and_begins_and_ends_none() {
    let test = "a_viewer_watches_drills_and_begins_and_ends_none";
    let Some(mut pair) = whole(test, &["--admin-tls", ANY]) else { return };
    let door = pair.hub.running.until_said("its door", bound("serves people")).to_string();
    let token = |name: &str, role: &str| -> PathBuf {
        let ran = pair.hub.ask(&["access", "grant", name, "--role", role]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let path = pair.place.at(name);
        fs::write(&path, ran.stdout).unwrap();
        path
    };
    let (viewer, operator) = (token("vera", "viewer"), token("otto", "operator"));
    let as_who = |token: &PathBuf| ["--token-file".to_owned(), token.display().to_string()];
    let text = manifest("leave", EAST, "type: Shift");
    for ran in [
        finish(drill(&pair, &text).args(["--hub", &door]).args(as_who(&viewer))),
        finish(tidegate().args(["drill", "stop", "drill-0", "--hub", &door]).args(as_who(&viewer))),
    ] {
        assert!(ran.code == Some(1) && ran.stderr.contains("operator"), "{ran:?}");
    }
    assert!(faults(pair.east.agent.admin).is_empty());
    let list =
        |token: &PathBuf| finish(tidegate().args(["drill", "list", "--admin", &door]).args(as_who(token)));
    assert_eq!(list(&viewer).code, Some(0), "{:?}", list(&viewer));
    let ran = finish(drill(&pair, &text).args(["--hub", &door]).args(as_who(&operator)));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let listed = list(&viewer).stdout;
    assert!(listed.contains("shop/leave"), "{listed}");
}

#[test]
fn an_agent_that_does_not_know_a_fault_or_a_target_refuses_it_and_says_its_version() {
    let test = "an_agent_that_does_not_know_a_fault_or_a_target_refuses_it_and_says_its_version";
    let Some(pair) = whole(test, &[]) else { return };
    let agent = pair.east.agent.admin;
    let post = |query: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(agent).unwrap();
        let head = format!(
            "POST /api/v1/drills?id=d&expires=60s&by=test&{query} HTTP/1.1\r\nhost: agent\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    for (query, what) in [
        ("kind=Corrupt&zone=a", "Corrupt"),
        ("kind=Abort&status=503&rack=7", "rack"),
        ("kind=Delay&delay=1s&zone=a&jitter=1s", "jitter"),
    ] {
        let said = post(query);
        assert!(said.starts_with("HTTP/1.1 400"), "{said}");
        assert!(said.contains(what) && said.contains("a newer one may know more"), "{said}");
    }
    assert!(faults(agent).is_empty());
}
