//! Drills that the hub runs: one at a time, by the agents that are connected. How one goes is the business of `tidegate_drill`; here is
//! who may begin one, what a hub that is killed leaves in its store, and how one is stopped.

use super::{lines, outline::ReportRefusal, schedule::Run};
use crate::{
    office::{Office, OfficeError},
    store::StoreError,
    view::DrillProgressView,
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidegate_api::{AgentFault, AgentFaultKind, Drill, DrillFault, DrillTarget, SourceFile, read_drill};
use tidegate_drill::{
    course::{Ending, Phase},
    generator::{Trust, unique_id},
    report::Report,
    run::{self, Progress, Record, RunError, Setup, line::Line},
};
use tidegate_link::access::{Caller, Role};
use tokio::sync::{mpsc, watch};

/// Under this name it is kept which drill runs.
const KEPT: &str = "drillRunning";
/// The most requests per second that a hub sends: it has other things to do.
const MAX_RATE_RPS: u32 = 1000;
/// The most of a hub's requests that are unanswered at a time.
const MAX_IN_FLIGHT: u32 = 1000;
/// The longest that its drills take, without their fault's end.
const MAX_LASTS: Duration = Duration::from_secs(2 * 3600);
/// A hub that stops mends first, and waits for that no longer.
const END_LIMIT: Duration = Duration::from_secs(6);

/// What the hub has to do with drills that run.
#[derive(Debug, Default)]
pub(crate) struct Drilling {
    /// The drill that runs, or the last one.
    current: Mutex<Option<Arc<Current>>>,
    /// What is kept of the drill that runs. Held while it is written.
    pub(super) ledger: Mutex<Option<Ledger>>,
    /// Held while schedules are read and kept.
    pub(super) schedules: Mutex<()>,
}

/// What is kept of a drill that runs, for the hub that finds it after this one was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ledger {
    pub(super) id: String,
    pub(super) source: String,
    /// The manifest.
    pub(super) text: String,
    pub(super) by: String,
    /// Seconds since 1970.
    pub(super) started_at: u64,
    /// Whether an agent may have begun its fault.
    pub(super) broken: bool,
    /// The schedule and the slot that it was started for.
    pub(super) due: Option<(String, u64)>,
}

#[derive(Debug)]
struct Current {
    id: String,
    drill: String,
    stop: mpsc::Sender<String>,
    progress: watch::Sender<DrillProgressView>,
}

/// Why the hub does not begin a drill.
#[derive(Debug, thiserror::Error)]
pub enum DrillRefusal {
    /// It cannot be read.
    #[error("{0}")]
    Unread(String),
    /// It is the user's commands.
    #[error(
        "a drill with commands (Exec) runs from the command line only: whoever may write to a hub must not run programs by it"
    )]
    Exec,
    /// It is kubectl's.
    #[error(
        "a drill of type Kubernetes runs from the command line only, by the kubectl of whoever runs it\n  hint: tidegate drill run FILE --allow-disruption"
    )]
    Kubernetes,
    /// It is a lab's.
    #[error(
        "a drill of type Lab breaks the fleet of a lab, and that only when it is told from the command line\n  hint: tidegate drill run FILE --lab ADDR"
    )]
    Lab,
    /// What is broken is the hub's way to the agents.
    #[error(
        "the hub cannot tell agents to stay away from it and then that this is over\n  hint: tidegate drill run FILE --agent ADDR"
    )]
    Hub,
    /// One at a time.
    #[error("the drill {drill} runs ({id}): one at a time in a fleet\n  hint: tidegate drill stop {id}")]
    Running {
        /// Its name.
        drill: String,
        /// Its id.
        id: String,
    },
    /// Somebody is missing.
    #[error(
        "an agent is away: nobody of {0} is connected, so what is left cannot be judged\n  hint: if it is gone for good: tidegate cluster revoke {0}"
    )]
    Away(String),
    /// No fleet.
    #[error("no agent is connected, so nobody can carry it out")]
    Nobody,
    /// It knows nothing of drills.
    #[error("{0}")]
    Old(String),
    /// More than a hub does.
    #[error("a hub does not do {0}\n  hint: run it from elsewhere: tidegate drill run FILE --agent ADDR")]
    Limit(String),
    /// It cannot be run as it is written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The token is for others.
    #[error("the token is limited to namespaces, and the drill {0} is in none of them")]
    Namespace(String),
    /// There is none of this id.
    #[error("no drill {0} runs: neither the hub nor any agent that is connected knows of it")]
    Unknown(String),
    /// It could not be ended everywhere.
    #[error("not everything is mended: {0}\n  hint: what is left ends by itself, at its expiry")]
    NotMended(String),
}

