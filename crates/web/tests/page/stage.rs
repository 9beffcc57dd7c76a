//! A source that does as it is told, and the page served from it on loopback.

use crate::fixture;
use axum::{Extension, Router};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tidegate_model::ServiceName;
use tidegate_web::{
    Action, Loss, Options, ShiftAsked, Source, Trouble, Visitor,
    model::{AuditFacts, Done, DrillFacts, DrillsFacts, Event, Fleet, Foresight, RolloutFacts, ServiceFacts},
    router,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// What the page is told, and what it asked to be done.
pub(crate) struct Told {
    fleet: watch::Sender<Arc<Fleet>>,
    pub(crate) web: Mutex<ServiceFacts>,
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) drills: Mutex<DrillsFacts>,
    pub(crate) acted: Mutex<Vec<(String, Action)>>,
    /// How often a service was asked for: how often its page was rendered.
    pub(crate) asked: Mutex<u32>,
}

impl Told {
    pub(crate) fn new(fleet: Fleet) -> Arc<Self> {
        let now = now_ms();
        Arc::new(Self {
            fleet: watch::channel(Arc::new(fleet)).0,
            web: Mutex::new(fixture::web(now)),
            events: Mutex::new(fixture::events(now)),
            drills: Mutex::new(fixture::drills(now)),
            acted: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    /// Another picture, one version on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Fleet)) {
        self.fleet.send_modify(|fleet| {
            let fleet = Arc::make_mut(fleet);
            change(fleet);
            fleet.version += 1;
            fleet.at_ms = now_ms();
        });
    }

    /// When no stream is open any more.
    pub(crate) async fn unwatched(&self) {
        self.fleet.closed().await;
    }

    fn shift(&self, asked: &ShiftAsked) -> Done {
        let mut shift = fixture::shift("shift-8", now_ms());
        shift.service.clone_from(&asked.service);
        shift.comment.clone_from(&asked.comment);
        shift.percent = asked.percent;
        shift.ends_at_ms = now_ms() + asked.lasts.as_millis() as u64;
        shift.away_from = match &asked.from {
            Loss::Zone(_, zone) => format!("zone {zone}"),
            Loss::Cluster(cluster) => format!("cluster {cluster}"),
            Loss::Region(region) => format!("region {region}"),
        };
        self.change(|fleet| fleet.shifts.push(shift));
        Done { done: "shift-8 has begun".to_owned(), link: "/shifts".to_owned() }
    }
}

#[async_trait::async_trait]
impl Source for Told {
    fn fleet(&self) -> watch::Receiver<Arc<Fleet>> {
        self.fleet.subscribe()
    }

    async fn service(&self, name: &ServiceName) -> Result<ServiceFacts, Trouble> {
        *self.asked.lock().unwrap() += 1;
        let known = self.fleet.borrow().services.iter().find(|row| row.name == *name).cloned();
        let row = known.ok_or_else(|| {
            Trouble::Unknown(format!("No service {name} is known. /services has those that are."))
        })?;
        let mut facts = self.web.lock().unwrap().clone();
        facts.row = row;
        Ok(facts)
    }

    async fn timeline(&self, _: Option<u64>, limit: usize) -> Result<Vec<Event>, Trouble> {
        Ok(self.events.lock().unwrap().iter().take(limit).cloned().collect())
    }

    async fn foresee(&self, lost: &[Loss]) -> Result<Foresight, Trouble> {
        let losses = if lost.is_empty() {
            let zones = [
                "zone us-east-1b",
                "zone us-west-2a",
                "cluster use1-a",
                "region us-east-1",
                "zone us-east-1c",
            ];
            zones
                .iter()
                .zip([false, true, false, false, true])
                .map(|(name, holds)| fixture::loss(name, holds))
                .collect()
        } else {
            let name = |loss: &Loss| match loss {
                Loss::Zone(_, zone) => format!("zone {zone}"),
                Loss::Cluster(cluster) => format!("cluster {cluster}"),
                Loss::Region(region) => format!("region {region}"),
            };
            let mut one = fixture::loss("", false);
            one.lost = lost.iter().map(name).collect();
            vec![one]
        };
        let findings = vec!["shop/batch is not served now: its only pool is out".to_owned()];
        Ok(Foresight { holds: false, findings, losses, age_ms: Some(1400) })
    }

    async fn preview(&self, shift: &ShiftAsked) -> Result<Foresight, Trouble> {
        if shift.comment == "refuse me" {
            return Err(Trouble::Refused(
                "It would take the last healthy place of shop/batch; tick force to do it.".to_owned(),
            ));
        }
        let losses = vec![fixture::loss("zone us-west-2a", true)];
        Ok(Foresight { holds: true, findings: Vec::new(), losses, age_ms: Some(300) })
    }

    async fn drills(&self) -> Result<DrillsFacts, Trouble> {
        let mut all = self.drills.lock().unwrap().clone();
        all.running.clone_from(&self.fleet.borrow().drills);
        Ok(all)
    }

    async fn report(&self, id: &str) -> Result<String, Trouble> {
        Ok(format!(
            "<!doctype html><title>{id}</title><style>p{{color:#222}}</style><p>The report of {id}</p><script>alert(1)</script>"
        ))
    }

    async fn rollout(&self, text: &str, from: usize, limit: usize) -> Result<RolloutFacts, Trouble> {
        let mut all = fixture::rollout();
        all.objects.retain(|it| it.object.contains(text));
        all.total = all.objects.len();
        all.objects = all.objects.into_iter().skip(from).take(limit).collect();
        Ok(all)
    }

    async fn audit(&self, _: Option<u64>, _: usize) -> Result<Vec<AuditFacts>, Trouble> {
        Ok(fixture::audit(now_ms()))
    }

    async fn act(&self, visitor: &Visitor, action: Action) -> Result<Done, Trouble> {
        self.acted.lock().unwrap().push((visitor.name.clone(), action.clone()));
        let done = |done: &str, link: &str| Done { done: done.to_owned(), link: link.to_owned() };
        Ok(match action {
            Action::Shift(asked) => self.shift(&asked),
            Action::ExtendShift(name, by) => {
                let until = now_ms() + by.as_millis() as u64;
                self.change(|fleet| {
                    fleet.shifts.iter_mut().filter(|it| it.name == name).for_each(|it| it.ends_at_ms = until);
                });
                done(&format!("{name} lasts longer"), "/shifts")
            }
            Action::EndShift(name) => {
                self.change(|fleet| fleet.shifts.retain(|it| it.name != name));
                done(&format!("{name} has ended"), "/shifts")
            }
            Action::StartDrill(drill) => {
                let running = DrillFacts {
                    id: "drill-10".to_owned(),
                    drill,
                    target: "zone us-west-2c".to_owned(),
                    phase: "Steady".to_owned(),
                    started_at_ms: now_ms(),
                    phase_ends_at_ms: Some(now_ms() + 30_000),
                    requests: Some((0, 0)),
                    passed: None,
                    rto_ms: None,
                    why: None,
                };
                self.change(|fleet| fleet.drills.push(running));
                done("drill-10 has begun", "/drills")
            }
            Action::EndDrill(id) => {
                self.change(|fleet| fleet.drills.retain(|it| it.id != id));
                done(&format!("{id} is being ended"), "/drills")
            }
        })
    }
}

pub(crate) fn operator() -> Visitor {
    Visitor { name: "ann".to_owned(), is_operator: true, namespaces: None }
}

pub(crate) fn viewer() -> Visitor {
    Visitor { name: "vic".to_owned(), is_operator: false, namespaces: None }
}

pub(crate) fn limited() -> Visitor {
    let namespaces = Some(["shop".to_owned()].into());
    Visitor { name: "sue".to_owned(), is_operator: true, namespaces }
}

/// The page as one visitor gets it.
pub(crate) fn page(told: &Arc<Told>, visitor: Option<Visitor>, options: Options) -> Router {
    let page = router(told.clone(), options);
    match visitor {
        Some(visitor) => page.layer(Extension(visitor)),
        None => page,
    }
}

/// A server on loopback that lives as long as this.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Stage {
    pub(crate) fn serve(told: &Arc<Told>, visitor: Visitor) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), told, visitor)
    }

    pub(crate) fn at(address: SocketAddr, told: &Arc<Told>, visitor: Visitor) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let options = Options { stop: stop.clone(), ..Options::default() };
        let app = page(told, Some(visitor), options);
        let listener = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).unwrap();
            socket.listen(128).unwrap()
        });
        let address = listener.local_addr().unwrap();
        let stopped = stop.clone();
        runtime.spawn(async move {
            let served = axum::serve(listener, app).with_graceful_shutdown(stopped.cancelled_owned());
            served.await.unwrap();
        });
        Self { address, stop, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}
