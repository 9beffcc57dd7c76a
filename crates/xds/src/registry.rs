//! Which streams there are, for inspection. It decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::Machine;
use crate::{NodeInfo, NodeStatus, Transport};

/// How many nodes without a stream are remembered.
const MAX_GONE: usize = 1024;

#[derive(Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    live: BTreeMap<u64, Stream>,
    gone: VecDeque<NodeStatus>,
}

#[derive(Clone)]
struct Stream {
    node: Arc<NodeInfo>,
    transport: Transport,
    machine: Arc<Mutex<Machine>>,
}

impl Stream {
    fn status(&self, connected: bool) -> NodeStatus {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let (node, transport) = (Arc::clone(&self.node), self.transport);
        NodeStatus { node, transport, connected, types: machine.status() }
    }
}

impl Registry {
    /// Returns the id under which the stream is to be signed off.
    pub(crate) fn connected(
        &self,
        node: &Arc<NodeInfo>,
        transport: Transport,
        machine: &Arc<Mutex<Machine>>,
    ) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.gone.retain(|gone| gone.node.id != node.id);
        state.next_id += 1;
        let id = state.next_id;
        let (node, machine) = (Arc::clone(node), Arc::clone(machine));
        state.live.insert(id, Stream { node, transport, machine });
        id
    }

    pub(crate) fn disconnected(&self, id: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = state.live.remove(&id) else { return };
        if state.live.values().any(|other| other.node.id == stream.node.id) {
            return;
        }
        let mut status = stream.status(false);
        for of_type in &mut status.types {
            of_type.resources = None;
        }
        if state.gone.len() == MAX_GONE {
            state.gone.pop_front();
        }
        state.gone.push_back(status);
    }

    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let (live, gone) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.live.values().cloned().collect::<Vec<_>>(), state.gone.clone())
        };
        live.iter().map(|stream| stream.status(true)).chain(gone).collect()
    }
}
