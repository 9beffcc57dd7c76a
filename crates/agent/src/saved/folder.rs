//! The files of the state folder: which there are, what they say together, and how a new whole replaces the old one.

use super::{
    AgentPart, SavedAgent, StateError,
    line::{FORMAT, Head, Line, Lines},
    merge::{Overlay, Whole},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

const FILE: &str = "state.json";
const PREVIOUS: &str = "state.previous.json";
const NEW: &str = "state.new.json";

/// A whole is written in pieces of about this size.
const PIECE: usize = 1 << 16;

/// The first format: one text with its checksum.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    format: u32,
    sha256: String,
    /// The state as JSON text: the checksum is over these very bytes.
    state: String,
}

/// The folder that holds the state.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
}

impl StateDir {
    /// Uses `dir`, and makes it if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(dir).map_err(StateError::io(dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// All that was kept, or none if nothing ever was; and what was wrong with files passed over.
    #[must_use]
    pub fn load(&self) -> (Option<SavedAgent>, Vec<StateError>) {
        let mut problems = Vec::new();
        let whole = self.whole(&mut problems);
        let logs = match self.logs() {
            Ok(logs) => logs,
            Err(problem) => {
                problems.push(problem);
                Vec::new()
            }
        };
        if matches!(whole, Whole::None) && logs.is_empty() {
            return (None, problems);
        }
        let overlay = self.overlay(whole.head(), &logs, u64::MAX, &mut problems);
        let saved = SavedAgent::gather(|take| {
            let given = whole.parts(overlay, &mut |part| {
                take(part);
                Ok(())
            });
            problems.extend(given.err());
        });
        (Some(saved), problems)
    }

    /// The newest whole that is sound.
    fn whole(&self, problems: &mut Vec<StateError>) -> Whole {
        for name in [FILE, PREVIOUS] {
            match read_whole(&self.dir.join(name)) {
                Ok(Whole::None) => {}
                Ok(whole) => return whole,
                Err(problem) => problems.push(problem),
            }
        }
        Whole::None
    }

    /// What the logs after the whole of this head say, up to the number `upto`.
    fn overlay(&self, head: Head, logs: &[u64], upto: u64, problems: &mut Vec<StateError>) -> Overlay {
        let mut overlay = Overlay::begin(head);
        for number in logs.iter().filter(|number| **number > head.number && **number <= upto) {
            if let Err(problem) = overlay.log(&self.log(*number), problems) {
                problems.push(problem);
            }
        }
        overlay
    }

    pub(super) fn log(&self, number: u64) -> PathBuf {
        self.dir.join(format!("state.{number:08}.log"))
    }

    /// The numbers of the logs there are, in order.
    pub(super) fn logs(&self) -> Result<Vec<u64>, StateError> {
        let number = |name: &str| name.strip_prefix("state.")?.strip_suffix(".log")?.parse::<u64>().ok();
        let entries = fs::read_dir(&self.dir).map_err(StateError::io(&self.dir))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut logs: Vec<u64> = names.filter_map(|name| number(&name)).collect();
        logs.sort_unstable();
        Ok(logs)
    }

    /// The highest life and number in use, what is written next has higher ones; and how many logs the whole does not
    /// hold.
    pub(super) fn last_head(&self) -> Result<(Head, usize), StateError> {
        let whole = self.whole(&mut Vec::new()).head();
        let mut last = Head { format: FORMAT, ..whole };
        let logs = self.logs()?;
        for number in &logs {
            let path = self.log(*number);
            let head = Lines::open(&path).and_then(|lines| lines.map_or(Ok(None), |mut it| it.head()));
            let life = head.map_err(StateError::io(&path))?.map_or(0, |head| head.life);
            last = Head { life: last.life.max(life), number: last.number.max(*number), ..last };
        }
        Ok((last, logs.into_iter().filter(|number| *number > whole.number).count()))
    }

    /// Begins the log of this head; the rest is appended to it.
    pub(super) fn begin_log(&self, head: Head) -> io::Result<File> {
        let mut text = Vec::new();
        Line::Head(head).write(&mut text)?;
        let mut file = File::create(self.log(head.number))?;
        file.write_all(&text)?;
        file.sync_data()?;
        File::open(&self.dir)?.sync_all()?;
        Ok(file)
    }

