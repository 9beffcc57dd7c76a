//! Manifests as they were at a revision, by the command `git`.

use crate::manifests::{Fleet, Manifests, Placed, folders};
use anyhow::{Context as _, Result, anyhow, bail};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tidegate_discovery::read_once;
use tokio::{process::Command, time::timeout};

/// A `git` command may take so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folders as they were at `revision` of the repositories that they lie in, under the names that they have now; and the
/// commit, shortened. A folder that did not exist is empty.
pub(super) async fn read(manifests: &[Manifests], revision: &str) -> Result<(Fleet, String)> {
    let scratch = tempfile::tempdir().context("no folder for temporary files can be made")?;
    let (mut files, mut unread, mut commit) = (Vec::new(), Vec::new(), String::new());
    let mut found = false;
    for (at, Manifests { cluster, root }) in manifests.iter().enumerate() {
        // A file is taken out of its folder.
        let here = if root.is_dir() { root.clone() } else { parent(root) };
        let full = git(
            &here,
            &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")],
            None,
        )
        .await
        .map_err(|_| no_revision(revision, root))?;
        commit = full.trim().chars().take(12).collect();
        let prefix = git(&here, &["rev-parse", "--show-prefix"], None).await?;
        let tree = format!("{}:{}", full.trim(), prefix.trim_end_matches(['\n', '/']));
        if git(&here, &["rev-parse", "--verify", "--quiet", &tree], None).await.is_err() {
            continue;
        }
        found = true;
        let name = std::fs::canonicalize(&here)?.file_name().map(PathBuf::from).unwrap_or_default();
        let place = scratch.path().join(at.to_string()).join(name);
        std::fs::create_dir_all(&place)?;
        let index = scratch.path().join(format!("index-{at}"));
        git(&here, &["read-tree", &tree], Some(&index)).await?;
        let to = format!("--prefix={}/", place.display());
        // From the top of the work tree, or only what lies below the folder would be written.
        let top = git(&here, &["rev-parse", "--show-toplevel"], None).await?;
        git(
            Path::new(top.trim_end_matches('\n')),
            &["checkout-index", "--all", "--quiet", &to],
            Some(&index),
        )
        .await?;
        let old_root =
            if root.is_dir() { place.clone() } else { place.join(root.file_name().unwrap_or_default()) };
        if !old_root.exists() {
            continue;
        }
        let (texts, problems) = read_once(std::slice::from_ref(&old_root));
        let renamed = |path: &str| match Path::new(path).strip_prefix(&old_root) {
            Ok(below) if !below.as_os_str().is_empty() => root.join(below).display().to_string(),
            _ => root.display().to_string(),
        };
        unread.extend(problems.into_iter().map(|mut problem| {
            problem.file = renamed(&problem.file);
            problem
        }));
        files.extend(texts.into_iter().map(|mut file| {
            let folders = folders(&old_root, Path::new(&file.path));
            file.path = renamed(&file.path);
            Placed { file, cluster: cluster.clone(), folders }
        }));
    }
    if !found {
        bail!("{revision} has none of these folders\n  hint: compare with a folder instead: --against DIR");
    }
    Ok((Fleet::of(files, unread, revision), commit))
}

fn no_revision(revision: &str, root: &Path) -> anyhow::Error {
    anyhow!(
        "{} lies in no Git repository that has it\n  hint: is it fetched? a pipeline's checkout often has one commit only; \
         git rev-parse --verify '{revision}^{{commit}}' must succeed there",
        root.display()
    )
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Runs `git` in a folder, with an index of its own, never asking anybody for a password, and ends it when it takes too long.
async fn git(folder: &Path, arguments: &[&str], index: Option<&Path>) -> Result<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).env("GIT_TERMINAL_PROMPT", "0");
    command.stdin(Stdio::null()).kill_on_drop(true);
    if let Some(index) = index {
        command.env("GIT_INDEX_FILE", index);
    }
    let what = format!("git {}", arguments[0]);
    let Ok(output) = timeout(PATIENCE, command.output()).await else {
        bail!("{what} gave no answer within {} s", PATIENCE.as_secs());
    };
    let output = output.with_context(|| format!("{what} cannot be run\n  hint: is git installed?"))?;
    if !output.status.success() {
        let told: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(500).collect();
        bail!("{what} failed: {told}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
