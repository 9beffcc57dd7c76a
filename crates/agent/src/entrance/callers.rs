//! Who is at the other end of a connection, and whether a client is who it says it is.

use crate::run::{Gateways, gateway_of, grpc_client};
use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};
use tidegate_api::GatewayRole;
use tidegate_link::identity::{Clock as _, Party, PeerInfo, Refusals, SystemClock};
use tidegate_model::GatewayName;
use tidegate_xds::{Caller, NodeInfo};
use tonic::{Request, Status};

/// What is known of a caller that shows no certificate: it is no gateway.
const NO_GATEWAY: &str = "";

/// Tells handlers who calls.
#[derive(Clone, Debug)]
pub(crate) struct Callers {
    pub(crate) gateways: Gateways,
    pub(crate) refusals: Refusals,
}

impl Callers {
    /// A gateway, by the certificate that the handshake has verified. One in the last third of its life is told of with
    /// each stream.
    pub(crate) fn gateway(mut request: Request<()>) -> Result<Request<()>, Status> {
        let facts = request.extensions().get::<PeerInfo>().and_then(|info| info.certificate.as_ref());
        let id = facts.and_then(|facts| facts.id.as_ref());
        let Some(Party::Envoy(_, gateway)) = id.map(|id| &id.party) else {
            return Err(Status::unauthenticated("only gateways are served here"));
        };
        if facts.is_some_and(|facts| facts.renew_at() <= SystemClock.now()) {
            tracing::warn!(
                %gateway,
                "the certificate of its Envoys ends soon, and nobody renewed it: tidegate envoy renew on their host, or \
                 tidegate envoy certificate --gateway {gateway} here"
            );
        }
        let caller = Caller(gateway.to_string().into());
        request.extensions_mut().insert(caller);
        Ok(request)
    }

    /// Somebody without a certificate.
    pub(crate) fn nobody(mut request: Request<()>) -> Result<Request<()>, Status> {
        request.extensions_mut().insert(Caller(Arc::from(NO_GATEWAY)));
        Ok(request)
    }

    /// Peer links come through east-west gateways. An edge's word about who is at the other end is not believed.
    pub(crate) fn only_eastwest(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let name =
            request.extensions().get::<Caller>().map(|caller| Arc::clone(&caller.0)).unwrap_or_default();
        let gateways = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
        let role = name.parse::<GatewayName>().ok().and_then(|name| gateways.get(&name).copied());
        if role == Some(GatewayRole::EastWest) {
            drop(gateways);
            return Ok(request);
        }
        let why = format!("a peer link through gateway {name} is refused: it is no east-west gateway");
        self.refusals.note("other_gateway", &why, Instant::now());
        Err(Status::permission_denied(why))
    }
}

/// Whether a client is who it says it is, as far as its connection tells. Of who is not, the refusal says why.
///
/// # Errors
/// If it is not.
pub(crate) fn believed(node: &NodeInfo, refusals: Option<&Refusals>) -> Result<(), String> {
    let Some(Caller(caller)) = &node.caller else { return Ok(()) };
    let says = gateway_of(node).map(|(gateway, _)| gateway.to_string());
    let why = match says {
        _ if &**caller == NO_GATEWAY && grpc_client(node).is_some() => return Ok(()),
        Ok(says) if *says == **caller => return Ok(()),
        Ok(says) if &**caller == NO_GATEWAY => {
            format!("gateway {says} shows no certificate; gateways come by TLS or a Unix socket")
        }
        Ok(says) => format!("it says that it is of gateway {says}, and its certificate is of {caller}"),
        Err(_) => format!("it does not say that it is of gateway {caller}, as its certificate does"),
    };
    if let Some(refusals) = refusals {
        let text = format!("node {:?} is refused: {why}", node.id.chars().take(200).collect::<String>());
        refusals.note("other_gateway", &text, Instant::now());
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_xds::NodeLocality;

    fn node(gateway: &str, agent: &str, caller: Option<&str>) -> NodeInfo {
        let named = (!gateway.is_empty()).then(|| ("gateway".to_owned(), gateway.to_owned()));
        NodeInfo {
            id: "n".to_owned(),
            locality: NodeLocality { zone: "a".to_owned(), ..NodeLocality::default() },
            metadata: named.into_iter().collect(),
            user_agent_name: agent.to_owned(),
            caller: caller.map(|it| Caller(it.into())),
            ..NodeInfo::default()
        }
    }

    #[test]
    fn peer_links_come_through_east_west_gateways_only() {
        let roles = [("shop/edge", GatewayRole::Edge), ("shop/eastwest", GatewayRole::EastWest)];
        let gateways = roles.map(|(name, role)| (name.parse().unwrap(), role)).into();
        let callers =
            Callers { gateways: Arc::new(std::sync::RwLock::new(gateways)), refusals: Refusals::default() };
        let through = |gateway: Option<&str>| {
            let mut request = Request::new(());
            if let Some(gateway) = gateway {
                request.extensions_mut().insert(Caller(gateway.into()));
            }
            callers.only_eastwest(request).map(drop).map_err(|status| status.code())
        };
        assert_eq!(through(Some("shop/eastwest")), Ok(()));
        for other in [Some("shop/edge"), Some("shop/gone"), Some(NO_GATEWAY), None] {
            assert_eq!(through(other), Err(tonic::Code::PermissionDenied), "{other:?}");
        }
        assert_eq!(callers.refusals.counts()["other_gateway"], 4);
    }

    #[test]
    fn a_certificate_binds_a_node_to_its_gateway() {
        let refusals = Refusals::default();
        let believed = |gateway: &str, agent: &str, caller: Option<&str>| {
            believed(&node(gateway, agent, caller), Some(&refusals))
        };
        for (gateway, agent, caller) in [
            ("shop/edge", "envoy", Some("shop/edge")),
            ("shop/edge", "envoy", None),
            ("", "gRPC C-core", None),
            ("", "gRPC C-core", Some(NO_GATEWAY)),
        ] {
            assert_eq!(believed(gateway, agent, caller), Ok(()), "{gateway} {agent} {caller:?}");
        }
        for (gateway, agent, caller) in [
            ("shop/edge", "envoy", Some("shop/other")),
            ("shop/edge", "envoy", Some(NO_GATEWAY)),
            ("", "gRPC C-core", Some("shop/edge")),
            ("", "envoy", Some("shop/edge")),
            ("", "envoy", Some(NO_GATEWAY)),
        ] {
            assert!(believed(gateway, agent, caller).is_err(), "{gateway} {agent} {caller:?}");
        }
        assert_eq!(refusals.counts()["other_gateway"], 5);
    }
}
