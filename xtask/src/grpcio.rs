//! gRPC for Python, whose xDS client is one of the real clients that the tests run.

use crate::{command::shown, progress};
use anyhow::{Context, Result, bail};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The environment variable that names the folder of Python packages, for us and for the tests.
pub(crate) const VARIABLE: &str = "TIDEGATE_GRPCIO";

/// What is fetched. Tests only: nothing of it is shipped.
const VERSION: &str = "1.76.0";

/// The folder to put on `PYTHONPATH`, which is fetched with pip unless it is there already. The path is absolute.
pub(crate) fn find(root: &Path) -> Result<PathBuf> {
    let found = match env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) {
        Some(path) => path,
        None => fetched(&root.join(".tools"), install)?,
    };
    std::path::absolute(&found).with_context(|| format!("{} as an absolute path", found.display()))
}

/// It is made whole beside its place and then renamed, under a lock, so that what lies in its place is whole.
fn fetched(tools: &Path, install: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let home = tools.join(format!("grpcio-{VERSION}"));
    if home.is_dir() {
        return Ok(home);
    }
    let in_tools = || format!("preparing {}; is it writable, is the disk full?", tools.display());
    fs::create_dir_all(tools).with_context(in_tools)?;
    let lock = File::create(tools.join("lock")).with_context(in_tools)?;
    lock.lock().with_context(in_tools)?;
    if home.is_dir() {
        return Ok(home);
    }
    let scratch = tempfile::Builder::new().prefix(".fetch-").tempdir_in(tools).with_context(in_tools)?;
    let whole = scratch.path().join("whole");
    install(&whole)?;
    fs::rename(&whole, &home).with_context(in_tools)?;
    Ok(home)
}

fn install(folder: &Path) -> Result<()> {
    let step = progress::step(format!("Fetching gRPC {VERSION} for Python with pip (some 7 MB)"));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"])
        .args(["--only-binary=:all:", "--root-user-action=ignore", "--target"])
        .arg(folder)
        .arg(format!("grpcio=={VERSION}"))
        .stdin(Stdio::null());
    let done = pip.output().context("fetching it needs python3 with pip (`cargo xtask setup`)")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("`{}` failed:\n{}", shown(&pip), said.trim_end());
    }
    step.done(&format!("Fetched gRPC {VERSION} for Python."));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fetched_once_and_whole_or_not_at_all() {
        let tools = tempfile::tempdir().unwrap();
        fetched(tools.path(), |folder| {
            fs::create_dir(folder)?;
            bail!("the line went dead")
        })
        .unwrap_err();
        let home = fetched(tools.path(), |folder| Ok(fs::create_dir(folder)?)).unwrap();
        assert_eq!(home, tools.path().join("grpcio-1.76.0"));
        assert_eq!(fetched(tools.path(), |_| bail!("fetched again")).unwrap(), home);
        let left = fs::read_dir(tools.path()).unwrap().count();
        assert_eq!(left, 2, "itself and the lock");
    }
}
