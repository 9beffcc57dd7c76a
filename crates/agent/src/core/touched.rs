//! What an input touched, from the engine's effects to what peers are told.

use super::{Output, Record};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_engine::Effects;
use tidegate_model::{PoolStatus, ServiceName};

/// What peers are told of the own pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// All pools there are.
    All(Vec<PoolStatus>),
    /// All pools of some services; of a service that is gone none.
    Changed(BTreeMap<ServiceName, Vec<PoolStatus>>),
}

/// The services that an input changed, gathered first, so that each is told once however often it changed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) plans: BTreeSet<ServiceName>,
    pub(super) removed: BTreeSet<ServiceName>,
    pub(super) statuses: BTreeSet<ServiceName>,
}

/// Carries the engine's effects over into what the shell has to do.
pub(super) fn take(effects: Effects, output: &mut Output) {
    let Effects { mut changed, mut removed, mut statuses_changed, decisions } = effects;
    output.records.extend(decisions.iter().map(Record::of));
    output.touched.removed.append(&mut removed);
    output.touched.plans.append(&mut changed);
    output.touched.statuses.append(&mut statuses_changed);
}
