//! The admin address: health, metrics, and the JSON that the command line reads. It asks nobody who they are, so it is
//! bound to loopback only (`run` sees to that).

use crate::{
    metrics,
    office::{Office, OfficeError, Resumed},
    run::HubError,
    view::{AuditView, ClusterView, DoneView, HistoryView, RolloutView, TokenView},
};
use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tidegate_model::ClusterName;
use tokio::sync::Notify;

/// One answer holds at most so many records of the audit log.
const PAGE: usize = 1000;

#[derive(Clone)]
struct Shared {
    office: Arc<Office>,
    reload: Arc<Notify>,
}

pub(crate) fn router(office: Arc<Office>, reload: Arc<Notify>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ready\n" }))
        .route("/metrics", get(metrics_text))
        .route("/api/v1/clusters", get(clusters))
        .route("/api/v1/clusters/{cluster}/revoke", post(revoke))
        .route("/api/v1/tokens", post(token))
        .route("/api/v1/rollout", get(rollout))
        .route("/api/v1/rollout/resume", post(resume))
        .route("/api/v1/rollout/rollback", post(roll_back))
        .route("/api/v1/rollout/history", get(history))
        .route("/api/v1/reload", post(reload_source))
        .route("/api/v1/audit", get(audit))
        .with_state(Shared { office, reload })
}

/// An error as JSON: what is wrong and what to do.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        match &error {
            HubError::Office(
                office @ (OfficeError::Ttl
                | OfficeError::Tokens
                | OfficeError::NothingToResume
                | OfficeError::NoSuchPolicy(_)
                | OfficeError::SamePolicy(_)),
            ) => Self(StatusCode::BAD_REQUEST, office.to_string()),
            other => Self(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
        }
    }
}

/// The store syncs to disk, which no thread of the runtime has to wait for.
async fn work<T: Send + 'static>(
    shared: Shared,
    job: impl FnOnce(&Office) -> Result<T, HubError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(move || job(&shared.office)).await;
    let failed =
        |_| Failure(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered".to_owned());
    Ok(done.map_err(failed)??)
}

async fn metrics_text(State(shared): State<Shared>) -> impl IntoResponse {
    let office = &shared.office;
    let numbers = metrics::Numbers {
        sequence: office.newest().sequence(),
        objects: office.newest().objects.len(),
        halted: office.policy.borrow().halted,
        halts: office.halts.load(std::sync::atomic::Ordering::Relaxed),
        problems: office.problems().len(),
        sessions: office.fleet().sessions(),
        refusals: office.identity.refusals().counts(),
    };
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], metrics::text(&numbers))
}

async fn clusters(State(shared): State<Shared>) -> Result<Json<Vec<ClusterView>>, Failure> {
    work(shared, |office| Ok(office.cluster_views()?)).await.map(Json)
}

async fn rollout(State(shared): State<Shared>) -> Result<Json<RolloutView>, Failure> {
    work(shared, |office| Ok(office.rollout_view()?)).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenQuery {
    cluster: ClusterName,
    ttl_s: u64,
}

async fn token(
    State(shared): State<Shared>,
    query: Result<Query<TokenQuery>, QueryRejection>,
) -> Result<Json<TokenView>, Failure> {
    let Query(query) = query.map_err(|error| Failure(StatusCode::BAD_REQUEST, error.body_text()))?;
    let made =
        work(shared, move |office| Ok(office.make_token(&query.cluster, Duration::from_secs(query.ttl_s))?));
    let made = made.await?;
    Ok(Json(TokenView { token: made.token.reveal(), ttl_s: made.ttl.as_secs() }))
}

async fn revoke(
    State(shared): State<Shared>,
    Path(cluster): Path<String>,
) -> Result<Json<DoneView>, Failure> {
    let cluster: ClusterName =
        cluster.parse().map_err(|error| Failure(StatusCode::BAD_REQUEST, format!("{error}")))?;
    let name = cluster.clone();
    let count = work(shared, move |office| office.revoke(&name)).await?;
    if count == 0 {
        let text =
            format!("no valid certificate was issued to {cluster}; tidegate cluster list names the clusters");
        return Err(Failure(StatusCode::NOT_FOUND, text));
    }
    let done = format!(
        "{count} certificates of {cluster} are revoked; to let it back: tidegate cluster join-token {cluster}"
    );
    Ok(Json(DoneView { done }))
}

async fn resume(State(shared): State<Shared>) -> Result<Json<DoneView>, Failure> {
    let reload = Arc::clone(&shared.reload);
    let done = match work(shared, |office| office.resume("operator")).await? {
        Resumed::Over(sequence) => {
            format!("policy {sequence} of this hub is handed out over what the agents hold")
        }
        Resumed::Goes(sequence) => format!("the rollout of policy {sequence} goes on"),
        Resumed::Source(objects) => {
            reload.notify_one();
            format!("the source counts again for {objects} objects that were rolled back")
        }
    };
    Ok(Json(DoneView { done }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackQuery {
    to: Option<String>,
}

async fn roll_back(
    State(shared): State<Shared>,
    query: Result<Query<RollbackQuery>, QueryRejection>,
) -> Result<Json<DoneView>, Failure> {
    let Query(query) = query.map_err(|error| Failure(StatusCode::BAD_REQUEST, error.body_text()))?;
    let done = work(shared, move |office| office.roll_back(query.to.as_deref(), "operator"));
    let (former, sequence) = done.await?;
    let done = format!("policy {former} is handed out to all clusters again, as policy {sequence}");
    Ok(Json(DoneView { done }))
}

async fn history(State(shared): State<Shared>) -> Result<Json<Vec<HistoryView>>, Failure> {
    work(shared, |office| Ok(office.history_view()?)).await.map(Json)
}

async fn reload_source(State(shared): State<Shared>) -> &'static str {
    shared.reload.notify_one();
    "reading the policy again\n"
}

#[derive(Deserialize)]
struct AuditQuery {
    #[serde(default = "page")]
    limit: usize,
}

const fn page() -> usize {
    100
}

async fn audit(
    State(shared): State<Shared>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Vec<AuditView>>, Failure> {
    work(shared, move |office| Ok(office.audit_view(query.limit.min(PAGE))?)).await.map(Json)
}