/// Who wants a drill.
pub(crate) struct Wish<'w> {
    /// Where it is written, and how.
    pub(crate) source: &'w SourceFile,
    /// For the report and the audit.
    pub(crate) by: &'w str,
    /// The run of a schedule that it is.
    pub(crate) due: Option<&'w Run>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one drill of a text.
pub(crate) fn read(source: &SourceFile) -> Result<Drill, DrillRefusal> {
    read_drill(source).map_err(|problems| {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        DrillRefusal::Unread(format!("this is not a drill that can be run\n{}", told.join("\n")))
    })
}

/// What a hub does not do, whoever is connected. Pure.
fn within_limits(drill: &Drill) -> Result<(), DrillRefusal> {
    match (&drill.fault, &drill.target) {
        (DrillFault::Exec(_), _) => return Err(DrillRefusal::Exec),
        (DrillFault::Kubernetes(_), _) => return Err(DrillRefusal::Kubernetes),
        (DrillFault::Agents(AgentFault { kind: AgentFaultKind::Lab(_), .. }), _) => {
            return Err(DrillRefusal::Lab);
        }
        (DrillFault::Agents(_), DrillTarget::Hub) => return Err(DrillRefusal::Hub),
        _ => {}
    }
    let (steps, load) = (drill.steps, &drill.load);
    let limit = |what: String| Err(DrillRefusal::Limit(what));
    if steps.steady + steps.fault + steps.observe > MAX_LASTS {
        return limit(format!("drills of more than {} h", MAX_LASTS.as_secs() / 3600));
    }
    if !load.urls.is_empty() && load.rate_rps > MAX_RATE_RPS {
        return limit(format!("more than {MAX_RATE_RPS} requests/s"));
    }
    if !load.urls.is_empty() && load.in_flight_limit > MAX_IN_FLIGHT {
        return limit(format!("more than {MAX_IN_FLIGHT} requests at a time"));
    }
    Ok(())
}

impl Office {
    /// The drill that runs here, as (name, id).
    pub(super) fn drill_that_runs(&self) -> Option<(String, String)> {
        let current = lock(&self.drilling.current).clone()?;
        let done = current.progress.borrow().done;
        (!done).then(|| (current.drill.clone(), current.id.clone()))
    }

    /// Whether a drill may begin now, as far as the hub knows; agents are asked as it begins.
    pub(super) fn may_drill(self: &Arc<Self>, drill: &Drill, by: &str) -> Result<Setup, DrillRefusal> {
        within_limits(drill)?;
        if let Some((drill, id)) = self.drill_that_runs() {
            return Err(DrillRefusal::Running { drill, id });
        }
        let agents = self.lines.agents();
        let joined = self.joined().map_err(|error| DrillRefusal::Unread(error.to_string()))?;
        if let Some(away) = joined.iter().find(|it| !agents.iter().any(|(there, ..)| there == *it)) {
            return Err(DrillRefusal::Away(away.to_string()));
        }
        if let Some((old, ..)) = agents.iter().find(|(.., able)| !able) {
            return Err(DrillRefusal::Old(lines::too_old(old.as_str())));
        }
        let agents: Vec<Arc<dyn Line>> = lines::all(self);
        if agents.is_empty() {
            return Err(DrillRefusal::Nobody);
        }
        let setup = Setup {
            id: unique_id(),
            drill: drill.clone(),
            by: format!("the hub, run of {} for {by}", drill.name),
            alone: true,
            trust: Trust::System,
            headers: Vec::new(),
            keeper: Vec::new(),
            agents,
            unix_seconds: self.now(),
        };
        run::check(&setup)?;
        Ok(setup)
    }

