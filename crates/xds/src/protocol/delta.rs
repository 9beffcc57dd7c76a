//! How a request of the incremental protocol is read.

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::track::Track;
use super::{Interest, Verdict};
use crate::ResourceType;
use crate::resource::Version;

pub(super) fn on_request(
    track: &mut Track,
    kind: ResourceType,
    request: DeltaDiscoveryRequest,
    now_ms: u64,
) -> (Interest, Option<Verdict>) {
    let first = !track.started;
    track.started = true;
    let error = request.error_detail.map(|status| status.message);
    let verdict = track.judge(&request.response_nonce, error, now_ms);

    // Subscriptions count whatever the nonce, also with one that is out of date.
    let mut interest = Interest::default();
    let was_wildcard = track.wildcard();
    let nothing_said =
        request.resource_names_subscribe.is_empty() && request.resource_names_unsubscribe.is_empty();
    if first {
        for (name, version) in &request.initial_resource_versions {
            track.client_holds(name, Version::from_client(version));
        }
        if kind.is_top_level() && nothing_said {
            track.set_wildcard(true);
        }
    }
    // The wildcard first: under it, a name that is given up may still be wanted.
    let all_asked = request.resource_names_subscribe.iter().any(|name| name == "*");
    if all_asked {
        track.set_wildcard(true);
        if was_wildcard {
            track.ask_all_again();
        }
    }
    for name in request.resource_names_unsubscribe.iter().filter(|name| *name != "*") {
        interest.removed.extend(track.unsubscribe(name, true));
    }
    for name in &request.resource_names_subscribe {
        if name != "*" {
            // In the first request the client says what it holds; later it forgets what it
            // subscribes to again, and must be given it whatever we believe it has.
            interest.added.extend(track.subscribe(name, !first));
        }
    }
    // Last: what is named now is kept.
    if !all_asked && request.resource_names_unsubscribe.iter().any(|name| name == "*") {
        track.set_wildcard(false);
    }
    interest.all = track.wildcard();
    // A client waits for the answer to a wildcard even if there is nothing.
    if interest.all && (all_asked || !was_wildcard) && request.initial_resource_versions.is_empty() {
        track.answer_owed = true;
    }
    (interest, verdict)
}
