//! What leaves a plan, or is about to go, gets nothing new and finishes what it has.

use super::{
    faults::edge,
    gateway::{Gateway, envoy},
    load::{Answer, Http, ask, by, http1, http2, load},
    toy::{Mode, Toy, addresses},
};
use crate::fixtures::{World, edge as gateway_with, gateway, listener, plan, rule, zone};
use hyper::{Method, body::Bytes};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tidegate_api::{GatewayRole, HttpRule, PathMatch, ServicePolicy, Upstream};
use tidegate_engine::Plan;
use tidegate_envoy::{
    EndpointHealth::{self, Healthy, Terminating},
    Resource, edge_cluster, edge_endpoints, edge_listener, edge_routes,
};
use tidegate_xds::{LoadReport, ResourceType, XdsEvent};
use tokio::{task::JoinHandle, time::timeout};

const LATE: Duration = Duration::from_millis(1500);
/// Long: it only matters when a test fails.
const WAIT: Duration = Duration::from_secs(20);

fn resources(plan: &Plan, world: &World) -> Vec<Resource> {
    edge(plan, world, &ServicePolicy::default(), None)
}

/// POST requests, which nothing repeats, under way at a toy that is late.
async fn in_flight(gateway: &Gateway, toy: &Toy, count: usize) -> Vec<JoinHandle<Answer>> {
    toy.set(Mode::Late(LATE));
    let before = toy.seen().len();
    let url = format!("http://{}/", gateway.address);
    let requests = (0..count).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { ask(&http1(), Method::POST, url, &[], Bytes::new()).await })
    });
    let requests = requests.collect();
    let arrived = timeout(WAIT, async {
        while toy.seen().len() < before + count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    arrived.await.expect("they arrive");
    toy.set(Mode::Serve);
    requests
}

async fn all_done(requests: Vec<JoinHandle<Answer>>) {
    for request in requests {
        let answer = request.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.took >= LATE, "it was under way: {:?}", answer.took);
    }
}

/// What a zone has in progress by the gateway's load reports, until it is `count`.
async fn until_in_progress(gateway: &mut Gateway, zone: &str, count: u64) {
    let in_progress = |report: LoadReport| -> u64 {
        let localities = report.clusters.into_iter().flat_map(|it| it.localities);
        localities.filter(|it| it.locality.zone == zone).map(|it| it.counts.in_progress).sum()
    };
    let told = timeout(WAIT, async {
        loop {
            match gateway.ads.reports.recv().await.unwrap() {
                XdsEvent::Load(report) if in_progress(report.clone()) == count => break,
                _ => {}
            }
        }
    });
    told.await.expect("the gateway reports it");
}

