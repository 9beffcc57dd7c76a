//! The admin address of a hub that stands by: it says so, and can be promoted.

use super::kept::Kept;
use crate::{
    admin::Failure,
    run::HubError,
    view::{DoneView, StandbyView},
};
use axum::{
    Extension, Json, Router,
    extract::State,
    http::{Method, StatusCode},
    routing::{get, post},
};
use std::sync::Arc;
use tidegate_link::access::{Caller, Needed, Role};
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
struct Shared {
    kept: Arc<Kept>,
    promoted: CancellationToken,
}

/// The routes; `promoted` is cancelled once it is.
pub(super) fn router(kept: Arc<Kept>, promoted: CancellationToken) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/api/v1/standby", get(standby))
        .route("/api/v1/promote", post(promote))
        .fallback(elsewhere)
        .with_state(Shared { kept, promoted })
}

/// What a request needs; whatever is not named is answered by where to ask.
pub(super) fn needed(method: &Method, path: &str) -> Option<Needed> {
    match (method, path) {
        (&Method::GET, "/healthz" | "/readyz") => None,
        (&Method::GET, _) => Some(Needed::of(Role::Viewer)),
        _ => Some(Needed::everywhere(Role::Admin)),
    }
}

async fn metrics(State(shared): State<Shared>) -> String {
    let view = shared.kept.view();
    let age = view.copy_age_ms.unwrap_or(0);
    format!(
        "# HELP tidegate_hub_stands_by Whether this hub stands by for another one.\n# TYPE tidegate_hub_stands_by gauge\n\
         tidegate_hub_stands_by 1\n# HELP tidegate_hub_copy_age_seconds How old the copy is that would be taken over.\n\
         # TYPE tidegate_hub_copy_age_seconds gauge\ntidegate_hub_copy_age_seconds {}.{:03}\n",
        age / 1000,
        age % 1000
    )
}

async fn standby(State(shared): State<Shared>) -> Json<StandbyView> {
    Json(shared.kept.view())
}

async fn promote(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<DoneView>, Failure> {
    let kept = Arc::clone(&shared.kept);
    let done = tokio::task::spawn_blocking(move || kept.promote(&caller.name)).await;
    let failed = |error| Failure(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}"));
    let epoch = done.map_err(failed)?.map_err(|error: HubError| Failure::from(error))?;
    shared.promoted.cancel();
    let view = shared.kept.view();
    let done = format!(
        "this hub is the hub from now on, with epoch {epoch}; it goes on from policy {} of a copy {} s old",
        view.sequence,
        view.copy_age_ms.unwrap_or(0) / 1000
    );
    Ok(Json(DoneView { done }))
}

async fn elsewhere(State(shared): State<Shared>) -> Failure {
    let view = shared.kept.view();
    let (age, of) = (view.copy_age_ms.unwrap_or(0) / 1000, view.copy.unwrap_or_default());
    let text = format!(
        "this hub stands by for the one that copies to {of} (policy {}, {age} s old); ask that one, or make this one the hub: tidegate hub promote",
        view.sequence
    );
    Failure(StatusCode::SERVICE_UNAVAILABLE, text)
}
