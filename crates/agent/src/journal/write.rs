//! Writing: the end in the loop that never waits, and the thread that owns the files.

use super::{Header, Line, allowance::Allowance, values};
use crate::{
    core::{Core, Input},
    timeline::Record,
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    mem::take,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tidegate_model::Time;
use tokio::sync::mpsc;

/// After a failure of the disk nothing is tried for so long, and after a gap no other file is begun sooner: the beginning of
/// a large fleet's takes a second, in which the next gap may come.
const PAUSE: Duration = Duration::from_secs(10);

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lines that wait for the disk; what comes when it is full is dropped. Most lines are below 1 KB.
    pub queue: usize,
    /// A file that has grown by so many bytes since its beginning (header and first manifests) is followed by another one;
    /// of a large fleet, which begins with more than that, when it has doubled.
    pub file_bytes: u64,
    /// So many files are kept; the oldest go first.
    pub files: usize,
    /// So many bytes may be written in a second on average, and `file_bytes` at once. What comes beyond is left out, and told.
    pub bytes_per_second: u64,
}

impl Default for Limits {
    /// About 128 MiB in all: days of a quiet fleet, an hour of one where everything flaps, and not less than some minutes.
    fn default() -> Self {
        Self { queue: 1024, file_bytes: 16 << 20, files: 8, bytes_per_second: 256 << 10 }
    }
}

enum Message {
    Told(Time, Box<Input>, Vec<Record>),
    Missing(u64),
    Checkpoint(Box<Header>),
}

/// The end that the loop holds.
#[derive(Debug)]
pub struct Journal {
    sender: mpsc::Sender<Message>,
    dropped: u64,
    /// Set by the writer: it wants to begin another file.
    wanted: Arc<AtomicBool>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

/// The other end: [`Writer::run`] is to be run on a thread for blocking work.
#[derive(Debug)]
pub struct Writer {
    receiver: mpsc::Receiver<Message>,
    wanted: Arc<AtomicBool>,
    folder: PathBuf,
    limits: Limits,
    header: Header,
}

impl Journal {
    /// A journal in `folder` that begins with `header`. Nothing is written before the writer runs.
    #[must_use]
    pub fn new(folder: PathBuf, header: Header, limits: Limits) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(limits.queue.max(1));
        let wanted = Arc::new(AtomicBool::new(false));
        let journal = Self { sender, dropped: 0, wanted: Arc::clone(&wanted) };
        (journal, Writer { receiver, wanted, folder, limits, header })
    }

    /// Notes what the core was told at `at`, and what it decided. Never waits.
    pub fn note(&mut self, at: Time, input: Input, records: Vec<Record>, core: &Core) {
        if self.dropped > 0 && self.sender.try_send(Message::Missing(self.dropped)).is_ok() {
            self.dropped = 0;
        }
        let told = Message::Told(at, Box::new(input), records);
        // A line behind a gap that is not told yet would hide it.
        if self.dropped > 0 || self.sender.try_send(told).is_err() {
            self.dropped += 1;
            return;
        }
        if self.wanted.load(Ordering::Relaxed) {
            let header = Message::Checkpoint(Box::new(Header::checkpoint(core, at)));
            if self.sender.try_send(header).is_ok() {
                self.wanted.store(false, Ordering::Relaxed);
            }
        }
    }
}

struct Open {
    file: BufWriter<File>,
    /// Bytes of its beginning.
    start: u64,
    /// Bytes since then.
    length: u64,
}

