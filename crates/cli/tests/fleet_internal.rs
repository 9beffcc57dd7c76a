//! Gateways for clients inside a cluster: each zone's Envoy serves by its zone's plans, follows them across zones and
//! clusters, and counts demand. One of them ends TLS, and its key shows nowhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use http::StatusCode;
use serde_json::{Value, json};
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};
use support::{
    TIDEGATE,
    course::{Course, EAST, WEST, cluster, spec},
    envoy, until,
};
use tidegate_lab::{
    fetch,
    fleet::Fault,
    process::{Child, ChildSpec},
    toy::{Toy, ToyMode},
};

const ZONES: [&str; 2] = ["us-east-1a", "us-east-1b"];
const SERVICE: &str = "within.shop.svc.clusterset.local";
const LIMIT: Duration = Duration::from_secs(5);

/// The endpoints of a cluster that serve `shop/web`, which serve `shop/within` here as well.
fn toys<'c>(course: &'c Course, name: &str) -> impl Iterator<Item = &'c Toy> {
    let name = cluster(name);
    let is_its = move |toy: &&Toy| toy.spec().cluster == name && toy.spec().service.to_string() == "shop/web";
    course.fleet().toys().iter().filter(is_its)
}

/// A service at this port, its endpoints in one cluster, and a gateway for each zone at that port.
fn manifests(
    course: &Course,
    name: &str,
    inside: [SocketAddr; 2],
    tls: SocketAddr,
    secret: &Value,
) -> String {
    let port = inside[0].port();
    let mut objects = vec![
        secret.clone(),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "within", "namespace": "shop"},
            "spec": {"ports": [{"name": "http", "port": port}]},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "by-name", "namespace": "infra"},
            "spec": {
                "parentRefs": [{"name": "inside-0"}],
                "hostnames": ["cart.inside"],
                "rules": [{"backendRefs": [{"name": "cart", "namespace": "shop", "port": 80}]}],
            },
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
            "metadata": {"name": "inside", "namespace": "shop"},
            "spec": {
                "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "infra"}],
                "to": [{"group": "", "kind": "Service", "name": "cart"}],
            },
        }),
    ];
    for (number, address) in inside.into_iter().enumerate() {
        let mut listeners = vec![json!({"name": "http", "port": port, "protocol": "HTTP"})];
        if number == 0 {
            let ended = json!({"certificateRefs": [{"name": "inside"}]});
            listeners.push(json!({"name": "tls", "port": tls.port(), "protocol": "HTTPS", "tls": ended}));
        }
        objects.push(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": format!("inside-{number}"), "namespace": "infra"},
            "spec": {
                "gatewayClassName": "tidegate-internal",
                "addresses": [{"type": "IPAddress", "value": address.ip()}],
                "listeners": listeners,
            },
        }));
    }
    for toy in toys(course, name) {
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("within-{}", toy.spec().name), "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "within"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": toy.address().port()}],
            "endpoints": [{"addresses": [toy.address().ip()], "zone": toy.spec().zone}],
        }));
    }
    objects.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n---\n")
}

fn start(course: &Course, envoy: &Path, number: usize, admin: SocketAddr) -> Child {
    let agent = course.fleet().addresses(&cluster(EAST)).unwrap().agent.to_string();
    let (gateway, admin) = (format!("infra/inside-{number}"), admin.to_string());
    let arguments =
        ["envoy", "run", "--gateway", &gateway, "--zone", ZONES[number], "--exit-with-stdin", "--agent"];
    let arguments = arguments.into_iter().chain([agent.as_str(), "--admin", &admin, "--envoy"]);
    Child::start(ChildSpec {
        name: format!("inside-{number}"),
        program: TIDEGATE.into(),
        args: arguments.map(Into::into).chain([envoy.into()]).collect(),
        log_dir: course.fleet().files().join("logs"),
    })
    .unwrap()
}

async fn ask(at: SocketAddr, host: &str) -> Option<StatusCode> {
    fetch::get(at, Some(host), "/", LIMIT).await.ok().map(|(status, _)| status)
}

/// What the endpoints of a cluster have received, in one zone or in all.
fn received(course: &Course, name: &str, zone: Option<&str>) -> u64 {
    let of = toys(course, name).filter(|toy| zone.is_none_or(|zone| toy.spec().zone.as_str() == zone));
    of.map(Toy::requests).sum()
}

