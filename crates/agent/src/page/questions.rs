//! What the hub asks this agent for its own page: the same facts, before they are put together with those of other clusters. Only the
//! hub's words come here; the admin address has no such routes.

use super::Page;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tidegate_model::{ClusterName, Region, ServiceName, Zone};
use tidegate_web::{Loss, ShiftAsked, Source as _, Trouble};

/// The routes, below `/facts`.
pub(crate) fn routes(page: Arc<Page>) -> Router {
    Router::new()
        .route("/facts/services/{namespace}/{name}", get(service))
        .route("/facts/timeline", get(timeline))
        .route("/facts/foresight", get(foresight))
        .route("/facts/preview", get(preview))
        .route("/facts/risks", get(risks))
        .with_state(page)
}

fn answer<T: Serialize>(found: Result<T, Trouble>) -> Response {
    let status = match &found {
        Ok(_) => StatusCode::OK,
        Err(Trouble::Unknown(_)) => StatusCode::NOT_FOUND,
        Err(Trouble::Denied(_)) => StatusCode::FORBIDDEN,
        Err(Trouble::Refused(_)) => StatusCode::CONFLICT,
        Err(Trouble::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
    };
    match found {
        Ok(found) => (status, Json(found)).into_response(),
        Err(trouble) => (status, Json(serde_json::json!({ "error": trouble.to_string() }))).into_response(),
    }
}

async fn service(State(page): State<Arc<Page>>, Path((namespace, name)): Path<(String, String)>) -> Response {
    match ServiceName::new(&namespace, &name) {
        Ok(name) => answer(page.service(&name).await),
        Err(error) => answer::<()>(Err(Trouble::Unknown(error.to_string()))),
    }
}

#[derive(Deserialize)]
struct Before {
    before: Option<u64>,
    limit: usize,
}

async fn timeline(State(page): State<Arc<Page>>, Query(query): Query<Before>) -> Response {
    answer(page.timeline(query.before, query.limit).await)
}

#[derive(Deserialize)]
struct Lost {
    /// As `zone/REGION/ZONE`, `zone/ZONE`, `cluster/NAME` or `region/NAME`, with commas.
    #[serde(default)]
    lose: String,
}

/// A place as it is written in a question.
fn loss(text: &str) -> Result<Loss, Trouble> {
    let bad = |error: tidegate_model::NameError| Trouble::Unknown(format!("{text}: {error}"));
    Ok(match text.split('/').collect::<Vec<_>>().as_slice() {
        ["zone", region, zone] => {
            Loss::Zone(Some(Region::new(region).map_err(bad)?), Zone::new(zone).map_err(bad)?)
        }
        ["zone", zone] => Loss::Zone(None, Zone::new(zone).map_err(bad)?),
        ["cluster", name] => Loss::Cluster(ClusterName::new(name).map_err(bad)?),
        ["region", name] => Loss::Region(Region::new(name).map_err(bad)?),
        _ => {
            return Err(Trouble::Unknown(format!(
                "{text:?} is no place; write zone/REGION/ZONE, cluster/NAME or region/NAME"
            )));
        }
    })
}

async fn foresight(State(page): State<Arc<Page>>, Query(query): Query<Lost>) -> Response {
    let lost: Result<Vec<Loss>, Trouble> =
        query.lose.split(',').filter(|it| !it.is_empty()).map(loss).collect();
    match lost {
        Ok(lost) => answer(page.foresight(&lost).await),
        Err(trouble) => answer::<()>(Err(trouble)),
    }
}

#[derive(Deserialize)]
struct Preview {
    from: String,
    service: Option<ServiceName>,
    percent: u32,
    #[serde(default)]
    force: bool,
}

async fn preview(State(page): State<Arc<Page>>, Query(query): Query<Preview>) -> Response {
    let Preview { from, service, percent, force } = query;
    let asked = loss(&from).map(|from| ShiftAsked {
        from,
        service,
        percent,
        lasts: Duration::ZERO,
        comment: String::new(),
        force,
    });
    match asked {
        Ok(asked) => answer(page.shift_foreseen(&asked).await),
        Err(trouble) => answer::<()>(Err(trouble)),
    }
}

async fn risks(State(page): State<Arc<Page>>) -> Response {
    answer(page.risks().await)
}
