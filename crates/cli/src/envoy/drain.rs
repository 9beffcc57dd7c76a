//! `tidegate envoy drain`: an Envoy takes no more and finishes what it has, before its pod ends.
//!
//! Health checks fail first (`GET /healthz/services/...` answers 503), so that a GSLB and load balancers send elsewhere; listeners
//! then ask their connections to go (`Connection: close`, GOAWAY) and still take new ones, since not everybody has heard.

use crate::admin;
use anyhow::{Result, bail};
use clap::Parser;
use http::Method;
use std::{net::SocketAddr, process::ExitCode, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// How often the connections are counted: often enough that a pod without any ends at once.
const LOOK: Duration = Duration::from_millis(500);
/// A drain beyond this is no drain.
const MAX: Duration = Duration::from_secs(3600);
/// Load balancers look every few seconds, and go on sending until then; without this nobody would see that checks fail.
const AT_LEAST: Duration = Duration::from_secs(5);

const COUNT: &str = "server.total_connections";

#[derive(Debug, Parser)]
pub(crate) struct Drain {
    /// Envoy's admin address.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19000")]
    admin: SocketAddr,
    /// How long its connections may go on: it returns when the last one has ended, and not before 5 s.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = limit)]
    lasts: Duration,
}

fn limit(text: &str) -> Result<Duration, String> {
    let found = tidegate_api::parse_duration(text).filter(|it| !it.is_zero() && *it <= MAX);
    found.ok_or_else(|| "write a duration of at most 1h, for example 30s".to_owned())
}

pub(super) async fn run(drain: &Drain) -> Result<ExitCode> {
    let begun = Instant::now();
    let end = begun + drain.lasts;
    let drained = timeout_at(end, async {
        for path in ["/healthcheck/fail", "/drain_listeners?graceful&skip_exit"] {
            admin::plain(drain.admin, Method::POST, path).await?;
        }
        loop {
            let left = connections(drain.admin).await?;
            if left == 0 && begun.elapsed() >= AT_LEAST.min(drain.lasts) {
                return Ok::<_, anyhow::Error>(());
            }
            sleep(LOOK).await;
        }
    });
    match drained.await {
        Ok(ended) => ended.map(|()| ExitCode::SUCCESS),
        Err(_) => {
            tracing::info!(after = ?drain.lasts, "connections are left, and end now");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn connections(admin: SocketAddr) -> Result<u64> {
    let text = admin::plain(admin, Method::GET, &format!("/stats?filter=^{COUNT}$")).await?;
    let count =
        text.lines().find_map(|line| line.strip_prefix(COUNT)?.strip_prefix(": ")?.trim().parse().ok());
    match count {
        Some(count) => Ok(count),
        None => bail!(
            "{admin} does not say how many connections it has\n  hint: is it the admin address of an Envoy?"
        ),
    }
}
