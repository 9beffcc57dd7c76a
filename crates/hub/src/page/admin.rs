//! What the hub answers of the whole fleet at its admin address: services, explanations, foresight, and shifts, with the JSON that an
//! agent has.

use super::Page;
use axum::{
    Extension, Json, Router,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{delete, get},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidegate_link::access::{Caller, Denied, Needed, Role};
use tidegate_model::ServiceName;
use tidegate_web::{Trouble, model::ServiceRow};

/// An agent answers so soon.
const SOON: Duration = Duration::from_secs(3);

pub(crate) fn routes(page: Arc<Page>) -> Router {
    Router::new()
        .route("/api/v1/fleet", get(fleet))
        .route("/api/v1/services", get(services))
        .route("/api/v1/explain/{namespace}/{name}", get(explain))
        .route("/api/v1/contingency", get(contingency))
        .route("/api/v1/shifts", get(shifts).post(start))
        .route("/api/v1/shifts/{*name}", delete(end).post(extend))
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
    let found = page.ask_all(&format!("/api/v1/contingency{query}"), super::answers::FORESEE).await;
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

/// Whether somebody may change what concerns this service.
fn allowed(caller: &Caller, service: Option<&ServiceName>) -> Result<(), Denied> {
    caller.may(Needed::of(Role::Operator))?;
    caller.may_in(service.map(ServiceName::namespace))
}

fn told(done: Result<super::spread::Told, Trouble>) -> Response {
    match done {
        Ok(told) => ([("content-type", "application/json")], told.body).into_response(),
        Err(trouble) => failed(&trouble),
    }
}

async fn start(
    State(page): State<Arc<Page>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Response {
    // Whose namespace it is the agent judges, by whom it is told of.
    told(page.start_shift(&caller, &query.unwrap_or_default()).await)
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
    if let Err(denied) = allowed(&caller, page.service_of_shift(name).as_ref()) {
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
    if let Err(denied) = allowed(&caller, page.service_of_shift(&name).as_ref()) {
        return denied.into_response();
    }
    match page.end_shift(&caller, &name).await {
        Ok(_) => "ended\n".into_response(),
        Err(trouble) => failed(&trouble),
    }
}
