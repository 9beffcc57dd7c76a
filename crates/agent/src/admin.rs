//! The admin address: health, readiness, metrics, and the JSON that the command line reads. Who asks is known before anything here
//! runs: at the own machine it is anybody, elsewhere it is by token.

pub(crate) mod drills;
pub(crate) mod services;
mod shifts;

use crate::{
    access,
    drills::{DrillQuery, DrillView, Fault, Refusal},
    hub::Report,
    metrics,
    shifts::{NotExtended, ShiftQuery, ShiftView},
    teller::Telling,
    timeline::{Record, Timeline},
    traffic::TrafficView,
    view::{Explanation, InForceView, Status},
};
use axum::{
    Extension, Json, Router,
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use services::Foresight;
use std::{sync::Arc, time::Duration};
use tidegate_engine::{Asked, Clients, Engine, FleetState, Foresight as Foreseen, Shift, Target, foresee};
use tidegate_link::access::{Caller, Denied};
use tidegate_model::{ServiceName, Time};
use tidegate_status::webhook::Counts;
use tokio::sync::{mpsc, oneshot};

/// One answer to `/api/v1/decisions` holds at most so many records.
pub(crate) const PAGE: usize = 1000;

/// A shift, and a copy of the engine at a time, to begin it in.
pub(crate) type Trial = (Shift, Engine, Time);

/// A question to the loop that owns the state.
#[derive(Debug)]
pub(crate) enum Ask {
    /// What is waited for; empty when ready.
    Pending(oneshot::Sender<Vec<String>>),
    /// All of it.
    Status(oneshot::Sender<Status>),
    /// What the hub is told.
    Report(oneshot::Sender<Report>),
    /// One service; `None` comes back if it is unknown.
    Explain(ServiceName, oneshot::Sender<Option<Box<Explanation>>>),
    /// The fleet as it is seen from here; `None` before the first manifests.
    Fleet(oneshot::Sender<Option<Box<FleetState>>>),
    /// Let traffic back to a target that waits for a word. What comes back is whether the service is known.
    Release(ServiceName, Target, oneshot::Sender<bool>),
    /// The shifts in force.
    Shifts(oneshot::Sender<Vec<ShiftView>>),
    /// Move traffic away. What comes back is the shift in force, or why it is not.
    Shift(Box<ShiftQuery>, oneshot::Sender<Result<ShiftView, String>>),
    /// The faults of drills.
    Drills(oneshot::Sender<Vec<DrillView>>),
    /// What goes where: of one service, or of all.
    Traffic(Option<ServiceName>, oneshot::Sender<TrafficView>),
    /// What is in force here, for whoever runs a drill.
    InForce(oneshot::Sender<InForceView>),
    /// Whether a drill may break something, as far as the loop can say at once; the fleet to judge the rest by.
    MayDrill(Box<DrillQuery>, oneshot::Sender<Result<Box<(Fault, FleetState)>, Refusal>>),
    /// Break something. What comes back is what runs, or why nothing does.
    Drill(Box<Fault>, oneshot::Sender<Result<DrillView, Refusal>>),
    /// End the fault of a drill. What comes back is whether there was one.
    EndDrill(String, String, oneshot::Sender<bool>),
    /// What would be, if traffic were moved away: what to try it with.
    WouldShift(Box<ShiftQuery>, oneshot::Sender<Result<Box<Trial>, String>>),
    /// Let a shift last so long from now. What comes back is the shift, or why it does not.
    ExtendShift(String, Duration, oneshot::Sender<Result<ShiftView, NotExtended>>),
    /// End a shift. What comes back is whether there was one of that name.
    EndShift(String, oneshot::Sender<bool>),
}

#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) timeline: Arc<Timeline>,
    /// Its cluster and its life.
    pub(crate) agent: Arc<str>,
    /// Who tells the objects of a Kubernetes API, where there is one.
    pub(crate) telling: Option<Telling>,
    /// What became of events for webhooks, where there are any.
    pub(crate) hooks: Option<Arc<Counts>>,
    /// What became of spans, where there is a collector.
    pub(crate) spans: Option<Arc<tidegate_status::otlp::Counts>>,
    pub(crate) foresight: Foresight,
}

/// The routes of the admin address.
pub(crate) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/api/v1/status", get(status))
        .route("/api/v1/explain/{namespace}/{name}", get(explain))
        .route("/api/v1/decisions", get(decisions))
        .route("/api/v1/contingency", get(contingency))
        .route("/api/v1/release", post(release))
        .route("/api/v1/services", get(services::services))
        .route("/api/v1/shifts", get(shifts::list).post(shifts::begin))
        // Declared ones are called NAMESPACE/NAME.
        .route("/api/v1/shifts/{*name}", delete(shifts::end).post(shifts::extend))
        .route("/api/v1/shift-preview", get(shifts::preview))
        .route("/api/v1/drills", get(drills::list).post(drills::start))
        .route("/api/v1/drills/{id}", delete(drills::end))
        // Not below drills: what has an id stands there.
        .route("/api/v1/traffic", get(drills::traffic))
        .route("/api/v1/in-force", get(drills::in_force))
        .route("/api/v1/time", get(drills::time))
        .with_state(shared)
}

/// An error as JSON: what is wrong and what to do.
pub(crate) enum Failure {
    Error(StatusCode, String),
    /// Somebody is not let.
    Denied(Denied),
}