    /// Begins a drill, within a runtime. What comes back is how it stands: at its beginning.
    pub(crate) fn start_drill(self: &Arc<Self>, wish: &Wish<'_>) -> Result<DrillProgressView, OfficeError> {
        let drill = read(wish.source)?;
        let (stop, stopped) = mpsc::channel(4);
        let setup = self.may_drill(&drill, wish.by)?;
        let view = DrillProgressView {
            id: setup.id.clone(),
            drill: drill.name.clone(),
            by: wish.by.to_owned(),
            ..DrillProgressView::default()
        };
        let progress = watch::Sender::new(view);
        let current = Arc::new(Current { id: setup.id.clone(), drill: drill.name, stop, progress });
        {
            // Of two that are begun together one finds the other.
            let mut place = lock(&self.drilling.current);
            if let Some(other) = place.as_ref().filter(|it| !it.progress.borrow().done) {
                let (drill, id) = (other.drill.clone(), other.id.clone());
                return Err(DrillRefusal::Running { drill, id }.into());
            }
            *place = Some(Arc::clone(&current));
        }
        if let Err(error) = self.begin_ledger(&setup, wish) {
            current.progress.send_modify(|it| it.done = true);
            return Err(error.into());
        }
        let view = current.progress.borrow().clone();
        let (office, by, due) = (Arc::clone(self), wish.by.to_owned(), wish.due.cloned());
        tokio::spawn(async move { office.carry_out(setup, stopped, current, by, due).await });
        Ok(view)
    }

    fn begin_ledger(&self, setup: &Setup, wish: &Wish<'_>) -> Result<(), StoreError> {
        let ledger = Ledger {
            id: setup.id.clone(),
            source: wish.source.path.clone(),
            text: wish.source.text.clone(),
            by: wish.by.to_owned(),
            started_at: self.now(),
            broken: false,
            due: wish.due.map(|it| (it.schedule.clone(), it.slot)),
        };
        let mut place = lock(&self.drilling.ledger);
        self.store.keep(KEPT, &Some(&ledger))?;
        *place = Some(ledger);
        drop(place);
        self.copy_now.notify_one();
        self.audit(wish.by, "drillStarted", format!("{} of {}", setup.id, setup.drill.name))
    }

