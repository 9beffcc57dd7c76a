//! docs/hub.md: a hub with each of its sources, a cluster that joins and is put out, what a rollout shows, a rollback.

use super::{
    kubernetes::{cluster, of_the_reader, pod},
    scene::{
        AGENT_IS_READY, HUB_ANSWERS, join, machine, policy, push, repository, start_hub, until_hold_down,
        until_joined,
    },
    support::page::Section,
};

#[test]
fn a_hub_is_set_up() {
    let Some(mut machine) = machine("a_hub_is_set_up") else { return };
    let mut section = Section::read("docs/hub.md", "Set up a hub");

    let hub = machine.serve(&section.take("tidegate hub --state-dir hub-state --policies "), HUB_ANSWERS);
    machine.until_printed("tidegate rollout status", "FailoverPolicy shop/web");
    let root = machine.run("openssl x509 -in hub-state/ca/tls.crt -noout -text");
    assert!(root.contains("fleet.example"), "{root}");
    let modes = machine.run("stat -c %a hub-state/ca/tls.key hub-state/policy.key");
    assert_eq!(modes, "600\n600\n", "{modes}");
    machine.end(hub, "TERM");

    repository(&mut machine, "policy");
    let hub = machine.serve(&section.take("tidegate hub --state-dir hub-state --git "), HUB_ANSWERS);
    machine.write("clone/policy/web.yaml", &policy("22s"));
    push(&mut machine);
    machine.run(&section.inline("curl -X POST 127.0.0.1:18101/api/v1/reload"));
    let commit = machine.run("git -C clone rev-parse --short=7 HEAD");
    machine.until_printed("tidegate rollout status", commit.trim());
    machine.end(hub, "TERM");

    let in_a_pod = section.take("tidegate hub --state-dir hub-state --kubernetes   ");
    let elsewhere = section.take("tidegate hub --state-dir hub-state --kubernetes --kubeconfig ");
    section.end();
    let Some(server) = cluster(&mut machine, "policies") else { return };
    pod(&mut machine, &server);
    for command in [in_a_pod, of_the_reader(&server, &elsewhere)] {
        let hub = machine.serve(&command, HUB_ANSWERS);
        machine.until_printed("tidegate rollout status", "FleetCluster us-east-1");
        let said = machine.run("tidegate rollout status -o json");
        assert!(said.contains("kubernetes/FleetCluster/us-east-1"), "{said}");
        machine.end(hub, "TERM");
    }
}

#[test]
fn a_cluster_joins() {
    let Some(mut machine) = machine("a_cluster_joins") else { return };
    let hub = start_hub(&mut machine, "");
    let mut section = Section::read("docs/hub.md", "Join a cluster");
    machine.run(&section.take("tidegate cluster join-token us-east-1 --ttl 1h > token"));
    let first = section.take("tidegate agent --join-file token ");
    let agent = machine.serve(&first, AGENT_IS_READY);
    until_joined(&mut machine);
    until_hold_down(&mut machine, "11s");
    assert_eq!(machine.run("stat -c %a state/hub/identity.json"), "600\n");
    machine.end(agent, "TERM");

    let again =
        section.inline("tidegate agent --hub hub.example:18100 --state-dir state --manifests manifests");
    let again = machine.serve(&again, AGENT_IS_READY);
    until_joined(&mut machine);
    machine.end(again, "TERM");
    // A token that was made while the hub was stopped is as good: for an agent that knows nothing yet.
    machine.end(hub, "TERM");
    let token = section.inline("tidegate cluster join-token us-east-1 --state-dir hub-state");
    machine.run(&format!("{token} > token && rm -r state"));
    let _hub = start_hub(&mut machine, "");
    let _agent = machine.serve(&first, AGENT_IS_READY);
    until_joined(&mut machine);
    section.end();
}

#[test]
fn a_cluster_is_put_out_and_let_back() {
    let Some(mut machine) = machine("a_cluster_is_put_out_and_let_back") else { return };
    let _hub = start_hub(&mut machine, "");
    let agent = join(&mut machine, "");
    let mut section = Section::read("docs/hub.md", "Put a cluster out");
    machine.run(&section.take("tidegate cluster revoke us-east-1"));
    section.end();
    machine.until_printed("tidegate cluster list -o json", "\"connected\": false");
    // It goes on with the policy that it has, also after a start.
    until_hold_down(&mut machine, "11s");
    machine.end(agent, "TERM");
    let _agent = join(&mut machine, "");
}

#[test]
fn a_hub_that_was_restored_asks_before_it_goes_on() {
    let Some(mut machine) = machine("a_hub_that_was_restored_asks_before_it_goes_on") else { return };
    let hub = start_hub(&mut machine, "");
    let _agent = join(&mut machine, "");
    until_hold_down(&mut machine, "11s");
    machine.end(hub, "TERM");
    machine.run("cp -r hub-state older");
    let hub = start_hub(&mut machine, "");
    machine.write("policies/web.yaml", &policy("22s"));
    until_hold_down(&mut machine, "22s");
    machine.end(hub, "KILL");
    machine.run("rm -r hub-state && mv older hub-state");
    machine.write("policies/web.yaml", &policy("33s"));
    let _hub = start_hub(&mut machine, "");
    machine.until_printed("tidegate rollout status", "tidegate rollout resume");
    until_hold_down(&mut machine, "22s");
    let mut section = Section::read("docs/hub.md", "Lose the hub, restore the hub");
    machine.run(&section.take("tidegate rollout resume"));
    section.end();
    until_hold_down(&mut machine, "33s");
}
