//! What a lab does to a fleet of its own for a drill: `tidegate demo --admin`.

use crate::duration;
use std::{fmt, str::FromStr, time::Duration};

/// What a lab does to a drill's target. Its text (`Slow 1200ms`, `Kill Edge`) is how a runner tells a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabFault {
    /// A process is killed, and started again when it is over. Without one: the hub.
    Kill(Option<LabProcess>),
    /// A process is stopped, and goes on when it is over. Without one: the hub.
    Pause(Option<LabProcess>),
    /// Workloads close their connections and refuse new ones.
    Refuse,
    /// Workloads accept and read, and never answer.
    Hang,
    /// Workloads answer 503 to everything.
    Status,
    /// Workloads answer after so long.
    Slow(Duration),
    /// Workloads refuse for so long, serve for so long, and so on.
    Flap(Duration),
    /// Links swallow all that is sent, both ways.
    Cut,
    /// Links take so much longer, each way.
    Delay(Duration),
}

/// A process of a lab's cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabProcess {
    /// The agent.
    Agent,
    /// The edge gateway's Envoy.
    Edge,
    /// The east-west gateway's Envoy.
    EastWest,
}

impl LabProcess {
    pub(crate) const ALL: [(&'static str, Self); 3] =
        [("Agent", Self::Agent), ("Edge", Self::Edge), ("EastWest", Self::EastWest)];
}

impl fmt::Display for LabProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, process)| process == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

impl fmt::Display for LabFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = |process: &Option<LabProcess>| process.map(|it| format!(" {it}")).unwrap_or_default();
        match self {
            Self::Kill(it) => write!(f, "Kill{}", process(it)),
            Self::Pause(it) => write!(f, "Pause{}", process(it)),
            Self::Refuse => f.write_str("Refuse"),
            Self::Hang => f.write_str("Hang"),
            Self::Status => f.write_str("Status"),
            Self::Slow(by) => write!(f, "Slow {}ms", by.as_millis()),
            Self::Flap(every) => write!(f, "Flap {}ms", every.as_millis()),
            Self::Cut => f.write_str("Cut"),
            Self::Delay(by) => write!(f, "Delay {}ms", by.as_millis()),
        }
    }
}

impl FromStr for LabFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unread = || format!("{text:?} is nothing that a lab does");
        let (what, more) = text.split_once(' ').map_or((text, None), |(what, more)| (what, Some(more)));
        let process = || match more {
            None => Ok(None),
            Some(more) => {
                let known = LabProcess::ALL.iter().find(|(name, _)| *name == more);
                known.map(|(_, process)| Some(*process)).ok_or_else(unread)
            }
        };
        let time = || more.and_then(duration::parse).filter(|it| !it.is_zero()).ok_or_else(unread);
        match (what, more) {
            ("Kill", _) => process().map(Self::Kill),
            ("Pause", _) => process().map(Self::Pause),
            ("Slow", _) => time().map(Self::Slow),
            ("Flap", _) => time().map(Self::Flap),
            ("Delay", _) => time().map(Self::Delay),
            ("Refuse", None) => Ok(Self::Refuse),
            ("Hang", None) => Ok(Self::Hang),
            ("Status", None) => Ok(Self::Status),
            ("Cut", None) => Ok(Self::Cut),
            _ => Err(unread()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_told_in_words_that_read_back() {
        let time = Duration::from_millis(1200);
        for fault in [
            LabFault::Kill(None),
            LabFault::Kill(Some(LabProcess::Edge)),
            LabFault::Pause(Some(LabProcess::EastWest)),
            LabFault::Refuse,
            LabFault::Hang,
            LabFault::Status,
            LabFault::Slow(time),
            LabFault::Flap(time),
            LabFault::Cut,
            LabFault::Delay(time),
        ] {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        for wrong in ["", "Melt", "Slow", "Slow 0s", "Slow soon", "Kill Hub", "Refuse 3s", "kill"] {
            let error = wrong.parse::<LabFault>().unwrap_err();
            assert!(error.contains("nothing that a lab does"), "{wrong}: {error}");
        }
    }
}
