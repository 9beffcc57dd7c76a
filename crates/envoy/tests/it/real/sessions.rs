//! A client's requests keep to the endpoint that served the first, and move when they must.

use super::{
    gateway::{Gateway, envoy},
    load::{Answer, ask, http1},
    toy::{Mode, Toy, addresses},
};
use crate::fixtures::{World, edge as gateway_with, gateway, listener, plan, rule, service, zone};
use hyper::{Method, body::Bytes};
use std::{collections::BTreeSet, net::SocketAddr};
use tidegate_api::{GatewayRole, HttpRule, PathMatch, Session, SessionKind, Upstream};
use tidegate_engine::Plan;
use tidegate_envoy::{EndpointHealth, Resource, edge_cluster, edge_endpoints, edge_listener, edge_routes};

fn resources(plan: &Plan, world: &World, session: &Session) -> Vec<Resource> {
    let prefix = |path: &str| [PathMatch::Prefix(path.to_owned())];
    let rules = vec![
        HttpRule { session: Some(session.clone()), ..rule(&prefix("/"), "shop/web") },
        rule(&prefix("/free"), "shop/web"),
    ];
    let edge = gateway_with(vec![("shop/web", &[], rules)]);
    vec![
        edge_cluster(&service(), &zone("a"), &Upstream::default()),
        edge_endpoints(plan, &world.view()),
        edge_listener(&gateway(), &listener()),
        edge_routes(&gateway(), &edge, &listener(), &|_| None, None),
    ]
}

/// A client that repeats what it was told.
#[derive(Default)]
struct Client {
    cookie: Option<String>,
    header: Option<String>,
}

