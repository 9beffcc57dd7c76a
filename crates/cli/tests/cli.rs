//! What a user meets on the command line and at the admin address: messages, exit codes, help.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use http_body_util::BodyExt as _;
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    task::{Context, Poll},
};
use support::{
    backend,
    command::{Agent, Ran, Running, finish, run, tidegate},
    proc, wait_until, workspace,
};
use tempfile::TempDir;
use tidegate_agent::saved::StateDir;

/// An agent of `examples/one-cluster` with living endpoints, and its folder.
fn agent() -> (Agent, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    backend::one_cluster(&manifests);
    (Agent::start(&manifests, &folder.path().join("state")), folder)
}

/// The lines of an error as a user sees them.
fn error(ran: &Ran, code: i32) -> Vec<&str> {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
    ran.stderr.lines().collect()
}

#[test]
fn the_help_of_every_command_is_as_recorded() {
    insta::assert_snapshot!("help", help(&[]));
}

/// The help of a command and of all below it.
fn help(command: &[&str]) -> String {
    let ran = run(command.iter().chain(&["--help"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let commands = ran.stdout.split("Commands:\n").nth(1).unwrap_or_default();
    let names = commands.lines().map_while(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let below = names.filter(|name| *name != "help").map(|name| help(&[command, &[name]].concat()));
    let title = ["tidegate"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
    format!("# {title}\n{}\n{}", ran.stdout, below.collect::<String>())
}

#[test]
fn a_wrong_command_line_is_told_with_what_to_do() {
    let state = tempfile::tempdir().unwrap();
    let agent = ["agent", "--cluster", "home", "--state-dir", state.path().to_str().unwrap()];
    let ran = run(agent);
    let [message, hint] = error(&ran, 1)[..] else { panic!("{ran:?}") };
    assert_eq!(message, "error: no manifests given");
    assert!(hint.contains("tidegate agent --manifests examples/one-cluster --cluster home"), "{hint}");

    let ran = run(agent.iter().chain(&["--manifests", "/nowhere/at-all"]));
    let lines = error(&ran, 1);
    assert_eq!(
        lines,
        ["error: the manifests /nowhere/at-all cannot be read: No such file or directory (os error 2)"]
    );

    let ran = run(["explain", "web"]);
    assert!(error(&ran, 2)[0].contains("a service name is written NAMESPACE/NAME, not \"web\""), "{ran:?}");
    let ran = run(["explain", "shop/web?"]);
    assert!(error(&ran, 2)[0].contains("not '?'"), "{ran:?}");
    let ran = run(["envoy", "bootstrap", "--gateway", "edge", "--zone", "zone-a"]);
    assert!(error(&ran, 2)[0].contains("a gateway name is written NAMESPACE/NAME"), "{ran:?}");
    let ran = run(["--log", "tidegate=loudly", "status"]);
    assert!(error(&ran, 2).join("\n").contains("hint: try --log info"), "{ran:?}");
}

#[test]
fn a_cluster_that_the_manifests_do_not_name_is_told_with_the_one_they_do() {
    let state = tempfile::tempdir().unwrap();
    let manifests = workspace().join("examples/one-cluster");
    let ran = finish(
        tidegate()
            .args(["agent", "--cluster", "hom", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--manifests")
            .arg(manifests)
            .arg("--state-dir")
            .arg(state.path()),
    );
    let lines = error(&ran, 1);
    assert_eq!(lines[0], "error: the manifests do not say where cluster hom lies");
    assert!(
        lines.iter().any(|line| line.contains("hint:") && line.contains("did you mean \"home\"?")),
        "{ran:?}"
    );
}

#[test]
fn an_address_that_nobody_answers_at_is_told() {
    // Bound and not listening any more: nobody else takes it at once.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for command in [["status"].as_slice(), &["explain", "shop/web"]] {
        let ran =
            run(command.iter().map(|it| (*it).to_owned()).chain(["--admin".to_owned(), address.to_string()]));
        let lines = error(&ran, 1);
        assert!(lines[0].starts_with(&format!("error: nobody answers at {address}")), "{ran:?}");
        assert!(lines[1].contains("hint:") && lines[1].contains("--admin or TIDEGATE_ADMIN"), "{ran:?}");
    }
}

#[test]
fn a_gateway_without_envoy_says_where_to_get_one() {
    let gateway = ["envoy", "run", "--gateway", "shop/edge", "--zone", "zone-a"];
    let empty = tempfile::tempdir().unwrap();
    let on_path = finish(tidegate().args(gateway).env("PATH", empty.path()));
    let named = finish(tidegate().args(gateway).args(["--envoy", "/nowhere/envoy"]));
    for (ran, what) in [(on_path, "envoy"), (named, "/nowhere/envoy")] {
        let lines = error(&ran, 1);
        assert!(lines[0].starts_with(&format!("error: cannot run {what}")), "{ran:?}");
        assert!(lines[1].contains("hint: name Envoy by --envoy or TIDEGATE_ENVOY"), "{ran:?}");
        assert!(lines[1].ends_with("`cargo xtask envoy` fetches it"), "{ran:?}");
    }
    let ran = run(["demo", "--envoy", "/nowhere/envoy"]);
    assert_eq!(error(&ran, 1)[0], "error: there is no Envoy at /nowhere/envoy");
}

#[test]
fn a_runner_that_is_killed_takes_its_envoy_with_it() {
    let Some(envoy) = support::envoy("a_runner_that_is_killed_takes_its_envoy_with_it") else { return };
    if !cfg!(target_os = "linux") {
        return support::skipped("a_runner_that_is_killed_takes_its_envoy_with_it", "it needs Linux");
    }
    let admin = support::pair::free();
    let gateway = ["envoy", "run", "--gateway", "shop/edge", "--zone", "zone-a", "--concurrency", "1"];
    let mut command = tidegate();
    command.args(gateway).args(["--admin", &admin.to_string()]).arg("--envoy").arg(&envoy);
    let running = Running::start(&mut command);
    wait_until("Envoy's own admin address", || TcpStream::connect(admin).ok());
    let family = proc::descendants(running.id());
    assert_eq!(family.len(), 1, "{:?}", proc::left_of(&family));
    assert!(proc::left_of(&family)[0].1.starts_with(envoy.to_str().unwrap()), "{:?}", proc::left_of(&family));
    running.signal(rustix::process::Signal::KILL);
    wait_until("the end of Envoy", || proc::left_of(&family).is_empty().then_some(()));
}

#[test]
fn an_address_in_use_is_named_with_what_it_was_for() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (option, other, what) in
        [("--listen", "--admin", "xDS and peer links"), ("--admin", "--listen", "administration")]
    {
        let state = tempfile::tempdir().unwrap();
        let ran = finish(
            tidegate()
                .args(["agent", "--cluster", "home", option, &address, other, "127.0.0.1:0"])
                .arg("--manifests")
                .arg(workspace().join("examples/one-cluster"))
                .arg("--state-dir")
                .arg(state.path()),
        );
        let wanted = format!("error: cannot listen on {address} ({what}): Address already in use");
        let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error")).collect();
        assert!(ran.code == Some(1) && lines.len() == 1 && lines[0].starts_with(&wanted), "{ran:?}");
        assert_eq!(lines[0].matches("Address already in use").count(), 1, "said once: {ran:?}");
    }
}

#[test]
fn a_typo_in_a_policy_is_shown_with_its_place_and_the_last_good_one_stays() {
    let (agent, folder) = agent();
    let pools = agent.ask_json(&["status"])["pools"].clone();
    assert_eq!(pools.as_array().unwrap().len(), 2);
    for pool in pools.as_array().unwrap() {
        assert_eq!((&pool["healthy"], &pool["phase"]), (&2.into(), &"Serving".into()), "{pool}");
    }
    let policy = agent.ask_json(&["explain", "shop/web"])["policy"].clone();
    let file = folder.path().join("manifests/policy.yaml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("holdDown: 10s", "holdDwon: 1s")).unwrap();

    let told = wait_until("the problem in the status", || {
        let ran = agent.ask(&["status"]);
        ran.stdout.contains("PROBLEMS").then_some(ran.stdout)
    });
    let place = format!("{}:10:14: FailoverPolicy shop/web: ", file.display());
    let problem = told.lines().find(|line| line.starts_with(&place)).unwrap_or_else(|| panic!("{told}"));
    assert!(problem.contains("no field \"holdDwon\""), "{problem}");
    assert!(told.contains("hint: did you mean \"holdDown\"?"), "{told}");
    assert_eq!(agent.ask_json(&["status"])["pools"], pools);
    assert_eq!(agent.ask_json(&["explain", "shop/web"])["policy"], policy, "the last good policy stays");

    // A file that is no YAML at all, and one that is gone from the problem again.
    fs::write(folder.path().join("manifests/gateway.yaml"), "kind: [Gateway\n").unwrap();
    fs::write(&file, good).unwrap();
    let told = wait_until("the problem to change", || {
        let ran = agent.ask(&["status"]);
        (ran.stdout.contains("gateway.yaml") && !ran.stdout.contains("holdDwon")).then_some(ran.stdout)
    });
    assert!(told.contains("gateway.yaml:1:") || told.contains("gateway.yaml:2:"), "a line is named: {told}");
    assert_eq!(agent.ask_json(&["status"])["pools"], pools);
}

#[test]
fn an_agent_is_asked_by_table_and_by_json() {
    let (agent, _folder) = agent();
    let status = agent.ask(&["status"]);
    for text in ["cluster home in local", "POOLS", "PLANS", "GATEWAYS", "2/2", "Serving", "zone zone-a 100 %"]
    {
        assert!(status.stdout.contains(text), "{text} is not in\n{}", status.stdout);
    }
    assert!(!status.stdout.contains("PROBLEMS"), "{}", status.stdout);
    let explained = agent.ask(&["explain", "shop/web"]);
    for text in [
        "shop/web, as cluster home sees it",
        "from home/zone-a: zone zone-a 100 %",
        "standby 1: zone zone-b",
        "failback.holdDown 10s, by FailoverPolicy shop/web at ",
    ] {
        assert!(explained.stdout.contains(text), "{text} is not in\n{}", explained.stdout);
    }
    let ran = agent.ask(&["explain", "shop/nope"]);
    assert!(error(&ran, 1)[0].starts_with("error: no service shop/nope"), "{ran:?}");
}

/// GETs a path: the head and the body of the answer.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn the_admin_address_answers_probes_scrapers_and_people() {
    let (agent, _folder) = agent();
    for path in ["/healthz", "/readyz"] {
        let (head, _) = get(agent.admin, path);
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
    }
    let json = |path: &str| {
        let (head, body) = get(agent.admin, path);
        assert!(
            head.starts_with("http/1.1 200") && head.contains("content-type: application/json"),
            "{head}"
        );
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let status = json("/api/v1/status");
    assert_eq!((&status["cluster"], &status["region"]), (&"home".into(), &"local".into()));
    assert_eq!((&status["pending"], &status["problems"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    let decisions = json("/api/v1/decisions");
    let numbers: Vec<u64> =
        decisions.as_array().unwrap().iter().map(|it| it["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{decisions:#}");
    assert!(decisions.as_array().unwrap().iter().any(|it| it["kind"] == "planChanged"), "{decisions:#}");
    let rest = json("/api/v1/decisions?after=1");
    assert_eq!(rest.as_array().unwrap().len(), numbers.len() - 1);
    let (head, body) = get(agent.admin, "/api/v1/explain/shop/nope");
    assert!(head.starts_with("http/1.1 404") && body.contains("no service shop/nope"), "{head}\n{body}");

    let (head, text) = get(agent.admin, "/metrics");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let samples = prometheus(&text);
    let value = |name: &str| samples.iter().find(|(sample, _)| sample == name).map(|(_, value)| *value);
    assert_eq!(value("tidegate_ready"), Some(1.0), "{text}");
    let pool = r#"tidegate_pool_healthy_endpoints{service="shop/web",cluster="home",zone="zone-a"}"#;
    assert_eq!(value(pool), Some(2.0), "{text}");
}

/// The samples of a text in the Prometheus format; fails where the text is none.
fn prometheus(text: &str) -> Vec<(String, f64)> {
    assert!(text.ends_with('\n'));
    let (mut helped, mut typed, mut seen) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut samples = Vec::new();
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !help.is_empty() && helped.insert(name), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(
                helped.contains(name) && ["gauge", "counter"].contains(&kind) && typed.insert(name),
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            assert!(typed.contains(name) && seen.insert(sample), "{line}");
            let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
            for label in labels.split_terminator("\",") {
                let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(name) && !value.trim_end_matches('"').contains('"'), "{line}");
            }
            samples.push((sample.to_owned(), value.parse().unwrap()));
        }
    }
    samples
}

/// The body of a stream on which the client stays silent.
struct Silence;

impl hyper::body::Body for Silence {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Poll::Pending
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_an_agent_in_order_with_streams_open() {
    let (mut agent, folder) = agent();
    // A keep-alive connection to the admin address, half a request on it, and a stream of each kind.
    let idle = TcpStream::connect(agent.admin).unwrap();
    let mut half = TcpStream::connect(agent.admin).unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").unwrap();
    let mut streams = Vec::new();
    for path in [
        "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        "envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
        "envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats",
    ] {
        let socket = tokio::net::TcpStream::connect(agent.listen).await.unwrap();
        let executor = hyper_util::rt::TokioExecutor::new();
        let io = hyper_util::rt::TokioIo::new(socket);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://{}/{path}", agent.listen))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Silence)
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        assert!(!response.headers().contains_key("grpc-status"), "{path} ended: {:?}", response.headers());
        streams.push((sender, response.into_body()));
    }
    agent.running.signal(Signal::TERM);
    let status = agent.running.ended();
    assert_eq!(status.code(), Some(0), "{}", agent.running.said());
    for (_, body) in streams {
        // Ended by trailers or cut: in either case the client knows.
        let _ = body.collect().await;
    }
    drop((idle, half));
    let (saved, problems) = StateDir::open(&folder.path().join("state")).unwrap().load();
    assert!(saved.is_some() && problems.is_empty(), "what it knows is on disk: {problems:?}");
}

/// A gateway with a template, in a file of its own.
fn templated(template: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.yaml");
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
         gatewayClassName: tidegate-edge\n  infrastructure: {{parametersRef: {{group: tidegate.dev, kind: GatewayTemplate, \
         name: own}}}}\n  listeners: [{{name: http, port: 80, protocol: HTTP}}]\n---\napiVersion: \
         tidegate.dev/v1alpha1\nkind: GatewayTemplate\nmetadata: {{name: own, namespace: shop}}\nspec: {template}\n"
    );
    std::fs::write(&file, text).unwrap();
    (folder, file.display().to_string())
}

#[test]
fn an_envoy_is_started_as_its_template_has_it_unless_a_flag_says_otherwise() {
    let extra = "{static_resources: {clusters: [{name: collector, type: STATIC, connect_timeout: 1s}]}}";
    let (_folder, file) =
        templated(&format!("{{limits: {{maxConnections: 77, maxHeapMiB: 512}}, bootstrap: {extra}}}"));
    let bootstrap = |flags: &[&str]| {
        let arguments = ["envoy", "bootstrap", "--gateway", "shop/edge", "--zone", "a", "--manifests", &file];
        let ran = run(arguments.iter().chain(flags));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    let connections = |file: &Value| {
        file["overload_manager"]["resource_monitors"][1]["typed_config"]["max_active_downstream_connections"]
            .clone()
    };
    let file_of = bootstrap(&[]);
    assert_eq!(connections(&file_of), 77);
    assert_eq!(
        file_of["overload_manager"]["resource_monitors"][0]["typed_config"]["max_heap_size_bytes"],
        512 << 20
    );
    let clusters = file_of["static_resources"]["clusters"].as_array().unwrap();
    let names: Vec<&str> = clusters.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tidegate-agent", "collector"]);
    assert_eq!(connections(&bootstrap(&["--max-connections", "5"])), 5);

    let gone = run(["envoy", "bootstrap", "--gateway", "shop/gone", "--zone", "a", "--manifests", &file]);
    let lines = error(&gone, 1);
    assert_eq!(
        lines,
        ["error: the manifests have no gateway shop/gone of Tidegate's", "  hint: there are: shop/edge"]
    );
    let (_folder, wrong) = templated("{concurrency: 0}");
    let ran = run(["envoy", "bootstrap", "--gateway", "shop/edge", "--zone", "a", "--manifests", &wrong]);
    let said = error(&ran, 1).join("\n");
    assert!(said.contains("spec.concurrency must be a whole number from 1 to 256, not 0"), "{ran:?}");
    let (_folder, ours) = templated(
        "{bootstrap: {stats_config: {stats_matcher: {inclusion_list: {}, reject_all: true}}, overload_manager: {refresh_interval: 9s}}}",
    );
    let ran = run(["envoy", "bootstrap", "--gateway", "shop/edge", "--zone", "a", "--manifests", &ours]);
    assert!(
        error(&ran, 1)[0].contains(
            "spec.bootstrap.overload_manager.refresh_interval of the GatewayTemplate is set by Tidegate"
        ),
        "{ran:?}"
    );
}

#[test]
fn envoy_itself_is_asked_whether_it_would_start() {
    let test = "envoy_itself_is_asked_whether_it_would_start";
    for binary in [support::envoy(test), support::oldest_envoy(test)].into_iter().flatten() {
        let check = |template: &str| {
            let (_folder, file) = templated(template);
            let arguments = ["envoy", "bootstrap", "--gateway", "shop/edge", "--zone", "a", "--check"];
            finish(tidegate().args(arguments).args(["--manifests", &file]).arg("--envoy").arg(&binary))
        };
        let good = check(
            "{drain: {time: 30s, strategy: Immediate}, concurrency: 1, bootstrap: {enable_dispatcher_stats: true}}",
        );
        assert_eq!(good.code, Some(0), "{good:?}");
        let bad = check("{bootstrap: {static_resources: {clusters: [{name: x, tpye: STATIC}]}}}");
        assert!(error(&bad, 1).join("\n").contains("tpye"), "{bad:?}");
    }
}
