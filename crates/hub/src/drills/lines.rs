//! The ways to the agents that are connected: words about drills go out on their streams, and the answers come back by number.

use crate::office::Office;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidegate_drill::run::line::{Answer, Answering, Line, Word};
use tidegate_link::hub::proto::{self, DrillAnswer, DrillWord, drill_word};
use tidegate_model::ClusterName;
use tokio::sync::{mpsc, oneshot};

/// So many words wait for a stream; more than any drill says at once.
const WORDS: usize = 64;

/// Of all connected agents, by cluster and life.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<BTreeMap<(ClusterName, u64), Arc<Stream>>>);

/// One agent's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Whether the agent knows such words.
    able: bool,
    words: mpsc::Sender<DrillWord>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    answers: BTreeMap<u64, oneshot::Sender<DrillAnswer>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lines {
    /// An agent is connected; the words that its stream is to carry.
    pub(crate) fn open(
        &self,
        cluster: &ClusterName,
        boot: u64,
        able: bool,
    ) -> (Arc<Stream>, mpsc::Receiver<DrillWord>) {
        let (words, carried) = mpsc::channel(WORDS);
        let stream = Arc::new(Stream { able, words, waiting: Mutex::default() });
        lock(&self.0).insert((cluster.clone(), boot), Arc::clone(&stream));
        (stream, carried)
    }

    /// Its stream has ended, unless it has another one already. Who waits for an answer hears that none comes.
    pub(crate) fn close(&self, cluster: &ClusterName, boot: u64, stream: &Arc<Stream>) {
        let key = (cluster.clone(), boot);
        let mut all = lock(&self.0);
        if all.get(&key).is_some_and(|it| Arc::ptr_eq(it, stream)) {
            all.remove(&key);
        }
        lock(&stream.waiting).answers.clear();
    }

    fn get(&self, key: &(ClusterName, u64)) -> Option<Arc<Stream>> {
        lock(&self.0).get(key).cloned()
    }

    /// Who is connected, and whether they know of drills.
    pub(super) fn agents(&self) -> Vec<(ClusterName, u64, bool)> {
        lock(&self.0).iter().map(|((cluster, boot), it)| (cluster.clone(), *boot, it.able)).collect()
    }
}

impl Stream {
    /// The agent has answered.
    pub(crate) fn answered(&self, answer: DrillAnswer) {
        let asked = lock(&self.waiting).answers.remove(&answer.number);
        // Who asked may have given it up.
        let _ = asked.map(|it| it.send(answer));
    }

    async fn ask(&self, word: drill_word::Word) -> Option<DrillAnswer> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut waiting = lock(&self.waiting);
            waiting.answers.retain(|_, it| !it.is_closed());
            waiting.last += 1;
            let number = waiting.last;
            waiting.answers.insert(number, answer);
            number
        };
        self.words.send(DrillWord { number, word: Some(word) }).await.ok()?;
        answered.await.ok()
    }
}

/// The way to one agent, whichever stream it has.
pub(super) struct Agent {
    office: Arc<Office>,
    key: (ClusterName, u64),
    name: String,
}

/// The ways to all agents that are connected. People know one by its cluster, replicas also by their lives.
pub(super) fn all(office: &Arc<Office>) -> Vec<Arc<dyn Line>> {
    let agents = office.drilling.lines.agents();
    let alone = |cluster: &ClusterName| agents.iter().filter(|(it, ..)| it == cluster).count() == 1;
    let line = |(cluster, boot, _): &(ClusterName, u64, bool)| -> Arc<dyn Line> {
        let name = if alone(cluster) { cluster.to_string() } else { format!("{cluster}/{:08x}", boot >> 32) };
        Arc::new(Agent { office: Arc::clone(office), key: (cluster.clone(), *boot), name })
    };
    agents.iter().map(line).collect()
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Agent").field(&self.name).finish()
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Line for Agent {
    fn say(&self, word: Word, limit: Duration) -> Answering<'_> {
        Box::pin(async move {
            if matches!(word, Word::Start(_)) {
                // Before anybody is told: a hub that is killed now knows later that something may have been broken.
                self.office.note_fault().await?;
            }
            let gone = || format!("the agent at {self} is not connected to the hub");
            let stream = self.office.drilling.lines.get(&self.key).ok_or_else(gone)?;
            if !stream.able {
                return Err(too_old(&self.name));
            }
            match tokio::time::timeout(limit, stream.ask(told(word))).await {
                Ok(Some(DrillAnswer { status, body, .. })) => {
                    Ok(Answer { status: u16::try_from(status).unwrap_or(500), body: body.into() })
                }
                Ok(None) => Err(gone()),
                Err(_) => Err(format!("the agent at {self} gave no answer within {limit:?}")),
            }
        })
    }
}

pub(super) fn too_old(agent: &str) -> String {
    format!("the agent of {agent} is too old to be told of drills by the hub: update it")
}

fn told(word: Word) -> drill_word::Word {
    match word {
        Word::May(query) => drill_word::Word::May(query),
        Word::Start(query) => drill_word::Word::Start(query),
        Word::End { id, by } => drill_word::Word::End(proto::EndFault { id, by }),
        Word::Faults => drill_word::Word::Faults(proto::Nothing {}),
        Word::Clock => drill_word::Word::Clock(proto::Nothing {}),
        Word::Decisions(after) => drill_word::Word::DecisionsAfter(after),
        Word::Traffic(service) => drill_word::Word::Traffic(service.unwrap_or_default()),
        Word::InForce => drill_word::Word::InForce(proto::Nothing {}),
    }
}
