//! What agents are told by a hub that stands by: to go on to the next address.

use tidegate_link::hub::proto::{
    Credentials, FromAgent, FromHub, JoinRequest, RenewRequest,
    enrolment_server::{Enrolment, EnrolmentServer},
    fleet_server::{Fleet, FleetServer},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Nothing that is sent is read.
const MAX_BYTES: usize = 16 << 10;

struct Refer;

pub(super) fn enrolment() -> EnrolmentServer<impl Enrolment> {
    EnrolmentServer::new(Refer).max_decoding_message_size(MAX_BYTES)
}

pub(super) fn fleet() -> FleetServer<impl Fleet> {
    FleetServer::new(Refer).max_decoding_message_size(MAX_BYTES)
}

fn elsewhere() -> Status {
    Status::unavailable("this hub stands by for another one; ask that")
}

#[tonic::async_trait]
impl Enrolment for Refer {
    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<Credentials>, Status> {
        Err(elsewhere())
    }
}

#[tonic::async_trait]
impl Fleet for Refer {
    type SyncStream = ReceiverStream<Result<FromHub, Status>>;

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<Credentials>, Status> {
        Err(elsewhere())
    }

    async fn sync(&self, _: Request<Streaming<FromAgent>>) -> Result<Response<Self::SyncStream>, Status> {
        Err(elsewhere())
    }
}
