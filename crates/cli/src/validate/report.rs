//! What `tidegate validate` found, and how people read it.

use super::passed_over;
use crate::manifests::{Fleet, Manifests};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::IsTerminal as _,
};
use tidegate_api::{Foreign, Problem, foreign, inventory};
use tidegate_model::ClusterName;

/// So many names are shown of what is passed over.
const SHOWN: usize = 5;

/// Everything that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// How many problems are errors: something that was written would not be in force.
    pub(super) errors: usize,
    /// How many are warnings.
    pub(super) warnings: usize,
    /// How many files were read.
    pub(super) files: usize,
    /// How many objects in them are read by Tidegate.
    pub(super) objects: usize,
    /// The clusters for which they were checked.
    pub(super) clusters: Vec<ClusterName>,
    /// The problems, by file and line.
    pub(super) problems: Vec<Problem>,
    /// Documents of kinds that are other people's business.
    pub(super) foreign: Vec<ForeignIn>,
    /// Files that are no manifests by their names.
    pub(super) left_out: Vec<String>,
    /// What else is worth knowing.
    pub(super) notes: Vec<String>,
}

/// A document that is passed over.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForeignIn {
    file: String,
    line: u32,
    api_version: String,
    kind: String,
    name: String,
}

impl Report {
    pub(super) fn of(fleet: &Fleet, manifests: &[Manifests]) -> Self {
        let mut problems: Vec<Problem> = fleet.unread.iter().chain(&fleet.problems).cloned().collect();
        let mut foreigners = Vec::new();
        let mut objects = 0;
        for (_, file) in &fleet.files {
            objects += inventory(file).map_or(0, |listed| listed.len());
            let at_home = |it: Foreign| ForeignIn {
                file: file.path.clone(),
                line: it.line,
                api_version: it.api_version,
                kind: it.kind,
                name: it.name,
            };
            foreigners.extend(foreign(file).into_iter().map(at_home));
        }
        let (mut left_out, mut notes) = (Vec::new(), Vec::new());
        for it in manifests.iter().filter(|it| it.root.is_dir()) {
            let (paths, more) = passed_over::below(&it.root);
            left_out.extend(paths);
            if more {
                let root = it.root.display();
                notes.push(format!(
                    "only {} files that are no manifests are named of {root}",
                    passed_over::MAX_NAMED
                ));
            }
            problems.extend(empty(it, fleet));
        }
        left_out.sort();
        left_out.dedup();
        if fleet.loaders.is_empty() && objects > 0 {
            notes.push(
                "no FleetCluster is among them: whether the regions, clusters and labels that they name exist was not checked"
                    .to_owned(),
            );
        } else if objects == 0 && !fleet.files.is_empty() && problems.is_empty() {
            problems.push(nothing(fleet.files.len(), &foreigners));
        }
        let has_services = fleet.loaders.values().any(|loader| !loader.config().services.is_empty());
        if !has_services && problems.iter().any(is_of_clusters) {
            problems.retain(|problem| !is_of_clusters(problem));
            notes.push(
                "no Service is among them: whether the services, zones and secrets that they name exist was not checked"
                    .to_owned(),
            );
        }
        let (obstacle, warnings) = fleet.doubts();
        notes.extend(warnings.iter().cloned());
        if let Some(obstacle) = obstacle.filter(|_| !fleet.loaders.is_empty()) {
            let (message, hint) = obstacle.split_once("\n  hint: ").unwrap_or((obstacle, ""));
            problems.push(Problem::of_file("", message, hint));
        }
        sort(&mut problems);
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        Self {
            errors,
            warnings: problems.len() - errors,
            files: fleet.files.len(),
            objects,
            clusters: fleet.loaders.keys().cloned().collect(),
            problems,
            foreign: foreigners,
            left_out,
            notes,
        }
    }

    /// For people: every problem, then what was passed over, then the sum. On a terminal with the source lines.
    pub(super) fn text(&self, fleet: &Fleet) -> String {
        let rich = std::io::stdout().is_terminal();
        let texts: BTreeMap<&str, &str> =
            fleet.files.iter().map(|(_, file)| (file.path.as_str(), file.text.as_str())).collect();
        let mut out = String::new();
        for problem in &self.problems {
            let _ = match texts.get(problem.file.as_str()).filter(|_| rich) {
                Some(text) => writeln!(out, "{:?}", problem.report(text)),
                None => writeln!(out, "{problem}"),
            };
        }
        for note in self.all_notes() {
            let _ = writeln!(out, "note: {note}");
        }
        out + &self.sum()
    }

    /// What was passed over and what else is worth knowing, one sentence each.
    pub(super) fn all_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.foreign.is_empty() {
            let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
            for it in &self.foreign {
                *kinds.entry(format!("{} {}", it.api_version, it.kind)).or_default() += 1;
            }
            let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let count = self.foreign.len();
            notes.push(format!(
                "{} of kinds that Tidegate does not read: {}",
                counted(count, "document"),
                kinds.join(", ")
            ));
        }
        if !self.left_out.is_empty() {
            let shown = self.left_out.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = match self.left_out.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let count = counted(self.left_out.len(), "file");
            notes.push(format!(
                "{count} not read, as manifests are named *.yaml, *.yml or *.json: {shown}{more}"
            ));
        }
        notes.extend(self.notes.iter().cloned());
        notes
    }

    fn sum(&self) -> String {
        let clusters = match self.clusters.len() {
            0 => String::new(),
            count => format!(" of {}", counted(count, "cluster")),
        };
        let wrong = match (self.errors, self.warnings) {
            (0, 0) => "nothing is wrong".to_owned(),
            (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
        };
        format!("{} with {}{clusters}: {wrong}", counted(self.files, "file"), counted(self.objects, "object"))
    }
}

/// Whether a problem says only that something is not there which a folder of policy alone never has.
fn is_of_clusters(problem: &Problem) -> bool {
    ["there is no Service ", "there is no Secret ", "no EndpointSlice knows the zone "]
        .iter()
        .any(|start| problem.message.starts_with(start))
}

/// A folder without any manifest: most likely not the folder that was meant.
fn empty(manifests: &Manifests, fleet: &Fleet) -> Option<Problem> {
    let is_below = |path: &str| std::path::Path::new(path).starts_with(&manifests.root);
    let found = fleet.files.iter().map(|(_, file)| file.path.as_str());
    let unread = fleet.unread.iter().map(|problem| problem.file.as_str());
    if found.chain(unread).any(is_below) {
        return None;
    }
    let hint =
        "manifests are files named *.yaml, *.yml or *.json that are not hidden; is it the right folder?";
    Some(Problem::of_file(&manifests.root.to_string_lossy(), "there is no manifest in it", hint))
}

/// Files, and nothing in them for Tidegate.
fn nothing(files: usize, foreigners: &[ForeignIn]) -> Problem {
    let kinds: BTreeSet<&str> = foreigners.iter().map(|it| it.kind.as_str()).take(SHOWN).collect();
    let found = match kinds.len() {
        0 => "they are empty".to_owned(),
        _ => format!("they hold {}", kinds.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let hint = "is it the right folder? docs/policy.md has the kinds that are read";
    Problem::of_file(
        "",
        format!("{} without an object that Tidegate reads; {found}", counted(files, "file")),
        hint,
    )
}

fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|a, b| {
        let key = |it: &Problem| (it.file.clone(), it.line, it.column, it.severity, it.message.clone());
        key(a).cmp(&key(b))
    });
    problems.dedup();
}

fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
