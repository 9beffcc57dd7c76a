//! The doors of an agent, opened: who comes in at each follows from its address and from whether the cluster has an identity.

use super::{Bound, Callers, Door, Gatekeeper, Listen, ListenError, Services, Vouching, serve};
use crate::{error::AgentError, hub::Membership, run::Gateways};
use std::{path::Path, sync::Arc};
use tidegate_link::{PeerServer, Replicas, identity::Refusals};
use tidegate_xds::XdsServer;
use tokio_util::sync::CancellationToken;

/// Where gateways come in, before it is known who they are.
pub(crate) struct Doors<'a> {
    pub(crate) bound: Vec<(Listen, Bound)>,
    pub(crate) xds: &'a XdsServer,
    pub(crate) peers: &'a PeerServer,
    pub(crate) replicas: Option<&'a Replicas>,
    pub(crate) gateways: &'a Gateways,
    pub(crate) refusals: Option<Refusals>,
}

impl Doors<'_> {
    /// The servers of all of them. Nothing is served where it must not be.
    pub(crate) fn open(
        self,
        state: &Path,
        member: Option<&Membership>,
        stop: &CancellationToken,
    ) -> Result<impl Future<Output = Result<(), AgentError>> + use<>, AgentError> {
        let refusals = self.refusals.unwrap_or_default();
        let vouching = member.map(|member| {
            let domain = member.identity.current().bundle.trust_domain().clone();
            let gateways = Arc::clone(self.gateways);
            Vouching::open(state, domain, member.cluster.clone(), gateways, refusals.clone())
        });
        let vouching = vouching.transpose()?;
        let gatekeeper = member.zip(vouching.as_ref()).map(|(member, vouching)| {
            Gatekeeper::new(vouching, &member.identity, &member.cluster, refusals.clone())
        });
        let gatekeeper = gatekeeper.transpose()?;
        let callers = Callers { gateways: Arc::clone(self.gateways), refusals };
        let services = Services {
            xds: self.xds.clone(),
            peers: self.peers.clone(),
            replicas: self.replicas.cloned(),
            callers,
        };
        let mut served = Vec::new();
        let doors: Vec<(Door, Bound)> = self
            .bound
            .into_iter()
            .map(|(listen, bound)| Ok((listen.door(member.is_some())?, bound)))
            .collect::<Result<_, ListenError>>()?;
        let reached = member.is_none() || doors.iter().any(|(door, _)| *door == Door::Replicas);
        if self.replicas.is_some() && !reached {
            return Err(ListenError::NoReplicas.into());
        }
        for (door, bound) in doors {
            tracing::info!(
                address = %bound.address(),
                tls = member.is_some() && matches!(door, Door::Gateways | Door::Replicas),
                "serves {}",
                if door == Door::Replicas { "replicas" } else { "xDS, load reports and peer links" }
            );
            served.push(serve(bound, door, services.clone(), gatekeeper.clone(), stop.clone()));
        }
        let stop = stop.clone();
        Ok(async move {
            let vouched = async {
                if let Some(vouching) = vouching {
                    vouching.follow(stop).await;
                }
                Ok(())
            };
            futures::future::try_join(futures::future::try_join_all(served), vouched).await.map(drop)
        })
    }
}
