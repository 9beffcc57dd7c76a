//! Telling agents what to break, that it is over, and asking them what they saw: their admin addresses, over HTTP/1.

use super::{
    RunError,
    command::Ran,
    watch::{Watch, in_force},
};
use crate::{
    clock::{Clock, micros},
    course::Moments,
    timeline::{AgentTold, AgentsPart, Event, Offset, agents_part, offset},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tidegate_api::{AgentFault, AgentFaultKind, Drill, DrillTarget};
use tokio::{net::TcpStream, sync::Mutex};

/// An agent that works answers within milliseconds; of a large fleet judging the headroom takes seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Telling one agent that it is over takes no longer.
const MEND_PATIENCE: Duration = Duration::from_secs(2);
/// All of them together, more or less.
pub(super) const MEND_LIMIT: Duration = Duration::from_secs(5);
/// An answer is no longer than this: a page of 1000 decisions.
const ANSWER_LIMIT: usize = 16 << 20;
/// Pages of decisions that are read: an agent keeps 10,000.
const PAGES: usize = 11;
/// How often an agent is asked for its time: the fastest answer says it best.
const ASKED: usize = 5;

/// What agents are told.
#[derive(Clone, Debug)]
pub(super) struct Order {
    id: String,
    /// In one order for everybody: of two drills that are begun together, the first agent chooses.
    agents: Vec<SocketAddr>,
    /// The query, without the id.
    query: String,
    drill: Drill,
}

impl Order {
    pub(super) fn new(
        drill: &Drill,
        fault: &AgentFault,
        agents: &[SocketAddr],
        id: &str,
    ) -> Result<Self, RunError> {
        let mut agents = agents.to_vec();
        agents.sort_unstable();
        agents.dedup();
        if agents.is_empty() {
            return Err(RunError::NoAgent);
        }
        let mut fields = target(&drill.target)?;
        let (kind, more) = match fault.kind {
            AgentFaultKind::Shift => ("Shift", None),
            AgentFaultKind::Verdict => ("Verdict", None),
            AgentFaultKind::BlackHole(via) => ("BlackHole", via.map(|via| ("via", via.to_string()))),
            AgentFaultKind::Abort(status) => ("Abort", Some(("status", status.to_string()))),
            AgentFaultKind::Delay(by) => ("Delay", Some(("delay", format!("{}ms", by.as_millis())))),
            AgentFaultKind::Brownout => ("Brownout", None),
        };
        fields.extend(more);
        fields.push(("kind", kind.to_owned()));
        fields.push(("percent", fault.percent.to_string()));
        fields.push(("markedOnly", fault.marked_only.to_string()));
        fields.push(("expires", format!("{}ms", drill.expires_after.as_millis())));
        fields.push(("by", format!("drill run of {}", drill.name)));
        let query =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>();
        Ok(Self { id: id.to_owned(), agents, query: query.join("&"), drill: drill.clone() })
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
        other => return Err(RunError::AgentTarget(format!("{other:?}"))),
    })
}

/// Everything but letters, digits and `-._~` as `%XX`.
pub(super) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The agents of a drill.
#[derive(Debug)]
pub(super) struct Agents {
    order: Order,
    clock: Clock,
    /// Telling that it begins and that it is over do not run beside each other; whether it is over.
    over: Mutex<bool>,
    /// What was known of each before the fault: its clock, and the last decision.
    before: Mutex<BTreeMap<SocketAddr, (Option<Offset>, u64)>>,
    /// What they tell of traffic since then.
    watch: Mutex<Option<Watch>>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

#[derive(Deserialize)]
struct Running {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Now {
    unix_micros: u64,
}

impl Agents {
    pub(super) fn new(order: Order, clock: Clock) -> Self {
        Self {
            order,
            clock,
            over: Mutex::new(false),
            before: Mutex::new(BTreeMap::new()),
            watch: Mutex::new(None),
        }
    }

    /// Before anything is broken: every agent answers.
    pub(super) async fn check(&self) -> Result<(), String> {
        let mut before = self.before.lock().await;
        for agent in &self.order.agents {
            let clock = self.offset(*agent).await;
            let last = self.events(*agent, 0).await?.last().map_or(0, |event| event.seq);
            before.insert(*agent, (clock, last));
        }
        *self.watch.lock().await = Some(Watch::start(&self.order.agents, &self.order.drill));
        Ok(())
    }

    /// Tells all of them. An agent that knows nothing of the target, or has no part in it, only looks on; one at least has.
    pub(super) async fn start(&self) -> Ran {
        let over = self.over.lock().await;
        let mut ran = Telling::begin("break", &self.order);
        if *over {
            return ran.end(Some("came too late: it was mended already".to_owned()));
        }
        let Order { id, agents, query, .. } = &self.order;
        let (mut told, mut unknown) = (0, None);
        for agent in agents {
            let path = format!("/api/v1/drills?id={}&{query}", encoded(id));
            match ask(*agent, Method::POST, &path, PATIENCE).await {
                Ok((status, _)) if status.is_success() => told += 1,
                Ok((StatusCode::NOT_FOUND, body)) => unknown = Some(why(StatusCode::NOT_FOUND, &body)),
                Ok((status, body)) => {
                    let why = why(status, &body);
                    return ran.end(Some(format!("was refused by the agent at {agent}: {why}")));
                }
                Err(error) => return ran.end(Some(error)),
            }
            ran.said(&format!("{agent} told"));
        }
        let nobody = || unknown.unwrap_or_else(|| "no agent was told".to_owned());
        ran.end((told == 0).then(|| format!("was refused: {}", nobody())))
    }

