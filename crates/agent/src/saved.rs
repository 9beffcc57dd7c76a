//! What an agent keeps on disk: verdicts and hold-downs, so that a restart forgets nothing.
//!
//! One file, `state.json`, written whole beside the old one and renamed over it; the one before is kept as
//! `state.previous.json`. A file that is torn or of another format is told and passed over, never fatal.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};
use tidegate_api::TrafficShift;
use tidegate_engine::{Saved, Source};

const FILE: &str = "state.json";
const PREVIOUS: &str = "state.previous.json";
const FORMAT: u32 = 1;

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
}

/// The file around it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    format: u32,
    sha256: String,
    /// The state as JSON text: the checksum is over these very bytes.
    state: String,
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

/// The folder that holds the state.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
}

impl StateDir {
    /// Uses `dir`, and makes it if it is not there.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(dir).map_err(|source| StateError::Io { path: dir.to_owned(), source })?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The last good state, or none if there never was one; and what was wrong with files passed over.
    #[must_use]
    pub fn load(&self) -> (Option<SavedAgent>, Vec<StateError>) {
        let mut problems = Vec::new();
        for name in [FILE, PREVIOUS] {
            match read(&self.dir.join(name)) {
                Ok(Some(saved)) => return (Some(saved), problems),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        (None, problems)
    }

    /// Writes `saved`: wholly or not at all.
    pub fn store(&self, saved: &SavedAgent) -> Result<(), StateError> {
        let path = self.dir.join(FILE);
        let io = |source| StateError::Io { path: path.clone(), source };
        let json =
            |error: serde_json::Error| StateError::Content { path: path.clone(), why: error.to_string() };
        let state = serde_json::to_string(saved).map_err(json)?;
        let envelope = Envelope { format: FORMAT, sha256: checksum(&state), state };
        let text = serde_json::to_vec(&envelope).map_err(json)?;
        let new = self.dir.join("state.new.json");
        fs::write(&new, text).map_err(io)?;
        fs::File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
        if path.exists() {
            fs::rename(&path, self.dir.join(PREVIOUS)).map_err(io)?;
        }
        fs::rename(&new, &path).map_err(io)
    }
}

fn read(path: &Path) -> Result<Option<SavedAgent>, StateError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Io { path: path.to_owned(), source }),
    };
    let content = |why: String| StateError::Content { path: path.to_owned(), why };
    let envelope: Envelope = serde_json::from_slice(&bytes)
        .map_err(|error| content(format!("not a state file, or torn: {error}")))?;
    if envelope.format != FORMAT {
        return Err(content(format!(
            "format {} is not known to this version, which reads {FORMAT}",
            envelope.format
        )));
    }
    if checksum(&envelope.state) != envelope.sha256 {
        return Err(content("its checksum does not match: it was changed or torn".to_owned()));
    }
    serde_json::from_str(&envelope.state).map(Some).map_err(|error| content(error.to_string()))
}

fn checksum(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SavedAgent {
        let source = Source {
            cluster: "c".parse().unwrap(),
            locality: tidegate_model::Locality { region: "r".parse().unwrap(), zone: "z".parse().unwrap() },
        };
        SavedAgent { engine: Saved::default(), sources: BTreeSet::from([source]), ..SavedAgent::default() }
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("new/folder")).unwrap();
        assert!(state.load().0.is_none());
        state.store(&sample()).unwrap();
        assert_eq!(state.load().0, Some(sample()));
    }

    #[test]
    fn a_torn_file_is_told_and_the_one_before_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.store(&sample()).unwrap();
        state.store(&SavedAgent::default()).unwrap();
        let text = fs::read(dir.path().join(FILE)).unwrap();
        fs::write(dir.path().join(FILE), &text[..text.len() / 2]).unwrap();
        let (loaded, problems) = state.load();
        assert_eq!(loaded, Some(sample()));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("torn"), "{}", problems[0]);
    }

    #[test]
    fn a_changed_file_does_not_pass_its_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.store(&sample()).unwrap();
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        fs::write(dir.path().join(FILE), text.replace("\\\"z\\\"", "\\\"y\\\"")).unwrap();
        let (loaded, problems) = state.load();
        assert_eq!(loaded, None);
        assert!(problems[0].to_string().contains("checksum"), "{}", problems[0]);
    }
}
