//! Who knows the facts, and carries out what a visitor asks for.

use crate::model::{AuditFacts, Done, DrillsFacts, Event, Fleet, Foresight, RolloutFacts, ServiceFacts};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidegate_model::{ClusterName, Region, ServiceName, Zone};
use tokio::sync::watch;

/// Who looks at the page. What a visitor may is judged by who let them in, and again by the source before it acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// For the audit log.
    pub name: String,
    /// Whether they may start and end shifts and drills.
    pub is_operator: bool,
    /// What they are limited to; `None` for all. Of other namespaces they see and change nothing, and no whole place.
    pub namespaces: Option<BTreeSet<String>>,
}

/// Something to be lost, in a question or by a shift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A zone; in this region, where the name alone could mean several.
    Zone(Option<Region>, Zone),
    /// A cluster.
    Cluster(ClusterName),
    /// A region.
    Region(Region),
}

/// A shift that a visitor asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShiftAsked {
    /// What traffic is moved away from.
    pub from: Loss,
    /// For this service only.
    pub service: Option<ServiceName>,
    /// How much, in hundredths.
    pub percent: u32,
    /// For how long.
    pub lasts: Duration,
    /// Why.
    pub comment: String,
    /// Whether the last healthy place of a service may be drained.
    pub force: bool,
}

/// What a visitor asks to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Move traffic away.
    Shift(ShiftAsked),
    /// Let a shift last so much longer from now.
    ExtendShift(String, Duration),
    /// End a shift.
    EndShift(String),
    /// Start a drill, `NAMESPACE/NAME`.
    StartDrill(String),
    /// End a drill that runs, by its id.
    EndDrill(String),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// There is no such thing; the text says what there is.
    #[error("{0}")]
    Unknown(String),
    /// The visitor may not; the text says who may.
    #[error("{0}")]
    Denied(String),
    /// It would do harm, or cannot be understood; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// It cannot be said or done now; the text says why and when.
    #[error("{0}")]
    Unavailable(String),
}

/// A hub or an agent.
#[async_trait::async_trait]
pub trait Source: Send + Sync + 'static {
    /// The newest picture. It is made anew at most every 200 ms, and only when something changed. Nobody may have looked for long before
    /// this is asked: what is found then is no older than a second.
    fn fleet(&self) -> watch::Receiver<Arc<Fleet>>;

    /// One service, asked for now.
    async fn service(&self, name: &ServiceName) -> Result<ServiceFacts, Trouble>;

    /// What happened in the fleet, the newest first: before this time, at most so many.
    async fn timeline(&self, before_ms: Option<u64>, limit: usize) -> Result<Vec<Event>, Trouble>;

    /// What would be if all of these were lost together; with none: each zone, cluster and region by itself (the N-1 table).
    async fn foresee(&self, lost: &[Loss]) -> Result<Foresight, Trouble>;

    /// What a shift would do, before it is begun.
    async fn preview(&self, shift: &ShiftAsked) -> Result<Foresight, Trouble>;

    /// Drills.
    async fn drills(&self) -> Result<DrillsFacts, Trouble>;

    /// The report of a drill that is over: a whole HTML document.
    async fn report(&self, id: &str) -> Result<String, Trouble>;

    /// Where the policy stands: objects from this one on, at most so many, those whose name contains the text.
    async fn rollout(&self, text: &str, from: usize, limit: usize) -> Result<RolloutFacts, Trouble>;

    /// The audit log before this number, the newest first. An agent has none.
    async fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditFacts>, Trouble>;

    /// Does it, in the visitor's name.
    async fn act(&self, visitor: &Visitor, action: Action) -> Result<Done, Trouble>;
}
