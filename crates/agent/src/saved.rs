//! What an agent keeps on disk: verdicts and hold-downs, so that a restart forgets nothing.
//!
//! What changed is appended, a checksummed line each, to a log (`state.00000001.log`, ...); when that has grown, the next
//! one is begun, and the whole is written anew from disk as `state.json` in the background. Whole is: `state.json`, then
//! the logs with higher numbers than it says, in order; the last word on each thing holds. A line that is torn or changed
//! is told and passed over, and so is a `state.json` that is: then `state.previous.json` is used, whose logs are still
//! there. At any moment a crash loses at most what was not written yet, about a second.
//!
//! Times are kept as what remains of them, with the agent's time at which that was so. They run on until the last word of
//! the same life of an agent: time that nobody watched does not count.

mod folder;
mod keeper;
mod line;
mod merge;

pub use folder::StateDir;
pub(crate) use keeper::Keeper;

use crate::{actions::Action, drills::Fault};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_api::TrafficShift;
use tidegate_engine::{Gathered, PartKey, Saved, SavedPart, Source};

/// All that survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedAgent {
    /// What the engine keeps.
    pub engine: Saved,
    /// Where requests were seen to enter, so that their plans are there before the gateways come back.
    pub sources: BTreeSet<Source>,
    /// The shifts that the manifests declared and that were started: none is started twice.
    #[serde(default)]
    pub declared_shifts: BTreeMap<String, TrafficShift>,
    /// What operators did about shifts, with what remains of each.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// Where the names of other clusters' gateways led last.
    #[serde(default)]
    pub resolved: Resolved,
    /// The faults of drills, with what remains of each.
    #[serde(default)]
    pub drills: Vec<Fault>,
}

/// Where names lead.
pub type Resolved = BTreeMap<String, BTreeSet<IpAddr>>;

/// A part of [`SavedAgent`]. A later one about the same replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AgentPart {
    /// Of what the engine keeps.
    Engine(SavedPart),
    /// The rest.
    #[serde(rename_all = "camelCase")]
    Agent {
        /// See [`SavedAgent::sources`].
        sources: BTreeSet<Source>,
        /// See [`SavedAgent::declared_shifts`].
        declared_shifts: BTreeMap<String, TrafficShift>,
        /// See [`SavedAgent::actions`].
        #[serde(default)]
        actions: Vec<Action>,
        /// See [`SavedAgent::resolved`].
        #[serde(default)]
        resolved: Resolved,
        /// See [`SavedAgent::drills`].
        #[serde(default)]
        drills: Vec<Fault>,
    },
}

impl AgentPart {
    /// What it is about; `None` is the agent itself.
    fn key(&self) -> Option<PartKey> {
        match self {
            Self::Engine(part) => Some(part.key()),
            Self::Agent { .. } => None,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self, Self::Engine(part) if part.is_gone())
    }

    /// The same `by` later; with `stop`, nobody watched it after that.
    fn pass(&mut self, by: Duration, stop: bool) {
        match self {
            Self::Engine(part) => {
                part.age(by);
                if stop {
                    part.stop();
                }
            }
            Self::Agent { actions, drills, .. } => {
                for fault in drills {
                    fault.remaining = fault.remaining.saturating_sub(by);
                }
                for shift in actions.iter_mut().filter_map(|action| action.shift.as_mut()) {
                    shift.remaining = shift.remaining.saturating_sub(by);
                }
            }
        }
    }
}

impl SavedAgent {
    /// The same in parts.
    pub fn into_parts(self) -> impl Iterator<Item = AgentPart> {
        let Self { engine, sources, declared_shifts, actions, resolved, drills } = self;
        let rest = AgentPart::Agent { sources, declared_shifts, actions, resolved, drills };
        engine.into_parts().map(AgentPart::Engine).chain([rest])
    }

    /// From parts.
    fn gather(parts: impl FnOnce(&mut dyn FnMut(AgentPart))) -> Self {
        let mut engine = Gathered::default();
        let mut saved = Self::default();
        parts(&mut |part| match part {
            AgentPart::Engine(part) => engine.take(part),
            AgentPart::Agent { sources, declared_shifts, actions, resolved, drills } => {
                saved.drills = drills;
                saved.resolved = resolved;
                saved.actions = actions;
                saved.sources = sources;
                saved.declared_shifts = declared_shifts;
            }
        });
        saved.engine = engine.into_saved();
        saved
    }
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no state file, or torn.
    #[error("{path}: {why}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl StateError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    fn content(path: &Path, why: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), why: why.into() }
    }
}

#[cfg(test)]
mod fixture;