/// Waits until twenty requests in a row are served there.
async fn until_served(course: &Course, at: SocketAddr, name: &str, zone: Option<&str>) {
    until(&format!("requests to {at} to be served by {name} {zone:?}"), async || {
        let before = received(course, name, zone);
        for _ in 0..20 {
            ask(at, SERVICE).await.filter(|status| *status == StatusCode::OK)?;
        }
        (received(course, name, zone) - before >= 20).then_some(())
    })
    .await;
}

async fn page(at: SocketAddr, path: &str) -> Vec<u8> {
    until(&format!("an answer to {path}"), async || fetch::get(at, None, path, LIMIT).await.ok())
        .await
        .1
        .to_vec()
}

/// All that was written below a folder, but for manifests.
fn written(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            into.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        } else if path.is_dir() && path.file_name().is_some_and(|name| name != "manifests") {
            written(&path, into);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_gateway_in_each_zone_follows_the_plans_and_a_key_shows_nowhere() {
    let test = "an_internal_gateway_in_each_zone_follows_the_plans_and_a_key_shows_nowhere";
    let Some(envoy) = envoy(test) else { return };
    let mut spec = spec();
    spec.clusters.retain(|it| [EAST, WEST].contains(&it.name.as_str()));
    spec.policy.more.insert("capacity".to_owned(), json!({"requestsPerSecond": 10_000}));
    let Some(course) = Course::start(test, spec).await else { return };
    let made = rcgen::generate_simple_self_signed(["inside.example".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "inside", "namespace": "infra"},
        "stringData": {"tls.crt": made.cert.pem(), "tls.key": key},
    });
    let fleet = course.fleet();
    let free = |ip| TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
    let first = free(fleet.next_ip());
    let inside = [first, SocketAddr::new(fleet.next_ip(), first.port())];
    let (tls, admins) = (free(first.ip()), [free(fleet.next_ip()), free(fleet.next_ip())]);
    for name in [EAST, WEST] {
        let at = fleet.files().join("manifests").join(name).join("inside.yaml");
        std::fs::write(at, manifests(&course, name, inside, tls, &secret)).unwrap();
    }
    let mut children = [0, 1].map(|number| start(&course, &envoy, number, admins[number]));

    // Each in its own zone, without a route; one has a route as well.
    for (at, zone) in inside.into_iter().zip(ZONES) {
        until_served(&course, at, EAST, Some(zone)).await;
        assert_eq!(ask(at, "nobody.shop.svc.clusterset.local").await, Some(StatusCode::NOT_FOUND));
    }
    until("the route to be in force", async || {
        (ask(inside[0], "cart.inside").await == Some(StatusCode::OK)).then_some(())
    })
    .await;
    // What they are asked for is demand.
    let admin = fleet.addresses(&cluster(EAST)).unwrap().agent_admin;
    until("demand in both zones", async || {
        for at in inside {
            ask(at, SERVICE).await?;
        }
        let explanation = fetch::get_json(admin, "/api/v1/explain/shop/within", LIMIT).await.ok()?;
        let text = explanation["demand"].to_string();
        ZONES.iter().all(|zone| text.contains(zone)).then_some(())
    })
    .await;

    // A key is with Envoy, and shows nowhere.
    until("the certificate to be in use", async || {
        let page = String::from_utf8(page(admins[0], "/certs").await).unwrap();
        page.contains("inside.example").then_some(())
    })
    .await;
    let mut texts = Vec::new();
    written(fleet.files(), &mut texts);
    assert!(
        texts.iter().any(|(name, text)| name.contains("journal") && !text.is_empty()),
        "a journal is written"
    );
    for path in ["/api/v1/status", "/api/v1/decisions", "/metrics"] {
        texts.push((path.to_owned(), page(admin, path).await));
    }
    texts.push(("config_dump".to_owned(), page(admins[0], "/config_dump?include_eds").await));
    let lines: Vec<&str> = key.lines().collect();
    for (place, text) in &texts {
        for part in [&lines[1][48..], &lines[2][..20]] {
            let shows = text.windows(part.len()).any(|window| window == part.as_bytes());
            assert!(!shows, "a part of the key is in {place}");
        }
    }

    // A zone is lost, then the other.
    let lose = async |zone: &str| {
        let fault = Fault::Zone { zone: zone.parse().unwrap(), mode: ToyMode::Refuse };
        fleet.fault(fault).await.unwrap();
    };
    lose(ZONES[0]).await;
    until_served(&course, inside[0], EAST, Some(ZONES[1])).await;
    lose(ZONES[1]).await;
    for at in inside {
        until_served(&course, at, WEST, None).await;
    }
    for child in &mut children {
        child.check().unwrap();
        child.stop(Duration::from_secs(10)).await.unwrap();
    }
    course.stop().await;
}
