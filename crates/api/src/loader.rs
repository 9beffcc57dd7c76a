//! From the text of files to a [`Config`], keeping what was good.
//!
//! Rules of keeping:
//! - An object with a mistake stays as it last was in force; one that never was is left out. Of an `HTTPRoute` that
//!   never was in force, the rules without a mistake are taken; of an `EndpointSlice`, the endpoints without one.
//! - A file that is not YAML, or is too long, keeps all objects that it had.
//! - So does a file that became empty: it is more likely being rewritten than meant. A comment in it, or its removal,
//!   says that it is meant.
//! - A document of which kind or name cannot be told keeps the objects of its file that are not found any more: it
//!   may be any of them.
//! - An object that is gone from its file is gone, and so are those of a file that is gone.
//!
//! Of two objects with one name, the first by path and line is taken. Files may come in any order.
//!
//! Objects need not come from files: a resource that an API server or a hub sent is a source of its own, with a path that
//! names it and the version that its server gave it ([`Loader::set_resource`]).

use crate::{
    change::ConfigChange,
    config::Config,
    lower::Lowering,
    object::{self, Reading},
    plain,
    problem::Problem,
    store::{Content, Store, Version},
    yaml,
};
use serde::Deserializer;
use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};
use tidegate_engine::Origin;
use tidegate_model::{ClusterName, ServiceName};

pub use crate::store::MAX_OBJECTS;

/// The longest file that is read: far more than people write, and far less than memory.
pub const MAX_FILE_BYTES: usize = 8 << 20;

/// The text of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name in problems and origins; unique.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// What is wrong, by file and line.
    pub problems: Vec<Problem>,
}

/// What is new since the last time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// What changed of what is in force.
    pub change: ConfigChange,
    /// All that is wrong, by file and line, if that changed.
    pub problems: Option<Vec<Problem>>,
}

/// Keeps the manifests of one cluster, as they were read and as they are in force, and remembers what was good.
///
/// Sources are taken in one by one; [`Loader::update`] then decides about all that changed at once, and costs what depends
/// on it.
#[derive(Debug)]
pub struct Loader {
    store: Store,
    lowering: Lowering,
    /// What was wrong the last time.
    problems: Vec<Problem>,
}

impl Loader {
    /// A loader for the agent of `cluster`.
    #[must_use]
    pub fn new(cluster: ClusterName) -> Self {
        Self { store: Store::default(), lowering: Lowering::new(cluster), problems: Vec::new() }
    }

    /// As in the multi-cluster services API (KEP-1645): what no `ServiceExport` names, nor the label `tidegate.dev/export: "true"`
    /// of its namespace, is for this cluster alone. Without this, all services are fleet-wide. To be said before anything is loaded.
    #[must_use]
    pub fn only_exported(mut self) -> Self {
        self.lowering.only_exported();
        self
    }

    /// Loads `files`, which are all files there are: objects of files that are not among them are gone.
    pub fn load(&mut self, files: &[SourceFile]) -> Loaded {
        self.load_changed(files, &[])
    }

    /// As [`Loader::load`], with some files of which only the paths are told: they are as they were loaded last. One that
    /// never was is not there.
    pub fn load_changed(&mut self, files: &[SourceFile], as_before: &[String]) -> Loaded {
        let mut there: BTreeSet<&str> = BTreeSet::new();
        for file in files {
            // Of two with one path, the first counts.
            if there.insert(&file.path) {
                self.set_file(file);
            }
        }
        there.extend(as_before.iter().map(String::as_str));
        let gone = self.store.sources().filter(|path| !there.contains(&***path)).cloned();
        for path in gone.collect::<Vec<Arc<str>>>() {
            self.remove(&path);
        }
        self.update();
        Loaded { config: self.config().clone(), problems: self.problems.clone() }
    }

    /// Takes a file in as it is now; at the next [`Loader::update`] it counts.
    pub fn set_file(&mut self, file: &SourceFile) {
        let version = fingerprint(&file.text);
        if self.store.version(&file.path) == Some(&version) {
            return;
        }
        let path: Arc<str> = file.path.as_str().into();
        let blank = file.text.trim().is_empty();
        self.store.set(&path, Content { version, blank, readings: read_file(&path, &file.text) });
    }

