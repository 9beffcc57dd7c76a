//! What routes can say besides hosts and paths, on a real fleet that loses a whole region's endpoints: connections, the
//! health of services, weights.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use http::StatusCode;
use serde_json::json;
use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};
use support::{
    TIDEGATE,
    course::{Course, EAST, WEST, cluster, spec},
    envoy, until,
};
use tidegate_envoy::HEALTH_PREFIX;
use tidegate_lab::{
    fetch,
    fleet::Fault,
    process::{Child, ChildSpec},
    toy::{Toy, ToyMode},
};

/// One more edge gateway, as a user would add it: a listener that passes bytes to `shop/web`, and one whose requests
/// `shop/cart` and `shop/pay` share.
fn manifests(bytes: SocketAddr, requests: SocketAddr) -> String {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "more", "namespace": "shop"},
        "spec": {
            "gatewayClassName": "tidegate-edge",
            "addresses": [{"type": "IPAddress", "value": bytes.ip()}],
            "listeners": [
                {"name": "bytes", "port": bytes.port(), "protocol": "TCP"},
                {"name": "requests", "port": requests.port(), "protocol": "HTTP"},
            ],
        },
    });
    let parents = |section: &str| json!([{"name": "more", "sectionName": section}]);
    let stream = json!({
        "apiVersion": "gateway.networking.k8s.io/v1alpha2",
        "kind": "TCPRoute",
        "metadata": {"name": "bytes", "namespace": "shop"},
        "spec": {"parentRefs": parents("bytes"), "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
    });
    let backends = ["cart", "pay"].map(|name| json!({"name": name, "port": 80, "weight": 1}));
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "requests", "namespace": "shop"},
        "spec": {"parentRefs": parents("requests"), "rules": [{"backendRefs": backends}]},
    });
    [gateway, stream, route].map(|it| it.to_string()).join("\n---\n")
}

/// Requests that the endpoints of a cluster have received for a service.
fn received(course: &Course, name: &str, service: &str) -> u64 {
    let toys = course.fleet().toys().iter();
    let of =
        toys.filter(|toy| toy.spec().cluster.as_str() == name && toy.spec().service.to_string() == service);
    of.map(Toy::requests).sum()
}

async fn status_of(at: SocketAddr, path: &str) -> Option<StatusCode> {
    fetch::get(at, None, path, Duration::from_secs(5)).await.ok().map(|(status, _)| status)
}

/// Waits until twenty requests in a row are served, in this cluster.
async fn until_served(course: &Course, at: SocketAddr, name: &str, services: &[&str]) {
    until(&format!("{services:?} to be served by {name}"), async || {
        let count = || services.iter().map(|service| received(course, name, service)).sum::<u64>();
        let before = count();
        for _ in 0..20 {
            status_of(at, "/").await.filter(|status| *status == StatusCode::OK)?;
        }
        (count() - before >= 20).then_some(())
    })
    .await;
}

async fn until_health(at: SocketAddr, service: &str, wanted: StatusCode) {
    let path = format!("{HEALTH_PREFIX}{service}");
    until(&format!("{service} to be {wanted}"), async || {
        status_of(at, &path).await.filter(|status| *status == wanted)
    })
    .await;
}

async fn lose(course: &Course, zones: [&str; 2]) {
    for zone in zones {
        let fault = Fault::Zone { zone: zone.parse().unwrap(), mode: ToyMode::Refuse };
        course.fleet().fault(fault).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_weights_and_the_health_of_services_follow_the_plans_across_clusters() {
    let test = "connections_weights_and_the_health_of_services_follow_the_plans_across_clusters";
    let Some(envoy) = envoy(test) else { return };
    let Some(course) = Course::start(test, spec()).await else { return };
    let free = || TcpListener::bind((course.fleet().next_ip(), 0)).unwrap().local_addr().unwrap();
    let (admin, ip) = (free(), course.fleet().next_ip());
    let [bytes, requests] = [(); 2].map(|()| TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap());
    let files = course.fleet().files();
    for name in [EAST, WEST] {
        let at = files.join("manifests").join(name).join("more.yaml");
        std::fs::write(at, manifests(bytes, requests)).unwrap();
    }
    let agent = course.fleet().addresses(&cluster(EAST)).unwrap().agent.to_string();
    let admin = admin.to_string();
    let arguments = [
        "envoy",
        "run",
        "--gateway",
        "shop/more",
        "--zone",
        "us-east-1a",
        "--exit-with-stdin",
        "--agent",
        &agent,
        "--admin",
        &admin,
        "--envoy",
    ];
    let mut gateway = Child::start(ChildSpec {
        name: "more".to_owned(),
        program: TIDEGATE.into(),
        args: arguments.iter().map(Into::into).chain([envoy.into()]).collect(),
        log_dir: files.join("logs"),
    })
    .unwrap();
    until_served(&course, bytes, EAST, &["shop/web"]).await;
    until_served(&course, requests, EAST, &["shop/cart", "shop/pay"]).await;
    gateway.check().unwrap();
    for service in ["shop/web", "shop/cart"] {
        until_health(requests, service, StatusCode::OK).await;
    }

    // Its endpoints are lost in both zones of the region: the other one serves, and the gateway still can.
    lose(&course, ["us-east-1a", "us-east-1b"]).await;
    until_served(&course, bytes, WEST, &["shop/web"]).await;
    // Requests for a service to which bytes are passed go through tunnels too.
    let access = course.fleet().addresses(&cluster(EAST)).unwrap().edge.unwrap().access;
    for _ in 0..20 {
        let answer = fetch::get(access, Some("web.shop.example"), "/", Duration::from_secs(5)).await;
        assert_eq!(answer.unwrap().0, StatusCode::OK);
    }
    let before = ["shop/cart", "shop/pay"].map(|service| received(&course, WEST, service));
    until_served(&course, requests, WEST, &["shop/cart", "shop/pay"]).await;
    for (service, before) in ["shop/cart", "shop/pay"].into_iter().zip(before) {
        assert!(received(&course, WEST, service) > before, "{service} has its part there too");
    }
    for service in ["shop/web", "shop/cart"] {
        until_health(requests, service, StatusCode::OK).await;
    }

    // Nobody is left, and then they are back.
    lose(&course, ["us-west-1a", "us-west-1b"]).await;
    until_health(requests, "shop/cart", StatusCode::SERVICE_UNAVAILABLE).await;
    course.fleet().restore().await.unwrap();
    until_health(requests, "shop/cart", StatusCode::OK).await;
    until_served(&course, bytes, EAST, &["shop/web"]).await;
    course.stop().await;
}
