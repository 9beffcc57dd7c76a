//! Whether distances are measured.

use super::Core;

impl Core {
    /// Whether any service finds its nearest region by measured distances. Else round trips are nobody's business, and
    /// neither the core nor its journal is told of them.
    #[must_use]
    pub const fn measures(&self) -> bool {
        self.asked.measured > 0
    }
}
