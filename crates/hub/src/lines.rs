//! The ways to the agents that are connected: words go out on their streams, and the answers come back by number.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidegate_link::{
    access::Caller,
    hub::proto::{self, AgentAnswer, AgentWord, agent_word},
};
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
    /// Whether the agent knows words at all.
    able: bool,
    words: mpsc::Sender<AgentWord>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    answers: BTreeMap<u64, oneshot::Sender<AgentAnswer>>,
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
    ) -> (Arc<Stream>, mpsc::Receiver<AgentWord>) {
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

    pub(crate) fn get(&self, key: &(ClusterName, u64)) -> Option<Arc<Stream>> {
        lock(&self.0).get(key).cloned()
    }

    /// Who is connected, and whether they know of words.
    pub(crate) fn agents(&self) -> Vec<(ClusterName, u64, bool)> {
        lock(&self.0).iter().map(|((cluster, boot), it)| (cluster.clone(), *boot, it.able)).collect()
    }

    /// One agent of each connected cluster: replicas know the same.
    pub(crate) fn clusters(&self) -> BTreeMap<ClusterName, Arc<Stream>> {
        let all = lock(&self.0);
        all.iter().map(|((cluster, _), stream)| (cluster.clone(), Arc::clone(stream))).collect()
    }
}

impl Stream {
    /// Whether the agent knows words at all.
    pub(crate) const fn is_able(&self) -> bool {
        self.able
    }

    /// The agent has answered.
    pub(crate) fn answered(&self, answer: AgentAnswer) {
        let asked = lock(&self.waiting).answers.remove(&answer.number);
        // Who asked may have given it up.
        let _ = asked.map(|it| it.send(answer));
    }

    /// Says a word. `None`: the stream has ended.
    pub(crate) async fn ask(&self, word: agent_word::Word) -> Option<AgentAnswer> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut waiting = lock(&self.waiting);
            waiting.answers.retain(|_, it| !it.is_closed());
            waiting.last += 1;
            let number = waiting.last;
            waiting.answers.insert(number, answer);
            number
        };
        self.words.send(AgentWord { number, word: Some(word) }).await.ok()?;
        answered.await.ok()
    }

    /// Asks what the agent's admin address would be asked, in somebody's name: the status, and the body.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn request(
        &self,
        by: &Caller,
        method: &str,
        target: &str,
        limit: Duration,
    ) -> Result<(u16, Vec<u8>), String> {
        if !self.able {
            return Err("its agent is too old to be asked by the hub: update it".to_owned());
        }
        let asker = proto::Asker {
            name: by.name.clone(),
            role: by.role.to_string(),
            limited: by.namespaces.is_some(),
            namespaces: by.namespaces.iter().flatten().cloned().collect(),
        };
        let (method, target) = (method.to_owned(), target.to_owned());
        let request = proto::Request { method, target, by: Some(asker) };
        match tokio::time::timeout(limit, self.ask(agent_word::Word::Request(request))).await {
            Ok(Some(AgentAnswer { status, body, .. })) => Ok((u16::try_from(status).unwrap_or(500), body)),
            Ok(None) => Err("its agent is not connected any more".to_owned()),
            Err(_) => Err(format!("its agent gave no answer within {limit:?}")),
        }
    }
}
