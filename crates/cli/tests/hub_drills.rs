//! Drills that a hub runs by the agents that joined it: two clusters with real Envoys. What it keeps, what it refuses, how one is
//! stopped, what a schedule begins, and what is left when the hub is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured is worth reading")]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};
use support::{
    command::{Ran, Running, finish, run, tidegate},
    envoy,
    hub::Hub,
    pair::{EAST, Pair, Side, WEST, get},
    wait_until,
};

const ABORT: &str = "type: Abort, status: 503";
const SHIFT: &str = "type: Shift";

/// A drill of the eastern cluster; with load if there is an edge to ask.
fn manifest(name: &str, fault: &str, expires: &str, steps: &str, edge: Option<SocketAddr>) -> String {
    let load = edge.map(|edge| format!("  load: {{rateRps: 50, urls: [\"http://{edge}/\"]}}\n"));
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         target: {{cluster: {EAST}}}\n  fault: {{{fault}, expiresAfter: {expires}}}\n  steps: {{{steps}}}\n{}",
        load.unwrap_or_default()
    )
}

fn schedule(name: &str, drill: &str) -> String {
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: DrillSchedule\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{drill: {drill}, cron: \"* * * * *\", timeZone: UTC}}\n"
    )
}

/// Both sides serve, and the hub has everybody.
fn whole(test: &str) -> Option<Pair> {
    let pair = Pair::start_whole(&envoy(test)?, &[]);
    for edge in [pair.east.edge, pair.west.edge] {
        wait_until("an answer", || get(edge, "/").filter(|it| it.starts_with("HTTP/1.1 200")));
    }
    pair.east.until_link("beating");
    pair.west.until_link("beating");
    until_joined(&pair);
    Some(pair)
}

/// Until the hub knows how both clusters are.
fn until_joined(pair: &Pair) {
    wait_until("both clusters", || {
        let clusters = pair.hub.json(&["cluster", "list"]);
        clusters.as_array()?.iter().all(|it| it["connected"] == true && it["pools"] == 1).then_some(())
    });
}

fn drill(pair: &Pair, name: &str, text: &str) -> Command {
    let path = pair.place.at(&format!("{name}.yaml"));
    fs::write(&path, text).unwrap();
    let mut command = tidegate();
    command.args(["drill", "run", "-o", "json"]).arg(path);
    command
}

fn by_hub(pair: &Pair, name: &str, text: &str) -> Command {
    let mut command = drill(pair, name, text);
    command.args(["--hub", &pair.hub.admin.to_string()]);
    command
}

fn json(address: SocketAddr, path: &str) -> Option<Value> {
    let text = get(address, path)?;
    serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
}

