//! Children that never outlive the lab.
//!
//! Three things see to it. Each child leads a process group of its own, which is killed as a whole:
//! a runner and the Envoy that it runs die together. Each child is a `tidegate` started with
//! `--exit-with-stdin`, and its standard input is a pipe that only the lab holds: when the lab ends,
//! however it ends, the child reads the end of it, stops what it runs and exits. And a dropped
//! [`Child`] is killed.
//!
//! Because the group is the child's own, Ctrl-C on the terminal reaches the lab alone, which then
//! ends its children in order.

mod usage;

pub use usage::Usage;

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::process::{ChildStdin, Command};

/// How much of a log's end an error shows.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 15;

/// How to start a child.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// What it is called in errors; its log is `NAME.log`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The folder for its log.
    pub log_dir: PathBuf,
}

/// A child that does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("{name}: cannot start {program}: {cause}")]
    Start {
        /// Which child.
        name: String,
        /// The program.
        program: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It has ended, and should not have.
    #[error("{name} ended: {status}; the end of {log}:\n{tail}")]
    Ended {
        /// Which child.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// It did not end in time.
    #[error("{name} still runs after {limit:?}")]
    Late {
        /// Which child.
        name: String,
        /// The time that it had.
        limit: Duration,
    },
    /// The system refused.
    #[error("{name}: {cause}")]
    System {
        /// Which child.
        name: String,
        /// Why.
        cause: io::Error,
    },
}

/// A running child, or one that has ended and can be started again.
#[derive(Debug)]
pub struct Child {
    spec: ChildSpec,
    process: tokio::process::Child,
    /// The lab's end of the child's standard input. Closing it asks the child to exit.
    stdin: Option<ChildStdin>,
}

impl Child {
    /// Starts a child. Its output is appended to its log. Must be called within a tokio runtime.
    pub fn start(spec: ChildSpec) -> Result<Self, ProcessError> {
        let (process, stdin) = spawn(&spec).map_err(|cause| ProcessError::Start {
            name: spec.name.clone(),
            program: spec.program.clone(),
            cause,
        })?;
        Ok(Self { spec, process, stdin })
    }

    /// How it was started.
    #[must_use]
    pub const fn spec(&self) -> &ChildSpec {
        &self.spec
    }

    /// Its process id, which is also the id of its process group; `None` after it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// If it has ended, or the system does not tell.
    pub fn usage(&self) -> Result<Usage, ProcessError> {
        let pid = self.pid().ok_or_else(|| self.system(io::Error::other("it has ended")))?;
        Usage::of(pid).map_err(|cause| self.system(cause))
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.spec.log()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log())
    }

    /// Fails if it has ended, with the end of its log.
    pub fn check(&mut self) -> Result<(), ProcessError> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(ProcessError::Ended {
                name: self.spec.name.clone(),
                status,
                log: self.log(),
                tail: self.tail(),
            }),
            Err(cause) => Err(self.system(cause)),
        }
    }

    /// Kills it and all that it started, without a word (SIGKILL), and waits until it is gone.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        self.signal(Signal::KILL)?;
        self.process.wait().await.map_err(|cause| self.system(cause))?;
        self.stdin = None;
        Ok(())
    }

    /// Freezes it and all that it started (SIGSTOP).
    pub fn pause(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    /// Asks it and all that it started to end (SIGTERM); see [`Child::wait`].
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.signal(Signal::TERM)
    }

    /// Waits until it ends.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        match tokio::time::timeout(limit, self.process.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(cause)) => Err(self.system(cause)),
            Err(_) => Err(ProcessError::Late { name: self.spec.name.clone(), limit }),
        }
    }

    /// Ends it in order: closes its standard input, waits, and kills what is left after `limit`.
    pub async fn stop(&mut self, limit: Duration) -> Result<(), ProcessError> {
        self.stdin = None;
        self.resume()?;
        if self.wait(limit).await.is_err() {
            tracing::warn!(child = self.spec.name, "does not end, killed");
        }
        self.kill().await
    }

    /// Starts it again with the same arguments; if it still runs it is killed first.
    pub async fn restart(&mut self) -> Result<(), ProcessError> {
        self.kill().await?;
        *self = Self::start(self.spec.clone())?;
        Ok(())
    }

    /// Signals the group. One that is gone takes no signal, which is no error.
    fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let Some(group) = self.group() else { return Ok(()) };
        match kill_process_group(group, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(self.system(error.into())),
        }
    }

    /// The group; `None` once the child was waited for, because the system may give its id away.
    fn group(&self) -> Option<Pid> {
        self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
    }

    fn system(&self, cause: io::Error) -> ProcessError {
        ProcessError::System { name: self.spec.name.clone(), cause }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // What is left of the group goes at once; tokio reaps the child.
        let _ = self.signal(Signal::KILL);
    }
}

impl ChildSpec {
    fn log(&self) -> PathBuf {
        self.log_dir.join(format!("{}.log", self.name))
    }
}

fn spawn(spec: &ChildSpec) -> io::Result<(tokio::process::Child, Option<ChildStdin>)> {
    let log = OpenOptions::new().create(true).append(true).open(spec.log())?;
    let mut process = Command::new(&spec.program)
        .args(&spec.args)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let stdin = process.stdin.take();
    Ok((process, stdin))
}

fn tail(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests;
