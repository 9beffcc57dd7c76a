//! The command as a user runs it: to its end, or in the background.

use super::{TIDEGATE, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The command without what the environment would set.
pub(crate) fn tidegate() -> Command {
    let mut command = Command::new(TIDEGATE);
    for variable in ["TIDEGATE_ENVOY", "TIDEGATE_ADMIN", "TIDEGATE_LOG"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    finish(tidegate().args(arguments))
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A process that runs in the background, and what it has said so far. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    process: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        gather(process.stdout.take().unwrap(), Arc::clone(&said));
        gather(process.stderr.take().unwrap(), Arc::clone(&said));
        Self { process, said }
    }

    /// Writes to its standard input, if that is a pipe, and keeps it open.
    pub(crate) fn answer(&mut self, text: &str) {
        self.process.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has written to stdout and stderr so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said something from which `read` reads something; fails if it ends before.
    pub(crate) fn until_said<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let said = Arc::clone(&self.said);
        let process = &mut self.process;
        wait_until(&format!("{what}; so far:\n{}", said.lock().unwrap()), || {
            let ended = process.try_wait().unwrap();
            let text = said.lock().unwrap().clone();
            let seen = read(&text);
            assert!(seen.is_some() || ended.is_none(), "it ended ({ended:?}) before {what}:\n{text}");
            seen
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits until it has ended, and for all that it said.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        let status = wait_until("the end of the process", || process.try_wait().unwrap());
        // The threads that read let go of the text at the end of the pipes. Grandchildren may hold them open.
        let said = &self.said;
        wait_until("the end of its output", || (Arc::strong_count(said) == 1).then_some(()));
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("what {} said:\n{}", self.process.id(), self.said());
        }
    }
}

fn gather(output: impl Read + Send + 'static, said: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            said.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}

/// An agent in the background, on ports that were free.
pub(crate) struct Agent {
    pub(crate) running: Running,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Agent {
    /// Starts an agent for the cluster of `examples/one-cluster`, and waits until it is ready.
    pub(crate) fn start(manifests: &Path, state: &Path) -> Self {
        let mut command = tidegate();
        command.args(["agent", "--cluster", "home", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut running =
            Running::start(command.arg("--manifests").arg(manifests).arg("--state-dir").arg(state));
        let bound = |what: &'static str| {
            move |text: &str| {
                let line = text.lines().find(|line| line.contains(what))?;
                line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
            }
        };
        let listen = running.until_said("its listen address", bound("serves xDS"));
        let admin = running.until_said("its admin address", bound("serves administration"));
        running.until_said("that it is ready", |text| text.contains("ready: gateways").then_some(()));
        Self { running, listen, admin }
    }

    /// Asks it by the command line.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Ran {
        run(arguments.iter().map(|it| (*it).to_owned()).chain(["--admin".to_owned(), self.admin.to_string()]))
    }

    /// Asks it by the command line for JSON.
    pub(crate) fn ask_json(&self, arguments: &[&str]) -> serde_json::Value {
        let ran = self.ask(&[arguments, &["-o", "json"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }
}