impl Failure {
    /// The status and what is wrong.
    pub(crate) fn parts(self) -> (StatusCode, String) {
        match self {
            Self::Error(status, text) => (status, text),
            Self::Denied(denied) => (StatusCode::FORBIDDEN, denied.to_string()),
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Error(status, text) => (status, Json(serde_json::json!({ "error": text }))).into_response(),
            Self::Denied(denied) => denied.into_response(),
        }
    }
}

/// The query of a request. One that cannot be read is told of like any other mistake.
pub(crate) struct Fields<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Fields<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let unread = |error: QueryRejection| Failure::Error(StatusCode::BAD_REQUEST, error.body_text());
        Query::try_from_uri(&parts.uri).map(|Query(it)| Self(it)).map_err(unread)
    }
}

async fn ask<T>(shared: &Shared, make: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Failure> {
    let busy = || {
        Failure::Error(
            StatusCode::SERVICE_UNAVAILABLE,
            "the agent is stopping or overloaded; ask again".to_owned(),
        )
    };
    let (answer, answered) = oneshot::channel();
    shared.asks.send(make(answer)).await.map_err(|_| busy())?;
    answered.await.map_err(|_| busy())
}

async fn readyz(State(shared): State<Shared>) -> Result<Response, Failure> {
    let pending = ask(&shared, Ask::Pending).await?;
    if pending.is_empty() {
        return Ok("ready\n".into_response());
    }
    Ok((StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({ "pending": pending }))).into_response())
}

async fn metrics_text(State(shared): State<Shared>) -> Result<Response, Failure> {
    let status = ask(&shared, Ask::Status).await?;
    let foreseen = shared.foresight.known(&shared).await;
    let mut text = metrics::text(&status, foreseen.as_deref(), shared.timeline.last());
    text.extend(shared.telling.as_ref().map(Telling::metrics));
    text.extend(shared.hooks.as_ref().map(|it| it.metrics()));
    text.extend(shared.spans.as_ref().map(|it| it.metrics()));
    Ok(([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

async fn status(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Status>, Failure> {
    Ok(Json(access::limited(ask(&shared, Ask::Status).await?, &caller)))
}

fn service_name(namespace: &str, name: &str) -> Result<ServiceName, Failure> {
    ServiceName::new(namespace, name)
        .map_err(|error| Failure::Error(StatusCode::BAD_REQUEST, error.to_string()))
}

fn unknown(service: &ServiceName) -> Failure {
    Failure::Error(
        StatusCode::NOT_FOUND,
        format!(
            "no service {service} in this cluster's manifests\n  hint: tidegate get services names those that are"
        ),
    )
}

async fn explain(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Explanation>, Failure> {
    caller.may_in(Some(&namespace))?;
    let service = service_name(&namespace, &name)?;
    let answer = ask(&shared, |answer| Ask::Explain(service.clone(), answer)).await?;
    answer.map(|explanation| Json(*explanation)).ok_or_else(|| unknown(&service))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn decisions(State(shared): State<Shared>, Fields(query): Fields<After>) -> Json<Vec<Record>> {
    Json(shared.timeline.after(query.after, PAGE))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContingencyQuery {
    /// Places that are lost together, with commas; without it, each in turn.
    #[serde(default)]
    lose: String,
    /// Each pair in turn.
    #[serde(default)]
    pairs: bool,
    #[serde(default)]
    clients: Clients,
}

/// What if: as far as this cluster's agent sees the fleet, which is its own callers and every pool that they can use.
async fn contingency(
    State(shared): State<Shared>,
    Fields(query): Fields<ContingencyQuery>,
) -> Result<Json<Foreseen>, Failure> {
    let unready = || {
        Failure::Error(
            StatusCode::SERVICE_UNAVAILABLE,
            "the agent has no manifests yet; ask again".to_owned(),
        )
    };
    let state = ask(&shared, Ask::Fleet).await?.ok_or_else(unready)?;
    let names = query.lose.split(',').filter(|name| !name.is_empty());
    let lose: Result<Vec<_>, _> = names.map(|name| state.location(name)).collect();
    let lose = lose.map_err(|error| {
        let known = error.known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Failure::Error(StatusCode::BAD_REQUEST, format!("{error}; its places are: {known}"))
    })?;
    let asked = match (lose.is_empty(), query.pairs) {
        (false, _) => Asked::Together(lose),
        (true, true) => Asked::Pairs,
        (true, false) => Asked::Each,
    };
    // Of a large fleet this is seconds of work, which neither the loop nor a thread of the runtime has to spare.
    let work = tokio::task::spawn_blocking(move || foresee(&state, &asked, query.clients));
    let failed = |_| {
        Failure::Error(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered".to_owned())
    };
    work.await.map(Json).map_err(failed)
}

#[derive(Deserialize)]
struct ReleaseQuery {
    service: String,
    target: String,
}

async fn release(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Fields(query): Fields<ReleaseQuery>,
) -> Result<&'static str, Failure> {
    let bad = |error: String| Failure::Error(StatusCode::BAD_REQUEST, error);
    let service: ServiceName = query.service.parse().map_err(|error| bad(format!("{error}")))?;
    caller.may_in(Some(service.namespace()))?;
    let target: Target = query.target.parse().map_err(|error| bad(format!("{error}")))?;
    match ask(&shared, |answer| Ask::Release(service.clone(), target, answer)).await? {
        true => Ok("released\n"),
        false => Err(unknown(&service)),
    }
}
