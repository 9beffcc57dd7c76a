//! The gRPC servers behind the doors.

use super::{Bound, Callers, Door, EnvoyCertificateError, Vouching};
use std::sync::Arc;
use tidegate_link::{
    ConnectionLimits, PeerServer, Replicas,
    identity::{Expect, Identity as Own, Party, Refusals, TlsServerConfig, accept},
    serve_connections,
};
use tidegate_model::ClusterName;
use tidegate_xds::{MAX_STREAMS_PER_CONNECTION, XdsServer};
use tokio_stream::{StreamExt as _, wrappers::UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::{Routes, interceptor::InterceptedService},
    transport::server::TcpIncoming,
};

/// How gateways and replicas are believed.
#[derive(Clone, Debug)]
pub(crate) struct Gatekeeper {
    gateways: Arc<TlsServerConfig>,
    vouching: Vouching,
    replicas: Arc<TlsServerConfig>,
    refusals: Refusals,
}

impl Gatekeeper {
    /// Gateways by the agent's own authority, replicas by that of the fleet.
    pub(crate) fn new(
        vouching: &Vouching,
        own: &Own,
        cluster: &ClusterName,
        refusals: Refusals,
    ) -> Result<Self, EnvoyCertificateError> {
        let replicas = own.server(Expect::Exactly(Party::Agent(cluster.clone())), false)?;
        Ok(Self { gateways: vouching.server()?, vouching: vouching.clone(), replicas, refusals })
    }
}

/// What is served.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) xds: XdsServer,
    pub(crate) peers: PeerServer,
    /// None in an agent that is alone.
    pub(crate) replicas: Option<Replicas>,
    pub(crate) callers: Callers,
}

/// Tells handlers who calls.
type Tell = fn(Request<()>) -> Result<Request<()>, Status>;

impl Services {
    /// Everything, for whoever comes in.
    fn open(self) -> Routes {
        let inspection = self.xds.inspection();
        let (ads, lrs, metrics) = self.xds.into_services();
        let routes = Routes::new(ads).add_service(lrs).add_service(metrics);
        let routes = routes.add_service(inspection).add_service(self.peers.service());
        with_replicas(routes, self.replicas).prepare()
    }

    fn for_replicas(self) -> Routes {
        with_replicas(Routes::default(), self.replicas).prepare()
    }

    /// For gateways: what is their own. Inspection tells of all of them, so it is not for them.
    fn for_gateways(self, vouching: &Vouching) -> InterceptedService<Routes, Tell> {
        let (ads, lrs, metrics) = self.xds.into_services();
        let callers = self.callers;
        let peers = InterceptedService::new(self.peers.service(), move |request: Request<()>| {
            callers.only_eastwest(request)
        });
        let routes = Routes::new(ads).add_service(lrs).add_service(metrics);
        let routes = routes.add_service(peers).add_service(vouching.service());
        InterceptedService::new(routes.prepare(), Callers::gateway as Tell)
    }

    /// For gRPC clients, and for people who inspect.
    fn for_clients(self) -> InterceptedService<Routes, Tell> {
        let inspection = self.xds.inspection();
        let (ads, lrs, _) = self.xds.into_services();
        let routes = Routes::new(ads).add_service(lrs).add_service(inspection);
        InterceptedService::new(routes.prepare(), Callers::nobody as Tell)
    }
}

fn with_replicas(routes: Routes, replicas: Option<Replicas>) -> Routes {
    match replicas {
        Some(replicas) => routes.add_service(replicas.service()),
        None => routes,
    }
}

/// Serves one door until `stop`, and what is open then to its end.
pub(crate) async fn serve(
    bound: Bound,
    door: Door,
    services: Services,
    gatekeeper: Option<Gatekeeper>,
    stop: CancellationToken,
) {
    let limits =
        ConnectionLimits { keepalive: services.xds.keepalive(), max_streams: MAX_STREAMS_PER_CONNECTION };
    // Without it a small push waits for a delayed ACK of the one before, up to 40 ms.
    let quick = |listener| TcpIncoming::from(listener).with_nodelay(Some(true));
    match (bound, door, gatekeeper) {
        (Bound::Unix(listener, _), ..) => {
            serve_connections(UnixListenerStream::new(listener), services.open(), limits, stop).await;
        }
        (Bound::Tcp(listener), Door::Open, _) => {
            serve_connections(quick(listener), services.open(), limits, stop).await;
        }
        (Bound::Tcp(listener), Door::Gateways, Some(Gatekeeper { gateways, vouching, refusals, .. })) => {
            let watched = vouching.clone();
            let incoming = accept(listener, gateways, refusals, stop.clone())
                .map(move |accepted| accepted.map(|accepted| watched.watched(accepted)));
            serve_connections(incoming, services.for_gateways(&vouching), limits, stop).await;
        }
        (Bound::Tcp(listener), Door::Replicas, Some(Gatekeeper { replicas, refusals, .. })) => {
            let incoming = accept(listener, replicas, refusals, stop.clone());
            serve_connections(incoming, services.for_replicas(), limits, stop).await;
        }
        (Bound::Tcp(listener), Door::Replicas, None) => {
            serve_connections(quick(listener), services.for_replicas(), limits, stop).await;
        }
        (Bound::Tcp(listener), ..) => {
            serve_connections(quick(listener), services.for_clients(), limits, stop).await;
        }
    }
}
