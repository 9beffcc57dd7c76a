//! The hub's clock, as this agent can tell: what the hub said last, counted on, or how far the own clock was from it, kept on disk.
//!
//! By it all agents read the times of day in the hub's policy, so that one whose own clock is wrong ends nothing early or late. While
//! the hub is away it is believed that both clocks are as far apart as they were.

use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tidegate_link::identity::write_secret;
use tokio::sync::watch;

const FILE: &str = "clock.json";
/// A distance that changed by less is not written anew. More is a message that came late, or a clock that was set.
const MOVED_MS: u64 = 100;
/// Whoever runs the machine is told of a clock that is so far from the hub's.
const WRONG_MS: u64 = 10_000;

/// What the hub's clock said, since 1970, and when that was; nothing before its first word.
pub(crate) type HubTime = Option<(Duration, Instant)>;

/// Hears the hub's clock, and keeps how far it is from the own one.
pub(super) struct HubClock {
    file: PathBuf,
    /// How far the hub's clock is ahead of the own one, in milliseconds, as the disk has it.
    kept: Option<i64>,
    told: watch::Sender<HubTime>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    ahead_ms: i64,
}

impl HubClock {
    /// From the folder of the way to the hub; `own` is what the own clock says at `now`, since 1970.
    pub(super) fn load(folder: &Path, own: Duration, now: Instant) -> Self {
        let file = folder.join(FILE);
        let kept = match fs::read(&file) {
            Ok(bytes) => match serde_json::from_slice::<Kept>(&bytes) {
                Ok(kept) => Some(kept.ahead_ms),
                Err(error) => {
                    tracing::error!(
                        "{} is passed over: {error}; until the hub is heard, the ends of declared shifts are read by the own clock",
                        file.display()
                    );
                    None
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!("{}: {error}", file.display());
                None
            }
        };
        let told = kept.map(|ahead| (shifted(own, ahead), now));
        Self { file, kept, told: watch::Sender::new(told) }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<HubTime> {
        self.told.subscribe()
    }

    /// The hub says its time; 0: it is of a version that does not.
    pub(super) fn hear(&mut self, unix_ms: u64, own: Duration, now: Instant) {
        if unix_ms == 0 {
            return;
        }
        let hub = Duration::from_millis(unix_ms);
        self.told.send_replace(Some((hub, now)));
        let ahead = ahead_ms(hub, own);
        if self.kept.is_some_and(|kept| kept.abs_diff(ahead) < MOVED_MS) {
            return;
        }
        if ahead.unsigned_abs() >= WRONG_MS {
            let (by, way) = (ahead.unsigned_abs() / 1000, if ahead > 0 { "behind" } else { "ahead of" });
            tracing::warn!(
                "the clock of this machine is {by} s {way} the hub's, by which the ends of declared shifts are read"
            );
        }
        let kept = serde_json::to_vec(&Kept { ahead_ms: ahead }).unwrap_or_default();
        match write_secret(&self.file, &kept) {
            Ok(()) => self.kept = Some(ahead),
            Err(error) => {
                tracing::error!(%error, "how far the hub's clock is from the own one cannot be kept");
            }
        }
    }
}

fn ahead_ms(hub: Duration, own: Duration) -> i64 {
    let ms = |of: Duration| i64::try_from(of.as_millis()).unwrap_or(i64::MAX);
    ms(hub).saturating_sub(ms(own))
}

fn shifted(own: Duration, ahead_ms: i64) -> Duration {
    let by = Duration::from_millis(ahead_ms.unsigned_abs());
    if ahead_ms < 0 { own.saturating_sub(by) } else { own.saturating_add(by) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(clock: &HubClock) -> Option<u64> {
        clock.subscribe().borrow().map(|(since_1970, _)| since_1970.as_secs())
    }

    #[test]
    fn a_start_without_the_hub_goes_on_by_its_clock() {
        let (folder, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let at = Duration::from_secs;
        let mut clock = HubClock::load(folder.path(), at(1000), now);
        assert_eq!(told(&clock), None);
        clock.hear(0, at(1000), now);
        assert_eq!(told(&clock), None, "a hub that does not say it");
        for (hub, ahead) in [(1600, 600), (400, -600)] {
            clock.hear(hub * 1000, at(1000), now);
            assert_eq!(told(&clock), Some(hub));
            let again = HubClock::load(folder.path(), at(5000), now);
            assert_eq!(told(&again), Some(5000_u64.saturating_add_signed(ahead)));
        }
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(told(&HubClock::load(folder.path(), at(5000), now)), None);
    }
}
