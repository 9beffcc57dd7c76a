//! The run: one queue of what happens in virtual time, first come, first served.

mod observe;

use crate::{
    fleet::Fleet,
    line::Line,
    queue::{Echo, Happening, Queue, Status},
    random::Random,
    report::{Decided, Report},
    scenario::{FaultKind, Scenario},
    site::{Agent, Site},
    traffic::{STEP, Totals, Traffic, View},
    world::{Answer, ClusterId, EndpointId, World},
};
use observe::Observed;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_agent::{
    core::{Core, Input, Output},
    hearing::{Heard, heard},
    timeline::Record,
};
use tidegate_link as link;
use tidegate_model::{ClusterName, PeerBoot, ProbeVerdict, ServiceName, Time};
use tidegate_probe::{Failure, NextCheck, Stage, pacing};

/// How long a good check takes, and one that is refused: nothing is decided by it, but nothing is instant.
const QUICK: Duration = Duration::from_millis(2);
/// A wake is at least so far ahead: a deadline that stands still must not stop time.
const SOON: Duration = Duration::from_millis(1);

/// What a connection between clusters is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Carries {
    /// Beats, by the gateway's number.
    Beats(u16),
    Requests,
}

struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    /// By the clusters' numbers.
    sites: Vec<Site>,
    queue: Queue,
    random: Random,
    /// What is lost on the way is drawn apart, so that it does not change when checks come.
    luck: Random,
    /// The connections from one cluster to another.
    lines: BTreeMap<(ClusterId, ClusterId, Carries), Line>,
    traffic: Traffic,
    decisions: Vec<Decided>,
    observed: Observed,
    /// The services that anybody asks for.
    wanted: BTreeSet<ServiceName>,
}

/// Plays a scenario. The same scenario and manifests give the same report, on every run and in every process.
#[must_use]
pub fn simulate(scenario: &Scenario, fleet: &Fleet) -> Report {
    let world = World::new(fleet, scenario.faults.clone());
    let sites: Vec<Site> =
        fleet.configs.iter().map(|(name, config)| Site::new(name.clone(), Arc::clone(config))).collect();
    let mut run = Run {
        observed: Observed::new(scenario, &sites, &world),
        scenario,
        world,
        sites,
        queue: Queue::default(),
        random: Random::new(scenario.seed),
        luck: Random::new(!scenario.seed),
        lines: BTreeMap::new(),
        traffic: Traffic::default(),
        decisions: Vec::new(),
        wanted: scenario.demand.iter().map(|it| it.service.clone()).collect(),
    };
    run.begin();
    let end = Time::from_origin(scenario.duration);
    while let Some((now, happening)) = run.queue.pop() {
        if now > end {
            break;
        }
        run.happen(happening, now);
    }
    run.observed.report(scenario, run.decisions)
}

