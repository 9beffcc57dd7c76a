//! A hub that stands by: it keeps what the other hub copies, sends agents on to the next address, writes nothing, and becomes
//! the hub when somebody promotes it.
//!
//! Two hubs never write for long. A promotion counts up the *epoch* that every policy is signed with. An agent takes no policy of
//! a lower epoch than it holds, and a hub that meets a higher one than its own was superseded: it ends, and does not start
//! again from its state (`office/epoch.rs`).

mod http;
mod kept;
mod refer;

use crate::run::{HubConfig, HubError, STOP_LIMIT, bind};
use kept::Kept;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tidegate_link::{
    access::{Door, Doorkeeper, local},
    identity::{Expect, Identity, accept},
};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The copy is looked at so often.
const LOOK: Duration = Duration::from_secs(1);

/// How standing by ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was stopped.
    Stopped,
    /// It is the hub from now on.
    Promoted,
}

/// Stands by for the hub that copies its state to `folder`, until it is promoted or stopped. A hub that was promoted before goes
/// on as the hub.
pub(crate) async fn run(
    config: &HubConfig,
    folder: PathBuf,
    stop: &CancellationToken,
) -> Result<Ended, HubError> {
    let kept = Arc::new(Kept::new(config, folder));
    if kept.is_hub()? {
        tracing::info!("this hub was promoted before; it goes on as the hub");
        return Ok(Ended::Promoted);
    }
    kept.look()?;
    let identity = kept.identity()?;
    let (ended, promoted) = (stop.child_token(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let listener = bind(config.listen, "agents").await?;
    let admin = bind(config.admin, "administration").await?;
    tracing::info!(address = %listener.local_addr().unwrap_or(config.listen), "stands by: sends agents on");
    tracing::info!(address = %admin.local_addr().unwrap_or(config.admin), "serves administration");
    let tls = identity.server(Expect::AnyAgent, true)?;
    let incoming = accept(listener, tls, identity.refusals().clone(), ended.clone());
    let agents = tonic::transport::Server::builder()
        .max_concurrent_streams(Some(16))
        .add_service(refer::enrolment())
        .add_service(refer::fleet());
    tasks.spawn(agents.serve_with_incoming_shutdown(incoming, ended.clone().cancelled_owned()));
    let router = http::router(Arc::clone(&kept), promoted.clone());
    if let Some(address) = config.admin_tls {
        let listener = bind(address, "administration by TLS").await?;
        let address = listener.local_addr().unwrap_or(address);
        let door = Door::open(listener, address, keeper(&kept, &identity), ended.clone())?;
        tracing::info!(%address, "serves people with tokens and certificates");
        tasks.spawn(door.serve(router.clone(), ended.clone()));
    }
    let router = router.layer(axum::middleware::from_fn(local));
    let http = axum::serve(admin, router).with_graceful_shutdown(ended.clone().cancelled_owned());
    tasks.spawn(async move { http.await });
    tasks.spawn(follow(Arc::clone(&kept), identity, ended.clone()));
    let outcome = tokio::select! {
        () = stop.cancelled() => Ended::Stopped,
        () = promoted.cancelled() => Ended::Promoted,
    };
    ended.cancel();
    tasks.close();
    if tokio::time::timeout(STOP_LIMIT, tasks.wait()).await.is_err() {
        tracing::warn!("some connections did not end in {} s and are cut", STOP_LIMIT.as_secs());
    }
    Ok(outcome)
}

/// The tokens are those of the copy.
fn keeper(kept: &Arc<Kept>, identity: &Identity) -> Doorkeeper {
    let kept = Arc::clone(kept);
    let known = move |kept_as: &str| kept.seen().grants.get(kept_as).cloned();
    Doorkeeper {
        identity: identity.clone(),
        known: Arc::new(known),
        needed: http::needed,
        limited: Arc::new(|_| {}),
        // It writes no audit log, and changes nothing.
        refused: Arc::new(|_| {}),
    }
}

/// Keeps what is copied, and its own certificate valid.
async fn follow(kept: Arc<Kept>, identity: Identity, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(LOOK) => {}
        }
        let (kept, identity) = (Arc::clone(&kept), identity.clone());
        let looked = spawn_blocking(move || {
            let changed = kept.look()?;
            if changed || identity.current().facts.renew_at() <= identity.now() {
                identity.swap(kept.credentials()?);
            }
            Ok::<_, HubError>(())
        });
        // What is wrong with the copy is kept for those who ask, too.
        if let Ok(Err(error)) = looked.await {
            tracing::error!(%error, "what is kept stays as it was");
        }
    }
}