    /// Makes one whole of what is there, logs up to `upto` included. A crash between any two steps loses nothing: what is
    /// there after each of them says the same. Returns the length of the whole in bytes.
    pub(super) fn compact(&self, upto: u64) -> Result<u64, StateError> {
        let length = self.write_new(upto)?;
        self.keep_previous()?;
        self.put_in_place()?;
        self.prune()?;
        Ok(length)
    }

    /// Writes the new whole beside the old one.
    fn write_new(&self, upto: u64) -> Result<u64, StateError> {
        let mut problems = Vec::new();
        let whole = self.whole(&mut problems);
        let overlay = self.overlay(whole.head(), &self.logs()?, upto, &mut problems);
        for problem in problems {
            tracing::error!(%problem, "a state file is passed over");
        }
        let (life, at) = overlay.end();
        let path = self.dir.join(NEW);
        let io = StateError::io(&path);
        let mut new = NewFile { file: File::create(&path).map_err(&io)?, text: Vec::new(), length: 0 };
        new.line(&Line::Head(Head { format: FORMAT, life, number: upto, at })).map_err(&io)?;
        let mut lines = 0;
        whole.parts(overlay, &mut |part: AgentPart| {
            lines += 1;
            new.line(&Line::Part(at, part)).map_err(&io)
        })?;
        new.line(&Line::End(lines)).map_err(&io)?;
        new.finish().map_err(&io)
    }

    /// A whole that is not sound is not kept: the previous one is what there is.
    fn keep_previous(&self) -> Result<(), StateError> {
        let path = self.dir.join(FILE);
        match read_whole(&path) {
            Ok(Whole::Lines(..) | Whole::Text(_)) => {
                fs::rename(&path, self.dir.join(PREVIOUS)).map_err(StateError::io(&path))
            }
            Ok(Whole::None) | Err(_) => Ok(()),
        }
    }

    fn put_in_place(&self) -> Result<(), StateError> {
        let path = self.dir.join(FILE);
        let renamed = fs::rename(self.dir.join(NEW), &path);
        renamed.and_then(|()| File::open(&self.dir)?.sync_all()).map_err(StateError::io(&path))
    }

    /// Removes the logs that the previous whole holds: the newest is not the only one that can be gone on from.
    fn prune(&self) -> Result<(), StateError> {
        let through = match read_whole(&self.dir.join(PREVIOUS)) {
            Ok(Whole::Lines(_, head)) => head.number,
            Ok(Whole::None | Whole::Text(_)) | Err(_) => 0,
        };
        for number in self.logs()?.into_iter().filter(|number| *number <= through) {
            let path = self.log(number);
            fs::remove_file(&path).map_err(StateError::io(&path))?;
        }
        Ok(())
    }
}

struct NewFile {
    file: File,
    text: Vec<u8>,
    length: u64,
}

impl NewFile {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        line.write(&mut self.text)?;
        if self.text.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.text)?;
        self.length += self.text.len() as u64;
        self.text.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        self.file.sync_all()?;
        Ok(self.length)
    }
}

/// What a file holds, once it is known to be sound.
fn read_whole(path: &Path) -> Result<Whole, StateError> {
    let io = StateError::io(path);
    let Some(mut lines) = Lines::open(path).map_err(&io)? else { return Ok(Whole::None) };
    if let Some(head) = lines.head().map_err(&io)? {
        return match lines.ends_whole().map_err(&io)? {
            true => Ok(Whole::Lines(path.to_owned(), head)),
            false => {
                Err(StateError::content(path, "it was changed or torn: a checksum or the end is missing"))
            }
        };
    }
    let bytes = fs::read(path).map_err(&io)?;
    let content = |why: String| StateError::content(path, why);
    let envelope: Envelope = serde_json::from_slice(&bytes)
        .map_err(|error| content(format!("not a state file, or torn: {error}")))?;
    if envelope.format != 1 {
        return Err(content(format!(
            "format {} is not known to this version, which reads 1 and {FORMAT}",
            envelope.format
        )));
    }
    let sum: String = Sha256::digest(&envelope.state).iter().map(|byte| format!("{byte:02x}")).collect();
    if sum != envelope.sha256 {
        return Err(content("its checksum does not match: it was changed or torn".to_owned()));
    }
    serde_json::from_str(&envelope.state)
        .map(|saved| Whole::Text(Box::new(saved)))
        .map_err(|error| content(error.to_string()))
}

#[cfg(test)]
mod tests;
