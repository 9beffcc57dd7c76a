//! Both variants against a real store, without a network. The names are sentences of the
//! xDS protocol text, or of this crate's promises.

mod delta;
mod order;
mod sotw;

use bytes::{Buf, Bytes};
use envoy_types::pb::google::rpc::Status as RpcStatus;

use super::*;
use crate::status::ResourceState;
use crate::store::{Change, Scope, Store};
use crate::watch::Watcher;

pub(super) use ResourceType::{Cluster, Endpoint, Listener, Route};

/// When everything happens here, in milliseconds since 1970.
pub(super) const NOW: u64 = 1_700_000_000_000;

/// A stream without a network.
pub(super) struct Stream {
    pub(super) store: Store,
    pub(super) machine: Machine,
    watcher: Watcher,
}

impl Stream {
    pub(super) fn new(transport: Transport, content: &[(ResourceType, &str, &str)]) -> Self {
        let store = Store::new();
        let watcher = store.watch(vec![Scope::new("s")]);
        let stream =
            Self { store, machine: Machine::new(transport, Limits { names: 100, name_bytes: 100 }), watcher };
        stream.set(content);
        stream
    }

    pub(super) fn set(&self, content: &[(ResourceType, &str, &str)]) {
        self.apply(content, &[]);
    }

    pub(super) fn remove(&self, names: &[(ResourceType, &str)]) {
        self.apply(&[], names);
    }

    /// In one batch.
    pub(super) fn apply(&self, set: &[(ResourceType, &str, &str)], remove: &[(ResourceType, &str)]) {
        let scope = || Scope::new("s");
        let set = set.iter().map(|(kind, name, body)| Change::Set {
            scope: scope(),
            kind: *kind,
            name: (*name).into(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        });
        let remove = remove.iter().map(|(kind, name)| Change::Remove {
            scope: scope(),
            kind: *kind,
            name: (*name).into(),
        });
        self.store.apply(set.chain(remove).collect());
    }

    pub(super) fn version(&self, kind: ResourceType, name: &str) -> String {
        self.store.version(&Scope::new("s"), kind, name).unwrap()
    }

    pub(super) fn react(&mut self, reaction: Result<Option<Reaction>, Refusal>) -> Option<Verdict> {
        let Reaction { kind, interest, verdict } = reaction.unwrap().unwrap();
        self.watcher.interest(kind, interest.all, interest.added, interest.removed);
        verdict
    }

    /// The next response, if any.
    pub(super) fn next(&mut self) -> Option<Outgoing> {
        let scopes = [Scope::new("s")];
        let view = self.store.view(&scopes);
        self.machine.on_change(&self.watcher.take());
        self.machine.poll(&view)
    }

    /// `name State`, by name.
    pub(super) fn states(&self, kind: ResourceType) -> Vec<String> {
        let of_kind = self.machine.resources().filter(|resource| resource.kind == kind);
        let word = |state| match state {
            ResourceState::Nacked { .. } => "Nacked".to_owned(),
            other => format!("{other:?}"),
        };
        of_kind.map(|resource| format!("{} {}", resource.name, word(resource.state))).collect()
    }

    /// The next response must be there and hold this.
    pub(super) fn expect(&mut self, kind: ResourceType, content: &str) -> Outgoing {
        let next = self.next().expect("a response is due");
        assert_eq!((next.kind, text(&next).as_str()), (kind, content));
        next
    }

    pub(super) fn expect_nothing(&mut self) {
        if let Some(next) = self.next() {
            panic!("no response is due, but: {} {}", next.kind, text(&next));
        }
    }
}

/// `a=1 b=2 -c`: resources with their bodies, then what is told not to exist.
fn text(outgoing: &Outgoing) -> String {
    let resources = outgoing.resources.iter();
    let resources = resources.map(|r| {
        let mut body = r.body();
        format!("{}={}", r.name, String::from_utf8_lossy(&body.copy_to_bytes(body.remaining())))
    });
    let removed = outgoing.removed.iter().map(|name| format!("-{name}"));
    resources.chain(removed).collect::<Vec<_>>().join(" ")
}

pub(super) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(super) fn refusal() -> Option<RpcStatus> {
    Some(RpcStatus { code: 3, message: "bad".into(), details: Vec::new() })
}

pub(super) fn nacked(names: &[&str]) -> Option<Verdict> {
    Some(Verdict::Nacked { names: strings(names), error: "bad".into() })
}
