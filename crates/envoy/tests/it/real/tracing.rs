//! The spans of requests: where they go, of which requests, and what a collector that is away costs.

use super::{
    collector::{Collecting, Span},
    gateway::{Gateway, envoys},
    load::{ask, http1},
    toy::{Toy, addresses},
};
use crate::fixtures::{World, edge, gateway, listener, plan, rule, service, zone};
use hyper::{Method, body::Bytes};
use std::{net::SocketAddr, time::Duration};
use tidegate_api::{
    Collector, GatewayRole, Listener, ListenerOptions, PathMatch, TraceTag, Tracing, Upstream,
};
use tidegate_envoy::{Resource, collector_cluster, edge_cluster, edge_endpoints, edge_listener, edge_routes};
use tidegate_model::Fraction;
use tokio::net::TcpListener;

/// Envoy sends its spans when it has five, or after 5 s.
const AT_ONCE: usize = 5;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn tracing(host: &str, port: u16, sampling: Fraction) -> Tracing {
    Tracing {
        collector: Collector { host: host.to_owned(), port },
        sampling,
        service_name: None,
        follows_callers: false,
        tags: Vec::new(),
    }
}

fn to(collector: SocketAddr, sampling: Fraction) -> Tracing {
    tracing(&collector.ip().to_string(), collector.port(), sampling)
}

fn resources(toys: &[Toy], tracing: &Tracing) -> Vec<Resource> {
    let options = ListenerOptions { tracing: Some(tracing.clone()), ..ListenerOptions::default() };
    let listener = Listener { options, ..listener() };
    let edge = edge(vec![("shop/web", &[], vec![rule(&[PathMatch::Prefix("/".into())], "shop/web")])]);
    let world = World::default().zone("a", addresses(toys, toys.len()));
    vec![
        collector_cluster(&tracing.collector),
        edge_listener(&gateway(), &listener),
        edge_routes(&gateway(), &edge, &listener, &|_| None, None),
        edge_cluster(&service(), &zone("a"), &Upstream::default()),
        edge_endpoints(&plan(&[("zone:a", 10_000)], &[]), &world.view()),
    ]
}

/// As many requests as Envoy sends the spans of at once; what the service saw of the trace in each.
async fn requests(gateway: &Gateway, toy: &Toy, headers: &[(&str, &str)]) -> Vec<String> {
    let before = toy.seen().len();
    for _ in 0..AT_ONCE {
        let url = format!("http://{}/path", gateway.address);
        let answer = ask(&http1(), Method::GET, url, headers, Bytes::new()).await;
        assert_eq!(answer.status, 200);
    }
    let parent = |it: &super::toy::Seen| it.headers["traceparent"].to_str().unwrap().to_owned();
    toy.seen()[before..].iter().map(parent).collect()
}

async fn next(collector: &mut Collecting) -> Span {
    let span = tokio::time::timeout(Duration::from_secs(20), collector.spans.recv()).await;
    span.expect("a span comes").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_tells_of_a_request_and_none_where_none_is_wanted() {
    for envoy in envoys("a_span_tells_of_a_request_and_none_where_none_is_wanted") {
        let (toys, mut collector) = (Toy::several("a", 1).await, Collecting::start().await);
        let literal = TraceTag::Literal { name: "team".to_owned(), value: "shop".to_owned() };
        let header = |name: &str, default: Option<&str>| TraceTag::Header {
            name: name.to_owned(),
            header: format!("x-{name}"),
            default: default.map(str::to_owned),
        };
        let tags =
            vec![literal, header("tenant", None), header("plan", Some("free")), header("absent", None)];
        let all = Tracing { tags, ..to(collector.address, Fraction::ONE) };
        let mut gateway = Gateway::start(&envoy, GatewayRole::Edge, resources(&toys, &all)).await;

        // The id of a request stays as its client wrote it, and need not be a UUID.
        let headers = [("x-request-id", "one"), ("x-tenant", "blue")];
        let parents = requests(&gateway, &toys[0], &headers).await;
        assert!(toys[0].seen().iter().all(|seen| seen.id == "one"));
        let span = next(&mut collector).await;
        assert_eq!(span.service, "infra/edge", "the gateway's name");
        assert!(parents.iter().any(|parent| parent.contains(&span.trace_id)), "{span:?} {parents:?}");
        let tags =
            ["team", "tenant", "plan", "absent"].map(|name| span.attributes.get(name).map(String::as_str));
        assert_eq!(tags, [Some("shop"), Some("blue"), Some("free"), None], "{span:?}");

        // Of none; an edge does not ask what its clients want.
        let named = Tracing { service_name: Some("door".to_owned()), ..all };
        let none = Tracing { sampling: Fraction::ZERO, ..named.clone() };
        gateway.update(resources(&toys, &none)).await;
        let parent = format!("00-{TRACE}-{CALLER}-01");
        let wanted =
            [("traceparent", parent.as_str()), ("x-client-trace-id", "1"), ("x-envoy-force-trace", "1")];
        for headers in [&wanted[..], &[]] {
            let parents = requests(&gateway, &toys[0], headers).await;
            assert!(parents.iter().all(|parent| parent.ends_with("-00")), "{parents:?}");
        }

        // Within the fleet the caller has decided. The next spans are these: of the others none was sent.
        let within = Tracing { follows_callers: true, ..none };
        gateway.update(resources(&toys, &within)).await;
        requests(&gateway, &toys[0], &wanted[..1]).await;
        loop {
            let span = next(&mut collector).await;
            if span.service == "infra/edge" {
                continue;
            }
            assert_eq!((span.service.as_str(), span.trace_id.as_str()), ("door", TRACE));
            if span.parent == CALLER {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_costs_no_request() {
    for envoy in envoys("a_collector_that_is_away_costs_no_request") {
        let toys = Toy::several("a", 1).await;
        // It takes connections and never answers; nobody listens at the other.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let away = [
            to(silent.local_addr().unwrap(), Fraction::ONE),
            to(refusing, Fraction::ONE),
            tracing("collector.invalid", 4317, Fraction::ONE),
        ];
        for tracing in away {
            let gateway = Gateway::start(&envoy, GatewayRole::Edge, resources(&toys, &tracing)).await;
            let mut longest = Duration::ZERO;
            for _ in 0..300 {
                let url = format!("http://{}/", gateway.address);
                let answer = ask(&http1(), Method::GET, url, &[], Bytes::new()).await;
                assert_eq!(answer.status, 200);
                longest = longest.max(answer.took);
            }
            assert!(longest < Duration::from_secs(1), "{longest:?} with {:?}", tracing.collector);
        }
    }
}
