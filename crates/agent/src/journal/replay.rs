//! The same inputs into a fresh core: the same decisions, or the first one that differs.

use super::{JournalFile, Line, values};
use crate::{core::Core, timeline::Record};
use std::path::PathBuf;
use tidegate_model::Time;

/// Where a replay decided otherwise than the agent had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The agent's time.
    pub at: Time,
    /// What the agent had decided at this input, as JSON.
    pub written: String,
    /// What the replay decides.
    pub replayed: String,
}

/// What a replay gave.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// All decisions, in order.
    pub decisions: Vec<(Time, Record)>,
    /// Inputs that were fed.
    pub inputs: u64,
    /// Inputs that are missing.
    pub missing: u64,
    /// Whether the replay begins where the agent began, and nothing is missing: then every decision must agree.
    pub exact: bool,
    /// The first decision that does not agree with what was written.
    pub difference: Option<Difference>,
}

/// Feeds files to fresh cores, in the order in which they are given. A part that follows its predecessor goes on with the
/// same core; any other begins with a core of its own. `check` stops at the first difference.
#[must_use]
pub fn replay(files: &[JournalFile], check: bool) -> Replayed {
    let mut replayed = Replayed { exact: true, ..Replayed::default() };
    let mut running: Option<(Core, u64, u32)> = None;
    for file in files {
        let header = &file.header;
        let follows = |life: u64, part: u32| life == header.started_unix_micros && part + 1 == header.part;
        let mut core = match running.take() {
            Some((core, life, part)) if replayed.missing == 0 && follows(life, part) => core,
            _ => {
                replayed.exact &= header.part == 0;
                let mut core = Core::new(header.cluster.clone(), header.saved.clone(), header.at);
                for input in &header.resume {
                    core.handle(input.clone(), header.at);
                }
                core
            }
        };
        for (index, line) in file.lines.iter().enumerate() {
            let (at, input, written) = match line {
                Line::Missing(count) => {
                    replayed.missing += count;
                    replayed.exact = false;
                    continue;
                }
                Line::Told { at, input, records } => (*at, input, records),
            };
            replayed.inputs += 1;
            let records = core.handle(input.clone(), at).records;
            let again = values(&records);
            replayed.decisions.extend(records.into_iter().map(|record| (at, record)));
            if check && again != *written {
                let text = |values: &[serde_json::Value]| {
                    values.iter().map(|value| format!("{value}\n")).collect::<String>()
                };
                replayed.difference = Some(Difference {
                    path: file.path.clone(),
                    // The header is the first line.
                    line: index + 2,
                    at,
                    written: text(written),
                    replayed: text(&again),
                });
                return replayed;
            }
        }
        running = Some((core, header.started_unix_micros, header.part));
    }
    replayed
}
