//! A gRPC client without a proxy (Python's) at a real agent: it follows the plan from zone to zone.
//! Needs the Python package `grpcio`: `TIDEGATE_GRPCIO`, or the one that `cargo xtask test` fetches into `.tools`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use support::{
    command::{Agent, Running},
    skipped, workspace,
};

/// Python with gRPC, or `None` after saying that the test was skipped. CI must have it.
fn packages(test: &str) -> Option<PathBuf> {
    let fetched = || workspace().join(".tools/grpcio-1.76.0");
    let folder = std::env::var_os("TIDEGATE_GRPCIO").map_or_else(fetched, PathBuf::from);
    if folder.join("grpc").is_dir() {
        return Some(folder);
    }
    skipped(test, &format!("no grpcio at {} (set TIDEGATE_GRPCIO)", folder.display()));
    None
}

fn python(packages: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    let script = workspace().join("crates/envoy/tests/it/real/toy_grpc.py");
    // Its standard input stays open while it lives.
    command.arg(script).args(args).env("PYTHONPATH", packages).stdin(Stdio::piped());
    command
}

/// A service that says `name`, and its port.
fn serve(packages: &Path, name: &str, port: u16) -> (Running, u16) {
    let mut running = Running::start(&mut python(packages, &["serve", name, &port.to_string()]));
    let port = running.until_said("its port", |text| text.lines().next()?.parse().ok());
    (running, port)
}

fn manifests(folder: &Path, ports: [u16; 2]) {
    let slice = |zone: &str, port: u16| {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": zone, "namespace": "shop", "labels": {"kubernetes.io/service-name": "calls"}},
            "addressType": "IPv4",
            "ports": [{"name": "grpc", "port": port}],
            "endpoints": [{"addresses": ["127.0.0.1"], "zone": zone}],
        })
    };
    let objects = [
        json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "FleetCluster",
            "metadata": {"name": "home"},
            "spec": {"region": "home"},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "calls", "namespace": "shop"},
            "spec": {"ports": [{"name": "grpc", "port": 50051, "appProtocol": "grpc"}]},
        }),
        json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "FailoverPolicy",
            "metadata": {"name": "fleet", "namespace": "shop"},
            "spec": {
                "targetRefs": [{"group": "tidegate.dev", "kind": "Fleet", "name": "default"}],
                "healthCheck": {"active": {"type": "TCP", "interval": "200ms", "timeout": "150ms"}},
                "failback": {"holdDown": "1s", "ramp": {"steps": [100], "interval": "1s"}},
            },
        }),
        slice("zone-a", ports[0]),
        slice("zone-b", ports[1]),
    ];
    let text: Vec<String> = objects.iter().map(ToString::to_string).collect();
    std::fs::write(folder.join("all.yaml"), text.join("\n---\n")).unwrap();
}

#[test]
fn a_grpc_client_without_a_proxy_fails_over_and_back_with_its_agents_plans() {
    let Some(packages) = packages("a_grpc_client_without_a_proxy_fails_over_and_back_with_its_agents_plans")
    else {
        return;
    };
    let (a, port_a) = serve(&packages, "from-a", 0);
    let (_b, port_b) = serve(&packages, "from-b", 0);
    let folder = tempfile::tempdir().unwrap();
    let (files, state) = (folder.path().join("manifests"), folder.path().join("state"));
    std::fs::create_dir(&files).unwrap();
    manifests(&files, [port_a, port_b]);
    let agent = Agent::start(&files, &state);

    // Just what docs/routes.md tells its readers to write.
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": agent.listen.to_string(),
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {"id": "cart-1", "locality": {"zone": "zone-a"}},
    });
    let mut ask = python(&packages, &["ask", "xds:///calls.shop"]);
    let mut client = Running::start(ask.env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap.to_string()));
    // How many of the newest answers are all the same.
    let run = |text: &str, wanted: &str| text.lines().rev().take_while(|line| *line == wanted).count();
    client.until_said("its own zone", |text| (run(text, "from-a") >= 50).then_some(()));
    assert!(!client.said().contains("from-b"), "{}", client.said());
    let status = agent.ask_json(&["status"]);
    let seen = &status["gateways"][0];
    assert_eq!((&seen["gateway"], &seen["zone"]), (&json!("gRPC client"), &json!("zone-a")), "{status}");
    assert_eq!((&seen["connected"], &seen["refused"]), (&json!(true), &json!([])), "{status}");

    drop(a);
    client.until_said("the other zone", |text| (run(text, "from-b") >= 50).then_some(()));
    let errors = client.said().lines().filter(|line| line.starts_with("error")).count();
    assert!(errors <= 1, "only a call in progress may fail: {}", client.said());

    let (_a, again) = serve(&packages, "from-a", port_a);
    assert_eq!(again, port_a);
    client.until_said("its own zone again", |text| (run(text, "from-a") >= 50).then_some(()));
    assert_eq!(
        client.said().lines().filter(|line| line.starts_with("error")).count(),
        errors,
        "{}",
        client.said()
    );
}
