//! What the hub answers of the whole fleet at its admin address: services, explanations, foresight, and shifts, with the JSON that an
//! agent has.

use super::{Page, answers::Answer};
use axum::{
    Extension, Json, Router,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{delete, get},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidegate_link::access::Caller;
use tidegate_model::ServiceName;
use tidegate_web::{Trouble, model::ServiceRow};

/// An agent answers so soon.
const SOON: Duration = Duration::from_secs(3);
/// What a shift would do takes an agent of a large fleet longer; the command line waits 10 s.
const PREVIEW: Duration = Duration::from_secs(8);

pub(crate) fn routes(page: Arc<Page>) -> Router {
    Router::new()
        .route("/api/v1/fleet", get(fleet))
        .route("/api/v1/services", get(services))
        .route("/api/v1/explain/{namespace}/{name}", get(explain))
        .route("/api/v1/contingency", get(contingency))
        .route("/api/v1/shifts", get(shifts).post(start))
        .route("/api/v1/shifts/{*name}", delete(end).post(extend))
        .route("/api/v1/shift-preview", get(preview))
        .with_state(page)
}

fn failed(trouble: &Trouble) -> Response {
    let status = match trouble {
        Trouble::Unknown(_) => StatusCode::NOT_FOUND,
        Trouble::Denied(_) => StatusCode::FORBIDDEN,
        Trouble::Refused(_) => StatusCode::BAD_REQUEST,
        Trouble::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(json!({ "error": trouble.to_string() }))).into_response()
}

fn answered<T: serde::Serialize>(found: Result<T, Trouble>) -> Response {
    found.map_or_else(|trouble| failed(&trouble), |found| Json(found).into_response())
}

fn sees(caller: &Caller, service: &ServiceName) -> bool {
    caller.may_in(Some(service.namespace())).is_ok()
}

/// The picture that the page is drawn from.
async fn fleet(State(page): State<Arc<Page>>) -> Response {
    Json(&*page.newest_fleet()).into_response()
}

async fn services(State(page): State<Arc<Page>>, Extension(caller): Extension<Caller>) -> Response {
    let fleet = page.newest_fleet();
    let rows: Vec<&ServiceRow> = fleet.services.iter().filter(|it| sees(&caller, &it.name)).collect();
    Json(rows).into_response()
}

/// The agents' explanations, one for each cluster that has the service.
async fn explain(
    State(page): State<Arc<Page>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    if let Err(denied) = caller.may_in(Some(&namespace)) {
        return denied.into_response();
    }
    let service = match ServiceName::new(&namespace, &name) {
        Ok(service) => service,
        Err(error) => return failed(&Trouble::Refused(error.to_string())),
    };
    let found = page.all::<Value>(&format!("/api/v1/explain/{service}"), SOON).await;
    answered(found.map(|(answers, _)| answers.into_iter().map(|(_, it)| it).collect::<Vec<_>>()))
}

/// What each agent says of the own callers of its cluster, by cluster, and why others say nothing.
async fn contingency(State(page): State<Arc<Page>>, RawQuery(query): RawQuery) -> Response {
    let query = query.map(|it| format!("?{it}")).unwrap_or_default();
    told_by_cluster(page.ask_all(&format!("/api/v1/contingency{query}"), super::answers::FORESEE).await)
}

/// Answers by cluster. Who does not know the place that is asked for has nothing to say of it; if nobody does, that is the answer.
fn told_by_cluster(found: Vec<Answer>) -> Response {
    let (mut clusters, mut missing, mut refused) = (BTreeMap::new(), BTreeMap::new(), None);
    for (cluster, answer) in found {
        match answer {
            Ok((200, body)) => {
                clusters.insert(cluster, serde_json::from_slice::<Value>(&body).unwrap_or_default());
            }
            Ok((400, body)) => refused = Some(super::answers::error_of(&body)),
            Ok((_, body)) => {
                missing.insert(cluster, super::answers::error_of(&body));
            }
            Err(why) => {
                missing.insert(cluster, why);
            }
        }
    }
    match refused.filter(|_| clusters.is_empty()) {
        Some(why) => failed(&Trouble::Refused(why)),
        None => Json(json!({ "clusters": clusters, "missing": missing })).into_response(),
    }
}

/// As the agents tell of them now; one that several carry is one.
async fn shifts(State(page): State<Arc<Page>>, Extension(caller): Extension<Caller>) -> Response {
    let found = match page.all::<Vec<Value>>("/api/v1/shifts", SOON).await {
        Ok((found, _)) => found,
        Err(trouble) => return failed(&trouble),
    };
    let mut shifts: BTreeMap<(String, String), Value> = BTreeMap::new();
    for shift in found.into_iter().flat_map(|(_, it)| it) {
        let text = |field: &str| shift.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let service = shift.get("service").and_then(Value::as_str).and_then(|it| it.parse().ok());
        if service.is_none_or(|it: ServiceName| sees(&caller, &it)) {
            shifts.entry((text("name"), text("by"))).or_insert(shift);
        }
    }
    Json(shifts.into_values().collect::<Vec<_>>()).into_response()
}

fn told(done: Result<super::spread::Told, Trouble>) -> Response {
    match done {
        Ok(told) => ([("content-type", "application/json")], told.body).into_response(),
        Err(trouble) => failed(&trouble),
    }
}

/// What each agent says of it, and why others say nothing. The fields are those of [`start`]; nothing is begun.
async fn preview(
    State(page): State<Arc<Page>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    if let Err(denied) = caller.may_in(super::spread::namespace(&query).as_deref()) {
        return denied.into_response();
    }
    let query = match page.with_region(&query) {
        Ok(query) => query,
        Err(trouble) => return failed(&trouble),
    };
    told_by_cluster(page.ask_all_for(&caller, &format!("/api/v1/shift-preview?{query}"), PREVIEW).await)
}

async fn start(
    State(page): State<Arc<Page>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    if let Err(denied) = caller.may_in(super::spread::namespace(&query).as_deref()) {
        return denied.into_response();
    }
    told(page.start_shift(&caller, &query).await)
}

async fn extend(
    State(page): State<Arc<Page>>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(name) = path.strip_suffix("/extend") else {
        let text = format!("POST /api/v1/shifts/{path} is nothing; POST .../NAME/extend is");
        return failed(&Trouble::Refused(text));
    };
    if let Err(denied) = page.may_touch(&caller, name) {
        return denied.into_response();
    }
    let lasts = query.as_deref().and_then(|it| it.strip_prefix("for="));
    let Some(lasts) = lasts else {
        return failed(&Trouble::Refused("say how long: for=30m, at most 72 hours".to_owned()));
    };
    told(page.extend_shift(&caller, name, lasts).await)
}

async fn end(
    State(page): State<Arc<Page>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    if let Err(denied) = page.may_touch(&caller, &name) {
        return denied.into_response();
    }
    match page.end_shift(&caller, &name).await {
        Ok(_) => "ended\n".into_response(),
        Err(trouble) => failed(&trouble),
    }
}
