//! `cargo xtask bench agent`: an agent with 10,000 services, beside an Envoy that reads files.

use crate::{
    command::{cargo, run as run_command},
    demo,
};
use anyhow::Result;
use std::path::Path;

/// The name by which it is asked for.
pub(crate) const NAME: &str = "agent";

/// Builds the agent and measures it with this Envoy.
pub(crate) fn run(root: &Path, envoy: &Path, json: Option<&Path>) -> Result<()> {
    let tidegate = demo::build(root)?;
    let mut bench = cargo(root);
    bench.args(["bench", "--package", "tidegate-lab", "--bench", "agent", "--"]);
    bench.arg("--envoy").arg(envoy).arg("--tidegate").arg(tidegate);
    if let Some(path) = json {
        // The benchmark runs in its package's folder.
        bench.arg("--json").arg(std::path::absolute(path)?);
    }
    run_command(&mut bench)
}
