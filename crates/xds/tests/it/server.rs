//! A server on a loopback port with one scope, `s`.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use prost::Message;
use tidegate_xds::{Change, LoadAsked, ResourceType, Scope, Store, XdsEvent, XdsOptions, XdsServer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, server::TcpIncoming};

/// Long: it only matters when a test fails.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

pub(crate) type Content = (ResourceType, String, Vec<u8>);

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(WAIT, future).await.expect("it happens in time")
}

pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) xds: XdsServer,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    events: mpsc::Receiver<XdsEvent>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(XdsOptions::default()).await
    }

    pub(crate) async fn with(options: XdsOptions) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), &options)
    }

    pub(crate) fn at(address: SocketAddr, options: &XdsOptions) -> Self {
        let store = Store::new();
        let shutdown = CancellationToken::new();
        let (sender, events) = mpsc::channel(64);
        let options = XdsOptions {
            identifier: "test".into(),
            load: LoadAsked { interval: Duration::from_millis(200), ..LoadAsked::default() },
            ..options.clone()
        };
        let xds = XdsServer::with_options(
            store.clone(),
            Arc::new(|node| match node.id.as_str() {
                "stranger" => Err("no strangers".into()),
                _ => Ok(vec![Scope::new("s")]),
            }),
            sender,
            shutdown.clone(),
            options,
        );
        let incoming = TcpIncoming::bind(address).unwrap().with_nodelay(Some(true));
        let address = incoming.local_addr().unwrap();
        let (ads, lrs, metrics) = xds.clone().into_services();
        let router = xds
            .transport()
            .add_service(ads)
            .add_service(lrs)
            .add_service(metrics)
            .add_service(xds.inspection());
        let stop = shutdown.clone().cancelled_owned();
        tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop));
        Self { store, xds, address, shutdown, events }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let uri = format!("http://{}", self.address);
        within(Channel::from_shared(uri).unwrap().connect()).await.unwrap()
    }

    pub(crate) fn set(&self, content: &[Content]) {
        let changes = content.iter().map(|(kind, name, body)| Change::Set {
            scope: Scope::new("s"),
            kind: *kind,
            name: name.clone(),
            body: body.clone().into(),
        });
        self.store.apply(changes.collect());
    }

    pub(crate) fn remove(&self, kind: ResourceType, name: &str) {
        self.store.apply(vec![Change::Remove { scope: Scope::new("s"), kind, name: name.into() }]);
    }

    /// The next event of this sort; others are passed over.
    pub(crate) async fn event(&mut self, wanted: impl Fn(&XdsEvent) -> bool) -> XdsEvent {
        loop {
            let event = within(self.events.recv()).await.expect("the server lives");
            if wanted(&event) {
                return event;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn socket(host: &str, port: u32) -> Address {
    let socket = SocketAddress {
        address: host.into(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}

/// Endpoints of a cluster: one address on loopback.
pub(crate) fn endpoints(cluster: &str, port: u32) -> Content {
    let endpoint = Endpoint { address: Some(socket("127.0.0.1", port)), ..Endpoint::default() };
    let endpoint =
        LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..LbEndpoint::default() };
    let locality = LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..LocalityLbEndpoints::default() };
    let assignment = ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    };
    (ResourceType::Endpoint, cluster.into(), assignment.encode_to_vec())
}