    /// An agent is about to be told to begin.
    pub(super) async fn note_fault(self: &Arc<Self>) -> Result<(), String> {
        let office = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || {
            let mut place = lock(&office.drilling.ledger);
            let Some(ledger) = place.as_mut().filter(|it| !it.broken) else { return Ok(()) };
            ledger.broken = true;
            office.store.keep(KEPT, &Some(&*ledger))
        });
        match kept.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the hub cannot keep that it begins: {error}")),
            Err(error) => Err(format!("the hub cannot keep that it begins: {error}")),
        }
    }

    /// What a hub left that was killed while a drill ran.
    pub(super) fn left_over(&self) -> Result<Option<Ledger>, StoreError> {
        Ok(self.store.kept::<Option<Ledger>>(KEPT)?.flatten())
    }

    /// Nothing runs any more.
    pub(super) fn close_ledger(&self) -> Result<(), StoreError> {
        let mut place = lock(&self.drilling.ledger);
        *place = None;
        self.store.keep(KEPT, &None::<Ledger>)
    }

    async fn carry_out(
        self: Arc<Self>,
        setup: Setup,
        stop: mpsc::Receiver<String>,
        current: Arc<Current>,
        by: String,
        due: Option<Run>,
    ) {
        let (id, told) = (setup.id.clone(), Arc::clone(&current));
        let ran = run::run(setup, stop, |progress| tell(&told.progress, progress)).await;
        let office = Arc::clone(&self);
        let kept = tokio::task::spawn_blocking(move || office.keep_run(&id, ran, &by, due.as_ref())).await;
        let problem = match kept {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = &problem {
            tracing::error!(
                drill = current.drill,
                id = current.id,
                problem,
                "what came of a drill is not kept"
            );
        }
        current.progress.send_modify(|it| {
            it.number += 1;
            (it.done, it.problem) = (true, problem);
        });
    }

    fn keep_run(
        &self,
        id: &str,
        ran: Result<Record, RunError>,
        by: &str,
        due: Option<&Run>,
    ) -> Result<(), OfficeError> {
        let record = match ran {
            Ok(record) => record,
            Err(error) => {
                self.close_ledger()?;
                let why = error.to_string();
                self.note_run(due, None, Some(&why))?;
                return Err(DrillRefusal::from(error).into());
            }
        };
        let report = Report::new(&record, None);
        tracing::info!(drill = report.drill, id, verdict = report.verdict(), "a drill has ended");
        let kept = self.keep_report(&report, by);
        self.close_ledger()?;
        let skipped = match &report.ending {
            Ending::NotStarted(why) => Some(why.as_str()),
            _ => None,
        };
        self.note_run(due, Some(id), skipped)?;
        kept
    }

    /// Signs and keeps the report of a drill that the hub ran.
    pub(super) fn keep_report(&self, report: &Report, by: &str) -> Result<(), OfficeError> {
        let text = serde_json::to_string(report).map_err(|error| ReportRefusal::Form(error.to_string()))?;
        let caller = Caller { name: by.to_owned(), role: Role::Operator, namespaces: None };
        self.keep_drill(&text, &caller).map(drop)
    }

    /// How the drill of this id stands, and when it stands otherwise.
    pub(crate) fn drill_progress(&self, id: &str) -> Option<watch::Receiver<DrillProgressView>> {
        let current = lock(&self.drilling.current).clone();
        current.filter(|it| it.id == id).map(|it| it.progress.subscribe())
    }

    /// The drill that runs, or ran last.
    pub(crate) fn drill_current(&self) -> Option<DrillProgressView> {
        lock(&self.drilling.current).as_ref().map(|it| it.progress.borrow().clone())
    }

    /// Stops the drill of this id, and comes back once it is mended, with what was done: the hub's own, or the fault of any other
    /// drill that agents carry out.
    pub(crate) async fn stop_drill(self: &Arc<Self>, id: &str, by: &str) -> Result<String, DrillRefusal> {
        let current = lock(&self.drilling.current).clone();
        match current.filter(|it| it.id == id && !it.progress.borrow().done) {
            Some(current) => {
                // A full queue holds such words already.
                let _ = current.stop.try_send(format!("stopped by {by}"));
                let mut progress = current.progress.subscribe();
                let over = |it: &DrillProgressView| it.done || it.phase >= Some(Phase::Watching);
                let over = tokio::time::timeout(END_LIMIT, progress.wait_for(over)).await;
                let over = over.map(|it| it.ok().and_then(|it| it.mend_error.clone()));
                match over {
                    Ok(Some(why)) => Err(DrillRefusal::NotMended(why)),
                    Ok(None) => Ok(format!("the drill {id} is stopped, and what it broke is mended")),
                    Err(_) => {
                        Err(DrillRefusal::NotMended(format!("the agents gave no word in {END_LIMIT:?}")))
                    }
                }
            }
            None => self.mend_others(id, by).await,
        }
    }

    /// Ends the fault of somebody else's drill at all agents.
    pub(super) async fn mend_others(self: &Arc<Self>, id: &str, by: &str) -> Result<String, DrillRefusal> {
        let (mut ended, mut failed) = (Vec::new(), Vec::new());
        let by = format!("by {by} through the hub");
        let mut tasks = tokio::task::JoinSet::new();
        for line in lines::all(self) {
            let (id, by) = (id.to_owned(), by.clone());
            tasks.spawn(async move { (line.to_string(), run::mend(&*line, &id, &by).await) });
        }
        for (agent, mended) in tasks.join_all().await {
            match mended {
                Ok(true) => ended.push(agent),
                Ok(false) => {}
                Err(why) => failed.push(why),
            }
        }
        match (ended.is_empty(), failed.is_empty()) {
            (_, false) => Err(DrillRefusal::NotMended(failed.join("; "))),
            (true, true) => Err(DrillRefusal::Unknown(id.to_owned())),
            (false, true) => Ok(format!(
                "the fault of the drill {id} is ended at {}; its runner sees that",
                ended.join(", ")
            )),
        }
    }

    /// The hub stops: what it broke is mended first.
    pub(crate) async fn end_drills(&self) {
        let Some(current) = lock(&self.drilling.current).clone() else { return };
        let mut progress = current.progress.subscribe();
        let ended = async {
            for over in [Phase::Watching, Phase::Done] {
                let _ = current.stop.send("the hub stops".to_owned()).await;
                // The sender lives in `current`.
                let _ = progress.wait_for(|it| it.done || it.phase >= Some(over)).await;
            }
            let _ = progress.wait_for(|it| it.done).await;
        };
        if !progress_done(&current) && tokio::time::timeout(END_LIMIT, ended).await.is_err() {
            tracing::error!(
                drill = current.drill,
                "the hub stops before the drill is mended: agents end it by its expiry"
            );
        }
    }
}

