//! Schemathesis, which asks the JSON APIs whatever their documents allow.

use crate::packages::Package;
use anyhow::{Context, Result};
use std::{
    env,
    path::{Path, PathBuf},
};

/// The environment variable that names the folder of Python packages, for us and for the tests.
pub(crate) const VARIABLE: &str = "TIDEGATE_SCHEMATHESIS";

/// What is fetched, with what it needs itself. Tests only: nothing of it is shipped.
const SCHEMATHESIS: Package =
    Package { shown: "Schemathesis", name: "schemathesis", version: "4.32.5", megabytes: 20, sha256: &[] };

/// The folder to put on `PYTHONPATH`, which is fetched with pip unless it is there already. The path is absolute.
pub(crate) fn find(root: &Path) -> Result<PathBuf> {
    let found = match env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) {
        Some(path) => path,
        None => SCHEMATHESIS.folder(&root.join(".tools"))?,
    };
    std::path::absolute(&found).with_context(|| format!("{} as an absolute path", found.display()))
}
