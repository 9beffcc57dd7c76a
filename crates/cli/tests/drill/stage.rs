//! A server within the test that two shell commands break and mend: it looks for a file.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What the machine may take for anything.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < until, "no {what} within {LIMIT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) struct Stage {
    folder: tempfile::TempDir,
    address: SocketAddr,
    alarm: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Stage {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let alarm = Arc::new(AtomicBool::new(false));
        let (broken, alarmed) = (folder.path().join("broken"), Arc::clone(&alarm));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (broken, alarmed, count) = (broken.clone(), Arc::clone(&alarmed), Arc::clone(&count));
                thread::spawn(move || serve(&stream, &broken, &alarmed, &count));
            }
        });
        Self { folder, address, alarm, asked }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Answers well until [`Stage::alarm`].
    pub(crate) fn guard_url(&self) -> String {
        format!("http://{}/guard", self.address)
    }

    pub(crate) fn alarm(&self) -> Instant {
        self.alarm.store(true, Ordering::SeqCst);
        Instant::now()
    }

    pub(crate) fn break_command(&self) -> String {
        format!("touch {}", self.path("broken").display())
    }

    pub(crate) fn mend_command(&self) -> String {
        format!("rm -f {} && touch {}", self.path("broken").display(), self.path("mended").display())
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.path("broken").exists()
    }

    pub(crate) fn is_mended(&self) -> bool {
        self.path("mended").exists() && !self.is_broken()
    }

    /// A drill of this server with a short steady part; what is written without a folder lands in the stage's.
    pub(crate) fn drill(&self, start: &str, mend: &str) -> Command {
        let mut command = super::tidegate_drill();
        command.current_dir(self.folder.path()).args([
            "--target",
            &self.url(),
            "--fault-exec",
            start,
            "--mend-exec",
            mend,
            "--steady",
            "1s",
        ]);
        command
    }
}

/// Answers until the client leaves.
fn serve(stream: &TcpStream, broken: &Path, alarm: &AtomicBool, asked: &AtomicUsize) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
        asked.fetch_add(1, Ordering::Relaxed);
        let bad = if first.contains(" /guard ") { alarm.load(Ordering::SeqCst) } else { broken.exists() };
        let status = if bad { "503 Service Unavailable" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
        let mut out = stream;
        if out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
