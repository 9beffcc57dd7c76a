//! How a request of the state-of-the-world protocol is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::track::Track;
use super::{Interest, Verdict};
use crate::ResourceType;

pub(super) fn on_request(
    track: &mut Track,
    kind: ResourceType,
    request: DiscoveryRequest,
    now_ms: u64,
) -> (Interest, Option<Verdict>) {
    let first = !track.started;
    track.started = true;
    let mut interest = Interest { all: track.wildcard(), ..Interest::default() };
    // With a nonce that is out of date nothing counts: the client will say it again. (Before
    // our first response a nonce can only stem from an earlier stream.)
    let nonce = &request.response_nonce;
    if track.last_nonce().is_some_and(|last| !nonce.is_empty() && *nonce != last.to_string()) {
        return (interest, None);
    }
    let verdict = track.judge(nonce, request.error_detail.map(|status| status.message), now_ms);

    let names: BTreeSet<&str> = request.resource_names.iter().map(String::as_str).collect();
    track.explicit |= !names.is_empty();
    let all_by_default = kind.is_top_level() && names.is_empty() && !track.explicit;
    interest.all = names.contains("*") || all_by_default;
    let newly_all = interest.all && !track.wildcard();
    track.set_wildcard(interest.all);
    let gone: Vec<Arc<str>> = track.names().filter(|name| !names.contains(name.as_ref())).cloned().collect();
    for name in gone {
        interest.removed.extend(track.unsubscribe(&name, false));
    }
    for name in names.into_iter().filter(|name| *name != "*") {
        if track.is_named(name) {
            continue;
        }
        interest.added.extend(track.subscribe(name, true));
    }
    // The state of the world has changed for the client, even if it is empty.
    if kind.is_top_level() && (first || newly_all || !interest.added.is_empty()) {
        track.answer_owed = true;
    }
    (interest, verdict)
}
