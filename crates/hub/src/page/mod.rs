//! The hub as [`Source`] of its page: the picture of the fleet, and what is asked of the agents for it.
//!
//! The picture is made of what agents told, and only while somebody looks. What is deeper than a table row is asked of them when it is
//! asked for: they answer for their own clusters, and the answers are put together (`answers`). What a visitor does goes to agents as if
//! it were done there (`spread`), and into the audit log.

pub(crate) mod admin;
mod answers;
mod history;
mod picture;
mod spread;

use crate::office::Office;
use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use picture::Picture;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tidegate_link::access::{COOKIE, Caller, Role};
use tidegate_model::ServiceName;
use tidegate_web::{
    Action, Loss, Options, ShiftAsked, Source, Trouble, Visitor,
    compose::merged,
    model::{AuditFacts, Done, DrillsFacts, Event, Fleet, Foresight, RolloutFacts, ServiceFacts},
};
use tokio::{
    sync::{OnceCell, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// A picture is made so often at most.
const LOOK: Duration = Duration::from_millis(200);
/// Nobody is shown a picture that is older, if there is news: one is made for them.
const OLD: Duration = Duration::from_secs(1);
/// What was foreseen is told again for so long.
const FORESEEN: Duration = Duration::from_secs(10);
/// So many questions are remembered.
const MAX_FORESEEN: usize = 16;
/// So often what would not stand a loss is asked for, while somebody looks: of a large fleet that is seconds of work for each agent.
const RISKS: Duration = Duration::from_secs(60);

/// The hub, for its page.
pub(crate) struct Page {
    office: Arc<Office>,
    newest: watch::Sender<Arc<Fleet>>,
    picture: Mutex<Picture>,
    /// When it was looked for news last. Apart from the picture, which is held while one is made.
    looked: Mutex<Option<Instant>>,
    /// What was foreseen a moment ago, by the question.
    foreseen: Mutex<BTreeMap<String, Foreseen>>,
}

/// When it was asked, and what was answered.
type Foreseen = (Instant, Arc<OnceCell<Foresight>>);

/// Microseconds since 1970.
pub(crate) fn now_micros() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    now_micros() / 1000
}

/// Whoever asks for the page itself, as agents are told.
fn anybody() -> Caller {
    // The page leaves out what a visitor may not see.
    Caller { name: "the page".to_owned(), role: Role::Viewer, namespaces: None }
}

fn caller(visitor: &Visitor) -> Caller {
    let role = if visitor.is_operator { Role::Operator } else { Role::Viewer };
    Caller { name: visitor.name.clone(), role, namespaces: visitor.namespaces.clone() }
}

/// An admin address with the page; `without_tokens` says that visitors of it need none.
pub(crate) fn mount(
    router: Router,
    page: Arc<Page>,
    without_tokens: bool,
    stop: CancellationToken,
) -> Router {
    let session_cookie = COOKIE.to_owned();
    let options = Options { session_cookie, local_hosts_only: without_tokens, stop, ..Options::default() };
    let facts = admin::routes(Arc::clone(&page));
    let office = Arc::clone(&page.office);
    let known = from_fn_with_state(office, visitor);
    router.merge(facts).merge(tidegate_web::router(page, options)).layer(known)
}

/// Who asks is a visitor of the page. A form that was refused them is told to the audit log here: the door does not know why.
async fn visitor(State(office): State<Arc<Office>>, mut request: Request, next: Next) -> Response {
    let path = format!("{} {}", request.method(), request.uri().path());
    let who = request.extensions().get::<Caller>().map(|it| it.name.clone());
    if let Some(caller) = request.extensions().get::<Caller>() {
        let visitor = Visitor {
            name: caller.name.clone(),
            is_operator: caller.role >= Role::Operator,
            namespaces: caller.namespaces.clone(),
        };
        request.extensions_mut().insert(visitor);
    }
    let response = next.run(request).await;
    if let (Some(who), Some(Trouble::Denied(why))) = (who, response.extensions().get()) {
        office.refuse_change(&who, (&path, ""), why.clone());
    }
    response
}

impl Page {
    pub(crate) fn new(office: Arc<Office>) -> Arc<Self> {
        let picture = Picture::default();
        let newest = watch::Sender::new(Arc::new(picture.empty(&office)));
        Arc::new(Self {
            office,
            newest,
            picture: Mutex::new(picture),
            looked: Mutex::default(),
            foreseen: Mutex::default(),
        })
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a picture for somebody who begins to look. While others look there is a new one anyway ([`Self::follow`]), and nobody
    /// waits for the next.
    fn look_up(&self) {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_none_or(|at| at.elapsed() >= OLD) {
            self.look();
        }
    }

    /// Makes a picture, if it is time and something changed.
    fn look(&self) {
        let now = Instant::now();
        let made = self.picture().make(&self.office, now, now_ms());
        if let Some(fleet) = made {
            self.newest.send_replace(Arc::new(fleet));
        }
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Makes pictures until `stop`, while somebody looks.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut judged = None::<Instant>;
        loop {
            if self.newest.receiver_count() > 0 {
                let page = Arc::clone(&self);
                // The store is asked now and then, for which no thread of the runtime waits.
                let _ = tokio::task::spawn_blocking(move || page.look()).await;
                if judged.is_none_or(|at| at.elapsed() >= RISKS) {
                    judged = Some(Instant::now());
                    tokio::spawn(Arc::clone(&self).judge());
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK) => {}
            }
        }
    }

    async fn judge(self: Arc<Self>) {
        if let Some(risks) = self.risks().await {
            self.picture().judged(risks);
        }
    }

    /// What needs the store, on a thread for it.
    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Arc<Office>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let office = Arc::clone(&self.office);
        let done = tokio::task::spawn_blocking(move || job(&office)).await;
        done.map_err(|_| Trouble::Unavailable("the question could not be answered".to_owned()))?
    }

    /// Whether somebody may do this; the shift that is meant may be limited to a service.
    fn may(&self, visitor: &Visitor, action: &Action) -> Result<(), Trouble> {
        let of_shift = |name: &str| {
            let newest = self.newest_fleet();
            newest.shifts.iter().find(|it| it.name == name).and_then(|it| it.service.clone())
        };
        let service = match action {
            Action::Shift(asked) => asked.service.clone(),
            Action::ExtendShift(name, _) | Action::EndShift(name) => of_shift(name),
            Action::StartDrill(_) | Action::EndDrill(_) => None,
        };
        may(visitor, service.as_ref())
    }

    /// The picture as it is now.
    pub(crate) fn newest_fleet(&self) -> Arc<Fleet> {
        self.look_up();
        Arc::clone(&self.newest.borrow())
    }
}

/// Whether somebody may change what concerns this service; `None` is a place with all its services.
fn may(visitor: &Visitor, service: Option<&ServiceName>) -> Result<(), Trouble> {
    if !visitor.is_operator {
        return Err(Trouble::Denied(format!("{} is viewer, and this needs operator", visitor.name)));
    }
    let sees = |own: &BTreeSet<String>| service.is_some_and(|it| own.contains(it.namespace()));
    if visitor.namespaces.as_ref().is_none_or(sees) {
        return Ok(());
    }
    Err(Trouble::Denied(format!("{} is limited to namespaces; name a service of one", visitor.name)))
}

#[async_trait::async_trait]
impl Source for Page {
    fn fleet(&self) -> watch::Receiver<Arc<Fleet>> {
        // Whoever begins to look sees nothing old.
        self.look_up();
        self.newest.subscribe()
    }

    async fn service(&self, name: &ServiceName) -> Result<ServiceFacts, Trouble> {
        self.service_facts(name).await
    }

    async fn timeline(&self, before_ms: Option<u64>, limit: usize) -> Result<Vec<Event>, Trouble> {
        Ok(self.events(before_ms, limit).await)
    }

    async fn foresee(&self, lost: &[Loss]) -> Result<Foresight, Trouble> {
        let lost: Vec<String> = lost.iter().map(answers::written).collect();
        self.foresight(&format!("/facts/foresight?lose={}", lost.join(","))).await
    }

    async fn preview(&self, shift: &ShiftAsked) -> Result<Foresight, Trouble> {
        let from = answers::written(&self.place(&shift.from)?);
        let service = shift.service.as_ref().map(|it| format!("&service={it}")).unwrap_or_default();
        let (percent, force) = (shift.percent, shift.force);
        let target = format!("/facts/preview?from={from}{service}&percent={percent}&force={force}");
        self.foresight(&target).await
    }

    async fn drills(&self) -> Result<DrillsFacts, Trouble> {
        self.work(history::drills).await
    }

    async fn report(&self, id: &str) -> Result<String, Trouble> {
        let id = id.to_owned();
        self.work(move |office| history::report(office, &id)).await
    }

    async fn rollout(&self, text: &str, from: usize, limit: usize) -> Result<RolloutFacts, Trouble> {
        let (text, policy) = (text.to_owned(), self.newest_fleet().policy.clone());
        self.work(move |office| history::rollout(office, policy, &text, from, limit)).await
    }

    async fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditFacts>, Trouble> {
        self.work(move |office| history::audit(office, before, limit)).await
    }

    async fn act(&self, visitor: &Visitor, action: Action) -> Result<Done, Trouble> {
        self.may(visitor, &action)?;
        let by = caller(visitor);
        match action {
            Action::Shift(asked) => {
                let query = spread::query(&asked, &self.place(&asked.from)?);
                let told = self.start_shift(&by, &query).await?;
                Ok(Done { done: told.done, link: "/shifts".to_owned() })
            }
            Action::ExtendShift(name, lasts) => {
                let told = self.extend_shift(&by, &name, &tidegate_api::duration_text(lasts)).await?;
                Ok(Done { done: told.done, link: "/shifts".to_owned() })
            }
            Action::EndShift(name) => {
                let told = self.end_shift(&by, &name).await?;
                Ok(Done { done: told.done, link: "/shifts".to_owned() })
            }
            Action::StartDrill(drill) => self.work(move |it| history::start_drill(it, &drill, &by)).await,
            Action::EndDrill(id) => {
                let stopped = self.office.stop_drill(&id, &by.name).await;
                let done = stopped.map_err(|refusal| Trouble::Refused(refusal.to_string()))?;
                let said = done.clone();
                self.work(move |it| it.audit(&by.name, "drillStopped", said).map_err(history::store)).await?;
                Ok(Done { done, link: "/drills".to_owned() })
            }
        }
    }
}

impl Page {
    /// As all agents foresee it. It is seconds of work for an agent of a large fleet, so what was answered a moment ago is answered
    /// again, and who asks the same meanwhile waits for the same.
    async fn foresight(&self, target: &str) -> Result<Foresight, Trouble> {
        let (asked, cell) = self.foreseen(target);
        let mut whole = cell.get_or_try_init(|| self.foresee_anew(target)).await?.clone();
        let since = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        whole.age_ms = whole.age_ms.map(|it| it.saturating_add(since));
        Ok(whole)
    }

    fn foreseen(&self, target: &str) -> Foreseen {
        let mut foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner);
        foreseen.retain(|_, (asked, _)| asked.elapsed() < FORESEEN);
        if foreseen.len() >= MAX_FORESEEN {
            foreseen.clear();
        }
        foreseen.entry(target.to_owned()).or_insert_with(|| (Instant::now(), Arc::default())).clone()
    }

    async fn foresee_anew(&self, target: &str) -> Result<Foresight, Trouble> {
        let (answers, missing) = self.all::<Foresight>(target, answers::FORESEE).await?;
        let mut whole = merged(answers.into_iter().map(|(_, it)| it));
        for (cluster, why) in missing {
            whole.findings.insert(0, format!("what callers in {cluster} would see is not known: {why}"));
        }
        Ok(whole)
    }
}
