//! Re-routing: streams that have a choice move on, so that those that have none are served.
//!
//! Pouring is greedy: a stream that could go elsewhere may fill the only pool that another one reaches. So at the end
//! of each pass that leaves something over, ways are looked for: from a stream with something left to a full pool
//! that it reaches, from there to a stream that uses that pool, to another pool that this one reaches, and so on until
//! a pool has room in this pass. Along such a way everybody moves on by one pool, and only the last pool gets more.
//!
//! These are the augmenting paths of a maximum flow (Ford and Fulkerson), taken shortest first (Dinitz), so what is
//! served by the end of each pass is the most that its limits allow to anybody: nothing serves beyond its admit, and
//! nothing that traffic was moved away from serves, while moving on would do; and more room never serves less.
//!
//! Among ways of the same length the first is taken: streams with something left by their order; the pools that a
//! stream reaches by its tiers, the nearest first; of the streams that use a pool those that come from the farthest
//! tier, then by their order. All ways of one length are exhausted before longer ones, in that order, so amounts
//! change steadily with demand and health, and a small change moves little.
//!
//! *Bound*: the shortest way is longer in each phase than in the one before, so there are at most as many phases as
//! nodes (streams, pools, gates); a phase looks at each stream and pool once, and each push in it exhausts a step
//! (what is left, what a stream gets of a pool, a gate, the room of a pool). Nothing left over or no room: no cost.
//!
//! A gate stands before its pool as a node of its own, through which the own streams reach it.

use super::{Pass, PoolBudget, Spending, Stream};
use std::cmp::Reverse;

/// Traffic that was moved on, so that another stream's is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    /// The stream that was moved on.
    pub stream: usize,
    /// The pool that it left.
    pub from: usize,
    /// The pool that it went to.
    pub to: usize,
    /// The stream that found room nowhere else.
    pub served: usize,
    /// How much, in millionths.
    pub amount: u64,
}

/// Moves on what makes room for what is left, within `room` and `gates`: what pools and gates still take in this pass.
pub(super) fn reroute(
    streams: &[Stream],
    pools: &[PoolBudget],
    spending: &mut Spending,
    pass: Pass,
    room: &mut [u64],
    gates: &mut [u64],
) {
    if room.iter().all(|room| *room == 0) {
        return;
    }
    let nodes = streams.len() + 2 * pools.len();
    let mut flow = Flow { streams, pools, tiers: tiers(streams, pools.len()), spending, pass, room, gates };
    let mut search = Search {
        levels: vec![UNSEEN; nodes],
        steps: Vec::new(),
        open: vec![(0, 0); nodes],
        queue: Vec::with_capacity(nodes),
        way: Vec::new(),
    };
    for _ in 0..nodes {
        if !search.find_levels(&flow) {
            break;
        }
        search.push_all(&mut flow);
    }
    merge(&mut spending.moves);
}

/// Pool by pool, in which of its tiers each stream has it.
fn tiers(streams: &[Stream], pools: usize) -> Vec<usize> {
    let mut tiers = vec![0; streams.len() * pools];
    for (at, stream) in streams.iter().enumerate() {
        for (tier, members) in stream.tiers.iter().enumerate() {
            for pool in members.iter().filter(|pool| **pool < pools) {
                tiers[pool * streams.len() + at] = tier;
            }
        }
    }
    tiers
}

/// The same move, made in several steps, is one.
fn merge(moves: &mut Vec<Move>) {
    moves.sort_unstable();
    moves.dedup_by(|next, kept| {
        let key = |it: &Move| (it.stream, it.from, it.to, it.served);
        let same = key(next) == key(kept);
        kept.amount += if same { next.amount } else { 0 };
        same
    });
}

/// Streams first, then pools, then the gates of pools.
type Node = usize;

#[derive(Clone, Copy)]
enum Kind {
    Stream(usize),
    Pool(usize),
    Gate(usize),
}

/// The state that ways are looked for in and pushed through.
struct Flow<'a> {
    streams: &'a [Stream],
    pools: &'a [PoolBudget],
    /// Pool by pool, in which of its tiers each stream has it.
    tiers: Vec<usize>,
    spending: &'a mut Spending,
    pass: Pass,
    room: &'a mut [u64],
    gates: &'a mut [u64],
}

