//! How drills are asked for at the admin address.

use super::{DrillRefusal, MAX_REPORT, Wish};
use crate::{
    admin::{Failure, Fields, Shared, refused, work},
    office::OfficeError,
    view::{DoneView, DrillKeysView, DrillProgressView, DrillSchedulesView, DrillView},
};
use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::StringRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tidegate_api::SourceFile;
use tidegate_link::access::Caller;

/// One answer has at most so many rows.
const PAGE: usize = 1000;
/// A manifest with one drill.
const MAX_DRILL: usize = 256 << 10;
/// Who waits for news of a drill is answered at the latest then.
const NEWS: Duration = Duration::from_secs(5);

/// What belongs to drills.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/api/v1/drill-reports", get(list).post(keep).layer(DefaultBodyLimit::max(MAX_REPORT)))
        .route("/api/v1/drill-reports/{id}", get(show))
        .route("/api/v1/drill-keys", get(keys))
        .route("/api/v1/drills", get(running).post(run).layer(DefaultBodyLimit::max(MAX_DRILL)))
        .route("/api/v1/drills/{id}", get(progress).delete(stop))
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
    Fields(query): Fields<ListQuery>,
) -> Result<Json<Vec<DrillView>>, Failure> {
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

async fn running(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Json<Vec<DrillProgressView>> {
    let running = shared.office.drill_current().filter(|it| !it.done);
    Json(running.into_iter().filter(|it| caller.sees(&format!("Drill {}", it.drill))).collect())
}

/// The body is the manifest of one drill.
async fn run(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    text: String,
) -> Result<Json<DrillProgressView>, Failure> {
    let office = Arc::clone(&shared.office);
    let source = SourceFile { path: "the drill".to_owned(), text };
    work(shared, move |_| Ok(office.start_drill(&Wish { source: &source, by: &caller.name, due: None })?))
        .await
        .map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewsQuery {
    /// What is known already: the answer comes when there is something newer, or after a few seconds.
    #[serde(default)]
    after: u64,
}

async fn progress(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Fields(query): Fields<NewsQuery>,
) -> Result<Json<DrillProgressView>, Failure> {
    let sees = |it: &DrillProgressView| caller.sees(&format!("Drill {}", it.drill));
    let found = shared.office.drill_progress(&id).filter(|it| sees(&it.borrow()));
    let unknown =
        || Failure(StatusCode::NOT_FOUND, format!("no drill {id} runs here\n  hint: tidegate drill list"));
    let mut news = found.ok_or_else(unknown)?;
    let newer = news.wait_for(|it| it.done || it.number > query.after);
    // What is known is told again when nothing new came.
    let _ = tokio::time::timeout(NEWS, newer).await;
    let view = news.borrow().clone();
    Ok(Json(view))
}

/// Comes back once it is mended.
async fn stop(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<DoneView>, Failure> {
    let stopped = shared.office.stop_drill(&id, &caller.name).await;
    let done = stopped.map_err(|refusal: DrillRefusal| refused(&refusal))?;
    let said = done.clone();
    work(shared, move |office| {
        Ok(office.audit(&caller.name, "drillStopped", said).map_err(OfficeError::from)?)
    })
    .await?;
    Ok(Json(DoneView { done }))
}

async fn keys(State(shared): State<Shared>) -> Json<DrillKeysView> {
    Json(shared.office.drill_keys())
}
