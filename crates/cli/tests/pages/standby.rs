//! docs/hub.md: another hub, at a site of its own, stands by for the first one and is promoted.

use super::{
    scene::{AGENT_IS_READY, HUB_ANSWERS, machine, policy, push, repository, until_hold_down},
    support::page::Section,
};

/// What is run on the machine of the second hub.
const THERE: &str = "ip netns exec two";

#[test]
fn another_hub_is_kept_ready_and_promoted() {
    let Some(mut machine) = machine("another_hub_is_kept_ready_and_promoted") else { return };
    repository(&mut machine, ".");
    let mut section = Section::read("docs/hub.md", "Keep another hub ready");
    let first = machine.serve(&section.take("tidegate hub --state-dir hub-state --git "), HUB_ANSWERS);
    machine.run("tidegate cluster join-token us-east-1 > token");
    let agent = section.take("tidegate agent --hub hub-1.example:18100 --hub hub-2.example:18100 ...");
    let agent = agent.replace("...", "--join-file token --state-dir state --manifests manifests");
    let _agent = machine.serve(&agent, AGENT_IS_READY);
    until_hold_down(&mut machine, "11s");

    let second = format!("{THERE} {}", section.take("tidegate hub --standby-of /shared/hub-copy "));
    let second = machine.serve(&second, "stands by");
    let status = format!("{THERE} {}", section.take("tidegate hub status"));
    let said = machine.until_printed(&status, "the copy in /shared/hub-copy was the newest");
    assert!(said.starts_with("stands by: policy 1, version "), "{said}");
    machine.end(first, "KILL");
    let promoted = machine.run(&format!("{THERE} {}", section.take("tidegate hub promote")));
    assert!(promoted.contains("is the hub from now on"), "{promoted}");
    section.end();
    machine.until_said(&second, "serves agents");
    machine.write("clone/web.yaml", &policy("22s"));
    push(&mut machine);
    machine.run(&format!("{THERE} curl -X POST 127.0.0.1:18101/api/v1/reload"));
    until_hold_down(&mut machine, "22s");
}
