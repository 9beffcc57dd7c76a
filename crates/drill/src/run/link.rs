//! The runner's end of the line to the keeper.

use super::{Input, keeper::Orders};
use std::{ffi::OsString, io, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::timeout,
};

/// How long a keeper may take to be ready, and to go.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Link {
    child: Child,
    to: ChildStdin,
}

impl Link {
    /// Starts a keeper and waits until it is ready to mend.
    pub(super) async fn start(
        keeper: &[OsString],
        orders: &Orders,
        events: mpsc::Sender<Input>,
    ) -> io::Result<Self> {
        let (program, arguments) =
            keeper.split_first().ok_or_else(|| io::Error::other("no program was named"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the runner; the keeper mends when told, or when that is gone.
            .process_group(0)
            .spawn()?;
        let lost = || io::Error::other("it has no pipes");
        let mut to = child.stdin.take().ok_or_else(lost)?;
        let mut from = BufReader::new(child.stdout.take().ok_or_else(lost)?).lines();
        let line = serde_json::to_string(orders).map_err(io::Error::other)?;
        to.write_all(format!("{line}\n").as_bytes()).await?;
        let ready =
            timeout(LIMIT, from.next_line()).await.map_err(|_| io::Error::other("it is not ready"))??;
        if ready.as_deref() != Some("ready") {
            return Err(io::Error::other(format!("it said {ready:?} instead of being ready")));
        }
        tokio::spawn(async move {
            while let Ok(Some(line)) = from.next_line().await {
                if let Ok(told) = serde_json::from_str(&line)
                    && events.send(Input::Told(told)).await.is_err()
                {
                    return;
                }
            }
            // Nobody listens once the drill is over.
            let _ = events.send(Input::KeeperGone).await;
        });
        Ok(Self { child, to })
    }

    pub(super) async fn say(&mut self, word: &str) -> io::Result<()> {
        self.to.write_all(format!("{word}\n").as_bytes()).await
    }

    /// Lets the keeper go; without `farewell` it mends what it broke.
    pub(super) async fn end(mut self, farewell: bool) {
        if farewell {
            // One that is gone needs none.
            let _ = self.say("bye").await;
        }
        drop(self.to);
        if farewell {
            // It has nothing left to do. Otherwise it goes on alone.
            let _ = timeout(LIMIT, self.child.wait()).await;
        }
    }
}
