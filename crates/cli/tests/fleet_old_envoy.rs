//! An edge whose Envoy loses what a client sends before a tunnel is open gets no tunnels to other clusters, and the agent
//! says so.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use std::{net::SocketAddr, path::Path, time::Duration};
use support::{
    TIDEGATE,
    course::{Course, EAST, WEST, cluster, share, spec},
    envoy, oldest_envoy, until,
};
use tidegate_lab::{
    fetch,
    fleet::Fault,
    process::{Child, ChildSpec},
    toy::ToyMode,
};

const SERVICE: &str = "shop/web";
const ZONE: &str = "us-east-1a";

/// A gateway that passes the bytes of connections to the service, as a user would add it.
fn manifests(name: &str, address: SocketAddr) -> String {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "gatewayClassName": "tidegate-edge",
            "addresses": [{"type": "IPAddress", "value": address.ip()}],
            "listeners": [{"name": "bytes", "port": address.port(), "protocol": "TCP"}],
        },
    });
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1alpha2",
        "kind": "TCPRoute",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"parentRefs": [{"name": name}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
    });
    format!("{gateway}\n---\n{route}\n")
}

/// A gateway of its own, with this Envoy; where it listens, and its admin address.
async fn start(course: &Course, name: &str, program: &Path) -> (Child, SocketAddr, SocketAddr) {
    let free = || std::net::TcpListener::bind((course.fleet().next_ip(), 0)).unwrap().local_addr().unwrap();
    let (gateway, admin) = (free(), free());
    let files = course.fleet().files();
    for cluster in [EAST, WEST] {
        // The other cluster learns by a route, too, that bytes are passed; nothing listens for it there.
        let file = files.join("manifests").join(cluster).join(format!("{name}.yaml"));
        std::fs::write(file, manifests(name, gateway)).unwrap();
    }
    let agent = course.fleet().addresses(&cluster(EAST)).unwrap().agent.to_string();
    let (named, at) = (format!("shop/{name}"), admin.to_string());
    let arguments = [
        "envoy",
        "run",
        "--agent",
        &agent,
        "--gateway",
        &named,
        "--zone",
        ZONE,
        "--admin",
        &at,
        "--exit-with-stdin",
        "--envoy",
    ];
    let child = Child::start(ChildSpec {
        name: name.to_owned(),
        program: TIDEGATE.into(),
        args: arguments.iter().map(Into::into).chain([program.into()]).collect(),
        log_dir: files.join("logs"),
    })
    .unwrap();
    until("an answer through the gateway", async || ask(gateway).await.ok()?.then_some(())).await;
    (child, gateway, admin)
}

/// A client that speaks first: whether it is answered, or why it gets no answer.
async fn ask(gateway: SocketAddr) -> Result<bool, String> {
    let answer = fetch::get(gateway, None, "/", Duration::from_secs(20)).await;
    answer.map(|(status, _)| status.is_success()).map_err(|error| error.to_string())
}

/// The addresses in other clusters that an Envoy has for the service.
async fn far(admin: SocketAddr) -> Vec<String> {
    let page = until("the hosts of an Envoy", async || {
        fetch::get(admin, None, "/clusters", Duration::from_secs(5)).await.ok()
    });
    let page = String::from_utf8_lossy(&page.await.1).into_owned();
    let far = page.lines().filter(|line| line.starts_with(SERVICE) && line.ends_with("::sub_zone::us-west"));
    far.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_before_1_40_gets_no_tunnels_and_status_says_why() {
    let test = "an_edge_before_1_40_gets_no_tunnels_and_status_says_why";
    let (Some(old), Some(new)) = (oldest_envoy(test), envoy(test)) else { return };
    let mut spec = spec();
    spec.clusters.retain(|it| [EAST, WEST].contains(&it.name.as_str()));
    spec.services.retain(|it| it.to_string() == SERVICE);
    let Some(course) = Course::start(test, spec).await else { return };
    course.until_peers_are_heard(EAST).await;
    let (mut old, at_old, admin_old) = start(&course, "old", &old).await;
    let (mut new, at_new, admin_new) = start(&course, "new", &new).await;
    until("the new one to have the other cluster", async || (!far(admin_new).await.is_empty()).then_some(()))
        .await;
    assert_eq!(far(admin_old).await, [""; 0]);
    let status = course.status(EAST).await;
    let withheld = |name: &str| {
        let all = status["gateways"].as_array().unwrap();
        all.iter().find(|it| it["gateway"] == name).unwrap()["withheld"].clone()
    };
    let why = "shop/web to other clusters: Envoy 1.36.2 loses what a client sends before a tunnel is open; use 1.40 or later";
    assert_eq!((withheld("shop/old"), withheld("shop/new")), (json!([why]), json!([])));

    // All that is in the cluster is lost: the old one refuses what it cannot serve, and none of its clients hangs.
    for zone in ["us-east-1a", "us-east-1b"] {
        let fault = Fault::Zone { zone: zone.parse().unwrap(), mode: ToyMode::Refuse };
        course.fleet().fault(fault).await.unwrap();
    }
    course
        .until_plans("the plan to leave", EAST, |plans| {
            share(plans, SERVICE, "us-east/us-east-1a", "cluster us-west") == 10_000
        })
        .await;
    until("the new one to serve from the other cluster", async || {
        (ask(at_new).await == Ok(true)).then_some(())
    })
    .await;
    for _ in 0..30 {
        assert_eq!(ask(at_new).await, Ok(true));
        let refused = ask(at_old).await.unwrap_err();
        assert!(!refused.contains("timed out"), "{refused}");
    }
    old.stop(Duration::from_secs(10)).await.unwrap();
    new.stop(Duration::from_secs(10)).await.unwrap();
    course.stop().await;
}
