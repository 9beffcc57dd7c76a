//! The I/O shell around the state machine of one ADS stream: one task that reads requests,
//! hears of changes, and makes a response only when the connection can take one.
//!
//! So a slow client costs no memory and delays nobody: while it does not read, changes
//! coalesce to names. Nothing of the protocol is decided here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::{Code, Status, Streaming};

use crate::kind::PerType;
use crate::limits::{self, Share};
use crate::protocol::{Limits, Machine, Outgoing, Refusal, Verdict};
use crate::server::Shared;
use crate::status::XdsEvent;
use crate::watch::{Batches, Watcher};
use crate::wire::Variant;
use crate::{Caller, NodeInfo};

/// Serves one stream until the client or the server ends it.
pub(crate) async fn run<V: Variant>(
    shared: Arc<Shared>,
    slot: OwnedSemaphorePermit,
    caller: Option<Caller>,
    mut inbound: Streaming<V::Request>,
    out: mpsc::Sender<Result<V::Response, Status>>,
) {
    let served = async {
        let Some(first) = first::<V>(&shared, &mut inbound).await? else { return Ok(()) };
        let (mut session, first) = Session::open::<V>(&shared, caller, first)?;
        session.on_request::<V>(first)?;
        session.serve::<V>(&mut inbound, &out).await
    };
    let end = tokio::select! {
        end = served => end,
        status = time_to_go(&shared) => Err(status),
    };
    if let Err(status) = end {
        tracing::debug!(%status, "ADS stream ends");
        // A client that has not even read its responses does without the reason.
        let _ = out.try_send(Err(status));
    }
    drop(slot);
}

/// The first request; `None` if the client has ended the stream.
async fn first<V: Variant>(
    shared: &Shared,
    inbound: &mut Streaming<V::Request>,
) -> Result<Option<V::Request>, Status> {
    let (bytes, limit) = (shared.options.max_request_bytes, shared.options.first_request_limit);
    tokio::time::timeout(limit, read(inbound, bytes)).await.unwrap_or_else(|_| {
        Err(Status::deadline_exceeded(format!("no request came within {limit:?} of the start of the stream")))
    })
}

