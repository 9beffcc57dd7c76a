//! How long pages of a fleet of 100 clusters and 10,000 services take to their first byte, over loopback, and how large they are. New: after a
//! change, so that the page is rendered; again: what was rendered a moment ago. `cargo bench -p tidegate-web --bench page`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and tells on its terminal"
)]
#![allow(dead_code, reason = "the tests use the rest of the fixtures")]

#[path = "../tests/page/fixture.rs"]
mod fixture;
#[path = "../tests/page/stage.rs"]
mod stage;

use stage::{Stage, Told, now_ms, operator};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const ROUNDS: usize = 20;
const PAGES: [&str; 8] = [
    "/",
    "/?part=main",
    "/services",
    "/services?q=service-00",
    "/services?sort=rate&page=50",
    "/services/team-00/service-00000",
    "/foresight",
    "/shifts",
];

/// Until the first byte, and the length of all of it.
fn asked(address: SocketAddr, path: &str) -> (Duration, usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    let at = Instant::now();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = vec![0];
    stream.read_exact(&mut answer).unwrap();
    let first = at.elapsed();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}");
    (first, answer.len())
}

fn main() {
    let told = Told::new(fixture::large(now_ms()));
    let stage = Stage::serve(&told, operator());
    println!("{:<34} {:>12} {:>12} {:>12} {:>8}", "page", "new, median", "new, worst", "again", "KB");
    for path in PAGES {
        let (mut new, mut again, mut size) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            told.change(|_| {});
            let (first, length) = asked(stage.address, path);
            new.push(first);
            again.push(asked(stage.address, path).0);
            size = length;
        }
        new.sort();
        again.sort();
        let ms = |it: Duration| format!("{:.2} ms", it.as_secs_f64() * 1000.0);
        let (median, worst, second) = (ms(new[ROUNDS / 2]), ms(new[ROUNDS - 1]), ms(again[ROUNDS / 2]));
        println!("{path:<34} {median:>12} {worst:>12} {second:>12} {:>8.1}", size as f64 / 1000.0);
    }
}
