//! Which services are fleet-wide, where that has to be said: by a `ServiceExport`, or by their namespace.

use crate::{config::Reach, object::Object};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidegate_model::ServiceName;

/// What was said of it.
#[derive(Debug, Default)]
pub(super) struct Exports {
    /// Whether it has to be said at all.
    pub(super) only: bool,
    named: BTreeSet<ServiceName>,
    /// Namespaces of which all services are exported.
    namespaces: BTreeSet<Arc<str>>,
    /// What is used from here and served elsewhere.
    imports: BTreeMap<ServiceName, Arc<Object>>,
}

impl Exports {
    /// Which clusters have to do with a service.
    pub(super) fn reach(&self, name: &ServiceName) -> Reach {
        match () {
            () if !self.only || self.named.contains(name) || self.namespaces.contains(name.namespace()) => {
                Reach::Fleet
            }
            () if self.imports.contains_key(name) => Reach::Import,
            () => Reach::Cluster,
        }
    }

    /// What says that it is served elsewhere.
    pub(super) fn import(&self, name: &ServiceName) -> Option<&Arc<Object>> {
        self.imports.get(name)
    }

    pub(super) fn set_export(&mut self, name: &ServiceName, exported: bool) {
        match exported {
            true => self.named.insert(name.clone()),
            false => self.named.remove(name),
        };
    }

    pub(super) fn set_import(&mut self, name: &ServiceName, import: Option<Arc<Object>>) {
        match import {
            Some(import) => self.imports.insert(name.clone(), import),
            None => self.imports.remove(name),
        };
    }

    /// Whether that is news.
    pub(super) fn set_namespace(&mut self, name: &Arc<str>, exported: bool) -> bool {
        match exported {
            true => self.namespaces.insert(Arc::clone(name)),
            false => self.namespaces.remove(name),
        }
    }
}
