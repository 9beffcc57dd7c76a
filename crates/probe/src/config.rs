//! What is checked, and how.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

/// How a target is checked. The defaults are those of DESIGN.md, section 7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// What is asked.
    pub kind: CheckKind,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// How long connecting and answering may take together.
    pub timeout: Duration,
    /// So many failures in a row take a target down; 0 is read as 1.
    pub unhealthy_threshold: u32,
    /// So many successes in a row bring it back; 0 is read as 1.
    pub healthy_threshold: u32,
}

impl CheckConfig {
    /// The default from one check to the next.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
    /// The default time for an answer.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
    /// The default number of failures in a row that take a target down.
    pub const DEFAULT_UNHEALTHY_THRESHOLD: u32 = 2;
    /// The default number of successes in a row that bring it back.
    pub const DEFAULT_HEALTHY_THRESHOLD: u32 = 2;

    /// A check with default timing and thresholds.
    #[must_use]
    pub const fn new(kind: CheckKind) -> Self {
        Self {
            kind,
            interval: Self::DEFAULT_INTERVAL,
            timeout: Self::DEFAULT_TIMEOUT,
            unhealthy_threshold: Self::DEFAULT_UNHEALTHY_THRESHOLD,
            healthy_threshold: Self::DEFAULT_HEALTHY_THRESHOLD,
        }
    }
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// An HTTP/1.1 GET.
    Http {
        /// The path, with a leading slash, and perhaps a query.
        path: String,
        /// The `Host` header; the target's address when absent.
        host: Option<String>,
        /// Statuses that count as healthy.
        expected_statuses: Vec<RangeInclusive<u16>>,
    },
    /// A TCP connection that is accepted.
    Tcp,
}

impl CheckKind {
    /// A GET of `path` that any 2xx answers.
    #[must_use]
    pub fn http(path: impl Into<String>) -> Self {
        Self::Http { path: path.into(), host: None, expected_statuses: vec![200..=299] }
    }
}

/// One thing to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is checked.
    pub config: CheckConfig,
    /// What was known of it before this prober: up, down or nothing. Read once, when the target is new.
    pub known: Option<bool>,
}