impl Run<'_> {
    fn clusters(&self) -> impl Iterator<Item = ClusterId> + use<> {
        (0..u32::try_from(self.sites.len()).unwrap_or(u32::MAX)).map(ClusterId)
    }

    fn begin(&mut self) {
        let mut turns = BTreeSet::new();
        for cluster in self.clusters() {
            turns.insert((Time::ZERO, cluster));
            let name = self.world.name(cluster);
            for fault in self.world.faults() {
                let restarts = matches!(&fault.kind, FaultKind::RestartAgent(it) if it == name);
                if restarts || self.world.takes(fault, cluster) {
                    turns.insert((fault.at, cluster));
                    turns.extend(fault.until.map(|until| (until, cluster)));
                }
            }
        }
        for (at, cluster) in turns {
            self.queue.put(at, Happening::Turn(cluster));
        }
        self.queue.put(Time::ZERO + STEP, Happening::Step);
    }

    fn happen(&mut self, happening: Happening, now: Time) {
        // What comes to an agent that stands still waits for it, in its order.
        if let Some(until) = happening.agent().and_then(|it| self.world.paused_until(it, now)) {
            self.queue.put(until, happening);
            return;
        }
        match happening {
            Happening::Turn(cluster) => self.turn(cluster, now),
            Happening::Wake(cluster, life) => self.wake(cluster, life, now),
            Happening::Check(cluster, life, endpoint) => self.check(cluster, life, endpoint, now),
            Happening::Checked(cluster, life, endpoint, answer) => {
                self.checked(cluster, life, endpoint, answer, now);
            }
            Happening::Told(cluster, life, endpoint, verdict) => {
                self.told(cluster, life, endpoint, *verdict, now);
            }
            Happening::Beat(cluster, life) => self.beat(cluster, life, now),
            Happening::Echo(echo) => self.echo(&echo, now),
            Happening::Status(status) => self.status(*status, now),
            Happening::Step => self.step(now),
        }
    }

    fn running(&self, cluster: ClusterId) -> Option<&Agent> {
        self.sites[cluster.index()].agent.as_ref()
    }

    fn running_mut(&mut self, cluster: ClusterId) -> Option<&mut Agent> {
        self.sites[cluster.index()].agent.as_mut()
    }

    /// The agent of a cluster, if it is still in this life.
    fn agent(&mut self, cluster: ClusterId, life: u32) -> Option<&mut Agent> {
        self.running_mut(cluster).filter(|agent| agent.life == life)
    }

    /// Starts or stops an agent, as the world wants it.
    fn turn(&mut self, cluster: ClusterId, now: Time) {
        let runs = self.world.agent_runs(cluster, now);
        let clusters = self.sites.len();
        let site = &mut self.sites[cluster.index()];
        match (site.agent.is_some(), runs) {
            (true, false) => site.stop(&self.wanted, now),
            (false, true) => {
                site.lives += 1;
                let life = site.lives;
                let core = Core::new(site.name.clone(), site.saved.take(), now);
                site.agent = Some(Agent::new(core, life, clusters, now));
                let config = Arc::clone(&site.config);
                let right = self.scenario.starts_at + now.since_origin();
                self.feed(cluster, Input::WallClock(self.world.clock(cluster, right, now)), now);
                self.feed(cluster, Input::Manifests(config), now);
                self.queue.put(now, Happening::Beat(cluster, life));
            }
            _ => {}
        }
    }

    /// Tells the core, and carries out what it wants.
    fn feed(&mut self, cluster: ClusterId, input: Input, now: Time) {
        let Some(agent) = self.running_mut(cluster) else { return };
        let output = agent.core.handle(input, now);
        // An agent that stops here keeps the whole.
        agent.core.forget_unsaved();
        self.carry_out(cluster, output, now);
        self.set_wake(cluster, now);
    }

    fn carry_out(&mut self, cluster: ClusterId, output: Output, now: Time) {
        self.decide(cluster, output.records, now);
        let numbered = output.peers.as_ref().map(|peers| self.numbered(peers));
        let Some(agent) = self.sites[cluster.index()].agent.as_mut() else { return };
        let life = agent.life;
        if let Some(peers) = &output.peers {
            agent.liveness.set_peers(peers, now);
            agent.peers = Arc::new(numbered.unwrap_or_default());
        }
        let fresh = output.targets.map(|targets| agent.set_targets(targets, cluster, &self.world));
        let tells = output.publish.is_some() || !output.actions.is_empty();
        if !output.actions.is_empty() {
            agent.pass_on(output.actions, now);
        }
        if let Some(publish) = output.publish {
            agent.publish(publish, now);
        }
        if tells && agent.version > 0 {
            for to in self.clusters().filter(|to| *to != cluster) {
                self.send(cluster, to, now);
            }
        }
        let fresh = fresh.unwrap_or_default();
        let added = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        for (index, endpoint) in (0..added).zip(fresh) {
            let (gap, interval) = (pacing::START_GAP, tidegate_probe::CheckConfig::DEFAULT_INTERVAL);
            let due = now + pacing::first_delay(index, added, gap, interval);
            self.queue.put(due, Happening::Check(cluster, life, endpoint));
        }
    }

    fn numbered(&self, peers: &BTreeMap<ClusterName, Vec<SocketAddr>>) -> Vec<(ClusterId, Vec<SocketAddr>)> {
        peers.iter().filter_map(|(name, ways)| Some((self.world.id(name)?, ways.clone()))).collect()
    }

    /// Writes decisions down. The first plan of a service that nobody asks for moves nothing, and there are as many of them
    /// as services and sources.
    fn decide(&mut self, cluster: ClusterId, mut records: Vec<Record>, now: Time) {
        let asked = |record: &Record| record.service.as_ref().is_some_and(|it| self.wanted.contains(it));
        records.retain(|record| record.kind != "planChanged" || record.before.is_some() || asked(record));
        let at_micros = u64::try_from(now.since_origin().as_micros()).unwrap_or(u64::MAX);
        let name = &self.sites[cluster.index()].name;
        let decided = |record| Decided { at_micros, cluster: name.clone(), record };
        self.decisions.extend(records.into_iter().map(decided));
    }

    /// Puts the agent's next wake into the queue, unless an earlier one is there.
    fn set_wake(&mut self, cluster: ClusterId, now: Time) {
        let Some(agent) = self.running_mut(cluster) else { return };
        let liveness = agent.liveness.poll_timeout().map(|(at, _)| at);
        let Some(due) = [agent.core.next_deadline(), liveness].into_iter().flatten().min() else { return };
        let due = due.max(now + SOON);
        if agent.wake.is_some_and(|at| at > now && at <= due) {
            return;
        }
        agent.wake = Some(due);
        let life = agent.life;
        self.queue.put(due, Happening::Wake(cluster, life));
    }

    fn wake(&mut self, cluster: ClusterId, life: u32, now: Time) {
        let Some(agent) = self.agent(cluster, life) else { return };
        if agent.liveness.poll_timeout().is_some_and(|(at, _)| at <= now) {
            agent.liveness.tick(now);
            self.drain(cluster, now);
        }
        let Some(agent) = self.agent(cluster, life) else { return };
        if agent.core.next_deadline().is_some_and(|at| at <= now) {
            self.feed(cluster, Input::Tick, now);
        }
        self.set_wake(cluster, now);
    }

    /// Takes what the liveness core tells.
    fn drain(&mut self, cluster: ClusterId, now: Time) {
        while let Some(output) = self.running_mut(cluster).and_then(|agent| agent.liveness.poll_output()) {
            let link::Output::Peer(peer, event) = output else { continue };
            match heard(peer, &event) {
                Heard::Input(input) => self.feed(cluster, input, now),
                Heard::Record(record) => self.decide(cluster, vec![record], now),
                Heard::RoundTrip(input) => {
                    if self.running_mut(cluster).is_some_and(|agent| agent.core.measures()) {
                        self.feed(cluster, input, now);
                    }
                }
            }
        }
        self.set_wake(cluster, now);
    }

    fn check(&mut self, cluster: ClusterId, life: u32, endpoint: EndpointId, now: Time) {
        let answer = self.world.answer(cluster, endpoint, now);
        let Some(agent) = self.agent(cluster, life) else { return };
        let Some(timeout) = agent.begin_check(endpoint, now) else { return };
        let takes = if answer == Answer::Nothing { timeout } else { QUICK };
        self.queue.put(now + takes, Happening::Checked(cluster, life, endpoint, answer));
    }

    fn checked(&mut self, cluster: ClusterId, life: u32, endpoint: EndpointId, answer: Answer, now: Time) {
        let random = self.random.next_u32();
        let Some((check, config)) = self.agent(cluster, life).and_then(|agent| agent.check(endpoint)) else {
            return;
        };
        let result = match answer {
            Answer::Well => Ok(()),
            Answer::Unavailable => Err(Failure::Status(503)),
            Answer::Refused => Err(Failure::Refused),
            Answer::Nothing => Err(Failure::Timeout(config.timeout, Stage::Connect)),
        };
        let step = check.tracker.on_result(config, result);
        // As the prober's schedule: a re-check at once, then spread over the interval, then jittered around it.
        let due = match step.next {
            NextCheck::Now => now,
            NextCheck::After(interval) => {
                let spread = std::mem::replace(&mut check.spread, true);
                let pace = if spread { pacing::next_delay } else { pacing::second_delay };
                now.max(check.started + pace(interval, random))
            }
        };
        if let Some(verdict) = step.verdict_changed {
            let at = now + self.world.delay(cluster, now);
            self.queue.put(at, Happening::Told(cluster, life, endpoint, Box::new(verdict)));
        }
        self.queue.put(due, Happening::Check(cluster, life, endpoint));
    }

    fn told(
        &mut self,
        cluster: ClusterId,
        life: u32,
        endpoint: EndpointId,
        verdict: ProbeVerdict,
        now: Time,
    ) {
        let checked = self.agent(cluster, life).is_some_and(|agent| agent.check(endpoint).is_some());
        if let Some(key) = self.world.key(cluster, endpoint).filter(|_| checked) {
            self.feed(cluster, Input::Checked(key, verdict), now);
        }
    }

    fn beat(&mut self, cluster: ClusterId, life: u32, now: Time) {
        let Some(agent) = self.agent(cluster, life) else { return };
        let peers = Arc::clone(&agent.peers);
        for (peer, gateways) in peers.iter() {
            if !self.world.is_open(cluster, *peer, now) {
                continue;
            }
            // In place of an agent that stands still the gateway answers.
            let agent = self.running(*peer).filter(|_| self.world.paused_until(*peer, now).is_none());
            let agent = agent.map(|agent| (agent.life, agent.falls));
            let lost = self.world.lost(cluster, *peer, now);
            let back = now + self.world.round_trip(cluster, *peer, now);
            for gateway in 0..u16::try_from(gateways.len()).unwrap_or(u16::MAX) {
                let line = self.lines.entry((cluster, *peer, Carries::Beats(gateway))).or_default();
                if !self.world.is_stopped(*peer, gateway, now) && line.step(true, lost, &mut self.luck, now) {
                    let echo = Echo { to: cluster, life, peer: *peer, gateway, agent };
                    self.queue.put(back, Happening::Echo(Box::new(echo)));
                }
            }
        }
        self.queue.put(now + link::BEAT_INTERVAL, Happening::Beat(cluster, life));
    }

    fn echo(&mut self, echo: &Echo, now: Time) {
        let Echo { to, life, peer, gateway, agent: other } = *echo;
        let rtt = self.world.round_trip(to, peer, now);
        let name = self.sites[peer.index()].name.clone();
        let Some(agent) = self.agent(to, life) else { return };
        let gateways =
            agent.peers.binary_search_by_key(&peer, |(id, _)| *id).ok().map(|at| &agent.peers[at].1);
        let Some(address) = gateways.and_then(|it| it.get(usize::from(gateway)).copied()) else { return };
        match other {
            Some((boot, falls)) => {
                let (boot, falls) = (PeerBoot(u64::from(boot)), u64::from(falls));
                agent.liveness.handle_beat(&name, address, link::Echo { boot, falls, rtt: Some(rtt) }, now);
            }
            None => agent.liveness.handle_answer(&name, address, Some("503".to_owned()), now),
        }
        self.drain(to, now);
        self.catch_up(to, peer, now);
    }

    /// A status that was lost on the way is sent again once the way is open.
    fn catch_up(&mut self, to: ClusterId, from: ClusterId, now: Time) {
        let Some(source) = self.running(from) else { return };
        let newest = (source.life, source.version);
        let on_its_way =
            self.world.round_trip(to, from, now) + self.world.delay(from, now) + link::BEAT_INTERVAL;
        let settled = source.version > 0 && now.since(source.published_at) > on_its_way;
        let heard = self.running(to).and_then(|agent| agent.heard.get(from.index()).copied());
        if settled && heard != Some(newest) {
            self.send(from, to, now);
        }
    }

    fn send(&mut self, from: ClusterId, to: ClusterId, now: Time) {
        let dropped = self.world.dropped(from, now).max(self.world.lost(from, to, now) * 100.0);
        let Some(agent) = self.running(from) else { return };
        let (told, pools) = ((agent.life, agent.version), Arc::clone(&agent.published));
        let actions = agent.actions(now);
        // 2^32 draws for 100 %: one that is below the part is lost.
        if dropped > 0.0 && f64::from(self.luck.next_u32()) < dropped / 100.0 * 4_294_967_296.0 {
            return;
        }
        let at = now + self.world.round_trip(from, to, now) / 2 + self.world.delay(from, now);
        self.queue.put(at, Happening::Status(Box::new(Status { to, from, told, pools, actions })));
    }

    fn status(&mut self, status: Status, now: Time) {
        let Status { to, from, told, pools, actions } = status;
        // The observer dials: what matters is its way to the peer.
        let open = self.world.is_open(to, from, now);
        let sender = self.sites[from.index()].name.clone();
        let site = &mut self.sites[to.index()];
        let Some(agent) = site.agent.as_mut() else { return };
        let Some(heard) = agent.heard.get_mut(from.index()).filter(|heard| open && **heard < told) else {
            return;
        };
        *heard = told;
        let concerning = site.concerning(&pools);
        if !actions.is_empty() {
            self.feed(to, Input::Actions(actions), now);
        }
        self.feed(to, Input::RemotePools(sender, concerning), now);
    }

    fn step(&mut self, now: Time) {
        let view = View { scenario: self.scenario, world: &self.world, sites: &self.sites, now };
        let totals = self.traffic.step(&view);
        let gateway: Arc<str> = Arc::from("edge");
        for cluster in self.clusters() {
            let report = self.load_report(cluster, &totals, now);
            if self.world.paused_until(cluster, now).is_some() {
                continue;
            }
            let Some(agent) = self.running_mut(cluster) else { continue };
            agent.liveness.handle_report(&gateway, &report, now, now);
            self.drain(cluster, now);
        }
        let view = View { scenario: self.scenario, world: &self.world, sites: &self.sites, now };
        self.observed.step(&totals, &view);
        self.queue.put(now + STEP, Happening::Step);
    }

    /// What the gateways of a cluster report of their requests to others.
    fn load_report(
        &mut self,
        cluster: ClusterId,
        totals: &Totals,
        now: Time,
    ) -> BTreeMap<ClusterName, link::Traffic> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are at most 1e9")]
        let count = |value: f64| value.ceil() as u64;
        let own = totals.evidence.range((cluster, ClusterId(0))..=(cluster, ClusterId(u32::MAX)));
        let mut report = BTreeMap::new();
        for ((_, peer), (tried, well)) in own {
            let lost = self.world.lost(cluster, *peer, now);
            // On a line that loses packets, requests wait for those before them, as beats do.
            let line = self.lines.entry((cluster, *peer, Carries::Requests)).or_default();
            let is_answered = line.step(*tried > 0.0, lost, &mut self.luck, now);
            let traffic = link::Traffic {
                window: STEP,
                attempts: count(*tried),
                open: u64::from(line.is_waiting()),
                successes: if is_answered { count(*well) } else { 0 },
            };
            report.insert(self.sites[peer.index()].name.clone(), traffic);
        }
        report
    }
}
