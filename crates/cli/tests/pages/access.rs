//! docs/hub.md: people who ask a hub, and an agent, from elsewhere.

use super::{
    scene::{AGENT_IS_READY, HUB_ANSWERS, join, machine, until_healthy, until_joined},
    support::page::Section,
};

#[test]
fn people_ask_a_hub_and_an_agent_from_elsewhere() {
    let Some(mut machine) = machine("people_ask_a_hub_and_an_agent_from_elsewhere") else { return };
    let mut section = Section::read("docs/hub.md", "Ask from elsewhere");
    let hub = section.take("tidegate hub --admin-tls 0.0.0.0:18102 ...");
    let _hub = machine.serve(&hub.replace("...", "--state-dir hub-state --policies policies"), HUB_ANSWERS);
    let agent = join(&mut machine, "");
    machine.run(&section.take("tidegate access grant alice "));
    let by_token = section.take("tidegate rollout status --admin 192.0.2.7:18102 --token-file ");
    machine.until_printed(&by_token, "FailoverPolicy shop/web");
    machine.run(&section.take("tidegate access certificate bob "));
    let by_certificate = section.take("tidegate rollout status --admin 192.0.2.7:18102 --client-cert ");
    machine.until_printed(&by_certificate, "FailoverPolicy shop/web");
    assert_eq!(machine.run("stat -c %a bob/bob.key"), "600\n");
    machine.until_printed(&section.inline("tidegate access list"), "alice");
    let revoke = ["alice", "bob"].map(|it| section.inline(&format!("tidegate access revoke {it}")));
    section.end();

    machine.end(agent, "TERM");
    let mut section = Section::read("docs/hub.md", "Ask an agent from elsewhere");
    let agent = section.take("tidegate agent --admin-tls 0.0.0.0:18003 ");
    let _agent =
        machine.serve(&agent.replace("...", "--state-dir state --manifests manifests"), AGENT_IS_READY);
    until_joined(&mut machine);
    until_healthy(&mut machine);
    machine.run(&section.take("tidegate shift away "));
    machine.until_printed("tidegate shift list", "rack work");
    section.end();
    for command in revoke {
        machine.run(&command);
    }
    for command in [by_token, by_certificate] {
        let refused = machine.finish(&command);
        assert!(refused.code == 1, "{refused:?}");
    }
}
