//! docs/hub.md: Envoys that come to an agent by a socket and by a certificate, which is renewed and revoked.

use super::{
    sandbox::{Sandbox, Served},
    scene::{AGENT_IS_READY, join, machine, start_hub, until_joined},
    support::page::Section,
};

fn until_served(machine: &mut Sandbox) {
    machine.until_printed("curl http://127.0.0.1:10080/", "the shop");
}

fn end(machine: &mut Sandbox, served: impl IntoIterator<Item = Served>) {
    for it in served {
        machine.end(it, "TERM");
    }
}

#[test]
fn gateways_are_brought_in() {
    let Some(mut machine) = machine("gateways_are_brought_in") else { return };
    let hub = start_hub(&mut machine, "");
    let agent = join(&mut machine, "");
    machine.end(agent, "TERM");
    let mut section = Section::read("docs/hub.md", "Bring the gateways in");
    let agent = machine.serve(&section.take("tidegate agent --listen unix:"), AGENT_IS_READY);
    let envoy = machine.serve(&section.take("tidegate envoy run --agent unix:"), "");
    until_served(&mut machine);
    end(&mut machine, [envoy, agent]);

    let _agent = machine.serve(&section.take("tidegate agent --listen 10.0.0.5:18000 "), AGENT_IS_READY);
    until_joined(&mut machine);
    let certificate = section.take("tidegate envoy certificate ");
    let carry = "rm -rf /etc/tidegate/shop-edge && cp -r shop-edge /etc/tidegate/";
    machine.run(&certificate);
    machine.run(carry);
    let envoy = machine.serve(&section.take("tidegate envoy run --agent 10.0.0.5:18000 "), "");
    until_served(&mut machine);
    end(&mut machine, [envoy]);

    // Beside an Envoy that somebody else runs: it waits until the certificate is due. At once, it is another one.
    let renew = section.take("tidegate envoy renew ");
    let shown = "cat /etc/tidegate/shop-edge/gateway.pem";
    let before = machine.run(shown);
    let waits = machine.serve(&renew, "");
    // The one that waits may be asking for roots.
    machine.until_printed(&format!("{renew} --now"), "");
    assert_ne!(machine.run(shown), before);
    assert!(machine.is_running(&waits), "{}", machine.said(&waits));
    end(&mut machine, [waits]);

    // Whoever has the key gets no younger certificate by it, not even at once.
    machine.run(&section.take("tidegate envoy revoke "));
    let refused = machine.finish(&format!("{renew} --now"));
    assert!(refused.code == 1 && refused.printed.contains("revoked"), "{refused:?}");
    machine.until_printed("curl 127.0.0.1:18001/metrics", "tidegate_refusals_total{reason=\"revoked\"} ");
    machine.run(&certificate);
    machine.run(carry);
    machine.run(&format!("{renew} --now"));

    machine.run(&section.take("tidegate cluster revoke us-east-1 --gateways"));
    section.end();
    machine.until_said(&hub, "whose=\"gateways\" what=\"renewed\"");
    until_joined(&mut machine);
}
