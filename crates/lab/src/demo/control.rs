//! Faults by `curl` and by drills, while the demo keeps its fleet running: `POST /lose/zone/ZONE`,
//! `POST /lose/region/REGION`, `POST /lose/endpoint/NAME`, `POST /lose/link/SITE/SITE` (clusters, or
//! `hub`), `POST /lose/hub`, `POST /restore`; and for drills what
//! `drills` says. On a loopback address.

use crate::{
    drills::Desk,
    fleet::{Fault, Fleet, ProcessFault},
    toy::ToyMode,
    wan::Site,
};
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, net::SocketAddr, time::Duration};
use tokio::net::{TcpListener, TcpStream};

/// How long a client may hold a connection.
const LIMIT: Duration = Duration::from_secs(10);
/// Connections at a time; further ones wait.
const MAX_OPEN: usize = 64;

/// Where faults of a fleet are asked for.
#[derive(Debug)]
pub struct Control {
    listener: TcpListener,
    address: SocketAddr,
    desk: Desk,
}

impl Control {
    /// On an address of the fleet's own.
    pub async fn listen(fleet: &Fleet) -> io::Result<Self> {
        Self::listen_at((fleet.next_ip(), 0).into()).await
    }

    /// On this address, of loopback: whoever reaches it may break the fleet.
    pub async fn listen_at(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a lab listens on loopback only"));
        }
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener, desk: Desk::default() })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to type.
    pub(super) fn examples(&self, fleet: &Fleet) -> Vec<String> {
        let address = self.address;
        let lose = |what: &str, name: &str| format!("  curl -X POST http://{address}/lose/{what}/{name}");
        let cluster = fleet.spec().clusters.iter().find(|cluster| cluster.workloads);
        let zone = cluster.map(|cluster| lose("zone", cluster.gateway_zone().as_str()));
        let region = cluster.map(|cluster| lose("region", cluster.region.as_str()));
        let endpoint = fleet.toys().first().map(|toy| lose("endpoint", &toy.spec().name));
        let from = fleet.edges().find(|edge| cluster.is_some_and(|cluster| cluster.name != **edge));
        let link = cluster.zip(from).map(|(to, from)| lose("link", &format!("{from}/{}", to.name)));
        let hub = fleet.hub_admin().map(|_| format!("  curl -X POST http://{address}/lose/hub"));
        let restore = format!("  curl -X POST http://{address}/restore");
        [zone, region, endpoint, link, hub, Some(restore)].into_iter().flatten().collect()
    }

    /// Does what it is asked, and ends the faults of drills when their time is over, for ever.
    pub async fn serve(&self, fleet: &Fleet) {
        tokio::join!(self.accept(fleet), self.desk.enforce(fleet));
    }

    async fn accept(&self, fleet: &Fleet) {
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if open.len() < MAX_OPEN => match accepted {
                    Ok((stream, _)) => open.push(self.converse(fleet, stream)),
                    // Out of files: the next accept waits for one.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(()) = open.next() => {}
            }
        }
    }

    async fn converse(&self, fleet: &Fleet, stream: TcpStream) {
        let service =
            service_fn(|request| async move { Ok::<_, Infallible>(self.answer(fleet, &request).await) });
        let connection =
            http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        if !matches!(tokio::time::timeout(LIMIT, connection).await, Ok(Ok(()))) {
            tracing::debug!("a request for a fault ended early");
        }
    }

    async fn answer(&self, fleet: &Fleet, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let uri = (request.uri().path(), request.uri().query().unwrap_or_default());
        let (status, text) = match self.desk.answer(fleet, request.method(), uri).await {
            Some((status, value)) => (status, value.to_string()),
            None => lose(fleet, request.method(), uri.0).await,
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    }
}

async fn lose(fleet: &Fleet, method: &Method, path: &str) -> (StatusCode, String) {
    match asked(method, path) {
        Ok(Some(fault)) => {
            let lost = format!("lost: {fault}\n");
            told(fleet.fault(fault).await.map(|_| lost))
        }
        Ok(None) => told(fleet.restore().await.map(|_| "restored\n".to_owned())),
        Err(hint) => (StatusCode::NOT_FOUND, hint),
    }
}

fn told(done: Result<String, crate::fleet::FleetError>) -> (StatusCode, String) {
    done.map_or_else(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")), |text| (StatusCode::OK, text))
}

/// The fault that is asked for, or none for the restore.
fn asked(method: &Method, path: &str) -> Result<Option<Fault>, String> {
    const HINT: &str = "POST /lose/zone/ZONE, /lose/region/REGION, /lose/endpoint/NAME, /lose/link/SITE/SITE, /lose/hub or /restore\n";
    if method != Method::POST {
        return Err(HINT.to_owned());
    }
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let mode = ToyMode::Refuse;
    let bad = |error: tidegate_model::NameError| format!("{error}\n");
    match parts.as_slice() {
        ["restore"] => Ok(None),
        ["lose", "zone", zone] => Ok(Some(Fault::Zone { zone: zone.parse().map_err(bad)?, mode })),
        ["lose", "region", region] => Ok(Some(Fault::Region { region: region.parse().map_err(bad)? })),
        ["lose", "endpoint", name] => Ok(Some(Fault::Endpoint { name: (*name).to_owned(), mode })),
        ["lose", "link", one, other] => {
            Ok(Some(Fault::Link { between: [site(one).map_err(bad)?, site(other).map_err(bad)?] }))
        }
        ["lose", "hub"] => Ok(Some(Fault::Hub { fault: ProcessFault::Kill })),
        _ => Err(HINT.to_owned()),
    }
}

fn site(name: &str) -> Result<Site, tidegate_model::NameError> {
    if name == "hub" { Ok(Site::Hub) } else { name.parse().map(Site::Cluster) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::spec::known;

    #[test]
    fn faults_are_asked_for_by_path() {
        let zone = Fault::Zone { zone: known("us-east-1a"), mode: ToyMode::Refuse };
        assert_eq!(asked(&Method::POST, "/lose/zone/us-east-1a"), Ok(Some(zone)));
        assert_eq!(asked(&Method::POST, "/lose/region/eu"), Ok(Some(Fault::Region { region: known("eu") })));
        assert_eq!(asked(&Method::POST, "/restore"), Ok(None));
        let between = [Site::Cluster(known("edge")), Site::Hub];
        assert_eq!(asked(&Method::POST, "/lose/link/edge/hub"), Ok(Some(Fault::Link { between })));
        let hub = Fault::Hub { fault: ProcessFault::Kill };
        assert_eq!(asked(&Method::POST, "/lose/hub"), Ok(Some(hub)));
        assert!(asked(&Method::GET, "/restore").unwrap_err().starts_with("POST /lose"));
        assert!(asked(&Method::POST, "/lose/zone").is_err());
        assert!(asked(&Method::POST, "/lose/zone/a%20b").unwrap_err().contains("not '%'"));
    }
}