impl Writer {
    /// Writes until the journal is dropped. What goes wrong is logged; the agent runs on without.
    pub fn run(mut self) {
        let mut part = 0;
        // What was saved is written once and not kept.
        let saved = self.header.saved.take();
        let mut open = self.begin(Header { saved, ..self.header.clone() }, part);
        let mut failed_at = open.is_none().then(Instant::now);
        let (mut begun, mut has_gap) = (Instant::now(), false);
        let mut allowance = Allowance::new(self.limits.bytes_per_second, self.limits.file_bytes);
        // What was left out since the last line.
        let mut left_out = 0;
        while let Some(message) = self.receiver.blocking_recv() {
            let result = match (message, &mut open) {
                (Message::Checkpoint(header), open) => {
                    // The file that ends here says what it lacks.
                    if let Some(Err(error)) = open.as_mut().map(|it| it.missing(take(&mut left_out))) {
                        tracing::error!(%error, folder = %self.folder.display(), "the journal cannot be written; replay will miss this");
                    }
                    part += 1;
                    (begun, has_gap) = (Instant::now(), false);
                    *open = self.begin(*header, part);
                    failed_at = open.is_none().then(Instant::now);
                    continue;
                }
                (_, None) => Ok(()),
                (Message::Told(at, ..), _) if !allowance.allows(at) => {
                    left_out += 1;
                    // What follows cannot be repeated exactly, but a file that begins anew can be gone on with.
                    has_gap = true;
                    continue;
                }
                (Message::Told(at, input, records), Some(open)) => {
                    let before = open.length;
                    let line = Line::Told { at, input: *input, records: values(&records) };
                    let written = open.missing(take(&mut left_out)).and_then(|()| open.line(&line));
                    allowance.used(open.length - before);
                    written
                }
                (Message::Missing(count), Some(open)) => {
                    has_gap = true;
                    open.missing(count + take(&mut left_out))
                }
            };
            let flushed = match &mut open {
                Some(open) if self.receiver.is_empty() => open.file.flush(),
                _ => Ok(()),
            };
            if let Err(error) = result.and(flushed) {
                tracing::error!(%error, folder = %self.folder.display(), "the journal cannot be written; replay will miss this");
                open = None;
                failed_at = Some(Instant::now());
            }
            let full = open.as_ref().is_some_and(|it| it.length >= self.limits.file_bytes.max(it.start));
            let again = failed_at.is_some_and(|at| at.elapsed() >= PAUSE);
            let mended = has_gap && left_out == 0 && begun.elapsed() >= PAUSE;
            if full || again || mended {
                self.wanted.store(true, Ordering::Relaxed);
            }
        }
        if let Some(mut open) = open
            && let Err(error) = open.missing(left_out).and_then(|()| open.file.flush())
        {
            tracing::error!(%error, folder = %self.folder.display(), "the end of the journal cannot be written");
        }
    }

    /// Begins a file and removes the oldest.
    fn begin(&self, header: Header, part: u32) -> Option<Open> {
        let started = self.header.started_unix_micros;
        let header = Header { part, started_unix_micros: started, ..header };
        let name = format!("{started:020}-{part:06}.jsonl");
        let result = fs::create_dir_all(&self.folder)
            .and_then(|()| File::create(self.folder.join(name)))
            .and_then(|file| {
                let mut file = BufWriter::new(file);
                let start = write_line(&mut file, &header)?;
                file.flush()?;
                Ok(Open { file, start, length: 0 })
            });
        if let Err(error) = prune(&self.folder, self.limits.files) {
            tracing::warn!(%error, folder = %self.folder.display(), "old journals cannot be removed");
        }
        result
            .inspect_err(|error| {
                tracing::error!(%error, folder = %self.folder.display(), "the journal cannot be written; replay will miss this");
            })
            .ok()
    }
}

impl Open {
    /// Says that so many inputs are missing here, if any are.
    fn missing(&mut self, count: u64) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.line(&Line::Missing(count)) }
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let bytes = write_line(&mut self.file, line)?;
        // The first part gets in its first line what later ones have in their header.
        match line {
            Line::Told { input: Input::Manifests(_), .. } if self.length == 0 => self.start += bytes,
            _ => self.length += bytes,
        }
        Ok(())
    }
}

fn write_line(file: &mut BufWriter<File>, value: &impl serde::Serialize) -> io::Result<u64> {
    // Straight to the file: a line with all manifests is tens of megabytes.
    let mut counted = Counted { file, bytes: 0 };
    serde_json::to_writer(&mut counted, value)?;
    counted.write_all(b"\n")?;
    Ok(counted.bytes)
}

struct Counted<'a> {
    file: &'a mut BufWriter<File>,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Names sort by age: the life's start, then the part.
fn prune(folder: &Path, keep: usize) -> io::Result<()> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    names.sort();
    let old = names.len().saturating_sub(keep.max(1));
    names.iter().take(old).try_for_each(fs::remove_file)
}
