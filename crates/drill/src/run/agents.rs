//! Telling agents what to break, that it is over, and asking them what they saw, whatever the way to them is ([`Line`]).

use super::{
    RunError,
    command::Ran,
    line::{Answer, Line, Word, encoded},
    watch::Watch,
};
use crate::{
    clock::{Clock, micros},
    course::Moments,
    timeline::{AgentTold, AgentsPart, Event, Offset, agents_part, offset},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tidegate_api::{AgentFault, AgentFaultKind, Drill, DrillTarget};
use tokio::sync::Mutex;

/// An agent that works answers within milliseconds; of a large fleet judging the headroom takes seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Telling one agent that it is over takes no longer.
const MEND_PATIENCE: Duration = Duration::from_secs(2);
/// All of them together, more or less.
pub(super) const MEND_LIMIT: Duration = Duration::from_secs(5);
/// Pages of decisions that are read: an agent keeps 10,000, and long ones come in small pages.
const PAGES: usize = 200;
/// How often an agent is asked for its time: the fastest answer says it best.
const ASKED: usize = 5;
/// While the fault is on, agents are asked so often whether it still is.
const WATCH: Duration = Duration::from_millis(500);
/// An agent that gives no answer so often in a row is gone.
const MISSED: u32 = 4;

/// What agents are told.
#[derive(Clone, Debug)]
pub(super) struct Order {
    id: String,
    agents: Vec<Arc<dyn Line>>,
    /// The query of the fault.
    query: String,
    /// Whether no other drill may run anywhere, whatever it touches.
    alone: bool,
    target: DrillTarget,
}

impl Order {
    pub(super) fn new(
        drill: &Drill,
        fault: &AgentFault,
        agents: &[Arc<dyn Line>],
        id: &str,
        (by, alone): (&str, bool),
    ) -> Result<Self, RunError> {
        let named: BTreeMap<String, Arc<dyn Line>> =
            agents.iter().map(|line| (line.to_string(), Arc::clone(line))).collect();
        let agents: Vec<_> = named.into_values().collect();
        if agents.is_empty() {
            return Err(RunError::NoAgent);
        }
        let is_way = matches!(drill.target, DrillTarget::PeerLink(..) | DrillTarget::Hub);
        let by_lab = matches!(fault.kind, AgentFaultKind::Lab(_));
        if is_way && !by_lab && fault.kind != AgentFaultKind::BlackHole(None) {
            return Err(RunError::OnlyCut);
        }
        let mut fields = vec![("id", id.to_owned())];
        fields.extend(target(&drill.target)?);
        let (kind, more) = match fault.kind {
            AgentFaultKind::Shift => ("Shift", None),
            AgentFaultKind::Verdict => ("Verdict", None),
            AgentFaultKind::BlackHole(via) => ("BlackHole", via.map(|via| ("via", via.to_string()))),
            AgentFaultKind::Abort(status) => ("Abort", Some(("status", status.to_string()))),
            AgentFaultKind::Delay(by) => ("Delay", Some(("delay", format!("{}ms", by.as_millis())))),
            AgentFaultKind::Brownout => ("Brownout", None),
            AgentFaultKind::Lab(lab) => ("Lab", Some(("lab", lab.to_string()))),
        };
        fields.extend(more);
        fields.push(("kind", kind.to_owned()));
        fields.push(("percent", fault.percent.to_string()));
        fields.push(("markedOnly", fault.marked_only.to_string()));
        fields.push(("expires", format!("{}ms", drill.expires_after.as_millis())));
        fields.push(("by", by.to_owned()));
        let query =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>();
        let (id, target) = (id.to_owned(), drill.target.clone());
        Ok(Self { id, agents, query: query.join("&"), alone, target })
    }
}

fn target(target: &DrillTarget) -> Result<Vec<(&'static str, String)>, RunError> {
    Ok(match target {
        DrillTarget::Service(name) => vec![("service", name.to_string())],
        DrillTarget::Zone(region, zone) => {
            let region = region.iter().map(|region| ("region", region.to_string()));
            region.chain([("zone", zone.to_string())]).collect()
        }
        DrillTarget::Cluster(name) => vec![("cluster", name.to_string())],
        DrillTarget::Region(name) => vec![("region", name.to_string())],
        DrillTarget::Gateway(name, cluster) => {
            let cluster = cluster.iter().map(|cluster| ("cluster", cluster.to_string()));
            cluster.chain([("gateway", name.clone())]).collect()
        }
        DrillTarget::PeerLink(from, to) => vec![("linkFrom", from.to_string()), ("linkTo", to.to_string())],
        DrillTarget::Hub => vec![("hub", "true".to_owned())],
        DrillTarget::Url(_) => return Err(RunError::AgentTarget(format!("{target:?}"))),
    })
}

/// One agent, as it was before the fault.
#[derive(Debug)]
struct Known {
    line: Arc<dyn Line>,
    /// Its cluster and life: the same by whichever way it is asked.
    agent: String,
    clock: Option<Offset>,
    /// Its last decision.
    last: u64,
}

/// What a lab answers where an agent says its cluster and life.
const LAB: &str = "lab";

/// The agents of a drill.
#[derive(Debug)]
pub(super) struct Agents {
    order: Order,
    clock: Clock,
    /// Telling that it begins and that it is over do not run beside each other; whether it is over.
    over: Mutex<bool>,
    /// In one order for everybody: of two drills that are begun together, the first agent chooses.
    known: Mutex<Vec<Known>>,
    /// Those that carry the fault out, by their places in [`Self::known`].
    part: Mutex<Vec<usize>>,
    /// What they tell of traffic since they were asked first.
    watch: Mutex<Option<Watch>>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

#[derive(Deserialize)]
struct Running {
    id: String,
    what: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Now {
    unix_micros: u64,
    agent: String,
    last: u64,
}

/// What came of telling them to begin.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) ran: Ran,
    /// Whether any of them may have begun.
    pub(super) any: bool,
}

impl Agents {
    pub(super) fn new(order: Order, clock: Clock) -> Self {
        let (known, part) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        Self { order, clock, over: Mutex::new(false), known, part, watch: Mutex::new(None) }
    }

    /// Before anything is broken: every agent answers, and none refuses.
    pub(super) async fn check(&self) -> Result<(), String> {
        let mut known = Vec::new();
        for line in &self.order.agents {
            let (clock, Now { agent, last, .. }) = self.offset(line).await?;
            known.push(Known { line: Arc::clone(line), agent, clock, last });
        }
        known.sort_by(|a, b| a.agent.cmp(&b.agent));
        known.dedup_by(|a, b| a.agent == b.agent);
        let mut unknown = None;
        let mut any = false;
        for Known { line, .. } in &known {
            if self.order.alone
                && let Some(other) = faults(line).await?.first()
            {
                return Err(format!(
                    "the drill {} runs at the agent at {line} ({}): one at a time in a fleet",
                    other.id, other.what
                ));
            }
            let answer = line.say(Word::May(self.order.query.clone()), PATIENCE).await?;
            match answer.status {
                200..=299 => any = true,
                404 => unknown = Some(why(&answer)),
                _ => return Err(format!("the agent at {line} refuses it: {}", why(&answer))),
            }
        }
        if !any {
            return Err(unknown.unwrap_or_else(|| "no agent was asked".to_owned()));
        }
        let lines = known.iter().map(|it| Arc::clone(&it.line)).collect();
        *self.watch.lock().await = Some(Watch::start(lines, &self.order.target));
        *self.known.lock().await = known;
        Ok(())
    }

    /// Tells all of them. An agent that knows nothing of the target, or has no part in it, only looks on; one at least has.
    pub(super) async fn start(&self) -> Begun {
        let over = self.over.lock().await;
        let mut ran = Telling::begin("break", &self.order);
        if *over {
            return Begun {
                ran: ran.end(Some("came too late: it was mended already".to_owned())),
                any: true,
            };
        }
        let (mut part, mut unknown) = (self.part.lock().await, None);
        for (place, Known { line, .. }) in self.known.lock().await.iter().enumerate() {
            match line.say(Word::Start(self.order.query.clone()), PATIENCE).await {
                Ok(answer) if answer.is_success() => part.push(place),
                Ok(answer) if answer.status == 404 => unknown = Some(why(&answer)),
                Ok(answer) => {
                    let why = why(&answer);
                    let any = !part.is_empty();
                    return Begun {
                        ran: ran.end(Some(format!("was refused by the agent at {line}: {why}"))),
                        any,
                    };
                }
                // It may have heard it.
                Err(error) => return Begun { ran: ran.end(Some(error)), any: true },
            }
            ran.said(&format!("{line} told"));
        }
        let nobody = || unknown.unwrap_or_else(|| "no agent was told".to_owned());
        let any = !part.is_empty();
        Begun { ran: ran.end((!any).then(|| format!("was refused: {}", nobody()))), any }
    }

    /// Comes back with why the fault is not on any more as it should be: somebody ended it, or an agent is gone.
    pub(super) async fn lost(&self) -> String {
        let mut missed = BTreeMap::new();
        loop {
            tokio::time::sleep(WATCH).await;
            let part = self.part.lock().await.clone();
            let known = self.known.lock().await;
            for Known { line, .. } in part.iter().filter_map(|place| known.get(*place)) {
                let missed: &mut u32 = missed.entry(line.to_string()).or_default();
                match faults(line).await {
                    Ok(running) if running.iter().any(|it| it.id == self.order.id) => *missed = 0,
                    Ok(_) => {
                        return format!("the agent at {line} carries it out no more: it was ended there");
                    }
                    Err(why) => {
                        *missed += 1;
                        if *missed >= MISSED {
                            return why;
                        }
                    }
                }
            }
        }
    }

    /// Ends it at all of them, and looks that nothing is left.
    pub(super) async fn end(&self) -> Ran {
        let mut over = self.over.lock().await;
        *over = true;
        let ran = Telling::begin("mend", &self.order);
        let mut tasks = tokio::task::JoinSet::new();
        for line in self.order.agents.iter().cloned() {
            let id = self.order.id.clone();
            tasks.spawn(async move { mend(&*line, &id, "by the runner of the drill").await });
        }
        let failed: Vec<String> = tasks.join_all().await.into_iter().filter_map(Result::err).collect();
        ran.end((!failed.is_empty()).then(|| failed.join("; ")))
    }

    /// Until every agent says that nothing is left of it. Bounded by whoever waits.
    pub(super) async fn until_gone(&self) {
        loop {
            let mut gone = true;
            for line in &self.order.agents {
                let left = faults(line).await.map(|it| it.iter().any(|it| it.id == self.order.id));
                gone &= left == Ok(false);
            }
            if gone {
                return;
            }
            tokio::time::sleep(WATCH).await;
        }
    }

    /// What they saw; `None` if none was asked. A lab breaks, and sees nothing.
    pub(super) async fn told(&self, moments: Moments) -> Option<AgentsPart> {
        let known = self.known.lock().await;
        let watched = self.watch.lock().await.take().map(Watch::end).unwrap_or_default();
        let mut watched = watched.into_iter();
        let mut told = Vec::new();
        for Known { line, agent, clock, last } in known.iter() {
            let traffic = watched.next().unwrap_or_else(|| Err(format!("the agent at {line} was not asked")));
            if agent == LAB {
                continue;
            }
            let after = self.offset(line).await.ok().and_then(|(after, _)| after);
            let events = self.events(line, *last).await;
            let in_force = read(line, Word::InForce, PATIENCE).await;
            told.push(AgentTold {
                agent: line.to_string(),
                before: *clock,
                after,
                events,
                in_force,
                traffic,
            });
        }
        (!told.is_empty()).then(|| agents_part(&told, &self.order.target, &self.clock, moments))
    }

    async fn offset(&self, line: &Arc<dyn Line>) -> Result<(Option<Offset>, Now), String> {
        let mut asked = Vec::new();
        // The first question finds the way; it does not count.
        let mut now: Now = read(line, Word::Clock, MEND_PATIENCE).await?;
        for _ in 0..ASKED {
            let sent = self.clock.now();
            now = read(line, Word::Clock, MEND_PATIENCE).await?;
            asked.push((
                self.clock.unix_micros(sent),
                now.unix_micros,
                self.clock.unix_micros(self.clock.now()),
            ));
        }
        Ok((offset(&asked), now))
    }

    async fn events(&self, line: &Arc<dyn Line>, mut after: u64) -> Result<Vec<Event>, String> {
        let mut events: Vec<Event> = Vec::new();
        for _ in 0..PAGES {
            let page: Vec<Event> = read(line, Word::Decisions(after), PATIENCE).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            events.extend(page);
        }
        Ok(events)
    }
}

/// What the agent answers, read.
pub(super) async fn read<T: DeserializeOwned>(
    line: &Arc<dyn Line>,
    word: Word,
    limit: Duration,
) -> Result<T, String> {
    let answer = line.say(word, limit).await?;
    if !answer.is_success() {
        return Err(format!("the agent at {line} answered {}: {}", answer.status, why(&answer)));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("what the agent at {line} answered cannot be read: {error}"))
}

async fn faults(line: &Arc<dyn Line>) -> Result<Vec<Running>, String> {
    read(line, Word::Faults, MEND_PATIENCE).await
}

/// Ends the fault of a drill at one agent, and looks that nothing is left of it; whether there was one.
///
/// # Errors
/// If the agent gives no answer, or says that the fault goes on.
pub async fn mend(line: &dyn Line, id: &str, by: &str) -> Result<bool, String> {
    let word = Word::End { id: id.to_owned(), by: by.to_owned() };
    // 404: it is not there any more, or never was.
    let answer = line.say(word, MEND_PATIENCE).await?;
    if !answer.is_success() && answer.status != 404 {
        return Err(format!("the agent at {line} does not end it: {}", why(&answer)));
    }
    let left = line.say(Word::Faults, MEND_PATIENCE).await?;
    let running: Vec<Running> = serde_json::from_slice(&left.body).map_err(|error| {
        format!("the agent at {line} answered {}, which cannot be read: {error}", left.status)
    })?;
    if running.iter().any(|running| running.id == id) {
        return Err(format!("the agent at {line} says that the fault goes on"));
    }
    Ok(answer.is_success())
}

/// The words of a refusal.
fn why(answer: &Answer) -> String {
    match serde_json::from_slice::<Failure>(&answer.body) {
        Ok(failure) => failure.error,
        // So an admin address answers that has no such path.
        Err(_) if answer.status == 404 => {
            "it is too old for what it is asked of a drill: update it".to_owned()
        }
        Err(_) => format!("status {}", answer.status),
    }
}

/// What is told to agents, in the form of a command that ran.
struct Telling {
    ran: Ran,
    began: Instant,
}

impl Telling {
    fn begin(what: &str, order: &Order) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let agents = order.agents.iter().map(ToString::to_string);
        let command = ["agents".to_owned(), what.to_owned()].into_iter().chain(agents).collect();
        let ran =
            Ran { command, started_unix_us: micros(unix), took_ms: 0, error: None, output: String::new() };
        Self { ran, began: Instant::now() }
    }

    fn said(&mut self, line: &str) {
        self.ran.output.push_str(line);
        self.ran.output.push('\n');
    }

    fn end(mut self, error: Option<String>) -> Ran {
        self.ran.took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if error.is_some() {
            // It says all that there is to say.
            self.ran.output.clear();
        }
        Ran { error, ..self.ran }
    }
}
