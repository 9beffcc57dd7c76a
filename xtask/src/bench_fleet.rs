//! `cargo xtask bench fleet`: a hub with 1,000 agents, and an agent with 100 peers. `cargo xtask bench page`: a hub with 100 agents whose
//! page fifty people look at.

use crate::{
    command::{cargo, run as run_command},
    demo,
};
use anyhow::Result;
use std::path::Path;

/// The names by which they are asked for.
pub(crate) const NAME: &str = "fleet";
pub(crate) const PAGE: &str = "page";

/// Builds `tidegate` and measures what is asked for.
pub(crate) fn run(root: &Path, name: &str, json: Option<&Path>, more: &[String]) -> Result<()> {
    let tidegate = demo::build(root)?;
    let mut bench = cargo(root);
    bench.args(["bench", "--package", "tidegate-lab", "--bench", NAME, "--"]);
    if name == PAGE {
        bench.arg(PAGE);
    }
    bench.arg("--tidegate").arg(tidegate);
    if let Some(path) = json {
        // The benchmark runs in its package's folder.
        bench.arg("--json").arg(std::path::absolute(path)?);
    }
    run_command(bench.args(more))
}
