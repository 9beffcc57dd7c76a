//! The gRPC servers behind the doors.

use super::{Bound, Callers, Door, EnvoyCertificateError, Vouching};
use crate::error::AgentError;
use std::sync::Arc;
use tidegate_link::{
    PeerServer, Replicas,
    identity::{Expect, Identity as Own, Party, Refusals, TlsServerConfig, accept},
};
use tidegate_model::ClusterName;
use tidegate_xds::XdsServer;
use tokio_stream::{StreamExt as _, wrappers::UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::{InterceptorLayer, interceptor::InterceptedService},
    transport::server::{Router, TcpIncoming},
};
use tower::layer::util::{Identity, Stack};

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
    fn open(self) -> Router {
        let mut server = self.xds.transport();
        let inspection = self.xds.inspection();
        let (ads, lrs, metrics) = self.xds.into_services();
        let router = server.add_service(ads).add_service(lrs).add_service(metrics);
        let router = router.add_service(inspection).add_service(self.peers.service());
        router.add_optional_service(self.replicas.map(|link| link.service()))
    }

    fn for_replicas(self) -> Router {
        self.xds.transport().add_optional_service(self.replicas.map(|link| link.service()))
    }

    /// For gateways: what is their own. Inspection tells of all of them, so it is not for them.
    fn for_gateways(self, vouching: &Vouching) -> Router<Stack<InterceptorLayer<Tell>, Identity>> {
        let mut server = self.xds.transport().layer(InterceptorLayer::new(Callers::gateway as Tell));
        let (ads, lrs, metrics) = self.xds.into_services();
        let callers = self.callers;
        let peers = InterceptedService::new(self.peers.service(), move |request: Request<()>| {
            callers.only_eastwest(request)
        });
        server
            .add_service(ads)
            .add_service(lrs)
            .add_service(metrics)
            .add_service(peers)
            .add_service(vouching.service())
    }

    /// For gRPC clients, and for people who inspect.
    fn for_clients(self) -> Router<Stack<InterceptorLayer<Tell>, Identity>> {
        let mut server = self.xds.transport().layer(InterceptorLayer::new(Callers::nobody as Tell));
        let inspection = self.xds.inspection();
        let (ads, lrs, _) = self.xds.into_services();
        server.add_service(ads).add_service(lrs).add_service(inspection)
    }
}

/// Serves one door until `stop`.
pub(crate) async fn serve(
    bound: Bound,
    door: Door,
    services: Services,
    gatekeeper: Option<Gatekeeper>,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let failed = |error: &dyn std::fmt::Display| AgentError::Server { what: "xDS", why: error.to_string() };
    let stopped = stop.clone().cancelled_owned();
    let served = match (bound, door, gatekeeper) {
        (Bound::Unix(listener, _), ..) => {
            services.open().serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped).await
        }
        (Bound::Tcp(listener), Door::Open, _) => {
            // Without it a small push waits for a delayed ACK of the one before, up to 40 ms.
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            services.open().serve_with_incoming_shutdown(incoming, stopped).await
        }
        (Bound::Tcp(listener), Door::Gateways, Some(Gatekeeper { gateways, vouching, refusals, .. })) => {
            let watched = vouching.clone();
            let incoming = accept(listener, gateways, refusals, stop)
                .map(move |accepted| accepted.map(|accepted| watched.watched(accepted)));
            services.for_gateways(&vouching).serve_with_incoming_shutdown(incoming, stopped).await
        }
        (Bound::Tcp(listener), Door::Replicas, Some(Gatekeeper { replicas, refusals, .. })) => {
            let incoming = accept(listener, replicas, refusals, stop);
            services.for_replicas().serve_with_incoming_shutdown(incoming, stopped).await
        }
        (Bound::Tcp(listener), Door::Replicas, None) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            services.for_replicas().serve_with_incoming_shutdown(incoming, stopped).await
        }
        (Bound::Tcp(listener), ..) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            services.for_clients().serve_with_incoming_shutdown(incoming, stopped).await
        }
    };
    served.map_err(|error| failed(&error))
}
