//! The state machine of one ADS stream: which response may be sent next.
//!
//! Pure: no I/O, no clock, no tokio. Requests and change marks go in, [`Machine::poll`] gives
//! at most one response at a time, made from the content of the store at that moment. The two
//! protocol variants differ in how a request is read (`delta`, `sotw`) and in how absence is
//! told; what a client holds and is owed is the same bookkeeping (`track`).
//!
//! Order on the stream. Updates go clusters, endpoints, listeners, routes, secrets; listeners
//! and routes wait until pushed clusters are acknowledged (by then Envoy has asked for the
//! endpoints of new clusters) and owed endpoints are sent. Deletions go last: listeners,
//! routes, clusters, endpoints, secrets, each when those before it are settled. What a client
//! asks for itself is never held back.

mod delta;
mod refusals;
mod sotw;
#[cfg(test)]
mod tests;
mod track;

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::ResourceType;
use crate::kind::PerType;
use crate::resource::Resource;
use crate::status::{ResourceStatus, Transport, TypeStatus};
use crate::store::View;
use crate::watch::Marks;
use track::{Absence, Track};

const DELETION_ORDER: [ResourceType; 7] = [
    ResourceType::Listener,
    ResourceType::Route,
    ResourceType::Cluster,
    ResourceType::Endpoint,
    ResourceType::Secret,
    ResourceType::Runtime,
    ResourceType::Extension,
];

/// A response, not yet in the words of one of the variants.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) kind: ResourceType,
    pub(crate) nonce: String,
    /// Version of all that the client holds of this type once it has accepted
    pub(crate) version: String,
    pub(crate) resources: Vec<Arc<Resource>>,
    /// Names that do not exist (delta only)
    pub(crate) removed: Vec<Arc<str>>,
}

/// How the subscription of one type changed with a request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Interest {
    pub(crate) all: bool,
    pub(crate) added: Vec<Arc<str>>,
    pub(crate) removed: Vec<Arc<str>>,
}

/// What the client said about a response.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Acked { version: String },
    Nacked { names: Vec<String>, error: String },
}

/// What a request meant. `None` from the machine: a type that is not served.
#[derive(Debug)]
pub(crate) struct Reaction {
    pub(crate) kind: ResourceType,
    pub(crate) interest: Interest,
    pub(crate) verdict: Option<Verdict>,
}

/// The client asks for more than it may.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a stream may subscribe to at most {limit} names")]
    TooManyNames { limit: usize },
    #[error("a resource name may have at most {limit} bytes, not {bytes}")]
    NameTooLong { limit: usize, bytes: usize },
}

/// What one stream may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) names: usize,
    pub(crate) name_bytes: usize,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Machine {
    tracks: PerType<Track>,
    last_nonce: u64,
    limits: Limits,
}

impl Machine {
    pub(crate) fn new(transport: Transport, limits: Limits) -> Self {
        let tracks = PerType::new(|kind| {
            Track::new(match transport {
                Transport::Delta => Absence::Told,
                Transport::Sotw if kind.is_top_level() => Absence::Implied,
                Transport::Sotw => Absence::Untold,
            })
        });
        Self { tracks, last_nonce: 0, limits }
    }

    /// Reads an incremental request that came in at `now_ms`, in milliseconds since 1970.
    pub(crate) fn on_delta(
        &mut self,
        request: DeltaDiscoveryRequest,
        now_ms: u64,
    ) -> Result<Option<Reaction>, Refusal> {
        let Some(kind) = ResourceType::from_type_url(&request.type_url) else { return Ok(None) };
        self.check(kind, request.resource_names_subscribe.len())?;
        self.check(kind, request.initial_resource_versions.len())?;
        let held = request.initial_resource_versions.keys();
        self.check_lengths(request.resource_names_subscribe.iter().chain(held))?;
        let (interest, verdict) = delta::on_request(&mut self.tracks[kind], kind, request, now_ms);
        self.check(kind, 0)?;
        Ok(Some(Reaction { kind, interest, verdict }))
    }

    /// Reads a state-of-the-world request that came in at `now_ms`, in milliseconds since 1970.
    pub(crate) fn on_sotw(
        &mut self,
        request: DiscoveryRequest,
        now_ms: u64,
    ) -> Result<Option<Reaction>, Refusal> {
        let Some(kind) = ResourceType::from_type_url(&request.type_url) else { return Ok(None) };
        self.check(kind, request.resource_names.len())?;
        self.check_lengths(request.resource_names.iter())?;
        let (interest, verdict) = sotw::on_request(&mut self.tracks[kind], kind, request, now_ms);
        self.check(kind, 0)?;
        Ok(Some(Reaction { kind, interest, verdict }))
    }

