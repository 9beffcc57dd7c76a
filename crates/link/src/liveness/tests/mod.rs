//! The rules of the module's page, each in virtual time.

mod distance;
mod doubt;
mod traffic;

use super::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

const MS: Duration = Duration::from_millis(1);

fn peer(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

fn gateway(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

/// What a gateway of the world does with our beats.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Echoes,
    Answers503,
    Refuses,
    Swallows,
}

/// Peers around one observer. Peer number n has the gateways n*10, n*10+1, ...
struct World {
    core: Liveness,
    now: Time,
    ways: BTreeMap<(ClusterName, SocketAddr), Way>,
    boot: BTreeMap<ClusterName, u64>,
    falls: u64,
    next_beats: Time,
    told: Vec<(u128, ClusterName, PeerEvent)>,
}

impl World {
    fn new(peers: &[(&str, u16)]) -> Self {
        let mut world = Self {
            core: Liveness::new(),
            now: Time::ZERO,
            ways: BTreeMap::new(),
            boot: BTreeMap::new(),
            falls: 0,
            next_beats: Time::ZERO,
            told: Vec::new(),
        };
        let mut addresses = PeerAddresses::new();
        for (index, (name, gateways)) in (1_u16..).zip(peers) {
            let own: Vec<_> = (0..*gateways).map(|n| gateway(index * 10 + n)).collect();
            world.ways.extend(own.iter().map(|address| ((peer(name), *address), Way::Echoes)));
            world.boot.insert(peer(name), 1);
            addresses.insert(peer(name), own);
        }
        world.core.set_peers(&addresses, world.now);
        world
    }

    fn set(&mut self, name: &str, way: Way) {
        self.ways.iter_mut().filter(|((of, _), _)| *of == peer(name)).for_each(|(_, w)| *w = way);
    }

    fn traffic(&mut self, name: &str, attempts: u64, successes: u64) {
        self.traffic_in(200 * MS, name, attempts, successes);
    }

    fn traffic_in(&mut self, window: Duration, name: &str, attempts: u64, successes: u64) {
        self.report(window, "edge", &[(name, attempts, successes)]);
    }

    /// An Envoy reports on a window that ends now: of these peers, attempts and successes.
    fn report(&mut self, window: Duration, by: &str, of: &[(&str, u64, u64)]) {
        let traffic = |it: &(&str, u64, u64)| {
            (peer(it.0), Traffic { window, attempts: it.1, open: it.1 - it.2, successes: it.2 })
        };
        let report = of.iter().map(traffic).collect();
        self.core.handle_report(&Arc::from(by), &report, self.now, self.now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.core.poll_output() {
            if let Output::Peer(name, event) = output
                && !matches!(event, PeerEvent::Rtt(_))
            {
                self.told.push((self.now.since_origin().as_millis(), name, event));
            }
        }
    }

    fn beats(&mut self) {
        for ((name, address), way) in &self.ways {
            match way {
                Way::Echoes => {
                    let boot = PeerBoot(self.boot[name]);
                    let echo = Echo { boot, falls: self.falls, rtt: Some(20 * MS) };
                    self.core.handle_beat(name, *address, echo, self.now);
                }
                Way::Answers503 => {
                    self.core.handle_answer(name, *address, Some("503".to_owned()), self.now);
                }
                Way::Refuses => {
                    let failure = LinkFailure::Refused("refused".to_owned());
                    self.core.handle_failure(name, *address, failure, self.now);
                }
                Way::Swallows => {}
            }
        }
        self.next_beats = self.now + BEAT_INTERVAL;
        self.collect();
    }

    /// Runs until `ms` later; the core is woken when it wants to be.
    fn run(&mut self, ms: u32) {
        let end = self.now + MS * ms;
        loop {
            let due = self.core.poll_timeout().map_or(end, |(at, _)| at);
            let next = due.min(self.next_beats);
            if next > end {
                self.now = end;
                return;
            }
            assert!(next >= self.now, "the core wants to be woken in the past");
            self.now = next;
            if self.next_beats == next {
                self.beats();
            }
            if due == next {
                self.core.tick(next);
                self.collect();
            }
        }
    }

    /// We are stopped for `ms`, as by SIGSTOP. What comes first on waking is up to the sockets.
    fn stop(&mut self, ms: u32) {
        self.now = self.now + MS * ms;
        self.next_beats = self.now + 10 * MS;
        self.core.tick(self.now);
        self.collect();
    }

    fn take(&mut self) -> Vec<(u128, ClusterName, PeerEvent)> {
        std::mem::take(&mut self.told)
    }

    /// What was told of `name` since the last look, with the time in ms.
    fn take_of(&mut self, name: &str) -> Vec<(u128, PeerEvent)> {
        let told = self.take().into_iter();
        told.filter(|(_, of, _)| *of == peer(name)).map(|(at, _, event)| (at, event)).collect()
    }

    fn link(&self, name: &str, index: usize) -> LinkState {
        let view = self.core.view(self.now).into_iter().find(|view| view.cluster == peer(name)).unwrap();
        view.links[index].state.clone()
    }

    fn reach(&self, name: &str) -> Reach {
        self.core.view(self.now).into_iter().find(|view| view.cluster == peer(name)).unwrap().reach
    }
}

const FIRST: PeerEvent = PeerEvent::Reachable { quick: false, first: true };
const SILENT: PeerEvent = PeerEvent::Unreachable { why: Why::Silent };
const NEVER: PeerEvent = PeerEvent::Unreachable { why: Why::NeverHeard };
const CORROBORATED: PeerEvent = PeerEvent::Unreachable { why: Why::Corroborated };

/// A world in which all peers were heard; its last beats came at 1000 ms.
fn settled(peers: &[(&str, u16)]) -> World {
    let mut world = World::new(peers);
    world.run(1000);
    assert_eq!(world.take().len(), peers.len());
    world
}

#[test]
fn a_single_silent_peer_is_suspect_at_300_ms_and_unreachable_at_900_ms() {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    world.run(2000);
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::Suspect), (1900, SILENT)]);
    assert_eq!(world.link("west", 0), LinkState::Silent);
}

