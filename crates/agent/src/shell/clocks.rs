//! Where the clocks are read that the core is told of.

use super::Shell;
use crate::{core::Input, hub::HubTime};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

impl Shell {
    /// What is in force until a time of day is read by the clock that was told last.
    pub(super) async fn tell_time(&mut self) {
        let told = self.hub_time.as_ref().and_then(|hub| *hub.borrow());
        if let Some((since_1970, at)) = told {
            self.handle(Input::HubClock(since_1970 + at.elapsed())).await;
        }
        self.handle(Input::WallClock(since_1970())).await;
    }
}

/// Comes back once the hub said its time again; never without a hub.
pub(super) async fn changed(hub: &mut Option<watch::Receiver<HubTime>>) {
    let said = match hub {
        Some(hub) => hub.changed().await.is_ok(),
        None => false,
    };
    if !said {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn since_1970() -> Duration {
    wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

pub(crate) fn unix_micros(at: SystemTime) -> u64 {
    let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}