    /// Takes in one object that comes from no file: what an API server sent, typed or not, as any deserializer gives it
    /// (`serde_json::Value` is one). `path` names it in problems and origins, and is unique among files and resources;
    /// `version` tells one content from the next (`metadata.resourceVersion`). A value that cannot be read, or is no object, is
    /// a problem of that path, and leaves what was read before.
    pub fn set_resource<'de, D: Deserializer<'de>>(&mut self, path: &str, version: &str, value: D) {
        let version = Version::Resource(version.into());
        if self.store.version(path) == Some(&version) {
            return;
        }
        let path: Arc<str> = path.into();
        let mut readings = Vec::new();
        let read = plain::read(value).map(|node| object::read_document(&node, &path, &mut readings));
        let hint = "what was last read of it stays in force";
        let readings = match read {
            Ok(()) => Ok(readings),
            Err(error) => Err(Problem::of_file(&path, format!("cannot be read: {error}"), hint)),
        };
        self.store.set(&path, Content { version, blank: false, readings });
    }

    /// Forgets a file or a resource; at the next [`Loader::update`] its objects are gone, unless others hold them.
    pub fn remove(&mut self, path: &str) {
        self.store.remove(path);
    }

    /// Decides about everything that was taken in since the last time.
    pub fn update(&mut self) -> Update {
        let (changed, told_by_store) = self.store.decide();
        let (change, told_by_lowering) = self.lowering.update(&self.store, &changed);
        let problems = (told_by_store || told_by_lowering).then(|| self.all_problems());
        let problems = problems.filter(|problems| *problems != self.problems);
        if let Some(problems) = &problems {
            self.problems.clone_from(problems);
        }
        Update { change, problems }
    }

    /// What is in force.
    #[must_use]
    pub const fn config(&self) -> &Config {
        self.lowering.config()
    }

    /// The fields of policy that somebody wrote for a service, in a fixed order: each by its path, as `failback.holdDown`, with
    /// who wrote the value that is in force. Fields that nobody wrote are not among them.
    #[must_use]
    pub fn written_for(&self, service: &ServiceName) -> Vec<(&'static str, Origin)> {
        self.lowering.written_for(service)
    }

    /// What is wrong, by file and line.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Forgets all but what is said and what is in force of it, and makes everything anew from that: what it gives is what
    /// [`Loader::config`] and [`Loader::problems`] are already, or they are wrong.
    #[must_use]
    pub fn rebuilt(&mut self) -> Loaded {
        self.store.doubt();
        let (changed, _) = self.store.decide();
        debug_assert!(changed.is_empty(), "what is in force was not what is said");
        let mut lowering = self.lowering.afresh();
        lowering.update(&self.store, &self.store.all());
        self.lowering = lowering;
        self.problems = self.all_problems();
        Loaded { config: self.config().clone(), problems: self.problems.clone() }
    }

    fn all_problems(&self) -> Vec<Problem> {
        let old: BTreeSet<String> = self.store.outdated().map(ToString::to_string).collect();
        let mut problems: Vec<Problem> = self.lowering.problems().cloned().collect();
        // Problems of versions that are in force and in no file any more: their lines are those of an older text.
        let of_old = |it: &&mut Problem| it.object.as_ref().is_some_and(|it| old.contains(it));
        for problem in problems.iter_mut().filter(of_old) {
            (problem.line, problem.column) = (0, 0);
            problem.hint.push_str(" (said of the version that is in force, which is no longer in the file)");
        }
        problems.extend(self.store.problems().cloned());
        problems.sort_by(Problem::by_place);
        problems.dedup();
        problems
    }
}

fn fingerprint(text: &str) -> Version {
    // With fixed keys, so the same text has the same fingerprint in every process.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Version::Text(text.len(), hasher.finish())
}

pub(crate) fn read_file(path: &Arc<str>, text: &str) -> Result<Vec<Reading>, Problem> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read", text.len());
        let hint = "split it; until then the objects last loaded from it stay in force";
        return Err(Problem::of_file(path, message, hint));
    }
    let documents = yaml::parse(text).map_err(|error| {
        let mut problem = Problem::of_file(path, format!("not YAML: {}", error.message), error.hint);
        if let Some(at) = error.at {
            (problem.line, problem.column) = (at.line, at.column);
        }
        problem
    })?;
    let mut readings = Vec::new();
    for document in &documents {
        object::read_document(document, path, &mut readings);
    }
    Ok(readings)
}
