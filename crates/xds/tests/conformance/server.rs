//! A server on a loopback port, and its content. The one place that names the server's own types.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_xds::{Change, ResourceType, Scope, Store, XdsOptions, XdsServer};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::TcpIncoming;

/// So many times may a test ask that nothing else is sent.
pub(crate) const FENCES: usize = 40;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    store: Store,
    _stop: DropGuard,
}

impl Server {
    /// Type URL, name, body.
    pub(crate) fn start(content: &[(&str, &str, &str)]) -> Self {
        Self::with(XdsOptions::default(), content)
    }

    pub(crate) fn with(options: XdsOptions, content: &[(&str, &str, &str)]) -> Self {
        let (store, stop) = (Store::new(), CancellationToken::new());
        // Nobody listens: events are dropped.
        let (events, _) = mpsc::channel(1);
        let resolver = Arc::new(|_: &_| Ok(vec![Scope::new("s")]));
        let xds = XdsServer::with_options(store.clone(), resolver, events, stop.clone(), options);
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
        let address = incoming.local_addr().unwrap();
        let (ads, lrs, _) = xds.clone().into_services();
        let router = xds.transport().add_service(ads).add_service(lrs);
        tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
        let server = Self { address, store, _stop: stop.drop_guard() };
        server.set(content);
        for fence in 0..=FENCES {
            server.set(&[(crate::client::SDS, &crate::client::fence(fence), "fence")]);
        }
        server
    }

    pub(crate) fn set(&self, content: &[(&str, &str, &str)]) {
        self.apply(content, &[]);
    }

    pub(crate) fn set_bytes(&self, url: &str, name: &str, body: Vec<u8>) {
        let kind = ResourceType::from_type_url(url).unwrap();
        let set = Change::Set { scope: Scope::new("s"), kind, name: name.into(), body: body.into() };
        self.store.apply(vec![set]);
    }

    pub(crate) fn remove(&self, names: &[(&str, &str)]) {
        self.apply(&[], names);
    }

    /// In one batch.
    pub(crate) fn apply(&self, set: &[(&str, &str, &str)], remove: &[(&str, &str)]) {
        let scope = || Scope::new("s");
        let kind = |url: &str| ResourceType::from_type_url(url).unwrap();
        let set = set.iter().map(|(url, name, body)| Change::Set {
            scope: scope(),
            kind: kind(url),
            name: (*name).into(),
            body: body.as_bytes().to_vec().into(),
        });
        let remove = remove.iter().map(|(url, name)| Change::Remove {
            scope: scope(),
            kind: kind(url),
            name: (*name).into(),
        });
        self.store.apply(set.chain(remove).collect());
    }
}
