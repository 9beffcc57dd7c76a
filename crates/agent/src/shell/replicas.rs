//! The other replicas of this agent: what they are told, and what they say on its way to the core.

use super::Shell;
use crate::{
    actions::Action,
    core::{Input, Output},
    replicas::{Said, actions, heard, lasting, name_of, welcome},
};
use std::time::Duration;
use tidegate_link::{LastingWord, ReplicaEvent, ReplicaWord};
use tidegate_model::{ClusterName, PeerBoot};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// A starting agent waits so long for the word of another replica before it reads its manifests: a dial takes half a
/// second at most, and all that a start may wait for is two.
const AWAIT: Duration = Duration::from_millis(600);

impl Shell {
    /// Hears the other replicas before the first manifests: what they say of the pools is newer than what is on disk. Ends when
    /// each address was tried, or after [`AWAIT`].
    pub(super) async fn await_replicas(&mut self, events: &mut mpsc::Receiver<ReplicaEvent>) {
        if self.replicas.is_none() {
            return;
        }
        let until = Instant::now() + AWAIT;
        while self.awaited > 0 {
            let Ok(Some(event)) = timeout_at(until, events.recv()).await else { break };
            match &event {
                ReplicaEvent::Absent(_) | ReplicaEvent::Word { word: ReplicaWord { full: true, .. }, .. } => {
                    self.awaited -= 1;
                }
                _ => {}
            }
            self.replica(event).await;
        }
        tracing::info!(heard = self.core.replicas(), "other replicas of this agent");
    }

    pub(super) async fn replica(&mut self, event: ReplicaEvent) {
        match event {
            ReplicaEvent::Word { replica, word, .. } => self.replica_said(replica, &word).await,
            ReplicaEvent::Lost { replica, why } => {
                tracing::warn!(replica = %name_of(replica), why, "a replica is not heard any more");
                let replica = name_of(replica);
                self.take_in(Input::Replica { replica, said: Said::Silent(why) }).await;
            }
            ReplicaEvent::Absent(address) => tracing::debug!(%address, "no other replica answers"),
            ReplicaEvent::Listener(answer) => {
                // Whoever asked may be gone.
                let _ = answer.send(welcome(self.core.snapshot(self.now())));
            }
        }
    }

    async fn replica_said(&mut self, replica: PeerBoot, word: &ReplicaWord) {
        let inputs = match heard(replica, word) {
            Ok(inputs) => inputs,
            Err(why) => {
                if let Some((link, _)) = &self.replicas {
                    link.refuse(replica, &why);
                }
                return;
            }
        };
        let measured = |input: &Input| matches!(input, Input::Replica { said: Said::News { demand, .. }, .. } if !demand.is_empty());
        let has_demand = inputs.iter().any(measured);
        for input in inputs {
            self.take_in(input).await;
        }
        if has_demand {
            self.publish_demand();
        }
    }

    /// What another cluster's agent tells of operators' actions; what makes no sense is passed over.
    pub(super) async fn hear_actions(&mut self, peer: &ClusterName, words: &[LastingWord]) {
        match actions(words) {
            Ok(Some(input)) => self.take_in(input).await,
            Ok(None) => {}
            Err(why) => tracing::warn!(%peer, why, "what a peer tells of shifts is refused"),
        }
    }

    /// What was done about shifts is told to everybody, and everybody passes it on.
    pub(super) fn pass_on(&mut self, actions: &[Action]) {
        if actions.is_empty() {
            return;
        }
        let words = lasting(actions);
        if let Some((link, _)) = &self.replicas {
            link.say_lasting(words.clone());
        }
        self.peer_server.publish_lasting(words);
    }

    pub(super) fn tell_replicas(&mut self, input: &Input) {
        let Some((link, telling)) = &mut self.replicas else { return };
        let (facts, news) = telling.of(input);
        if !facts.is_empty() {
            link.say(facts);
        }
        if let Some(news) = news {
            link.tell(news);
        }
    }

    pub(super) fn retract_from_replicas(&mut self, output: &Output) {
        let Some((link, telling)) = &mut self.replicas else { return };
        let gone = telling.retract(output);
        if !gone.is_empty() {
            link.say(gone);
        }
    }
}
