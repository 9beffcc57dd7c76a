//! What the page and the hub are told of this cluster: the agent as [`Source`] of its page.
//!
//! The picture is made from what the loop says of itself, a few times a second at most, and hardly ever while nobody looks. Nothing is
//! decided here: what a visitor asks for goes to the loop, as from the admin address.

mod facts;
mod picture;
mod questions;

pub(crate) use questions::routes;

use crate::{
    admin::{Ask, Shared},
    shifts::{NotExtended, ShiftQuery},
    timeline::Record,
};
use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use picture::Picture;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidegate_engine::{Asked, FleetState, Foresight as Foreseen, Location};
use tidegate_link::access::{COOKIE, Caller, Role};
use tidegate_model::{ClusterName, ServiceName};
use tidegate_web::{
    Action, Loss, Options, ShiftAsked, Source, Trouble, Visitor,
    compose::{Risks, foreseen, foresight, merged, risks, shifted},
    model::{
        AuditFacts, Done, DrillFacts, DrillsFacts, Event, Fleet, Foresight, Place, PolicyFacts, RolloutFacts,
        ServiceFacts,
    },
};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// A picture is made so often at most.
const LOOK: Duration = Duration::from_millis(200);
/// While somebody looks and nothing is decided, so often: rates and times move.
const WATCHED: Duration = Duration::from_secs(1);
/// While nobody looks: whoever begins to look sees nothing older.
const UNWATCHED: Duration = Duration::from_secs(5);
/// What would not stand a loss is computed so often, and only while somebody looks: of a large fleet it is seconds of work.
const RISKS: Duration = Duration::from_secs(30);
/// Records of one answer.
const MAX_EVENTS: usize = 1000;

/// The agent, for its page.
pub(crate) struct Page {
    shared: Shared,
    cluster: ClusterName,
    newest: watch::Sender<Arc<Fleet>>,
    picture: Mutex<Picture>,
}

impl Page {
    pub(crate) fn new(shared: Shared, cluster: ClusterName) -> Arc<Self> {
        let picture = Picture::new(cluster.clone());
        let newest = watch::Sender::new(Arc::new(picture.empty()));
        Arc::new(Self { shared, cluster, newest, picture: Mutex::new(picture) })
    }

    /// Makes pictures until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let (mut made, mut seen) = (None::<Instant>, 0);
        let mut judged = None::<Instant>;
        loop {
            let last = self.shared.timeline.last();
            let watched = self.newest.receiver_count() > 0;
            let age = made.map(|at| at.elapsed());
            let due = age.is_none_or(|age| age >= UNWATCHED || (watched && (age >= WATCHED || last != seen)));
            if due && self.look().await.is_ok() {
                (made, seen) = (Some(Instant::now()), last);
            }
            if watched && judged.is_none_or(|at| at.elapsed() >= RISKS) {
                judged = Some(Instant::now());
                tokio::spawn(Arc::clone(&self).judge());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK) => {}
            }
        }
    }

    async fn look(&self) -> Result<(), Trouble> {
        let status = self.ask(Ask::Status).await?;
        let report = self.ask(Ask::Report).await?;
        let in_force = self.ask(Ask::InForce).await?;
        let policy = PolicyFacts {
            sequence: in_force.policy,
            version: in_force.policy_version.unwrap_or_default(),
            phase: None,
            why: None,
            problems: status.problems.clone(),
        };
        let fleet = self.picture().make(&status, &report, policy, now_ms());
        self.newest.send_if_modified(|newest| {
            let changed = picture::differs(newest, &fleet);
            if changed {
                *newest = Arc::new(fleet);
            }
            changed
        });
        Ok(())
    }

    fn picture(&self) -> std::sync::MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn judge(self: Arc<Self>) {
        if let Ok(risks) = self.risks().await {
            self.picture().risks = Some(risks);
        }
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Trouble> {
        let busy = || Trouble::Unavailable("the agent is stopping or overloaded; ask again".to_owned());
        let (answer, answered) = oneshot::channel();
        self.shared.asks.send(make(answer)).await.map_err(|_| busy())?;
        answered.await.map_err(|_| busy())
    }

    async fn state(&self) -> Result<FleetState, Trouble> {
        let unready = || Trouble::Unavailable("the agent has no manifests yet; ask again".to_owned());
        self.ask(Ask::Fleet).await?.map(|state| *state).ok_or_else(unready)
    }

    /// As the engine says it; of a large fleet it is seconds of work, on a thread that has the time.
    async fn foreseen(&self, lost: &[Loss]) -> Result<Foreseen, Trouble> {
        let state = self.state().await?;
        let lost: Vec<Location> = lost.iter().map(|it| location(&state, it)).collect::<Result<_, _>>()?;
        let asked = if lost.is_empty() { Asked::Each } else { Asked::Together(lost) };
        blocking(move || foreseen(&state, &asked)).await
    }

    /// What this cluster's callers see of it; places are not trimmed, so that answers can be added up.
    pub(crate) async fn foresight(&self, lost: &[Loss]) -> Result<Foresight, Trouble> {
        Ok(Foresight { age_ms: Some(0), ..foresight(&self.foreseen(lost).await?) })
    }

    /// The same of a shift.
    pub(crate) async fn shift_foreseen(&self, asked: &ShiftAsked) -> Result<Foresight, Trouble> {
        let state = self.state().await?;
        let from = location(&state, &asked.from)?;
        let asked = asked.clone();
        let work =
            blocking(move || shifted(&state, &from, asked.service.as_ref(), asked.percent, asked.force));
        Ok(Foresight { age_ms: Some(0), ..work.await? })
    }

    pub(crate) async fn risks(&self) -> Result<Risks, Trouble> {
        Ok(risks(&self.foreseen(&[]).await?))
    }

    async fn may(&self, visitor: &Visitor, action: &Action) -> Result<(), Trouble> {
        if !visitor.is_operator {
            return Err(Trouble::Denied(format!("{} may look only; ask an operator", visitor.name)));
        }
        let Some(own) = &visitor.namespaces else { return Ok(()) };
        let service = match action {
            Action::Shift(asked) => asked.service.clone(),
            Action::ExtendShift(name, _) | Action::EndShift(name) => {
                let shifts = self.ask(Ask::Shifts).await?;
                shifts.into_iter().find(|it| it.name == *name).and_then(|it| it.service)
            }
            Action::StartDrill(_) | Action::EndDrill(_) => None,
        };
        if service.is_some_and(|it| own.contains(it.namespace())) {
            return Ok(());
        }
        Err(Trouble::Denied(format!("{} is limited to namespaces; name a service of one", visitor.name)))
    }
}

