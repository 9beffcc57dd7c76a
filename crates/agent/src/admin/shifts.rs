//! Shifts at the admin address: what is in force, what one would do, begin, extend, end.

use super::{Ask, Failure, Fields, Shared, ask};
use crate::{
    access,
    shifts::{ExtendQuery, NotExtended, ShiftPreview, ShiftQuery, ShiftView},
};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use tidegate_engine::outlook;
use tidegate_link::access::Caller;
use tidegate_model::ServiceName;

fn bad(error: String) -> Failure {
    Failure::Error(StatusCode::BAD_REQUEST, error)
}

pub(super) async fn list(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<ShiftView>>, Failure> {
    let mut views = ask(&shared, Ask::Shifts).await?;
    views.retain(|it| access::sees(&caller, it.service.as_ref()));
    Ok(Json(views))
}

pub(super) async fn begin(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Fields(query): Fields<ShiftQuery>,
) -> Result<Json<ShiftView>, Failure> {
    caller.may_in(query.namespace())?;
    tracing::info!(who = caller.name, ?query, "a shift is asked for");
    let answer = ask(&shared, |answer| Ask::Shift(Box::new(query), answer)).await?;
    answer.map(Json).map_err(bad)
}

/// What it would do. Nothing is begun.
pub(super) async fn preview(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Fields(query): Fields<ShiftQuery>,
) -> Result<Json<ShiftPreview>, Failure> {
    caller.may_in(query.namespace())?;
    let only = query.service().map(str::to_owned);
    let copy = ask(&shared, |answer| Ask::WouldShift(Box::new(query), answer)).await?;
    let (shift, engine, now) = *copy.map_err(bad)?;
    // As for any foresight: neither the loop nor a thread of the runtime has the time.
    let work = tokio::task::spawn_blocking(move || {
        let outlook = outlook(engine, &shift, now);
        ShiftPreview::of(shift, outlook, only.as_deref())
    });
    let failed = |_| {
        Failure::Error(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered".to_owned())
    };
    work.await.map(Json).map_err(failed)
}

fn unknown(name: &str) -> Failure {
    Failure::Error(
        StatusCode::NOT_FOUND,
        format!("no shift {name:?} is in force\n  hint: tidegate shift list names those that are"),
    )
}

/// Who may touch a shift of this name, if there is one.
async fn may_touch(shared: &Shared, caller: &Caller, name: &str) -> Result<(), Failure> {
    let in_force = ask(shared, Ask::Shifts).await?.into_iter().find(|it| it.name == name);
    let it = in_force.ok_or_else(|| unknown(name))?;
    Ok(caller.may_in(it.service.as_ref().map(ServiceName::namespace))?)
}

/// `NAME/extend`: a wildcard stands at the end of a route only.
pub(super) async fn extend(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    Fields(query): Fields<ExtendQuery>,
) -> Result<Json<ShiftView>, Failure> {
    let nothing = || bad(format!("POST /api/v1/shifts/{path} is nothing; POST .../NAME/extend is"));
    let name = path.strip_suffix("/extend").ok_or_else(nothing)?;
    let lasts = query.lasts().map_err(bad)?;
    may_touch(&shared, &caller, name).await?;
    tracing::info!(who = caller.name, shift = name, ?lasts, "a shift is to last longer");
    let refused = |error: NotExtended| {
        let status = match &error {
            NotExtended::Unknown(_) => StatusCode::NOT_FOUND,
            NotExtended::Drill(_) | NotExtended::Longer(..) => StatusCode::CONFLICT,
        };
        Failure::Error(status, error.to_string())
    };
    let answer = ask(&shared, |answer| Ask::ExtendShift(name.to_owned(), lasts, answer)).await?;
    answer.map(Json).map_err(refused)
}

pub(super) async fn end(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<&'static str, Failure> {
    may_touch(&shared, &caller, &name).await?;
    tracing::info!(who = caller.name, shift = name, "the end of a shift is asked for");
    match ask(&shared, |answer| Ask::EndShift(name.clone(), answer)).await? {
        true => Ok("ended\n"),
        false => Err(unknown(&name)),
    }
}
