//! A state-of-the-world ADS server of the least size: enough to hand resources to one Envoy and to await
//! that it has applied them. (The real one is the crate `xds`, which takes in its reports here.)

use envoy_types::pb::{
    envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer},
    },
    google::protobuf::Any,
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_envoy::{Resource, health_runtime};
use tidegate_xds::{LoadAsked, Resolver, ResourceType, Store, XdsEvent, XdsOptions, XdsServer};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::{
    StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// What Envoy is to have. `versions` say with which push a kind changed last.
#[derive(Clone, Debug, Default)]
struct Wanted {
    resources: Vec<Resource>,
    versions: BTreeMap<&'static str, u64>,
}

pub(crate) struct Ads {
    pub(crate) address: SocketAddr,
    wanted: watch::Sender<Wanted>,
    /// Per type URL the version that Envoy confirmed last, or why it refused.
    answers: watch::Receiver<BTreeMap<String, Result<u64, String>>>,
    /// What Envoy tells of its load, oldest first; what nobody takes in time is lost.
    pub(crate) reports: mpsc::Receiver<XdsEvent>,
    /// What takes in these reports, and asks for them.
    pub(crate) xds: XdsServer,
    server: JoinHandle<()>,
}

impl Drop for Ads {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Ads {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wanted = watch::Sender::new(Wanted::default());
        let (answered, answers) = watch::channel(BTreeMap::new());
        let service = AggregatedDiscoveryServiceServer::new(Server { wanted: wanted.subscribe(), answered });
        let (events, reports) = mpsc::channel(1024);
        let load = LoadAsked { interval: Duration::from_millis(100), ..LoadAsked::default() };
        let options = XdsOptions { load, ..XdsOptions::default() };
        let known: Resolver = Arc::new(|_| Ok(Vec::new()));
        let xds = XdsServer::with_options(Store::new(), known, events, CancellationToken::new(), options);
        let (_, loads, metrics) = xds.clone().into_services();
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            tonic::transport::Server::builder()
                .add_service(service)
                .add_service(loads)
                .add_service(metrics)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self { address, wanted, answers, reports, xds, server }
    }

    /// Gives Envoy these resources instead of those that it has.
    pub(crate) fn want(&self, mut resources: Vec<Resource>) {
        // A gateway that starts waits for it.
        if !resources.iter().any(|it| it.kind == ResourceType::Runtime) {
            resources.push(health_runtime([]));
        }
        self.wanted.send_modify(|wanted| {
            let next = wanted.versions.values().max().unwrap_or(&0) + 1;
            for kind in ResourceType::ALL {
                let of_kind =
                    |all: &[Resource]| all.iter().filter(|r| r.kind == kind).cloned().collect::<Vec<_>>();
                if of_kind(&wanted.resources) != of_kind(&resources) {
                    wanted.versions.insert(kind.type_url(), next);
                }
            }
            wanted.resources = resources;
        });
    }

    /// Until Envoy has confirmed everything. A refusal fails the test with Envoy's reason.
    pub(crate) async fn applied(&mut self) {
        let versions = self.wanted.borrow().versions.clone();
        let confirmed = self.answers.wait_for(|answers| {
            versions.iter().all(|(url, version)| match answers.get(*url) {
                Some(Err(reason)) => panic!("Envoy refuses {url}: {reason}"),
                Some(Ok(confirmed)) => confirmed >= version,
                None => false,
            })
        });
        let confirmed = tokio::time::timeout(Duration::from_secs(8), confirmed).await;
        confirmed.expect("Envoy confirms in time").expect("the server lives");
    }
}

struct Server {
    wanted: watch::Receiver<Wanted>,
    answered: watch::Sender<BTreeMap<String, Result<u64, String>>>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(serve(request.into_inner(), sender, self.wanted.clone(), self.answered.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only state of the world"))
    }
}

#[derive(Default)]
struct Subscription {
    names: Vec<String>,
    sent: u64,
}

async fn serve(
    mut requests: Streaming<DiscoveryRequest>,
    sender: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    mut wanted: watch::Receiver<Wanted>,
    answered: watch::Sender<BTreeMap<String, Result<u64, String>>>,
) {
    let mut subscriptions = BTreeMap::<String, Subscription>::new();
    loop {
        tokio::select! {
            request = requests.next() => {
                let Some(Ok(request)) = request else { return };
                let known = subscriptions.entry(request.type_url.clone()).or_default();
                if request.resource_names != known.names {
                    known.names = request.resource_names;
                    known.sent = 0;
                }
                let answer = match (request.error_detail, request.version_info.parse()) {
                    (Some(error), _) => Some(Err(error.message)),
                    (None, Ok(version)) if !request.response_nonce.is_empty() => Some(Ok(version)),
                    _ => None,
                };
                if let Some(answer) = answer {
                    answered.send_modify(|answers| { answers.insert(request.type_url, answer); });
                }
            }
            changed = wanted.changed() => if changed.is_err() { return },
        }
        let now = wanted.borrow_and_update().clone();
        for kind in ResourceType::ALL {
            let (Some(subscription), Some(&version)) =
                (subscriptions.get_mut(kind.type_url()), now.versions.get(kind.type_url()))
            else {
                continue;
            };
            if subscription.sent < version {
                subscription.sent = version;
                let asked =
                    |name: &String| subscription.names.is_empty() || subscription.names.contains(name);
                let resources = now.resources.iter().filter(|r| r.kind == kind && asked(&r.name));
                let response = DiscoveryResponse {
                    version_info: version.to_string(),
                    nonce: version.to_string(),
                    type_url: kind.type_url().to_owned(),
                    resources: resources
                        .map(|r| Any { type_url: kind.type_url().to_owned(), value: r.body.to_vec() })
                        .collect(),
                    ..Default::default()
                };
                if sender.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        }
    }
}
