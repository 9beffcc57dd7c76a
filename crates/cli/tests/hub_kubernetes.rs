//! A hub that reads policy from a real Kubernetes API, with an agent that joined it: what is written to the API is in force in the
//! agent, and what became of it stands there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Output, Stdio},
    thread::sleep,
    time::Instant,
};
use support::{
    LIMIT, PAUSE,
    command::{Running, run, tidegate},
    hub::{ANY, Agent, Hub, Place, agent_command},
    kube::{HUB, hub_rights},
    wait_until, workspace,
};
use tidegate_apiserver::{ApiServer, Options};

const CLUSTER: &str =
    "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: us-east}\nspec: {region: us}\n";
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
";

const SHIFT: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: TrafficShift
metadata: {name: away, namespace: shop}
spec: {awayFrom: {zone: a}, for: 30m, comment: rack work}
";

/// A definition that lets everything pass.
const GATEWAYS: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gateways.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: 'unapproved, for a test'}
spec:
  group: gateway.networking.k8s.io
  scope: Namespaced
  names: {kind: Gateway, plural: gateways, singular: gateway}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

fn kubectl(server: &ApiServer, words: &[&str], text: &str) -> Output {
    let mut command = server.kubectl();
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "kubectl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn apply(server: &ApiServer, text: &str) {
    kubectl(server, &["apply", "--server-side", "-f", "-"], text);
}

fn policy(name: &str, target: &str, hold_down: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: {target}}}]\n  failback: {{holdDown: {hold_down}}}\n"
    )
}

/// A gateway of the agent's own cluster, which the hub leaves alone.
fn own_gateway() -> String {
    "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: shop}\nspec:\n  \
     gatewayClassName: tidegate-edge\n  listeners: [{name: http, port: 18999, protocol: HTTP}]\n"
        .to_owned()
}

fn server() -> Option<ApiServer> {
    server_with(&Options::default())
}

