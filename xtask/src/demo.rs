//! `cargo xtask demo`: builds the `tidegate` binary and becomes it.

use crate::command::{cargo, shown};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Builds `tidegate` in release mode and starts its demo.
pub(crate) fn run(root: &Path, envoy: &Path, args: &[OsString]) -> Result<()> {
    let binary = build(root)?;
    let mut demo = Command::new(&binary);
    demo.arg("demo").arg("--envoy").arg(envoy).args(args);
    start(demo).with_context(|| format!("{} did not start", binary.display()))
}

/// Builds `tidegate` in release mode, and says where it is.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    eprintln!("Building tidegate in release mode (the first time takes some minutes) ...");
    let mut build = cargo(root);
    build
        .args(["build", "--release", "--package", "tidegate", "--bin", "tidegate"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let output = build.output().with_context(|| format!("`{}` did not start", shown(&build)))?;
    if !output.status.success() {
        bail!("tidegate does not build ({}); cargo's messages are above", output.status);
    }
    executable(&String::from_utf8_lossy(&output.stdout), "tidegate")
        .context("cargo built tidegate but named no binary; does crates/cli still have one of that name?")
}

/// Replaces this process: signals, the terminal and the exit code are then the demo's own, so
/// Ctrl-C reaches it and the shell waits until its fleet is gone.
#[cfg(unix)]
fn start(mut demo: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(demo.exec().into())
}

#[cfg(not(unix))]
fn start(mut demo: Command) -> Result<()> {
    let status = demo.status()?;
    std::process::exit(status.code().unwrap_or(1))
}

/// The binary of this name in cargo's JSON messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        target: Option<Target>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == name))
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"anyhow"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"tidegate"},"executable":"/t/release/tidegate"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "tidegate"), Some("/t/release/tidegate".into()));
        assert_eq!(executable(messages, "other"), None);
    }
}
