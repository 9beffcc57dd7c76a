//! What gateways show to other clusters and whom they believe, on its way to them: from the hub's word straight into the xDS
//! store. It passes neither the core nor the journal, and nothing here is ever logged.

use crate::{hub::GatewaySecrets, translate::set};
use tidegate_envoy::{identity_secret, trust_secret};
use tidegate_xds::{Scope, XdsServer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What every gateway of a cluster with an identity sees, and nobody else.
pub(crate) fn scope() -> Scope {
    Scope::new("identity")
}

/// Hands over what there is now, and whatever replaces it until `stop`. Envoy exchanges certificates without a change of
/// listeners or clusters, so no connection ends by it.
pub(crate) async fn follow(
    mut secrets: watch::Receiver<Option<GatewaySecrets>>,
    xds: XdsServer,
    stop: CancellationToken,
) {
    loop {
        hand_over(secrets.borrow_and_update().as_ref(), &xds);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = secrets.changed() => if changed.is_err() { return },
        }
    }
}

/// Puts secrets into the store; without any, gateways wait.
pub(crate) fn hand_over(secrets: Option<&GatewaySecrets>, xds: &XdsServer) {
    let Some(secrets) = secrets else { return };
    let GatewaySecrets { chain, key, trust_domain, roots, revocations } = secrets;
    let both = [identity_secret(chain, key), trust_secret(trust_domain, roots, revocations)];
    xds.store().apply(both.map(|secret| set(scope(), secret)).into());
    xds.declare([scope()]);
}
