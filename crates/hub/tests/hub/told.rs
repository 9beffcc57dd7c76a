//! What webhooks and a collector are told by a hub: a policy, who rejects it, and what becomes of its rollout.

use super::fixture::{CLUSTERS, Hub, LIMIT, config, hello, join, policy, prepared, token};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::{Span, status::StatusCode},
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
};
use tidegate_hub::{Webhooks, parse_collector, parse_url};
use tidegate_link::{
    hub::proto::{self, from_agent},
    identity::PrivateKey,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;

/// A webhook that takes everything.
fn webhook() -> (SocketAddr, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, events) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
            }
            let head = head.to_lowercase();
            let length = head.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            // The test may be over.
            let _ = sender.send(serde_json::from_slice(&body).unwrap());
            (&stream).write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    (address, events)
}

struct Collector(mpsc::UnboundedSender<Vec<Span>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|it| it.scope_spans).flat_map(|it| it.spans);
        self.0.send(spans.collect()).unwrap();
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<Vec<Span>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, traces) = mpsc::unbounded_channel();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, traces)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_rejected_is_told_and_is_a_trace_with_who_rejects_it() {
    let folder = prepared().await;
    let clusters = CLUSTERS.replace("spec: {region: eu}", "spec: {region: eu, rolloutWave: 1}");
    fs::write(folder.path().join("policies/clusters.yaml"), clusters).unwrap();
    let [token, other] = ["us-east", "eu-west"].map(|it| token(folder.path(), it, LIMIT));
    let ((hook, mut events), (collector, mut traces)) = (webhook(), collector().await);
    let mut config = config(folder.path());
    let urls = vec![parse_url(&format!("http://{hook}/")).unwrap()];
    config.webhooks = Some(Webhooks { urls, token: None });
    config.collector = Some(parse_collector(&format!("http://{collector}")).unwrap());
    let hub = Hub::start_as(config).await;
    let agent = join(&hub.address, &token, "us-east", &PrivateKey::generate().unwrap()).await.unwrap();
    // Somebody of another wave, who is not there.
    join(&hub.address, &other, "eu-west", &PrivateKey::generate().unwrap()).await.unwrap();
    let mut stream = agent.sync(&hub.address, hello("us-east", None)).await;
    let applied = |policy: &proto::Policy, rejected: &[&str]| {
        let rejected = rejected.iter().map(|it| (*it).to_owned());
        let reason = "it is not right".to_owned();
        let rejected = rejected.map(|object| proto::Rejected { object, reason: reason.clone() }).collect();
        from_agent::What::Applied(proto::Applied { sequence: agent.open(policy).sequence, rejected })
    };
    let first = stream.policy().await;
    stream.say(applied(&first, &[])).await;
    stream.say(from_agent::What::Status(proto::Status { full: true, ..Default::default() })).await;
    fs::write(folder.path().join("policies/web.yaml"), policy("20s")).unwrap();
    let second = stream.policy().await;
    stream.say(applied(&second, &["FailoverPolicy shop/web"])).await;

    let mut told = Vec::new();
    while !["PolicyPublished", "PolicyRejected", "RolloutHalted"]
        .iter()
        .all(|it| told.iter().any(|event: &Value| event["type"] == format!("dev.tidegate.{it}")))
    {
        let event = timeout(LIMIT, events.recv()).await;
        told.push(
            event.unwrap_or_else(|_| panic!("{}\n{told:#?}", hub.http("GET", "/api/v1/rollout"))).unwrap(),
        );
    }
    let of = |kind: &str| told.iter().find(|it| it["type"] == format!("dev.tidegate.{kind}")).unwrap();
    let rejected = of("PolicyRejected");
    assert_eq!(
        (&rejected["source"], &rejected["subject"], &rejected["data"]["severity"]),
        (&"/fleets/fleet.example".into(), &"FailoverPolicy shop/web".into(), &"warning".into())
    );
    let message = rejected["data"]["message"].as_str().unwrap();
    assert!(message.contains("us-east") && message.ends_with("it is not right"), "{message}");
    assert!(of("RolloutHalted")["data"]["message"].as_str().unwrap().contains("us-east rejects"));

    let spans = loop {
        let spans = timeout(LIMIT, traces.recv()).await.unwrap().unwrap();
        if spans[0].name == format!("publish policy {}", agent.open(&second).sequence) {
            break spans;
        }
    };
    assert_eq!((spans.len(), spans[1].name.as_str()), (2, "apply us-east"));
    assert_eq!((&spans[1].trace_id, &spans[1].parent_span_id), (&spans[0].trace_id, &spans[0].span_id));
    assert!(spans[0].start_time_unix_nano <= spans[1].start_time_unix_nano);
    assert!(spans[1].end_time_unix_nano <= spans[0].end_time_unix_nano);
    assert_eq!(spans[1].status.as_ref().unwrap().code(), StatusCode::Error);
    let metrics = hub.http("GET", "/metrics");
    assert!(metrics.contains("tidegate_webhook_events_total{result=\"lost\"} 0"), "{metrics}");
    assert!(metrics.contains("tidegate_otlp_spans_total{result=\"dropped\"} 0"), "{metrics}");
    hub.stop().await;
}
