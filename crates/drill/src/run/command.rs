//! Running a user's command with a time limit.

use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt as _,
    process::Stdio,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::process::Command;

/// How much of what a command wrote last is kept.
const TAIL: u64 = 2000;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ran {
    /// The command.
    pub command: Vec<String>,
    /// When it was started, in microseconds since 1970, by the clock of the process that started it.
    pub started_unix_us: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it is no success; `None` if it is one.
    pub error: Option<String>,
    /// What it wrote last, on both outputs.
    pub output: String,
}

impl Ran {
    /// Well, or why not, for people.
    pub fn result(&self, what: &str) -> Result<(), String> {
        let Some(error) = &self.error else { return Ok(()) };
        let said = self.output.trim().lines().next_back().unwrap_or_default();
        let said = if said.is_empty() { String::new() } else { format!(" and said {said:?}") };
        Err(format!("the command that {what} ({}) {error}{said}", self.command.join(" ")))
    }
}

/// Runs a command (the program and its arguments) until it ends or for so long; then it is killed with all that it started
/// in its process group. What it left in the background on purpose, in a group of its own, stays.
pub(crate) async fn run(words: &[String], limit: Duration) -> Ran {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started = Instant::now();
    let mut output = None;
    let error = match attempt(words, limit, &mut output).await {
        Ok(error) => error,
        Err(error) => Some(format!("cannot be run: {error}")),
    };
    let output = output.and_then(|file| tail(file).ok()).unwrap_or_default();
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ran { command: words.to_vec(), started_unix_us: crate::clock::micros(unix), took_ms, error, output }
}

async fn attempt(words: &[String], limit: Duration, output: &mut Option<File>) -> io::Result<Option<String>> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(Some("is empty".to_owned()));
    };
    // A file, not a pipe: what the command leaves running may keep it open.
    let file = tempfile::tempfile()?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file.try_clone()?)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    *output = Some(file);
    // Its id is known as long as nobody has waited for it.
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    let guard = Group(group);
    let Ok(status) = tokio::time::timeout(limit, child.wait()).await else {
        drop(guard);
        // Killed: it ends at once.
        let _ = child.wait().await;
        return Ok(Some(format!("did not end within {limit:?}")));
    };
    guard.keep();
    let status = status?;
    Ok(match (status.success(), status.code(), status.signal()) {
        (true, ..) => None,
        (_, Some(code), _) => Some(format!("ended with code {code}")),
        (_, None, signal) => Some(format!("was ended by signal {}", signal.unwrap_or_default())),
    })
}

/// Kills the process group of a command that is given up, by its time or because nobody waits for it any more.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may just have ended.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

fn tail(mut file: File) -> io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_command_tells_how_it_ended_and_what_it_said() {
        let limit = Duration::from_secs(30);
        let good = run(&words("echo fine"), limit).await;
        assert_eq!((good.error.as_deref(), good.output.as_str()), (None, "fine\n"));
        let bad = run(&words("echo first; echo no such host >&2; exit 3"), limit).await;
        let said = bad.result("breaks").unwrap_err();
        assert!(said.contains("ended with code 3 and said \"no such host\""), "{said}");
        let missing = run(&["/nowhere/break.sh".to_owned()], limit).await;
        assert!(missing.error.unwrap().contains("cannot be run"));
        let killed = run(&words("kill -9 $$"), limit).await;
        assert_eq!(killed.error.as_deref(), Some("was ended by signal 9"));
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let ran = run(&words(&script), Duration::from_millis(500)).await;
        assert!(ran.error.unwrap().contains("did not end within 500ms"));
        let child: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let gone = || {
            let text = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            text.is_empty() || text.contains(") Z ")
        };
        let until = Instant::now() + Duration::from_secs(10);
        while !gone() {
            assert!(Instant::now() < until, "{child} is still there");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_stays_in_the_background_does_not_hold_the_command_up() {
        let ran = run(&words("sleep 5 & echo started"), Duration::from_secs(60)).await;
        assert_eq!((ran.error, ran.output.as_str()), (None, "started\n"));
        assert!(ran.took_ms < 4000, "{}", ran.took_ms);
    }
}
