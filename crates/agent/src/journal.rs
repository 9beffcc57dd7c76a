//! What the core was told and what it decided, in order, on disk: the base of `tidegate replay`.
//!
//! One file is JSON, a line each: first a [`Header`], then [`Line`]s. A life of an agent is one file or several *parts*. Part 0
//! begins where the agent began, with the state that it found on disk, so its replay is exact. A later part begins with a
//! checkpoint (saved state, manifests, ways to peers), which suffices to go on, but not to repeat every decision exactly: after
//! its own predecessor it is exact, alone it is not, and a replay says so.
//!
//! It never holds up the loop: inputs go through a bounded channel to a thread of its own; when that is full they are
//! dropped, and a line with the number of those says so. So they are while more happens than a journal may write ([`Limits`]). The agent's clock is written, no wall clock but in the header, and
//! nothing of it is ever read by the agent itself.
//!
//! Manifests are written as they were lowered, not as their text: a replay must not depend on how files are read.

mod allowance;
mod read;
mod replay;
mod write;

pub use read::{JournalError, JournalFile, read};
pub use replay::{Difference, Replayed, replay};
pub use write::{Journal, Limits, Writer};

use crate::{
    core::{Core, Input, PeerState},
    saved::SavedAgent,
    timeline::Record,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidegate_model::{ClusterName, Time};

/// What the first line of every journal says it is.
pub const FORMAT: &str = "tidegate-journal";
/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// The folder within the state folder.
pub const FOLDER: &str = "journal";

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The version of Tidegate that wrote it: another one may decide otherwise.
    pub tidegate: String,
    /// The cluster whose agent it was.
    pub cluster: ClusterName,
    /// When the agent started, by its wall clock, in microseconds since 1970; it names the life.
    pub started_unix_micros: u64,
    /// The number of the file in this life, from 0.
    pub part: u32,
    /// The agent's time at which it begins.
    pub at: Time,
    /// The state that the core began or goes on with.
    pub saved: Option<SavedAgent>,
    /// What the core must be told to go on from here; empty in part 0.
    pub resume: Vec<Input>,
}

impl Header {
    /// The header of an agent that starts.
    #[must_use]
    pub fn first(cluster: ClusterName, saved: Option<SavedAgent>, started_unix_micros: u64) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            tidegate: env!("CARGO_PKG_VERSION").to_owned(),
            cluster,
            started_unix_micros,
            part: 0,
            at: Time::ZERO,
            saved,
            resume: Vec::new(),
        }
    }

    /// The header of a later part, with what `core` knows now.
    #[must_use]
    pub(crate) fn checkpoint(core: &Core, now: Time) -> Self {
        let mut resume = vec![Input::Manifests(Arc::clone(core.config()))];
        resume.extend(core.unusable().map(|config| Input::Manifests(Arc::clone(config))));
        for (peer, state) in core.peers() {
            let peer = peer.clone();
            resume.extend(match state {
                PeerState::Unheard => None,
                PeerState::Reachable => Some(Input::Reachable { peer, quick: true, detail: String::new() }),
                PeerState::Suspect => Some(Input::Suspect(peer)),
                PeerState::Unreachable(why) => Some(Input::Unreachable(peer, why.clone())),
            });
        }
        resume.extend(core.replica_inputs());
        Self { at: now, saved: core.save(now), resume, ..Self::first(core.own().clone(), None, 0) }
    }
}

/// A line after the header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Line {
    /// The core was told something.
    Told {
        /// When, by the agent's clock.
        at: Time,
        /// What.
        input: Input,
        /// What the core decided at that, as the timeline shows it (without number and wall clock).
        records: Vec<serde_json::Value>,
    },
    /// Here so many inputs are missing, because the disk was too slow, or too much would have been written.
    Missing(u64),
}

/// Records as they are written.
pub(crate) fn values(records: &[Record]) -> Vec<serde_json::Value> {
    records.iter().map(|record| serde_json::to_value(record).unwrap_or_default()).collect()
}
