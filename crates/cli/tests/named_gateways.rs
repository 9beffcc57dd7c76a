//! East-west gateways behind a name, looked up by the machine's own resolver: the agent runs with an `/etc/hosts` of its own,
//! in a mount namespace. Needs root and `unshare`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "it needs few of the helpers that the tests of processes share")]

mod support;

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};
use support::{
    TIDEGATE,
    command::run,
    hub::{Agent, Place},
    skipped, wait_until,
};

const FLEET: &str = "apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: us-east}
spec: {region: us}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: eu-west}
spec: {region: eu, eastWestGateways: [{address: lb.eu-west.invalid, port: 15443}]}
";

fn start(place: &Place, hosts: &Path) -> Agent {
    let mut command = Command::new("unshare");
    // Each program becomes the next one: what is killed in the end is the agent.
    command.args(["--mount", "sh", "-c", r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#, "sh"]);
    command.arg(hosts).arg(TIDEGATE).args(["agent", "--cluster", "us-east"]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.arg("--manifests").arg(place.at("policies")).arg("--state-dir").arg(place.at("state"));
    Agent::start(command.stdin(Stdio::null()))
}

fn status(agent: &Agent) -> Value {
    let ran = run(["status", "-o", "json", "--admin", &agent.admin.to_string()]);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The addresses that the agent links to.
fn links(agent: &Agent) -> Vec<String> {
    let status = status(agent);
    let links = status["peers"][0]["links"].as_array().cloned().unwrap_or_default();
    let address = |link: &Value| link.as_str().unwrap().split(' ').next().unwrap().to_owned();
    links.iter().map(address).collect()
}

fn until_links(agent: &Agent, wanted: &[&str]) {
    wait_until(&format!("links to {wanted:?}"), || (links(agent) == wanted).then_some(()));
}

#[test]
fn an_agent_follows_the_addresses_behind_a_name_and_keeps_the_last_good_ones() {
    let test = "an_agent_follows_the_addresses_behind_a_name_and_keeps_the_last_good_ones";
    let may = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        return skipped(test, "needs root and `unshare`");
    }
    let place = Place::new();
    place.write("fleet.yaml", FLEET);
    let hosts = place.at("hosts");
    fs::write(&hosts, "127.0.9.1 lb.eu-west.invalid\n127.0.9.2 lb.eu-west.invalid\n").unwrap();
    let agent = start(&place, &hosts);
    until_links(&agent, &["127.0.9.1:15443", "127.0.9.2:15443"]);
    // Written in place: the mount is of this file.
    fs::write(&hosts, "127.0.9.2 lb.eu-west.invalid\n127.0.9.3 lb.eu-west.invalid\n").unwrap();
    until_links(&agent, &["127.0.9.2:15443", "127.0.9.3:15443"]);

    fs::write(&hosts, "").unwrap();
    wait_until("that the name leads nowhere", || {
        let problems = status(&agent)["problems"].to_string();
        problems.contains("the east-west gateway lb.eu-west.invalid is not found").then_some(())
    });
    assert_eq!(links(&agent), ["127.0.9.2:15443", "127.0.9.3:15443"]);
    // What is kept is written within a second or two.
    wait_until("what is on disk", || {
        let kept =
            fs::read_dir(place.at("state")).unwrap().filter_map(|entry| fs::read(entry.ok()?.path()).ok());
        kept.into_iter().any(|it| String::from_utf8_lossy(&it).contains("127.0.9.3")).then_some(())
    });
    drop(agent);
    let agent = start(&place, &hosts);
    until_links(&agent, &["127.0.9.2:15443", "127.0.9.3:15443"]);
}