impl Client {
    async fn ask(&mut self, gateway: &Gateway, path: &str) -> Answer {
        let mut headers = Vec::new();
        headers.extend(self.cookie.as_deref().map(|value| ("cookie", value)));
        headers.extend(self.header.as_deref().map(|value| ("x-session", value)));
        let url = format!("http://{}{path}", gateway.address);
        let answer = ask(&http1(), Method::POST, url, &headers, Bytes::new()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        if let Some(cookie) = answer.headers.get("set-cookie") {
            self.cookie = Some(cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        if let Some(header) = answer.headers.get("x-session") {
            self.header = Some(header.to_str().unwrap().to_owned());
        }
        answer
    }

    /// Who serves the next ten requests.
    async fn served(&mut self, gateway: &Gateway) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for _ in 0..10 {
            names.insert(self.ask(gateway, "/").await.body);
        }
        names
    }
}

fn only(name: &str) -> BTreeSet<String> {
    BTreeSet::from([name.to_owned()])
}

fn cookie() -> Session {
    Session { name: None, kind: SessionKind::Cookie { lifetime: None } }
}

async fn toys(names: &[&str]) -> Vec<Toy> {
    let mut toys = Vec::new();
    for name in names {
        toys.push(Toy::start(name).await);
    }
    toys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_session_keep_to_one_endpoint_by_cookie_and_by_header() {
    let Some(envoy) = envoy("requests_of_a_session_keep_to_one_endpoint_by_cookie_and_by_header") else {
        return;
    };
    let a = toys(&["a1", "a2", "a3", "a4"]).await;
    let world = World::default().zone("a", addresses(&a, 4));
    let plan = plan(&[("zone:a", 10_000)], &[]);
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, resources(&plan, &world, &cookie())).await;
    let mut first = BTreeSet::new();
    for _ in 0..20 {
        let mut client = Client::default();
        let answer = client.ask(&gateway, "/").await;
        let set = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        assert!(set.starts_with("tidegate-shop-web=") && set.contains("HttpOnly"), "{set}");
        assert!(!set.contains("Max-Age"), "as long as the client's own session: {set}");
        assert_eq!(client.served(&gateway).await, only(&answer.body));
        first.insert(answer.body);
    }
    assert!(first.len() > 1, "new sessions spread: {first:?}");
    let free = Client::default().ask(&gateway, "/free").await;
    assert!(!free.headers.contains_key("set-cookie"), "no session was asked for here");

    let header = Session { name: Some("x-session".to_owned()), kind: SessionKind::Header };
    gateway.update(resources(&plan, &world, &header)).await;
    let mut client = Client::default();
    let answer = client.ask(&gateway, "/").await;
    assert!(client.header.is_some() && client.cookie.is_none());
    assert_eq!(client.served(&gateway).await, only(&answer.body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_drains_keeps_its_sessions_and_gets_no_new_ones() {
    let Some(envoy) = envoy("a_pool_that_drains_keeps_its_sessions_and_gets_no_new_ones") else { return };
    let (a, b) = (toys(&["a1", "a2"]).await, toys(&["b1", "b2"]).await);
    let world = || World::default().zone("a", addresses(&a, 2)).zone("b", addresses(&b, 2));
    let state = |plan: &Plan, world: &World| resources(plan, world, &cookie());
    let (before, after) = (plan(&[("zone:a", 10_000)], &[]), plan(&[("zone:b", 10_000)], &[]));
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, state(&before, &world())).await;
    let mut old = Client::default();
    let home = old.ask(&gateway, "/").await.body;

    gateway.update(state(&after, &world().draining(&["zone:a"]))).await;
    assert_eq!(old.served(&gateway).await, only(&home), "it ends where it is");
    let mut new = Client::default();
    let there = new.ask(&gateway, "/").await.body;
    assert!(there.starts_with('b'));

    // The ramp gives a part back: sessions stay where they are, whatever the shares.
    gateway.update(state(&plan(&[("zone:a", 1_000), ("zone:b", 9_000)], &[]), &world())).await;
    assert_eq!(old.served(&gateway).await, only(&home));
    assert_eq!(new.served(&gateway).await, only(&there));
    gateway.update(state(&before, &world().draining(&["zone:b"]))).await;
    assert_eq!(new.served(&gateway).await, only(&there));

    // It has drained: its sessions go where the plan says, and stay there.
    gateway.update(state(&before, &world())).await;
    let moved = new.ask(&gateway, "/").await.body;
    assert!(moved.starts_with('a'));
    assert_eq!(new.served(&gateway).await, only(&moved));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_region_fails_moves_once_and_does_not_come_back_with_it() {
    let Some(envoy) = envoy("a_session_whose_region_fails_moves_once_and_does_not_come_back_with_it") else {
        return;
    };
    let (here, there) = (toys(&["h1", "h2"]).await, toys(&["t1"]).await);
    let at: Vec<String> = there.iter().map(|toy| toy.address.to_string()).collect();
    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    let world = |healthy| World::default().zone("a", addresses(&here, healthy)).cluster("east", "us", &at);
    let home = plan(&[("zone:a", 10_000)], &[&[("cluster:east", 10_000)]]);
    let away = plan(&[("cluster:east", 10_000)], &[]);
    let state = |plan: &Plan, world: &World| resources(plan, world, &cookie());
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, state(&home, &world(2))).await;
    let mut client = Client::default();
    assert!(client.ask(&gateway, "/").await.body.starts_with('h'));

    here.iter().for_each(|toy| toy.set(Mode::Answer(503)));
    gateway.update(state(&away, &world(0).draining(&["zone:a"]))).await;
    assert_eq!(client.served(&gateway).await, only("t1"), "its endpoints are dead, though they drain");
    // It is back, and the other region stands by again.
    here.iter().for_each(|toy| toy.set(Mode::Serve));
    gateway.update(state(&home, &world(2))).await;
    assert_eq!(client.served(&gateway).await, only("t1"), "one move for one fault");
    assert!(Client::default().ask(&gateway, "/").await.body.starts_with('h'), "new ones are at home");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_terminates_keeps_its_sessions_until_it_is_gone() {
    let Some(envoy) = envoy("an_endpoint_that_terminates_keeps_its_sessions_until_it_is_gone") else {
        return;
    };
    let toys = toys(&["old", "new"]).await;
    let plan = plan(&[("zone:a", 10_000)], &[]);
    let state = |hosts: &[(SocketAddr, EndpointHealth)]| {
        resources(&plan, &World::default().zone("a", hosts.to_vec()), &cookie())
    };
    let (old, new) = (toys[0].address, toys[1].address);
    use EndpointHealth::{Healthy, Terminating};
    let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, state(&[(old, Healthy)])).await;
    let mut client = Client::default();
    assert_eq!(client.served(&gateway).await, only("old"));
    gateway.update(state(&[(old, Terminating), (new, Healthy)])).await;
    assert_eq!(client.served(&gateway).await, only("old"));
    assert_eq!(Client::default().served(&gateway).await, only("new"));
    toys[0].kill();
    assert_eq!(client.served(&gateway).await, only("new"), "gone before its slice said so");
}
