//! Faults of drills that this agent carries out. Pure: which run, until when, what speaks against one.
//!
//! - A fault ends by a word or when its time is over, which the agent counts itself: whoever started it may be gone.
//! - **Time** is counted by the monotonic clock. Over a restart it goes on by the wall clock, but what remained never grows: a fault
//!   does not outlive its end because nobody ran.
//! - Nothing is broken that something else acts on, nor what the rest could not stand in for ([`headroom`]).

mod refusal;
mod view;

pub(crate) use refusal::{Known, Refusal, headroom};
pub(crate) use view::DrillQuery;
pub use view::DrillView;

use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    time::Duration,
};
use tidegate_engine::{Location, ShiftTarget, Source};
use tidegate_envoy::{FAULT_SLOTS, FaultKind, GatewayFault};
use tidegate_model::{ClusterName, GatewayName, Time};

/// The longest a fault may last: longer than any recovery that a drill watches.
pub(crate) const MAX_EXPIRY: Duration = Duration::from_secs(3600);
/// More faults than this at once are refused.
pub(crate) const MAX_FAULTS: usize = 16;
/// What a brownout answers.
const BROWNOUT: u16 = 503;
/// How long a gateway that swallows requests holds each: longer than clients wait.
const HELD: Duration = Duration::from_secs(60);

/// What is done to the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DrillKind {
    /// The own pools there count as dead. No endpoint is touched.
    Verdict,
    /// Traffic is moved away from it; what stays is what an operator's shift would leave.
    Shift,
    /// This cluster's gateways find an address that swallows packets where its endpoints were: this one and those after it.
    BlackHole(SocketAddr),
    /// The gateway that is the target takes requests and holds them.
    Swallow,
    /// The agents of this cluster hear nothing of the target: their peer links to it are given up.
    CutLink(ClusterName),
    /// The agents of the target stay away from the hub.
    LeaveHub,
    /// The gateways there answer requests with this status.
    Abort(u16),
    /// The gateways there let requests wait for so long.
    Delay(Duration),
    /// The gateways there answer a part of the requests with 503.
    Brownout,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The drill, by which it is ended.
    pub id: String,
    /// What is broken: a place, of one service or of all.
    pub target: ShiftTarget,
    /// Only this gateway there, which is the target then.
    #[serde(default)]
    pub gateway: Option<DrilledGateway>,
    /// How.
    pub kind: DrillKind,
    /// How much of it, 1 to 100.
    pub percent: u32,
    /// Only requests that say that they belong to this drill.
    pub marked_only: bool,
    /// How long it still lasts.
    pub remaining: Duration,
    /// When it ends, in milliseconds since 1970, if that is known: for what passes while no agent runs.
    #[serde(default)]
    pub until_unix_ms: Option<u64>,
    /// Who started it.
    pub by: String,
}

/// A gateway that a drill breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrilledGateway {
    /// Its name.
    pub name: GatewayName,
    /// Whether the drill named no cluster, so that other clusters' agents may be told the same.
    pub everywhere: bool,
}

impl Fault {
    /// The name of the shift or verdict that it is.
    pub(crate) fn name(&self) -> String {
        format!("drill {}", self.id)
    }

    /// What gateways in the target's place do, if it is done to requests.
    pub(crate) fn at_gateways(&self) -> Option<GatewayFault> {
        let kind = match self.kind {
            DrillKind::Abort(status) => FaultKind::Abort(status),
            DrillKind::Brownout => FaultKind::Abort(BROWNOUT),
            DrillKind::Delay(by) => FaultKind::Delay(by),
            DrillKind::Swallow => FaultKind::Delay(HELD),
            DrillKind::Verdict
            | DrillKind::Shift
            | DrillKind::BlackHole(_)
            | DrillKind::CutLink(_)
            | DrillKind::LeaveHub => return None,
        };
        let marked = self.marked_only.then(|| self.id.clone());
        Some(GatewayFault { kind, service: self.target.service.clone(), percent: self.percent, marked })
    }

    /// Whether it is this gateway, at this source, that does it.
    pub(crate) fn is_at(&self, gateway: &GatewayName, source: &Source) -> bool {
        self.target.location.covers(&source.cluster, &source.locality)
            && self.gateway.as_ref().is_none_or(|it| it.name == *gateway)
    }

    /// What is broken, for people.
    pub(crate) fn whereabouts(&self) -> String {
        match &self.gateway {
            Some(gateway) => format!("gateway {} of {}", gateway.name, self.target),
            None => self.target.to_string(),
        }
    }
}

