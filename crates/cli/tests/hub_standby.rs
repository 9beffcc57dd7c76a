//! A hub that stands by for another one, as processes: the first is killed in the middle of a rollout, the other one is promoted,
//! the agents follow it, and the first one steps down when it comes back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};
use support::{
    PAUSE,
    command::{Running, tidegate},
    hub::{ANY, Agent, Hub, Place, agent_command, bound},
    wait_until,
};

const CLUSTERS: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: us-east}
spec: {region: us}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: eu-west}
spec: {region: eu, rolloutWave: 1}
";
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
";

fn policy(hold_down: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: web}}]\n  failback: {{holdDown: {hold_down}}}\n"
    )
}

fn free() -> SocketAddr {
    TcpListener::bind(ANY).unwrap().local_addr().unwrap()
}

/// A hub at fixed addresses: it listens there again when it is promoted.
fn hub(place: &Place, state: &str, (listen, admin): (SocketAddr, SocketAddr), more: &[&str]) -> Command {
    let mut command = tidegate();
    command.args(["hub", "--listen", &listen.to_string(), "--admin", &admin.to_string()]).args(more);
    command.args(["--wave-bake", "1h"]);
    command.arg("--policies").arg(place.at("policies")).arg("--state-dir").arg(place.at(state));
    command
}

fn serving(command: &mut Command) -> Hub {
    let mut running = Running::start(command);
    let listen = running.until_said("its address", bound("serves agents"));
    let admin = running.until_said("its admin address", bound("serves administration"));
    Hub { running, listen, admin }
}

fn agent(place: &Place, cluster: &str, hubs: [SocketAddr; 2], token: &str) -> Agent {
    let manifests = place.at(&format!("{cluster}-manifests"));
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("service.yaml"), SERVICE).unwrap();
    let mut command = agent_command(&place.at(cluster), Some(&manifests), ANY);
    let [first, second] = hubs.map(|it| it.to_string());
    Agent::start(command.args(["--hub", &first, "--hub", &second, "--join", token]))
}

