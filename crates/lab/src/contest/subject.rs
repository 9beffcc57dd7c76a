//! A contestant that runs and serves, with its endpoints.

use super::{
    Layout, SERVICE, config,
    contestant::{ContestError, Contestant, Programs, START_LIMIT},
    proxy::Proxy,
};
use crate::{
    clock::LabClock,
    fetch,
    fleet::{Binaries, ClusterSpec, Fleet, FleetSpec, PolicySpec, spec::known},
    toy::{Toy, ToySpec},
};
use serde_json::Value;
use std::{fs, net::SocketAddr, path::Path, time::Duration};

/// How long one may take to say how it is.
const PAGE_LIMIT: Duration = Duration::from_secs(2);

/// One that runs and serves. Dropping it kills its processes.
#[derive(Debug)]
pub enum Subject {
    /// Tidegate.
    Fleet(Layout, Box<Fleet>),
    /// A proxy.
    Proxy(Layout, Box<Proxy>),
}

impl Subject {
    /// Starts one, and waits until it serves. Must be called within a tokio runtime.
    pub async fn start(
        contestant: Contestant,
        layout: Layout,
        programs: &Programs,
    ) -> Result<Self, ContestError> {
        let program = programs.of(contestant).ok_or(ContestError::Absent(contestant))?;
        if contestant == Contestant::Tidegate {
            let binaries = Binaries { tidegate: program, envoy: programs.envoy.clone() };
            let mut fleet = Fleet::start(fleet_spec(layout)?, &binaries)?;
            fleet.ready(START_LIMIT).await?;
            return Ok(Self::Fleet(layout, Box::new(fleet)));
        }
        let mut proxy = Proxy::start(contestant, layout, program)?;
        proxy.ready().await?;
        Ok(Self::Proxy(layout, Box::new(proxy)))
    }

    /// Where it listens for requests.
    #[must_use]
    pub fn listen(&self) -> Option<SocketAddr> {
        match self {
            Self::Fleet(_, fleet) => {
                fleet.addresses(&fleet.spec().clusters.first()?.name).ok()?.edge.map(|it| it.gateway)
            }
            Self::Proxy(_, proxy) => Some(proxy.listen),
        }
    }

    /// Its endpoints at home.
    #[must_use]
    pub fn home(&self) -> Vec<&Toy> {
        let toys = match self {
            Self::Fleet(_, fleet) => fleet.toys(),
            Self::Proxy(_, proxy) => &proxy.toys,
        };
        let is_home = |toy: &&Toy| {
            let ToySpec { cluster, zone, .. } = toy.spec();
            self.layout().is_home(cluster.as_str(), zone.as_str())
        };
        toys.iter().filter(is_home).collect()
    }

    /// Which places it has.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        match self {
            Self::Fleet(layout, _) | Self::Proxy(layout, _) => *layout,
        }
    }

    /// Its time.
    #[must_use]
    pub const fn clock(&self) -> LabClock {
        match self {
            Self::Fleet(_, fleet) => fleet.clock(),
            Self::Proxy(_, proxy) => proxy.clock,
        }
    }

    /// Writes what it says of itself into a folder: statistics and hosts of an Envoy, status and timeline of an agent.
    /// Other proxies say nothing.
    pub async fn keep(&self, folder: &Path) -> Result<(), ContestError> {
        let envoy = |admin| [("stats.txt", admin, "/stats"), ("clusters.txt", admin, "/clusters")];
        let mut pages = Vec::new();
        match self {
            Self::Fleet(_, fleet) => {
                if let Some(cluster) = fleet.spec().clusters.first() {
                    let addresses = fleet.addresses(&cluster.name)?;
                    let agent = addresses.agent_admin;
                    pages.extend(addresses.edge.into_iter().flat_map(|it| envoy(it.admin)));
                    pages.push(("status.json", agent, "/api/v1/status"));
                    pages.push(("decisions.json", agent, "/api/v1/decisions?after=0"));
                }
            }
            Self::Proxy(_, proxy) if proxy.contestant == Contestant::Envoy => {
                pages.extend(envoy(proxy.admin));
            }
            Self::Proxy(..) => {}
        }
        fs::create_dir_all(folder)
            .map_err(|cause| ContestError::Io { what: "cannot make the folder", cause })?;
        for (file, address, path) in pages {
            let text = fetch::get(address, None, path, PAGE_LIMIT).await?.1;
            fs::write(folder.join(file), text)
                .map_err(|cause| ContestError::Io { what: "cannot write what was said", cause })?;
        }
        Ok(())
    }

    /// Ends it.
    pub async fn stop(self) {
        match self {
            Self::Fleet(_, fleet) => fleet.stop().await,
            Self::Proxy(_, mut proxy) => {
                if let Err(error) = proxy.child.kill().await {
                    tracing::warn!(%error, "a proxy did not end");
                }
            }
        }
    }
}

/// The clusters and zones of a layout with one service, and the policy of `configs/tidegate.yaml`.
fn fleet_spec(layout: Layout) -> Result<FleetSpec, ContestError> {
    let policy: Value = serde_saphyr::from_str(config::TIDEGATE)?;
    let (places, each) = layout.places();
    let mut clusters: Vec<ClusterSpec> = Vec::new();
    for (name, zone) in places {
        match clusters.iter_mut().find(|cluster| cluster.name == name) {
            Some(cluster) => cluster.zones.push(zone),
            None => clusters.push(ClusterSpec {
                region: known(name.as_str()),
                name,
                zones: vec![zone],
                workloads: true,
                edge: true,
            }),
        }
    }
    let demo = FleetSpec::demo();
    Ok(FleetSpec {
        clusters,
        services: vec![known(SERVICE)],
        endpoints_per_zone: u32::try_from(each).unwrap_or(u32::MAX),
        policy: PolicySpec {
            // The file says all of it anew.
            more: policy["spec"].as_object().cloned().unwrap_or_default(),
            ..demo.policy
        },
        ..demo
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tidegates_fleet_is_as_large_as_the_others_and_has_the_policy_of_the_file() {
        for (layout, size) in [(Layout::Zones, (1, 2, 4)), (Layout::Clusters, (2, 2, 2))] {
            let spec = fleet_spec(layout).unwrap();
            let found = (spec.clusters.len(), spec.clusters[0].zones.len(), spec.endpoints_per_zone);
            assert_eq!(found, size, "{layout}");
        }
        let spec = fleet_spec(Layout::Clusters).unwrap();
        let regions = spec.clusters.iter().map(|cluster| &cluster.region);
        let apart: Vec<_> = regions.map(|region| spec.rtt(&spec.clusters[0].region, region)).collect();
        assert_eq!(apart, [None, Some(Duration::from_millis(65))]);
        assert_eq!(spec.policy.more["failback"]["holdDown"], "30s");
        assert_eq!(spec.services, [known(SERVICE)]);
    }
}
