//! Any bytes as the life of one ADS stream, and what must hold for all of them.
//!
//! Three use it: the libFuzzer target (`fuzz/` in this crate's folder), the test that replays the corpus, and the test
//! that draws bytes at random. A step is a request, well-formed or any bytes at all, a change of the store, or a look
//! at what the server sends. Beside the server stands a client that does what the protocol says: it keeps what it
//! accepts and refuses a response with a bad resource in it. When all is said, both must agree.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use prost::Message;

use crate::protocol::{Limits, Machine, Outgoing, Reaction, Refusal};
use crate::resource::{Resource, Version};
use crate::store::{Change, Scope, Store};
use crate::watch::Watcher;
use crate::{ResourceType, Transport};

/// A life is no longer than this, so that every one is over in some milliseconds.
const STEPS: usize = 200;
/// Responses in a row: at most one of each type is in flight.
const IN_A_ROW: usize = ResourceType::ALL.len();
/// Rounds of responses and answers until a stream is settled: refusals are halved, and few names are in play.
const ROUNDS: usize = 100;
const LIMITS: Limits = Limits { names: 12, name_bytes: 64 };
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "*"];

/// Lives it. Panics where something does not hold.
pub fn hold(bytes: &[u8]) {
    let mut input = Input(bytes);
    let transport = if input.next() & 1 == 0 { Transport::Delta } else { Transport::Sotw };
    let mut life = Life::new(transport);
    for _ in 0..STEPS {
        if input.0.is_empty() {
            break;
        }
        if life.step(&mut input).is_err() {
            // The stream has ended, as it must for one that asks for too much.
            return;
        }
    }
    life.settle();
}

/// The bytes, then zeros.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn next(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    fn name(&mut self) -> String {
        NAMES[usize::from(self.next()) % NAMES.len()].to_owned()
    }

    fn names(&mut self) -> Vec<String> {
        (0..self.next() % 4).map(|_| self.name()).collect()
    }

    fn kind(&mut self) -> ResourceType {
        ResourceType::ALL[usize::from(self.next()) % ResourceType::ALL.len()]
    }

    fn slice(&mut self) -> &'a [u8] {
        let len = usize::from(self.next()).min(self.0.len());
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        head
    }
}

type Held = BTreeMap<String, Version>;

/// What the client knows of one type.
#[derive(Default)]
struct Known {
    asked: bool,
    wildcard: bool,
    named: BTreeSet<String>,
    held: Held,
    /// State of the world: names were given once, so an empty list means none.
    explicit: bool,
}

struct Life {
    transport: Transport,
    store: Store,
    watcher: Watcher,
    machine: Machine,
    known: HashMap<ResourceType, Known>,
    /// Responses that are not answered yet
    in_flight: Vec<Outgoing>,
    /// Whether the client did only what the protocol allows.
    honest: bool,
}

impl Life {
    fn new(transport: Transport) -> Self {
        let store = Store::new();
        let watcher = store.watch(vec![scope()]);
        let known = ResourceType::ALL.into_iter().map(|kind| (kind, Known::default())).collect();
        let machine = Machine::new(transport, LIMITS);
        Self { transport, store, watcher, machine, known, in_flight: Vec::new(), honest: true }
    }

    fn step(&mut self, input: &mut Input<'_>) -> Result<(), Refusal> {
        match input.next() % 8 {
            0 | 1 => self.ask(input)?,
            2 | 3 => self.set(input),
            4 => {
                let (kind, name) = (input.kind(), input.name());
                self.store.apply(vec![Change::Remove { scope: scope(), kind, name }]);
            }
            5 => self.look(),
            6 => {
                self.look();
                self.answer()?;
            }
            _ => self.anything(input)?,
        }
        Ok(())
    }

    fn set(&mut self, input: &mut Input<'_>) {
        let (kind, name) = (input.kind(), input.name());
        let body = match input.next() % 5 {
            0 => "bad 1",
            1 => "bad 2",
            2 => "1",
            3 => "2",
            _ => "3",
        };
        let body = Bytes::from_static(body.as_bytes());
        self.store.apply(vec![Change::Set { scope: scope(), kind, name, body }]);
    }

