//! Reading a journal back.

use super::{FORMAT, Header, Line, VERSION};
use serde::Deserialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A file of a journal.
#[derive(Clone, Debug)]
pub struct JournalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its first line.
    pub header: Header,
    /// The others.
    pub lines: Vec<Line>,
    /// Whether its last line was cut off: the agent, or its machine, died while writing.
    pub torn: bool,
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be opened.
    #[error("{path}: {source}\n  hint: journals are in the folder `journal` of an agent's --state-dir")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is of another version.
    #[error(
        "{path}: a journal of format version {found}; this tidegate reads version {VERSION}\n  hint: replay it with the tidegate that wrote it: {writer}"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version of Tidegate that wrote it.
        writer: String,
    },
    /// It is no journal, or damaged before its end.
    #[error("{path}:{line}: {why}\n  hint: {hint}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
        /// What to do.
        hint: &'static str,
    },
}

/// What every version says of itself.
#[derive(Deserialize)]
struct Label {
    format: String,
    version: u64,
    #[serde(default)]
    tidegate: String,
}

/// Reads a file. A last line that was cut off is passed over and told in [`JournalFile::torn`].
///
/// # Errors
/// If it cannot be read, is of another version, or is damaged elsewhere than at its end.
pub fn read(path: &Path) -> Result<JournalFile, JournalError> {
    let bytes = fs::read(path).map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
    let content =
        |line: usize, why: String, hint| JournalError::Content { path: path.to_owned(), line, why, hint };
    let mut rows = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let first = rows.next().map(|(_, row)| row).unwrap_or_default();
    let no_journal = "name a file of the folder `journal` in an agent's --state-dir";
    let label: Label = serde_json::from_slice(first)
        .map_err(|error| content(1, format!("not the header of a journal: {error}"), no_journal))?;
    if label.format != FORMAT {
        return Err(content(1, format!("the format is {:?}, not {FORMAT:?}", label.format), no_journal));
    }
    if label.version != u64::from(VERSION) {
        return Err(JournalError::Version {
            path: path.to_owned(),
            found: label.version,
            writer: label.tidegate,
        });
    }
    let damaged =
        "the file was changed or damaged; what is before this line can be replayed if the rest is cut off";
    let header: Header =
        serde_json::from_slice(first).map_err(|error| content(1, error.to_string(), damaged))?;
    let (mut lines, mut torn) = (Vec::new(), false);
    for (index, row) in rows {
        if !row.ends_with(b"\n") {
            torn = true;
            break;
        }
        let line = serde_json::from_slice(row);
        lines.push(line.map_err(|error| content(index + 1, error.to_string(), damaged))?);
    }
    Ok(JournalFile { path: path.to_owned(), header, lines, torn })
}
