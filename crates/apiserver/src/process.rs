//! A process that ends with whoever started it.

use crate::{Error, io_error};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

/// So many lines of a log are shown.
const LINES: usize = 20;

/// A running process, killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    name: &'static str,
    process: process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts a command whose log goes into `dir`. `setpriv` ties it to this thread, so that it also ends when the test is killed.
    pub(crate) fn spawn(name: &'static str, command: &Command, dir: &Path) -> Result<Self, Error> {
        let log = dir.join(format!("{name}.log"));
        let spawned = File::options().create(true).append(true).open(&log).and_then(|file| {
            Command::new("setpriv")
                .args(["--pdeathsig", "KILL"])
                .arg(command.get_program())
                .args(command.get_args())
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                .spawn()
        });
        let process = spawned.map_err(io_error(&format!("starting {name} by setpriv (util-linux)")))?;
        Ok(Self { name, process, log })
    }

    /// Fails if the process has ended.
    pub(crate) fn living(&mut self) -> Result<(), Error> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.not_ready(&format!("ended with {status}"))),
            Err(source) => Err(Error::Io { what: format!("waiting for {}", self.name), source }),
        }
    }

    pub(crate) fn not_ready(&self, what: &str) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let log = lines[lines.len().saturating_sub(LINES)..].join("\n");
        Error::NotReady { what: format!("{} {what}", self.name), log }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