fn server_with(options: &Options) -> Option<ApiServer> {
    let server = ApiServer::start_or_skip(options)?;
    let definitions = workspace().join("deploy/crds");
    kubectl(&server, &["apply", "--server-side", "-k", definitions.to_str().unwrap()], "");
    apply(&server, GATEWAYS);
    kubectl(&server, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=20s"], "");
    kubectl(&server, &["create", "namespace", "shop"], "");
    Some(server)
}

fn start(place: &Place, server: &ApiServer, listen: &str) -> Hub {
    start_as(place, &server.kubeconfig(), listen)
}

fn start_as(place: &Place, kubeconfig: &Path, listen: &str) -> Hub {
    let source = ["--kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap()];
    Hub::start_from(&source, &place.at("hub"), listen, &[])
}

fn object(server: &ApiServer, words: &[&str]) -> Value {
    let output = kubectl(server, &[&["get", "-o", "json", "-n", "shop"], words].concat(), "");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A condition of an object as `True Reason message`, said of its newest generation.
fn condition(object: &Value, kind: &str) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array()?;
    let it = conditions.iter().find(|it| it["type"] == kind)?;
    let text = |name: &str| it[name].as_str().unwrap_or_default();
    let newest = it["observedGeneration"] == object["metadata"]["generation"];
    newest.then(|| format!("{} {} {}", text("status"), text("reason"), text("message")))
}

/// Waits until a condition begins so.
fn until(server: &ApiServer, words: &[&str], kind: &str, begins: &str) -> Value {
    wait_until(&format!("{words:?} {kind} {begins}"), || {
        let object = object(server, words);
        condition(&object, kind).is_some_and(|it| it.starts_with(begins)).then_some(object)
    })
}

#[test]
fn policy_of_the_api_is_in_force_in_the_fleet_and_says_so() {
    let Some(mut server) = server() else { return };
    apply(&server, CLUSTER);
    let place = Place::new();
    let manifests = place.at("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("service.yaml"), SERVICE).unwrap();
    let hub = start(&place, &server, "127.0.0.1:0");
    let east = Agent::join(&place, &hub, "us-east", Some(&manifests));
    let fleet = until(&server, &["fleetclusters", "us-east"], "Connected", "True");
    assert!(condition(&fleet, "Joined").unwrap().starts_with("True Joined"), "{fleet}");

    apply(&server, &policy("web", "web", "11s"));
    east.until_rule(
        "failback.holdDown 11s, by FailoverPolicy shop/web at (hub) kubernetes/FailoverPolicy/shop/web:",
    );
    let told = until(&server, &["failoverpolicies", "web"], "Programmed", "True Programmed");
    assert!(condition(&told, "Accepted").unwrap().starts_with("True"), "{told}");
    let status = &told["status"];
    assert_eq!(status["ancestors"][0]["controllerName"], "tidegate.dev/hub");
    assert_eq!(status["clusters"][0]["cluster"], "us-east");
    assert_eq!(status["clusters"][0]["state"], "Programmed");
    assert_eq!(status["clusters"][0]["observedGeneration"], told["metadata"]["generation"]);
    let version = hub.json(&["rollout", "status"])["version"].clone();
    until(&server, &["fleetclusters", "us-east"], "Accepted", "True");
    wait_until("the version that it has", || {
        (object(&server, &["fleetclusters", "us-east"])["status"]["policyVersion"] == version).then_some(())
    });

    // What the definitions let pass and the fleet does not: nothing of it is in force, the others stay.
    apply(&server, &policy("again", "web", "22s"));
    let told = until(&server, &["failoverpolicies", "again"], "Accepted", "False");
    assert!(condition(&told, "Accepted").unwrap().contains("shop/web"), "{told}");
    assert!(condition(&told, "Programmed").unwrap().starts_with("False"), "{told}");
    assert_eq!(told["status"]["clusters"], serde_json::json!([]));
    assert!(east.rule().unwrap().contains("11s"));

    // The API dies. How old all is, is told; nothing moves, then or when it is back.
    let before = hub.json(&["rollout", "status"]);
    server.kill();
    let problems = |hub: &Hub| hub.json(&["rollout", "status"])["problems"].to_string();
    let told =
        wait_until("that the API is away", || Some(problems(&hub)).filter(|it| it.contains("is away")));
    assert!(told.contains(" s ago; the policy stays as it was"), "{told}");
    server.restart().unwrap();
    wait_until("that it is back", || (!problems(&hub).contains("is away")).then_some(()));
    let after = hub.json(&["rollout", "status"]);
    assert_eq!((&after["version"], &after["sequence"]), (&before["version"], &before["sequence"]));

    kubectl(&server, &["delete", "-n", "shop", "failoverpolicies", "again"], "");
    // What was left out was never handed out: taking it away is no change.
    apply(&server, &policy("web", "web", "33s"));
    east.until_rule("failback.holdDown 33s");
    until(&server, &["failoverpolicies", "web"], "Programmed", "True Programmed");
    kubectl(&server, &["delete", "-n", "shop", "failoverpolicies", "web"], "");
    east.until_rule("failback.holdDown 30s");
    let objects = hub.json(&["rollout", "status"])["objects"].to_string();
    assert!(objects.contains("FleetCluster us-east") && !objects.contains("FailoverPolicy"), "{objects}");
}

#[test]
fn a_hub_that_starts_without_its_api_hands_out_what_it_did() {
    let Some(mut server) = server() else { return };
    apply(&server, &(CLUSTER.to_owned() + "---\n" + &policy("web", "web", "11s")));
    let place = Place::new();
    let hub = start(&place, &server, "127.0.0.1:0");
    let before = hub.json(&["rollout", "status"]);
    assert_eq!(before["objects"].as_array().unwrap().len(), 2, "read before anybody is answered: {before}");
    drop(hub);

    server.kill();
    let mut hub = start(&place, &server, "127.0.0.1:0");
    let away = hub.json(&["rollout", "status"]);
    assert_eq!((&away["version"], &away["sequence"]), (&before["version"], &before["sequence"]));
    let problems = away["problems"].to_string();
    assert!(problems.contains("has not told all") && problems.contains("stays as it was"), "{problems}");
    server.restart().unwrap();
    wait_until("all that is there", || {
        let status = hub.json(&["rollout", "status"]);
        (!status["problems"].to_string().contains("has not told all")).then_some(())
    });
    let after = hub.json(&["rollout", "status"]);
    assert_eq!((&after["version"], &after["sequence"]), (&before["version"], &before["sequence"]));

    // Without the definitions there is no policy to be read, which is no policy without objects.
    drop(hub);
    kubectl(&server, &["delete", "crd", "failoverpolicies.tidegate.dev"], "");
    hub = start(&place, &server, "127.0.0.1:0");
    let status = hub.json(&["rollout", "status"]);
    assert!(status["problems"].to_string().contains("does not serve FailoverPolicy"), "{status}");
    assert_eq!(status["objects"], before["objects"]);
}

#[test]
fn an_agent_on_the_same_api_leaves_the_status_of_what_it_has_from_the_hub_to_the_hub() {
    let Some(server) = server() else { return };
    apply(&server, &(CLUSTER.to_owned() + "---\n" + &policy("web", "web", "11s") + "---\n" + SERVICE));
    let place = Place::new();
    let hub = start(&place, &server, "127.0.0.1:0");
    let (token, address) = (hub.token("us-east"), hub.listen.to_string());
    let kubeconfig = server.kubeconfig();
    let agent = || {
        let mut command = agent_command(&place.at("us-east"), None, ANY);
        command.args(["--kubernetes", "--kubeconfig"]).arg(&kubeconfig);
        Agent::start(command.args(["--hub", &address, "--join", &token]))
    };
    // Before it joins, all is its own business.
    let mut alone = agent_command(&place.at("alone"), None, ANY);
    alone.args(["--cluster", "us-east", "--kubernetes", "--kubeconfig"]).arg(&kubeconfig);
    let mut alone = Agent::start(&mut alone);
    let ancestors = || {
        let told = object(&server, &["failoverpolicies", "web"]);
        let ancestors = told["status"]["ancestors"].as_array().cloned().unwrap_or_default();
        ancestors.iter().map(|it| it["controllerName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    wait_until("its word", || ancestors().contains(&"tidegate.dev/agent".to_owned()).then_some(()));
    alone.running.signal(rustix::process::Signal::TERM);
    alone.running.ended();
    agent().until_rule("failback.holdDown 11s, by FailoverPolicy shop/web at (hub) ");
    // Now that it has all from the hub from its start on.
    let mut agent = agent();
    agent.running.until_said("its lease", |text| text.contains("leads: it writes status").then_some(()));
    apply(&server, &policy("web", "web", "22s"));
    agent.until_rule("failback.holdDown 22s, by FailoverPolicy shop/web at (hub) ");
    let told = until(&server, &["failoverpolicies", "web"], "Programmed", "True Programmed");
    let accepted = |told: &Value| condition(told, "Accepted").unwrap();
    assert!(accepted(&told).starts_with("True"), "{told}");
    // What it tells next comes after all that it had to tell of this.
    apply(&server, &own_gateway());
    until(&server, &["gateways.gateway.networking.k8s.io", "edge"], "Accepted", "True");
    let told = object(&server, &["failoverpolicies", "web"]);
    assert!(accepted(&told).starts_with("True"), "{told}");
    assert_eq!(told["status"]["clusters"][0]["state"], "Programmed");
    // What the agent said when it stood alone goes.
    let limit = Instant::now() + LIMIT;
    while ancestors() != ["tidegate.dev/hub"] {
        let shown = || {
            kubectl(
                &server,
                &["get", "failoverpolicies", "web", "-n", "shop", "-o", "yaml", "--show-managed-fields"],
                "",
            )
        };
        assert!(Instant::now() < limit, "{}", String::from_utf8_lossy(&shown().stdout));
        sleep(PAUSE);
    }
    // How far a shift is, only the cluster knows: it says that beside what the hub says.
    apply(&server, SHIFT);
    let told = until(&server, &["trafficshifts", "away"], "Programmed", "True Programmed");
    assert_eq!(told["status"]["clusters"][0]["cluster"], "us-east");
    wait_until("its phase", || {
        let told = object(&server, &["trafficshifts", "away"]);
        (told["status"]["phase"] == "Active" && told["status"]["endsAt"].is_string()).then_some(())
    });
    // Two sources of one object are no problem for whoever looks.
    let ran = run(["status", "--admin", &agent.admin.to_string()]);
    assert!(ran.code == Some(0) && !ran.stdout.contains("is already in (hub)"), "{ran:?}");
}

#[test]
fn a_hub_does_with_the_rights_that_it_is_installed_with() {
    let options = Options { rbac: true, users: vec![HUB.to_owned()] };
    let Some(server) = server_with(&options) else { return };
    apply(&server, &hub_rights().replace("  - drills\n", ""));
    apply(&server, &(CLUSTER.to_owned() + "---\n" + &policy("web", "web", "11s")));
    let place = Place::new();
    let hub = start_as(&place, &server.kubeconfig_of(HUB), "127.0.0.1:0");
    let status = hub.json(&["rollout", "status"]);
    let problems = status["problems"].to_string();
    assert!(problems.contains("the hub may not read drills.tidegate.dev"), "{problems}");
    assert_eq!(status["sequence"], 0, "what it may not see is not nothing: {status}");
    apply(&server, &hub_rights());
    wait_until("the policy", || (hub.json(&["rollout", "status"])["sequence"] == 1).then_some(()));
    until(&server, &["failoverpolicies", "web"], "Accepted", "True");
    until(&server, &["fleetclusters", "us-east"], "Joined", "False NotJoined");
    let said = hub.running.said();
    assert!(!said.contains("cannot be written") && !said.contains("the lease cannot"), "{said}");
}

#[test]
fn a_hub_has_one_source() {
    let place = Place::new();
    for (arguments, told) in [
        (&["--kubernetes", "--policies", "p"][..], "cannot be used with"),
        (&["--policies", "p", "--kubeconfig", "f"], "cannot be used with"),
        (&["--kubeconfig", "f"], "--kubernetes"),
        (&["--policies", "p", "--git-branch", "b"], "cannot be used with"),
        (&["--policies", "p", "--git-path", "b"], "cannot be used with"),
        (&["--kubernetes", "--git-interval", "1m"], "cannot be used with"),
        (&["--policies", "p", "--git-signers", "f"], "cannot be used with"),
        (&["--git-branch", "b"], "--git <URL>"),
        (&["--kubernetes"], "--kubernetes without --kubeconfig is for a pod"),
    ] {
        let mut command = tidegate();
        command.arg("hub").args(arguments).arg("--state-dir").arg(place.at("hub"));
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut running = Running::start(command.env_remove("KUBERNETES_SERVICE_HOST"));
        assert!(!running.ended().success());
        assert!(running.said().contains(told), "{arguments:?}: {}", running.said());
    }
}
