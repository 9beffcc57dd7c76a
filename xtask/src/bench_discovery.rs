//! `cargo xtask bench discovery`: an agent with 100,000 endpoints of a Kubernetes API, and a gateway behind which they change.

use crate::{
    command::{cargo, run as run_command},
    demo,
};
use anyhow::Result;
use std::path::Path;

/// The name by which it is asked for.
pub(crate) const NAME: &str = "discovery";

/// Builds the agent and measures it with an API server for tests.
pub(crate) fn run(root: &Path, envoy: &Path) -> Result<()> {
    let tidegate = demo::build(root)?;
    let mut bench = cargo(root);
    bench.args(["bench", "--package", "tidegate-discovery", "--bench", "discovery", "--"]);
    run_command(bench.arg("--tidegate").arg(tidegate).arg("--envoy").arg(envoy))
}
