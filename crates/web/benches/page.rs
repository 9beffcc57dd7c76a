//! How long pages of a fleet of 100 clusters and 10,000 services take to their first byte, over loopback, and how large they are. New: after a
//! change, so that the page is rendered; again: what was rendered a moment ago. Then what many open pages cost while the fleet changes five
//! times a second: each hears of it and fetches its main part, as the script does; one reads nothing. `cargo bench -p tidegate-web --bench page`.

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
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 20;
const OPEN: usize = 50;
const LASTS: Duration = Duration::from_secs(10);
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

/// Processor time of this process so far.
fn spent() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // After the name of the program, which may hold anything: the 12th and 13th field, in ticks of a hundredth of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// An open page: it hears of a version, waits as the script does, and fetches.
fn open_page(address: SocketAddr, done: &AtomicBool, fetched: &AtomicUsize) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut last = Instant::now();
    for line in BufReader::new(stream).lines() {
        if done.load(Relaxed) {
            return;
        }
        if line.unwrap() == "event: version" && last.elapsed() >= Duration::from_millis(400) {
            last = Instant::now();
            asked(address, "/?part=main");
            fetched.fetch_add(1, Relaxed);
        }
    }
}

fn many(told: &Told, address: SocketAddr) {
    let (done, fetched) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut stuck = TcpStream::connect(address).unwrap();
    write!(stuck, "GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let pages: Vec<_> = (0..OPEN)
        .map(|_| {
            let (done, fetched) = (done.clone(), fetched.clone());
            thread::spawn(move || open_page(address, &done, &fetched))
        })
        .collect();
    let (before, at) = (spent(), Instant::now());
    while at.elapsed() < LASTS {
        told.change(|_| {});
        thread::sleep(Duration::from_millis(200));
    }
    let (cpu, took) = (spent() - before, at.elapsed());
    done.store(true, Relaxed);
    told.change(|_| {});
    for page in pages {
        page.join().unwrap();
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    println!(
        "{OPEN} open pages and a stuck one for {:.1} s: {} parts fetched, {:.2} cores (with the pages' own ends), {memory} at most",
        took.as_secs_f64(),
        fetched.load(Relaxed),
        cpu.as_secs_f64() / took.as_secs_f64(),
    );
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
    many(&told, stage.address);
}
