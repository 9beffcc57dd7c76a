//! What the tests of the command share: where things lie, how a skip is told, how an event is awaited.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::print_stderr, reason = "a test says what it skips and what failed")]

pub(crate) mod backend;
pub(crate) mod command;
pub(crate) mod course;
pub(crate) mod describe;
pub(crate) mod hub;
pub(crate) mod kube;
pub(crate) mod page;
pub(crate) mod pair;
pub(crate) mod proc;
pub(crate) mod schemas;
pub(crate) mod walk;

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The command under test.
pub(crate) const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");
/// How long an event may take that takes a moment on an idle machine. Nothing waits that long unless it fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// From one look to the next.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Envoy, or `None` after saying that the test was skipped. CI must have it.
pub(crate) fn envoy(test: &str) -> Option<PathBuf> {
    let fetched = || workspace().join(".tools/envoy-1.40.0/envoy");
    let named = env::var_os("TIDEGATE_ENVOY").map_or_else(fetched, PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("envoy"));
    let found = [named.clone()].into_iter().chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        skipped(test, &format!("no Envoy at {} and none on PATH (set TIDEGATE_ENVOY)", named.display()));
    }
    found
}

/// The oldest supported Envoy, or `None` after saying that the test was skipped. CI must have it.
pub(crate) fn oldest_envoy(test: &str) -> Option<PathBuf> {
    let fetched = || workspace().join(".tools/envoy-1.36.2/envoy");
    let named = env::var_os("TIDEGATE_ENVOY_OLDEST").map_or_else(fetched, PathBuf::from);
    if named.is_file() {
        return Some(named);
    }
    skipped(test, &format!("no Envoy at {} (set TIDEGATE_ENVOY_OLDEST)", named.display()));
    None
}

/// Says that a test was skipped: on stderr, and in the file from which `cargo xtask test` makes its summary.
pub(crate) fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}");
    eprintln!("{line}");
    if let Some(log) = env::var_os("TIDEGATE_SKIPPED") {
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        writeln!(log, "{line}").unwrap();
    }
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "{line}");
}

/// Looks until there is something to see, and gives it.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "after {LIMIT:?} still waiting for: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same, for tests without a runtime.
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "after {LIMIT:?} still waiting for: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Copies a folder of the workspace's `examples` to `to`, which must not exist.
pub(crate) fn copy_example(name: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(workspace().join("examples").join(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
