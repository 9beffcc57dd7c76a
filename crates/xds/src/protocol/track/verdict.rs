//! What the client says about a response: accepted, or refused and why.

use std::sync::Arc;

use super::{Absence, Taken, Track};
use crate::protocol::Verdict;
use crate::protocol::refusals::{self, Refused};
use crate::resource::Version;
use crate::status::Nack;

impl Track {
    /// Takes the client's word on a response; `None` if the nonce is not that of the one in
    /// flight.
    pub(in crate::protocol) fn judge(
        &mut self,
        nonce: &str,
        error: Option<String>,
        now_ms: u64,
    ) -> Option<Verdict> {
        let current = self.in_flight.as_ref()?;
        if current.nonce.to_string() != nonce {
            return None;
        }
        let response = self.in_flight.take()?;
        let Some(error) = error.map(refusals::cut) else {
            self.acked = Some(response.version);
            for (name, taken) in &response.items {
                self.acknowledged(name, taken.version, now_ms);
            }
            return Some(Verdict::Acked { version: response.version.to_string() });
        };
        let (culprits, sure) = refusals::named(&error, &response.items);
        let words: Arc<str> = error.as_str().into();
        for (name, Taken { version, .. }) in &culprits {
            // In a complete response, what the client holds already is hardly what it refuses.
            let held = self.entries.get(name).is_some_and(|entry| entry.acked == Some(*version));
            if sure || (self.absence == Absence::Implied && !held) {
                let refused = Refused { version: *version, error: Arc::clone(&words), at_ms: now_ms };
                self.refusals.add(name, refused);
            }
        }
        let culprits = culprits.iter().take(refusals::MAX_NAMES);
        let names: Vec<String> = culprits.map(|(name, _)| name.to_string()).collect();
        let version = response.version.to_string();
        self.last_nack = Some(Nack { version, names: names.clone(), error: error.clone() });
        self.refuse(&response.items);
        Some(Verdict::Nacked { names, error })
    }

    fn acknowledged(&mut self, name: &Arc<str>, version: Version, now_ms: u64) {
        self.refusals.remove(name);
        let Some(entry) = self.entries.get_mut(name) else {
            // Forgotten while it was on its way, and wanted again before it arrived.
            if self.wildcard && version.exists() {
                self.client_holds(name, version);
            }
            return;
        };
        entry.acked = Some(version);
        entry.acked_at_ms = now_ms;
        entry.refused = None;
        entry.group = 0;
        if !version.exists() && !entry.named && entry.sent == Some(version) {
            self.forget(name);
            // It may be there again by now.
            self.stale.add(name);
        }
    }

    fn refuse(&mut self, items: &[(Arc<str>, Taken)]) {
        // A complete response cannot be cut in two; Envoy takes what is good in it.
        let alone = items.len() <= 1 || self.absence == Absence::Implied;
        let first_group = self.last_group + 1;
        if !alone {
            self.last_group += 2;
        }
        for (i, (name, Taken { version, asked })) in items.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            if entry.sent == Some(*version) {
                self.version.subtract(entry.sent);
                entry.sent = entry.acked;
                self.version.add(entry.sent);
            }
            if alone {
                entry.refused = Some(*version);
                entry.group = 0;
            } else {
                entry.asked |= *asked;
                entry.group = first_group + u32::from(i >= items.len() / 2);
            }
            self.stale.add(name);
        }
    }
}
