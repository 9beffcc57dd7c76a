//! `cargo xtask bench fleet`: a hub with 1,000 agents, and an agent with 100 peers.

use crate::{
    command::{cargo, run as run_command},
    demo,
};
use anyhow::Result;
use std::path::Path;

/// The name by which it is asked for.
pub(crate) const NAME: &str = "fleet";

/// Builds `tidegate` and measures it.
pub(crate) fn run(root: &Path, json: Option<&Path>, more: &[String]) -> Result<()> {
    let tidegate = demo::build(root)?;
    let mut bench = cargo(root);
    bench.args(["bench", "--package", "tidegate-lab", "--bench", NAME, "--", "--tidegate"]).arg(tidegate);
    if let Some(path) = json {
        // The benchmark runs in its package's folder.
        bench.arg("--json").arg(std::path::absolute(path)?);
    }
    run_command(bench.args(more))
}
