//! Why a check failed, in few words for people (the `Display` of [`Failure`]).
//!
//! Each step of a check fails in its own words: who reads "connection refused" looks for a process, who reads
//! "timeout after 500 ms waiting for the response header" looks for one that hangs.

use std::{fmt, io, time::Duration};

/// How far a check has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// The TCP connection is being opened.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The request is being sent.
    Send,
    /// The request is sent, the answer has not begun or its header is not whole.
    Header,
    /// The header is there, the body is not.
    Body,
}

impl Stage {
    /// All stages, in the order in which a check goes through them.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Tls, Self::Send, Self::Header, Self::Body];

    /// What a check at this stage is doing: completes "timeout after 500 ms ...".
    const fn doing(self) -> &'static str {
        match self {
            Self::Connect => "while connecting",
            Self::Tls => "in the TLS handshake",
            Self::Send => "sending the request",
            Self::Header => "waiting for the response header",
            Self::Body => "waiting for the response body",
        }
    }
}

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// The connection was cut at this stage.
    Reset(Stage),
    /// The connection was closed in good order at this stage, but before it should have been.
    Closed(Stage),
    /// No route to the host.
    Unreachable,
    /// The time for a check passed; how much it was, and what was being waited for.
    Timeout(Duration, Stage),
    /// The TLS handshake failed, and why.
    Tls(String),
    /// An answer with a status that is not expected.
    Status(u16),
    /// Bytes that are no HTTP/1 answer.
    NotHttp,
    /// Bytes that are no HTTP/2, or an HTTP/2 error of the server, and which.
    NotHttp2(String),
    /// A header of the answer larger than this many bytes, or with too many fields.
    HeaderTooLarge(usize),
    /// The expected status, but not the expected body; what was expected.
    Body(String),
    /// The gRPC call ended with this status code, not `OK`.
    GrpcStatus(u32),
    /// The health service answered, with a status other than `SERVING`.
    GrpcHealth(u64),
    /// An answer that is no `grpc.health.v1.HealthCheckResponse`.
    NotGrpc,
    /// Any other fault of the connection.
    Other(String),
    /// The check could not be made for a reason on our side, such as having no file descriptors left.
    Local(String),
}

/// `EMFILE` and `ENFILE`, which `io::ErrorKind` does not name; equal on Linux and macOS.
const NO_DESCRIPTOR_LEFT: [i32; 2] = [24, 23];

impl Failure {
    /// What an error of the operating system at `stage` says about the target, or about us.
    pub(crate) fn of_io(error: &io::Error, stage: Stage) -> Self {
        if error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR_LEFT.contains(&code)) {
            return Self::Local("too many open files (raise the limit: ulimit -n)".into());
        }
        // TLS 1.3 lets a server refuse the client's certificate after the client's part of the handshake is over.
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::Tls(of_tls(error));
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe => Self::Reset(stage),
            io::ErrorKind::UnexpectedEof => Self::Closed(stage),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::TimedOut => Self::Other("the network gave the connection up".into()),
            io::ErrorKind::AddrNotAvailable => Self::Local("no local port left for a connection".into()),
            io::ErrorKind::OutOfMemory => Self::Local("out of memory".into()),
            _ => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset(Stage::Send | Stage::Header) => f.write_str("connection reset"),
            Self::Reset(stage) => write!(f, "connection reset {}", stage.doing()),
            Self::Closed(Stage::Send | Stage::Header) => f.write_str("connection closed without an answer"),
            Self::Closed(stage) => write!(f, "connection closed {}", stage.doing()),
            Self::Unreachable => f.write_str("host unreachable"),
            Self::Timeout(limit, stage) => {
                write!(f, "timeout after {} ms {}", limit.as_millis(), stage.doing())
            }
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::NotHttp => f.write_str("not an HTTP answer"),
            Self::NotHttp2(why) => write!(f, "HTTP/2: {why}"),
            Self::HeaderTooLarge(limit) => write!(f, "response header larger than {limit} bytes"),
            Self::Body(expected) => write!(f, "the body does not {expected}"),
            Self::GrpcStatus(code) => f.write_str(&grpc_status(*code)),
            Self::GrpcHealth(status) => f.write_str(&grpc_health(*status)),
            Self::NotGrpc => f.write_str("not a gRPC health answer"),
            Self::Other(what) => f.write_str(what),
            Self::Local(what) => write!(f, "could not check: {what}"),
        }
    }
}

