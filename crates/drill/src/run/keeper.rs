//! Who runs the commands of a fault: a small process of its own, which outlives the one that runs the drill.
//!
//! The runner tells it over its standard input what to do. When that ends without a farewell (the runner was killed, it
//! panicked, its machine's memory ran out) or the fault's expiry comes, the keeper mends by itself. It breaks nothing unless
//! told to, and mends nothing that it did not break. Should the keeper itself be killed, the runner sees its output end and
//! mends. Only when both are killed is there nobody left.
//!
//! Runner to keeper, one line each: the [`Orders`] as JSON, `break`, `mend`, `bye`. Keeper to runner: `ready`, and a
//! [`Told`] as JSON for each command that ended.

use super::command::{Ran, run};
use serde::{Deserialize, Serialize};
use std::{io, pin::pin, time::Duration};
use tidegate_api::ExecFault;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines, Stdin},
    time::Instant,
};

/// How often a keeper that is alone tries to mend.
const TRIES: u32 = 5;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// What a keeper is to do when told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orders {
    /// Breaks.
    pub start: Vec<String>,
    /// Mends.
    pub mend: Vec<String>,
    /// How long each may take, in milliseconds.
    pub timeout_ms: u64,
    /// After so long the fault is mended whoever is there, in milliseconds.
    pub expires_after_ms: u64,
}

impl Orders {
    /// For a fault.
    #[must_use]
    pub fn new(fault: &ExecFault, expires_after: Duration) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            start: fault.start.clone(),
            mend: fault.mend.clone(),
            timeout_ms: ms(fault.timeout),
            expires_after_ms: ms(expires_after),
        }
    }
}

/// A command that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Told {
    Broken(Ran),
    /// By agents: none of them began.
    Refused(Ran),
    Mended(Ran),
}

/// The keeper's whole life: the process `tidegate drill keeper`, which only a runner starts.
///
/// # Errors
/// If nobody gave it orders.
pub async fn keep() -> io::Result<()> {
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let first = orders.next_line().await?.ok_or_else(|| io::Error::other("nobody gave orders"))?;
    let mut keeper = Keeper { orders: serde_json::from_str(&first)?, broken_at: None };
    tell("ready").await;
    keeper.serve(&mut orders).await;
    Ok(())
}

struct Keeper {
    orders: Orders,
    /// Since when something may be broken.
    broken_at: Option<Instant>,
}

/// Why a keeper stops to do what it does.
enum Word {
    Said(String),
    Alone,
    Expired,
}

impl Keeper {
    async fn serve(&mut self, from: &mut Lines<BufReader<Stdin>>) {
        let mut next = None;
        loop {
            let word = match next.take() {
                Some(word) => word,
                None => self.wait(from).await,
            };
            match word {
                Word::Said(word) if word == "break" => next = self.start(from).await,
                Word::Said(word) if word == "mend" => {
                    let ran = self.mend().await;
                    self.report(Told::Mended(ran)).await;
                }
                Word::Said(word) if word == "bye" => return,
                Word::Said(_) => {}
                Word::Expired => {
                    let ran = self.mend_alone().await;
                    self.report(Told::Mended(ran)).await;
                }
                Word::Alone => {
                    if self.broken_at.is_some() {
                        self.mend_alone().await;
                    }
                    return;
                }
            }
        }
    }

    async fn wait(&self, from: &mut Lines<BufReader<Stdin>>) -> Word {
        let expiry = self.broken_at.map(|at| at + Duration::from_millis(self.orders.expires_after_ms));
        let expired = async {
            match expiry {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            line = from.next_line() => line.ok().flatten().map_or(Word::Alone, Word::Said),
            () = expired => Word::Expired,
        }
    }

    /// Breaks, unless told otherwise meanwhile; a command that is given up is killed.
    async fn start(&mut self, from: &mut Lines<BufReader<Stdin>>) -> Option<Word> {
        self.broken_at = Some(Instant::now());
        let words = self.orders.start.clone();
        let mut running = pin!(run(&words, self.timeout()));
        let word = tokio::select! {
            ran = &mut running => Err(ran),
            word = self.wait(from) => Ok(word),
        };
        match word {
            Ok(word) => Some(word),
            Err(ran) => {
                self.report(Told::Broken(ran)).await;
                None
            }
        }
    }

    async fn mend(&mut self) -> Ran {
        let ran = run(&self.orders.mend, self.timeout()).await;
        if ran.error.is_none() {
            self.broken_at = None;
        }
        ran
    }

    /// Nobody else will.
    async fn mend_alone(&mut self) -> Ran {
        let mut ran = self.mend().await;
        for _ in 1..TRIES {
            if ran.error.is_none() {
                break;
            }
            tracing::error!(error = ran.result("mends").err(), "the fault is not mended; trying again");
            tokio::time::sleep(PAUSE).await;
            ran = self.mend().await;
        }
        // What cannot be mended does not expire again; it is told.
        self.broken_at = None;
        ran
    }

    const fn timeout(&self) -> Duration {
        Duration::from_millis(self.orders.timeout_ms)
    }

    async fn report(&self, told: Told) {
        if let Ok(line) = serde_json::to_string(&told) {
            tell(&line).await;
        }
    }
}

/// A runner that is gone hears nothing, and that is no error here.
async fn tell(line: &str) {
    let mut out = tokio::io::stdout();
    let _ = out.write_all(format!("{line}\n").as_bytes()).await;
    let _ = out.flush().await;
}
