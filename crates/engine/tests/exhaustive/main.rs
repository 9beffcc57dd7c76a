//! Every interleaving of what can happen to a small fleet, up to a depth: breadth first, so that the list of actions
//! which a failure prints is the shortest there is (DESIGN, section 4, invariants).
//!
//! What holds in every state is said in `fleet`. That it settles is said here: from every state that is met, a bounded
//! number of wake-ups leads to one in which no engine waits for anything.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, which tell how many states they saw")]

#[path = "../fixture/mod.rs"]
mod fixture;
mod fleet;
mod late;

use fleet::{Fleet, Setup};
use late::{Late, Scope};
use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    env, fmt,
    hash::{Hash, Hasher},
    time::Instant,
};

/// Wake-ups without an event in between, by when a fleet has settled: a shift, four pools and two ways, each with a
/// hold-down and two steps.
const SETTLES_WITHIN: usize = 24;

const ALL: Setup =
    Setup { endpoints: [[1, 1], [1, 1]], residency: false, links: true, restarts: true, shifts: true };

/// What is searched: a state, what can happen to it, and what must hold of it.
trait Searched: Clone {
    type Action: Copy + fmt::Debug;
    /// Time passes until the next deadline.
    const TICK: Self::Action;
    fn actions(&self) -> Vec<Self::Action>;
    fn apply(&mut self, action: Self::Action);
    /// Two states of the same key behave the same.
    fn key(&self) -> String;
    fn is_settled(&self) -> bool;
    /// What is wrong with this state, if anything.
    fn wrong(&self) -> Option<String>;
    /// The same for a state in which nothing more happens.
    fn wrong_when_settled(&self) -> Option<String>;
}

/// A state that was met, and the way to it.
struct Met<A> {
    from: usize,
    by: Option<A>,
}

struct Search<S: Searched> {
    met: Vec<Met<S::Action>>,
    seen: HashMap<u64, usize>,
    /// Wake-ups to the settled state, for states of which that is known.
    settles: HashMap<u64, usize>,
    transitions: usize,
}

fn hash(fleet: &impl Searched) -> u64 {
    let mut hasher = DefaultHasher::new();
    fleet.key().hash(&mut hasher);
    hasher.finish()
}

impl<S: Searched> Search<S> {
    /// Searches all that can happen to `start` in `depth` actions.
    fn run(name: &str, start: S, depth: usize) {
        let deeper: usize = env::var("TIDEGATE_SEARCH_DEEPER").map_or(0, |more| more.parse().unwrap());
        let (depth, started) = (depth + deeper, Instant::now());
        let mut search =
            Self { met: Vec::new(), seen: HashMap::new(), settles: HashMap::new(), transitions: 0 };
        search.met.push(Met { from: 0, by: None });
        search.seen.insert(hash(&start), 0);
        search.hold(0, &start, None);
        let mut frontier = vec![(0, start)];
        for _ in 0..depth {
            let mut next = Vec::new();
            for (at, fleet) in frontier {
                search.expand(at, &fleet, &mut next);
            }
            frontier = next;
        }
        println!(
            "{name}: {} states, {} transitions, depth {depth}, settled after at most {} wake-ups, {:.1} s",
            search.met.len(),
            search.transitions,
            search.settles.values().max().unwrap_or(&0),
            started.elapsed().as_secs_f64()
        );
    }

    fn expand(&mut self, at: usize, fleet: &S, next: &mut Vec<(usize, S)>) {
        for action in fleet.actions() {
            let mut after = fleet.clone();
            after.apply(action);
            self.transitions += 1;
            let key = hash(&after);
            if self.seen.contains_key(&key) {
                continue;
            }
            self.hold(at, &after, Some(action));
            self.settle(at, &after, action, key);
            self.seen.insert(key, self.met.len());
            next.push((self.met.len(), after));
            self.met.push(Met { from: at, by: Some(action) });
        }
    }

    /// Nothing more happens: wake-ups lead to a settled state, and all holds on the way.
    fn settle(&mut self, at: usize, fleet: &S, action: S::Action, key: u64) {
        let (mut fleet, mut keys) = (fleet.clone(), vec![key]);
        let rest = loop {
            if let Some(rest) = keys.last().and_then(|key| self.settles.get(key)) {
                break *rest;
            }
            if fleet.is_settled() {
                let wrong = fleet.wrong_when_settled();
                assert!(wrong.is_none(), "{}\n{}", self.way(at, Some(action)), wrong.unwrap());
                break 0;
            }
            assert!(keys.len() <= SETTLES_WITHIN, "{}\nit does not settle", self.way(at, Some(action)));
            fleet.apply(S::TICK);
            self.hold(at, &fleet, Some(action));
            keys.push(hash(&fleet));
        };
        for (wake_ups, key) in keys.into_iter().rev().enumerate() {
            self.settles.insert(key, rest + wake_ups);
        }
        assert!(self.settles[&key] <= SETTLES_WITHIN, "{}\nit settles late", self.way(at, Some(action)));
    }

    fn hold(&self, at: usize, fleet: &S, action: Option<S::Action>) {
        if let Some(wrong) = fleet.wrong() {
            panic!("{}\n{wrong}", self.way(at, action));
        }
    }

    /// The actions that led here, one a line.
    fn way(&self, mut at: usize, last: Option<S::Action>) -> String {
        let mut actions: Vec<S::Action> = last.into_iter().collect();
        while let Some(by) = self.met[at].by {
            actions.push(by);
            at = self.met[at].from;
        }
        let lines: Vec<String> = actions.iter().rev().map(|action| format!("  {action:?}")).collect();
        format!("after\n{}", lines.join("\n"))
    }
}

#[test]
fn no_interleaving_of_faults_restarts_and_shifts_breaks_a_plan() {
    Search::run("all that can happen", Fleet::new(ALL), 4);
}

#[test]
fn no_interleaving_of_partial_losses_and_restarts_breaks_a_plan() {
    let setup = Setup { endpoints: [[2, 2], [1, 1]], links: false, shifts: false, ..ALL };
    Search::run("two endpoints a zone, partial losses", Fleet::new(setup), 5);
}

#[test]
fn no_interleaving_sends_traffic_where_residency_forbids_it() {
    Search::run("residency", Fleet::new(Setup { residency: true, restarts: false, ..ALL }), 4);
}

#[test]
fn no_interleaving_of_link_cuts_and_faults_breaks_a_plan() {
    Search::run("links", Fleet::new(Setup { shifts: false, restarts: false, ..ALL }), 5);
}

#[test]
fn no_interleaving_of_late_and_lost_statuses_and_faults_breaks_a_plan() {
    Search::run("late statuses", Late::new(Scope { mail: true, replicas: false }), 5);
}

#[test]
fn no_interleaving_of_replicas_that_restart_or_are_isolated_breaks_a_plan() {
    Search::run("two replicas a cluster", Late::new(Scope { mail: false, replicas: true }), 5);
}

#[test]
fn no_interleaving_of_replicas_with_late_statuses_breaks_a_plan() {
    Search::run("two replicas, late statuses", Late::new(Scope { mail: true, replicas: true }), 4);
}