/// What went wrong with TLS, as a person would say it.
fn of_tls(error: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    match error {
        Error::InvalidCertificate(bad) => match bad {
            Bad::Expired | Bad::ExpiredContext { .. } => "certificate expired".to_owned(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "certificate not valid yet".to_owned(),
            Bad::UnknownIssuer => {
                "certificate of an unknown issuer (none of those that are believed)".to_owned()
            }
            Bad::NotValidForName => "certificate for another name".to_owned(),
            Bad::NotValidForNameContext { expected, presented } => {
                let presented: Vec<&str> = presented.iter().take(4).map(|name| bare(name)).collect();
                let expected = expected.to_str();
                format!("certificate for another name: {expected} is not in [{}]", presented.join(", "))
            }
            Bad::Revoked => "certificate revoked".to_owned(),
            Bad::Other(why) => why.0.to_string(),
            Bad::BadSignature => "certificate with a bad signature".to_owned(),
            other => format!("certificate not acceptable: {other}"),
        },
        Error::NoCertificatesPresented => "the server shows no certificate".to_owned(),
        Error::InvalidMessage(_) => "the server does not speak TLS".to_owned(),
        Error::AlertReceived(alert) => match alert {
            Alert::CertificateRequired => "the server asks for a client certificate".to_owned(),
            Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateUnknown | Alert::AccessDenied => {
                format!("the server does not accept the client certificate ({alert:?})")
            }
            Alert::CertificateExpired => "the client certificate expired".to_owned(),
            Alert::NoApplicationProtocol => "the server does not offer the protocol (ALPN)".to_owned(),
            Alert::UnrecognisedName => "the server does not know the server name (SNI)".to_owned(),
            other => format!("the server broke the handshake off ({other:?})"),
        },
        other => other.to_string(),
    }
}

/// A name as the library shows it, `DnsName("web.example")`, without what is around it.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

/// The codes of the gRPC specification ("Status codes and their use in gRPC"), with what they mean for a health check
/// where that is known.
fn grpc_status(code: u32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    match (code, name) {
        (5, _) => "gRPC NOT_FOUND: the health service does not know this service name".to_owned(),
        (12, _) => "gRPC UNIMPLEMENTED: the server has no grpc.health.v1.Health".to_owned(),
        (_, Some(name)) => format!("gRPC {name}"),
        (code, None) => format!("gRPC status {code}"),
    }
}

/// `HealthCheckResponse.ServingStatus` of grpc.health.v1.
fn grpc_health(status: u64) -> String {
    match status {
        0 => "gRPC health UNKNOWN".to_owned(),
        2 => "gRPC health NOT_SERVING".to_owned(),
        3 => "gRPC health SERVICE_UNKNOWN".to_owned(),
        other => format!("gRPC health status {other}"),
    }
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
            assert!(matches!(Failure::of_io(&error, Stage::Connect), Failure::Local(_)), "{error}");
        }
    }

    #[test]
    fn failures_read_as_people_say_them() {
        let half_second = Duration::from_millis(500);
        let os = |kind: io::ErrorKind, stage| Failure::of_io(&kind.into(), stage);
        for (failure, said) in [
            (os(io::ErrorKind::ConnectionRefused, Stage::Connect), "connection refused"),
            (os(io::ErrorKind::ConnectionReset, Stage::Header), "connection reset"),
            (os(io::ErrorKind::BrokenPipe, Stage::Send), "connection reset"),
            (os(io::ErrorKind::ConnectionReset, Stage::Tls), "connection reset in the TLS handshake"),
            (os(io::ErrorKind::ConnectionReset, Stage::Connect), "connection reset while connecting"),
            (os(io::ErrorKind::UnexpectedEof, Stage::Header), "connection closed without an answer"),
            (os(io::ErrorKind::HostUnreachable, Stage::Connect), "host unreachable"),
            (Failure::Timeout(half_second, Stage::Connect), "timeout after 500 ms while connecting"),
            (
                Failure::Timeout(half_second, Stage::Header),
                "timeout after 500 ms waiting for the response header",
            ),
            (Failure::Tls("certificate expired".into()), "TLS: certificate expired"),
            (Failure::Status(503), "status 503"),
            (Failure::Body("contain \"ok\"".into()), "the body does not contain \"ok\""),
            (Failure::GrpcStatus(12), "gRPC UNIMPLEMENTED: the server has no grpc.health.v1.Health"),
            (Failure::GrpcStatus(14), "gRPC UNAVAILABLE"),
            (Failure::GrpcStatus(99), "gRPC status 99"),
            (Failure::GrpcHealth(2), "gRPC health NOT_SERVING"),
            (Failure::Local("x".into()), "could not check: x"),
        ] {
            assert_eq!(failure.to_string(), said);
        }
    }
}
