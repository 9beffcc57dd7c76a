//! Running a drill: the thin shell around [`crate::course`].
//!
//! The loop here takes in what happened (commands that ended, guards that fired, people, time), hands it to the course and does
//! what that says. The user's commands run in a process of their own (see [`keeper`]), which mends if this one is gone; agents
//! end a fault of theirs by themselves.

mod agents;
mod check;
pub mod command;
mod guard;
mod hands;
pub mod keeper;
pub mod kubernetes;
pub mod line;
mod link;
pub mod onlooker;
mod probe;
mod prometheus;
mod watch;

use crate::{
    clock::Clock,
    course::{Course, Effect, Ending, Event, Moments, Phase},
    generator::{Generator, Keep, MAX_KEPT, Spec, Tally, Target, Trust},
    load::Sample,
    timeline::AgentsPart,
};
pub use agents::mend;
pub use check::{RunError, check};
use check::{guard_targets, targets, urls};
use command::Ran;
use guard::ErrorRate;
use hands::Hands;
use keeper::Told;
use line::Line;
use probe::Probe;
use prometheus::Watched;
use std::{ffi::OsString, sync::Arc, time::Duration};
use tidegate_api::{Drill, DrillGuard};
use tidegate_model::Time;
use tokio::{sync::mpsc, task::JoinSet};

/// How often the guards on the load look, and progress is told.
const LOOK: Duration = Duration::from_millis(100);
/// Events that wait to be taken in: more than all tasks together can send at a time.
const WAITING: usize = 256;
/// The part of the requests of the steady part that may fail.
const UNSTEADY: f64 = 0.01;

/// What is needed to run a drill, beside the drill.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Unique: [`crate::generator::unique_id`].
    pub id: String,
    /// The drill.
    pub drill: Drill,
    /// By whom it is run, for people.
    pub by: String,
    /// Whether no other drill may run at any of the agents, whatever it touches; without, only none that touches the same.
    pub alone: bool,
    /// Whom `https://` targets are known by.
    pub trust: Trust,
    /// More headers of each request.
    pub headers: Vec<(String, String)>,
    /// The program and arguments that start a keeper ([`keeper::keep`]).
    pub keeper: Vec<OsString>,
    /// The agents that carry out its fault, or have a part in the recovery.
    pub agents: Vec<Arc<dyn Line>>,
    /// Now, in seconds since 1970.
    pub unix_seconds: u64,
}

/// How a drill stands, for people.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// Since the load began.
    pub elapsed: Duration,
    /// Until the phase ends by itself.
    pub left: Option<Duration>,
    /// Requests that ended since the last time, and those of them that failed.
    pub ended: u64,
    /// See `ended`.
    pub failed: u64,
    /// Requests that failed so far.
    pub failed_so_far: u64,
    /// Why the fault could not be mended, the last time, if so.
    pub mend_error: Option<String>,
}

/// Everything that was seen of a drill.
#[derive(Debug)]
pub struct Record {
    /// Unique, and the beginning of all request ids.
    pub id: String,
    /// The drill.
    pub drill: Drill,
    /// What was asked.
    pub urls: Vec<String>,
    /// The clock that all times count on.
    pub clock: Clock,
    /// What the measures count from.
    pub moments: Moments,
    /// How it ended.
    pub ending: Ending,
    /// Why the fault could not be mended, if so.
    pub mend_error: Option<String>,
    /// The commands, as they ended.
    pub commands: Vec<Ran>,
    /// What agents told of the recovery; `None` if none was asked.
    pub agents: Option<AgentsPart>,
    /// The requests.
    pub samples: Vec<Sample>,
    /// The sums of the requests; `None` if none were sent.
    pub tally: Option<Tally>,
}

impl Record {
    /// Of a drill whose runner is gone, and of which nothing else is known. Its clock is not the drill's.
    #[must_use]
    pub fn cut_off(id: &str, drill: Drill, ending: Ending) -> Self {
        let broken = !matches!(ending, Ending::NotStarted(_));
        let moments = Moments { fault: broken.then_some(Time::ZERO), ..Moments::default() };
        Self {
            id: id.to_owned(),
            urls: urls(&drill),
            drill,
            clock: Clock::start(),
            moments,
            ending,
            mend_error: None,
            commands: Vec::new(),
            agents: None,
            samples: Vec::new(),
            tally: None,
        }
    }
}

/// Runs a drill to its end. `stop` says why it is to end early; a second word ends it while the recovery is watched. When
/// this returns, everything is mended or [`Record::mend_error`] says why not.
///
/// # Errors
/// If the drill cannot be run as it is written; then nothing was started.
pub async fn run(
    setup: Setup,
    stop: mpsc::Receiver<String>,
    progress: impl FnMut(&Progress),
) -> Result<Record, RunError> {
    let plan = check(&setup)?;
    let (events, happened) = mpsc::channel(WAITING);
    let id = setup.id.clone();
    let clock = Clock::start();
    let hands = Hands::new(&setup, &id, clock, events.clone()).await?;
    let shell = Shell {
        course: Course::new(plan),
        clock,
        id,
        setup,
        hands,
        events,
        load: None,
        seen: 0,
        failed: 0,
        rates: Vec::new(),
        commands: Vec::new(),
        started: None,
        tasks: JoinSet::new(),
    };
    Ok(shell.run(happened, stop, progress).await)
}

