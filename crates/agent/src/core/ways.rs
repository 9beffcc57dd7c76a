//! Where other clusters are reached: the addresses of their east-west gateways that are written, and those that names lead to.

use super::{Core, Output};
use crate::saved::Resolved;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};
use tidegate_api::Config;
use tidegate_model::{ClusterName, Time};

/// The gateways of each other cluster that has any.
pub(super) type Ways = BTreeMap<ClusterName, Vec<SocketAddr>>;

/// The host names by which `own` finds the gateways of others.
#[must_use]
pub fn gateway_names(config: &Config, own: &ClusterName) -> BTreeSet<String> {
    let others = config.clusters.iter().filter(|(name, _)| *name != own);
    others.flat_map(|(_, it)| it.named_gateways.iter().map(|gateway| gateway.host.clone())).collect()
}

pub(super) fn ways(config: &Config, own: &ClusterName, resolved: &Resolved) -> Ways {
    let others = config.clusters.iter().filter(|(name, _)| *name != own);
    let ways = others.map(|(name, it)| {
        let mut gateways = it.east_west_gateways.clone();
        for gateway in &it.named_gateways {
            let found = resolved.get(&gateway.host).into_iter().flatten();
            gateways.extend(found.map(|address| SocketAddr::new(*address, gateway.port)));
        }
        // A name may lead to what is written, or to what another name leads to.
        gateways.sort_unstable();
        gateways.dedup();
        (name.clone(), gateways)
    });
    ways.filter(|(_, gateways)| !gateways.is_empty()).collect()
}

impl Core {
    /// Takes in where names lead now. Of a name that is not among them, the last good addresses stay.
    pub(super) fn resolve(&mut self, found: Resolved, now: Time, output: &mut Output) {
        let found = found.into_iter().filter(|(_, addresses)| !addresses.is_empty());
        let before = self.resolved.clone();
        self.resolved.extend(found);
        if self.resolved == before {
            return;
        }
        self.unsaved = true;
        if self.engine.is_some() && ways(&self.config, &self.own, &self.resolved) != self.ways {
            let config = Arc::clone(&self.config);
            self.set_manifests(&config, now, output);
        }
    }

    /// Forgets names that no manifest has any more.
    pub(super) fn forget_names(&mut self) {
        let named = gateway_names(&self.config, &self.own);
        let known = self.resolved.len();
        self.resolved.retain(|host, _| named.contains(host));
        self.unsaved |= self.resolved.len() < known;
    }
}
