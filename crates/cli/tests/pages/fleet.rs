//! docs/hub.md: what a hub tells of its fleet, what it moves, and how policy rolls out.

use super::{
    scene::{AGENT_IS_READY, join, machine, policy, start_hub, until_healthy, until_hold_down, until_joined},
    support::page::Section,
};

#[test]
fn it_is_seen_how_far_a_policy_is() {
    let Some(mut machine) = machine("it_is_seen_how_far_a_policy_is") else { return };
    let _hub = start_hub(&mut machine, "");
    let _agent = join(&mut machine, "");
    machine.write("policies/web.yaml", &policy("22s"));
    until_hold_down(&mut machine, "22s");
    let mut section = Section::read("docs/hub.md", "Change policy, and see how far it is");
    machine.until_printed(&section.take("tidegate rollout status"), "FailoverPolicy shop/web");
    machine.until_printed(&section.take("tidegate cluster list"), "us-east-1");
    machine.until_printed(&section.take("tidegate cluster show us-east-1"), "us-east-1");
    machine.until_printed(
        &section.take("curl 127.0.0.1:18101/api/v1/audit"),
        "\"folder policies\",\"what\":\"published\"",
    );
    section.end();
}

#[test]
fn the_fleet_is_asked_and_traffic_in_it_is_moved() {
    let Some(mut machine) = machine("the_fleet_is_asked_and_traffic_in_it_is_moved") else { return };
    let _hub = start_hub(&mut machine, "");
    let _agent = join(&mut machine, "");
    until_healthy(&mut machine);
    let mut section = Section::read("docs/hub.md", "Ask about the whole fleet, and move traffic in it");
    let mut curl = |path: &str| section.take(&format!("curl {path}"));
    let api = |path: &str| format!("127.0.0.1:18101/api/v1/{path}");
    machine.until_printed(&curl(&api("services ")), "shop/web");
    machine.until_printed(&curl(&api("explain/shop/web")), "failback.holdDown 11s");
    machine.until_printed(&curl(&format!("'{}", api("contingency?"))), "us-east-1a");
    let shifts = curl(&api("shifts "));
    machine.until_printed(&curl(&format!("'{}", api("shift-preview?"))), "us-east-1a");
    machine.run(&curl(&format!("-X POST '{}", api("shifts?"))));
    machine.until_printed(&shifts, "zone-us-east-1a");
    machine.until_printed("tidegate explain shop/web", "rack work");
    machine.run(&curl(&format!("-X POST '{}", api("shifts/zone-us-east-1a/extend?"))));
    machine.run(&curl(&format!("-X DELETE {}", api("shifts/zone-us-east-1a"))));
    machine.until_printed(&format!("! {{ {shifts}\n}} | grep zone-us-east-1a"), "");
    machine.until_printed(&curl(&api("fleet ")), "us-east-1");
    section.end();
}

#[test]
fn a_policy_rolls_out_halts_and_is_rolled_back() {
    let Some(mut machine) = machine("a_policy_rolls_out_halts_and_is_rolled_back") else { return };
    let _hub = start_hub(&mut machine, "--wave-patience 2s --wave-bake 1s");
    let agent = join(&mut machine, "");
    machine.write("policies/web.yaml", &policy("22s"));
    until_hold_down(&mut machine, "22s");
    let mut section = Section::read("docs/hub.md", "Roll out in waves, and go back");
    let resume = section.take("tidegate rollout resume ");
    let history = machine.run(&section.take("tidegate rollout history"));
    assert!(history.lines().count() >= 3, "two policies: {history}");
    machine.run(&section.take("tidegate rollout rollback "));
    section.end();
    until_hold_down(&mut machine, "11s");
    // What was rolled back is given to the source again.
    machine.run(&resume);
    until_hold_down(&mut machine, "22s");

    // Nobody of its only wave is there: it halts, and goes on when somebody says so.
    machine.end(agent, "TERM");
    machine.write("policies/web.yaml", &policy("33s"));
    machine.until_printed("tidegate rollout status", "halted");
    machine.run(&resume);
    let again = "tidegate agent --hub hub.example:18100 --state-dir state --manifests manifests";
    let _agent = machine.serve(again, AGENT_IS_READY);
    until_joined(&mut machine);
    until_hold_down(&mut machine, "33s");
}
