//! Texts that many objects have in common, kept once: namespaces, services, zones and nodes.

use crate::{
    kinds::Spec,
    object::{Object, ObjectKey},
};
use std::{collections::BTreeSet, sync::Arc};
use tidegate_model::{ServiceName, Zone};

/// Below this number of texts nothing is swept.
const SMALL: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Shared {
    texts: BTreeSet<Arc<str>>,
    services: BTreeSet<ServiceName>,
    zones: BTreeSet<Zone>,
    /// How many there were after the last sweep.
    swept: usize,
}

impl Shared {
    /// Lets an object that was just read have what is there already.
    pub(super) fn share(&mut self, key: &mut ObjectKey, object: Option<&mut Object>) {
        key.namespace = known(&mut self.texts, &key.namespace);
        let Some(object) = object else { return };
        object.key.namespace = Arc::clone(&key.namespace);
        match &mut object.spec {
            Spec::Service(spec) => spec.name = known(&mut self.services, &spec.name),
            Spec::Slice(spec) => {
                spec.service = known(&mut self.services, &spec.service);
                for (_, endpoint) in &mut spec.endpoints {
                    endpoint.zone = known(&mut self.zones, &endpoint.zone);
                    if let Some(node) = &mut endpoint.node {
                        *node = known(&mut self.texts, node);
                    }
                }
            }
            _ => {}
        }
    }

    /// Forgets what may not be used any more, once it may be half of all: what is still used is only kept twice then.
    pub(super) fn sweep(&mut self) {
        let Self { texts, services, zones, swept } = self;
        if texts.len() + services.len() + zones.len() > SMALL.max(2 * *swept) {
            texts.retain(|text| Arc::strong_count(text) > 1);
            // Of names it is not seen whether they are used: they are found again as they are read.
            services.clear();
            zones.clear();
            *swept = texts.len();
        }
    }
}

fn known<T: Ord + Clone>(all: &mut BTreeSet<T>, wanted: &T) -> T {
    if let Some(known) = all.get(wanted) {
        return known.clone();
    }
    all.insert(wanted.clone());
    wanted.clone()
}
