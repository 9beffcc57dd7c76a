//! A gateway that asks for the state of the world follows its agent as those do that ask for changes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use http::StatusCode;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use support::{
    TIDEGATE,
    course::{Course, EAST, cluster, spec},
    envoy, until,
};
use tidegate_lab::{
    fetch,
    fleet::Fault,
    process::{Child, ChildSpec},
    toy::ToyMode,
};

const GATEWAY: &str = "sotw";
const ZONE: &str = "us-east-1a";
const ENDPOINT: &str = "web-us-east-1a-0";

/// One more edge gateway for the service `shop/web`, as a user would add it.
fn manifests(address: SocketAddr) -> String {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": GATEWAY, "namespace": "shop"},
        "spec": {
            "gatewayClassName": "tidegate-edge",
            "addresses": [{"type": "IPAddress", "value": address.ip()}],
            "listeners": [{"name": "http", "port": address.port(), "protocol": "HTTP"}],
        },
    });
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": GATEWAY, "namespace": "shop"},
        "spec": {"parentRefs": [{"name": GATEWAY}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
    });
    format!("{gateway}\n---\n{route}\n")
}

async fn status_of(gateway: SocketAddr) -> Option<StatusCode> {
    let answer = fetch::get(gateway, None, "/", Duration::from_secs(5)).await;
    answer.ok().map(|(status, _)| status)
}

/// Sends requests through the gateway, all of which must be served, and says how many the endpoint got of them.
async fn reaching_the_endpoint(course: &Course, gateway: SocketAddr) -> u64 {
    let toy = course.fleet().toys().iter().find(|toy| toy.spec().name == ENDPOINT).unwrap();
    let before = toy.requests();
    for _ in 0..20 {
        assert_eq!(status_of(gateway).await, Some(StatusCode::OK));
    }
    toy.requests() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_on_state_of_the_world_follows_what_happens() {
    let test = "a_gateway_on_state_of_the_world_follows_what_happens";
    let Some(envoy) = envoy(test) else { return };
    let mut spec = spec();
    spec.policy.hold_down = Duration::from_secs(1);
    let Some(course) = Course::start(test, spec).await else { return };
    let free = || {
        let listener = std::net::TcpListener::bind((course.fleet().next_ip(), 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let (gateway, admin) = (free(), free());
    let files = course.fleet().files();
    std::fs::write(files.join("manifests").join(EAST).join("sotw.yaml"), manifests(gateway)).unwrap();
    let agent = course.fleet().addresses(&cluster(EAST)).unwrap().agent;
    let name = format!("shop/{GATEWAY}");
    let (agent, admin) = (agent.to_string(), admin.to_string());
    let arguments = [
        "envoy",
        "run",
        "--xds",
        "sotw",
        "--agent",
        &agent,
        "--gateway",
        &name,
        "--zone",
        ZONE,
        "--admin",
        &admin,
        "--exit-with-stdin",
        "--envoy",
    ];
    let mut envoy = Child::start(ChildSpec {
        name: GATEWAY.to_owned(),
        program: TIDEGATE.into(),
        args: arguments.iter().map(Into::into).chain([envoy.into()]).collect(),
        log_dir: files.join("logs"),
    })
    .unwrap();
    until("an answer through the gateway", async || {
        envoy.check().unwrap();
        status_of(gateway).await.filter(StatusCode::is_success)
    })
    .await;
    let status = course.status(EAST).await;
    let mut transports: Vec<(&str, &str)> = Vec::new();
    for it in status["gateways"].as_array().unwrap() {
        assert_eq!((&it["connected"], &it["refused"]), (&Value::Bool(true), &json!([])), "{it}");
        transports.push((it["gateway"].as_str().unwrap(), it["transport"].as_str().unwrap()));
    }
    transports.sort_unstable();
    assert_eq!(transports, [("infra/eastwest", "delta"), ("infra/edge", "delta"), ("shop/sotw", "sotw")]);

    assert!(reaching_the_endpoint(&course, gateway).await > 0);
    let fault = Fault::Endpoint { name: ENDPOINT.to_owned(), mode: ToyMode::Status503 };
    course.fleet().fault(fault).await.unwrap();
    until("the gateway to leave the endpoint", async || {
        (reaching_the_endpoint(&course, gateway).await == 0).then_some(())
    })
    .await;
    // That was perhaps Envoy's own reflex, which lets go after a while; the agent's word stays.
    let address = course.fleet().toys().iter().find(|toy| toy.spec().name == ENDPOINT).unwrap().address();
    until("the agent's word to be with the gateway", async || {
        let (_, text) =
            fetch::get(admin.parse().unwrap(), None, "/clusters", Duration::from_secs(5)).await.ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let health = format!("::{address}::health_flags::");
        let flags = text.lines().find_map(|line| Some(line.split_once(&health)?.1.to_owned()));
        // Told unhealthy, or not told at all any more.
        flags.is_none_or(|flags| flags.contains("/failed_eds_health")).then_some(())
    })
    .await;
    course.fleet().restore().await.unwrap();
    until("the gateway to come back to the endpoint", async || {
        (reaching_the_endpoint(&course, gateway).await > 0).then_some(())
    })
    .await;
    envoy.stop(Duration::from_secs(10)).await.unwrap();
    course.stop().await;
}
