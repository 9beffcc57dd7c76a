//! A real Prometheus that looks every 100 ms at a server within the test, whose numbers the test sets.

use super::stage::wait_for;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Requests that the service has between two looks.
const REQUESTS: u64 = 1000;

/// What the service of the test tells.
#[derive(Default)]
struct Told {
    alarm: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    errors_each: AtomicU64,
}

pub(crate) struct Prometheus {
    process: Child,
    address: SocketAddr,
    told: Arc<Told>,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Prometheus {
    pub(crate) fn is_there() -> bool {
        let mut version = Command::new("prometheus");
        version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    }

    pub(crate) fn start() -> Self {
        let (folder, told) = (tempfile::tempdir().unwrap(), Arc::<Told>::default());
        let service = serve(Arc::clone(&told));
        let at = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\n\
             scrape_configs: [{{job_name: shop, static_configs: [{{targets: [\"{service}\"]}}]}}]\n"
        );
        fs::write(at("prometheus.yaml"), text).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yaml")))
            .arg(format!("--storage.tsdb.path={}", at("data")))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let started = Self { process, address, told, _folder: folder };
        wait_for("what Prometheus saw twice", || {
            started.ask("count_over_time(shop_alarm[1m])>1").is_some_and(|it| it.contains("\"value\""))
        });
        started
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The answer as it comes, if there is one.
    fn ask(&self, query: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        let query = query.replace('>', "%3E").replace('[', "%5B").replace(']', "%5D");
        let head = format!("GET /api/v1/query?query={query} HTTP/1.0\r\nhost: it\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Raises the gauge `shop_alarm`.
    pub(crate) fn alarm(&self, value: u64) -> Instant {
        self.told.alarm.store(value, Ordering::SeqCst);
        Instant::now()
    }

    /// So many of a thousand requests fail from now on.
    pub(crate) fn fail(&self, of_a_thousand: u64) -> Instant {
        self.told.errors_each.store(of_a_thousand, Ordering::SeqCst);
        Instant::now()
    }

    /// It answers no more.
    pub(crate) fn kill(&mut self) -> Instant {
        let _ = self.process.kill();
        let _ = self.process.wait();
        Instant::now()
    }
}

/// Ends with the test's process.
fn serve(told: Arc<Told>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let told = Arc::clone(&told);
            thread::spawn(move || answer(&stream, &told));
        }
    });
    address
}

/// One look is one step of the service. Answers until the client leaves.
fn answer(mut stream: &TcpStream, told: &Told) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(_)) = lines.next() {
        while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
        let requests = told.requests.fetch_add(REQUESTS, Ordering::SeqCst);
        let errors = told.errors.fetch_add(told.errors_each.load(Ordering::SeqCst), Ordering::SeqCst);
        let alarm = told.alarm.load(Ordering::SeqCst);
        let text =
            format!("shop_alarm {alarm}\nshop_requests_total {requests}\nshop_errors_total {errors}\n");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if stream.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}
