//! How drills are asked for at the admin address.

use super::MAX_REPORT;
use crate::{
    admin::{Failure, Shared, work},
    view::{DrillKeysView, DrillSchedulesView, DrillView},
};
use axum::{
    Extension, Json, Router,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{QueryRejection, StringRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use tidegate_link::access::Caller;

/// One answer has at most so many rows.
const PAGE: usize = 1000;

/// What belongs to drills.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/api/v1/drill-reports", get(list).post(keep).layer(DefaultBodyLimit::max(MAX_REPORT)))
        .route("/api/v1/drill-reports/{id}", get(show))
        .route("/api/v1/drill-keys", get(keys))
        .route("/api/v1/drill-schedules", get(schedules))
}

fn json(body: Vec<u8>) -> Response {
    ([("content-type", "application/json")], body).into_response()
}

async fn keep(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<String, StringRejection>,
) -> Result<Response, Failure> {
    let text = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Failure(error.status(), format!("a report has at most {MAX_REPORT} bytes"))
        }
        status => Failure(status, error.body_text()),
    })?;
    work(shared, move |office| Ok(office.keep_drill(&text, &caller)?)).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    drill: Option<String>,
    limit: Option<usize>,
}

async fn list(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<DrillView>>, Failure> {
    let Query(query) = query.map_err(|error| Failure(StatusCode::BAD_REQUEST, error.body_text()))?;
    let limit = query.limit.unwrap_or(PAGE).min(PAGE);
    work(shared, move |office| Ok(office.drill_views(&caller, query.drill.as_deref(), limit)?))
        .await
        .map(Json)
}

async fn show(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    work(shared, move |office| Ok(office.drill_report(&caller, &id)?)).await.map(json)
}

async fn schedules(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<DrillSchedulesView>, Failure> {
    work(shared, move |office| Ok(office.schedules_view(&caller)?)).await.map(Json)
}

async fn keys(State(shared): State<Shared>) -> Json<DrillKeysView> {
    Json(shared.office.drill_keys())
}
