//! The running demo: its loads, what its agents say, and the course of one fault.

use super::{
    DemoError, DemoOptions, DemoReport, FaultReport,
    course::Act,
    live::{self, Screen},
    report::{LoadReport, RolloutReport},
    seconds,
    watch::{Cast, Watch, homes},
};
use crate::{
    fleet::{Fault, Fleet, FleetError, ProcessFault, agent},
    load::{Load, Sample},
    measure::{self, Incident, Verdict},
    wan::Site,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_model::{ClusterName, Time};

/// From one look at the agents to the next.
const TICK: Duration = Duration::from_millis(200);
/// From one look at the hub to the next, where what is awaited is measured by it.
const LOOK: Duration = Duration::from_millis(20);
/// From one drawing of the table to the next, on a terminal and elsewhere.
const REDRAW_LIVE: Duration = Duration::from_millis(500);
const REDRAW_LINES: Duration = Duration::from_secs(2);

pub(super) struct Stage<'a, 'out> {
    fleet: &'a Fleet,
    options: &'a DemoOptions,
    pub(super) screen: &'a mut Screen<'out>,
    loads: BTreeMap<ClusterName, Load>,
    watch: Watch,
    drawn: Time,
    /// What is the matter beside the fault at hand.
    aside: &'static str,
    /// Clusters that are away: what they make of the others is of no use to anybody.
    lost: BTreeSet<ClusterName>,
}

impl<'a, 'out> Stage<'a, 'out> {
    /// Starts the loads.
    pub(super) fn start(
        fleet: &'a Fleet,
        options: &'a DemoOptions,
        screen: &'a mut Screen<'out>,
    ) -> Result<Self, DemoError> {
        let loads = fleet
            .edges()
            .map(|cluster| {
                let spec = fleet.load(cluster, options.rate_rps, options.method())?;
                Ok((cluster.clone(), Load::start(spec, fleet.clock())?))
            })
            .collect::<Result<_, DemoError>>()?;
        let (watch, drawn, lost) = (Watch::default(), Time::ZERO, BTreeSet::new());
        Ok(Self { fleet, options, screen, loads, watch, drawn, aside: "", lost })
    }

    /// Hold-down and ramp, for people.
    pub(super) fn policy(&self) -> String {
        let policy = &self.fleet.spec().policy;
        format!(
            "{:?}, then {:?} % a step each {:?}",
            policy.hold_down, policy.ramp_steps, policy.ramp_interval
        )
    }

    /// Lets traffic flow for a while.
    pub(super) async fn hold(&mut self, title: &str, long: Duration) -> Result<(), DemoError> {
        let end = self.now() + long;
        while self.now() < end {
            self.tick(title).await?;
        }
        Ok(())
    }

    /// Makes a fault happen, waits for the failover, undoes it, waits for the failback, measures.
    pub(super) async fn perform(&mut self, act: Act) -> Result<FaultReport, DemoError> {
        let cast = self.cast(&act).await?;
        let title = format!("lost: {}", act.fault);
        let fault = self.fleet.fault(act.fault.clone()).await?;
        self.lost.clone_from(&cast.lost);
        self.note(&title)?;
        let detected = loop {
            self.tick(&title).await?;
            let detected = self.watch.detected(&act.fault, fault, &cast, &self.fleet.spec().services);
            let lasted = self.now().since(fault);
            // What stays is not to be noticed by anybody.
            let is_over =
                (detected.is_some() || act.stays) && lasted >= act.at_least && self.is_quiet(fault, &cast);
            if is_over || lasted >= self.options.timing.limit {
                break detected;
            }
        };
        if act.stays {
            self.aside = ", without the hub";
            let span = Span { fault, restored: None, observed_until: self.now(), detected };
            return Ok(self.measure(&act, &cast, &span).await);
        }
        let restored = self.fleet.mend(&act.fault).await?;
        self.lost.clear();
        let title = format!("restored: {}", act.fault);
        self.note(&title)?;
        let observed_until = loop {
            self.tick(&title).await?;
            let (now, quiet) = (self.now(), self.options.timing.quiet);
            let moves = self.watch.moves(fault, &cast.homes, &cast.living);
            let stable = measure::stable_failback(&moves, fault, restored, now, quiet);
            let lasted = now.since(restored);
            if (stable.is_some() && lasted >= quiet) || lasted >= self.options.timing.limit {
                break now;
            }
        };
        self.note("stable")?;
        let span = Span { fault, restored: Some(restored), observed_until, detected };
        Ok(self.measure(&act, &cast, &span).await)
    }

    /// Brings the hub back, changes the policy, and waits until every agent and gateway has it.
    pub(super) async fn roll_out(&mut self) -> Result<RolloutReport, DemoError> {
        self.aside = "";
        let back = self.fleet.mend(&Fault::Hub { fault: ProcessFault::Kill }).await?;
        let title = "the hub is back";
        self.note(title)?;
        let all_back =
            self.wait(title, back, async |fleet| Ok(fleet.not_connected().await?.is_empty())).await?;
        let before = self.fleet.rollout().await?.since;
        let mut policy = self.fleet.spec().policy.clone();
        policy.hold_down += Duration::from_secs(1);
        let rule = format!("failback.holdDown {:?}", policy.hold_down);
        let title = format!("in the hub's folder: {rule}");
        let changed = self.now();
        self.fleet.change_policy(policy)?;
        self.note(&title)?;
        let in_force = self.wait(&title, changed, async |fleet| {
            let clusters = fleet.spec().clusters.iter();
            let rules = clusters.map(|it| fleet.rule(&it.name, "failback.holdDown"));
            let rules = futures::future::try_join_all(rules).await?;
            Ok(rules.iter().all(|it| it.as_deref().is_some_and(|it| it.starts_with(&rule))))
        });
        let in_force = in_force.await?;
        self.note(if in_force.is_some() { "every agent has it" } else { "not every agent has it" })?;
        let known = self.wait(&title, changed, async |fleet| {
            let rollout = fleet.rollout().await?;
            Ok(rollout.since > before && rollout.waits_for.is_empty())
        });
        let known = known.await?;
        self.note(if known.is_some() { "and the hub knows" } else { "and the hub does not know" })?;
        Ok(RolloutReport::new([back, changed], all_back, in_force, known))
    }

    /// From a moment until something is so; `None` if it is not within the limit. Asks often, and draws meanwhile.
    async fn wait(
        &mut self,
        title: &str,
        since: Time,
        mut look: impl AsyncFnMut(&Fleet) -> Result<bool, FleetError>,
    ) -> Result<Option<Duration>, DemoError> {
        loop {
            let looked = look(self.fleet).await;
            let lasted = self.now().since(since);
            match looked {
                Ok(true) => return Ok(Some(lasted)),
                Ok(false) if lasted >= self.options.timing.limit => return Ok(None),
                Err(error) if lasted >= self.options.timing.limit => return Err(error.into()),
                // It may be on its way up, and answer nothing yet.
                Ok(false) | Err(_) => {}
            }
            tokio::time::sleep(LOOK).await;
            self.draw(title).await?;
        }
    }

    async fn measure(&self, act: &Act, cast: &Cast, span: &Span) -> FaultReport {
        for load in self.loads.values() {
            load.settled(span.observed_until).await;
        }
        let detections: Vec<Time> = span.detected.into_iter().collect();
        let moves = self.watch.moves(span.fault, &cast.homes, &cast.living);
        let measure = |clusters: &BTreeSet<ClusterName>| {
            let samples: Vec<Sample> = clusters
                .iter()
                .filter_map(|cluster| self.loads.get(cluster))
                .flat_map(|load| load.samples().requests)
                .collect();
            measure::measure(&Incident {
                fault: span.fault,
                restored: span.restored,
                observed_until: span.observed_until,
                samples: &samples,
                detections: &detections,
                moves: &moves,
                quiet: self.options.timing.quiet,
            })
        };
        let measures = measure(&cast.living);
        let verdicts = act.objectives.judge(&measures);
        let observers = cast.living.iter().chain(&cast.lost).cloned().collect();
        FaultReport {
            fault: act.fault.to_string(),
            at: span.fault,
            restored_at: span.restored,
            observed_until: span.observed_until,
            edges: self.loads.keys().filter(|it| cast.living.contains(*it)).cloned().collect(),
            passed: verdicts.iter().all(|verdict| verdict.passed),
            verdicts,
            measures,
            lost_edge: act.lost.is_some().then(|| measure(&cast.lost).into()),
            moves,
            events: self
                .watch
                .since(span.fault, &observers)
                .map(|seen| (seen.cluster.clone(), seen.event.clone()))
                .collect(),
        }
    }

    /// Stops the loads and puts the report together.
    pub(super) async fn finish(
        self,
        faults: Vec<FaultReport>,
        rollout: Option<RolloutReport>,
    ) -> Result<DemoReport, DemoError> {
        let mut loads = Vec::new();
        for (_, load) in self.loads {
            loads.push(LoadReport::new(&load.stop().await));
        }
        let ledger = self.fleet.ledger();
        let repeated = ledger.repeated();
        let verdicts = if self.options.post {
            vec![Verdict {
                measure: "unsafe requests done twice".to_owned(),
                objective: "at most 0".to_owned(),
                measured: format!("{} of {}", repeated.len(), ledger.requests()),
                passed: repeated.is_empty() && ledger.overflow() == 0 && ledger.unnamed() == 0,
            }]
        } else {
            Vec::new()
        };
        let of_rollout = rollout.iter().flat_map(|rollout| &rollout.verdicts);
        Ok(DemoReport {
            passed: faults.iter().all(|fault| fault.passed)
                && verdicts.iter().chain(of_rollout).all(|verdict| verdict.passed),
            method: if self.options.post { "POST" } else { "GET" },
            rate_rps: self.options.rate_rps,
            policy: self.fleet.spec().policy.clone().into(),
            faults,
            rollout,
            verdicts,
            repeated,
            loads,
            files: None,
        })
    }

    async fn cast(&self, act: &Act) -> Result<Cast, DemoError> {
        let lost: BTreeSet<ClusterName> =
            act.lost.iter().flat_map(|region| self.fleet.clusters_of(region)).cloned().collect();
        let clusters = self.fleet.spec().clusters.iter().map(|cluster| cluster.name.clone());
        let living: BTreeSet<ClusterName> = clusters.filter(|cluster| !lost.contains(cluster)).collect();
        let mut plans = Vec::new();
        for cluster in &living {
            plans.extend(agent::plans(&self.fleet.agent_status(cluster).await?));
        }
        let away = |cluster: &ClusterName, peer: &ClusterName| match &act.fault {
            Fault::Link { between } => {
                let [one, other] = [cluster, peer].map(|it| Site::Cluster(it.clone()));
                between.contains(&one) && between.contains(&other)
            }
            _ => lost.contains(peer),
        };
        let peers = |cluster: &ClusterName| {
            let from = Site::Cluster(cluster.clone());
            let all = self.fleet.spec().clusters.iter().map(|it| it.name.clone());
            all.filter(|peer| self.fleet.wan().link(&from, &Site::Cluster(peer.clone())).is_some())
                .map(|peer| (cluster.clone(), peer))
                .collect::<Vec<_>>()
        };
        let parted = living.iter().flat_map(peers).filter(|(cluster, peer)| away(cluster, peer)).collect();
        Ok(Cast { lost, living, parted, homes: homes(plans) })
    }

    /// Whether the plans have not changed for a while.
    fn is_quiet(&self, since: Time, cast: &Cast) -> bool {
        let moves = self.watch.moves(since, &cast.homes, &cast.living);
        let last = moves.iter().map(|change| change.at).max().unwrap_or(since);
        self.now().since(last) >= self.options.timing.quiet
    }

    /// Waits a little, asks the agents what is new, draws.
    async fn tick(&mut self, title: &str) -> Result<(), DemoError> {
        tokio::time::sleep(TICK).await;
        self.fleet.check().await?;
        let news = self.fleet.spec().clusters.iter().map(|cluster| async {
            (&cluster.name, self.fleet.decisions(&cluster.name, self.watch.last(&cluster.name)).await)
        });
        for (cluster, news) in futures::future::join_all(news).await {
            // An agent that does not answer now is asked again with the next tick; its timeline waits.
            match news {
                Ok(events) => self.watch.add(cluster, events, self.fleet.clock()),
                Err(error) => tracing::debug!(%error, "an agent did not answer"),
            }
        }
        self.draw(title).await
    }

    /// Draws, if it is time to.
    async fn draw(&mut self, title: &str) -> Result<(), DemoError> {
        let every = if self.options.live { REDRAW_LIVE } else { REDRAW_LINES };
        if self.now().since(self.drawn) >= every {
            self.drawn = self.now();
            let view = live::View::of(self.fleet, &format!("{title}{}", self.aside), &self.lost).await;
            self.screen.draw(&view)?;
        }
        Ok(())
    }

    fn note(&mut self, text: &str) -> Result<(), DemoError> {
        let at = seconds(self.fleet.clock());
        Ok(self.screen.note(&format!("{at}  {text}"))?)
    }

    fn now(&self) -> Time {
        self.fleet.clock().now()
    }
}

/// The course of a fault.
struct Span {
    fault: Time,
    restored: Option<Time>,
    observed_until: Time,
    detected: Option<Time>,
}
