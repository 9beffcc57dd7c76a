//! The admin address: health, metrics, and the JSON that the command line reads. Who asks is known before anything here runs:
//! at the hub's own machine it is anybody, elsewhere it is by token (`door`).

use crate::{
    drills::{self, DrillRefusal},
    hooks::Counted,
    kubernetes::Telling,
    metrics,
    office::{Asked, Office, OfficeError, Resumed},
    run::HubError,
    view::{
        AuditView, CertificateView, ClusterView, DoneView, GrantView, HistoryView, KnowledgeView, PolicyView,
        RolloutView, StandbyView, TokenView,
    },
};
use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use tidegate_link::{
    access::{Caller, Role},
    identity::{AuthorityError, to_pem},
};
use tidegate_model::ClusterName;
use tokio::sync::Notify;

/// One answer holds at most so many records of the audit log.
const PAGE: usize = 1000;

#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) office: Arc<Office>,
    reload: Arc<Notify>,
    /// Who tells the objects of a Kubernetes API, where policy comes from one.
    telling: Option<Telling>,
    counted: Counted,
}

pub(crate) fn router(
    office: Arc<Office>,
    reload: Arc<Notify>,
    telling: Option<Telling>,
    counted: Counted,
) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ready\n" }))
        .route("/metrics", get(metrics_text))
        .route("/api/v1/clusters", get(clusters))
        .route("/api/v1/clusters/{cluster}", get(knowledge))
        .route("/api/v1/clusters/{cluster}/revoke", post(revoke))
        .route("/api/v1/tokens", post(token))
        .route("/api/v1/policy", get(policy))
        .route("/api/v1/rollout", get(rollout))
        .route("/api/v1/rollout/resume", post(resume))
        .route("/api/v1/rollout/rollback", post(roll_back))
        .route("/api/v1/rollout/history", get(history))
        .route("/api/v1/standby", get(standby))
        .route("/api/v1/reload", post(reload_source))
        .route("/api/v1/audit", get(audit))
        .route("/api/v1/access", get(grants).post(give))
        .route("/api/v1/access-certificates", post(certify))
        .route("/api/v1/access/{name}/revoke", post(take_away))
        .merge(drills::routes())
        .with_state(Shared { office, reload, telling, counted })
}

/// An error as JSON: what is wrong and what to do.
pub(crate) struct Failure(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        match &error {
            HubError::Office(OfficeError::Drill(refusal)) => refused(refusal),
            HubError::Office(
                office @ (OfficeError::Ttl
                | OfficeError::Tokens
                | OfficeError::NothingToResume
                | OfficeError::Grant(_)
                | OfficeError::Report(_)
                | OfficeError::NoSuchPolicy(_)
                | OfficeError::SamePolicy(_)),
            ) => Self(StatusCode::BAD_REQUEST, office.to_string()),
            HubError::Authority(wrong @ AuthorityError::Request(_)) => {
                Self(StatusCode::BAD_REQUEST, wrong.to_string())
            }
            other => Self(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
        }
    }
}

/// The query of a request. One that cannot be read is told of like any other mistake.
pub(crate) struct Fields<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Fields<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let unread = |error: QueryRejection| Failure(StatusCode::BAD_REQUEST, error.body_text());
        Query::try_from_uri(&parts.uri).map(|Query(it)| Self(it)).map_err(unread)
    }
}

