//! Faults of drills at the admin address, and the same for the hub, which asks over its stream (`hub::drills`).

use super::{Ask, Failure, Fields, Shared, ask};
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
use std::sync::Arc;
use tidegate_link::access::Caller;
use tidegate_model::ServiceName;

/// What an agent's clock says, and who it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Now {
    /// Microseconds since 1970, by the clock that the timeline's records have.
    unix_micros: u64,
    /// Its cluster and its life: the same by whichever way it is asked.
    agent: Arc<str>,
    /// The number of its last record; 0 before the first.
    last: u64,
}

pub(crate) fn now(shared: &Shared) -> Now {
    let (agent, last) = (Arc::clone(&shared.agent), shared.timeline.last());
    Now { unix_micros: unix_micros(wall_clock()), agent, last }
}

pub(super) async fn time(State(shared): State<Shared>) -> Json<Now> {
    Json(now(&shared))
}

pub(crate) async fn faults(shared: &Shared) -> Result<Vec<DrillView>, Failure> {
    ask(shared, Ask::Drills).await
}

pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Vec<DrillView>>, Failure> {
    faults(&shared).await.map(Json)
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
    Fields(TrafficQuery { service }): Fields<TrafficQuery>,
) -> Result<Json<TrafficView>, Failure> {
    let service = service.as_deref().map(named).transpose()?;
    caller.may_in(service.as_ref().map(ServiceName::namespace))?;
    goes_where(&shared, service).await.map(Json)
}

/// The service of this name.
pub(crate) fn named(service: &str) -> Result<ServiceName, Failure> {
    let unread =
        |error: tidegate_model::NameError| Failure::Error(StatusCode::BAD_REQUEST, error.to_string());
    service.parse().map_err(unread)
}

/// What goes where: of one service, or of all.
pub(crate) async fn goes_where(
    shared: &Shared,
    service: Option<ServiceName>,
) -> Result<TrafficView, Failure> {
    ask(shared, |answer| Ask::Traffic(service, answer)).await
}

pub(super) async fn in_force(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<InForceView>, Failure> {
    caller.may_in(None)?;
    what_is_in_force(&shared).await.map(Json)
}

pub(crate) async fn what_is_in_force(shared: &Shared) -> Result<InForceView, Failure> {
    ask(shared, Ask::InForce).await
}

pub(super) async fn start(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<DrillQuery>, QueryRejection>,
) -> Result<Json<DrillView>, Failure> {
    let Query(query) = query.map_err(|error| unread(&error))?;
    begin(&shared, &caller.name, query).await.map(Json)
}

/// What is asked for cannot be read: who asks may be newer.
pub(crate) fn unread(error: &QueryRejection) -> Failure {
    let version = env!("CARGO_PKG_VERSION");
    let why = format!("{}: this agent is Tidegate {version}; a newer one may know more", error.body_text());
    Failure::Error(StatusCode::BAD_REQUEST, why)
}

/// Begins a fault, or only says whether it would. 400: it cannot be read. 404: nothing of the target is known, or here. 409: it
/// would do harm.
pub(crate) async fn begin(shared: &Shared, who: &str, query: DrillQuery) -> Result<DrillView, Failure> {
    let only_asked = query.dry_run;
    if !only_asked {
        tracing::info!(who, ?query, "the fault of a drill is asked for");
    }
    let query = Box::new(query);
    let may = ask(shared, |answer| Ask::MayDrill(query, answer)).await?;
    let (fault, fleet) = *may.map_err(refused)?;
    let judged = fault.clone();
    let work = tokio::task::spawn_blocking(move || headroom(fleet, &judged)).await;
    let failed =
        |_| Failure::Error(StatusCode::INTERNAL_SERVER_ERROR, "the headroom could not be judged".to_owned());
    work.map_err(failed)?.map_err(refused)?;
    if only_asked {
        return Ok(fault.into());
    }
    ask(shared, |answer| Ask::Drill(Box::new(fault), answer)).await?.map_err(refused)
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
    Fields(query): Fields<EndQuery>,
) -> Result<&'static str, Failure> {
    let by = query.by.unwrap_or_else(|| "by a word at the admin address".to_owned());
    mend(&shared, &caller.name, id, by).await.map(|()| "ended\n")
}

/// Ends the fault of a drill. 404: there is none.
pub(crate) async fn mend(shared: &Shared, who: &str, id: String, by: String) -> Result<(), Failure> {
    tracing::info!(who, drill = id, "the end of a drill's fault is asked for");
    if ask(shared, |answer| Ask::EndDrill(id.clone(), by, answer)).await? {
        return Ok(());
    }
    Err(Failure::Error(
        StatusCode::NOT_FOUND,
        format!("no fault of drill {id:?} runs here\n  hint: tidegate get drills names those that do"),
    ))
}