impl Flow<'_> {
    fn kind(&self, node: Node) -> Kind {
        let (streams, pools) = (self.streams.len(), self.pools.len());
        if node < streams {
            Kind::Stream(node)
        } else if node < streams + pools {
            Kind::Pool(node - streams)
        } else {
            Kind::Gate(node - streams - pools)
        }
    }

    fn pool_node(&self, pool: usize) -> Node {
        self.streams.len() + pool
    }

    /// Where a stream enters a pool, and leaves it: its gate if there is one for it in this pass.
    fn entry(&self, stream: &Stream, pool: usize) -> Node {
        let gated = stream.own && self.gates[pool] < u64::MAX;
        self.pool_node(pool) + if gated { self.pools.len() } else { 0 }
    }

    fn cell(&self, stream: usize, pool: usize) -> usize {
        pool * self.streams.len() + stream
    }

    fn has_room(&self, node: Node) -> bool {
        let room = node.checked_sub(self.streams.len()).and_then(|pool| self.room.get(pool));
        room.is_some_and(|room| *room > 0)
    }

    /// How much can go a step of a way.
    fn capacity(&self, from: Node, to: Node) -> u64 {
        match (self.kind(from), self.kind(to)) {
            (Kind::Pool(pool) | Kind::Gate(pool), Kind::Stream(stream)) => {
                self.spending.amounts[self.cell(stream, pool)]
            }
            (Kind::Gate(pool), _) => self.gates[pool],
            // What went through the gate can go back.
            (Kind::Pool(pool), _) => self.pools[pool].gate - self.gates[pool],
            (Kind::Stream(_), _) => u64::MAX,
        }
    }

    /// Where a way may go on to from a node, whether or not it has been there: first what is to be taken first.
    fn steps(&self, from: Node, steps: &mut Vec<Node>) {
        match self.kind(from) {
            Kind::Stream(at) => {
                let stream = &self.streams[at];
                let heard = |pool: &&usize| self.pools.get(**pool).is_some_and(|it| it.heard);
                let pools = stream.tiers.iter().flatten().filter(heard);
                steps.extend(pools.map(|pool| self.entry(stream, *pool)));
            }
            Kind::Pool(pool) => {
                self.users(pool, from, steps);
                if self.gates[pool] < self.pools[pool].gate && self.gates[pool] < u64::MAX {
                    steps.push(from + self.pools.len());
                }
            }
            Kind::Gate(pool) => {
                if self.gates[pool] > 0 {
                    steps.push(self.pool_node(pool));
                }
                self.users(pool, from, steps);
            }
        }
    }

    /// The streams that use a pool and entered it here, those from afar first.
    fn users(&self, pool: usize, entered: Node, steps: &mut Vec<Node>) {
        let (start, first) = (steps.len(), self.cell(0, pool));
        let amounts = &self.spending.amounts[first..first + self.streams.len()];
        let users = amounts.iter().zip(self.streams).enumerate().filter(|(_, (amount, _))| **amount > 0);
        let users = users.filter(|(_, (_, stream))| self.entry(stream, pool) == entered);
        steps.extend(users.map(|(stream, _)| stream));
        steps[start..].sort_unstable_by_key(|stream| (Reverse(self.tiers[first + stream]), *stream));
    }

    /// Moves everybody on a way on by one pool.
    fn push(&mut self, way: &[Node]) {
        let [source, .., last] = *way else { return };
        let Kind::Pool(end) = self.kind(last) else { return };
        let steps = || way.windows(2).map(|step| (step[0], step[1]));
        let narrowest = steps().map(|(from, to)| self.capacity(from, to)).fold(u64::MAX, u64::min);
        let amount = narrowest.min(self.spending.left[source]).min(self.room[end]);
        for (from, to) in steps() {
            match (self.kind(from), self.kind(to)) {
                (Kind::Gate(pool), Kind::Pool(_)) => self.gates[pool] -= amount,
                (Kind::Pool(pool), Kind::Gate(_)) => self.gates[pool] += amount,
                _ => {}
            }
        }
        let mut left: Option<usize> = None;
        let mut streams = way.iter().enumerate().filter(|(_, node)| **node < self.streams.len()).peekable();
        while let Some((at, stream)) = streams.next() {
            // After a stream comes a pool or its gate.
            let pool = (way[at + 1] - self.streams.len()) % self.pools.len();
            let gives_way = streams.peek().map(|(_, next)| **next);
            self.hand_over(pool, *stream, gives_way, amount);
            if let Some(from) = left {
                self.spending.moves.push(Move { stream: *stream, from, to: pool, served: source, amount });
            }
            left = Some(pool);
        }
        self.spending.left[source] -= amount;
        self.spending.loads[end] += amount;
        self.room[end] -= amount;
    }

    /// Gives a stream what another one had of a pool, with the pass by which that had it, or what was still free.
    fn hand_over(&mut self, pool: usize, stream: usize, from: Option<usize>, amount: u64) {
        let mut pass = Some(self.pass);
        if let Some(from) = from.map(|from| self.cell(from, pool)) {
            let through_gate = self.streams[stream].own && self.pools[pool].gate < u64::MAX;
            pass = if through_gate { pass } else { self.spending.passes[from] };
            self.spending.amounts[from] -= amount;
            if self.spending.amounts[from] == 0 {
                self.spending.passes[from] = None;
            }
        }
        let cell = self.cell(stream, pool);
        self.spending.amounts[cell] += amount;
        self.spending.passes[cell] = self.spending.passes[cell].max(pass);
    }
}