/// What is done to what, in a few words.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, percent) = (self.whereabouts(), self.percent);
        let whose = if self.marked_only { " that are marked for it" } else { "" };
        match &self.kind {
            DrillKind::Verdict => write!(f, "{target} counts as dead"),
            DrillKind::Shift => write!(f, "{percent} % of the traffic leaves {target}"),
            DrillKind::CutLink(from) => write!(f, "agents of cluster {from} hear nothing of {target}"),
            DrillKind::LeaveHub => write!(f, "agents of {target} stay away from the hub"),
            DrillKind::BlackHole(via) => {
                write!(f, "gateways find {via} in place of the endpoints of {target}")
            }
            DrillKind::Swallow => write!(f, "requests to {target} are held and not answered"),
            DrillKind::Abort(status) => {
                write!(f, "gateways answer {percent} % of the requests{whose} for {target} with {status}")
            }
            DrillKind::Brownout => {
                write!(f, "gateways answer {percent} % of the requests{whose} for {target} with {BROWNOUT}")
            }
            DrillKind::Delay(by) => {
                write!(f, "gateways hold {percent} % of the requests{whose} for {target} back for {by:?}")
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Running {
    fault: Fault,
    until: Time,
    /// Where gateways do it.
    slot: Option<usize>,
}

/// The faults that run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drills {
    running: BTreeMap<String, Running>,
}

impl Drills {
    /// What was on disk.
    pub(crate) fn restored(saved: Vec<Fault>, now: Time) -> Self {
        let mut drills = Self::default();
        for fault in saved.into_iter().take(MAX_FAULTS) {
            drills.start(fault, now);
        }
        drills
    }

    /// Begins a fault that nothing speaks against.
    pub(crate) fn start(&mut self, mut fault: Fault, now: Time) {
        fault.remaining = fault.remaining.min(MAX_EXPIRY);
        let slot = fault.at_gateways().and_then(|_| self.free_slot());
        let until = now + fault.remaining;
        self.running.insert(fault.id.clone(), Running { fault, until, slot });
    }

    fn free_slot(&self) -> Option<usize> {
        let is_taken = |slot: usize| self.running.values().any(|running| running.slot == Some(slot));
        (0..FAULT_SLOTS).find(|slot| !is_taken(*slot))
    }

    pub(crate) fn end(&mut self, id: &str) -> Option<Fault> {
        self.running.remove(id).map(|running| running.fault)
    }

    /// Those whose time is over.
    pub(crate) fn over(&self, now: Time) -> Vec<String> {
        let over = self.running.values().filter(|running| running.until <= now);
        over.map(|running| running.fault.id.clone()).collect()
    }

    /// When the next one ends.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.running.values().map(|running| running.until).min()
    }

    /// By the wall clock some end earlier: time passed while no agent ran.
    pub(crate) fn by_the_clock(&mut self, unix_ms: u64, now: Time) {
        for running in self.running.values_mut() {
            if let Some(until) = running.fault.until_unix_ms {
                let left = Duration::from_millis(until.saturating_sub(unix_ms));
                running.until = running.until.min(now + left);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Fault> {
        self.running.get(id).map(|running| &running.fault)
    }

    /// All of them with what remains of each.
    pub(crate) fn at(&self, now: Time) -> impl Iterator<Item = Fault> {
        self.running
            .values()
            .map(move |Running { fault, until, .. }| Fault { remaining: until.since(now), ..fault.clone() })
    }

    /// What gateways do to requests, by slot, with the fault that it is of.
    pub(crate) fn at_gateways(&self) -> impl Iterator<Item = (usize, &Fault, GatewayFault)> {
        self.running
            .values()
            .filter_map(|running| Some((running.slot?, &running.fault, running.fault.at_gateways()?)))
    }

    /// The clusters of which nothing is to be heard.
    pub(crate) fn cut_links(&self) -> BTreeSet<ClusterName> {
        let cut = self.running.values().filter(|it| matches!(it.fault.kind, DrillKind::CutLink(_)));
        let to = cut.filter_map(|it| match &it.fault.target.location {
            Location::Cluster(to) => Some(to.clone()),
            _ => None,
        });
        to.collect()
    }

    /// Whether the hub is to be stayed away from.
    pub(crate) fn leaves_hub(&self) -> bool {
        self.running.values().any(|it| it.fault.kind == DrillKind::LeaveHub)
    }

    /// What gateways find an address in place of.
    pub(crate) fn black_holes(&self) -> impl Iterator<Item = (ShiftTarget, SocketAddr)> {
        self.running.values().filter_map(|running| match running.fault.kind {
            DrillKind::BlackHole(via) => Some((running.fault.target.clone(), via)),
            _ => None,
        })
    }
}
