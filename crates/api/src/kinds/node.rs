//! Core `Node`: whether the machine that endpoints run on is Ready, and in which zone it stands. A pod that goes away from a
//! node that is not Ready was lost, not removed.

use crate::{
    fields::{Fields, Issues},
    object::Meta,
    read,
};
use tidegate_model::Zone;

/// What a `Node` says.
#[derive(Debug, PartialEq)]
pub(crate) struct NodeSpec {
    pub(crate) name: String,
    /// The condition `Ready`; a node that says nothing of it is taken to be.
    pub(crate) ready: bool,
    /// The label `topology.kubernetes.io/zone`: the zone of endpoints of which no slice says it.
    pub(crate) zone: Option<Zone>,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<NodeSpec> {
    let mut ready = true;
    if let Some(mut status) = fields.map("status", issues) {
        for mut condition in status.maps("conditions", issues) {
            let kind = condition.value("type", issues, read::text);
            let value = condition.value("status", issues, read::any_text);
            if kind.is_some_and(|kind| kind.value == "Ready") {
                // "Unknown" is what Kubernetes writes when the node is silent. YAML may take True for a truth value.
                ready = value.is_some_and(|value| value.value.eq_ignore_ascii_case("true"));
            }
        }
    }
    Some(NodeSpec { name: meta.name.clone(), ready, zone: meta.zone.clone() })
}
