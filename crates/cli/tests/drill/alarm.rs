//! As much of a Prometheus's HTTP API as a guard asks: one number, which the test sets.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::Instant,
};

pub(crate) struct Alarm {
    address: SocketAddr,
    value: Arc<AtomicI64>,
}

impl Alarm {
    pub(crate) fn start(value: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let value = Arc::new(AtomicI64::new(value));
        let told = Arc::clone(&value);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let told = Arc::clone(&told);
                thread::spawn(move || answer(&stream, &told));
            }
        });
        Self { address, value }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, value: i64) -> Instant {
        self.value.store(value, Ordering::SeqCst);
        Instant::now()
    }
}

fn answer(stream: &TcpStream, value: &AtomicI64) {
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(first)) = lines.next() else { return };
    while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
    let (status, body) = match first.strip_prefix("GET /api/v1/query?query=") {
        Some(query) if query.starts_with("sum%28errors%29") => {
            let value = value.load(Ordering::SeqCst);
            let series = format!(r#"{{"metric":{{}},"value":[1793534400.123,"{value}"]}}"#);
            let data = format!(r#"{{"resultType":"vector","result":[{series}]}}"#);
            ("200 OK", format!(r#"{{"status":"success","data":{data}}}"#))
        }
        _ => (
            "400 Bad Request",
            r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_owned(),
        ),
    };
    let mut out = stream;
    let text =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let _ = out.write_all(text.as_bytes());
}
