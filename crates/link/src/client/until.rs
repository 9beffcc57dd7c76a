//! Waits that cost nothing while what they wait for is put off.

use std::{future::poll_fn, pin::pin, task::Poll};
use tokio::time::{Instant, sleep_until};

/// Waits until `due` has passed, which may move on meanwhile. Whatever moves it has to be in the same task: then this is
/// asked again anyway, and no timer has to fire to find that it was moved.
pub(super) async fn until(due: impl Fn() -> Instant) {
    let mut timer = pin!(sleep_until(due()));
    poll_fn(|context| {
        loop {
            let at = due();
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, time::Duration};

    #[tokio::test]
    async fn a_wait_whose_end_moves_ends_when_it_has_come() {
        let (began, ms) = (Instant::now(), Duration::from_millis);
        let due = Cell::new(began + ms(20));
        let moves = async {
            for after in [10, 20, 30] {
                sleep_until(began + ms(after)).await;
                due.set(began + ms(after + 20));
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = moves => {}
            () = until(|| due.get()) => {}
        }
        assert!(due.get() > began + ms(20) && began.elapsed() >= due.get() - began, "{:?}", began.elapsed());
    }
}
