//! What stands around the commands of docs/hub.md: policy, the manifests of a cluster, endpoints that answer, a hub, an agent that joined.

use super::{
    sandbox::{Sandbox, Served},
    support::page::Section,
};

const HUB: &str = "docs/hub.md";

const FLEET: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: us-east-1}
spec: {region: us}
";

/// Two zones with an endpoint each, behind a gateway.
const MANIFESTS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [127.0.0.11], zone: us-east-1a, conditions: {ready: true}}
- {addresses: [127.0.0.12], zone: us-east-1b, conditions: {ready: true}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: tidegate-edge
  listeners: [{name: http, port: 10080, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
";

/// What a hub and an agent say when they answer.
pub(crate) const HUB_ANSWERS: &str = "serves administration";
pub(crate) const AGENT_IS_READY: &str = "ready: gateways";

pub(crate) fn policy(hold_down: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: web}}]\n  failback: {{holdDown: {hold_down}}}\n"
    )
}

/// A machine with the folder `policies` of a hub, and `manifests` of the cluster us-east-1, whose endpoints answer.
pub(crate) fn machine(test: &str) -> Option<Sandbox> {
    let mut machine = Sandbox::start(test)?;
    machine.write("policies/fleet.yaml", FLEET);
    machine.write("policies/web.yaml", &policy("11s"));
    machine.write("manifests/shop.yaml", MANIFESTS);
    machine.write("site/index.html", "the shop\n");
    for address in ["127.0.0.11", "127.0.0.12"] {
        let serve = format!("python3 -u -m http.server 8080 --bind {address} --directory site");
        let _endpoint = machine.serve(&serve, "Serving HTTP");
    }
    Some(machine)
}

/// The hub of the page's first command, with more options behind it.
pub(crate) fn start_hub(machine: &mut Sandbox, more: &str) -> Served {
    let shown = Section::read(HUB, "Set up a hub").take("tidegate hub --state-dir hub-state --policies ");
    machine.serve(&format!("{shown} {more}"), HUB_ANSWERS)
}

/// The token and the agent of the page, with more options behind it.
pub(crate) fn join(machine: &mut Sandbox, more: &str) -> Served {
    let mut section = Section::read(HUB, "Join a cluster");
    machine.run(&section.take("tidegate cluster join-token "));
    let agent = section.take("tidegate agent --join-file ");
    let agent = machine.serve(&format!("{agent} {more}"), AGENT_IS_READY);
    until_joined(machine);
    agent
}

pub(crate) fn until_joined(machine: &mut Sandbox) {
    machine.until_printed("tidegate cluster list -o json", "\"connected\": true");
}

/// Waits until this hold-down is in force for shop/web at the agent.
pub(crate) fn until_hold_down(machine: &mut Sandbox, hold_down: &str) {
    machine.until_printed("tidegate explain shop/web", &format!("failback.holdDown {hold_down}"));
}

/// Waits until both endpoints count as healthy, since nothing is moved to those of which that is not known.
pub(crate) fn until_healthy(machine: &mut Sandbox) {
    for zone in ["us-east-1a", "us-east-1b"] {
        let one = format!(
            "tidegate status -o json | python3 -c 'import json, sys; print([it[\"healthy\"] for it in \
             json.load(sys.stdin)[\"pools\"] if it[\"zone\"] == \"{zone}\"])'"
        );
        machine.until_printed(&one, "[1]");
    }
}

/// A bare repository at https://git.example/fleet.git, and a clone of it, with the policies in a folder of this name (`.` is the top).
pub(crate) fn repository(machine: &mut Sandbox, folder: &str) {
    machine.run("git init -q --bare fleet.git && git clone -q https://git.example/fleet.git clone");
    machine.run(&format!("mkdir -p clone/{folder} && cp policies/* clone/{folder}"));
    push(machine);
}

/// Commits what the clone has, and pushes it.
pub(crate) fn push(machine: &mut Sandbox) {
    machine.run("(cd clone && git add -A && git commit -q -m policy && git push -q origin HEAD:main)");
}
