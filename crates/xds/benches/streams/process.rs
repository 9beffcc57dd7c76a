//! The client process as the server sees it, and what the server process uses.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// From change to arrival, over all arrivals since the last question.
pub(crate) struct Latencies {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

pub(crate) struct Clients {
    lines: Lines<BufReader<ChildStdout>>,
    stdin: ChildStdin,
    _process: Child,
}

impl Clients {
    /// Returns when every stream has been answered.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["clients", &server.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut clients = Self { lines, stdin: process.stdin.take().unwrap(), _process: process };
        assert_eq!(clients.line().await, "ready");
        clients
    }

    pub(crate) async fn say(&mut self, command: &str) {
        self.stdin.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// Returns when the clients have taken note.
    pub(crate) async fn order(&mut self, command: &str) {
        self.say(command).await;
        assert_eq!(self.line().await, "ok");
    }

    pub(crate) async fn line(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        line.expect("the clients answer").unwrap().expect("the clients live")
    }

    /// How many responses came since the last call of [`latencies`](Self::latencies).
    pub(crate) async fn count(&mut self) -> u64 {
        self.say("count").await;
        self.line().await.parse().unwrap()
    }

    pub(crate) async fn latencies(&mut self) -> Latencies {
        self.say("latencies").await;
        let line = self.line().await;
        let (p50, p99) = line.split_once(' ').unwrap();
        Latencies { p50_ms: p50.parse().unwrap(), p99_ms: p99.parse().unwrap() }
    }
}

/// Memory of this process that is in use.
pub(crate) fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

/// CPU time that this process has used, in user and kernel mode.
pub(crate) fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Allows this process so many open files, or as many as it may.
pub(crate) fn open_files(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.unwrap_or(u64::MAX).max(wanted.min(maximum.unwrap_or(u64::MAX)));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
}
