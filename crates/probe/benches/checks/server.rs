//! The server: answers every request on every loopback address, and knows when connections came.

use crate::cpu;
use socket2::{Domain, Socket, Type};
use std::{
    cell::RefCell,
    env,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// Connections are counted in slots of this length.
const SLOT: Duration = Duration::from_millis(10);

/// Connections by slot since the last reset.
struct Counts {
    since: Instant,
    slots: Vec<u32>,
}

impl Counts {
    fn new() -> Self {
        Self { since: Instant::now(), slots: Vec::new() }
    }

    fn count(&mut self) {
        let slot = (self.since.elapsed().as_micros() / SLOT.as_micros()) as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] += 1;
    }

    /// Variance to mean over the slots that the measurement filled: the second half, the end left out.
    fn dispersion(&self) -> f64 {
        let end = self.slots.len().saturating_sub(50);
        let slots = &self.slots[end / 2..end];
        let count = slots.len().max(1) as f64;
        let mean = slots.iter().map(|&slot| f64::from(slot)).sum::<f64>() / count;
        let variance = slots.iter().map(|&slot| (f64::from(slot) - mean).powi(2)).sum::<f64>() / count;
        variance / mean.max(f64::MIN_POSITIVE)
    }
}

/// Serves until its standard input ends; a line `reset` there forgets what was counted, any other asks for it.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).unwrap();
        socket.listen(65_535).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        let counts = Rc::new(RefCell::new(Counts::new()));
        let shared = Rc::clone(&counts);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.borrow_mut().count();
                tokio::task::spawn_local(answer(stream));
            }
        });
        let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line == "reset" {
                *counts.borrow_mut() = Counts::new();
            } else {
                println!("{}", counts.borrow().dispersion());
            }
        }
    });
}

async fn answer(mut stream: TcpStream) {
    let mut request = [0; 1024];
    let mut length = 0;
    // Envoy's request comes whole, as ours does; a loop is still what a server does.
    while !request[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut request[length..]).await {
            Ok(0) | Err(_) => return,
            Ok(count) => length += count,
        }
    }
    let _ = stream.write_all(ANSWER).await;
}

/// The server as another process.
pub(crate) struct Server {
    child: Child,
    asks: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    pub(crate) fn start(core: u32) -> Self {
        let mut command = cpu::on_core(core, &env::current_exe().unwrap());
        let mut child = command.arg("server").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asks, says) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut server = Self { child, asks, says, port: 0 };
        server.port = server.line().parse().unwrap();
        server
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub(crate) fn reset(&mut self) {
        self.asks.as_mut().unwrap().write_all(b"reset\n").unwrap();
    }

    pub(crate) fn dispersion(&mut self) -> f64 {
        self.asks.as_mut().unwrap().write_all(b"dispersion\n").unwrap();
        self.line().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.asks = None;
        let _ = self.child.wait();
    }
}
