//! A whole and the logs after it as one: the last word on each thing, with its times run on as far as anybody watched.
//!
//! The logs are held in memory, and no log is long; of the whole a part at a time.

use super::line::{Found, Head, Line, Lines};
use super::{AgentPart, StateError};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_engine::PartKey;
use tidegate_model::Time;

/// What the logs say.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    parts: BTreeMap<Option<PartKey>, (AgentPart, Time, u64)>,
    /// Until when each life has seen time pass.
    until: BTreeMap<u64, Time>,
    /// The last life.
    life: u64,
}

impl Overlay {
    /// What was written last by the life of a whole.
    pub(super) fn begin(head: Head) -> Self {
        Self { life: head.life, until: BTreeMap::from([(head.life, head.at)]), ..Self::default() }
    }

    /// Takes in a log; what is wrong with it is told, and the rest of it holds.
    pub(super) fn log(&mut self, path: &Path, problems: &mut Vec<StateError>) -> Result<(), StateError> {
        let io = StateError::io(path);
        let Some(mut lines) = Lines::open(path).map_err(&io)? else { return Ok(()) };
        let Some(head) = lines.head().map_err(&io)? else {
            // A crash just when it was begun: nothing is in it.
            problems.push(StateError::content(path, "its first line is torn; what it holds is not known"));
            return Ok(());
        };
        self.life = head.life;
        self.saw(head.life, head.at);
        let mut bad = 0_usize;
        let mut torn = false;
        while let Some(found) = lines.next().map_err(&io)? {
            torn = false;
            match found {
                Found::Line(line) => self.line(*line, head.life),
                Found::Bad => {
                    bad += 1;
                    torn = true;
                }
            }
        }
        // The last line is torn by any crash: that is no fault of the disk.
        let bad = bad - usize::from(torn);
        if bad > 0 {
            problems.push(StateError::content(
                path,
                format!("{bad} lines were changed or torn, and are passed over"),
            ));
        }
        Ok(())
    }

    fn line(&mut self, line: Line, life: u64) {
        let at = match line {
            Line::Part(at, part) => {
                self.parts.insert(part.key(), (part, at, life));
                at
            }
            Line::Until(at) => at,
            Line::Head(_) | Line::End(_) => return,
        };
        self.saw(life, at);
    }

    /// The last life, and until when it has seen time pass.
    pub(super) fn end(&self) -> (u64, Time) {
        (self.life, self.until.get(&self.life).copied().unwrap_or_default())
    }

    fn saw(&mut self, life: u64, at: Time) {
        let until = self.until.entry(life).or_default();
        *until = at.max(*until);
    }

    /// A part as it stands at the end; `None` if there is a later word on it.
    fn settle(&self, mut part: AgentPart, at: Time, life: u64) -> Option<AgentPart> {
        if self.parts.contains_key(&part.key()) {
            return None;
        }
        part.pass(self.passed(at, life), life != self.life);
        Some(part)
    }

    /// The parts of the logs as they stand at the end, but for those that are gone.
    fn into_parts(mut self) -> impl Iterator<Item = AgentPart> {
        let parts = std::mem::take(&mut self.parts);
        parts.into_values().filter(|(part, ..)| !part.is_gone()).map(move |(mut part, at, life)| {
            part.pass(self.passed(at, life), life != self.life);
            part
        })
    }

    fn passed(&self, at: Time, life: u64) -> Duration {
        self.until.get(&life).map_or(Duration::ZERO, |until| until.since(at))
    }
}

/// A whole that can be read.
#[derive(Debug)]
pub(super) enum Whole {
    /// There never was one.
    None,
    /// A file of lines.
    Lines(PathBuf, Head),
    /// A text of the first format.
    Text(Box<super::SavedAgent>),
}

impl Whole {
    /// What it is; of one without lines nothing is after it but all logs.
    pub(super) fn head(&self) -> Head {
        match self {
            Self::Lines(_, head) => *head,
            Self::None | Self::Text(_) => Head::default(),
        }
    }

    /// Gives all parts, each as the logs leave it.
    pub(super) fn parts(
        self,
        logs: Overlay,
        give: &mut dyn FnMut(AgentPart) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        match self {
            Self::None => {}
            Self::Text(saved) => {
                let mut parts = saved.into_parts().filter_map(|part| logs.settle(part, Time::ZERO, 0));
                parts.try_for_each(&mut *give)?;
            }
            Self::Lines(path, head) => {
                let io = StateError::io(&path);
                let mut lines = Lines::open(&path).map_err(&io)?;
                while let Some(lines) = &mut lines
                    && let Some(found) = lines.next().map_err(&io)?
                {
                    let Found::Line(line) = found else { continue };
                    if let Line::Part(at, part) = *line {
                        logs.settle(part, at, head.life).map(&mut *give).transpose()?;
                    }
                }
            }
        }
        logs.into_parts().try_for_each(give)
    }
}