    /// Ends it at all of them, and looks that nothing is left.
    pub(super) async fn end(&self) -> Ran {
        let mut over = self.over.lock().await;
        *over = true;
        let ran = Telling::begin("mend", &self.order);
        let Order { id, agents, .. } = &self.order;
        let mut tasks = tokio::task::JoinSet::new();
        for agent in agents.iter().copied() {
            let id = id.clone();
            tasks.spawn(async move { mend(agent, &id).await });
        }
        let failed: Vec<String> = tasks.join_all().await.into_iter().filter_map(Result::err).collect();
        ran.end((!failed.is_empty()).then(|| failed.join("; ")))
    }

    /// What they saw.
    pub(super) async fn told(&self, moments: Moments) -> AgentsPart {
        let before = self.before.lock().await;
        let watch = self.watch.lock().await.take();
        let mut told = Vec::new();
        for agent in &self.order.agents {
            let (clock, last) = before.get(agent).copied().unwrap_or((None, 0));
            let after = self.offset(*agent).await;
            let events = self.events(*agent, last).await;
            told.push(AgentTold {
                agent: agent.to_string(),
                before: clock,
                after,
                events,
                in_force: in_force(*agent, PATIENCE).await,
                traffic: watch.as_ref().map(|watch| watch.of(*agent)).unwrap_or_default(),
            });
        }
        agents_part(&told, &self.order.drill.target, &self.clock, moments)
    }

    async fn offset(&self, agent: SocketAddr) -> Option<Offset> {
        let mut asked = Vec::new();
        for _ in 0..ASKED {
            let sent = self.clock.now();
            let (_, body) = ask(agent, Method::GET, "/api/v1/time", MEND_PATIENCE).await.ok()?;
            let now: Now = serde_json::from_slice(&body).ok()?;
            asked.push((
                self.clock.unix_micros(sent),
                now.unix_micros,
                self.clock.unix_micros(self.clock.now()),
            ));
        }
        offset(&asked)
    }

    async fn events(&self, agent: SocketAddr, mut after: u64) -> Result<Vec<Event>, String> {
        let mut events: Vec<Event> = Vec::new();
        for _ in 0..PAGES {
            let path = format!("/api/v1/decisions?after={after}");
            let (status, body) = ask(agent, Method::GET, &path, PATIENCE).await?;
            if !status.is_success() {
                return Err(format!("the agent at {agent} answered {status}: {}", why(status, &body)));
            }
            let page: Vec<Event> = serde_json::from_slice(&body)
                .map_err(|error| format!("the decisions of the agent at {agent} cannot be read: {error}"))?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            events.extend(page);
        }
        Ok(events)
    }
}

async fn mend(agent: SocketAddr, id: &str) -> Result<(), String> {
    let path = format!("/api/v1/drills/{}?by={}", encoded(id), encoded("by the runner of the drill"));
    // 404: it is not there any more, or never was.
    ask(agent, Method::DELETE, &path, MEND_PATIENCE).await?;
    let (status, body) = ask(agent, Method::GET, "/api/v1/drills", MEND_PATIENCE).await?;
    let running: Vec<Running> = serde_json::from_slice(&body)
        .map_err(|error| format!("the agent at {agent} answered {status}, which cannot be read: {error}"))?;
    if running.iter().any(|running| running.id == id) {
        return Err(format!("the agent at {agent} says that the fault goes on"));
    }
    Ok(())
}

/// The words of a refusal.
fn why(status: StatusCode, body: &[u8]) -> String {
    serde_json::from_slice::<Failure>(body).map_or_else(|_| status.to_string(), |failure| failure.error)
}

/// The answer to a question about one thing.
pub(super) async fn question<T: DeserializeOwned>(
    agent: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<T, String> {
    let (status, body) = ask(agent, Method::GET, path, limit).await?;
    serde_json::from_slice(&body)
        .map_err(|error| format!("the agent at {agent} answered {status}, which cannot be read: {error}"))
}

async fn ask(
    agent: SocketAddr,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), String> {
    match tokio::time::timeout(limit, exchange(agent, method, path)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("the agent at {agent} cannot be asked: {error}")),
        Err(_) => Err(format!("the agent at {agent} gave no answer within {limit:?}")),
    }
}

type Unsaid = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(agent: SocketAddr, method: Method, path: &str) -> Result<(StatusCode, Bytes), Unsaid> {
    let stream = TcpStream::connect(agent).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", agent.to_string());
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
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
