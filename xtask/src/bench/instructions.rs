//! The benchmarks that count instructions, where Valgrind and gungraun's runner are installed.

use crate::{
    command::{cargo, run},
    metadata::Metadata,
};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::{fs, path::Path, process::Command, time::SystemTime};

/// The benchmark target that counts, and its package.
pub(super) const TARGET: &str = "instructions";
const PACKAGE: &str = "tidegate-engine";

/// How many instructions one run took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    pub(super) name: String,
    pub(super) instructions: u64,
}

/// What is missing on this machine, each with how to get it; empty when instructions can be counted.
pub(super) fn missing(graph: &Metadata) -> Vec<String> {
    let mut missing = Vec::new();
    if version_of("valgrind").is_none() {
        missing.push("valgrind (a package of every distribution)".to_owned());
    }
    let wanted = graph.packages.iter().find(|it| it.name == "gungraun").map(|it| it.version.to_string());
    let wanted = wanted.unwrap_or_default();
    let install = format!("gungraun-runner {wanted} (cargo install gungraun-runner --version {wanted})");
    match version_of("gungraun-runner") {
        Some(found) if found.split_whitespace().any(|word| word == wanted) => {}
        Some(found) => missing.push(format!("{install}; found is {found}")),
        None => missing.push(install),
    }
    missing
}

/// What a program says of its version, if it is there.
fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs them all, and gives what was counted.
pub(super) fn count(root: &Path, target_directory: &Path) -> Result<Vec<Counted>> {
    let started = SystemTime::now();
    run(cargo(root).args(["bench", "--package", PACKAGE, "--bench", TARGET]))?;
    let folder = target_directory.join("gungraun");
    let counted = read(&folder, started)?;
    if counted.is_empty() {
        bail!("gungraun left no counts under {}; delete that folder and run it again", folder.display());
    }
    Ok(counted)
}

/// The counts under `folder` that were written since `since`, by name.
fn read(folder: &Path, since: SystemTime) -> Result<Vec<Counted>> {
    let mut counted = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = name.strip_prefix("callgrind.").and_then(|it| it.strip_suffix(".out"))
            {
                let at = || format!("reading {}", path.display());
                if fs::metadata(&path).and_then(|it| it.modified()).with_context(at)? < since {
                    continue;
                }
                let text = fs::read_to_string(&path).with_context(at)?;
                let Some(instructions) = instructions(&text) else {
                    bail!("{} names no instructions; is it a file of callgrind?", path.display());
                };
                counted.push(Counted { name: name.to_owned(), instructions });
            }
        }
    }
    counted.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(counted)
}

/// The instructions of a file in callgrind's format: the total in the column of the event `Ir`.
fn instructions(text: &str) -> Option<u64> {
    let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let column = line("events:")?.split_whitespace().position(|event| event == "Ir")?;
    let total = line("totals:").or_else(|| line("summary:"))?;
    total.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn this_runs_counts_are_read() {
        let home = tempfile::tempdir().unwrap();
        let case = home.path().join("instructions/decisions/plan.of_12_pools");
        fs::create_dir_all(&case).unwrap();
        let text = "version: 1\nevents: Dr Ir\nsummary: 1 2\n\nfn=a\n1 1 2\n\ntotals: 10 25\n";
        fs::write(case.join("callgrind.plan.of_12_pools.out"), text).unwrap();
        fs::write(case.join("callgrind.plan.of_12_pools.out.old"), "").unwrap();
        let counted = Counted { name: "plan.of_12_pools".to_owned(), instructions: 25 };
        assert_eq!(read(home.path(), SystemTime::UNIX_EPOCH).unwrap(), [counted]);
        let later = SystemTime::now() + Duration::from_secs(3600);
        assert_eq!(read(home.path(), later).unwrap(), []);
        fs::write(case.join("callgrind.bad.out"), "what").unwrap();
        assert!(
            read(home.path(), SystemTime::UNIX_EPOCH).unwrap_err().to_string().contains("callgrind.bad.out")
        );
    }
}
