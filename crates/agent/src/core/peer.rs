//! How the way to another cluster stands.

use super::{Core, Output, Record};
use tidegate_model::ClusterName;

/// What is known of the way to another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Nothing was heard yet since the start.
    Unheard,
    /// It is in reach.
    Reachable,
    /// It has been silent for a moment.
    Suspect,
    /// It is out of reach, and why.
    Unreachable(String),
}

impl PeerState {
    /// The state as one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unheard => "Unheard",
            Self::Reachable => "Reachable",
            Self::Suspect => "Suspect",
            Self::Unreachable(_) => "Unreachable",
        }
    }
}

impl Core {
    pub(super) fn set_peer(
        &mut self,
        peer: &ClusterName,
        new: PeerState,
        reason: String,
        output: &mut Output,
    ) -> bool {
        let Some(state) = self.peers.get_mut(peer) else { return false };
        if *state == new {
            return false;
        }
        output.records.push(Record {
            kind: "peerChanged",
            peer: Some(peer.clone()),
            state: Some(new.word()),
            reason,
            ..Record::default()
        });
        *state = new;
        true
    }
}
