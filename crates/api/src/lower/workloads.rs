//! How many endpoints the workloads of a service want.

use crate::{
    kinds::{Kind, ServiceSpec, Spec, WorkloadSpec},
    store::Store,
};
use std::collections::BTreeMap;

/// The kinds that want pods.
const KINDS: [Kind; 3] = [Kind::Deployment, Kind::StatefulSet, Kind::ReplicaSet];

/// The workloads of a namespace, by each of their labels.
type ByLabel<'s> = BTreeMap<(&'s str, &'s str), Vec<&'s WorkloadSpec>>;

/// The workloads, looked at only where a service asks for them.
pub(super) struct Workloads<'s> {
    store: &'s Store,
    by_namespace: BTreeMap<String, ByLabel<'s>>,
}

impl<'s> Workloads<'s> {
    pub(super) const fn new(store: &'s Store) -> Self {
        Self { store, by_namespace: BTreeMap::new() }
    }

    /// How many the workloads of a service want together; `None` if there are none, or one does not say.
    pub(super) fn replicas(&mut self, service: &ServiceSpec) -> Option<u32> {
        let (name, value) = service.selector.iter().next()?;
        let namespace = service.name.namespace();
        if !self.by_namespace.contains_key(namespace) {
            self.by_namespace.insert(namespace.to_owned(), by_label(self.store, namespace));
        }
        let labelled = self.by_namespace.get(namespace)?.get(&(name.as_str(), value.as_str()))?;
        let mut selected = labelled.iter().filter(|workload| selects(service, workload)).peekable();
        selected.peek()?;
        selected.try_fold(0_u32, |sum, workload| Some(sum.saturating_add(workload.replicas?)))
    }
}

fn by_label<'s>(store: &'s Store, namespace: &str) -> ByLabel<'s> {
    let mut found = ByLabel::new();
    for kind in KINDS {
        let objects = store.in_namespace(kind, namespace);
        for workload in objects.filter_map(|object| object.spec.workload()) {
            for (name, value) in &workload.labels {
                found.entry((name, value)).or_default().push(workload);
            }
        }
    }
    found
}

/// Whether a service is served by the pods of a workload of its namespace.
fn selects(service: &ServiceSpec, workload: &WorkloadSpec) -> bool {
    let has = |(name, value)| workload.labels.get(name) == Some(value);
    !service.selector.is_empty() && service.selector.iter().all(has)
}

/// The services of a namespace that a workload is for, or was.
pub(super) fn served<'s>(
    store: &'s Store,
    namespace: &'s str,
    workload: &'s Spec,
) -> impl Iterator<Item = &'s ServiceSpec> {
    let workload = workload.workload();
    let services = store.in_namespace(Kind::Service, namespace).filter_map(|object| object.spec.service());
    services.filter(move |service| workload.is_some_and(|workload| selects(service, workload)))
}
