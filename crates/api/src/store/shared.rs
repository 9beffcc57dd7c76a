//! What many objects have in common, kept once: namespaces, services, zones, nodes, and how endpoints are described.

use crate::{
    config::Endpoint,
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
    endpoints: BTreeSet<Arc<Endpoint>>,
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
                    *endpoint = self.described(endpoint);
                }
            }
            _ => {}
        }
    }

    fn described(&mut self, endpoint: &Arc<Endpoint>) -> Arc<Endpoint> {
        if let Some(known) = self.endpoints.get(endpoint) {
            return Arc::clone(known);
        }
        let zone = known(&mut self.zones, &endpoint.zone);
        let node = endpoint.node.as_ref().map(|node| known(&mut self.texts, node));
        let described = Arc::new(Endpoint { zone, node, ..**endpoint });
        self.endpoints.insert(Arc::clone(&described));
        described
    }

    /// Forgets what may not be used any more, once it may be half of all: what is still used is only kept twice then.
    pub(super) fn sweep(&mut self) {
        let Self { texts, services, zones, endpoints, swept } = self;
        if texts.len() + services.len() + zones.len() + endpoints.len() > SMALL.max(2 * *swept) {
            endpoints.retain(|endpoint| Arc::strong_count(endpoint) > 1);
            texts.retain(|text| Arc::strong_count(text) > 1);
            // Of names it is not seen whether they are used: they are found again as they are read.
            services.clear();
            zones.clear();
            *swept = texts.len() + endpoints.len();
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