async fn many(gateway: &Gateway) -> BTreeMap<String, usize> {
    by(&load(gateway.address, Method::GET, 200, Duration::from_millis(500), Bytes::new()).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_leaves_the_plan_gets_nothing_new_and_what_is_in_flight_there_is_told_and_finishes() {
    let test =
        "a_pool_that_leaves_the_plan_gets_nothing_new_and_what_is_in_flight_there_is_told_and_finishes";
    let Some(envoy) = envoy(test) else { return };
    let (a, b) = (Toy::several("a", 1).await, Toy::several("b", 1).await);
    let world = World::default().zone("a", addresses(&a, 1)).zone("b", addresses(&b, 1));
    let before = resources(&plan(&[("zone:a", 10_000)], &[]), &world);
    let after = plan(&[("zone:b", 10_000)], &[]);
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, before).await;

    let requests = in_flight(&gateway, &a[0], 5).await;
    gateway.update(resources(&after, &world.clone().draining(&["zone:a"]))).await;
    assert_eq!(many(&gateway).await, BTreeMap::from([("b".to_owned(), 100)]));
    until_in_progress(&mut gateway, "a", 5).await;
    all_done(requests).await;
    until_in_progress(&mut gateway, "a", 0).await;

    // Without DRAINING it finishes as well, but nobody hears of it.
    let requests = in_flight(&gateway, &b[0], 5).await;
    gateway.update(resources(&plan(&[("zone:a", 10_000)], &[]), &world)).await;
    assert_eq!(many(&gateway).await, BTreeMap::from([("a".to_owned(), 100)]));
    until_in_progress(&mut gateway, "b", 0).await;
    assert!(!requests[0].is_finished(), "still under way");
    all_done(requests).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_terminates_gets_nothing_new_and_finishes_what_it_has() {
    let Some(envoy) = envoy("an_endpoint_that_terminates_gets_nothing_new_and_finishes_what_it_has") else {
        return;
    };
    let (old, new) = (Toy::start("old").await, Toy::start("new").await);
    let state = |hosts: &[(SocketAddr, EndpointHealth)]| {
        resources(&plan(&[("zone:a", 10_000)], &[]), &World::default().zone("a", hosts.to_vec()))
    };
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, state(&[(old.address, Healthy)])).await;
    let requests = in_flight(&gateway, &old, 5).await;
    gateway.update(state(&[(old.address, Terminating), (new.address, Healthy)])).await;
    assert_eq!(many(&gateway).await, BTreeMap::from([("new".to_owned(), 100)]));
    // Its slice drops it long before it has ended.
    gateway.update(state(&[(new.address, Healthy)])).await;
    assert_eq!(many(&gateway).await, BTreeMap::from([("new".to_owned(), 100)]));
    all_done(requests).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_removed_while_it_drains_finishes_what_it_has() {
    let Some(envoy) = envoy("a_service_that_is_removed_while_it_drains_finishes_what_it_has") else { return };
    let (a, b) = (Toy::several("a", 1).await, Toy::several("b", 1).await);
    let world = World::default().zone("a", addresses(&a, 1)).zone("b", addresses(&b, 1));
    let before = resources(&plan(&[("zone:a", 10_000)], &[]), &world);
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, before).await;
    let requests = in_flight(&gateway, &a[0], 5).await;
    let after = plan(&[("zone:b", 10_000)], &[]);
    gateway.update(resources(&after, &world.clone().draining(&["zone:a"]))).await;
    let others = in_flight(&gateway, &b[0], 5).await;
    // Envoy lets go of endpoints with their cluster and confirms no removal of them.
    let mut removed = resources(&after, &world.draining(&["zone:a"]));
    removed.retain(|resource| resource.kind == ResourceType::Endpoint);
    removed.extend(routes(&[]));
    gateway.update(removed).await;
    let answer = ask(&http1(), Method::GET, format!("http://{}/", gateway.address), &[], Bytes::new()).await;
    assert_eq!(answer.status, 404, "no route any more");
    all_done(requests).await;
    all_done(others).await;
}

/// The listener, and each service on the path of its name.
fn routes(services: &[&str]) -> Vec<Resource> {
    let rules: Vec<HttpRule> = services
        .iter()
        .map(|name| rule(&[PathMatch::Prefix(format!("/{name}"))], &format!("shop/{name}")))
        .collect();
    let edge = gateway_with(vec![("shop/all", &[], rules)]);
    vec![edge_listener(&gateway(), &listener()), edge_routes(&gateway(), &edge, &listener(), &|_| None, None)]
}

/// Services with endpoints in zone a each: `web` and `cart`.
fn two(web: &[SocketAddr], cart: &[SocketAddr]) -> Vec<Resource> {
    let mut resources = routes(&["web", "cart"]);
    for (name, hosts) in [("shop/web", web), ("shop/cart", cart)] {
        let world = World::default().zone("a", hosts.iter().map(|at| (*at, Healthy)));
        let plan = Plan { service: name.parse().unwrap(), ..plan(&[("zone:a", 10_000)], &[]) };
        resources.push(edge_cluster(&plan.service, &zone("a"), &Upstream::default()));
        resources.push(edge_endpoints(&plan, &world.view()));
    }
    resources
}

async fn served(gateway: &Gateway, path: &str) -> BTreeMap<String, usize> {
    let mut answers = Vec::new();
    for _ in 0..50 {
        let url = format!("http://{}/{path}", gateway.address);
        answers.push(ask(&http1(), Method::GET, url, &[], Bytes::new()).await);
    }
    by(&answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_that_swap_or_share_an_endpoint_fail_nothing() {
    let Some(envoy) = envoy("two_services_that_swap_or_share_an_endpoint_fail_nothing") else { return };
    let (x, y) = (Toy::start("x").await, Toy::start("y").await);
    let (x, y) = (x.address, y.address);
    let only = |name: &str| BTreeMap::from([(name.to_owned(), 50)]);
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, two(&[x], &[y])).await;
    for (web, cart) in [(x, y), (y, x), (x, x), (y, y), (x, y)] {
        let load = tokio::spawn(load_paths(gateway.address));
        gateway.update(two(&[web], &[cart])).await;
        let name = |at| if at == x { "x" } else { "y" };
        assert_eq!(served(&gateway, "web").await, only(name(web)));
        assert_eq!(served(&gateway, "cart").await, only(name(cart)));
        assert_eq!(load.await.unwrap(), 0, "failed while they changed");
    }
}

/// Requests for both services while something changes; how many failed.
async fn load_paths(to: SocketAddr) -> usize {
    let http = http1();
    let mut failed = 0;
    for number in 0..200 {
        let path = ["web", "cart"][number % 2];
        let answer = ask(&http, Method::POST, format!("http://{to}/{path}"), &[], Bytes::new()).await;
        failed += usize::from(answer.status != 200);
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_changes_its_zone_fails_nothing_and_finishes_what_it_has() {
    let Some(envoy) = envoy("an_endpoint_that_changes_its_zone_fails_nothing_and_finishes_what_it_has")
    else {
        return;
    };
    let (mover, other) = (Toy::start("mover").await, Toy::start("other").await);
    let both = plan(&[("zone:a", 5_000), ("zone:b", 5_000)], &[]);
    let in_zone = |name: &str| {
        let world = World::default().zone("b", [(other.address, Healthy)]);
        resources(&both, &world.zone(name, [(mover.address, Healthy)]))
    };
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, in_zone("a")).await;
    let moving =
        resources(&plan(&[("zone:a", 10_000)], &[]), &World::default().zone("a", [(mover.address, Healthy)]));
    gateway.update(moving).await;
    let requests = in_flight(&gateway, &mover, 5).await;
    for name in ["b", "a", "b"] {
        let load = tokio::spawn(load(gateway.address, Method::POST, 200, LATE / 4, Bytes::new()));
        gateway.update(in_zone(name)).await;
        let answers = load.await.unwrap();
        let counts = by(&answers);
        assert!(counts.keys().all(|it| it == "mover" || it == "other"), "{counts:?}");
    }
    all_done(requests).await;
    // Named in both zones it stays where it comes first.
    let twice = World::default().zone("a", [(mover.address, Healthy)]).zone("b", [(mover.address, Healthy)]);
    gateway.update(resources(&both, &twice)).await;
    assert_eq!(many(&gateway).await, BTreeMap::from([("mover".to_owned(), 100)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_at_the_age_that_the_policy_allows_although_its_rule_has_no_limit() {
    let test = "a_stream_ends_at_the_age_that_the_policy_allows_although_its_rule_has_no_limit";
    let Some(envoy) = envoy(test) else { return };
    let a = Toy::start("a").await;
    let world = World::default().zone("a", [(a.address, Healthy)]);
    let age = Duration::from_secs(1);
    let policy = ServicePolicy { drain_max_age: Some(age), ..ServicePolicy::default() };
    let resources = edge(&plan(&[("zone:a", 10_000)], &[]), &world, &policy, Some(Duration::ZERO));
    let gateway = Gateway::start(&envoy, GatewayRole::Edge, resources).await;
    let url = format!("http://{}/", gateway.address);
    let post = |http| ask_of(http, url.clone());
    a.set(Mode::Late(age / 2));
    assert_eq!(post(http1()).await.status, 200, "younger");
    a.set(Mode::Freeze);
    for http in [http1(), http2()] {
        let answer = timeout(WAIT, post(http)).await.expect("it ends");
        eprintln!("{} {} after {:?}", answer.status, answer.body, answer.took);
        assert_ne!(answer.status, 200);
        // Envoy's timers count from when its loop last looked at the clock, some milliseconds ago.
        assert!(answer.took >= age * 9 / 10, "{:?}", answer.took);
    }
}

async fn ask_of(http: Http, url: String) -> Answer {
    ask(&http, Method::POST, url, &[], Bytes::new()).await
}
