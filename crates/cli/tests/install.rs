//! `tidegate install`, and what its pods call: `health` as a probe, `install binary`, `envoy drain` before an Envoy ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use support::{
    backend,
    command::{Agent, Ran, Running, finish, run, tidegate},
    pair::{Gateway, free, get},
    wait_until,
};
use tidegate_apiserver::{ApiServer, Options};

const AGENT: [&str; 6] =
    ["install", "agent", "--image", "registry.example/tidegate:0.1.0", "--cluster", "us-east"];
const GATEWAYS: [&str; 12] = [
    "install",
    "gateways",
    "--image",
    "registry.example/tidegate:0.1.0",
    "--gateway",
    "infra/edge",
    "--cluster",
    "us-east",
    "--region",
    "us-east",
    "--zone",
    "us-east-1a",
];

fn printed(ran: &Ran) -> &str {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    &ran.stdout
}

#[test]
fn manifests_are_printed_and_the_same_each_time() {
    let with_port = [GATEWAYS.as_slice(), &["--port", "8080"]].concat();
    let hub = ["install", "hub", "--image", "registry.example/tidegate:0.1.0", "--create-namespace"];
    let of_kubernetes = ["install", "hub", "--image", "registry.example/tidegate:0.1.0", "--kubernetes"];
    for (arguments, kinds) in [
        (AGENT.as_slice(), ["kind: StatefulSet", "kind: ClusterRole", "kind: NetworkPolicy"]),
        (&hub, ["kind: StatefulSet", "kind: Namespace", "kind: PodDisruptionBudget"]),
        (&of_kubernetes, ["kind: ClusterRoleBinding", "kind: RoleBinding", "\"--kubernetes\""]),
        (&with_port, ["kind: Deployment", "kind: HorizontalPodAutoscaler", "kind: Service"]),
        (
            &["install", "crds"],
            [
                "name: failoverpolicies.tidegate.dev",
                "name: drills.tidegate.dev",
                "kind: CustomResourceDefinition",
            ],
        ),
    ] {
        let (once, again) = (run(arguments), run(arguments));
        assert_eq!(printed(&once), printed(&again));
        for kind in kinds {
            assert!(once.stdout.contains(kind), "{arguments:?} prints no {kind}");
        }
    }
    let joined = run([AGENT.as_slice(), &["--hub", "hub.example:18100", "--replicas", "3"]].concat());
    assert!(
        printed(&joined).contains("--hub=hub.example:18100") && joined.stdout.contains("replicas: 3"),
        "{joined:?}"
    );
}

