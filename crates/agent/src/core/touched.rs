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
    let Effects { changed, removed, statuses_changed, decisions } = effects;
    output.records.extend(decisions.iter().map(Record::of));
    gather(&mut output.touched.removed, removed);
    gather(&mut output.touched.plans, changed);
    gather(&mut output.touched.statuses, statuses_changed);
}

/// Manifests are thousands of events about a service each: `append` would go through all that was gathered each time.
fn gather(into: &mut BTreeSet<ServiceName>, mut new: BTreeSet<ServiceName>) {
    if into.len() < new.len() {
        std::mem::swap(into, &mut new);
    }
    into.extend(new);
}
