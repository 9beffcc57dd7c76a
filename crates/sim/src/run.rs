//! The run: one queue of what happens in virtual time, first come, first served.

use crate::{
    fleet::Fleet,
    measure::{Step, measure, millis, moves, rounded},
    random::Random,
    report::{Decided, FaultView, Report, Sample},
    scenario::{FaultKind, Scenario},
    site::{Agent, Site},
    traffic::{STEP, Totals, Traffic, View},
    world::{Answer, World},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_agent::{
    core::{Core, Input, Output, ProbeKey},
    hearing::{Heard, heard},
    timeline::Record,
};
use tidegate_link as link;
use tidegate_model::{ClusterName, PeerBoot, PoolKey, PoolStatus, ProbeVerdict, ServiceName, Time};
use tidegate_probe::{Failure, NextCheck, Stage, pacing};

/// How long a good check takes, and one that is refused: nothing is decided by it, but nothing is instant.
const QUICK: Duration = Duration::from_millis(2);
/// A wake is at least so far ahead: a deadline that stands still must not stop time.
const SOON: Duration = Duration::from_millis(1);
/// A picture is about 900 points wide; more samples than this it cannot show.
const SAMPLES: u32 = 600;

/// Something that happens.
enum Happening {
    /// Whether the agent of a cluster runs may have changed.
    Turn(ClusterName),
    /// An agent wants to be woken.
    Wake(ClusterName, u64),
    /// A check is due.
    Check(ClusterName, u64, ProbeKey),
    /// It is done.
    Checked(ClusterName, u64, ProbeKey, Answer),
    /// Its verdict reaches the core.
    Told(ClusterName, u64, ProbeKey, ProbeVerdict),
    /// An agent greets its peers.
    Beat(ClusterName, u64),
    /// A peer's gateway answered: with the life of its agent, or in place of it.
    Echo { to: ClusterName, life: u64, peer: ClusterName, address: SocketAddr, agent: Option<(u64, u64)> },
    /// Pool status arrives.
    Status { to: ClusterName, from: ClusterName, told: (u64, u64), pools: Arc<Vec<PoolStatus>> },
    /// Requests flow.
    Step,
}

struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    sites: BTreeMap<ClusterName, Site>,
    queue: BTreeMap<(Time, u64), Happening>,
    next: u64,
    random: Random,
    traffic: Traffic,
    steps: Vec<Step>,
    sample: Duration,
    samples: Vec<Sample>,
    decisions: Vec<Decided>,
    peak: Option<(String, f64)>,
}

/// Plays a scenario. The same scenario and manifests give the same report, on every run and in every process.
#[must_use]
pub fn simulate(scenario: &Scenario, fleet: &Fleet) -> Report {
    let mut run = Run {
        scenario,
        world: World::new(fleet, scenario.faults.clone()),
        sites: fleet
            .configs
            .iter()
            .map(|(name, config)| (name.clone(), Site::new(name.clone(), Arc::clone(config))))
            .collect(),
        queue: BTreeMap::new(),
        next: 0,
        random: Random::new(scenario.seed),
        traffic: Traffic::default(),
        steps: Vec::new(),
        sample: sample_length(scenario.duration),
        samples: Vec::new(),
        decisions: Vec::new(),
        peak: None,
    };
    run.begin();
    let end = Time::from_origin(scenario.duration);
    while let Some(entry) = run.queue.pop_first() {
        let ((now, _), happening) = entry;
        if now > end {
            break;
        }
        run.happen(happening, now);
    }
    run.report()
}

