//! How a new policy reaches the fleet: wave after wave of clusters, and no further when one gets worse. Pure; times are passed in.
//!
//! A wave is open when its clusters are handed the new policy (`target`); the others keep the one before (`base`). It has
//! settled when all of its clusters have applied the target, and is over when that has lasted for the bake time. A cluster
//! that is away is waited for, and then left out: it takes the target when it is back. What halts a rollout is in [`Halt`].

use crate::{condition::Condition, view::RejectedView};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tidegate_model::ClusterName;

/// A loss has to last so long: pods that are replaced at that moment are none.
const LASTING: Duration = Duration::from_secs(5);

/// The wave of each cluster that the policy names; others are in the first.
pub(crate) type Waves = BTreeMap<ClusterName, u32>;

/// How patient a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaveLimits {
    /// A wave that has settled is watched for so long before the next one opens.
    pub bake: Duration,
    /// A cluster is waited for so long.
    pub patience: Duration,
    /// So much of a cluster's healthy endpoints or admitted load may be lost, in parts per million of what should be there.
    pub loss_ppm: u64,
}

impl Default for WaveLimits {
    /// A minute is several times what a bad check or limit needs to show (detection 1 s, outlier ejection 10 s, a gateway's
    /// slowest change 60 s); five minutes outlast a restart of a node.
    fn default() -> Self {
        Self { bake: Duration::from_secs(60), patience: Duration::from_secs(300), loss_ppm: 50_000 }
    }
}

/// What is known of a cluster that joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Whether an agent of it is connected.
    pub(crate) connected: bool,
    /// The policy that all its connected agents have applied.
    pub(crate) applied: u64,
    /// None until it has told all of it.
    pub(crate) condition: Option<Condition>,
    /// What it rejects, with the reasons.
    pub(crate) rejected: Vec<RejectedView>,
    /// What one of its gateways says of what it refuses, by gateway.
    pub(crate) refused: BTreeMap<String, String>,
}

/// All clusters that joined.
pub(crate) type Sight = BTreeMap<ClusterName, Seen>;

/// Why a rollout stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Halt {
    #[error("{cluster} rejects {object}, which it did not before: {reason}")]
    Rejected { cluster: ClusterName, object: String, reason: String },
    #[error("{cluster}: the gateway {gateway} refuses {what}")]
    Refused { cluster: ClusterName, gateway: String, what: String },
    #[error("{cluster} got worse: {what}")]
    Worse { cluster: ClusterName, what: String },
    #[error("{cluster} is connected and has not applied policy {target} within {seconds} s")]
    Stuck { cluster: ClusterName, target: u64, seconds: u64 },
    #[error("{cluster} applied policy {target} and has been away for {seconds} s since")]
    Lost { cluster: ClusterName, target: u64, seconds: u64 },
    #[error(
        "no cluster of wave {wave} was there within {seconds} s; `tidegate rollout resume` goes on without them"
    )]
    Nobody { wave: u32, seconds: u64 },
}

impl Halt {
    /// Where, if it is one cluster.
    pub(crate) const fn cluster(&self) -> Option<&ClusterName> {
        match self {
            Self::Rejected { cluster, .. }
            | Self::Refused { cluster, .. }
            | Self::Worse { cluster, .. }
            | Self::Stuck { cluster, .. }
            | Self::Lost { cluster, .. } => Some(cluster),
            Self::Nobody { .. } => None,
        }
    }
}

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    Rolling,
    Halted(Halt),
    Done,
}

/// What happened in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Opened(u32),
    Halted(Halt),
    LeftOut(ClusterName),
    Done,
}

/// One policy on its way. What it is waiting for is not kept over a restart of the hub: it waits anew then.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rollout {
    /// What is handed out where no wave is open; 0 if there was nothing before.
    pub(crate) base: u64,
    /// What is handed out where one is.
    pub(crate) target: u64,
    /// Waves up to this one are open.
    pub(crate) wave: u32,
    pub(crate) phase: Phase,
    /// How clusters were before they were handed the target.
    before: BTreeMap<ClusterName, Condition>,
    /// Clusters that had the target.
    reached: BTreeSet<ClusterName>,
    /// Clusters that are not waited for.
    pub(crate) left_out: BTreeSet<ClusterName>,
    #[serde(skip)]
    settled: Option<Instant>,
    #[serde(skip)]
    missing: BTreeMap<ClusterName, Instant>,
    #[serde(skip)]
    worse: BTreeMap<ClusterName, Instant>,
}

