//! gRPC for Python, whose xDS client is one of the real clients that the tests run.

use crate::packages::Package;
use anyhow::{Context, Result};
use std::{
    env,
    path::{Path, PathBuf},
};

/// The environment variable that names the folder of Python packages, for us and for the tests.
pub(crate) const VARIABLE: &str = "TIDEGATE_GRPCIO";

/// What is fetched, with what it needs itself. Tests only: nothing of it is shipped.
const GRPCIO: Package =
    Package { shown: "gRPC for Python", name: "grpcio", version: "1.76.0", megabytes: 7, sha256: &[] };

/// The folder to put on `PYTHONPATH`, which is fetched with pip unless it is there already. The path is absolute.
pub(crate) fn find(root: &Path) -> Result<PathBuf> {
    let found = match env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) {
        Some(path) => path,
        None => GRPCIO.folder(&root.join(".tools"))?,
    };
    std::path::absolute(&found).with_context(|| format!("{} as an absolute path", found.display()))
}
