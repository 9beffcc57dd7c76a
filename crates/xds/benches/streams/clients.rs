//! The client process: many incremental streams, each on a connection of its own, which acknowledge everything.
//!
//! On its standard input it takes commands: `expect N` says `all` after N more responses, `newest NS` and
//! `await N` say `all` when N resources not older than NS have come, `count` and `latencies` say what came.

use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// A service that all streams know.
pub(crate) fn common(service: usize) -> String {
    format!("shop/common-{service}@zone-a")
}

/// A service that only one stream knows.
pub(crate) fn own(stream: usize, service: usize) -> String {
    format!("shop/own-{stream}-{service}@zone-a")
}

/// The fields of a request that are used here.
#[derive(Clone, PartialEq, Message)]
struct Req {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(string, tag = "2")]
    type_url: String,
    #[prost(string, repeated, tag = "3")]
    subscribe: Vec<String>,
    #[prost(string, tag = "6")]
    nonce: String,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    id: String,
}

/// The fields of a response that are used here.
#[derive(Clone, PartialEq, Message)]
struct Resp {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Resource>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, optional, tag = "2")]
    body: Option<Any>,
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Default)]
struct Seen {
    count: u64,
    latencies_ns: Vec<u64>,
    /// Say so when the count is reached.
    expected: Option<u64>,
    newest_ns: u64,
    /// Who has which resource not older than that.
    newest: HashSet<(usize, String)>,
    awaited: Option<usize>,
}

pub(crate) fn run(server: SocketAddr, streams: usize, services: usize) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ready, mut all_ready) = mpsc::channel(streams);
    for stream in 0..streams {
        runtime.spawn(follow(server, stream, services, Arc::clone(&seen), ready.clone()));
    }
    for _ in 0..streams {
        all_ready.blocking_recv().unwrap();
    }
    *seen.lock().unwrap() = Seen::default();
    say("ready");
    for command in std::io::stdin().lock().lines() {
        obey(&command.unwrap(), &mut seen.lock().unwrap());
    }
}

fn obey(command: &str, seen: &mut Seen) {
    let (word, number) = command.split_once(' ').unwrap_or((command, ""));
    match word {
        "expect" => {
            seen.count = 0;
            seen.expected = Some(number.parse().unwrap());
            say("ok");
        }
        "newest" => {
            seen.newest_ns = number.parse().unwrap();
            seen.newest.clear();
            say("ok");
        }
        "await" => {
            seen.awaited = Some(number.parse().unwrap());
            seen.told();
        }
        "count" => say(&seen.count.to_string()),
        "latencies" => {
            seen.count = 0;
            let mut all = std::mem::take(&mut seen.latencies_ns);
            all.sort_unstable();
            let at = |part: usize| all.get(all.len() * part / 100).map_or(0.0, |ns| *ns as f64 / 1e6);
            say(&format!("{} {}", at(50), at(99)));
        }
        _ => {}
    }
}

impl Seen {
    fn came(&mut self, stream: usize, resource: Resource) {
        let now = crate::now_ns();
        let sent = resource.body.map_or(now, |body| body.value.clone().get_u64());
        self.count += 1;
        self.latencies_ns.push(now.saturating_sub(sent));
        if self.newest_ns > 0 && sent >= self.newest_ns {
            self.newest.insert((stream, resource.name));
        }
        self.told();
    }

    fn told(&mut self) {
        if self.expected.is_some_and(|expected| self.count >= expected) {
            self.expected = None;
            say("all");
        }
        if self.awaited.is_some_and(|awaited| self.newest.len() >= awaited) {
            (self.awaited, self.newest_ns) = (None, 0);
            say("all");
        }
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

async fn follow(
    server: SocketAddr,
    stream: usize,
    services: usize,
    seen: Arc<Mutex<Seen>>,
    ready: mpsc::Sender<()>,
) {
    let channel = Channel::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let (requests, outgoing) = mpsc::channel(16);
    let codec = tonic_prost::ProstCodec::<Req, Resp>::default();
    let request = tonic::Request::new(ReceiverStream::new(outgoing));
    let responses = grpc.streaming(request, PathAndQuery::from_static(METHOD), codec).await.unwrap();
    let mut responses = responses.into_inner();
    let node = Some(Node { id: format!("node-{stream}") });
    let subscribe = (0..services).flat_map(|service| [common(service), own(stream, service)]).collect();
    let clusters = Req { node, type_url: CDS.into(), ..Req::default() };
    requests.send(clusters).await.unwrap();
    requests.send(Req { type_url: EDS.into(), subscribe, ..Req::default() }).await.unwrap();
    let mut waiting = Some(ready);
    while let Some(response) = responses.message().await.unwrap() {
        let endpoints = response.type_url == EDS;
        let ack = Req { type_url: response.type_url, nonce: response.nonce, ..Req::default() };
        requests.send(ack).await.unwrap();
        if !endpoints {
            continue;
        }
        for resource in response.resources {
            seen.lock().unwrap().came(stream, resource);
        }
        if let Some(ready) = waiting.take() {
            ready.send(()).await.unwrap();
        }
    }
}
