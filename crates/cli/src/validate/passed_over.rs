//! What lies below a folder and is not read as a manifest: no file is left out in silence.

use std::{fs, path::Path};

/// So many are named; more are a folder of something else.
pub(super) const MAX_NAMED: usize = 1000;

/// The deepest folder that is looked into, as for manifests.
const MAX_DEPTH: usize = 32;

/// The files, and the hidden folders, below a root that no manifests are looked for in, by path; `true` if there are more.
pub(super) fn below(root: &Path) -> (Vec<String>, bool) {
    let mut found = Vec::new();
    let more = walk(root, 0, &mut found);
    (found, more)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<String>) -> bool {
    // What cannot be listed is told by whoever reads the manifests.
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // Links are followed for manifests only: one that leads up would never end here.
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir());
        if is_folder && !is_hidden {
            if depth < MAX_DEPTH && walk(&path, depth + 1, found) {
                return true;
            }
        } else if is_hidden || !(is_manifest(&path) || path.is_dir()) {
            if found.len() >= MAX_NAMED {
                return true;
            }
            found.push(path.to_string_lossy().into_owned());
        }
    }
    false
}

/// As the reader of manifests decides it.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}