/// What comes in.
#[derive(Debug)]
enum Input {
    Event(Event),
    Told(Told),
    /// The keeper's output ended.
    KeeperGone,
}

struct Shell {
    course: Course,
    clock: Clock,
    id: String,
    setup: Setup,
    hands: Hands,
    events: mpsc::Sender<Input>,
    load: Option<Generator>,
    /// Samples that were looked at, and how many of them failed.
    seen: usize,
    failed: u64,
    rates: Vec<ErrorRate>,
    commands: Vec<Ran>,
    /// When the command that breaks was started, as the keeper says.
    started: Option<Time>,
    tasks: JoinSet<()>,
}

impl Shell {
    async fn run(
        mut self,
        mut happened: mpsc::Receiver<Input>,
        mut stop: mpsc::Receiver<String>,
        mut progress: impl FnMut(&Progress),
    ) -> Record {
        for effect in self.course.begin() {
            self.act(effect).await;
        }
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.course.phase() != Phase::Done {
            let due = self.course.deadline().map(|at| self.clock.instant(at));
            let ticked = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(why) = stop.recv() => self.on(Event::Interrupted(why)).await,
                Some(input) = happened.recv() => self.take(input).await,
                () = ticked => self.on(Event::Tick).await,
                _ = look.tick() => {
                    let now = self.look().await;
                    progress(&now);
                }
            }
        }
        self.end().await
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.on(event).await,
            Input::Told(Told::Broken(ran)) => {
                let result = ran.result("breaks");
                self.started = Some(self.clock.from_unix_micros(ran.started_unix_us));
                self.commands.push(ran);
                self.on(Event::Broken(result)).await;
            }
            Input::Told(Told::Refused(ran)) => {
                let result = ran.result("breaks");
                self.commands.push(ran);
                let why = result.err().unwrap_or_default();
                self.on(Event::Refused(why)).await;
            }
            Input::Told(Told::Mended(ran)) => {
                let result = ran.result("mends");
                self.commands.push(ran);
                self.on(Event::Mended(result)).await;
            }
            Input::KeeperGone => {
                self.hands.lose_keeper();
                match self.course.phase() {
                    // It cannot say any more how that went.
                    Phase::Mending => self.hands.mend(&mut self.tasks, &self.events).await,
                    _ => self.on(Event::Guard("the process that keeps the fault is gone".to_owned())).await,
                }
            }
        }
    }

    async fn on(&mut self, event: Event) {
        for effect in self.course.on(self.clock.now(), event) {
            self.act(effect).await;
        }
    }

    async fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Check => self.check(),
            Effect::StartLoad => self.start_load(),
            Effect::Judge => {
                let judged = self.judge();
                self.send(Input::Event(Event::Judged(judged)));
            }
            Effect::Break => {
                if !self.hands.start(&mut self.tasks, &self.events).await {
                    self.send(Input::KeeperGone);
                }
            }
            Effect::Mend => self.hands.mend(&mut self.tasks, &self.events).await,
            Effect::Verify => self.verify(),
        }
    }

    fn send(&mut self, input: Input) {
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let _ = events.send(input).await;
        });
    }

    fn check(&mut self) {
        let targets: Vec<Target> =
            targets(&self.setup).into_iter().chain(guard_targets(&self.setup)).collect();
        let (timeout, events) = (self.setup.drill.load.timeout, self.events.clone());
        let agents = self.hands.agents();
        let guards = &self.setup.drill.guards;
        let watched: Vec<Watched> =
            guards.iter().filter_map(|guard| Watched::of(guard, &self.setup.trust)).collect();
        self.tasks.spawn(async move {
            let checked = match agents {
                Some(agents) => agents.check().await,
                None => Ok(()),
            };
            let checked = match checked {
                Ok(()) => probe::answers(&targets, timeout).await,
                no => no,
            };
            let checked = match checked {
                Ok(()) => guard::none_fires(&watched).await,
                no => no,
            };
            let _ = events.send(Input::Event(Event::Checked(checked))).await;
        });
    }

    fn start_load(&mut self) {
        if !urls(&self.setup.drill).is_empty() {
            self.send_requests();
        }
        self.watch_guards();
    }

    fn send_requests(&mut self) {
        let load = &self.setup.drill.load;
        let spec = Spec {
            targets: targets(&self.setup),
            sources: Vec::new(),
            rate_rps: load.rate_rps,
            in_flight_limit: usize::try_from(load.in_flight_limit).unwrap_or(usize::MAX),
            timeout: load.timeout,
            keep: Keep::Samples(MAX_KEPT),
            pinned_to: None,
            id: self.id.clone(),
        };
        match Generator::start(spec, self.clock) {
            Ok(load) => self.load = Some(load),
            Err(error) => self.send(Input::Event(Event::Judged(Err(error.to_string())))),
        }
    }

    fn watch_guards(&mut self) {
        for guard in self.setup.drill.guards.clone() {
            match guard {
                DrillGuard::ErrorRate { above, over } => self.rates.push(ErrorRate::new(above, over)),
                DrillGuard::Prometheus { .. } | DrillGuard::ErrorBudget { .. } => {
                    let Some(watched) = Watched::of(&guard, &self.setup.trust) else { continue };
                    let events = self.events.clone();
                    self.tasks.spawn(async move {
                        let why = watched.watch().await;
                        let _ = events.send(Input::Event(Event::Guard(why))).await;
                    });
                }
                DrillGuard::HttpCheck { url, interval, timeout, failures } => {
                    let target = Target { trust: self.setup.trust.clone(), ..Target::get(url) };
                    let events = self.events.clone();
                    self.tasks.spawn(async move {
                        let why = guard::watch(&target, interval, timeout, failures).await;
                        let _ = events.send(Input::Event(Event::Guard(why))).await;
                    });
                }
            }
        }
    }

    fn judge(&self) -> Result<(), String> {
        if urls(&self.setup.drill).is_empty() {
            return Ok(());
        }
        let Some(load) = &self.load else { return Err("no load was sent".to_owned()) };
        let tally = load.tally();
        let failed = tally.ended - tally.succeeded();
        #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
        if tally.ended == 0 || failed as f64 > tally.ended as f64 * UNSTEADY {
            let ended = tally.ended;
            return Err(format!(
                "before any fault {failed} of {ended} requests failed: there is nothing to compare with"
            ));
        }
        Ok(())
    }

    fn verify(&mut self) {
        let (targets, events) = (targets(&self.setup), self.events.clone());
        let agents = self.hands.agents().filter(|_| targets.is_empty());
        self.tasks.spawn(async move {
            if let Some(agents) = agents {
                // Nobody is asked whether the target is well: agents say whether anything is left.
                agents.until_gone().await;
            }
            probe::until_well(&targets).await;
            let _ = events.send(Input::Event(Event::Verified)).await;
        });
    }

    /// Looks at the requests that ended since the last time.
    async fn look(&mut self) -> Progress {
        let now = self.clock.now();
        let fresh = self.load.as_ref().map(|load| load.since(self.seen)).unwrap_or_default();
        self.seen += fresh.len();
        let failed = fresh.iter().filter(|sample| !sample.outcome.is_success()).count() as u64;
        self.failed += failed;
        let fired: Vec<String> = self.rates.iter_mut().filter_map(|rate| rate.on(&fresh, now)).collect();
        for why in fired {
            self.on(Event::Guard(why)).await;
        }
        Progress {
            phase: self.course.phase(),
            elapsed: self.course.moments().steady.map(|from| now.since(from)).unwrap_or_default(),
            left: self.course.deadline().map(|at| if at > now { at.since(now) } else { Duration::ZERO }),
            ended: fresh.len() as u64,
            failed,
            failed_so_far: self.failed,
            mend_error: self.course.mend_error().map(str::to_owned),
        }
    }

    async fn end(mut self) -> Record {
        self.tasks.abort_all();
        let run = match self.load.take() {
            Some(load) => Some(load.stop().await),
            None => None,
        };
        let mended = self.course.moments().fault.is_none() || self.course.moments().mended.is_some();
        let moments = struck(self.course.moments(), self.started);
        let agents = self.hands.end(mended, moments).await;
        let (samples, tally) = run.map_or_else(|| (Vec::new(), None), |run| (run.samples, Some(run.tally)));
        Record {
            id: self.id,
            urls: urls(&self.setup.drill),
            drill: self.setup.drill,
            clock: self.clock,
            moments,
            ending: self.course.ending().unwrap_or(Ending::Completed),
            mend_error: self.course.mend_error().map(str::to_owned),
            commands: self.commands,
            agents,
            samples,
            tally,
        }
    }
}

/// The fault begins when its command was really started: on a busy machine, some time after the keeper was told. That is said by a
/// wall clock, which may be set meanwhile; so it counts only where it can be.
fn struck(moments: Moments, started: Option<Time>) -> Moments {
    let until = moments.mending.or(moments.done);
    let later = moments.fault.zip(started).map(|(told, started)| told.max(started));
    let fault = later.filter(|at| until.is_none_or(|until| *at <= until)).or(moments.fault);
    Moments { fault, ..moments }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_begins_when_its_command_started_unless_that_cannot_be() {
        let at = Time::from_millis;
        let moments = Moments { fault: Some(at(1000)), mending: Some(at(3000)), ..Moments::default() };
        let fault = |started: Option<u64>| struck(moments, started.map(at)).fault;
        assert_eq!(fault(Some(1030)), Some(at(1030)));
        assert_eq!(fault(Some(500)), Some(at(1000)), "the clock was set back");
        assert_eq!(fault(Some(9000)), Some(at(1000)), "the clock was set forward");
        assert_eq!(fault(None), Some(at(1000)), "it was stopped before it ended");
        assert_eq!(struck(Moments::default(), Some(at(5))).fault, None);
    }
}
