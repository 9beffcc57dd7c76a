//! The hub's gRPC side: who calls is known by the certificate of the connection, and by nothing else.

use crate::{
    office::{Certificates, Office, OfficeError, Wanted},
    run::HubError,
    sync,
};
use std::sync::Arc;
use tidegate_link::{
    hub::{
        MAX_MESSAGE_BYTES, Secret,
        proto::{
            self, FromAgent, FromHub, JoinRequest, RenewRequest,
            enrolment_server::{Enrolment, EnrolmentServer},
            fleet_server::{Fleet, FleetServer},
        },
    },
    identity::{AuthorityError, CertificateFacts, Issued, Party, PeerInfo},
};
use tidegate_model::ClusterName;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// A join request is a name, a secret and two signing requests.
const MAX_JOIN_BYTES: usize = 16 << 10;
/// The largest message of an agent: the first status of a large cluster.
const MAX_AGENT_BYTES: usize = 32 << 20;

/// Serves both services. Clones share everything.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) office: Arc<Office>,
    pub(crate) stop: CancellationToken,
}

impl Server {
    pub(crate) fn enrolment(&self) -> EnrolmentServer<Self> {
        EnrolmentServer::new(self.clone()).max_decoding_message_size(MAX_JOIN_BYTES)
    }

    pub(crate) fn fleet(&self) -> FleetServer<Self> {
        FleetServer::new(self.clone())
            .max_decoding_message_size(MAX_AGENT_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The cluster of the caller's certificate, which the handshake has verified; it may have been revoked since.
    fn caller<T>(&self, request: &Request<T>) -> Result<(ClusterName, Arc<CertificateFacts>), Status> {
        let info = request.extensions().get::<PeerInfo>();
        let Some((info, facts)) = info.and_then(|info| Some((info, info.certificate.clone()?))) else {
            let from = info.map_or_else(|| "somebody".to_owned(), |info| info.address.ip().to_string());
            self.office.refuse("no_certificate", &from, "it shows no certificate");
            return Err(Status::unauthenticated("a certificate of this fleet is needed: join first"));
        };
        if self.office.trust.borrow().bundle.revoked().contains(&facts.serial) {
            self.office.refuse(
                "revoked",
                &facts.names,
                &format!("its certificate {} was revoked", facts.serial),
            );
            return Err(Status::unauthenticated("the certificate was revoked"));
        }
        match facts.id.as_ref().map(|id| &id.party) {
            Some(Party::Agent(cluster)) => Ok((cluster.clone(), facts)),
            _ => {
                self.office.refuse(
                    "other_party",
                    &format!("{} from {}", facts.names, info.address.ip()),
                    "it is no agent",
                );
                Err(Status::permission_denied("only agents are served here"))
            }
        }
    }

    fn credentials(&self, issued: &Certificates) -> proto::Credentials {
        let chain = |of: &Issued| of.chain.iter().map(|certificate| certificate.to_vec()).collect();
        proto::Credentials {
            chain: chain(&issued.agent),
            trust: Some(self.office.trust.borrow().to_proto()),
            gateway_chain: issued.gateway.as_ref().map(chain).unwrap_or_default(),
        }
    }
}

/// What the caller is told when something fails here.
pub(crate) fn failed(error: &HubError) -> Status {
    match error {
        HubError::Office(OfficeError::Authority(AuthorityError::Request(why))) => {
            Status::invalid_argument(format!("the signing request is refused: {why}"))
        }
        error => {
            tracing::error!(%error, "an agent could not be served");
            Status::unavailable("the hub cannot do it now; its log says why")
        }
    }
}

#[tonic::async_trait]
impl Enrolment for Server {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<proto::Credentials>, Status> {
        let from = request.extensions().get::<PeerInfo>().map(|info| info.address.ip().to_string());
        let JoinRequest { cluster, secret, request, gateway_request } = request.into_inner();
        let cluster: ClusterName =
            cluster.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let secret = Secret::from_bytes(&secret);
        let wanted = Wanted { agent: &request, gateway: &gateway_request };
        match self.office.join(&cluster, secret.as_ref(), wanted) {
            Ok(Ok(issued)) => Ok(Response::new(self.credentials(&issued))),
            Ok(Err(refusal)) => {
                let who = format!("{} as {cluster}", from.unwrap_or_default());
                self.office.refuse(refusal.word(), &who, &refusal.to_string());
                Err(Status::permission_denied(format!(
                    "{refusal}; make another: tidegate cluster join-token {cluster}"
                )))
            }
            Err(error) => Err(failed(&error.into())),
        }
    }
}

#[tonic::async_trait]
impl Fleet for Server {
    type SyncStream = ReceiverStream<Result<FromHub, Status>>;

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<proto::Credentials>, Status> {
        let (cluster, _) = self.caller(&request)?;
        let RenewRequest { request, gateway_request } = request.into_inner();
        let wanted = Wanted { agent: &request, gateway: &gateway_request };
        let issued = self.office.renew(&cluster, wanted);
        issued.map(|issued| Response::new(self.credentials(&issued))).map_err(|error| failed(&error.into()))
    }

    async fn sync(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let (cluster, facts) = self.caller(&request)?;
        self.office.shown(&cluster, &facts).map_err(|error| failed(&error.into()))?;
        let (out, stream) = mpsc::channel(2);
        let session = sync::Session {
            office: Arc::clone(&self.office),
            cluster,
            serial: facts.serial.clone(),
            stop: self.stop.clone(),
        };
        tokio::spawn(session.run(request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
