//! Which streams there are, for inspection. It decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::Machine;
use crate::{NodeInfo, NodeResources, NodeStatus, Transport};

/// How many nodes without a stream are remembered.
const MAX_GONE: usize = 1024;

pub(crate) struct Registry {
    state: Mutex<State>,
    max_per_node: usize,
}

/// A node has more streams than it may.
#[derive(Debug, thiserror::Error)]
#[error("node {node:?} has {limit} streams open, and may have no more")]
pub(crate) struct TooManyStreams {
    node: String,
    limit: usize,
}

#[derive(Default)]
struct State {
    next_id: u64,
    live: BTreeMap<u64, Stream>,
    /// How many streams each node has, by its id
    by_node: BTreeMap<String, usize>,
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
    pub(crate) fn new(max_per_node: usize) -> Self {
        Self { state: Mutex::default(), max_per_node }
    }

    /// Returns the id under which the stream is to be signed off.
    ///
    /// # Errors
    /// If the node has as many streams as it may.
    pub(crate) fn connected(
        &self,
        node: &Arc<NodeInfo>,
        transport: Transport,
        machine: &Arc<Mutex<Machine>>,
    ) -> Result<u64, TooManyStreams> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = state.by_node.get(&node.id).copied().unwrap_or(0);
        if streams >= self.max_per_node {
            return Err(TooManyStreams { node: node.id.clone(), limit: self.max_per_node });
        }
        state.by_node.insert(node.id.clone(), streams + 1);
        state.gone.retain(|gone| gone.node.id != node.id);
        state.next_id += 1;
        let id = state.next_id;
        let (node, machine) = (Arc::clone(node), Arc::clone(machine));
        state.live.insert(id, Stream { node, transport, machine });
        Ok(id)
    }

    pub(crate) fn disconnected(&self, id: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = state.live.remove(&id) else { return };
        if let Some(streams) = state.by_node.get_mut(&stream.node.id) {
            *streams -= 1;
            if *streams > 0 {
                return;
            }
            state.by_node.remove(&stream.node.id);
        }
        let status = stream.status(false);
        if state.gone.len() == MAX_GONE {
            state.gone.pop_front();
        }
        state.gone.push_back(status);
    }

    /// The resources of the connected nodes that are wanted; `None` if there are more than `limit`.
    pub(crate) fn resources(
        &self,
        wanted: impl Fn(&NodeInfo) -> bool,
        limit: usize,
    ) -> Option<Vec<NodeResources>> {
        let live: Vec<Stream> = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.live.values().filter(|stream| wanted(&stream.node)).cloned().collect()
        };
        let mut left = limit;
        let mut nodes = Vec::new();
        for stream in live {
            let machine = stream.machine.lock().unwrap_or_else(PoisonError::into_inner);
            let resources: Vec<_> = machine.resources().take(left + 1).collect();
            left = left.checked_sub(resources.len())?;
            nodes.push(NodeResources { node: Arc::clone(&stream.node), resources });
        }
        Some(nodes)
    }

    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let (live, gone) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.live.values().cloned().collect::<Vec<_>>(), state.gone.clone())
        };
        live.iter().map(|stream| stream.status(true)).chain(gone).collect()
    }
}