/// Whole steps, so many that a picture can show them.
fn sample_length(duration: Duration) -> Duration {
    let steps = duration.as_nanos().div_ceil(STEP.as_nanos() * u128::from(SAMPLES)).max(1);
    STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

impl Run<'_> {
    fn put(&mut self, at: Time, happening: Happening) {
        self.next += 1;
        self.queue.insert((at, self.next), happening);
    }

    fn begin(&mut self) {
        let names: Vec<ClusterName> = self.sites.keys().cloned().collect();
        let mut turns = BTreeSet::new();
        for name in names {
            turns.insert((Time::ZERO, name.clone()));
            for fault in self.world.faults() {
                let restarts = matches!(&fault.kind, FaultKind::RestartAgent(it) if *it == name);
                if restarts || self.world.takes(fault, &name) {
                    turns.insert((fault.at, name.clone()));
                    turns.extend(fault.until.map(|until| (until, name.clone())));
                }
            }
        }
        for (at, name) in turns {
            self.put(at, Happening::Turn(name));
        }
        self.put(Time::ZERO + STEP, Happening::Step);
    }

    fn happen(&mut self, happening: Happening, now: Time) {
        match happening {
            Happening::Turn(name) => self.turn(&name, now),
            Happening::Wake(name, life) => self.wake(&name, life, now),
            Happening::Check(name, life, key) => self.check(name, life, key, now),
            Happening::Checked(name, life, key, answer) => self.checked(name, life, key, answer, now),
            Happening::Told(name, life, key, verdict) => {
                if self.agent(&name, life).is_some_and(|agent| agent.checks.contains_key(&key)) {
                    self.feed(&name, Input::Checked(key, verdict), now);
                }
            }
            Happening::Beat(name, life) => self.beat(name, life, now),
            Happening::Echo { to, life, peer, address, agent } => {
                self.echo(&to, life, &peer, address, agent, now);
            }
            Happening::Status { to, from, told, pools } => self.status(&to, from, told, &pools, now),
            Happening::Step => self.step(now),
        }
    }

    fn agent(&mut self, name: &ClusterName, life: u64) -> Option<&mut Agent> {
        self.sites.get_mut(name)?.agent.as_mut().filter(|agent| agent.life == life)
    }

    /// Starts or stops an agent, as the world wants it.
    fn turn(&mut self, name: &ClusterName, now: Time) {
        let runs = self.world.agent_runs(name, now);
        let Some(site) = self.sites.get_mut(name) else { return };
        match (&site.agent, runs) {
            (Some(agent), false) => {
                site.saved = agent.core.save(now).or(site.saved.take());
                site.agent = None;
            }
            (None, true) => {
                site.lives += 1;
                let life = site.lives;
                let core = Core::new(name.clone(), site.saved.clone(), now);
                site.agent = Some(Agent::new(core, life, now));
                let config = Arc::clone(&site.config);
                self.feed(name, Input::Manifests(config), now);
                self.put(now, Happening::Beat(name.clone(), life));
            }
            _ => {}
        }
    }

    /// Tells the core, and carries out what it wants.
    fn feed(&mut self, name: &ClusterName, input: Input, now: Time) {
        let Some(agent) = self.sites.get_mut(name).and_then(|site| site.agent.as_mut()) else { return };
        let was_ready = agent.core.is_ready();
        let output = agent.core.handle(input, now);
        let ready_now = !was_ready && agent.core.is_ready();
        self.carry_out(name, output, ready_now, now);
        self.set_wake(name, now);
    }

    fn carry_out(&mut self, name: &ClusterName, output: Output, ready_now: bool, now: Time) {
        self.decide(name, output.records, now);
        let Some(site) = self.sites.get_mut(name) else { return };
        if !output.xds.is_empty() || ready_now {
            site.push();
        }
        let Some(agent) = &mut site.agent else { return };
        let life = agent.life;
        if let Some(peers) = output.peers {
            agent.liveness.set_peers(&peers, now);
            agent.peers = peers;
        }
        let fresh = output.targets.map(|targets| agent.set_targets(targets)).unwrap_or_default();
        let added = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        let interval = tidegate_probe::CheckConfig::DEFAULT_INTERVAL;
        if let Some(statuses) = output.publish {
            agent.publish(statuses, now);
            let others: Vec<ClusterName> = self.sites.keys().filter(|it| *it != name).cloned().collect();
            for to in others {
                self.send(name, to, now);
            }
        }
        for (index, key) in (0..added).zip(fresh) {
            let due = now + pacing::first_delay(index, added, interval);
            self.put(due, Happening::Check(name.clone(), life, key));
        }
    }

    fn decide(&mut self, name: &ClusterName, records: Vec<Record>, now: Time) {
        let at_micros = u64::try_from(now.since_origin().as_micros()).unwrap_or(u64::MAX);
        let decided = |record| Decided { at_micros, cluster: name.clone(), record };
        self.decisions.extend(records.into_iter().map(decided));
    }

    /// Puts the agent's next wake into the queue, unless an earlier one is there.
    fn set_wake(&mut self, name: &ClusterName, now: Time) {
        let Some(agent) = self.sites.get_mut(name).and_then(|site| site.agent.as_mut()) else { return };
        let liveness = agent.liveness.poll_timeout().map(|(at, _)| at);
        let Some(due) = [agent.core.next_deadline(), liveness].into_iter().flatten().min() else { return };
        let due = due.max(now + SOON);
        if agent.wake.is_some_and(|at| at > now && at <= due) {
            return;
        }
        agent.wake = Some(due);
        let life = agent.life;
        self.put(due, Happening::Wake(name.clone(), life));
    }

    fn wake(&mut self, name: &ClusterName, life: u64, now: Time) {
        let Some(agent) = self.agent(name, life) else { return };
        if agent.liveness.poll_timeout().is_some_and(|(at, _)| at <= now) {
            agent.liveness.tick(now);
            self.drain(name, now);
        }
        let Some(agent) = self.agent(name, life) else { return };
        if agent.core.next_deadline().is_some_and(|at| at <= now) {
            self.feed(name, Input::Tick, now);
        }
        self.set_wake(name, now);
    }

    /// Takes what the liveness core tells.
    fn drain(&mut self, name: &ClusterName, now: Time) {
        while let Some(output) =
            self.sites.get_mut(name).and_then(|site| site.agent.as_mut()?.liveness.poll_output())
        {
            let link::Output::Peer(peer, event) = output else { continue };
            match heard(peer, &event) {
                Heard::Input(input) => self.feed(name, input, now),
                Heard::Record(record) => self.decide(name, vec![record], now),
                Heard::Nothing => {}
            }
        }
        self.set_wake(name, now);
    }

    fn check(&mut self, name: ClusterName, life: u64, key: ProbeKey, now: Time) {
        let answer = self.world.answer(&name, &key.0, key.1, now);
        let Some(check) = self.agent(&name, life).and_then(|agent| agent.checks.get_mut(&key)) else {
            return;
        };
        check.started = now;
        let takes = if answer == Answer::Nothing { check.config.timeout } else { QUICK };
        self.put(now + takes, Happening::Checked(name, life, key, answer));
    }

    fn checked(&mut self, name: ClusterName, life: u64, key: ProbeKey, answer: Answer, now: Time) {
        let random = self.random.next_u32();
        let Some(check) = self.agent(&name, life).and_then(|agent| agent.checks.get_mut(&key)) else {
            return;
        };
        let step = check.tracker.on_result(match answer {
            Answer::Well => Ok(()),
            Answer::Unavailable => Err(Failure::Status(503)),
            Answer::Refused => Err(Failure::Refused),
            Answer::Nothing => Err(Failure::Timeout(check.config.timeout, Stage::Connect)),
        });
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
            let delay = self.world.delay(&name, now);
            self.put(now + delay, Happening::Told(name.clone(), life, key.clone(), verdict));
        }
        self.put(due, Happening::Check(name, life, key));
    }

    fn beat(&mut self, name: ClusterName, life: u64, now: Time) {
        let Some(agent) = self.agent(&name, life) else { return };
        let peers = agent.peers.clone();
        for (peer, addresses) in peers {
            if !self.world.is_open(&name, &peer, now) {
                continue;
            }
            let other = self.sites.get(&peer).and_then(|site| site.agent.as_ref());
            let agent = other.map(|agent| (agent.life, agent.falls));
            let back = now + self.world.round_trip(&name, &peer);
            for address in addresses {
                let (to, peer) = (name.clone(), peer.clone());
                self.put(back, Happening::Echo { to, life, peer, address, agent });
            }
        }
        self.put(now + link::BEAT_INTERVAL, Happening::Beat(name, life));
    }

    fn echo(
        &mut self,
        to: &ClusterName,
        life: u64,
        peer: &ClusterName,
        address: SocketAddr,
        other: Option<(u64, u64)>,
        now: Time,
    ) {
        let rtt = self.world.round_trip(to, peer);
        let Some(agent) = self.agent(to, life) else { return };
        match other {
            Some((boot, falls)) => {
                let echo = link::Echo { boot: PeerBoot(boot), falls, rtt: Some(rtt) };
                agent.liveness.handle_beat(peer, address, echo, now);
            }
            None => agent.liveness.handle_answer(peer, address, Some("503".to_owned()), now),
        }
        self.drain(to, now);
        self.catch_up(to, peer, now);
    }

    /// A status that was lost on the way is sent again once the way is open.
    fn catch_up(&mut self, to: &ClusterName, from: &ClusterName, now: Time) {
        let Some(source) = self.sites.get(from).and_then(|site| site.agent.as_ref()) else { return };
        let newest = (source.life, source.version);
        let on_its_way = self.world.round_trip(to, from) + self.world.delay(from, now) + link::BEAT_INTERVAL;
        let settled = source.version > 0 && now.since(source.published_at) > on_its_way;
        let heard = self.sites.get(to).and_then(|site| site.agent.as_ref()?.heard.get(from).copied());
        if settled && heard != Some(newest) {
            self.send(from, to.clone(), now);
        }
    }

    fn send(&mut self, from: &ClusterName, to: ClusterName, now: Time) {
        let Some(agent) = self.sites.get(from).and_then(|site| site.agent.as_ref()) else { return };
        let (told, pools) = ((agent.life, agent.version), Arc::clone(&agent.published));
        let at = now + self.world.round_trip(from, &to) / 2 + self.world.delay(from, now);
        self.put(at, Happening::Status { to, from: from.clone(), told, pools });
    }

    fn status(
        &mut self,
        to: &ClusterName,
        from: ClusterName,
        told: (u64, u64),
        pools: &Arc<Vec<PoolStatus>>,
        now: Time,
    ) {
        // The observer dials: what matters is its way to the peer.
        let open = self.world.is_open(to, &from, now);
        let Some(agent) = self.sites.get_mut(to).and_then(|site| site.agent.as_mut()) else { return };
        if !open || agent.heard.get(&from).is_some_and(|heard| *heard >= told) {
            return;
        }
        agent.heard.insert(from.clone(), told);
        self.feed(to, Input::RemotePools(from, pools.to_vec()), now);
    }

    fn step(&mut self, now: Time) {
        let view = View { scenario: self.scenario, world: &self.world, sites: &self.sites, now };
        let totals = self.traffic.step(&view);
        for ((name, peer), (tried, well)) in &totals.evidence {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "rates are at most 1e9"
            )]
            let count = |value: f64| value.ceil() as u64;
            let traffic = link::Traffic { window: STEP, attempts: count(*tried), successes: count(*well) };
            let Some(agent) = self.sites.get_mut(name).and_then(|site| site.agent.as_mut()) else { continue };
            agent.liveness.handle_traffic(peer, traffic, now, now);
            self.drain(name, now);
        }
        self.observe(&totals, now);
        self.steps.push(Step::of(&totals));
        self.put(now + STEP, Happening::Step);
    }

    /// Adds a step to the sample that it belongs to.
    fn observe(&mut self, totals: &Totals, now: Time) {
        let steps = self.steps.len() as u64;
        let per_sample = millis(self.sample) / millis(STEP);
        if steps.is_multiple_of(per_sample) {
            let mut sample = Sample { at_ms: steps * millis(STEP), ..Sample::default() };
            self.stand(&mut sample, now);
            self.samples.push(sample);
        }
        let Some(sample) = self.samples.last_mut() else { return };
        let rate = 1.0 / self.sample.as_secs_f64();
        let add = |sum: &mut f64, value: f64| *sum = rounded(*sum + value * rate);
        add(&mut sample.offered_rps, totals.offered);
        add(&mut sample.failed_rps, totals.failed);
        add(&mut sample.shed_rps, totals.shed);
        for (pool, served) in &totals.served {
            add(&mut sample.pools.entry(pool.to_string()).or_default().rps, *served);
        }
        for (pool, used) in &totals.utilisation {
            let used = rounded(*used);
            let entry = sample.pools.entry(pool.to_string()).or_default();
            entry.utilisation = Some(entry.utilisation.unwrap_or_default().max(used));
            if self.peak.as_ref().is_none_or(|(_, peak)| used > *peak) {
                self.peak = Some((pool.to_string(), used));
            }
        }
    }

    /// Writes into a sample how things stand: phases and shares.
    fn stand(&self, sample: &mut Sample, now: Time) {
        for (pool, phase) in self.phases(now) {
            sample.pools.entry(pool.to_string()).or_default().phase = phase;
        }
        for demand in &self.scenario.demand {
            let key = (demand.service.clone(), demand.zone.clone());
            let plan = self.sites.get(&demand.cluster).and_then(|site| site.plans.get(&key));
            if let Some(plan) = plan {
                let shares = plan.shares.iter().map(|(target, share)| (target.to_string(), *share)).collect();
                sample.shares.insert(format!("{} from {}", plan.service, plan.source), shares);
            }
        }
    }

    /// The phases of the pools that have demand; none for those whose agent does not run.
    fn phases(&self, now: Time) -> Vec<(PoolKey, Option<tidegate_model::Phase>)> {
        let wanted: BTreeSet<&ServiceName> = self.scenario.demand.iter().map(|it| &it.service).collect();
        let mut phases = Vec::new();
        for site in self.sites.values() {
            let engine = site.agent.as_ref().and_then(|agent| agent.core.engine());
            for service in &wanted {
                let zones =
                    site.config.services.get(*service).into_iter().flat_map(|it| it.endpoints.values());
                let zones: BTreeSet<_> = zones.map(|endpoint| endpoint.zone.clone()).collect();
                for zone in zones {
                    let status = engine.and_then(|engine| {
                        engine.statuses(now).find(|it| it.service == **service && it.locality.zone == zone)
                    });
                    let key = PoolKey { service: (*service).clone(), cluster: site.name.clone(), zone };
                    phases.push((key, status.map(|status| status.phase)));
                }
            }
        }
        phases
    }

    fn report(self) -> Report {
        let duration = self.scenario.duration;
        let faults = &self.scenario.faults;
        let first = faults.iter().min_by_key(|fault| fault.at).map(|fault| (fault.at, fault.end(duration)));
        let last_end = faults.iter().map(|fault| fault.end(duration)).max().unwrap_or(Time::ZERO);
        let mut measures = measure(&self.steps, &self.decisions, first, last_end);
        measures.peak_utilisation = self.peak;
        let ms = |time: Time| millis(time.since_origin());
        Report {
            title: self.scenario.title.clone(),
            duration_ms: millis(duration),
            seed: self.scenario.seed,
            faults: faults
                .iter()
                .map(|it| FaultView {
                    at_ms: ms(it.at),
                    until_ms: ms(it.end(duration)),
                    what: it.kind.to_string(),
                })
                .collect(),
            measures,
            moves: moves(&self.decisions, first.map_or(Time::ZERO, |(at, _)| at)),
            sample_ms: millis(self.sample),
            samples: self.samples,
            decisions: self.decisions,
        }
    }
}
