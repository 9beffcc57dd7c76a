//! `examples/gitops`: the commands that its pipeline files show, run as they stand there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};
use support::{TIDEGATE, workspace};
use tempfile::TempDir;

/// The commands of a pipeline file that run tidegate, in order.
fn commands(path: &str) -> Vec<String> {
    let text = fs::read_to_string(workspace().join("examples/gitops").join(path)).unwrap();
    let file = tidegate_api::SourceFile { path: path.to_owned(), text };
    let pipeline = tidegate_api::plain_objects(&file).remove(0);
    let mut commands = Vec::new();
    gather(&pipeline, "", &mut commands);
    commands
}

/// The texts below `run` and `script` that begin with the command.
fn gather(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if ["run", "script"].contains(&key) && text.starts_with("tidegate ") => {
            found.push(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, key, found)),
        Value::Object(map) => map.iter().for_each(|(key, value)| gather(value, key, found)),
        _ => {}
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A clone of a repository that holds the example, with tidegate on its PATH.
fn clone() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let upstream = folder.path().join("upstream");
    copy(&workspace().join("examples/gitops"), &upstream);
    let who = "-c user.name=somebody -c user.email=somebody@example.org";
    let script = format!(
        "cd upstream && git init --quiet -b main . && git add -A && git {who} commit --quiet -m one && cd .. && \
         git clone --quiet upstream clone"
    );
    let output = Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::create_dir(folder.path().join("bin")).unwrap();
    symlink(TIDEGATE, folder.path().join("bin/tidegate")).unwrap();
    folder
}

/// Runs a command of a pipeline in the clone.
fn pipeline(folder: &TempDir, command: &str) -> Output {
    let path = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    Command::new("bash")
        .args(["-c", command])
        .current_dir(folder.path().join("clone"))
        .env("PATH", path)
        .env("BASE", "origin/main")
        .output()
        .unwrap()
}

#[test]
fn the_commands_of_the_pipelines_check_a_change() {
    for (path, count) in [(".github/workflows/tidegate.yaml", 2), (".gitlab-ci.yml", 2)] {
        let commands = commands(path);
        assert_eq!(commands.len(), count, "{commands:?}");
        let folder = clone();
        let clone = folder.path().join("clone");
        let change = |from: &str, to: &str| {
            let policy = clone.join("fleet/policy.yaml");
            let text = fs::read_to_string(&policy).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(policy, text.replace(from, to)).unwrap();
        };
        let run = || commands.iter().map(|command| pipeline(&folder, command)).collect::<Vec<_>>();
        let comment = || fs::read_to_string(clone.join("tidegate.md")).unwrap();
        // Nothing yet.
        assert!(run().iter().all(|output| output.status.success()), "{path}");
        assert!(comment().starts_with("### Tidegate: nothing changes against origin/main"), "{}", comment());
        // A change that says less of each endpoint, so that the rest would not hold.
        change("requestsPerSecond: 100", "requestsPerSecond: 60");
        assert!(run().iter().all(|output| output.status.success()), "{path}");
        let told = comment();
        assert!(
            told.contains("| shop/web | region/us-east | 75 % utilisation | 125 % utilisation"),
            "{told}"
        );
        assert!(told.contains("THE FLEET DOES NOT HOLD ANY MORE"), "{told}");
        // A mistake fails the first command.
        change("requestsPerSecond: 60", "requestsPerSecnd: 60");
        let outputs = run();
        assert_eq!(outputs[0].status.code(), Some(1), "{path}");
        let said = String::from_utf8_lossy(&outputs[0].stdout).into_owned();
        assert!(said.contains("fleet/policy.yaml") && said.contains("requestsPerSecnd"), "{said}");
    }
}
