//! What changed of a [`Config`], so that whoever follows it pays for the change and not for the fleet.

use crate::{
    certificate::Certificate,
    config::{Config, FleetCluster, Gateway, Service, TrafficShift},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use tidegate_model::{ClusterName, GatewayName, ServiceName};

/// What is new in a [`Config`]; what is not named is as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigChange {
    /// All clusters, if one of them changed.
    pub clusters: Option<BTreeMap<ClusterName, FleetCluster>>,
    /// Services that are new or changed; `None` for those that are gone.
    pub services: BTreeMap<ServiceName, Option<Arc<Service>>>,
    /// Gateways that are new or changed; `None` for those that are gone.
    pub gateways: BTreeMap<GatewayName, Option<Gateway>>,
    /// Certificates that are new or changed; `None` for those that no gateway shows any more.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, Option<Arc<Certificate>>>,
    /// All shifts, if one of them changed.
    pub shifts: Option<BTreeMap<String, TrafficShift>>,
}

impl ConfigChange {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { clusters, services, gateways, certificates, shifts } = self;
        let whole = clusters.is_none() && shifts.is_none();
        whole && services.is_empty() && gateways.is_empty() && certificates.is_empty()
    }

    /// This change and then a later one, as one. It never grows beyond the names that there are and were.
    pub fn then(&mut self, later: Self) {
        let Self { clusters, mut services, mut gateways, mut certificates, shifts } = later;
        self.clusters = clusters.or_else(|| self.clusters.take());
        self.services.append(&mut services);
        self.gateways.append(&mut gateways);
        self.certificates.append(&mut certificates);
        self.shifts = shifts.or_else(|| self.shifts.take());
    }
}

impl Config {
    /// Takes a change in.
    pub fn apply(&mut self, change: &ConfigChange) {
        let ConfigChange { clusters, services, gateways, certificates, shifts } = change;
        if let Some(clusters) = clusters {
            self.clusters.clone_from(clusters);
        }
        for (name, service) in services {
            match service {
                Some(service) => self.services.insert(name.clone(), Arc::clone(service)),
                None => self.services.remove(name),
            };
        }
        for (name, gateway) in gateways {
            match gateway {
                Some(gateway) => self.gateways.insert(name.clone(), gateway.clone()),
                None => self.gateways.remove(name),
            };
        }
        for (name, certificate) in certificates {
            match certificate {
                Some(certificate) => self.certificates.insert(name.clone(), Arc::clone(certificate)),
                None => self.certificates.remove(name),
            };
        }
        if let Some(shifts) = shifts {
            self.shifts.clone_from(shifts);
        }
    }
}
