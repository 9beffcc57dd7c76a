//! What an agent writes to a real Kubernetes API: statuses, events, and its own identity.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};
use support::{
    command::{run, tidegate},
    describe::described,
    hub::{ANY, Agent, Hub, Place},
    kube::{GATEWAYS, apply, define, done, kubectl},
    pair::get,
    wait_until, workspace,
};
use tempfile::TempDir;
use tidegate_apiserver::{ApiServer, Options};

const WORLD: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: tidegate.dev/v1alpha1
kind: FleetCluster
metadata: {name: home}
spec: {region: here}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: good, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  healthCheck: {active: {type: TCP, interval: 500ms}}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: late, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: lost, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: wbe}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: tidegate-edge
  listeners: [{name: http, port: 18080, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: nowhere, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: gone, port: 80}]}]
";

/// Objects of the test's world that have a status.
const TOLD: [(&str, &str); 6] = [
    ("failoverpolicies", "good"),
    ("failoverpolicies", "late"),
    ("failoverpolicies", "lost"),
    ("gateways", "edge"),
    ("httproutes", "web"),
    ("httproutes", "nowhere"),
];

fn object(server: &ApiServer, kind: &str, name: &str) -> Value {
    let text = done(server.kubectl().args(["get", kind, name, "-n", "shop", "-o", "json"]), "");
    serde_json::from_str(&text).unwrap()
}

/// A condition as `True Reason`.
fn condition(status: &Value, kind: &str) -> Option<String> {
    let conditions = status["conditions"].as_array()?;
    let found = conditions.iter().find(|it| it["type"] == kind)?;
    Some(format!("{} {}", found["status"].as_str()?, found["reason"].as_str()?))
}

fn until(server: &ApiServer, kind: &str, name: &str, what: &str, wanted: &str) -> Value {
    wait_until(&format!("{what} of {kind} {name} to be {wanted}"), || {
        let found = object(server, kind, name);
        (condition(&found["status"], what).as_deref() == Some(wanted)).then_some(found)
    })
}

/// A slice with an endpoint at a place.
fn slice(zone: &str, port: u16) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-{zone}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: {port}, protocol: TCP}}]\n\
         endpoints: [{{addresses: [127.0.0.1], zone: {zone}, conditions: {{ready: true}}}}]\n"
    )
}

fn world(server: &ApiServer) {
    done(server.kubectl().args(["apply", "--server-side", "-k"]).arg(workspace().join("deploy/crds")), "");
    let kinds = [
        (GATEWAYS, "Gateway", "gateways", "Namespaced"),
        (GATEWAYS, "HTTPRoute", "httproutes", "Namespaced"),
    ];
    define(server, &kinds);
    apply(server, WORLD);
}

fn agent(server: &ApiServer, state: &Path, pod: &str) -> Agent {
    let mut command = tidegate();
    command.args(["agent", "--cluster", "home", "--listen", ANY, "--admin", ANY, "--kubernetes"]);
    command.arg("--kubeconfig").arg(server.kubeconfig()).arg("--state-dir").arg(state);
    Agent::start(command.env("POD_NAME", pod))
}

