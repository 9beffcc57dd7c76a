//! docs/install.md and docs/kubernetes.md, against a real API server.

use super::{
    sandbox::Sandbox,
    scene::{AGENT_IS_READY, HUB_ANSWERS, machine},
    support::page::Section,
};
use std::fs;
use tidegate_apiserver::{ApiServer, Options};

/// What the API server of the tests does not serve: these objects are left out of what is applied. That they are what Kubernetes takes,
/// `crates/install/tests/install/shapes.rs` holds.
const NOT_SERVED: [&str; 5] =
    ["StatefulSet", "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"];

const APPLY: &str = "| kubectl apply --server-side -f -";

/// An API server in the machine's network, for `kubectl` too, with the kinds of Tidegate and the objects of a folder.
pub(crate) fn cluster(machine: &mut Sandbox, folder: &str) -> Option<ApiServer> {
    let server = server(machine)?;
    machine.run("tidegate install crds | kubectl apply --server-side -f -");
    machine.run(
        "kubectl wait --for=condition=Established crd --all --timeout=30s && kubectl create namespace shop",
    );
    machine.run(&format!("kubectl apply --server-side -f {folder}"));
    Some(server)
}

fn server(machine: &mut Sandbox) -> Option<ApiServer> {
    machine.enter();
    let server = ApiServer::start_or_skip(&Options::default())?;
    machine.run(&format!("export KUBECONFIG={}", server.kubeconfig().display()));
    Some(server)
}

/// Makes a pod of the machine: where the API is and what its service account has, as a kubelet does.
pub(crate) fn pod(machine: &mut Sandbox, server: &ApiServer) {
    let kubeconfig = fs::read_to_string(server.kubeconfig()).unwrap();
    let quoted =
        |key: &str| kubeconfig.split(&format!("{key}: \"")).nth(1).unwrap().split('"').next().unwrap();
    let (host, port) = quoted("server").trim_start_matches("https://").split_once(':').unwrap();
    machine.run(&format!("export KUBERNETES_SERVICE_HOST={host} KUBERNETES_SERVICE_PORT={port}"));
    let (account, authority, token) =
        ("/run/secrets/kubernetes.io/serviceaccount", quoted("certificate-authority"), quoted("token"));
    machine.run(&format!("mkdir -p {account} && cd {account} && cp {authority} ca.crt && printf default > namespace && printf {token} > token; cd - > /dev/null"));
}

/// The command with the reader's kubeconfig and context.
pub(crate) fn of_the_reader(server: &ApiServer, command: &str) -> String {
    command.replace("FILE", server.kubeconfig().to_str().unwrap()).replace("NAME", "test")
}

#[test]
fn an_agent_reads_a_cluster() {
    let Some(mut machine) = machine("an_agent_reads_a_cluster") else { return };
    machine.run("sed s/us-east-1/us-east/ policies/fleet.yaml > fleet.yaml");
    let Some(server) = cluster(&mut machine, "fleet.yaml") else { return };
    let mut section = Section::read("docs/kubernetes.md", "Run an agent in a Kubernetes cluster");
    pod(&mut machine, &server);
    let in_a_pod =
        section.take("tidegate agent --kubernetes --cluster us-east --state-dir /var/lib/tidegate");
    let elsewhere = of_the_reader(&server, &section.take("tidegate agent --kubernetes --kubeconfig "));
    section.end();
    // The service; the kinds of the Gateway API are not served here.
    machine.run(
        "sed '/^---$/,$d' manifests/shop.yaml > service.yaml && kubectl apply --server-side -f service.yaml",
    );
    for command in [in_a_pod, elsewhere] {
        let agent = machine.serve(&command, AGENT_IS_READY);
        let said = machine.until_printed("tidegate status -o json", "\"kubernetes\"");
        assert!(said.contains("\"cluster\": \"us-east\""), "{said}");
        machine.end(agent, "TERM");
    }
}

/// Applies what a command of the page pipes into `kubectl apply`, but for what is not served.
fn applied(machine: &mut Sandbox, command: &str) -> String {
    let (print, _) = command.split_once(APPLY).unwrap_or_else(|| panic!("{command} applies nothing"));
    machine.run(&format!("{print} > printed.yaml"));
    let printed = fs::read_to_string(machine.at("printed.yaml")).unwrap();
    let is_served = |it: &&str| !NOT_SERVED.iter().any(|kind| it.contains(&format!("kind: {kind}\n")));
    let served: Vec<&str> = printed.split("---\n").filter(is_served).collect();
    machine.write("served.yaml", &served.join("---\n"));
    machine.run(&format!("cat served.yaml {APPLY}"));
    printed
}

#[test]
fn all_is_installed_and_an_agent_joins_with_its_secret() {
    let Some(mut machine) = machine("all_is_installed_and_an_agent_joins_with_its_secret") else { return };
    let Some(_server) = server(&mut machine) else { return };
    let mut section = Section::read("docs/install.md", "Install in a Kubernetes cluster");
    machine.run(&section.take("tidegate install crds | kubectl apply "));
    machine.until_printed("kubectl get crd", "failoverpolicies.tidegate.dev");
    applied(&mut machine, &section.take("tidegate install agent "));
    machine.run("kubectl -n tidegate-system get serviceaccount tidegate-agent");
    machine.run("kubectl create namespace infra && kubectl create namespace shop");
    let gateways = applied(&mut machine, &section.take("tidegate install gateways "));
    assert!(gateways.contains("us-east-1a") && gateways.contains("us-east-1b"), "{gateways}");
    machine.until_printed("kubectl -n infra get services -o yaml", "port: 8080");
    section.end();

    let options = "--image registry.example/tidegate:0.1.0 --cluster us-east";
    let mut section = Section::read("docs/install.md", "What agents may do");
    let certificates =
        section.take("tidegate install agent ... --read-certificates ").replace("...", options);
    section.end();
    let certificates = certificates.split(" #").next().unwrap();
    applied(&mut machine, &format!("{certificates} {APPLY}"));
    machine.until_printed("kubectl -n infra get roles -o yaml", "edge-tls");
    machine.until_printed("kubectl -n shop get roles -o yaml", "secrets");

    joins(&mut machine, options);
}

fn joins(machine: &mut Sandbox, options: &str) {
    machine.run("sed -i s/us-east-1/us-east/ policies/fleet.yaml");
    let hub = "tidegate hub --state-dir hub-state --policies policies --admin-tls 192.0.2.7:18102";
    let _hub = machine.serve(hub, HUB_ANSWERS);
    machine.run("tidegate access grant somebody --role admin --ttl 1h > admin.token");
    let mut section = Section::read("docs/install.md", "Join a hub");
    machine
        .run(&section.take("for pod in tidegate-agent-0 tidegate-agent-1; do tidegate cluster join-token "));
    machine.run(&section.take("kubectl -n tidegate-system create secret generic tidegate-agent-join "));
    let agent = applied(machine, &section.take("tidegate install agent ... --hub ").replace("...", options));
    assert!(agent.contains("--hub=hub.example:18100") && agent.contains("tidegate-agent-join"), "{agent}");
    section.end();
    let secret =
        "kubectl -n tidegate-system get secret tidegate-agent-join -o jsonpath='{.data.tidegate-agent-1}'";
    machine.run(&format!("{secret} | base64 -d > token"));
    let join = "tidegate agent --join-file token --hub hub.example:18100 --state-dir state";
    let _agent = machine.serve(join, AGENT_IS_READY);
    machine.until_printed("tidegate cluster list -o json", "\"connected\": true");
}
