//! A client of the test's own, with a clock of its own: a new connection for each request, at fixed times.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// When it was sent, since 1970: on a busy machine some time after it was due.
    pub(crate) sent: Duration,
    pub(crate) good: bool,
    #[allow(dead_code, reason = "only fleets have zones")]
    /// Who served is in the first eastern zone, by its own word.
    pub(crate) at_home: bool,
    #[allow(dead_code, reason = "not every test asks how long it took")]
    pub(crate) took: Duration,
}

pub(crate) struct Client {
    stopping: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Asked>>,
}

impl Client {
    /// Asks for this host, so often.
    pub(crate) fn start(address: SocketAddr, host: &'static str, interval: Duration) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let asking = thread::spawn(move || {
            let (start, unix) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
            let asked = Arc::new(Mutex::new(Vec::new()));
            let mut running = Vec::new();
            for number in 0_u32.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let due = interval * number;
                thread::sleep((start + due).saturating_duration_since(Instant::now()));
                let asked = Arc::clone(&asked);
                running.push(thread::spawn(move || {
                    let sent = unix + start.elapsed();
                    let (good, at_home) = ask(address, host).unwrap_or((false, false));
                    let took = (unix + start.elapsed()).saturating_sub(sent);
                    asked.lock().unwrap().push(Asked { sent, good, at_home, took });
                }));
            }
            for thread in running {
                thread.join().unwrap();
            }
            let mut asked = std::mem::take(&mut *asked.lock().unwrap());
            asked.sort_by_key(|it| it.sent);
            asked
        });
        Self { stopping, asking }
    }

    /// All requests, by when they were sent.
    pub(crate) fn stop(self) -> Vec<Asked> {
        self.stopping.store(true, Ordering::SeqCst);
        self.asking.join().unwrap()
    }
}

/// Whether it was answered well, and at home.
pub(crate) fn ask(address: SocketAddr, host: &str) -> std::io::Result<(bool, bool)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok((answer.starts_with("HTTP/1.1 200"), answer.contains("x-toy-zone: us-east-1a\r\n")))
}
