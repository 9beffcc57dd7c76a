//! What the news of a peer means to the core. Pure, and shared by the shell and the simulation: both must read the same
//! silence the same way.

use crate::{core::Input, timeline::Record};
use tidegate_link::{PeerEvent, Why};
use tidegate_model::ClusterName;

/// What becomes of a peer's news.
#[derive(Debug)]
pub enum Heard {
    /// The core must know.
    Input(Input),
    /// Nothing is decided by it, but people want to see it.
    Record(Record),
    /// A round trip, which a core wants to know that goes by measured distances ([`crate::core::Core::measures`]).
    RoundTrip(Input),
}

/// What a peer's event means.
#[must_use]
pub fn heard(peer: ClusterName, event: &PeerEvent) -> Heard {
    let input = match event {
        PeerEvent::Reachable { quick, first } => {
            let detail = match (quick, first) {
                (true, _) => "heard again within 5 s, the same agent as before",
                (false, true) => "heard for the first time",
                (false, false) => "heard again",
            };
            // There is nothing to fail back from if it was never heard: a fleet that starts holds nothing down.
            Input::Reachable { peer, quick: *quick || *first, detail: detail.to_owned() }
        }
        PeerEvent::Cleared => Input::Reachable { peer, quick: true, detail: "heard again".to_owned() },
        PeerEvent::Suspect => Input::Suspect(peer),
        PeerEvent::Unreachable { why } => Input::Unreachable(peer, why_text(*why).to_owned()),
        PeerEvent::AgentDown => {
            return record(
                peer,
                "AgentDown",
                "its gateways answer, its agent does not: its last word stands",
            );
        }
        PeerEvent::AgentBack => {
            return record(peer, "AgentBack", "its agent is heard again behind its gateways");
        }
        PeerEvent::Restarted => {
            return record(
                peer,
                "Restarted",
                "another agent of it is heard: a replica, or one that started anew",
            );
        }
        PeerEvent::Rtt(rtt) => return Heard::RoundTrip(Input::RoundTrip { peer, rtt: rtt.smoothed }),
    };
    Heard::Input(input)
}

fn record(peer: ClusterName, state: &'static str, reason: &str) -> Heard {
    Heard::Record(Record {
        kind: "peerChanged",
        peer: Some(peer),
        state: Some(state),
        reason: reason.to_owned(),
        ..Record::default()
    })
}

const fn why_text(why: Why) -> &'static str {
    match why {
        Why::Corroborated => "its gateways are silent, and requests through them found no answer either",
        Why::Silent => "its gateways have been silent for 0.9 s",
        Why::SilentForLong => "its gateways have been silent for 2.5 s, on a line that loses packets",
        Why::NeverHeard => "neither it nor its gateways were heard within 0.9 s after it was named",
    }
}
