//! `cargo xtask incidents`: draws the pictures of docs/decision.md anew. A test of the crate `sim` holds them to this.

use crate::command::{cargo, run as run_command};
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// Plays every scenario in examples/incidents, and writes its picture into docs/incidents.
pub(crate) fn run(root: &Path) -> Result<()> {
    let folder = root.join("examples/incidents");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut scenarios = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    scenarios.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    scenarios.sort();
    for scenario in scenarios {
        let name = scenario.file_stem().unwrap_or_default();
        let picture = root.join("docs/incidents").join(name).with_extension("svg");
        let mut command = cargo(root);
        command.args(["run", "--quiet", "--package", "tidegate", "--", "simulate", "--file"]);
        run_command(command.arg(&scenario).arg("--svg").arg(picture))?;
        println!();
    }
    Ok(())
}
