//! When a process has to stop: by a signal, or because whoever started it is gone.

use std::io::Read;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGINT, SIGTERM or SIGHUP, and, if `with_stdin`, when standard input reaches its end.
///
/// A parent that holds the other end of the pipe takes its children with it however it ends, a crash included.
pub(crate) fn token(with_stdin: bool) -> CancellationToken {
    let token = CancellationToken::new();
    let by_signal = token.clone();
    tokio::spawn(async move {
        signal().await;
        by_signal.cancel();
    });
    if with_stdin {
        let by_stdin = token.clone();
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut buffer = [0; 64];
            while matches!(stdin.read(&mut buffer), Ok(count) if count > 0) {}
            by_stdin.cancel();
        });
    }
    token
}

/// A word for each signal that asks for the end, for whoever has to hear more than the first.
pub(crate) fn words() -> mpsc::Receiver<String> {
    use tokio::signal::unix::{SignalKind, signal};
    let (words, heard) = mpsc::channel(4);
    for (kind, name) in [
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::hangup(), "SIGHUP"),
    ] {
        let words = words.clone();
        tokio::spawn(async move {
            let Ok(mut signal) = signal(kind) else { return };
            while signal.recv().await.is_some() {
                if words.send(name.to_owned()).await.is_err() {
                    return;
                }
            }
        });
    }
    heard
}

/// Until somebody asks for the end: SIGINT, SIGTERM, or SIGHUP (what a lost terminal and a dead parent send).
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let one = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = one(SignalKind::interrupt()) => {}
        () = one(SignalKind::terminate()) => {}
        () = one(SignalKind::hangup()) => {}
    }
}
