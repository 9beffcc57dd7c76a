//! Which services are fleet-wide: a namespace may say so of all of its own. A `ServiceExport` says it of one by its name alone.

use crate::object::Meta;

/// What a core `Namespace` says.
#[derive(Debug, PartialEq)]
pub(crate) struct NamespaceSpec {
    /// Whether all its services are exported: its label `tidegate.dev/export` is `true`.
    pub(crate) exported: bool,
}

/// The label of a namespace of which every service is exported.
pub(crate) const EXPORT: &str = "tidegate.dev/export";

pub(super) fn read_namespace(meta: &Meta) -> NamespaceSpec {
    NamespaceSpec { exported: meta.labels.get(EXPORT).is_some_and(|value| value == "true") }
}