const UNSEEN: u32 = u32::MAX;

/// The shortest ways, level by level.
struct Search {
    /// How many steps each node is from a stream with something left.
    levels: Vec<u32>,
    /// The steps from each node to those that are one level farther.
    steps: Vec<Node>,
    /// Per node, which of them are not exhausted.
    open: Vec<(usize, usize)>,
    queue: Vec<Node>,
    way: Vec<Node>,
}

impl Search {
    /// Finds all shortest ways at once; whether there is any.
    fn find_levels(&mut self, flow: &Flow<'_>) -> bool {
        self.levels.fill(UNSEEN);
        self.open.fill((0, 0));
        self.steps.clear();
        self.queue.clear();
        for (stream, _) in flow.spending.left.iter().enumerate().filter(|(_, left)| **left > 0) {
            self.levels[stream] = 0;
            self.queue.push(stream);
        }
        let (mut at, mut end) = (0, UNSEEN);
        while let Some(node) = self.queue.get(at).copied().filter(|node| self.levels[*node] < end) {
            let (start, next) = (self.steps.len(), self.levels[node] + 1);
            flow.steps(node, &mut self.steps);
            let mut kept = start;
            for step in start..self.steps.len() {
                let to = self.steps[step];
                if self.levels[to] == UNSEEN {
                    self.levels[to] = next;
                    self.queue.push(to);
                    if flow.has_room(to) {
                        end = next;
                    }
                }
                if self.levels[to] == next {
                    self.steps[kept] = to;
                    kept += 1;
                }
            }
            self.steps.truncate(kept);
            self.open[node] = (start, kept);
            at += 1;
        }
        end < UNSEEN
    }

    /// Exhausts the shortest ways, one after another.
    fn push_all(&mut self, flow: &mut Flow<'_>) {
        for source in 0..flow.streams.len() {
            while flow.spending.left[source] > 0 && self.find_way(flow, source) {
                flow.push(&self.way);
            }
        }
    }

    /// The first of the shortest ways from a stream that is not exhausted; whether there is one.
    fn find_way(&mut self, flow: &Flow<'_>, source: Node) -> bool {
        self.way.clear();
        self.way.push(source);
        while let Some(node) = self.way.last().copied() {
            if flow.has_room(node) {
                return true;
            }
            let (next, end) = self.open[node];
            if next == end {
                // A dead end: it is not entered again.
                self.way.pop();
                if let Some(before) = self.way.last() {
                    self.open[*before].0 += 1;
                }
            } else if flow.capacity(node, self.steps[next]) == 0 {
                self.open[node].0 += 1;
            } else {
                self.way.push(self.steps[next]);
            }
        }
        false
    }
}
