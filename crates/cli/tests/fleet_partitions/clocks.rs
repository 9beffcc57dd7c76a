//! Processes whose time of day is wrong, while their monotonic clock goes right: as on a machine whose clock was set wrongly.

use super::support::skipped;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What is loaded into them.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet_partitions/wrong_clock.c");

/// Whose clock is wrong, and by how much.
#[derive(Clone)]
pub(crate) struct WrongClocks {
    library: PathBuf,
    ahead: &'static [(&'static str, i32)],
}

impl WrongClocks {
    /// `ahead` has minutes by cluster. `None` after saying that the test was skipped.
    pub(crate) fn new(test: &str, ahead: &'static [(&'static str, i32)]) -> Option<Self> {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong_clock.so");
        let made =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(SOURCE).output();
        let Ok(made) = made else {
            skipped(test, "there is no C compiler `cc`");
            return None;
        };
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Self { library, ahead })
    }

    /// Minutes that the clock of a cluster is ahead of ours.
    pub(crate) fn ahead_of(&self, cluster: &str) -> i32 {
        self.ahead.iter().find(|(it, _)| *it == cluster).map_or(0, |(_, minutes)| *minutes)
    }

    /// The process of this command, and those that it starts, will have the clock of its cluster.
    pub(crate) fn set(&self, cluster: &str, command: &mut Command) {
        let ahead_s = self.ahead_of(cluster) * 60;
        if ahead_s != 0 {
            command.env("LD_PRELOAD", &self.library).env("WRONG_CLOCK_S", ahead_s.to_string());
        }
    }
}
