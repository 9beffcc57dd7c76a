//! The objects of an API on disk, so that an agent can start while its API is away.
//!
//! One line is one object: `[path, version, object]`. The file holds the keys of certificates, so only its owner may read it.

use super::{object::Change, shelf::Shelf};
use serde_json::value::RawValue;
use std::{
    fs,
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use tidegate_api::Loader;

/// The first line: another form would have another.
const FORM: &str = "tidegate kubernetes objects 1";
/// More than this is no file that was written here.
const MAX_LINE: u64 = 16 << 20;

/// Writes what is held, as a whole: the old file is there until the new one is.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(path: &Path, shelf: &Shelf) -> io::Result<()> {
    let fresh = beside(path);
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let mut out = BufWriter::new(file);
    writeln!(out, "{FORM}")?;
    for (path, version, text) in shelf.held() {
        let (path, version) = (serde_json::Value::from(path), serde_json::Value::from(version));
        writeln!(out, "[{path},{version},{text}]")?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&fresh, path)
}

/// Puts back what was written. Gives how many objects, and how many lines could not be used.
///
/// # Errors
/// If there is a file that cannot be read; none is none.
pub(crate) fn read(path: &Path, shelf: &mut Shelf, loader: &mut Loader) -> io::Result<(usize, usize)> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        file => file?,
    };
    let mut lines = BufReader::new(file);
    let (mut good, mut bad) = (0, 0);
    let mut line = String::new();
    let mut first = true;
    loop {
        line.clear();
        if io::Read::take(&mut lines, MAX_LINE).read_line(&mut line)? == 0 {
            return Ok((good, bad));
        }
        if std::mem::take(&mut first) {
            if line.trim_end() != FORM {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is of another form"));
            }
            continue;
        }
        let parsed: Result<(String, String, &RawValue), _> = serde_json::from_str(&line);
        let used = parsed.is_ok_and(|(path, version, object)| {
            shelf.put_back(Change { path, version, text: Some(object.get().into()) }, loader)
        });
        if used { good += 1 } else { bad += 1 }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