    /// A request that changes what the client wants.
    fn ask(&mut self, input: &mut Input<'_>) -> Result<(), Refusal> {
        let kind = input.kind();
        if self.transport == Transport::Sotw {
            let names = input.names();
            self.known_of(kind).wants(kind, names.iter().cloned().collect());
            return self.sotw(kind, names, String::new(), None);
        }
        let (subscribe, mut unsubscribe) = (input.names(), input.names());
        unsubscribe.retain(|name| !subscribe.contains(name));
        let first = !self.known_of(kind).asked;
        let versions = if first && input.next() & 1 == 1 { input.names() } else { Vec::new() };
        let versions: HashMap<String, String> =
            versions.into_iter().map(|name| (name, "0123456789abcdef".to_owned())).collect();
        let known = self.known_of(kind);
        known.asked = true;
        if first {
            let foreign = Version::from_client("0123456789abcdef");
            known.held = versions.keys().map(|name| (name.clone(), foreign)).collect();
            let nothing = subscribe.is_empty() && unsubscribe.is_empty();
            known.wildcard |= nothing && matches!(kind, ResourceType::Cluster | ResourceType::Listener);
        }
        for name in &unsubscribe {
            known.wildcard &= name != "*";
            known.named.remove(name);
        }
        for name in &subscribe {
            known.wildcard |= name == "*";
            known.named.extend((name != "*").then(|| name.clone()));
        }
        known.forget();
        self.delta(DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: versions,
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// Bytes that may be a request.
    fn anything(&mut self, input: &mut Input<'_>) -> Result<(), Refusal> {
        let bytes = input.slice();
        match self.transport {
            Transport::Delta => {
                let Ok(mut request) = DeltaDiscoveryRequest::decode(bytes) else { return Ok(()) };
                self.honest = false;
                name_type(&mut request.type_url, input);
                self.delta(request)
            }
            Transport::Sotw => {
                let Ok(mut request) = DiscoveryRequest::decode(bytes) else { return Ok(()) };
                self.honest = false;
                name_type(&mut request.type_url, input);
                let reaction = self.machine.on_sotw(request, 1)?;
                self.heed(reaction);
                Ok(())
            }
        }
    }

    fn delta(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Refusal> {
        let reaction = self.machine.on_delta(request, 1)?;
        self.heed(reaction);
        Ok(())
    }

    fn sotw(
        &mut self,
        kind: ResourceType,
        resource_names: Vec<String>,
        response_nonce: String,
        error_detail: Option<RpcStatus>,
    ) -> Result<(), Refusal> {
        let type_url = kind.type_url().to_owned();
        let request = DiscoveryRequest {
            type_url,
            resource_names,
            response_nonce,
            error_detail,
            ..DiscoveryRequest::default()
        };
        let reaction = self.machine.on_sotw(request, 1)?;
        self.heed(reaction);
        Ok(())
    }

    fn heed(&mut self, reaction: Option<Reaction>) {
        if let Some(Reaction { kind, interest, .. }) = reaction {
            self.watcher.interest(kind, interest.all, interest.added, interest.removed);
        }
    }

    /// Takes all that the server sends now.
    fn look(&mut self) {
        let scopes = [scope()];
        for _ in 0..=IN_A_ROW {
            let response = {
                let view = self.store.view(&scopes);
                self.machine.on_change(&self.watcher.take());
                self.machine.poll(&view)
            };
            let Some(response) = response else { return };
            self.judge(&response);
            self.in_flight.push(response);
        }
        panic!("more than one response of a type in flight");
    }

    /// What holds for every response, whoever the client is.
    fn judge(&self, response: &Outgoing) {
        let mut names: Vec<&str> = response.resources.iter().map(|it| it.name.as_ref()).collect();
        names.extend(response.removed.iter().map(AsRef::as_ref));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "a name comes twice");
        assert!(!response.nonce.is_empty());
        let same_type = |other: &Outgoing| other.kind == response.kind;
        assert!(!self.honest || !self.in_flight.iter().any(same_type), "two of a type in flight");
        assert!(self.transport == Transport::Delta || response.removed.is_empty());
    }

    /// The client's word on everything that is in flight.
    fn answer(&mut self) -> Result<(), Refusal> {
        for response in std::mem::take(&mut self.in_flight) {
            let (kind, nonce) = (response.kind, response.nonce.clone());
            let refused =
                self.transport == Transport::Delta && response.resources.iter().any(|it| is_bad(it));
            let error_detail = refused.then(|| RpcStatus { message: "no".into(), ..RpcStatus::default() });
            if !refused {
                self.accept(&response);
            }
            match self.transport {
                Transport::Delta => {
                    let type_url = kind.type_url().to_owned();
                    let request = DeltaDiscoveryRequest {
                        type_url,
                        response_nonce: nonce,
                        error_detail,
                        ..Default::default()
                    };
                    self.delta(request)?;
                }
                Transport::Sotw => {
                    let known = self.known_of(kind);
                    let mut names: Vec<String> = known.named.iter().cloned().collect();
                    names.extend((known.wildcard && known.explicit).then(|| "*".to_owned()));
                    self.sotw(kind, names, nonce, error_detail)?;
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, response: &Outgoing) {
        let complete = self.transport == Transport::Sotw && response.kind.is_top_level();
        let known = self.known_of(response.kind);
        if complete {
            known.held.clear();
        }
        for resource in &response.resources {
            known.held.insert(resource.name.to_string(), resource.version);
        }
        for name in &response.removed {
            known.held.remove(name.as_ref());
        }
        known.forget();
    }

    /// All is said: what the client holds is what the store has, but for what it refuses.
    fn settle(&mut self) {
        for _ in 0..ROUNDS {
            self.look();
            if self.in_flight.is_empty() {
                break;
            }
            if self.answer().is_err() {
                return;
            }
        }
        if !self.honest {
            return;
        }
        self.look();
        assert!(self.in_flight.is_empty(), "the server does not come to rest");
        let scopes = [scope()];
        let view = self.store.view(&scopes);
        for kind in ResourceType::ALL {
            let known = &self.known[&kind];
            let there: BTreeSet<Arc<str>> = view.names(kind).cloned().collect();
            let wanted = |name: &str| known.wildcard || known.named.contains(name);
            for name in there.iter().filter(|name| wanted(name)) {
                let Some(resource) = view.get(kind, name) else { continue };
                let refused = self.transport == Transport::Delta && is_bad(resource);
                let held = known.held.get(name.as_ref()) == Some(&resource.version);
                assert!(held || refused, "{kind} {name} is wanted and there, and the client has it not");
            }
            let told = self.transport == Transport::Delta || kind.is_top_level();
            let gone = known.held.keys().find(|name| !there.contains(name.as_str()));
            assert!(!told || gone.is_none(), "{kind} {gone:?} is gone, and the client was not told");
        }
        let claimed: usize = self.known.values().map(|known| known.named.len()).sum();
        assert_eq!(self.machine.bytes() == 0, claimed == 0, "what is counted is what is subscribed to");
    }

    fn known_of(&mut self, kind: ResourceType) -> &mut Known {
        self.known.entry(kind).or_default()
    }
}

impl Known {
    /// State of the world: these are the names from now on.
    fn wants(&mut self, kind: ResourceType, mut names: BTreeSet<String>) {
        self.explicit |= !names.is_empty();
        self.wildcard = names.remove("*") || (kind.is_top_level() && names.is_empty() && !self.explicit);
        self.named = names;
        self.forget();
    }

    /// A client keeps nothing that it does not subscribe to.
    fn forget(&mut self) {
        if !self.wildcard {
            let named = &self.named;
            self.held.retain(|name, _| named.contains(name));
        }
    }
}

/// Most bytes name no type that there is.
fn name_type(url: &mut String, input: &mut Input<'_>) {
    if ResourceType::from_type_url(url).is_none() && input.next() & 1 == 0 {
        *url = input.kind().type_url().to_owned();
    }
}

fn is_bad(resource: &Resource) -> bool {
    let mut body = resource.body();
    body.copy_to_bytes(body.remaining()).starts_with(b"bad")
}

fn scope() -> Scope {
    Scope::new("s")
}
