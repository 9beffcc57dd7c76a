//! Verdicts that are told and not found: a drill says that a place is dead, and the decision is made as if it were. No endpoint is
//! touched.
//!
//! One acts as a verdict on a place does (see `steer`): it drains the own pools that it covers, never a service's last healthy
//! place, and what it drained comes back by hold-down and ramp. Unlike one by evidence, no request that succeeds there spares
//! its pool. Nothing of it is kept on disk here; who tells it tells it again.

use crate::{contingency::Location, shift::ShiftTarget};
use std::{collections::BTreeMap, sync::Arc};
use tidegate_model::ServiceName;

/// The verdicts in force, by the name of who told them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts(BTreeMap<String, (ShiftTarget, Arc<str>)>);

impl Verdicts {
    /// Whether that is news.
    pub(crate) fn tell(&mut self, name: String, target: ShiftTarget, why: Arc<str>) -> bool {
        let said = (target, why);
        self.0.insert(name, said.clone()).is_none_or(|before| before != said)
    }

    /// Whether there was one of that name.
    pub(crate) fn end(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Those about a service: where it is said to be dead, and the sentence of it.
    pub(crate) fn about(&self, service: &ServiceName) -> impl Iterator<Item = (&Location, &Arc<str>)> {
        let about = move |it: &&(ShiftTarget, Arc<str>)| it.0.service.as_ref().is_none_or(|it| it == service);
        self.0.values().filter(about).map(|(target, why)| (&target.location, why))
    }
}
