//! `Deployment`, `StatefulSet`, `ReplicaSet`: how many pods are wanted of a service.

use super::labels;
use crate::{
    fields::{Fields, Issues},
    object::Meta,
    read,
};
use std::collections::BTreeMap;

/// What a workload says.
#[derive(Debug, PartialEq)]
pub(crate) struct WorkloadSpec {
    pub(crate) namespace: String,
    /// The labels of its pods.
    pub(crate) labels: BTreeMap<String, String>,
    /// How many it wants; `None` where it is not written, as with an autoscaler.
    pub(crate) replicas: Option<u32>,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<WorkloadSpec> {
    let mut spec = fields.map("spec", issues)?;
    let replicas = spec.value("replicas", issues, read::integer(0..=MAX_REPLICAS)).map(|it| it.value);
    let mut template = spec.map("template", issues)?;
    let labels = template.map("metadata", issues).map(|mut it| labels::read(&mut it, "labels", issues));
    let (namespace, labels) = (meta.namespace.clone(), labels.unwrap_or_default());
    Some(WorkloadSpec { namespace, labels, replicas })
}

/// Far above what one cluster can run.
const MAX_REPLICAS: u32 = 1_000_000;
