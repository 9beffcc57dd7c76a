//! Faults of drills at the admin address.

use super::{Ask, Failure, Shared, ask};
use crate::{
    drills::{DrillQuery, DrillView, Refusal, headroom},
    shell::{unix_micros, wall_clock},
    traffic::TrafficView,
    view::InForceView,
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use tidegate_link::access::Caller;
use tidegate_model::ServiceName;

/// What an agent's clock says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Now {
    /// Microseconds since 1970, by the clock that the timeline's records have.
    unix_micros: u64,
}

pub(super) async fn time() -> Json<Now> {
    Json(Now { unix_micros: unix_micros(wall_clock()) })
}

pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Vec<DrillView>>, Failure> {
    ask(&shared, Ask::Drills).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrafficQuery {
    /// Without it, of all.
    service: Option<String>,
}

pub(super) async fn traffic(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Query(TrafficQuery { service }): Query<TrafficQuery>,
) -> Result<Json<TrafficView>, Failure> {
    let service: Option<ServiceName> =
        service.map(|it| it.parse()).transpose().map_err(|error: tidegate_model::NameError| {
            Failure::Error(StatusCode::BAD_REQUEST, error.to_string())
        })?;
    caller.may_in(service.as_ref().map(ServiceName::namespace))?;
    ask(&shared, |answer| Ask::Traffic(service, answer)).await.map(Json)
}

pub(super) async fn in_force(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<InForceView>, Failure> {
    caller.may_in(None)?;
    ask(&shared, Ask::InForce).await.map(Json)
}

/// 400: it cannot be read. 404: nothing of the target is known, or here. 409: it would do harm.
pub(super) async fn start(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<DrillQuery>, QueryRejection>,
) -> Result<Json<DrillView>, Failure> {
    let Query(query) = query.map_err(|error| Failure::Error(StatusCode::BAD_REQUEST, error.body_text()))?;
    tracing::info!(who = caller.name, ?query, "the fault of a drill is asked for");
    let query = Box::new(query);
    let may = ask(&shared, |answer| Ask::MayDrill(query, answer)).await?;
    let (fault, fleet) = *may.map_err(refused)?;
    let judged = fault.clone();
    let work = tokio::task::spawn_blocking(move || headroom(fleet, &judged)).await;
    let failed =
        |_| Failure::Error(StatusCode::INTERNAL_SERVER_ERROR, "the headroom could not be judged".to_owned());
    work.map_err(failed)?.map_err(refused)?;
    ask(&shared, |answer| Ask::Drill(Box::new(fault), answer)).await?.map(Json).map_err(refused)
}

fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Unread(why) => Failure::Error(StatusCode::BAD_REQUEST, why),
        Refusal::Unknown(why) => Failure::Error(StatusCode::NOT_FOUND, why),
        Refusal::Harm(why) => Failure::Error(StatusCode::CONFLICT, why),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndQuery {
    /// By whom, for people.
    by: Option<String>,
}

pub(super) async fn end(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(query): Query<EndQuery>,
) -> Result<&'static str, Failure> {
    tracing::info!(who = caller.name, drill = id, "the end of a drill's fault is asked for");
    let by = query.by.unwrap_or_else(|| "by a word at the admin address".to_owned());
    match ask(&shared, |answer| Ask::EndDrill(id.clone(), by, answer)).await? {
        true => Ok("ended\n"),
        false => Err(Failure::Error(
            StatusCode::NOT_FOUND,
            format!("no fault of drill {id:?} runs here; GET /api/v1/drills lists them"),
        )),
    }
}