impl Rollout {
    /// A policy that everybody is handed at once: the first, or one that an operator goes back to.
    pub(crate) fn at_once(target: u64) -> Self {
        Self {
            base: 0,
            target,
            wave: u32::MAX,
            phase: Phase::Done,
            before: BTreeMap::new(),
            reached: BTreeSet::new(),
            left_out: BTreeSet::new(),
            settled: None,
            missing: BTreeMap::new(),
            worse: BTreeMap::new(),
        }
    }

    /// The next policy. One that comes while another is on its way takes its place: later waves still hold the base of that
    /// one, and clusters that it made worse are compared with how they were before it.
    pub(crate) fn next(&self, target: u64, waves: &Waves, sight: &Sight) -> Self {
        let (base, before) = match self.phase {
            Phase::Done => (self.target, BTreeMap::new()),
            _ => (self.base, self.before.clone()),
        };
        let mut next = Self { base, before, phase: Phase::Rolling, ..Self::at_once(target) };
        next.open(first(waves, sight), waves, sight);
        next
    }

    /// The same, when its target has another sequence.
    pub(crate) fn numbered(self, target: u64) -> Self {
        Self { target, ..self }
    }

    /// Whether the clusters of a wave are handed the target.
    pub(crate) const fn is_open(&self, wave: u32) -> bool {
        self.base == 0 || wave <= self.wave || matches!(self.phase, Phase::Done)
    }

    fn open(&mut self, wave: u32, waves: &Waves, sight: &Sight) {
        self.wave = wave;
        (self.settled, self.missing) = (None, BTreeMap::new());
        for (cluster, seen) in sight {
            if of(waves, cluster) <= wave
                && let (false, Some(condition)) = (self.before.contains_key(cluster), &seen.condition)
            {
                self.before.insert(cluster.clone(), condition.clone());
            }
        }
    }

    /// What comes of what is seen now. `changed` says which objects are not as in the base.
    pub(crate) fn step(
        &mut self,
        sight: &Sight,
        waves: &Waves,
        changed: impl Fn(&str) -> bool,
        limits: &WaveLimits,
        now: Instant,
    ) -> Vec<Event> {
        if self.phase != Phase::Rolling {
            return Vec::new();
        }
        let mut events = Vec::new();
        let halt = self.regress(sight, waves, &changed, limits, now);
        let halt = halt.or_else(|| self.wait(sight, waves, limits, now, &mut events));
        if let Some(halt) = halt {
            self.phase = Phase::Halted(halt.clone());
            events.push(Event::Halted(halt));
        } else if self.settled.is_some_and(|at| now.saturating_duration_since(at) >= limits.bake) {
            let next = sight.keys().map(|it| of(waves, it)).filter(|it| *it > self.wave).min();
            if let Some(wave) = next {
                self.open(wave, waves, sight);
                events.push(Event::Opened(wave));
            } else {
                self.phase = Phase::Done;
                events.push(Event::Done);
            }
        }
        events
    }

