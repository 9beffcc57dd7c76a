//! Traces of what an agent does, as processes: an agent, a real Envoy, and a collector.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::{ResourceSpans, Span},
};
use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};
use support::{
    backend,
    command::{Running, run, tidegate},
    envoy,
    hub::{ANY, Agent, Place, agent_command},
    pair::get,
    wait_until,
    walk::{Walk, in_scene, steps_of},
};
use tokio_stream::wrappers::TcpListenerStream;

/// What was sent so far.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ResourceSpans>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().extend(request.into_inner().resource_spans);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves on a thread of its own, until the test ends.
    fn start() -> (SocketAddr, Self) {
        let (own, (sender, receiver)) = (Self::default(), std::sync::mpsc::channel());
        let served = own.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(served));
                server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
            });
        });
        (receiver.recv().unwrap(), own)
    }

    fn spans(&self) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        all.iter().flat_map(|it| &it.scope_spans).flat_map(|it| it.spans.clone()).collect()
    }
}

#[test]
fn a_shift_is_a_trace_from_the_change_to_the_gateways_ack() {
    let test = "a_shift_is_a_trace_from_the_change_to_the_gateways_ack";
    let Some(envoy) = envoy(test) else { return };
    let place = Place::new();
    let manifests = place.at("manifests");
    backend::one_cluster(&manifests);
    let [free, admin_port] =
        [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let gateway = std::fs::read_to_string(manifests.join("gateway.yaml")).unwrap();
    std::fs::write(manifests.join("gateway.yaml"), gateway.replace("10080", &free.to_string())).unwrap();
    let (collector, traces) = Collector::start();
    let mut command = agent_command(&place.at("home"), Some(&manifests), ANY);
    command.args(["--cluster", "home", "--otlp", &format!("http://{collector}")]);
    let mut agent = Agent::start(&mut command);
    let listen = agent.running.until_said("where gateways connect", support::hub::bound("serves xDS"));
    let mut gateway = tidegate();
    gateway.args([
        "envoy",
        "run",
        "--gateway",
        "shop/edge",
        "--zone",
        "zone-a",
        "--exit-with-stdin",
        "--agent",
    ]);
    gateway
        .args([
            listen.to_string(),
            "--admin".to_owned(),
            format!("127.0.0.1:{admin_port}"),
            "--envoy".to_owned(),
        ])
        .arg(envoy);
    gateway.stdin(std::process::Stdio::piped());
    let gateway = Running::start(&mut gateway);
    let served = || get(SocketAddr::from(([127, 0, 0, 1], free)), "/").filter(|it| it.contains(" 200 "));
    wait_until("the gateway to serve", served);

    let admin = agent.admin.to_string();
    let shifted = run([
        "shift",
        "away",
        "--zone",
        "zone-a",
        "--for",
        "5m",
        "--comment",
        "x",
        "--yes",
        "--admin",
        &admin,
    ]);
    assert_eq!(shifted.code, Some(0), "{shifted:?}");
    let has = |span: &Span, name: &str| span.events.iter().any(|it| it.name == name);
    let (root, pushes) = wait_until("the trace of the shift", || {
        let spans = traces.spans();
        let root = spans.iter().find(|it| has(it, "shiftChanged"))?.clone();
        Some((
            root.clone(),
            spans.into_iter().filter(|it| it.parent_span_id == root.span_id).collect::<Vec<_>>(),
        ))
    });
    assert!(has(&root, "planChanged"), "{root:?}");
    assert!(
        pushes.iter().any(|it| it.name.starts_with("push shop/edge@zone-a")),
        "{pushes:?}\n{}",
        gateway.said()
    );
    for push in &pushes {
        assert_eq!(push.trace_id, root.trace_id);
        assert!(push.start_time_unix_nano >= root.start_time_unix_nano, "{push:?}");
        assert!(push.end_time_unix_nano <= root.end_time_unix_nano, "{push:?}");
    }
    let all = traces.0.lock().unwrap();
    let resource = all.first().unwrap().resource.clone().unwrap();
    let name = resource.attributes.iter().find(|it| it.key == "service.name").unwrap().value.clone().unwrap();
    assert_eq!(name.value, Some(Value::StringValue("tidegate-agent".to_owned())));
    drop(all);
    let metrics = get(agent.admin, "/metrics").unwrap();
    assert!(metrics.contains("tidegate_otlp_spans_total{result=\"dropped\"} 0"), "{metrics}");
}

#[test]
fn the_page_of_traces_works_as_written() {
    let Some(mut walk) = Walk::without_envoy("the_page_of_traces_works_as_written") else { return };
    walk.set_up("cp -r examples/two-regions/us-east manifests && cp -r examples/two-regions/fleet policies");
    walk.set_up("cp policies/* manifests");
    let (collector, traces) = Collector::start();
    let table = [
        ("http://127.0.0.1:4317", &*format!("http://{collector}")),
        ("--manifests", "--listen 127.77.0.3:18000 --admin 127.77.0.3:18001 --manifests"),
        ("--policies", "--listen 127.77.0.3:18100 --admin 127.77.0.3:18101 --policies"),
    ];
    walk.follow(&in_scene(steps_of("docs/traces.md", None), &table));
    // An agent that the hub sends its policy to.
    for command in [
        "curl --retry 60 --retry-connrefused --retry-all-errors --retry-delay 1 http://127.77.0.3:18101/readyz",
        "tidegate cluster join-token us-west --ttl 1h --admin 127.77.0.3:18101 > joins",
        "tidegate agent --join-file joins --hub 127.77.0.3:18100 --manifests examples/two-regions/us-west --state-dir west \
         --listen 127.77.0.3:18200 --admin 127.77.0.3:18201 &",
        "until tidegate cluster list --admin 127.77.0.3:18101 | grep 'us-west *connected'; do sleep 0.2; done",
        "sed -i 's/interval: 1s/interval: 2s/' policies/policy.yaml",
    ] {
        walk.set_up(command);
    }
    for name in ["decide", "publish policy 2", "apply us-west"] {
        wait_until(name, || traces.spans().iter().any(|it| it.name.starts_with(name)).then_some(()));
    }
}
