//! `cargo xtask bench probe`: what a health check costs, beside Envoy's.

use crate::command::{cargo, run as run_command};
use anyhow::Result;
use std::path::Path;

/// The name by which it is asked for.
pub(crate) const NAME: &str = "probe";

/// Runs the benchmark of the prober with this Envoy to compare with.
pub(crate) fn run(root: &Path, envoy: &Path, json: Option<&Path>) -> Result<()> {
    let mut bench = cargo(root);
    bench.args(["bench", "--package", "tidegate-probe", "--bench", "checks", "--", "--envoy"]).arg(envoy);
    if let Some(path) = json {
        // The benchmark runs in its package's folder.
        bench.arg("--json").arg(std::path::absolute(path)?);
    }
    run_command(&mut bench)
}
