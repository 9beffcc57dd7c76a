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

use crate::{
    config::Config,
    lower,
    object::{self, Object, ObjectKey, Reading},
    problem::{Problem, Severity},
    yaml,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};
use tidegate_model::ClusterName;

/// The longest file that is read: far more than people write, and far less than memory.
pub const MAX_FILE_BYTES: usize = 8 << 20;

/// The most objects that are read, of all files together.
pub const MAX_OBJECTS: usize = 100_000;

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

/// Loads the manifests of one cluster again and again, and remembers what was good.
#[derive(Debug)]
pub struct Loader {
    cluster: ClusterName,
    /// What each file said when its text was last new, so that only changed files are read again.
    parsed: BTreeMap<String, Parsed>,
    in_force: InForce,
}

type InForce = BTreeMap<ObjectKey, Kept>;

/// An object that is in force.
#[derive(Clone, Debug)]
struct Kept {
    object: Arc<Object>,
    /// Whether all of it is, and not only the part without mistakes.
    whole: bool,
}

#[derive(Debug)]
struct Parsed {
    text: Fingerprint,
    /// Whether there is nothing in it, not even a comment.
    blank: bool,
    outcome: Result<Vec<Reading>, Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    length: usize,
    hash: u64,
}

impl Loader {
    /// A loader for the agent of `cluster`.
    #[must_use]
    pub const fn new(cluster: ClusterName) -> Self {
        Self { cluster, parsed: BTreeMap::new(), in_force: BTreeMap::new() }
    }

    /// Loads `files`, which are all files there are: objects of files that are not among them are gone.
    pub fn load(&mut self, files: &[SourceFile]) -> Loaded {
        self.load_changed(files, &[])
    }

    /// As [`Loader::load`], with some files of which only the paths are told: they are as they were loaded last. One that
    /// never was is not there.
    pub fn load_changed(&mut self, files: &[SourceFile], as_before: &[String]) -> Loaded {
        let mut sorted: BTreeMap<&str, Option<&SourceFile>> = BTreeMap::new();
        for file in files {
            sorted.entry(&file.path).or_insert(Some(file));
        }
        for path in as_before {
            sorted.entry(path).or_insert(None);
        }
        self.parsed.retain(|path, _| sorted.contains_key(path.as_str()));
        for (path, file) in sorted {
            let Some(file) = file else { continue };
            let text = Fingerprint::of(&file.text);
            if self.parsed.get(path).is_none_or(|parsed| parsed.text != text) {
                let outcome = read_file(file);
                let blank = file.text.trim().is_empty();
                self.parsed.insert(path.to_owned(), Parsed { text, blank, outcome });
            }
        }
        let mut problems = Vec::new();
        self.in_force = choose(&self.parsed, &self.in_force, &mut problems);
        let objects: Vec<&Object> = self.in_force.values().map(|kept| &*kept.object).collect();
        let mut found = Vec::new();
        let config = lower::lower(&self.cluster, &objects, &mut found);
        self.unplace_old(&mut found);
        problems.append(&mut found);
        problems.sort_by(Problem::by_place);
        problems.dedup();
        Loaded { config, problems }
    }

    /// Problems of versions that are in force and in no file any more: their lines are those of an older text.
    fn unplace_old(&self, problems: &mut [Problem]) {
        let readings = self.parsed.values().filter_map(|it| it.outcome.as_ref().ok()).flatten();
        let current: BTreeSet<_> = readings.filter_map(|it| it.object.as_ref()).map(Arc::as_ptr).collect();
        let old = self.in_force.iter().filter(|(_, kept)| !current.contains(&Arc::as_ptr(&kept.object)));
        let old: BTreeSet<String> = old.map(|(key, _)| key.to_string()).collect();
        for problem in problems.iter_mut().filter(|it| it.object.as_ref().is_some_and(|it| old.contains(it)))
        {
            (problem.line, problem.column) = (0, 0);
            problem.hint.push_str(" (said of the version that is in force, which is no longer in the file)");
        }
    }
}

impl Fingerprint {
    fn of(text: &str) -> Self {
        // With fixed keys, so the same text has the same fingerprint in every process.
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { length: text.len(), hash: hasher.finish() }
    }
}

