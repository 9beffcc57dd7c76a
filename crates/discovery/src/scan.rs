//! Which files hold manifests, and what they hold.
//!
//! Files are those named `*.yaml`, `*.yml` or `*.json`, however deep, but for hidden ones. Kubernetes mounts a
//! `ConfigMap` as links `web.yaml -> ..data/web.yaml`, with `..data` a link that is swapped as a whole: hidden
//! entries are skipped, so each file is found once, by its link. A folder that is reached twice through links is read
//! once, under the path that sorts first.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};
use tidegate_api::{MAX_FILE_BYTES, Problem, SourceFile};

/// The most files that are read.
pub const MAX_FILES: usize = 10_000;

/// The deepest folder that is looked into: deeper is a loop or a mistake.
const MAX_DEPTH: usize = 32;

/// What tells one content of a file from the next without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    identity: u64,
}

/// The manifests and what was wrong in finding them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By path.
    pub(crate) files: BTreeMap<PathBuf, Stamp>,
    /// The folders in which files may appear.
    pub(crate) folders: BTreeSet<PathBuf>,
    /// Folders that cannot be listed now: their files are not known to be gone.
    pub(crate) unlisted: BTreeSet<PathBuf>,
    pub(crate) problems: Vec<Problem>,
}

/// Finds the manifests below `roots`.
pub(crate) fn find(roots: &[PathBuf]) -> Found {
    let mut walk = Walk { found: Found::default(), seen: BTreeSet::new(), too_many: false };
    for root in roots {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => walk.folder(root, 0),
            Ok(metadata) => walk.file(root, &metadata),
            Err(error) => walk.unreadable(root, &error),
        }
    }
    walk.found
}

/// Reads the manifests below `roots` once, for a question that is asked of them as they are; by path.
#[must_use]
pub fn read_once(roots: &[PathBuf]) -> (Vec<SourceFile>, Vec<Problem>) {
    let Found { files, mut problems, .. } = find(roots);
    let mut texts = Vec::with_capacity(files.len());
    for path in files.keys() {
        match read(path) {
            Ok(file) => texts.push(file),
            Err(problem) => problems.push(*problem),
        }
    }
    (texts, problems)
}

struct Walk {
    found: Found,
    /// What folders and files really are, links resolved.
    seen: BTreeSet<PathBuf>,
    too_many: bool,
}

impl Walk {
    fn folder(&mut self, path: &Path, depth: usize) {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => return self.unreadable(path, &error),
        };
        if !self.seen.insert(real) {
            return;
        }
        if depth > MAX_DEPTH {
            let hint = "manifests are not looked for any deeper; is there a loop?";
            let message = format!("the folder lies {MAX_DEPTH} folders deep");
            return self.found.problems.push(Problem::of_file(&path.to_string_lossy(), message, hint));
        }
        let entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(path, &error),
        };
        self.found.folders.insert(path.to_owned());
        let mut names: Vec<_> = entries.iter().map(fs::DirEntry::file_name).collect();
        names.sort();
        for name in names {
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let entry = path.join(name);
            match fs::metadata(&entry) {
                Ok(metadata) if metadata.is_dir() => self.folder(&entry, depth + 1),
                Ok(metadata) if is_manifest(&entry) => self.file(&entry, &metadata),
                // Gone since the folder was listed, or a link to nothing that is no manifest: nobody's loss.
                Err(error) if is_manifest(&entry) && error.kind() != io::ErrorKind::NotFound => {
                    self.unreadable(&entry, &error);
                }
                _ => {}
            }
        }
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) {
        if self.found.files.len() >= MAX_FILES {
            if !self.too_many {
                self.too_many = true;
                let message = format!(
                    "there are more than {MAX_FILES} manifests; this one and later ones are left out"
                );
                let hint = "give the agent only the manifests of its own cluster";
                self.found.problems.push(Problem::of_file(&path.to_string_lossy(), message, hint));
            }
            return;
        }
        // The same file through two links is one file; told twice it would be a conflict with itself.
        if path.canonicalize().is_ok_and(|real| !self.seen.insert(real)) {
            return;
        }
        self.found.files.insert(path.to_owned(), Stamp::of(metadata));
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.found.unlisted.insert(path.to_owned());
        let hint = "what was last read there stays in force; check that it exists and may be read";
        let message = format!("cannot be read: {error}");
        self.found.problems.push(Problem::of_file(&path.to_string_lossy(), message, hint));
    }
}

/// Whether a file of this name is looked at.
pub(crate) fn may_be_manifest(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    is_manifest(path) && !is_hidden
}

fn is_manifest(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

impl Stamp {
    /// Whether it was written so long ago.
    pub(crate) fn is_older(&self, age: std::time::Duration, now: SystemTime) -> bool {
        self.modified.and_then(|modified| now.duration_since(modified).ok()).is_some_and(|it| it > age)
    }

    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        // A replacement by rename has another inode even when time and length are equal.
        Self { modified: metadata.modified().ok(), length: metadata.len(), identity: metadata.ino() }
    }

    #[cfg(not(unix))]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().ok(), length: metadata.len(), identity: 0 }
    }
}

/// Reads one file; a problem if that fails.
pub(crate) fn read(path: &Path) -> Result<SourceFile, Box<Problem>> {
    let name = path.to_string_lossy().into_owned();
    let problem = |message: String, hint: &str| Box::new(Problem::of_file(&name, message, hint));
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the loader says it is too long, and no more than that of a file that
    // never ends.
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            problem(
                format!("cannot be read: {error}"),
                "its objects stay in force as they last were; check its permissions",
            )
        })?;
    let length = bytes.len();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile { path: name, text }),
        // Cut in the middle of a character.
        Err(_) if length > MAX_FILE_BYTES => Ok(SourceFile { path: name, text: " ".repeat(length) }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(problem(
                format!("is not UTF-8 text: byte {at} is wrong"),
                "save it as UTF-8; its objects stay in force as they last were",
            ))
        }
    }
}
