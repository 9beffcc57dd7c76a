//! Finds the other replicas: the addresses that are given, and those that a name leads to.

use super::{MAX_REPLICAS, ReplicaConfig, Shared, client};
use crate::identity::{Expect, Party};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::lookup_host,
    time::{sleep, timeout},
};
use tokio_util::sync::DropGuard;

/// A replica that is new is found within this. Resolvers keep answers for about as long.
const LOOK_UP_EVERY: Duration = Duration::from_secs(3);
/// A name server that does not answer is asked again.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(2);

/// Keeps a link to each of them until the agent ends.
pub(super) async fn run(shared: Arc<Shared>, config: ReplicaConfig) {
    let expect = Expect::Exactly(Party::Agent(config.own.clone()));
    let tls = match config.identity.as_ref().map(|identity| identity.client(expect)).transpose() {
        Ok(tls) => tls,
        Err(error) => {
            tracing::error!(%error, "no link to other replicas can be made");
            return;
        }
    };
    let mut links: BTreeMap<SocketAddr, DropGuard> = BTreeMap::new();
    let mut found = BTreeSet::new();
    loop {
        if let Some(name) = &config.name {
            found = look_up(name, found).await;
        }
        let wanted = wanted(&config.addresses, &found);
        links.retain(|address, _| wanted.contains(address));
        for address in wanted {
            links.entry(address).or_insert_with(|| {
                let cancel = shared.shutdown.child_token();
                let (guard, shared, tls) = (cancel.clone().drop_guard(), Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    cancel.run_until_cancelled(client::run(shared, address, tls)).await;
                });
                guard
            });
        }
        tokio::select! {
            () = sleep(LOOK_UP_EVERY), if config.name.is_some() => {}
            () = shared.shutdown.cancelled() => return,
        }
    }
}

/// What the name leads to; what it led to last if nothing is found.
async fn look_up(name: &str, last: BTreeSet<SocketAddr>) -> BTreeSet<SocketAddr> {
    match timeout(LOOK_UP_WITHIN, lookup_host(name)).await {
        Ok(Ok(found)) => {
            let found: BTreeSet<SocketAddr> = found.collect();
            if found.is_empty() { last } else { found }
        }
        Ok(Err(error)) => {
            tracing::warn!(name, %error, known = last.len(), "the replicas' name leads nowhere; known addresses stay");
            last
        }
        Err(_) => {
            tracing::warn!(
                name,
                known = last.len(),
                "the replicas' name is not answered; known addresses stay"
            );
            last
        }
    }
}

/// One more than there are others: the name leads to us too.
fn wanted(given: &[SocketAddr], found: &BTreeSet<SocketAddr>) -> BTreeSet<SocketAddr> {
    given.iter().chain(found).copied().take(MAX_REPLICAS + 1).collect()
}