    /// The first thing that is worse in a cluster that has the target.
    fn regress(
        &mut self,
        sight: &Sight,
        waves: &Waves,
        changed: &impl Fn(&str) -> bool,
        limits: &WaveLimits,
        now: Instant,
    ) -> Option<Halt> {
        for (cluster, seen) in sight {
            if of(waves, cluster) > self.wave || !seen.connected || seen.applied < self.target {
                continue;
            }
            self.reached.insert(cluster.clone());
            let before = self.before.get(cluster);
            let new =
                |object: &str| before.map_or_else(|| changed(object), |it| !it.rejected.contains(object));
            if let Some(it) = seen.rejected.iter().find(|it| new(&it.object)) {
                let (object, reason) = (it.object.clone(), it.reason.clone());
                return Some(Halt::Rejected { cluster: cluster.clone(), object, reason });
            }
            let new = |gateway: &String| before.is_none_or(|it| !it.refusing.contains(gateway));
            if let Some((gateway, what)) = seen.refused.iter().find(|(gateway, _)| new(gateway)) {
                let (gateway, what) = (gateway.clone(), what.clone());
                return Some(Halt::Refused { cluster: cluster.clone(), gateway, what });
            }
            let worse = before.zip(seen.condition.as_ref());
            match worse.and_then(|(before, it)| it.worse_than(before, limits.loss_ppm)) {
                None => drop(self.worse.remove(cluster)),
                Some(what) => {
                    let since = *self.worse.entry(cluster.clone()).or_insert(now);
                    if now.saturating_duration_since(since) >= LASTING {
                        return Some(Halt::Worse { cluster: cluster.clone(), what });
                    }
                }
            }
        }
        None
    }

    /// Notes since when the open wave has settled, and for whom it waits no longer.
    fn wait(
        &mut self,
        sight: &Sight,
        waves: &Waves,
        limits: &WaveLimits,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Option<Halt> {
        let members = || sight.iter().filter(|(it, _)| of(waves, it) == self.wave);
        let seconds = limits.patience.as_secs();
        let mut late = Vec::new();
        let mut missing = BTreeMap::new();
        for (cluster, seen) in members().filter(|(it, _)| !self.left_out.contains(*it)) {
            if seen.connected && seen.applied >= self.target {
                continue;
            }
            let since = self.missing.get(cluster).copied().unwrap_or(now);
            missing.insert(cluster.clone(), since);
            if now.saturating_duration_since(since) >= limits.patience {
                let (cluster, target) = (cluster.clone(), self.target);
                if seen.connected {
                    return Some(Halt::Stuck { cluster, target, seconds });
                }
                if self.reached.contains(&cluster) {
                    return Some(Halt::Lost { cluster, target, seconds });
                }
                late.push(cluster);
            }
        }
        let anybody = members().any(|(it, _)| self.reached.contains(it) || self.left_out.contains(it));
        self.missing = missing;
        if !late.is_empty() && !anybody && late.len() == self.missing.len() {
            return Some(Halt::Nobody { wave: self.wave, seconds });
        }
        if anybody {
            for cluster in late {
                self.missing.remove(&cluster);
                self.left_out.insert(cluster.clone());
                events.push(Event::LeftOut(cluster));
            }
        }
        self.settled = if self.missing.is_empty() { self.settled.or(Some(now)) } else { None };
        None
    }

    /// An operator says that it goes on: how clusters are now is how they should be, and nobody who is missing is waited for.
    /// Whether it had halted.
    pub(crate) fn resume(&mut self, sight: &Sight, waves: &Waves) -> bool {
        if !matches!(self.phase, Phase::Halted(_)) {
            return false;
        }
        self.phase = Phase::Rolling;
        (self.before, self.worse) = (BTreeMap::new(), BTreeMap::new());
        for (cluster, seen) in sight.iter().filter(|(it, _)| of(waves, it) == self.wave) {
            if !seen.connected || seen.applied < self.target {
                self.left_out.insert(cluster.clone());
            }
        }
        self.open(self.wave, waves, sight);
        true
    }

    /// How long the open wave still bakes; `None` if it has not settled.
    pub(crate) fn baking(&self, limits: &WaveLimits, now: Instant) -> Option<Duration> {
        self.settled.map(|at| limits.bake.saturating_sub(now.saturating_duration_since(at)))
    }

    /// For whom the open wave waits.
    pub(crate) fn waits_for(&self) -> impl Iterator<Item = &ClusterName> {
        self.missing.keys()
    }
}

/// The wave of a cluster.
pub(crate) fn of(waves: &Waves, cluster: &ClusterName) -> u32 {
    waves.get(cluster).copied().unwrap_or(0)
}

/// The first wave that somebody is in.
fn first(waves: &Waves, sight: &Sight) -> u32 {
    sight.keys().map(|cluster| of(waves, cluster)).min().unwrap_or(0)
}

#[cfg(test)]
mod tests;
