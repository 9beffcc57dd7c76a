//! Whether distances are measured.

use super::Core;
use tidegate_engine::Proximity;

impl Core {
    /// Whether any service finds its nearest region by measured distances. Else round trips are nobody's business, and
    /// neither the core nor its journal is told of them.
    #[must_use]
    pub fn measures(&self) -> bool {
        let by = |service: &tidegate_api::Service| service.policy.engine.proximity.value;
        self.config.services.values().any(|service| by(service) == Proximity::Measured)
    }
}
