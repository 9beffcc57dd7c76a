//! What of the core must survive a restart: as a whole, and what changed of it.

use super::Core;
use crate::saved::{AgentPart, SavedAgent};
use tidegate_engine::Engine;
use tidegate_model::Time;

impl Core {
    /// What must survive a restart.
    #[must_use]
    pub fn save(&self, now: Time) -> Option<SavedAgent> {
        let engine = self.engine.as_ref()?.save(now);
        let (sources, declared_shifts) = (self.sources.clone(), self.declared.clone());
        let actions = self.actions.all(now).collect();
        let drills = self.drills.at(now).collect();
        Some(SavedAgent {
            engine,
            sources,
            declared_shifts,
            actions,
            resolved: self.resolved.clone(),
            drills,
        })
    }

    /// What changed since it was taken last, as it stands at `now`: the oldest, at most `limit` parts and one. With `all`,
    /// also what is not worth a write yet, for an agent that stops.
    pub fn take_unsaved(&mut self, limit: usize, all: bool, now: Time) -> Vec<AgentPart> {
        let Some(engine) = &mut self.engine else { return Vec::new() };
        let parts = engine.take_unsaved(limit, all, now).into_iter().map(AgentPart::Engine);
        let rest = std::mem::take(&mut self.unsaved).then(|| AgentPart::Agent {
            sources: self.sources.clone(),
            declared_shifts: self.declared.clone(),
            actions: self.actions.all(now).collect(),
            resolved: self.resolved.clone(),
            drills: self.drills.at(now).collect(),
        });
        rest.into_iter().chain(parts).collect()
    }

    /// Forgets what changed, for an owner who keeps the whole or nothing: else it would wait for ever.
    pub fn forget_unsaved(&mut self) {
        self.unsaved = false;
        if let Some(engine) = &mut self.engine {
            engine.forget_unsaved();
        }
    }

    /// How much waits to be taken.
    #[must_use]
    pub fn unsaved(&self) -> usize {
        self.engine.as_ref().map_or(0, Engine::unsaved) + usize::from(self.unsaved)
    }

    /// What was taken is lost: all of it has to be saved again.
    pub fn mark_unsaved(&mut self) {
        self.unsaved = true;
        if let Some(engine) = &mut self.engine {
            engine.mark_unsaved();
        }
    }
}