pub(crate) fn read_file(file: &SourceFile) -> Result<Vec<Reading>, Problem> {
    if file.text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read", file.text.len());
        let hint = "split it; until then the objects last loaded from it stay in force";
        return Err(Problem::of_file(&file.path, message, hint));
    }
    let documents = yaml::parse(&file.text).map_err(|error| {
        let mut problem = Problem::of_file(&file.path, format!("not YAML: {}", error.message), error.hint);
        if let Some(at) = error.at {
            (problem.line, problem.column) = (at.line, at.column);
        }
        problem
    })?;
    let path: Arc<str> = file.path.as_str().into();
    let mut readings = Vec::new();
    for document in &documents {
        object::read_document(document, &path, &mut readings);
    }
    Ok(readings)
}

/// Decides for each object which version is in force.
fn choose(parsed: &BTreeMap<String, Parsed>, previous: &InForce, problems: &mut Vec<Problem>) -> InForce {
    let mut chosen = InForce::new();
    let mut by_file: BTreeMap<&str, Vec<&ObjectKey>> = BTreeMap::new();
    for (key, kept) in previous {
        by_file.entry(&kept.object.file).or_default().push(key);
    }
    // Objects that are told in some file are not missing from another one.
    let told: BTreeSet<&ObjectKey> = parsed
        .values()
        .filter_map(|parsed| parsed.outcome.as_ref().ok())
        .flatten()
        .filter_map(|reading| reading.key.as_ref())
        .collect();
    let mut count = 0;
    for (path, parsed) in parsed {
        let mut any_may_be_missing = false;
        match &parsed.outcome {
            Ok(readings) => {
                for reading in readings {
                    count += 1;
                    if count == MAX_OBJECTS + 1 {
                        problems.push(too_many(path, reading));
                    }
                    if count > MAX_OBJECTS {
                        continue;
                    }
                    any_may_be_missing |= reading.key.is_none();
                    choose_one(reading, previous, &mut chosen, problems);
                }
            }
            Err(problem) => {
                problems.push(problem.clone());
                any_may_be_missing = true;
            }
        }
        let had = by_file.get(path.as_str()).into_iter().flatten().copied();
        let missing: Vec<&ObjectKey> = had.filter(|&key| !told.contains(key)).collect();
        if parsed.blank && !missing.is_empty() {
            problems.push(emptied(path));
            any_may_be_missing = true;
        }
        if any_may_be_missing {
            for key in missing {
                if let Some(kept) = previous.get(key) {
                    chosen.entry(key.clone()).or_insert_with(|| kept.clone());
                }
            }
        }
    }
    chosen
}

fn emptied(path: &str) -> Problem {
    let hint = "if it is meant, remove the file, or write a comment into it";
    let message = "the file is empty now; the objects that it had stay in force";
    Problem { severity: Severity::Warning, ..Problem::of_file(path, message, hint) }
}

fn too_many(path: &str, reading: &Reading) -> Problem {
    let message = format!("there are more than {MAX_OBJECTS} objects; those from here on are left out");
    let mut problem = Problem::of_file(path, message, "give the agent only the manifests of its own cluster");
    (problem.line, problem.column) = (reading.at.line, reading.at.column);
    problem
}

fn choose_one(reading: &Reading, previous: &InForce, chosen: &mut InForce, problems: &mut Vec<Problem>) {
    let issues = &reading.issues;
    let Some(key) = &reading.key else {
        problems.extend_from_slice(&issues.list);
        return;
    };
    if let Some(first) = chosen.get(key) {
        let mut duplicate = Problem::of_file(
            &issues.file,
            format!("the object is already in {}:{}", first.object.file, first.object.at.line),
            "remove one of them; the first by file name and line is in force",
        );
        (duplicate.line, duplicate.column) = (reading.at.line, reading.at.column);
        duplicate.object = Some(key.to_string());
        problems.push(duplicate);
        return;
    }
    let new = reading.object.as_ref().map(|object| Kept { object: Arc::clone(object), whole: !issues.bad });
    let kept = match (new, previous.get(key)) {
        (Some(new), _) if new.whole => Some(new),
        // Of a version with mistakes, only a route's sound rules are worth more than nothing.
        (Some(new), None) => new.object.spec.stands_in_part().then_some(new),
        (Some(new), Some(old)) if !old.whole && new.object.spec.stands_in_part() => Some(new),
        (_, old) => old.cloned(),
    };
    let stays = issues.bad && kept.as_ref().is_some_and(|kept| kept.whole);
    for problem in &issues.list {
        let mut problem = problem.clone();
        if stays && problem.is_error() {
            problem.hint.push_str(" (the object stays in force as it last was)");
        }
        problems.push(problem);
    }
    if let Some(kept) = kept {
        chosen.insert(key.clone(), kept);
    }
}