fn same_state(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

fn kill(hub: &mut Hub) {
    hub.running.signal(rustix::process::Signal::KILL);
    hub.running.ended();
}

#[test]
fn a_hub_that_stands_by_takes_over_a_rollout_and_the_first_one_steps_down() {
    let place = Place::new();
    place.write("clusters.yaml", CLUSTERS);
    place.write("web.yaml", &policy("11s"));
    let copy = place.at("copy");
    let copy = copy.to_str().unwrap();
    let (one, two) = ((free(), free()), (free(), free()));
    let copying = ["--copy-to", copy, "--copy-every", "1s"];
    let mut first = serving(&mut hub(&place, "one", one, &copying));

    let mut standby = Running::start(&mut hub(&place, "two", two, &["--standby-of", copy]));
    standby.until_said("its address", bound("stands by: sends agents on"));
    standby.until_said("its admin address", bound("serves administration"));
    let mut second = Hub { running: standby, listen: two.0, admin: two.1 };
    let said = second.ask(&["hub", "status"]).stdout;
    assert!(
        said.starts_with("stands by: policy 1, version ") && said.contains("epoch 0; the copy in"),
        "{said}"
    );
    for question in
        [["rollout", "status"].as_slice(), &["cluster", "join-token", "us-east"], &["drill", "schedule"]]
    {
        let ran = second.ask(question);
        assert!(
            ran.code == Some(1) && ran.stderr.contains("stands by for the one that copies to"),
            "{ran:?}"
        );
    }

    // Whoever comes to the one that stands by is sent on.
    let east = agent(&place, "us-east", [two.0, one.0], &first.token("us-east"));
    let west = agent(&place, "eu-west", [one.0, two.0], &first.token("eu-west"));
    east.until_rule("failback.holdDown 11s");
    west.until_rule("failback.holdDown 11s");
    // A token for people, which has to be in the copy.
    let granted = first.ask(&["access", "grant", "alice", "--role", "viewer"]);
    assert_eq!(granted.code, Some(0), "{granted:?}");
    let copied = || second.json(&["hub", "status"])["copyAgeMs"].as_u64().filter(|age| *age < 60_000);
    wait_until("a young copy", copied);
    // It is killed when the new policy is with the first wave only.
    place.write("web.yaml", &policy("22s"));
    east.until_rule("failback.holdDown 22s");
    kill(&mut first);
    west.until_rule("failback.holdDown 11s");
    same_state(&place.at("one"), &place.at("one-again"));

    let ran = second.ask(&["hub", "promote"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("is the hub from now on, with epoch 1"), "{ran:?}");
    second.running.until_said("that it serves agents", bound("serves agents"));
    second.until("FailoverPolicy shop/web", "us-east", "applied");
    let said = second.ask(&["hub", "status"]).stdout;
    assert!(said.starts_with("is the hub: policy 1") && said.contains("epoch 1"), "{said}");
    // The rollout is where it was: the second wave waits, and keeps what it had.
    wait_until("eu-west at the second hub", || {
        let clusters = second.json(&["cluster", "list"]);
        let west = clusters.as_array()?.iter().find(|it| it["cluster"] == "eu-west")?.clone();
        (west["connected"] == true).then_some(())
    });
    west.until_rule("failback.holdDown 11s");
    place.write("web.yaml", &policy("33s"));
    east.until_rule("failback.holdDown 33s");
    let audit = second.audit();
    assert!(audit.contains("\"promoted\"") && audit.contains("epoch 1, over the copy in"), "{audit}");
    let refused = second.ask(&["hub", "promote"]);
    assert_eq!(refused.code, Some(1), "a hub that is one is not promoted: {refused:?}");

    // The first one comes back while the other one is away, and without its copy: an agent tells it.
    kill(&mut second);
    let mut back = Running::start(&mut hub(&place, "one", one, &[]));
    assert_eq!(back.ended().code(), Some(1));
    let said = back.said();
    assert!(
        said.contains("another hub was promoted (epoch 1, and this one is of epoch 0), as policy")
            && said.contains("which the agent of us-east holds, tells: this one must not write any more")
            && said.contains("hint: start it as the one that stands by: tidegate hub --standby-of DIR"),
        "{said}"
    );
    east.until_rule("failback.holdDown 33s");
    // Whoever starts it again hears it at once, and so does one that finds its copy taken over.
    let mut back = Running::start(&mut hub(&place, "one", one, &[]));
    assert_eq!(back.ended().code(), Some(1));
    assert!(
        back.said().contains("as the state in") && !back.said().contains("serves agents"),
        "{}",
        back.said()
    );
    let mut back = Running::start(&mut hub(&place, "one-again", one, &copying));
    assert_eq!(back.ended().code(), Some(1));
    assert!(
        back.said().contains("as the copy in") && !back.said().contains("serves agents"),
        "{}",
        back.said()
    );

    // The one that was promoted stays it, whatever its command line says.
    let second = serving(&mut hub(&place, "two", two, &["--standby-of", copy]));
    place.write("web.yaml", &policy("44s"));
    east.until_rule("failback.holdDown 44s");
    // And the first one may stand by for it, once it copies.
    drop(second);
    let second = serving(&mut hub(
        &place,
        "two",
        two,
        &["--standby-of", copy, "--copy-to", copy, "--copy-every", "1s"],
    ));
    let mut standby = Running::start(&mut hub(&place, "one", one, &["--standby-of", copy]));
    standby.until_said("that it stands by", bound("stands by: sends agents on"));
    drop((second, standby, west));
}

const DRILLS: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: Drill
metadata: {name: leave, namespace: shop}
spec:
  target: {cluster: us-east}
  fault: {type: Shift, expiresAfter: 60s}
---
apiVersion: tidegate.dev/v1alpha1
kind: DrillSchedule
metadata: {name: often, namespace: shop}
spec: {drill: leave, cron: '* * * * *', timeZone: UTC}
";

#[test]
fn a_hub_that_stands_by_runs_no_schedule_and_decides_no_slot_again() {
    let place = Place::new();
    place.write("clusters.yaml", CLUSTERS);
    place.write("drills.yaml", DRILLS);
    let copy = place.at("copy");
    let copy = copy.to_str().unwrap();
    let (one, two) = ((free(), free()), (free(), free()));
    let mut first = serving(&mut hub(&place, "one", one, &["--copy-to", copy, "--copy-every", "1s"]));
    let mut standby = Running::start(&mut hub(&place, "two", two, &["--standby-of", copy]));
    standby.until_said("that it stands by", bound("stands by: sends agents on"));
    standby.until_said("its admin address", bound("serves administration"));
    let mut second = Hub { running: standby, listen: two.0, admin: two.1 };

    // Within a minute a slot is due; nobody is connected, so it is skipped, which is a decision all the same.
    let decided = "a drill is skipped";
    let until = Instant::now() + Duration::from_secs(120);
    while !first.running.said().contains(decided) {
        assert!(Instant::now() < until, "{}", first.running.said());
        sleep(PAUSE);
    }
    let seen = Instant::now();
    wait_until("a copy that has it", || {
        let age = second.json(&["hub", "status"])["copyAgeMs"].as_u64()?;
        (Duration::from_millis(age) < seen.elapsed()).then_some(())
    });
    assert!(!second.running.said().contains(decided), "{}", second.running.said());
    kill(&mut first);
    let ran = second.ask(&["hub", "promote"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    second.running.until_said("that it serves agents", bound("serves agents"));
    let runs = second.json(&["drill", "schedule"])["runs"].as_array().unwrap().clone();
    let times: BTreeSet<&str> = runs.iter().map(|it| it["at"].as_str().unwrap()).collect();
    assert!(!runs.is_empty() && times.len() == runs.len(), "a slot was decided twice: {runs:#?}");
}