/// The faults that an agent carries out.
fn faults(agent: SocketAddr) -> Vec<Value> {
    wait_until("the faults of an agent", || json(agent, "/api/v1/drills")?.as_array().cloned())
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// The drill that the hub runs, once its fault is on.
fn until_broken(pair: &Pair) -> String {
    let fault = wait_until("the fault", || faults(pair.east.agent.admin).pop());
    fault["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_hub_runs_a_drill_by_its_agents_one_at_a_time_and_stops_any() {
    let Some(pair) = whole("a_hub_runs_a_drill_by_its_agents_one_at_a_time_and_stops_any") else { return };
    let (hub, agent) = (pair.hub.admin.to_string(), pair.east.agent.admin);
    let quick = "steady: 1s, fault: 4s, observe: 2s";
    let text = manifest("abort", ABORT, "60s", quick, Some(pair.east.edge));
    let first = std::thread::spawn({
        let mut command = by_hub(&pair, "abort", &text);
        move || finish(&mut command)
    });
    let id = until_broken(&pair);
    // Another one at the hub, and one of a terminal, are refused with the reason.
    let ran = finish(&mut by_hub(&pair, "second", &text));
    assert!(ran.code == Some(1) && ran.stderr.contains("one at a time in a fleet"), "{ran:?}");
    let ran = finish(drill(&pair, "terminal", &text).args(["--agent", &agent.to_string()]));
    let why = report(&ran)["ending"].to_string();
    assert!(why.contains("notStarted") && why.contains(&id), "{why}");
    let ran = first.join().unwrap();
    let said = report(&ran);
    assert_eq!(
        (ran.code, &said["passed"], &said["id"]),
        (Some(0), &true.into(), &id.clone().into()),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("FAULT"), "it is shown as it goes: {}", ran.stderr);
    assert_eq!(said["agents"]["agents"].as_array().unwrap().len(), 2, "{said:#}");
    let failed = said["costs"]["failed"].as_f64().unwrap();
    println!("{failed} of some 200 requests failed while gateways answered 503 for 4 s at 50/s");
    assert!((failed - 200.0).abs() <= 30.0, "{failed}");
    assert!(faults(agent).is_empty());
    let (signed, verify) = (pair.place.at("signed.json"), ["drill", "verify"]);
    fs::write(&signed, pair.hub.ask(&["drill", "report", &id, "-o", "json"]).stdout).unwrap();
    let ran = run([&verify[..], &[signed.to_str().unwrap(), "--hub", &hub]].concat());
    assert!(ran.code == Some(0) && ran.stdout.contains(&id), "{ran:?}");
    its_report_says_as_much_as_one_of_a_terminal(&pair);

    // Stopped: mended at once, and said.
    let long = "steady: 1s, fault: 50s, observe: 1s";
    let text = manifest("long", ABORT, "60s", long, None);
    let running = Running::start(&mut by_hub(&pair, "long", &text));
    let id = until_broken(&pair);
    let asked = Instant::now();
    let ran = run(["drill", "stop", &id, "--hub", &hub]);
    println!("stopped and mended after {:?}", asked.elapsed());
    assert!(ran.code == Some(0) && ran.stdout.contains("is mended"), "{ran:?}");
    assert!(faults(agent).is_empty(), "it is mended when that is said");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    wait_until("its report", || running.said().contains("stopped by operator").then_some(()));
    drop(running);

    // Ctrl-C at the terminal that shows it.
    let mut running = Running::start(&mut by_hub(&pair, "long", &text));
    until_broken(&pair);
    running.signal(Signal::INT);
    assert!(!running.ended().success(), "{}", running.said());
    assert!(faults(agent).is_empty() && running.said().contains("mended"), "{}", running.said());

    // One of a terminal: its agents are told, and its runner sees it.
    let own = Running::start(
        drill(&pair, "own", &manifest("own", ABORT, "60s", long, Some(pair.east.edge)))
            .args(["--agent", &agent.to_string()]),
    );
    let id = until_broken(&pair);
    let ran = run(["drill", "stop", &id, "--hub", &hub]);
    assert!(ran.code == Some(0) && faults(agent).is_empty(), "{ran:?}");
    wait_until("its end", || own.said().contains("carries it out no more").then_some(()));
    let ran = run(["drill", "stop", &id, "--agent", &agent.to_string()]);
    assert!(ran.code == Some(1) && ran.stderr.contains("no agent that was asked"), "{ran:?}");
    let ran = run(["drill", "stop", "drill-0", "--hub", &hub]);
    assert!(ran.code == Some(1) && ran.stderr.contains("nor any agent"), "{ran:?}");
}

/// Detect, decide, push and drain; who served over time; what is in force. What the hub asks goes over the agents' streams.
fn its_report_says_as_much_as_one_of_a_terminal(pair: &Pair) {
    let text = manifest("away", SHIFT, "60s", "steady: 3s, fault: 5s, observe: 12s", Some(pair.east.edge));
    let objectives = "  objectives: [moves <= 2, detect <= 5s, decide <= 5s]\n";
    let ran = finish(&mut by_hub(pair, "away", &[&text, objectives].concat()));
    let said = report(&ran);
    assert_eq!((ran.code, &said["passed"]), (Some(0), &true.into()), "{ran:?}");
    let told = &said["agents"];
    for stage in ["detectMs", "decideMs", "pushFirstMs", "pushLastMs", "drainMs", "stableFailbackMs"] {
        assert!(told[stage].is_number(), "{stage}: {told:#}");
    }
    println!(
        "by the hub: detect {} ms, decide {}, push {} and {}, drain {}",
        told["detectMs"], told["decideMs"], told["pushFirstMs"], told["pushLastMs"], told["drainMs"]
    );
    for agent in told["agents"].as_array().unwrap() {
        assert_eq!(agent["agent"], agent["inForce"]["cluster"], "{agent:#}");
        assert_eq!(agent["missing"], Value::Null, "{agent:#}");
        assert!(!agent["inForce"]["policyVersion"].as_str().unwrap().is_empty(), "{agent:#}");
    }
    // The east served before, the west while it was away.
    let pools = told["traffic"]["pools"].as_array().unwrap();
    let of = |cluster: &str| {
        let pool = pools.iter().find(|it| it["pool"].as_str().is_some_and(|it| it.starts_with(cluster)));
        pool.unwrap_or_else(|| panic!("{cluster}: {told:#}"))
    };
    assert_eq!((&of(EAST)["broken"], &of(WEST)["broken"]), (&true.into(), &false.into()));
    let most = |pool: &Value| {
        let rps = pool["rps"].as_array().unwrap();
        rps.iter().filter_map(Value::as_f64).fold(0.0, f64::max)
    };
    assert!(most(of(EAST)) > 25.0 && most(of(WEST)) > 25.0, "of 50/s: {pools:#?}");
}

#[test]
fn a_schedule_begins_a_drill_whose_report_is_signed_and_a_second_one_waits_its_turn() {
    let test = "a_schedule_begins_a_drill_whose_report_is_signed_and_a_second_one_waits_its_turn";
    let Some(pair) = whole(test) else { return };
    let text = manifest("leave", SHIFT, "60s", "steady: 1s, fault: 3s, observe: 3s", None);
    let both = [text, schedule("a-first", "leave"), schedule("b-second", "leave")].concat();
    pair.place.write("drills.yaml", &both);
    // Within a minute both are due.
    let until = Instant::now() + Duration::from_secs(120);
    let runs = loop {
        let view = pair.hub.json(&["drill", "schedule"]);
        let runs = view["runs"].as_array().cloned().unwrap_or_default();
        let over = |id: &Value| {
            let listed = pair.hub.json(&["drill", "list"]);
            listed.as_array().is_some_and(|it| it.iter().any(|it| it["id"] == *id))
        };
        if runs.iter().any(|it| over(&it["id"])) {
            break runs;
        }
        assert!(Instant::now() < until, "{view:#}\n{}", pair.hub.running.said());
        std::thread::sleep(Duration::from_millis(200));
    };
    let of = |name: &str| runs.iter().rfind(|it| it["schedule"] == name).unwrap();
    let (first, second) = (of("shop/a-first"), of("shop/b-second"));
    assert_eq!(first["skipped"], Value::Null, "{first}");
    assert!(second["skipped"].as_str().unwrap().contains("the drill shop/leave runs"), "{second}");
    let id = first["id"].as_str().unwrap();
    let (file, address) = (pair.place.at("signed.json"), pair.hub.admin.to_string());
    fs::write(&file, pair.hub.ask(&["drill", "report", id, "-o", "json"]).stdout).unwrap();
    let ran = run(["drill", "verify", file.to_str().unwrap(), "--hub", &address]);
    assert!(ran.code == Some(0) && ran.stdout.contains("handed over by schedule shop/a-first"), "{ran:?}");
    let report: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let report = &report["report"];
    assert_eq!((&report["passed"], &report["costs"]), (&true.into(), &Value::Null), "{report:#}");
    println!("without requests, by the agents' timelines: {:#}", report["agents"]);
    assert!(report["agents"]["detectMs"].is_number(), "{report:#}");
    assert!(pair.hub.audit().contains(r#""what":"drillSkipped""#));
}

#[test]
fn a_hub_that_is_killed_leaves_no_fault_and_the_next_one_says_how_it_ended() {
    let test = "a_hub_that_is_killed_leaves_no_fault_and_the_next_one_says_how_it_ended";
    let Some(mut pair) = whole(test) else { return };
    let (agent, listen) = (pair.east.agent.admin, pair.hub.listen.to_string());
    let text = manifest("killed", ABORT, "8s", "steady: 1s, fault: 8s, observe: 1s", None);
    let asking = Running::start(&mut by_hub(&pair, "killed", &text));
    let id = until_broken(&pair);
    let broken = Instant::now();
    pair.hub.running.signal(Signal::KILL);
    pair.hub.running.ended();
    assert_eq!(faults(agent).len(), 1, "nobody mended it");
    wait_until("the fault to expire", || faults(agent).is_empty().then_some(()));
    println!("the fault was to last 8 s, and the agent ended it {:?} after it was seen", broken.elapsed());
    assert!((6.0..9.0).contains(&broken.elapsed().as_secs_f64()), "{:?}", broken.elapsed());
    drop(asking);

    let again = |pair: &mut Pair| pair.hub = Hub::start(&pair.place, &listen, &[]);
    again(&mut pair);
    let ended = |pair: &Pair, id: &str| {
        let listed = pair.hub.json(&["drill", "list"]);
        let found = listed.as_array().unwrap().iter().find(|it| it["id"] == id).cloned();
        let found = found.unwrap_or_else(|| panic!("{listed:#}"));
        assert_eq!((&found["ending"], &found["passed"]), (&"stopped".into(), &false.into()));
        assert!(found["why"].as_str().unwrap().starts_with("ended: the hub died"), "{found}");
    };
    ended(&pair, &id);
    assert_eq!(
        json(pair.hub.admin, "/api/v1/drills"),
        Some(Value::Array(Vec::new())),
        "it is not begun again"
    );

    // A hub that is back before the expiry mends as soon as its agents are back.
    until_joined(&pair);
    let text = manifest("killed", ABORT, "300s", "steady: 1s, fault: 200s, observe: 1s", None);
    let asking = Running::start(&mut by_hub(&pair, "killed", &text));
    let id = until_broken(&pair);
    pair.hub.running.signal(Signal::KILL);
    pair.hub.running.ended();
    drop(asking);
    again(&mut pair);
    ended(&pair, &id);
    let back = Instant::now();
    wait_until("the hub to mend", || faults(agent).is_empty().then_some(()));
    println!("mended {:?} after the hub was back, long before the expiry", back.elapsed());

    // One that is told to stop mends first.
    until_joined(&pair);
    let asking = Running::start(&mut by_hub(&pair, "killed", &text));
    let id = until_broken(&pair);
    pair.hub.running.signal(Signal::TERM);
    pair.hub.running.ended();
    assert!(faults(agent).is_empty(), "{}", pair.hub.running.said());
    drop(asking);
    again(&mut pair);
    let listed = pair.hub.json(&["drill", "list"]);
    let found = listed.as_array().unwrap().iter().find(|it| it["id"] == id.as_str()).unwrap();
    assert!(found["why"].as_str().unwrap().contains("the hub stops"), "{found}");
}

#[test]
fn a_peer_link_or_the_way_to_the_hub_is_cut_for_a_while_and_no_request_fails() {
    let test = "a_peer_link_or_the_way_to_the_hub_is_cut_for_a_while_and_no_request_fails";
    let Some(pair) = whole(test) else { return };
    let steps = "steady: 1s, fault: 5s, observe: 4s";
    let cut = |target: &str| {
        let text = manifest("cut", "type: BlackHole", "60s", steps, Some(pair.east.edge));
        text.replace(&format!("target: {{cluster: {EAST}}}"), &format!("target: {{{target}}}"))
    };
    let peer = |side: &Side| side.status()["peers"][0]["state"].as_str().unwrap().to_owned();
    let no_failure = |ran: &Ran| {
        let said = report(ran);
        assert_eq!(
            (ran.code, &said["passed"], &said["costs"]["failed"]),
            (Some(0), &true.into(), &0.into()),
            "{ran:?}"
        );
        said
    };
    // The agents of the east hear nothing of the west; those of the west hear the east as before.
    let mut command = by_hub(&pair, "link", &cut(&format!("peerLink: {{from: {EAST}, to: {WEST}}}")));
    let running = std::thread::spawn(move || finish(&mut command));
    until_broken(&pair);
    wait_until("the peer to be out of reach", || (peer(&pair.east) == "Unreachable").then_some(()));
    assert_eq!(peer(&pair.west), "Reachable");
    assert!(faults(pair.west.agent.admin).is_empty(), "it has no part in it");
    let said = no_failure(&running.join().unwrap());
    println!("the link was missed after {} ms", said["agents"]["detectMs"]);
    wait_until("the peer to be back", || (peer(&pair.east) == "Reachable").then_some(()));

    // The way to the hub: nothing moves.
    let connected = || {
        let clusters = pair.hub.json(&["cluster", "list"]);
        let east = clusters.as_array().unwrap().iter().find(|it| it["cluster"] == EAST).cloned();
        east.unwrap()["connected"] == true
    };
    let text = cut("hub: true");
    let ran = finish(&mut by_hub(&pair, "hub", &text));
    assert!(ran.code == Some(1) && ran.stderr.contains("--agent ADDR"), "{ran:?}");
    let mut command = drill(&pair, "hub", &text);
    command.args(["--agent", &pair.east.agent.admin.to_string()]);
    let running = std::thread::spawn(move || finish(&mut command));
    until_broken(&pair);
    wait_until("the hub to miss the east", || (!connected()).then_some(()));
    let said = no_failure(&running.join().unwrap());
    assert_eq!(said["agents"]["agents"][0]["moves"], 0, "{said:#}");
    wait_until("the east to be back", || connected().then_some(()));

    // They are only cut.
    for target in ["hub: true".to_owned(), format!("peerLink: {{from: {EAST}, to: {WEST}}}")] {
        for fault in [ABORT, "type: Delay, delay: 1s", SHIFT] {
            let text = cut(&target).replace("type: BlackHole", fault);
            let agent = pair.east.agent.admin.to_string();
            let ran = finish(drill(&pair, "abort", &text).args(["--agent", &agent]));
            assert!(ran.code == Some(1) && ran.stderr.contains("is only cut"), "{ran:?}");
        }
    }
}
