//! What is known of a pool's health, in the form in which agents tell it to each other.

use crate::{Fraction, Locality, ServiceName};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// What an active check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "verdict", content = "reason")]
pub enum ProbeVerdict {
    /// The endpoint answers as expected.
    Up,
    /// It does not, and why, for people.
    Down(String),
}

impl ProbeVerdict {
    /// Whether the endpoint answers as expected.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }
}

/// Where a pool stands, derived from its state for people; nothing decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// It is given its whole normal load.
    Serving,
    /// It is given a part of its normal load, because a part of it is unhealthy.
    Reduced,
    /// It is given nothing, because it is not healthy enough.
    Out,
    /// It is healthy again, and waits for the hold-down to pass.
    Holding,
    /// It is being given its load back, step by step.
    Ramping,
    /// An operator or a drill moved its traffic away.
    Shifted,
    /// Nothing is expected of it: it has no endpoint that was ever healthy.
    Empty,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Serving => "Serving",
            Self::Reduced => "Reduced",
            Self::Out => "Out",
            Self::Holding => "Holding",
            Self::Ramping => "Ramping",
            Self::Shifted => "Shifted",
            Self::Empty => "Empty",
        })
    }
}

/// A pool as the agents of its own cluster see it, and tell the other clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// The service.
    pub service: ServiceName,
    /// Where the pool is.
    pub locality: Locality,
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are there and not being shut down, whether or not any of them was ever healthy. Zero also where its
    /// owner does not tell.
    #[serde(default)]
    pub present: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// The part of its normal load that it is given.
    pub admit: Fraction,
    /// Where it stands.
    pub phase: Phase,
    /// How long its hold-down still lasts; zero outside [`Phase::Holding`].
    pub hold_remaining: Duration,
}

/// One life of an agent: a number drawn when it starts. A peer that comes back with the same
/// number was merely out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerBoot(pub u64);
