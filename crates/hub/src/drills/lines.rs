//! The ways to the agents that are connected, for whoever runs a drill.

use crate::office::Office;
use std::{fmt, sync::Arc, time::Duration};
use tidegate_drill::run::line::{Answer, Answering, Line, Word};
use tidegate_link::hub::proto::{self, AgentAnswer, agent_word};
use tidegate_model::ClusterName;

/// The way to one agent, whichever stream it has.
pub(super) struct Agent {
    office: Arc<Office>,
    key: (ClusterName, u64),
    name: String,
}

/// The ways to all agents that are connected. People know one by its cluster, replicas also by their lives.
pub(super) fn all(office: &Arc<Office>) -> Vec<Arc<dyn Line>> {
    let agents = office.lines.agents();
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
            let stream = self.office.lines.get(&self.key).ok_or_else(gone)?;
            if !stream.is_able() {
                return Err(too_old(&self.name));
            }
            match tokio::time::timeout(limit, stream.ask(told(word))).await {
                Ok(Some(AgentAnswer { status, body, .. })) => {
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

fn told(word: Word) -> agent_word::Word {
    match word {
        Word::May(query) => agent_word::Word::May(query),
        Word::Start(query) => agent_word::Word::Start(query),
        Word::End { id, by } => agent_word::Word::End(proto::EndFault { id, by }),
        Word::Faults => agent_word::Word::Faults(proto::Nothing {}),
        Word::Clock => agent_word::Word::Clock(proto::Nothing {}),
        Word::Decisions(after) => agent_word::Word::DecisionsAfter(after),
        Word::Traffic(service) => agent_word::Word::Traffic(service.unwrap_or_default()),
        Word::InForce => agent_word::Word::InForce(proto::Nothing {}),
    }
}
