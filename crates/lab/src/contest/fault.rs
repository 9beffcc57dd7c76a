//! What is done at home, and how it ends.

use crate::{
    clock::LabClock,
    toy::{Toy, ToyError, ToyMode},
};
use serde::{Serialize, Serializer};
use std::{fmt, io, net::SocketAddr, process::Stdio, time::Duration};
use tidegate_model::Time;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// From one turn of a flapping zone to the next.
const FLAP: Duration = Duration::from_secs(1);
/// The table of packet filter rules that a black hole is made of.
const TABLE: &str = "tidegate_lab";

/// A fault of all endpoints at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ZoneFault {
    /// Every endpoint is gone: connects are refused, open connections are closed.
    Killed,
    /// Every endpoint accepts and reads, and never answers.
    Frozen,
    /// Packets to the endpoints and from them vanish.
    BlackHoled,
    /// Every endpoint answers 503, to checks too.
    Answers503,
    /// Every endpoint answers after three seconds, to checks too.
    Slow,
    /// 30 % of the requests are answered 503; checks are answered 200.
    SomeErrors,
    /// Killed for a second, there for a second, and so on.
    Flapping,
}

impl ZoneFault {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 7] = [
        Self::Killed,
        Self::Frozen,
        Self::BlackHoled,
        Self::Answers503,
        Self::Slow,
        Self::SomeErrors,
        Self::Flapping,
    ];

    /// By its name on the command line.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::BlackHoled => "black-holed",
            Self::Answers503 => "503",
            Self::Slow => "slow-3s",
            Self::SomeErrors => "errors-30",
            Self::Flapping => "flapping-1s",
        }
    }

    const fn mode(self) -> ToyMode {
        match self {
            Self::Killed | Self::Flapping => ToyMode::Refuse,
            Self::Frozen => ToyMode::Hang,
            Self::BlackHoled => ToyMode::Serve,
            Self::Answers503 => ToyMode::Status503,
            Self::Slow => ToyMode::Slow(Duration::from_secs(3)),
            Self::SomeErrors => ToyMode::Errors(30),
        }
    }
}

impl fmt::Display for ZoneFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::BlackHoled => "black-holed",
            Self::Answers503 => "answers 503",
            Self::Slow => "3 s slow",
            Self::SomeErrors => "30 % errors",
            Self::Flapping => "flapping at 1 s",
        })
    }
}

impl Serialize for ZoneFault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A fault that cannot be made, or not be ended.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// An endpoint.
    #[error(transparent)]
    Toy(#[from] ToyError),
    /// The packet filter.
    #[error("nft, which makes the black hole: {0} (it needs root and the package nftables)")]
    Filter(String),
}

/// Makes the fault happen, and undoes it at `until`. Gives when it began, and when it began to end.
///
/// A black hole is made in the network that this process sees: give it one of its own.
pub async fn strike(
    fault: ZoneFault,
    toys: &[&Toy],
    clock: LabClock,
    until: Time,
) -> Result<(Time, Time), FaultError> {
    let began = clock.now();
    if fault == ZoneFault::BlackHoled {
        let addresses: Vec<SocketAddr> = toys.iter().map(|toy| toy.address()).collect();
        filter(&black_hole(&addresses)).await?;
        tokio::time::sleep_until(clock.instant(until)).await;
        let ended = clock.now();
        filter(&format!("delete table inet {TABLE}\n")).await?;
        return Ok((began, ended));
    }
    let mut mode = fault.mode();
    set(toys, mode).await?;
    let mut turn = began + FLAP;
    while fault == ZoneFault::Flapping && turn < until {
        tokio::time::sleep_until(clock.instant(turn)).await;
        mode = if mode == ToyMode::Serve { ToyMode::Refuse } else { ToyMode::Serve };
        set(toys, mode).await?;
        turn = turn + FLAP;
    }
    tokio::time::sleep_until(clock.instant(until)).await;
    let ended = clock.now();
    set(toys, ToyMode::Serve).await?;
    Ok((began, ended))
}

async fn set(toys: &[&Toy], mode: ToyMode) -> Result<(), ToyError> {
    futures::future::try_join_all(toys.iter().map(|toy| toy.set(mode))).await.map(drop)
}

/// The rules that let what goes to these addresses, or comes from them, vanish.
fn black_hole(addresses: &[SocketAddr]) -> String {
    let mut rules =
        format!("table inet {TABLE} {{\n  chain input {{\n    type filter hook input priority 0;\n");
    for address in addresses {
        for side in ["d", "s"] {
            rules += &format!("    ip {side}addr {} tcp {side}port {} drop\n", address.ip(), address.port());
        }
    }
    rules + "  }\n}\n"
}

async fn filter(rules: &str) -> Result<(), FaultError> {
    let run = async {
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = nft.stdin.take() {
            stdin.write_all(rules.as_bytes()).await?;
        }
        nft.wait_with_output().await
    };
    match run.await {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(FaultError::Filter(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(FaultError::Filter("it is not installed".to_owned()))
        }
        Err(error) => Err(FaultError::Filter(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for fault in ZoneFault::ALL {
            assert_eq!(ZoneFault::named(fault.name()), Some(fault));
        }
        assert_eq!(ZoneFault::named("flood"), None);
    }

    #[test]
    fn a_black_hole_swallows_both_ways_and_nothing_else() {
        let rules = black_hole(&["127.40.0.2:4000".parse().unwrap()]);
        let expected = "\
table inet tidegate_lab {
  chain input {
    type filter hook input priority 0;
    ip daddr 127.40.0.2 tcp dport 4000 drop
    ip saddr 127.40.0.2 tcp sport 4000 drop
  }
}
";
        assert_eq!(rules, expected);
    }
}
