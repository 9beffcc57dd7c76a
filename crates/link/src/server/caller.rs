//! Whose agent is at the other end of a link, by what the east-west gateway tells of its certificate.

use super::{CLIENT_HEADER, SERIAL_HEADER};
use crate::identity::{Identity, Party, Serial, SpiffeId, TrustDomain};
use std::time::Instant;
use tidegate_model::ClusterName;
use tonic::{Status, metadata::MetadataMap};

/// An agent that is believed.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    cluster: ClusterName,
    serial: Serial,
    identity: Identity,
}

/// Who it is; `None` where everybody is believed. Who is not is counted and written down.
pub(super) fn of(identity: Option<&Identity>, told: &MetadataMap) -> Result<Option<Caller>, Status> {
    let Some(identity) = identity else { return Ok(None) };
    let credentials = identity.current();
    let read =
        read(credentials.bundle.trust_domain(), told).and_then(|(cluster, serial)| {
            match credentials.bundle.revoked().contains(&serial) {
                true => Err(revoked(&cluster, &serial)),
                false => Ok(Caller { cluster, serial, identity: identity.clone() }),
            }
        });
    read.map(Some).map_err(|why| {
        identity.refusals().note("observer", &format!("an observer is refused: {why}"), Instant::now());
        Status::unauthenticated(why)
    })
}

fn revoked(cluster: &ClusterName, serial: &Serial) -> String {
    format!("the certificate {serial} of the agent of {cluster} was revoked")
}

/// The cluster of the certificate, and its serial.
fn read(trust_domain: &TrustDomain, told: &MetadataMap) -> Result<(ClusterName, Serial), String> {
    let one = |header: &str| {
        let told: Vec<_> = told.get_all(header).iter().collect();
        let [told] = told[..] else {
            return Err("no east-west gateway says whose agent this is; links come through one".to_owned());
        };
        Ok(told.to_str().unwrap_or_default().to_owned())
    };
    // `By=...;Hash=...;URI=...`; no part of these can hold a comma or a semicolon, and a gateway writes one such element.
    let (text, serial) = (one(CLIENT_HEADER)?, one(SERIAL_HEADER)?);
    let mut ids = text.split(';').filter_map(|part| part.strip_prefix("URI="));
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return Err("the certificate of the observer has no identity of a fleet".to_owned());
    };
    let serial = serial.parse().map_err(|error| format!("the serial of {id} cannot be read: {error}"))?;
    match id.parse::<SpiffeId>() {
        Ok(SpiffeId { trust_domain: its, party: Party::Agent(cluster) }) if its == *trust_domain => {
            Ok((cluster, serial))
        }
        Ok(id) => Err(format!("{id} is refused: an agent of {trust_domain} was expected")),
        Err(error) => Err(error.to_string()),
    }
}

impl Caller {
    /// Whether it is who it says it is.
    pub(super) fn says_it_is(&self, cluster: &ClusterName) -> Result<(), Status> {
        if self.cluster == *cluster {
            return Ok(());
        }
        let why = format!("the agent of {} says that it is that of {cluster}", self.cluster);
        self.identity.refusals().note("observer", &why, Instant::now());
        Err(Status::permission_denied(why))
    }

    /// Comes back, with what it is told, once its certificate is revoked.
    pub(super) async fn revoked(caller: Option<&Self>) -> Status {
        let Some(Self { cluster, serial, identity }) = caller else { return std::future::pending().await };
        identity.revoked(serial).await;
        let why = revoked(cluster, serial);
        identity.refusals().note("observer", &format!("an observer is refused: {why}"), Instant::now());
        Status::unauthenticated(why)
    }
}