/// An admin address with the page; `without_tokens` says that visitors of it need none.
pub(crate) fn mount(
    router: Router,
    page: Arc<Page>,
    without_tokens: bool,
    stop: CancellationToken,
) -> Router {
    let facts = Router::new().route("/api/v1/fleet", get(fleet)).with_state(Arc::clone(&page));
    let session_cookie = COOKIE.to_owned();
    let options = Options { session_cookie, local_hosts_only: without_tokens, stop, ..Options::default() };
    router.merge(facts).merge(tidegate_web::router(page, options)).layer(from_fn(visitor))
}

/// The picture that the page is drawn from.
async fn fleet(State(page): State<Arc<Page>>) -> Json<Fleet> {
    let newest = Arc::clone(&page.newest.borrow());
    Json((*newest).clone())
}

/// Who asks is a visitor of the page.
async fn visitor(mut request: Request, next: Next) -> Response {
    if let Some(caller) = request.extensions().get::<Caller>() {
        let visitor = Visitor {
            name: caller.name.clone(),
            is_operator: caller.role >= Role::Operator,
            namespaces: caller.namespaces.clone(),
        };
        request.extensions_mut().insert(visitor);
    }
    next.run(request).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    let failed = |_| Trouble::Unavailable("the question could not be answered".to_owned());
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

/// The place as this fleet knows it.
fn location(state: &FleetState, loss: &Loss) -> Result<Location, Trouble> {
    let name = match loss {
        Loss::Zone(Some(region), zone) => format!("zone/{region}/{zone}"),
        Loss::Zone(None, zone) => format!("zone/{zone}"),
        Loss::Cluster(cluster) => format!("cluster/{cluster}"),
        Loss::Region(region) => format!("region/{region}"),
    };
    state.location(&name).map_err(|error| {
        let known = error.known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Trouble::Unknown(format!("{error}; its places are: {known}"))
    })
}

fn now_ms() -> u64 {
    crate::shell::unix_micros(crate::shell::wall_clock()) / 1000
}

fn event(cluster: &ClusterName, record: &Record) -> Event {
    let of_pool = record.zone.clone().zip(record.phase).filter(|_| record.kind == "poolChanged");
    let place = |zone| Place { cluster: cluster.clone(), zone: Some(zone) };
    Event {
        at_ms: record.unix_micros / 1000,
        cluster: cluster.clone(),
        seq: record.seq,
        kind: record.kind.to_owned(),
        service: record.service.clone(),
        pool: of_pool.map(|(zone, phase)| (place(zone), phase)),
        text: record.line(),
    }
}

#[async_trait::async_trait]
impl Source for Page {
    fn fleet(&self) -> watch::Receiver<Arc<Fleet>> {
        self.newest.subscribe()
    }

    async fn service(&self, name: &ServiceName) -> Result<ServiceFacts, Trouble> {
        let unknown = || Trouble::Unknown(format!("no service {name} in this cluster's manifests"));
        let explanation = self.ask(|answer| Ask::Explain(name.clone(), answer)).await?.ok_or_else(unknown)?;
        let (records, _) = self.shared.timeline.newest(0, MAX_EVENTS, |it| it.service.as_ref() == Some(name));
        let timeline = records.iter().rev().map(|it| event(&self.cluster, it)).collect();
        let picture = self.picture();
        Ok(facts::service(&explanation, timeline, &picture, &self.newest.borrow(), now_ms()))
    }

    async fn timeline(&self, before_ms: Option<u64>, limit: usize) -> Result<Vec<Event>, Trouble> {
        let wanted = |it: &Record| before_ms.is_none_or(|before| it.unix_micros / 1000 < before);
        let (records, _) = self.shared.timeline.newest(0, limit.min(MAX_EVENTS), wanted);
        Ok(records.iter().rev().map(|it| event(&self.cluster, it)).collect())
    }

    async fn foresee(&self, lost: &[Loss]) -> Result<Foresight, Trouble> {
        Ok(merged([self.foresight(lost).await?]))
    }

    async fn preview(&self, shift: &ShiftAsked) -> Result<Foresight, Trouble> {
        Ok(merged([self.shift_foreseen(shift).await?]))
    }

    async fn drills(&self) -> Result<DrillsFacts, Trouble> {
        let now = now_ms();
        let running = self.ask(Ask::Drills).await?;
        let running = running.into_iter().map(|it| DrillFacts {
            drill: it.what,
            target: it.target,
            phase: "Fault".to_owned(),
            started_at_ms: now,
            phase_ends_at_ms: Some(now + it.remaining_ms),
            id: it.id,
            requests: None,
            passed: None,
            rto_ms: None,
            why: None,
        });
        Ok(DrillsFacts { running: running.collect(), ..DrillsFacts::default() })
    }

    async fn report(&self, id: &str) -> Result<String, Trouble> {
        Err(Trouble::Unknown(format!("an agent keeps no reports; the hub may have that of {id}")))
    }

    async fn rollout(&self, _: &str, _: usize, _: usize) -> Result<RolloutFacts, Trouble> {
        let policy = self.newest.borrow().policy.clone();
        Ok(RolloutFacts { policy, ..RolloutFacts::default() })
    }

    async fn audit(&self, _: Option<u64>, _: usize) -> Result<Vec<AuditFacts>, Trouble> {
        Err(Trouble::Unavailable("an agent has no audit log; its hub has one".to_owned()))
    }

    async fn act(&self, visitor: &Visitor, action: Action) -> Result<Done, Trouble> {
        self.may(visitor, &action).await?;
        tracing::info!(who = visitor.name, ?action, "asked for at the page");
        let done = match action {
            Action::Shift(asked) => {
                let query = Box::new(ShiftQuery::of(&asked));
                let view = self.ask(|answer| Ask::Shift(query, answer)).await?.map_err(Trouble::Refused)?;
                format!("the shift {} moves {} % away from {}", view.name, view.percent, view.away_from)
            }
            Action::ExtendShift(name, lasts) => {
                let asked = self.ask(|answer| Ask::ExtendShift(name, lasts, answer)).await?;
                let view = asked.map_err(|error| match error {
                    NotExtended::Unknown(_) => Trouble::Unknown(error.to_string()),
                    _ => Trouble::Refused(error.to_string()),
                })?;
                let lasts = Duration::from_secs(view.remaining_ms / 1000);
                format!("the shift {} lasts {}", view.name, tidegate_api::duration_text(lasts))
            }
            Action::EndShift(name) => match self.ask(|it| Ask::EndShift(name.clone(), it)).await? {
                true => format!("the shift {name} is ended; traffic comes back by the ramp"),
                false => return Err(Trouble::Unknown(format!("no shift {name:?} is in force"))),
            },
            Action::StartDrill(_) => {
                let text = "an agent runs no drills; start it at the hub, or by tidegate drill run";
                return Err(Trouble::Refused(text.to_owned()));
            }
            Action::EndDrill(id) => {
                let by = format!("by {}", visitor.name);
                match self.ask(|answer| Ask::EndDrill(id.clone(), by, answer)).await? {
                    true => format!("the fault of the drill {id} is ended"),
                    false => return Err(Trouble::Unknown(format!("no fault of a drill {id} runs here"))),
                }
            }
        };
        let link = if done.contains("drill") { "/drills" } else { "/shifts" };
        Ok(Done { done, link: link.to_owned() })
    }
}