/// 404: there is none. 409: not now. 400: not at all.
pub(crate) fn refused(refusal: &DrillRefusal) -> Failure {
    let status = match refusal {
        DrillRefusal::Unknown(_) => StatusCode::NOT_FOUND,
        DrillRefusal::Running { .. }
        | DrillRefusal::Away(_)
        | DrillRefusal::Nobody
        | DrillRefusal::Old(_) => StatusCode::CONFLICT,
        DrillRefusal::NotMended(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::BAD_REQUEST,
    };
    Failure(status, refusal.to_string())
}

/// The store syncs to disk, which no thread of the runtime has to wait for.
pub(crate) async fn work<T: Send + 'static>(
    shared: Shared,
    job: impl FnOnce(&Office) -> Result<T, HubError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(move || job(&shared.office)).await;
    let failed =
        |_| Failure(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered".to_owned());
    Ok(done.map_err(failed)??)
}

async fn metrics_text(State(shared): State<Shared>) -> Result<Response, Failure> {
    let (telling, counted) = (shared.telling.clone(), shared.counted.clone());
    let numbers = work(shared, |office| {
        // A guard in the expression below would be held while the others look at the same.
        let (sessions, halted) = (office.fleet().sessions(), office.policy.borrow().halted);
        Ok(metrics::Numbers {
            sequence: office.newest().sequence(),
            objects: office.newest().objects.len(),
            halted,
            halts: office.halts.load(std::sync::atomic::Ordering::Relaxed),
            problems: office.problems().len(),
            sessions,
            refusals: office.identity.refusals().counts(),
            clusters: office.cluster_views()?,
            drills: office.drill_numbers()?,
        })
    });
    let mut text = metrics::text(&numbers.await?);
    text.extend(telling.as_ref().map(Telling::metrics));
    text.push_str(&counted.metrics());
    Ok(([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

async fn clusters(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<ClusterView>>, Failure> {
    let mut views = work(shared, |office| Ok(office.cluster_views()?)).await?;
    for view in &mut views {
        view.rejected.retain(|it| caller.sees(&it.object));
    }
    Ok(Json(views))
}

async fn knowledge(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(cluster): Path<String>,
) -> Result<Json<KnowledgeView>, Failure> {
    let cluster: ClusterName =
        cluster.parse().map_err(|error| Failure(StatusCode::BAD_REQUEST, format!("{error}")))?;
    let name = cluster.clone();
    let view = work(shared, move |office| Ok(office.knowledge_view(&name)?)).await?;
    let unknown = || format!("no cluster {cluster} is known; tidegate cluster list names the clusters");
    let mut view = view.ok_or_else(|| Failure(StatusCode::NOT_FOUND, unknown()))?;
    let sees = |service: &str| caller.sees(&format!("Service {service}"));
    view.cluster.rejected.retain(|it| caller.sees(&it.object));
    view.plans.retain(|it| sees(&it.service));
    view.pools.retain(|it| sees(&it.service));
    if caller.namespaces.is_some() {
        // What a gateway refuses may name anything.
        view.gateways.clear();
    }
    // Those without a service may name anything.
    view.decisions.retain(|it| it.service.as_deref().map_or(caller.namespaces.is_none(), sees));
    Ok(Json(view))
}

/// Objects of a rollout in one answer. In a fleet of a hundred clusters each of them is twenty kilobytes.
const OBJECTS: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolloutQuery {
    /// Only objects whose name contains it.
    #[serde(default)]
    object: String,
    /// Only those behind this one, by name: the `next` of the answer before, to go on.
    #[serde(default)]
    after: String,
}

async fn rollout(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Fields(query): Fields<RolloutQuery>,
) -> Result<Json<RolloutView>, Failure> {
    let asker = caller.clone();
    let view = work(shared, move |office| {
        let is_wanted = |it: &str| it > query.after.as_str() && it.contains(&query.object) && asker.sees(it);
        Ok(office.rollout_page(is_wanted, 0, OBJECTS)?.0)
    });
    let mut view = view.await?;
    if caller.namespaces.is_some() {
        // These are texts that may name anything.
        view.problems.clear();
        if let Some(rollout) = &mut view.rollout {
            rollout.rolled_back.retain(|it| caller.sees(it));
            rollout.why = rollout.why.take().map(|_| "ask somebody who sees the whole fleet".to_owned());
        }
    }
    Ok(Json(view))
}

async fn policy(State(shared): State<Shared>) -> Result<Json<PolicyView>, Failure> {
    Ok(Json(work(shared, |office| Ok(office.policy_view())).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenQuery {
    cluster: ClusterName,
    ttl_s: u64,
}

async fn token(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Fields(query): Fields<TokenQuery>,
) -> Result<Json<TokenView>, Failure> {
    let made = work(shared, move |office| {
        Ok(office.make_token(&query.cluster, Duration::from_secs(query.ttl_s), &caller.name)?)
    });
    let made = made.await?;
    Ok(Json(TokenView { token: made.token.reveal(), ttl_s: made.ttl.as_secs() }))
}

#[derive(Deserialize)]
struct RevokeQuery {
    /// Only what was issued for its gateways.
    #[serde(default)]
    gateways: bool,
}

async fn revoke(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(cluster): Path<String>,
    Fields(RevokeQuery { gateways }): Fields<RevokeQuery>,
) -> Result<Json<DoneView>, Failure> {
    let cluster: ClusterName =
        cluster.parse().map_err(|error| Failure(StatusCode::BAD_REQUEST, format!("{error}")))?;
    let name = cluster.clone();
    let count = work(shared, move |office| office.revoke(&name, gateways, &caller.name)).await?;
    if count == 0 {
        let text =
            format!("no valid certificate was issued to {cluster}; tidegate cluster list names the clusters");
        return Err(Failure(StatusCode::NOT_FOUND, text));
    }
    let done = match gateways {
        true => format!(
            "{count} certificates of the gateways of {cluster} are revoked; its agent gets them another one"
        ),
        false => format!(
            "{count} certificates of {cluster} are revoked; to let it back: tidegate cluster join-token {cluster}"
        ),
    };
    Ok(Json(DoneView { done }))
}

async fn resume(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<DoneView>, Failure> {
    let reload = Arc::clone(&shared.reload);
    let done = match work(shared, move |office| office.resume(&caller.name)).await? {
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
    Extension(caller): Extension<Caller>,
    Fields(query): Fields<RollbackQuery>,
) -> Result<Json<DoneView>, Failure> {
    let done = work(shared, move |office| office.roll_back(query.to.as_deref(), &caller.name));
    let (former, sequence) = done.await?;
    let done = format!("policy {former} is handed out to all clusters again, as policy {sequence}");
    Ok(Json(DoneView { done }))
}

async fn history(State(shared): State<Shared>) -> Result<Json<Vec<HistoryView>>, Failure> {
    work(shared, |office| Ok(office.history_view()?)).await.map(Json)
}

async fn standby(State(shared): State<Shared>) -> Json<StandbyView> {
    let (newest, epoch) = (shared.office.newest(), shared.office.epoch);
    Json(StandbyView {
        stands_by: false,
        sequence: newest.sequence(),
        version: newest.head.as_ref().map(|(head, _)| head.version.clone()).unwrap_or_default(),
        epoch,
        copy: None,
        copy_age_ms: None,
        problem: None,
    })
}

async fn reload_source(State(shared): State<Shared>) -> &'static str {
    shared.reload.notify_one();
    "reading the policy again\n"
}

#[derive(Deserialize)]
struct AuditQuery {
    #[serde(default = "page")]
    limit: usize,
    /// Only what has a lower number: the lowest of the answer before, to go on.
    before: Option<u64>,
}

const fn page() -> usize {
    100
}

async fn audit(
    State(shared): State<Shared>,
    Fields(query): Fields<AuditQuery>,
) -> Result<Json<Vec<AuditView>>, Failure> {
    work(shared, move |office| Ok(office.audit_view(query.before, query.limit.min(PAGE))?)).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GiveQuery {
    name: String,
    role: Role,
    ttl_s: u64,
    /// With commas between them.
    namespaces: Option<String>,
}

impl GiveQuery {
    fn asked(self) -> Asked {
        let namespaces = self.namespaces.map(|it| it.split(',').map(str::to_owned).collect());
        Asked { name: self.name, role: self.role, namespaces, ttl: Duration::from_secs(self.ttl_s) }
    }
}

async fn give(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Fields(query): Fields<GiveQuery>,
) -> Result<Json<TokenView>, Failure> {
    let ttl_s = query.ttl_s;
    let made = work(shared, move |office| office.give(&query.asked(), &caller.name));
    Ok(Json(TokenView { token: made.await?.reveal(), ttl_s }))
}

/// The body is a signing request, DER.
async fn certify(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Fields(query): Fields<GiveQuery>,
    request: Bytes,
) -> Result<Json<CertificateView>, Failure> {
    let made = work(shared, move |office| office.certify(&query.asked(), &request, &caller.name));
    Ok(Json(CertificateView { certificate: to_pem(&made.await?) }))
}

async fn grants(State(shared): State<Shared>) -> Result<Json<Vec<GrantView>>, Failure> {
    work(shared, |office| Ok(office.grant_views()?)).await.map(Json)
}

async fn take_away(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<DoneView>, Failure> {
    let whose = name.clone();
    if work(shared, move |office| office.take_away(&whose, &caller.name)).await? {
        return Ok(Json(DoneView { done: format!("what was granted to {name} is revoked") }));
    }
    let why = format!("{name} has neither token nor certificate; tidegate access list names who has");
    Err(Failure(StatusCode::NOT_FOUND, why))
}
