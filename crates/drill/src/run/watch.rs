//! Asking agents each second what goes where, while a drill runs.

use super::agents::{encoded, question};
use crate::timeline::{InForce, Told};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidegate_api::{Drill, DrillTarget};
use tokio::task::{AbortHandle, JoinSet};

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// An answer that takes longer is left out: the next one says as much, as all counts are sums.
const PATIENCE: Duration = Duration::from_millis(900);
/// Answers that are kept of an agent: a drill of four hours. After that nothing more is asked.
const MAX_ANSWERS: usize = 4 * 3600;
/// Numbers that are kept of all agents together.
const MAX_NUMBERS: usize = 5_000_000;

type Books = Arc<Mutex<BTreeMap<SocketAddr, Vec<Told>>>>;

/// Asks until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    books: Books,
    task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    pub(super) fn start(agents: &[SocketAddr], drill: &Drill) -> Self {
        let books = Books::default();
        let path = match &drill.target {
            DrillTarget::Service(name) => format!("/api/v1/traffic?service={}", encoded(&name.to_string())),
            _ => "/api/v1/traffic".to_owned(),
        };
        let task = tokio::spawn(watch(agents.to_vec(), path, Arc::clone(&books))).abort_handle();
        Self { books, task }
    }

    /// What an agent told so far, in order.
    pub(super) fn of(&self, agent: SocketAddr) -> Vec<Told> {
        crate::lock(&self.books).get(&agent).cloned().unwrap_or_default()
    }
}

async fn watch(agents: Vec<SocketAddr>, path: String, books: Books) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut numbers = 0;
    for _ in 0..MAX_ANSWERS {
        tick.tick().await;
        let mut asked = JoinSet::new();
        for agent in agents.iter().copied() {
            let path = path.clone();
            asked.spawn(async move { (agent, question::<Told>(agent, &path, PATIENCE).await) });
        }
        for (agent, told) in asked.join_all().await {
            let Ok(told) = told else { continue };
            numbers += told.targets.len() + told.pools.len();
            crate::lock(&books).entry(agent).or_default().push(told);
        }
        if numbers > MAX_NUMBERS {
            break;
        }
    }
}

/// What is in force at an agent; `None` if it does not say.
pub(super) async fn in_force(agent: SocketAddr, limit: Duration) -> Option<InForce> {
    question(agent, "/api/v1/in-force", limit).await.ok()
}
