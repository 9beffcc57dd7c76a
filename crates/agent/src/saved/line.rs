//! The lines of which state files consist: a checksum (16 hex digits), a space, JSON.

use super::AgentPart;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};
use tidegate_model::Time;

/// The only format of lines; 1 was one text without lines.
pub(super) const FORMAT: u32 = 2;

/// No line is longer: a service of 10,000 endpoints takes about a megabyte.
const MAX_LINE: u64 = 64 << 20;

/// How the JSON of a last line begins: the others need not be understood to know that a file is whole.
const END: &[u8] = b"{\"end\"";

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Line {
    /// The first.
    Head(Head),
    /// Something as it stood at a time of the agent.
    Part(Time, AgentPart),
    /// The agent has seen time pass until then.
    Until(Time),
    /// The last of a whole, after so many parts; a log has none.
    End(u64),
}

/// What a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) format: u32,
    /// The life of the agent, from 1: times of two lives cannot be compared.
    pub(super) life: u64,
    /// The number of a log; of a whole, that of the last log which is in it.
    pub(super) number: u64,
    /// The agent's time at which it was begun; until then that life has seen time pass.
    pub(super) at: Time,
}

impl Line {
    /// Appends the line.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        out.resize(start + 17, b' ');
        serde_json::to_writer(&mut *out, self)?;
        let sum = checksum(&out[start + 17..]);
        out[start..start + 16].copy_from_slice(sum.as_bytes());
        out.push(b'\n');
        Ok(())
    }

    /// Reads a line without its end.
    fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(sound(line)?).ok()
    }
}

/// The JSON of a line whose checksum is right.
fn sound(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = line.split_at_checked(17)?;
    (sum[16] == b' ' && *checksum(json).as_bytes() == sum[..16]).then_some(json)
}

fn checksum(json: &[u8]) -> String {
    Sha256::digest(json).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of a file, one after the other.
pub(super) struct Lines {
    file: BufReader<File>,
    text: Vec<u8>,
}

/// What came of reading a line.
pub(super) enum Found {
    /// A line that is whole.
    Line(Box<Line>),
    /// One that is not, or not known.
    Bad,
}

impl Lines {
    /// `None` when there is no such file.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self { file: BufReader::with_capacity(1 << 16, file), text: Vec::new() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next line; `None` at the end. The last line of a file without its end is bad.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        if !self.advance()? {
            return Ok(None);
        }
        let line = self.text.strip_suffix(b"\n").and_then(Line::read);
        Ok(Some(line.map_or(Found::Bad, |line| Found::Line(Box::new(line)))))
    }

    /// The first line, which says what the file is.
    pub(super) fn head(&mut self) -> io::Result<Option<Head>> {
        match self.next()? {
            Some(Found::Line(line)) => match *line {
                Line::Head(head) if head.format == FORMAT => Ok(Some(head)),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Whether the rest of the lines are sound and the last is the end of a whole.
    pub(super) fn ends_whole(&mut self) -> io::Result<bool> {
        let mut end = None;
        let mut before = 0;
        while self.advance()? {
            before += u64::from(end.is_some());
            match self.text.strip_suffix(b"\n").and_then(sound) {
                Some(json) => end = Some(json.starts_with(END).then(|| serde_json::from_slice(json).ok())),
                None => return Ok(false),
            }
        }
        Ok(end.flatten().flatten() == Some(Line::End(before)))
    }

    fn advance(&mut self) -> io::Result<bool> {
        self.text.clear();
        let read = (&mut self.file).take(MAX_LINE).read_until(b'\n', &mut self.text)?;
        Ok(read > 0)
    }
}