/// Why the server ends a stream that does nothing wrong, when it is time.
async fn time_to_go(shared: &Shared) -> Status {
    let aged = async {
        match shared.options.max_stream_age {
            Some(limit) => tokio::time::sleep(limits::stream_age(limit, limits::draw())).await,
            None => std::future::pending().await,
        }
    };
    let told = async {
        shared.shutdown.cancelled().await;
        let (streams, spread) = (shared.streams(), shared.options.shutdown_spread);
        tokio::time::sleep(limits::farewell(streams, spread, limits::draw())).await;
    };
    tokio::select! {
        () = aged => Status::unavailable("the stream has reached its age; connect again"),
        () = told => Status::unavailable("the xDS server shuts down"),
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// The next request; `None` if the client has ended the stream.
///
/// # Errors
/// If what came in is no request, or too large a one; or if the client is gone, which then nobody hears.
async fn read<T>(inbound: &mut Streaming<T>, limit: usize) -> Result<Option<T>, Status> {
    inbound.message().await.map_err(|status| match status.code() {
        Code::Internal => Status::invalid_argument(format!("a request cannot be read: {}", status.message())),
        Code::OutOfRange => Status::resource_exhausted(format!(
            "a request may have at most {limit} bytes: {}",
            status.message()
        )),
        _ => status,
    })
}

struct Session {
    shared: Arc<Shared>,
    node: Arc<NodeInfo>,
    watcher: Watcher,
    machine: Arc<Mutex<Machine>>,
    registration: u64,
    share: Share,
    /// The batches that changed what the client subscribes to: those that no response carried yet,
    due: PerType<Batches>,
    /// and those that the last response of the type carried.
    carried: PerType<Batches>,
}

impl Session {
    fn open<V: Variant>(
        shared: &Arc<Shared>,
        caller: Option<Caller>,
        mut first: V::Request,
    ) -> Result<(Self, V::Request), Status> {
        let (node, scopes) = shared.admit(V::take_node(&mut first), caller)?;
        let options = &shared.options;
        let limits = Limits { names: options.max_names_per_stream, name_bytes: options.max_name_bytes };
        let machine = Arc::new(Mutex::new(Machine::new(V::TRANSPORT, limits)));
        let registration = shared.nodes.connected(&node, V::TRANSPORT, &machine);
        let registration = registration.map_err(|many| Status::resource_exhausted(many.to_string()))?;
        shared.emit(XdsEvent::Connected { node: Arc::clone(&node) });
        let watcher = shared.store.watch(scopes);
        let (shared, share) = (Arc::clone(shared), shared.budget.share());
        let (due, carried) = Default::default();
        Ok((Self { shared, node, watcher, machine, registration, share, due, carried }, first))
    }

    async fn serve<V: Variant>(
        &mut self,
        inbound: &mut Streaming<V::Request>,
        out: &mpsc::Sender<Result<V::Response, Status>>,
    ) -> Result<(), Status> {
        let mut gate = self.shared.gate.subscribe();
        let limit = self.shared.options.max_request_bytes;
        let mut ready = true;
        loop {
            let open = gate.borrow_and_update().is_open(self.watcher.scopes());
            tokio::select! {
                request = read(inbound, limit) => {
                    let Some(request) = request? else { return Ok(()) };
                    self.on_request::<V>(request)?;
                    ready = true;
                }
                () = self.watcher.changed() => ready = true,
                change = gate.changed() => {
                    if change.is_err() { return Ok(()) }
                    ready = true;
                }
                permit = out.reserve(), if ready && open => {
                    let Ok(permit) = permit else { return Ok(()) };
                    match self.next_response::<V>()? {
                        Some(response) => permit.send(Ok(response)),
                        None => ready = false,
                    }
                }
            }
        }
    }

    fn on_request<V: Variant>(&mut self, request: V::Request) -> Result<(), Status> {
        let (reaction, bytes) = {
            let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            (V::on_request(&mut machine, request, now_ms()), machine.bytes())
        };
        let reaction = reaction.map_err(|refusal| match refusal {
            Refusal::TooManyNames { .. } => Status::resource_exhausted(refusal.to_string()),
            Refusal::NameTooLong { .. } => Status::invalid_argument(refusal.to_string()),
        })?;
        self.take_share(bytes)?;
        let Some(reaction) = reaction else {
            tracing::debug!(node = self.node.id, "the client asks for a type that is not served");
            return Ok(());
        };
        let (node, kind) = (Arc::clone(&self.node), reaction.kind);
        // Before anything is read for an answer: what changes from here on leaves a mark.
        let interest = reaction.interest;
        self.watcher.interest(kind, interest.all, interest.added, interest.removed);
        match reaction.verdict {
            None => {}
            Some(Verdict::Acked { version }) => {
                let batches = std::mem::take(&mut self.carried[kind]).into_numbers();
                self.shared.emit(XdsEvent::Acked { node, kind, version, batches });
            }
            Some(Verdict::Nacked { names, error }) => {
                tracing::warn!(node = node.id, %kind, ?names, error, "a response was refused");
                // What was good in it is sent again.
                let later = std::mem::take(&mut self.due[kind]);
                self.due[kind] = std::mem::take(&mut self.carried[kind]);
                self.due[kind].extend(later);
                self.shared.emit(XdsEvent::Nacked { node, kind, names, error });
            }
        }
        Ok(())
    }

    fn take_share(&mut self, bytes: usize) -> Result<(), Status> {
        self.share.set(bytes).map_err(|spent| Status::resource_exhausted(spent.to_string()))
    }

    fn next_response<V: Variant>(&mut self) -> Result<Option<V::Response>, Status> {
        let (outgoing, bytes) = {
            let view = self.shared.store.view(self.watcher.scopes());
            let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            machine.on_change(&self.watcher.take());
            for (kind, batches) in self.watcher.take_batches().into_iter() {
                self.due[kind].extend(batches);
            }
            (machine.poll(&view), machine.bytes())
        };
        if let Some(Outgoing { kind, .. }) = &outgoing {
            // It is made from the newest of all: what waited is in it, or was not worth telling this client.
            self.carried[*kind] = std::mem::take(&mut self.due[*kind]);
        }
        self.take_share(bytes)?;
        Ok(outgoing.map(|outgoing| V::response(outgoing, &self.shared.options.identifier)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.nodes.disconnected(self.registration);
        self.shared.emit(XdsEvent::Disconnected { node: Arc::clone(&self.node) });
    }
}