#[test]
fn one_of_two_peers_is_judged_as_if_it_were_alone() {
    let mut world = settled(&[("west", 1), ("east", 1)]);
    world.set("west", Way::Swallows);
    world.run(200);
    world.traffic("west", 9, 0);
    world.run(1000);
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::Suspect), (1300, CORROBORATED)]);
}

#[test]
fn a_peer_is_reachable_while_one_of_its_gateways_is() {
    let mut world = settled(&[("west", 2)]);
    world.ways.insert((peer("west"), gateway(10)), Way::Swallows);
    world.run(5000);
    assert_eq!(world.take(), []);
    assert_eq!(world.link("west", 0), LinkState::Silent);
    assert_eq!(world.link("west", 1), LinkState::Beating);
    world.set("west", Way::Refuses);
    world.run(1100);
    assert_eq!(world.take_of("west"), [(6300, PeerEvent::Suspect), (6900, SILENT)]);
    assert_eq!(world.link("west", 0), LinkState::GatewayDown("refused".to_owned()));
}

#[test]
fn an_agent_that_is_down_behind_a_living_gateway_leaves_its_cluster_reachable() {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Answers503);
    world.run(60_000);
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::AgentDown)]);
    assert_eq!(world.link("west", 0), LinkState::AgentDown("503".to_owned()));
    world.set("west", Way::Echoes);
    world.run(100);
    assert_eq!(world.take_of("west"), [(61_100, PeerEvent::AgentBack)]);
    world.boot.insert(peer("west"), 2);
    world.run(100);
    assert_eq!(world.take_of("west"), [(61_200, PeerEvent::Restarted)]);
}

#[test]
fn a_gateway_without_agent_makes_no_peer_reachable() {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    world.run(1100);
    world.set("west", Way::Answers503);
    world.run(1000);
    assert_eq!(world.reach("west"), Reach::Unreachable(Why::Silent));
    assert_eq!(world.link("west", 0), LinkState::AgentDown("503".to_owned()));

    // Nor one that was given up before it was heard at all.
    let mut world = World::new(&[("west", 1)]);
    world.set("west", Way::Swallows);
    world.run(950);
    world.set("west", Way::Answers503);
    world.run(1000);
    assert_eq!(world.take_of("west"), [(900, NEVER)]);
}

/// A world that starts with peers whose gateways answer in place of their agents; the last answers came at 1000 ms.
fn started_without_agents(peers: &[(&str, u16)]) -> World {
    let mut world = World::new(peers);
    peers.iter().for_each(|(name, _)| world.set(name, Way::Answers503));
    world.run(1000);
    for (name, _) in peers {
        assert_eq!(world.reach(name), Reach::Unheard);
    }
    assert!(world.take().iter().all(|(at, _, event)| (*at, event) == (300, &PeerEvent::AgentDown)));
    world
}

#[test]
fn an_agent_that_starts_does_not_give_up_a_peer_whose_gateways_answer_without_their_agent() {
    let mut world = started_without_agents(&[("west", 1)]);
    world.run(60_000);
    assert_eq!(world.take(), []);
    assert_eq!(world.link("west", 0), LinkState::AgentDown("503".to_owned()));
    world.set("west", Way::Echoes);
    world.run(100);
    assert_eq!(world.take_of("west"), [(61_100, FIRST), (61_100, PeerEvent::AgentBack)]);
}

#[test]
fn gateways_that_fall_silent_before_their_agent_was_heard_are_judged_as_any() {
    let mut world = started_without_agents(&[("west", 2)]);
    world.set("west", Way::Swallows);
    world.run(2000);
    assert_eq!(world.take_of("west"), [(1900, SILENT)]);

    let mut world = started_without_agents(&[("west", 1)]);
    world.set("west", Way::Swallows);
    world.run(200);
    world.traffic("west", 5, 0);
    world.run(2000);
    assert_eq!(world.take_of("west"), [(1300, CORROBORATED)]);

    // Two of two may be our own network.
    let mut world = started_without_agents(&[("west", 1), ("east", 1)]);
    for name in ["west", "east"] {
        world.set(name, Way::Swallows);
    }
    world.run(200);
    world.traffic("west", 5, 0);
    world.run(2000);
    assert_eq!(world.take_of("west"), [(1900, SILENT)]);
}

