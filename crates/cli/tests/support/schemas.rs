//! What others publish as schemas, from npm: `tests/schemas` names the packages and checks against them.

use super::{skipped, workspace};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const FILES: [&str; 3] = ["package.json", "package-lock.json", "check.mjs"];

/// The folder with the check and its packages, or `None` after saying that the test was skipped. CI must have npm.
fn installed(test: &str) -> Option<PathBuf> {
    let from = workspace().join("crates/cli/tests/schemas");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemas");
    fs::create_dir_all(&to).unwrap();
    // One test at a time installs, of whichever process; the others find it done.
    let lock = fs::File::create(to.join("lock")).unwrap();
    lock.lock().unwrap();
    fs::copy(from.join("check.mjs"), to.join("check.mjs")).unwrap();
    let wanted = FILES.map(|name| fs::read_to_string(from.join(name)).unwrap())[..2].concat();
    let done = to.join("done");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Some(to);
    }
    for name in &FILES[..2] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"])
        .current_dir(&to)
        .output();
    match npm {
        Ok(output) if output.status.success() => {
            fs::write(&done, wanted).unwrap();
            Some(to)
        }
        Ok(output) => {
            skipped(test, &format!("npm ci failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
            None
        }
        Err(error) => {
            skipped(test, &format!("npm cannot be run ({error}); `cargo xtask setup` installs it"));
            None
        }
    }
}

/// What the check finds wrong with a JSON text; `None` if it cannot be run here.
pub(crate) fn findings(test: &str, check: &str, json: &str) -> Option<Vec<String>> {
    let folder = installed(test)?;
    let mut node = Command::new("node")
        .args(["check.mjs", check])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin.take().unwrap().write_all(json.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    let findings: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    // It ends with 1 and says nothing if it fails itself.
    assert_eq!(
        output.status.success(),
        findings.is_empty(),
        "the check failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(findings)
}
