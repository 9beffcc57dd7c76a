//! What the bookkeeping of one type tells people.

use super::Track;
use crate::ResourceType;
use crate::status::{RefusedResource, ResourceState, ResourceStatus, TypeStatus};

impl Track {
    pub(in crate::protocol) fn status(&self, kind: ResourceType) -> TypeStatus {
        let refused = self.refusals.iter().map(|(name, refused)| RefusedResource {
            name: name.to_string(),
            version: refused.version.to_string(),
            error: refused.error.to_string(),
            at_ms: refused.at_ms,
        });
        TypeStatus {
            kind,
            wildcard: self.wildcard,
            subscribed: self.named,
            sent: self.last_nonce.map(|_| self.version()),
            acked: self.acked.map(|version| version.to_string()),
            in_flight: self.in_flight.is_some(),
            last_nack: self.last_nack.clone(),
            refused: refused.collect(),
        }
    }

    /// How each resource stands that the client knows of or asked for.
    pub(in crate::protocol) fn resources(&self, kind: ResourceType) -> impl Iterator<Item = ResourceStatus> {
        self.entries.iter().map(move |(name, entry)| {
            let refused = self.refusals.get(name);
            let state = match (entry.sent, refused) {
                (_, Some(refused)) => {
                    let (version, error) = (refused.version.to_string(), refused.error.to_string());
                    ResourceState::Nacked { version, error, at_ms: refused.at_ms }
                }
                (None, None) => ResourceState::Requested,
                (Some(sent), None) if entry.acked != Some(sent) => ResourceState::Sent,
                (Some(sent), None) if sent.exists() => ResourceState::Acked,
                (Some(_), None) => ResourceState::DoesNotExist,
            };
            let version = entry.acked.filter(|version| version.exists()).map(|version| version.to_string());
            let acked_at_ms = (entry.acked_at_ms > 0).then_some(entry.acked_at_ms);
            ResourceStatus { kind, name: name.to_string(), version, acked_at_ms, state }
        })
    }
}