#[test]
fn what_cannot_be_installed_is_told_with_what_to_do() {
    for (arguments, code, said) in [
        (
            ["install", "agent", "--image", "tidegate", "--cluster", "us-east"].as_slice(),
            1,
            "hint: write it with a tag or a digest",
        ),
        (&["install", "agent", "--image", "x:1"], 2, "--cluster"),
        (&["install", "hub", "--image", "x:1", "--kubernetes", "--git", "u"], 2, "cannot be used with"),
        (&GATEWAYS, 2, "--port"),
        (
            &["install", "agent", "--image", "x:1", "--cluster", "a", "--hub", "hub"],
            1,
            "hint: write for example hub.example:18100",
        ),
        (&["install", "agent", "--image", "x:1", "--cluster", "a", "--replicas", "0"], 2, "1..=9"),
        (
            &["install", "binary", "--to", "/nowhere/tidegate"],
            1,
            "hint: name a file in a folder that is there",
        ),
    ] {
        let ran = run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
}

#[test]
fn the_program_copies_itself_beside_another_image() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("tidegate");
    let copy = || run(["install".as_ref(), "binary".as_ref(), "--to".as_ref(), to.as_os_str()]);
    assert_eq!(copy().code, Some(0));
    // A pod that starts again finds the file of before.
    assert_eq!(copy().code, Some(0));
    let ran = finish(Command::new(&to).arg("--version"));
    assert!(ran.code == Some(0) && ran.stdout.starts_with("tidegate "), "{ran:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_join_token_may_come_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (state, file) = (folder.path().join("state"), folder.path().join("token"));
    fs::write(&file, "no token\n").unwrap();
    let ran = finish(
        tidegate()
            .args(["agent", "--hub", "127.0.0.1:1"])
            .arg("--state-dir")
            .arg(&state)
            .arg("--join-file")
            .arg(&file),
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("holds no join token") && ran.stderr.contains("tidegate cluster join-token"),
        "{ran:?}"
    );
}

/// What containers of these manifests run: the program's arguments, also those of probes and hooks.
fn commands(manifests: &str) -> Vec<Vec<String>> {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(manifests).unwrap();
    let words = |list: &serde_json::Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let mut found = Vec::new();
    for pod in documents.iter().map(|it| &it["spec"]["template"]["spec"]) {
        let containers = ["initContainers", "containers"]
            .into_iter()
            .flat_map(|it| pod[it].as_array().into_iter().flatten());
        for container in containers {
            found.push(words(&container["args"]));
            for call in ["startupProbe", "livenessProbe", "readinessProbe"] {
                found.push(words(&container[call]["exec"]["command"]).into_iter().skip(1).collect());
            }
            found.push(
                words(&container["lifecycle"]["preStop"]["exec"]["command"]).into_iter().skip(1).collect(),
            );
        }
    }
    found.retain(|it| !it.is_empty());
    found
}

#[test]
fn the_program_takes_the_arguments_that_the_manifests_give_it() {
    let joined = [AGENT.as_slice(), &["--hub", "hub.example:18100"]].concat();
    let gateways = [GATEWAYS.as_slice(), &["--port", "8080", "--credentials", "edge-credentials"]].concat();
    let hub = ["install", "hub", "--image", "registry.example/tidegate:0.1.0"];
    let git = [hub.as_slice(), &["--git", "https://git.example/fleet.git"]].concat();
    let mut kinds = std::collections::BTreeSet::new();
    for manifests in [AGENT.as_slice(), &joined, &gateways, &hub, &git].map(run) {
        for command in commands(printed(&manifests)) {
            // A wrong argument is told before help is given.
            let ran = run(command.iter().map(String::as_str).chain(["--help"]));
            assert_eq!(ran.code, Some(0), "{command:?}: {ran:?}");
            kinds.insert(command[..2.min(command.len())].join(" "));
        }
    }
    let wrong = run(["agent", "--cluster=a", "--nonsense", "--help"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(
        kinds.contains("envoy run") && kinds.contains("envoy drain") && kinds.contains("install binary"),
        "{kinds:?}"
    );
}

fn health(admin: SocketAddr, path: &str) -> Ran {
    run(["health", "--admin", &admin.to_string(), "--path", path])
}

#[test]
fn a_probe_asks_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    backend::one_cluster(&manifests);
    let agent = Agent::start(&manifests, &folder.path().join("state"));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(health(agent.admin, path).code, Some(0));
    }
    let unknown = health(agent.admin, "/nothing");
    assert!(unknown.code == Some(1) && unknown.stderr.contains("404"), "{unknown:?}");
    let nobody = health(free(), "/readyz");
    assert!(nobody.code == Some(1) && nobody.stderr.contains("nobody answers"), "{nobody:?}");
}

fn kubectl(server: &ApiServer, arguments: &[&str], text: &str) -> String {
    let mut command = server.kubectl();
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_agent_with_the_installed_rights_reads_all_that_it_wants_and_tells_what_came_of_it() {
    let account = "system:serviceaccount:tidegate-system:tidegate-agent";
    let rights = Options { rbac: true, users: vec![account.to_owned()] };
    let Some(server) = ApiServer::start_or_skip(&rights) else { return };
    kubectl(&server, &["apply", "--server-side", "-f", "-"], printed(&run(["install", "crds"])));
    let manifests = run([AGENT.as_slice(), &["--create-namespace"]].concat());
    // The small server knows nothing of workloads and networks.
    let served = |it: &&str| {
        !["StatefulSet", "PodDisruptionBudget", "NetworkPolicy"]
            .iter()
            .any(|kind| it.contains(&format!("kind: {kind}\n")))
    };
    let some: Vec<&str> = printed(&manifests).split("---\n").filter(served).collect();
    kubectl(&server, &["apply", "--server-side", "-f", "-"], &some.join("---\n"));
    let cluster = "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: us-east}\nspec: {region: us-east}\n";
    kubectl(&server, &["apply", "--server-side", "-f", "-"], cluster);
    let state = tempfile::tempdir().unwrap();
    let mut command = tidegate();
    command.args([
        "agent",
        "--kubernetes",
        "--cluster",
        "us-east",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    // In a pod the namespace is that of the pod.
    let told = fs::read_to_string(server.kubeconfig_of(account)).unwrap();
    let kubeconfig = state.path().join("kubeconfig");
    fs::write(&kubeconfig, told.replace("context: {", "context: {namespace: tidegate-system, ")).unwrap();
    command.arg("--kubeconfig").arg(kubeconfig).arg("--state-dir").arg(state.path().join("state"));
    let mut agent = Running::start(&mut command);
    let admin: SocketAddr = agent.until_said("its admin address", |text| {
        let line = text.lines().find(|line| line.contains("serves administration"))?;
        line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
    });
    wait_until("an agent that is ready", || (health(admin, "/readyz").code == Some(0)).then_some(()));
    let status = run(["status", "-o", "json", "--admin", &admin.to_string()]);
    let status: serde_json::Value = serde_json::from_str(printed(&status)).unwrap();
    let problems = status["problems"].as_array().unwrap();
    let forbidden: Vec<&str> =
        problems.iter().filter_map(|it| it.as_str()).filter(|it| it.contains("may not read")).collect();
    assert!(forbidden.len() == 1 && forbidden[0].contains("may not read secrets"), "{problems:#?}");
    wait_until("the status of its cluster", || {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Accepted")].status}"#;
        let said = kubectl(&server, &["get", "fleetcluster", "us-east", "-o", path], "");
        (said == "True").then_some(())
    });
    let holder =
        ["get", "lease", "tidegate-agent", "-n", "tidegate-system", "-o", "jsonpath={.spec.holderIdentity}"];
    let holder = kubectl(&server, &holder, "");
    assert!(holder.starts_with("us-east"), "{holder}");
}

/// A connection that stays open: a request on it, and the head of its answer.
fn ask(stream: &mut TcpStream) -> String {
    write!(stream, "GET / HTTP/1.1\r\nhost: shop\r\n\r\n").unwrap();
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    let text = String::from_utf8(text).unwrap().to_lowercase();
    let length =
        text.lines().find_map(|it| it.strip_prefix("content-length: ")).map_or(0, |it| it.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).unwrap();
    text
}

#[test]
fn an_envoy_drains_before_it_ends_and_loses_nothing() {
    let Some(binary) = support::envoy("an_envoy_drains_before_it_ends_and_loses_nothing") else { return };
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    backend::one_cluster(&manifests);
    let (edge, admin) = (free(), free());
    let file = manifests.join("gateway.yaml");
    let text = fs::read_to_string(&file).unwrap().replace("10080", &edge.port().to_string());
    fs::write(&file, text).unwrap();
    let agent = Agent::start(&manifests, &folder.path().join("state"));
    let mut command = tidegate();
    command.args(["envoy", "run", "--gateway", "shop/edge", "--zone", "zone-a", "--concurrency", "1"]);
    command
        .args(["--agent", &agent.listen.to_string(), "--admin", &admin.to_string()])
        .arg("--envoy")
        .arg(binary);
    let _gateway = Gateway(Running::start(&mut command));
    wait_until("an Envoy that is ready", || (health(admin, "/ready").code == Some(0)).then_some(()));
    let served = |text: &str| text.starts_with("HTTP/1.1 200");
    wait_until("an edge that serves", || get(edge, "/").filter(|it| served(it)));
    let mut open = TcpStream::connect(edge).unwrap();
    open.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(ask(&mut open).starts_with("http/1.1 200"));

    let begun = Instant::now();
    let mut drain = tidegate();
    let mut drain =
        drain.args(["envoy", "drain", "--admin", &admin.to_string(), "--for", "60s"]).spawn().unwrap();
    wait_until("checks that fail", || {
        get(edge, "/healthz/services/shop/web").filter(|it| it.starts_with("HTTP/1.1 503"))
    });
    // Not everybody has heard: what comes is served, and asked to go.
    assert!(get(edge, "/").is_some_and(|it| served(&it)), "a drain serves what comes");
    assert!(drain.try_wait().unwrap().is_none(), "a connection is left");
    wait_until("a connection that is asked to go", || {
        let answer = ask(&mut open);
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
        answer.contains("connection: close").then_some(())
    });
    let ended = wait_until("the end of the drain", || drain.try_wait().unwrap());
    assert!(
        ended.success() && begun.elapsed() >= Duration::from_secs(5),
        "{ended} after {:?}",
        begun.elapsed()
    );
    let both = run([
        "envoy",
        "bootstrap",
        "--gateway",
        "a/b",
        "--zone",
        "z",
        "--agent",
        "localhost:1",
        "--agent",
        "unix:/run/a",
    ]);
    assert!(both.code == Some(1) && both.stderr.contains("hint: name them all by HOST:PORT"), "{both:?}");
    let who = run(["envoy", "drain", "--admin", &agent.admin.to_string(), "--for", "1s"]);
    assert_eq!(who.code, Some(1), "an agent is no Envoy: {who:?}");
    let wrong = run(["envoy", "drain", "--for", "2h"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("at most 1h"), "{wrong:?}");
}