fn progress_done(current: &Current) -> bool {
    current.progress.borrow().done
}

fn tell(view: &watch::Sender<DrillProgressView>, now: &Progress) {
    let ms = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
    view.send_modify(|it| {
        it.number += 1;
        it.phase = Some(now.phase);
        it.elapsed_ms = ms(now.elapsed);
        it.left_ms = now.left.map(ms);
        it.ended += now.ended;
        it.failed = now.failed_so_far;
        it.mend_error.clone_from(&now.mend_error);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(fault: &str, more: &str) -> String {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: it, namespace: shop}}\nspec:\n  \
             fault: {{expiresAfter: 60s, {fault}}}\n{more}"
        );
        let drill = read(&SourceFile { path: "it.yaml".to_owned(), text }).unwrap();
        within_limits(&drill).err().map(|it| it.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_hub_runs_no_commands_and_no_great_loads() {
        let zone = "  target: {zone: a}\n";
        assert_eq!(refused("type: Verdict", zone), "");
        let exec = "type: Exec, exec: {start: [x], mend: [y]}";
        let url = "  target: {url: \"http://x.example/\"}\n";
        assert!(refused(exec, url).contains("command line only"));
        let kubernetes =
            "type: Kubernetes, kubernetes: {do: ScaleToZero, namespace: shop, workload: deployment/web}";
        assert!(refused(kubernetes, url).contains("--allow-disruption"));
        let lab = "type: Lab, lab: {do: Refuse}";
        assert!(refused(lab, zone).contains("--lab ADDR"));
        let load = format!("{zone}  load: {{urls: [\"http://x.example/\"], rateRps: 1001}}\n");
        assert!(refused("type: Shift", &load).contains("1000 requests/s"));
        let unused = format!("{zone}  load: {{rateRps: 1001}}\n");
        assert_eq!(refused("type: Shift", &unused), "", "without URLs nothing is sent");
        let long = format!("{zone}  steps: {{steady: 3h, fault: 30s, observe: 1s}}\n");
        assert!(refused("type: Shift", &long).contains("more than 2 h"));
    }
}
