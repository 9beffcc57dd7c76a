//! Waiting for a moment, to some ten microseconds.
//!
//! A `timerfd` among the sockets that the runtime waits for: it ends the wait when the moment has come, on the same
//! thread, without a second one that spins. (`epoll_wait` and the runtime's own timers count in milliseconds.)

use crate::clock::Clock;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::{io, os::fd::OwnedFd, time::Duration};
use tidegate_model::Time;
use tokio::io::{Interest, unix::AsyncFd};

/// Below this a timer is not worth its system calls.
const NEAR: Duration = Duration::from_micros(5);

pub(super) struct Pace {
    timer: AsyncFd<OwnedFd>,
}

impl Pace {
    /// Within the runtime that will wait.
    #[expect(
        deprecated,
        reason = "an OwnedFd stays open while it is registered; what replaces it is unsafe code"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { timer: AsyncFd::with_interest(timer, Interest::READABLE)? })
    }

    /// Until `due`, never less.
    pub(super) async fn until(&self, clock: &Clock, due: Time) {
        loop {
            let now = clock.now();
            if now >= due {
                return;
            }
            let left = due.since(now);
            if left <= NEAR {
                std::hint::spin_loop();
                continue;
            }
            if !self.armed_wait(left).await {
                // A kernel that refuses the timer leaves the runtime's own.
                tokio::time::sleep_until(clock.instant(due)).await;
            }
        }
    }

    /// Whether the timer could be waited for.
    async fn armed_wait(&self, left: Duration) -> bool {
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // Setting it clears what was left of the last time: nothing has to be read from it.
        if timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once).is_err() {
            return false;
        }
        match self.timer.readable().await {
            Ok(mut ready) => {
                ready.clear_ready();
                true
            }
            Err(_) => false,
        }
    }
}