#[test]
fn a_peer_that_was_never_heard_has_a_grace_of_900_ms() {
    let mut world = World::new(&[("west", 2)]);
    world.set("west", Way::Swallows);
    assert_eq!(world.link("west", 0), LinkState::Connecting);
    world.run(3000);
    world.set("west", Way::Echoes);
    world.run(100);
    assert_eq!(world.take_of("west"), [(900, NEVER), (3100, FIRST)]);
}

#[test]
fn a_short_silence_clears_without_a_move() {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    world.run(850);
    world.set("west", Way::Echoes);
    world.run(500);
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::Suspect), (1900, PeerEvent::Cleared)]);
}

#[test]
fn a_return_is_quick_within_5_s_in_the_same_life_with_admits_that_never_fell() {
    let back = |away_ms: u32, change: fn(&mut World)| {
        let mut world = settled(&[("west", 1)]);
        world.set("west", Way::Swallows);
        world.run(away_ms - 100);
        world.set("west", Way::Echoes);
        change(&mut world);
        world.run(100);
        let told = world.take_of("west");
        let Some((_, PeerEvent::Reachable { quick, first: false })) = told.last() else {
            panic!("not back: {told:?}")
        };
        *quick
    };
    assert!(back(1200, |_| ()));
    assert!(back(5000, |_| ()));
    assert!(!back(5100, |_| ()));
    assert!(!back(1200, |world| world.falls = 1));
    assert!(!back(1200, |world| *world.boot.get_mut(&peer("west")).unwrap() = 2));
}

#[test]
fn changed_addresses_keep_what_is_known_of_a_peer() {
    let mut world = settled(&[("west", 1)]);
    let now = world.now;
    world.core.set_peers(&PeerAddresses::from([(peer("west"), vec![gateway(99)])]), now);
    assert_eq!(world.reach("west"), Reach::Reachable);
    world.run(400); // Beats of the old address are ignored.
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::Suspect)]);
    world.core.set_peers(&PeerAddresses::from([(peer("west"), vec![])]), world.now);
    assert_eq!(world.core.view(world.now), []);
    assert_eq!(world.core.poll_timeout(), None);
}

/// Random outages of random gateways, and stops of our own. Whatever happens: a peer with a gateway that
/// answers is not unreachable, one that is silent for 2.5 s of our waking time is (a line with outages is rough), and one that echoes is reachable.
#[test]
fn random_schedules_keep_the_rules() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = settled(&[("a", 1), ("b", 2), ("c", 3)]);
        let names = ["a", "b", "c"];
        // Since when each peer has answered nothing, or has echoed, without interruption.
        let mut since: BTreeMap<&str, (Way, Time)> = names.map(|n| (n, (Way::Echoes, world.now))).into();
        for step in 0..200 {
            if random.random_ratio(1, 30) {
                world.stop(random.random_range(60..3000));
                let woke = world.now;
                since.values_mut().for_each(|(_, from)| *from = woke);
            } else if random.random_ratio(1, 3) {
                let at = random.random_range(0..world.ways.len());
                let ways = [Way::Echoes, Way::Echoes, Way::Answers503, Way::Refuses, Way::Swallows];
                let way = ways[random.random_range(0..ways.len())];
                *world.ways.values_mut().nth(at).unwrap() = way;
            } else if random.random_ratio(1, 3) {
                let name = names[random.random_range(0..names.len())];
                world.traffic(name, 5, random.random_range(0..2));
            }
            for name in names {
                let of_peer =
                    || world.ways.iter().filter(|((of, _), _)| *of == peer(name)).map(|(_, way)| *way);
                let way = if of_peer().any(|way| way == Way::Echoes) {
                    Way::Echoes
                } else if of_peer().any(|way| way == Way::Answers503) {
                    Way::Answers503
                } else {
                    Way::Swallows
                };
                let entry = since.entry(name).or_insert((way, world.now));
                if entry.0 != way {
                    *entry = (way, world.now);
                }
            }
            world.run(random.random_range(1..200));
            for (name, (way, from)) in &since {
                let (reach, lasted) = (world.reach(name), world.now.since(*from));
                let fine = match way {
                    Way::Echoes => lasted <= BEAT_INTERVAL || reach == Reach::Reachable,
                    Way::Swallows => {
                        lasted < ROUGH_UNREACHABLE_AFTER || matches!(reach, Reach::Unreachable(_))
                    }
                    _ => lasted <= BEAT_INTERVAL || reach != Reach::Suspect,
                };
                assert!(fine, "seed {seed}, step {step}, peer {name}: {reach:?} after {lasted:?}");
            }
        }
    }
}
