//! The gRPC servers behind the doors.

use super::{Bound, Callers, Door, EnvoyAuthority, EnvoyCertificateError};
use crate::run::AgentError;
use std::sync::Arc;
use tidegate_link::{
    PeerServer,
    identity::{Refusals, TlsServerConfig, accept},
};
use tidegate_xds::XdsServer;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::{InterceptorLayer, interceptor::InterceptedService},
    transport::server::{Router, TcpIncoming},
};
use tower::layer::util::{Identity, Stack};

/// How gateways are believed.
#[derive(Clone, Debug)]
pub(crate) struct Gatekeeper {
    tls: Arc<TlsServerConfig>,
    refusals: Refusals,
}

impl Gatekeeper {
    pub(crate) fn new(authority: &EnvoyAuthority, refusals: Refusals) -> Result<Self, EnvoyCertificateError> {
        let (identity, expect) = authority.identity(refusals.clone())?;
        Ok(Self { tls: identity.server(expect, false)?, refusals })
    }
}

/// What is served.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) xds: XdsServer,
    pub(crate) peers: PeerServer,
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
        router.add_service(inspection).add_service(self.peers.service())
    }

    /// For gateways: what is their own. Inspection tells of all of them, so it is not for them.
    fn for_gateways(self) -> Router<Stack<InterceptorLayer<Tell>, Identity>> {
        let mut server = self.xds.transport().layer(InterceptorLayer::new(Callers::gateway as Tell));
        let (ads, lrs, metrics) = self.xds.into_services();
        let callers = self.callers;
        let peers = InterceptedService::new(self.peers.service(), move |request: Request<()>| {
            callers.only_eastwest(request)
        });
        server.add_service(ads).add_service(lrs).add_service(metrics).add_service(peers)
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
        (Bound::Tcp(listener), Door::Gateways, Some(Gatekeeper { tls, refusals })) => {
            let incoming = accept(listener, tls, refusals, stop);
            services.for_gateways().serve_with_incoming_shutdown(incoming, stopped).await
        }
        (Bound::Tcp(listener), ..) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            services.for_clients().serve_with_incoming_shutdown(incoming, stopped).await
        }
    };
    served.map_err(|error| failed(&error))
}