    /// `more` names of this type beside the subscriptions of the other types.
    fn check(&self, kind: ResourceType, more: usize) -> Result<(), Refusal> {
        let named = |(of, track): (ResourceType, &Track)| {
            if of == kind { track.named().max(more) } else { track.named() }
        };
        let names: usize = self.tracks.iter().map(named).sum();
        let limit = self.limits.names;
        if names > limit { Err(Refusal::TooManyNames { limit }) } else { Ok(()) }
    }

    fn check_lengths<'a>(&self, mut names: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
        let limit = self.limits.name_bytes;
        match names.find(|name| name.len() > limit) {
            Some(name) => Err(Refusal::NameTooLong { limit, bytes: name.len() }),
            None => Ok(()),
        }
    }

    /// Memory that the client takes by what it says it wants or holds, in bytes. What the store holds does not
    /// count: the client has no influence on it.
    pub(crate) fn bytes(&self) -> usize {
        self.tracks.iter().map(|(_, track)| track.bytes()).sum()
    }

    /// The store says that these may have changed.
    pub(crate) fn on_change(&mut self, marks: &PerType<Marks>) {
        for (kind, marks) in marks.iter() {
            self.tracks[kind].stale.merge(marks);
        }
    }

    /// The next response that may be sent now, if any. Call again until there is none.
    pub(crate) fn poll(&mut self, view: &View<'_>) -> Option<Outgoing> {
        for (kind, track) in self.tracks.iter_mut() {
            track.refresh(kind, view);
        }
        self.poll_updates(view).or_else(|| self.poll_deletions(view))
    }

    fn poll_updates(&mut self, view: &View<'_>) -> Option<Outgoing> {
        use ResourceType::{Cluster, Endpoint, Listener, Route};
        for kind in ResourceType::ALL {
            let waits = matches!(kind, Listener | Route)
                && (self.tracks[Cluster].busy() || self.tracks[Endpoint].owes_updates());
            let keep_deleted =
                kind == Cluster && (self.tracks[Listener].unsettled() || self.tracks[Route].unsettled());
            let sent = self.tracks[kind].take_updates(kind, view, waits, keep_deleted);
            if let Some(batch) = sent {
                if kind == Cluster {
                    self.renew_endpoints(&batch.changed);
                }
                return Some(self.outgoing(kind, batch.resources, batch.absent));
            }
        }
        None
    }

    fn poll_deletions(&mut self, view: &View<'_>) -> Option<Outgoing> {
        for kind in DELETION_ORDER {
            if let Some(batch) = self.tracks[kind].take_deletions(kind, view) {
                return Some(self.outgoing(kind, batch.resources, batch.absent));
            }
            if self.tracks[kind].unsettled() {
                return None;
            }
        }
        None
    }

    /// Envoy warms a changed cluster until it is given endpoints anew, and does not always ask
    /// for them: it may hold the very subscription already.
    fn renew_endpoints(&mut self, clusters: &[Arc<Resource>]) {
        let endpoints = &mut self.tracks[ResourceType::Endpoint];
        for cluster in clusters {
            endpoints.ask_again(&cluster.endpoint_name());
        }
    }

    fn outgoing(
        &mut self,
        kind: ResourceType,
        resources: Vec<Arc<Resource>>,
        removed: Vec<Arc<str>>,
    ) -> Outgoing {
        self.last_nonce += 1;
        let track = &mut self.tracks[kind];
        track.sent(self.last_nonce);
        let nonce = self.last_nonce.to_string();
        Outgoing { kind, nonce, version: track.version(), resources, removed }
    }

    /// The state of every type that the client has asked for.
    pub(crate) fn status(&self) -> Vec<TypeStatus> {
        let started = self.tracks.iter().filter(|(_, track)| track.started);
        started.map(|(kind, track)| track.status(kind)).collect()
    }

    /// Every resource that the client knows of or asked for, in push order of the types.
    pub(crate) fn resources(&self) -> impl Iterator<Item = ResourceStatus> {
        self.tracks.iter().flat_map(|(kind, track)| track.resources(kind))
    }
}
