//! One check: a new connection, one question, a verdict on the answer.
//!
//! It tells faults of the target from faults on our side ([`Failure::Local`]): no descriptor left,
//! no local port left, or a process that was held up so long that the time of the check passed
//! without its having had a chance. Those must not take a healthy endpoint down.

use crate::{CheckConfig, CheckKind, Failure};
use bytes::Bytes;
use http::{
    Request,
    header::{CONNECTION, HOST, USER_AGENT},
};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{
    error::Error,
    io,
    net::SocketAddr,
    ops::RangeInclusive,
    pin::pin,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, time::timeout};

const AGENT: &str = concat!("tidegate-probe/", env!("CARGO_PKG_VERSION"));

/// What is read of a body, in bytes: enough for any health page, so that its server sees an
/// orderly end and no reset; nothing is made of it.
const BODY_LIMIT: usize = 16 << 10;

/// How long a body may take after its headers. The verdict does not depend on it, so it is short.
const BODY_PATIENCE: Duration = Duration::from_millis(50);

/// A timer that fires so much too late shows that this process was held up (DESIGN.md, section 5).
const HELD_UP: Duration = Duration::from_millis(50);

/// `EMFILE` and `ENFILE`, which `io::ErrorKind` does not name; equal on Linux and macOS.
const NO_DESCRIPTOR_LEFT: [i32; 2] = [24, 23];

/// Checks `address` once.
pub(crate) async fn check(address: SocketAddr, config: &CheckConfig) -> Result<(), Failure> {
    let started = Instant::now();
    let attempt = async {
        match &config.kind {
            CheckKind::Tcp => connect(address).await.map(drop),
            CheckKind::Http { path, host, expected_statuses } => {
                get(address, path, host.as_deref(), expected_statuses).await
            }
        }
    };
    match timeout(config.timeout, attempt).await {
        Ok(result) => result,
        Err(_) if started.elapsed() > config.timeout + HELD_UP => {
            Err(Failure::Local("this process was held up".into()))
        }
        Err(_) => Err(Failure::Timeout(config.timeout)),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(address).await.map_err(|error| of_connection(&error))
}

async fn get(
    address: SocketAddr,
    path: &str,
    host: Option<&str>,
    expected: &[RangeInclusive<u16>],
) -> Result<(), Failure> {
    let own_name;
    let host = match host {
        Some(host) => host,
        None => {
            own_name = address.to_string();
            &own_name
        }
    };
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::Local(format!("GET {path}, host {host}: {error}")))?;
    let stream = connect(address).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| of_exchange(&error))?;
    let mut connection = pin!(connection);
    let mut answer = pin!(sender.send_request(request));
    let mut open = true;
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => {
            open = false;
            answer.await
        }
    };
    let answer = answer.map_err(|error| of_exchange(&error))?;
    let status = answer.status().as_u16();
    if open {
        tokio::select! {
            () = drain(answer.into_body()) => {}
            _ = &mut connection => {}
        }
    }
    if expected.iter().any(|range| range.contains(&status)) { Ok(()) } else { Err(Failure::Status(status)) }
}

/// Reads a body within its limits.
async fn drain(mut body: Incoming) {
    let mut seen = 0;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > BODY_LIMIT {
                break;
            }
        }
    };
    // Whether it ended or was given up makes no difference.
    let _ = timeout(BODY_PATIENCE, read).await;
}

fn of_connection(error: &io::Error) -> Failure {
    if error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR_LEFT.contains(&code)) {
        return Failure::Local("too many open files (raise the limit: ulimit -n)".into());
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Failure::Reset
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Failure::Unreachable,
        io::ErrorKind::AddrNotAvailable => Failure::Local("no local port left for a connection".into()),
        io::ErrorKind::OutOfMemory => Failure::Local("out of memory".into()),
        _ => Failure::Other(error.to_string()),
    }
}

fn of_exchange(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::NotHttp;
    }
    if error.is_incomplete_message() {
        return Failure::Closed;
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return of_connection(error);
        }
        cause = inner.source();
    }
    Failure::Other(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_on_our_side_is_no_failure_of_the_target() {
        for error in [
            io::Error::from_raw_os_error(24),
            io::Error::from_raw_os_error(23),
            io::ErrorKind::AddrNotAvailable.into(),
        ] {
            assert!(matches!(of_connection(&error), Failure::Local(_)), "{error}");
        }
    }

    #[test]
    fn errors_of_a_connection_get_their_short_names() {
        for (kind, said) in [
            (io::ErrorKind::ConnectionRefused, "connection refused"),
            (io::ErrorKind::ConnectionReset, "connection reset"),
            (io::ErrorKind::BrokenPipe, "connection reset"),
            (io::ErrorKind::HostUnreachable, "host unreachable"),
        ] {
            assert_eq!(of_connection(&kind.into()).to_string(), said);
        }
    }
}