#[test]
fn objects_say_what_became_of_them_once_and_a_second_replica_takes_over() {
    let Some(server) = ApiServer::start_or_skip(&Options::default()) else { return };
    world(&server);
    let (here, there) = (TcpListener::bind(ANY).unwrap(), TcpListener::bind(ANY).unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    apply(&server, &(slice("a", port(&here)) + &slice("b", port(&there))));
    let folder = TempDir::new().unwrap();
    let first = agent(&server, &folder.path().join("one"), "agent-0");

    let good = until(&server, "failoverpolicies", "good", "Programmed", "True Programmed");
    assert_eq!(condition(&good["status"], "Accepted").as_deref(), Some("True Accepted"));
    assert_eq!(good["status"]["clusters"][0]["cluster"], "home");
    let ancestor = &good["status"]["ancestors"][0];
    assert_eq!(
        (&ancestor["ancestorRef"]["name"], &ancestor["controllerName"]),
        (&"web".into(), &"tidegate.dev/agent".into())
    );
    let late = until(&server, "failoverpolicies", "late", "Accepted", "False Conflicted");
    let message = late["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("FailoverPolicy shop/good"), "{message}");
    let lost = until(&server, "failoverpolicies", "lost", "ResolvedRefs", "False TargetNotFound");
    assert!(lost["status"].to_string().contains("did you mean \\\"web\\\"?"), "{}", lost["status"]);
    let edge = until(&server, "gateways", "edge", "Programmed", "True Programmed");
    assert_eq!(edge["status"]["listeners"][0]["attachedRoutes"], 2);
    let route = |name| object(&server, "httproutes", name)["status"]["parents"][0].clone();
    wait_until("the route's word", || {
        (condition(&route("nowhere"), "ResolvedRefs")? == "False BackendNotFound").then_some(())
    });
    assert_eq!(condition(&route("web"), "ResolvedRefs").as_deref(), Some("True ResolvedRefs"));

    // What is told is told once: nothing is written while nothing changes.
    let versions =
        || TOLD.map(|(kind, name)| object(&server, kind, name)["metadata"]["resourceVersion"].clone());
    let before = versions();
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(4) {
        sleep(Duration::from_millis(500));
        assert_eq!(versions(), before, "a status was written again");
    }

    // A mistake is told on its object, and mended there.
    let second = agent(&server, &folder.path().join("two"), "agent-1");
    let mended = WORLD.replace("name: wbe", "name: web2") + "---\n" + &service("web2");
    apply(&server, &mended);
    let lost = until(&server, "failoverpolicies", "lost", "ResolvedRefs", "True ResolvedRefs");
    assert_eq!(lost["status"]["conditions"][0]["observedGeneration"], lost["metadata"]["generation"]);
    assert_eq!(lost["metadata"]["generation"], 2);

    // Whoever leads is gone without a word: the other one writes once the lease has lapsed.
    let lease = || {
        let text = done(
            server.kubectl().args(["get", "lease", "tidegate-agent", "-n", "default", "-o", "json"]),
            "",
        );
        let lease: Value = serde_json::from_str(&text).unwrap();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    };
    assert!(lease().starts_with("agent-0_"), "{}", lease());
    first.running.signal(rustix::process::Signal::KILL);
    wait_until("the lease of the other", || lease().starts_with("agent-1_").then_some(()));
    apply(&server, &WORLD.replace("name: wbe", "name: web3"));
    until(&server, "failoverpolicies", "lost", "ResolvedRefs", "False TargetNotFound");

    // A pool is lost: its service says so.
    drop(here);
    let events = || {
        let text =
            done(server.kubectl().args(["get", "events.events.k8s.io", "-n", "shop", "-o", "json"]), "");
        let events: Value = serde_json::from_str(&text).unwrap();
        events["items"].as_array().cloned().unwrap_or_default()
    };
    let lost = wait_until("the event", || events().into_iter().find(|it| it["reason"] == "PoolOut"));
    assert_eq!(
        (&lost["type"], &lost["regarding"]["kind"], &lost["regarding"]["name"]),
        (&"Warning".into(), &"Service".into(), &"web".into())
    );
    assert!(lost["note"].as_str().unwrap().contains("0 of 1 healthy"), "{lost}");
    drop(second);
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n"
    )
}

#[test]
fn an_agent_that_lost_its_disk_finds_its_identity_in_its_secret() {
    let Some(server) = ApiServer::start_or_skip(&Options::default()) else { return };
    world(&server);
    apply(
        &server,
        "apiVersion: v1\nkind: Secret\nmetadata: {name: identity, namespace: shop}\ntype: Opaque\n",
    );
    let place = Place::new();
    place.write("home.yaml", "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: home}\nspec: {region: here}\n");
    let hub = Hub::start(&place, ANY, &[]);
    let start = |state: &str, more: &[&str]| {
        let mut command = tidegate();
        command.args(["agent", "--listen", ANY, "--admin", ANY, "--hub", &hub.listen.to_string()]);
        command.args(["--identity-secret", "shop/identity", "--identity-key", "agent-0"]).args(more);
        command.arg("--kubeconfig").arg(server.kubeconfig()).arg("--state-dir").arg(place.at(state));
        Agent::start(&mut command)
    };
    let token = hub.token("home");
    let mut first = start("first", &["--join", &token]);
    let kept = wait_until("the identity in the Secret", || {
        object(&server, "secrets", "identity")["data"]["agent-0"].as_str().map(str::to_owned)
    });
    first.running.signal(rustix::process::Signal::TERM);
    first.running.ended();
    // No token, and an empty disk.
    let second = start("second", &[]);
    hub.until("FleetCluster home", "home", "applied");
    let on_disk = fs::read(place.at("second").join("hub/identity.json")).unwrap();
    assert_eq!(object(&server, "secrets", "identity")["data"]["agent-0"], kept);
    assert!(!String::from_utf8_lossy(&on_disk).is_empty());
    let said = second.running.said();
    assert!(!said.contains("PRIVATE KEY") && !said.contains(&kept), "a key was logged");
}

/// A route's parents, by who speaks of them.
fn speakers(server: &ApiServer, route: &str) -> Vec<String> {
    let status = object(server, "httproutes", route)["status"].clone();
    let parents = status["parents"].as_array().cloned().unwrap_or_default();
    parents.iter().map(|it| it["controllerName"].as_str().unwrap().to_owned()).collect()
}

/// Lets another controller speak of a route, too.
fn speak(server: &ApiServer, route: &str) {
    let theirs = r#"{"parentRef":{"name":"theirs"},"controllerName":"example.dev/theirs","conditions":[]}"#;
    let patch = format!(r#"[{{"op":"add","path":"/status/parents/0","value":{theirs}}}]"#);
    let words =
        ["patch", "httproute", route, "-n", "shop", "--subresource=status", "--type=json", "-p", &patch];
    kubectl(server, &words, "");
}

/// Lets a route name another gateway.
fn leave(server: &ApiServer, route: &str) {
    let patch = r#"{"spec":{"parentRefs":[{"name":"theirs"}]}}"#;
    kubectl(server, &["patch", "httproute", route, "-n", "shop", "--type=merge", "-p", patch], "");
}

#[test]
fn who_leaves_our_gateway_loses_our_word_and_keeps_that_of_others() {
    let Some(server) = ApiServer::start_or_skip(&Options::default()) else { return };
    world(&server);
    let folder = TempDir::new().unwrap();
    let mut first = agent(&server, &folder.path().join("one"), "agent-0");
    let ours = "tidegate.dev/agent";
    let both = ["example.dev/theirs", ours];
    for route in ["web", "nowhere"] {
        wait_until("our word", || (speakers(&server, route) == [ours]).then_some(()));
        speak(&server, route);
        assert_eq!(speakers(&server, route), both);
    }
    leave(&server, "web");
    wait_until("their word alone", || (speakers(&server, "web") == ["example.dev/theirs"]).then_some(()));
    assert_eq!(speakers(&server, "nowhere"), both);
    // The same while no agent runs: the next one finds what was said before it.
    first.running.signal(rustix::process::Signal::TERM);
    first.running.ended();
    leave(&server, "nowhere");
    let second = agent(&server, &folder.path().join("two"), "agent-1");
    wait_until("their word alone", || (speakers(&server, "nowhere") == ["example.dev/theirs"]).then_some(()));
    let version = || object(&server, "httproutes", "nowhere")["metadata"]["resourceVersion"].clone();
    let before = version();
    let metrics = get(second.admin, "/metrics").unwrap();
    let written = metrics
        .lines()
        .find(|it| it.starts_with("tidegate_kubernetes_status_writes_total{result=\"written\"}"));
    let count: f64 = written.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count >= 1.0, "{metrics}");
    assert_eq!(version(), before);
}

#[test]
fn a_shift_says_how_far_it_is_and_describe_shows_what_happened() {
    let Some(server) = ApiServer::start_or_skip(&Options::default()) else { return };
    world(&server);
    let (here, there) = (TcpListener::bind(ANY).unwrap(), TcpListener::bind(ANY).unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    apply(&server, &(slice("a", port(&here)) + &slice("b", port(&there))));
    let folder = TempDir::new().unwrap();
    let agent = agent(&server, &folder.path().join("one"), "agent-0");
    until(&server, "failoverpolicies", "good", "Programmed", "True Programmed");
    apply(
        &server,
        "apiVersion: tidegate.dev/v1alpha1\nkind: TrafficShift\nmetadata: {name: away, namespace: shop}\n\
         spec: {awayFrom: {zone: a}, for: 30m, comment: rack work}\n",
    );
    let shift = || object(&server, "trafficshifts", "away");
    let phase = |wanted: &str| {
        wait_until(&format!("the phase {wanted}"), || {
            Some(shift()).filter(|it| it["status"]["phase"] == wanted)
        })
    };
    let active = phase("Active");
    let second = |name: &str| {
        let time = active["status"][name].as_str().unwrap().to_owned();
        tidegate_api::parse_time(&time).unwrap()
    };
    assert_eq!(second("endsAt") - second("startedAt"), 1800, "{active}");
    until(&server, "trafficshifts", "away", "Programmed", "True Programmed");
    let before = shift()["metadata"]["resourceVersion"].clone();
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(4) {
        sleep(Duration::from_millis(500));
        assert_eq!(shift()["metadata"]["resourceVersion"], before, "a status was written again");
    }
    let shown = kubectl(&server, &["get", "trafficshifts", "-n", "shop"], "");
    assert!(
        shown.contains("Active") && shown.contains(active["status"]["endsAt"].as_str().unwrap()),
        "{shown}"
    );
    let ran = run(["shift", "end", "shop/away", "--admin", &agent.admin.to_string()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    phase("Ended");
    drop(here);
    for (kind, name, reasons) in [
        ("trafficshift", "away", ["ShiftStarted", "ShiftEnded"].as_slice()),
        ("service", "web", &["PoolOut"]),
    ] {
        let said = wait_until("its events", || {
            let said = described(&server, kind, name);
            let events = said.split("\nEvents:").nth(1)?.to_owned();
            reasons.iter().all(|it| events.contains(it)).then_some(events)
        });
        assert!(said.contains("tidegate.dev/agent"), "{said}");
    }
}
