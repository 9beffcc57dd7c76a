//! The shell of the agent: one loop that hears, asks the core, and carries out what it says. It decides nothing.

mod answers;
mod clocks;
mod replicas;

pub(crate) use clocks::{since_1970, unix_micros, wall_clock};

use crate::{
    admin::Ask,
    asked::Asked,
    certificates::warn_of_certificates,
    core::{Core, Input, Output, ProbeKey, Publish, gateway_names},
    error::AgentError,
    hearing::{Heard, heard},
    hub::{HubLink, HubTime, InForce, is_handed_out, rejected},
    journal::Journal,
    meter::Meter,
    names::Names,
    passive::reports::Ended,
    peer_demand::PeerDemand,
    pushes::Pushes,
    replicas::Telling,
    run::{Gateways, gateway_of, grpc_client},
    saved::{Keeper, Resolved},
    timeline::{Record, Timeline},
    traffic::Traffic as Flows,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};
use tidegate_api::Problem;
use tidegate_discovery::{Given, Snapshot, Update, Updates, kube::Board};
use tidegate_engine::Load;
use tidegate_link::{
    LinkEvent, PeerClient, PeerEvent, PeerServer, ReplicaEvent, Replicas, StatusDelta, Traffic,
};
use tidegate_model::{ClusterName, PeerBoot, ServiceName, Time, Zone};
use tidegate_probe::{Prober, Verdict};
use tidegate_xds::{CounterReport, LoadReport, NodeInfo, Store, XdsEvent, XdsServer};
use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

/// Successes are told so often at most: several times within the second for which they count.
const SUCCESSES_EVERY: Duration = Duration::from_millis(200);

/// What happens, by where it comes from.
pub(crate) struct Inputs {
    pub(crate) manifests: Updates,
    pub(crate) verdicts: mpsc::Receiver<Verdict<ProbeKey>>,
    pub(crate) xds_events: mpsc::Receiver<XdsEvent>,
    pub(crate) link_events: mpsc::Receiver<LinkEvent>,
    pub(crate) replica_events: mpsc::Receiver<ReplicaEvent>,
    pub(crate) found: mpsc::Receiver<Resolved>,
    pub(crate) asks: mpsc::Receiver<Ask>,
}

/// The loop and all that it owns.
pub(crate) struct Shell {
    pub(crate) origin: Instant,
    pub(crate) core: Core,
    pub(crate) boot: PeerBoot,
    pub(crate) xds: XdsServer,
    pub(crate) store: Store,
    pub(crate) prober: Prober<ProbeKey>,
    pub(crate) peer_client: PeerClient,
    pub(crate) peer_server: PeerServer,
    pub(crate) gateways: Gateways,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) journal: Journal,
    pub(crate) keeper: Keeper,
    pub(crate) generation: u64,
    /// The number of what the hub handed out.
    pub(crate) given: u64,
    /// What the hub handed out last; it may not be in force yet.
    pub(crate) handed: Option<watch::Receiver<Given>>,
    /// Who tells the way to the hub that a drill keeps the agent away from it.
    pub(crate) hub_left: watch::Sender<bool>,
    /// Who tells the hub what became of it.
    pub(crate) in_force: Option<watch::Sender<InForce>>,
    /// What its clock says.
    pub(crate) hub_time: Option<watch::Receiver<HubTime>>,
    /// How the hub is followed, if there is one.
    pub(crate) hub: Option<HubLink>,
    /// How the API stands that manifests are read from, if they are.
    pub(crate) api: Option<Board>,
    pub(crate) problems: Vec<String>,
    /// What each peer told of what is asked for there.
    pub(crate) peer_demand: BTreeMap<ClusterName, PeerDemand>,
    /// What the own gateways are asked for.
    pub(crate) meter: Meter,
    /// What they send where, for whoever watches a drill.
    pub(crate) flows: Flows,
    /// What they are to take in of what was decided.
    pub(crate) pushes: Pushes,
    /// What load they are asked to report.
    pub(crate) asked: Asked,
    /// Where requests succeeded in places that are in doubt, since the core was told last, and when that was.
    pub(crate) successes: BTreeSet<(ServiceName, Zone)>,
    pub(crate) successes_at: Time,
    /// What ended at endpoints since the core was told last, and when that was.
    pub(crate) requests: Ended,
    /// Who was not believed, and by whom we were not; `None` in a cluster without an identity.
    pub(crate) refusals: Option<tidegate_link::identity::Refusals>,
    /// Whether gateways are answered.
    pub(crate) released: bool,
    /// The other replicas, and what they are told; nothing without any.
    pub(crate) replicas: Option<(Replicas, Telling)>,
    /// Who looks up the names of other clusters' gateways.
    pub(crate) names: Names,
    /// Addresses at which a starting agent waits for another replica.
    pub(crate) awaited: usize,
}

impl Shell {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// If the peer links have ended before: without them no cluster would ever be found unreachable.
    pub(crate) async fn run(
        mut self,
        first: Snapshot,
        mut inputs: Inputs,
        stop: CancellationToken,
    ) -> Result<(), AgentError> {
        let mut hub_time = self.hub_time.clone();
        self.await_replicas(&mut inputs.replica_events).await;
        self.manifests(first).await;
        loop {
            let wake = self.next_wake();
            // In no order: manifests that change all the time leave the others their turn, and the others them.
            tokio::select! {
                () = stop.cancelled() => break,
                Some(update) = inputs.manifests.next() => self.manifests_changed(update).await,
                event = inputs.link_events.recv() => match event {
                    Some(event) => self.link(event).await,
                    None if stop.is_cancelled() => break,
                    None => return Err(AgentError::PeerLinksEnded),
                },
                Some(event) = inputs.replica_events.recv() => self.replica(event).await,
                Some(found) = inputs.found.recv() => self.take_in(Input::Resolved(found)).await,
                Some(verdict) = inputs.verdicts.recv() => {
                    self.handle(Input::Checked(verdict.key, verdict.verdict)).await;
                }
                Some(event) = inputs.xds_events.recv() => self.xds(event).await,
                Some(ask) = inputs.asks.recv() => self.answer(ask).await,
                () = clocks::changed(&mut hub_time) => self.tell_time().await,
                () = sleep_until(wake.into()) => self.handle(Input::Tick).await,
            }
            let now = self.now();
            self.ask_load(now);
            self.keeper.keep_if_due(&mut self.core, now);
        }
        let now = self.now();
        self.keeper.finish(&mut self.core, now).await;
        Ok(())
    }

    /// Gateways report the load that somebody needs.
    fn ask_load(&mut self, now: Time) {
        let rate = |service: &ServiceName| self.meter.rate(service);
        if let Some(load) = self.asked.news(&self.core, self.generation, &rate, now) {
            self.xds.ask_load(load);
        }
    }

    /// Far enough ahead to mean "nothing is due".
    fn next_wake(&self) -> Instant {
        let idle = self.now() + Duration::from_secs(3600);
        let due = [self.core.next_deadline(), self.keeper.next(&self.core), self.asked.deadline()];
        let at = due.into_iter().flatten().min().unwrap_or(idle);
        self.origin + at.since_origin()
    }

    /// What this replica found itself: the others are told of it.
    async fn handle(&mut self, input: Input) {
        self.tell_replicas(&input);
        self.take_in(input).await;
    }

    /// What came from anywhere.
    async fn take_in(&mut self, input: Input) {
        let now = self.now();
        let told = input.clone();
        let output = self.core.handle(input, now);
        self.journal.note(now, told, output.records.clone(), &self.core);
        self.carry_out(output).await;
    }

    async fn carry_out(&mut self, output: Output) {
        self.retract_from_replicas(&output);
        let Output {
            xds,
            scopes,
            targets,
            changed_targets,
            peers,
            gateways,
            publish,
            actions,
            records,
            cut,
            leaves_hub,
            ..
        } = output;
        let pushed = !xds.is_empty() && self.store.apply(xds) > 0;
        // After their content: a scope that is declared is answered from.
        if let Some(scopes) = scopes {
            self.xds.declare(scopes);
        }
        if let Some(gateways) = gateways {
            *self.gateways.write().unwrap_or_else(PoisonError::into_inner) = gateways;
        }
        if let Some(targets) = targets {
            self.prober.set(targets);
        }
        if !changed_targets.is_empty() {
            self.prober.change(changed_targets);
        }
        if let Some(peers) = peers {
            self.peer_client.set_peers(peers).await;
        }
        if let Some(cut) = cut {
            self.peer_client.cut(cut).await;
        }
        if let Some(leaves) = leaves_hub {
            self.hub_left.send_replace(leaves);
        }
        if let Some(statuses) = publish {
            match statuses {
                Publish::All(statuses) => self.peer_server.publish(statuses),
                Publish::Changed(services) => self.peer_server.publish_changed(services),
            }
        }
        self.pass_on(&actions);
        // Before it is told: a large fleet's first plans are tens of thousands of lines.
        if self.core.is_ready() && !self.released {
            self.released = true;
            self.xds.release();
            tracing::info!(
                after_ms = self.origin.elapsed().as_millis(),
                "ready: gateways are answered from now on"
            );
        }
        let now = self.now();
        let numbers = self.timeline.last() + records.len() as u64;
        self.pushes.decide(&records, numbers, now);
        if pushed {
            self.pushes.push(self.store.batch(), now);
        }
        self.timeline.append(records, wall_clock());
    }

    /// The first manifests.
    async fn manifests(&mut self, snapshot: Snapshot) {
        self.generation = snapshot.generation;
        if !snapshot.problems.is_empty() {
            self.tell_of_manifests(&snapshot.problems);
        }
        self.tell_time().await;
        let named = gateway_names(&snapshot.config, self.core.own());
        let found = self.names.first(&named).await;
        if !found.is_empty() {
            self.take_in(Input::Resolved(found)).await;
        }
        self.names.want(named);
        self.handle(Input::Manifests(snapshot.config)).await;
        warn_of_certificates(self.core.config(), wall_clock());
        self.tell_in_force(snapshot.given, Some(&snapshot.problems));
    }

    /// What changed of them.
    async fn manifests_changed(&mut self, update: Update) {
        self.generation = update.generation;
        match &update.problems {
            Some(problems) => self.tell_of_manifests(problems),
            None => self.record_manifests(self.problems.len()),
        }
        // Shifts may end at a time of day.
        if update.change.shifts.is_some() {
            self.tell_time().await;
        }
        let certificates = !update.change.certificates.is_empty();
        let clusters = update.change.clusters.is_some();
        if !update.change.is_empty() {
            self.handle(Input::ManifestsChanged(Arc::new(update.change))).await;
        }
        if clusters {
            self.names.want(gateway_names(self.core.config(), self.core.own()));
        }
        if certificates {
            warn_of_certificates(self.core.config(), wall_clock());
        }
        self.tell_in_force(update.given, update.problems.as_deref());
    }

    /// What became of what the hub handed out; `problems` if they changed.
    fn tell_in_force(&mut self, given: u64, problems: Option<&[Problem]>) {
        self.given = given;
        let Some(in_force) = &self.in_force else { return };
        in_force.send_modify(|in_force| {
            in_force.sequence = given;
            if let Some(problems) = problems {
                in_force.rejected = rejected(problems);
            }
        });
    }

    /// Says what is wrong with the manifests, each thing once.
    fn tell_of_manifests(&mut self, problems: &[Problem]) {
        let wrong = problems.iter().filter(|it| !is_handed_out(it));
        let problems: Vec<String> = wrong.map(ToString::to_string).collect();
        let known: BTreeSet<&String> = self.problems.iter().collect();
        for problem in problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::warn!("{problem}");
        }
        self.record_manifests(problems.len());
        self.problems = problems;
    }

    fn record_manifests(&self, problems: usize) {
        let reason = match problems {
            0 => "manifests loaded, nothing wrong with them".to_owned(),
            1 => "manifests loaded with 1 problem; what it names stays as it last was good".to_owned(),
            count => {
                format!("manifests loaded with {count} problems; what they name stays as it last was good")
            }
        };
        let record = Record { kind: "manifestsChanged", reason, ..Record::default() };
        self.timeline.append([record], wall_clock());
    }

    async fn link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Liveness { peer, event, .. } => self.peer(peer, &event).await,
            LinkEvent::Status { peer, status, .. } => {
                let StatusDelta { full, changed, removed, demand, unreachable, lasting, .. } = status;
                self.hear_actions(&peer, &lasting).await;
                self.peer_demand(&peer, full, demand, unreachable).await;
                if !full && changed.is_empty() && removed.is_empty() {
                    return;
                }
                let removed = removed.into_iter().map(|key| (key.service, key.zone)).collect();
                let input = match full {
                    true => Input::RemotePools(peer, changed),
                    false => Input::RemotePoolsChanged { peer, changed, removed },
                };
                self.handle(input).await;
            }
            LinkEvent::Link { peer, address, state, .. } => {
                tracing::debug!(%peer, %address, %state, "peer link");
            }
        }
    }

    /// What is asked for in another cluster, if that is news; what is not named is as it was.
    async fn peer_demand(
        &mut self,
        peer: &ClusterName,
        full: bool,
        news: Vec<(ServiceName, Zone, Option<Load>)>,
        unreachable: BTreeSet<ClusterName>,
    ) {
        let known = self.peer_demand.entry(peer.clone()).or_default();
        if !known.take(full, news, unreachable) {
            return;
        }
        let PeerDemand { demand, unreachable } = known;
        let (demand, unreachable) = (demand.clone(), unreachable.clone());
        self.handle(Input::PeerDemand { peer: peer.clone(), demand, unreachable }).await;
    }

    async fn peer(&mut self, peer: ClusterName, event: &PeerEvent) {
        match heard(peer, event) {
            Heard::Input(input) => self.handle(input).await,
            Heard::Record(record) => self.timeline.append([record], wall_clock()),
            Heard::RoundTrip(input) if self.core.measures() => self.handle(input).await,
            Heard::RoundTrip(_) => {}
        }
    }

    async fn xds(&mut self, event: XdsEvent) {
        match event {
            XdsEvent::Connected { node } => {
                tracing::info!(node = node.id, "gateway connected");
                if let Some(zone) = grpc_client(&node).and_then(Result::ok).or_else(|| self.source_of(&node))
                {
                    self.handle(Input::Gateway(zone)).await;
                }
            }
            XdsEvent::Disconnected { node } => tracing::info!(node = node.id, "gateway disconnected"),
            XdsEvent::Acked { batches, .. } if batches.is_empty() => {}
            XdsEvent::Acked { node, kind, version, batches } => {
                let record = self.pushes.acked(&node, kind, version, &batches, self.now());
                self.timeline.append(record, wall_clock());
            }
            XdsEvent::Nacked { node, kind, names, error } => {
                let reason = format!("gateway {} refused {kind} {}: {error}", node.id, names.join(", "));
                self.timeline.append([Record { kind: "refused", reason, ..Record::default() }], wall_clock());
            }
            XdsEvent::Load(report) => {
                self.load(&report);
                self.tell_successes(&report).await;
                self.tell_in_flight(&report).await;
                self.tell_requests(&report).await;
            }
            XdsEvent::Counters(report) => self.count(&report).await,
        }
    }

    /// The zone of a gateway where requests of clients enter; other clusters' requests enter by the others.
    fn source_of(&self, node: &NodeInfo) -> Option<Zone> {
        let (gateway, zone) = gateway_of(node).ok()?;
        let declared = self.core.config().gateways.get(&gateway)?;
        declared.role.takes_clients().then_some(zone)
    }

    /// Counters of a gateway are demand if clients use it. Peers are told at the same pace.
    async fn count(&mut self, report: &CounterReport) {
        let Some(zone) = self.source_of(&report.node) else { return };
        if !self.meter.counters(&zone, report, self.now()) {
            return;
        }
        let metered = self.core.metered();
        let rates: BTreeMap<ServiceName, Load> = metered
            .map(|(service, unit)| (service.clone(), self.meter.demand(&zone, service, unit)))
            .collect();
        if !rates.is_empty() {
            self.handle(Input::Demand { zone, rates }).await;
            self.publish_demand();
        }
    }

    fn publish_demand(&self) {
        let (demand, unreachable) = self.core.demand();
        self.peer_server.publish_demand(&demand, &unreachable);
    }

    /// Requests to other clusters tell whether they answer: what a silent peer's verdict is confirmed or delayed by.
    fn load(&mut self, report: &LoadReport) {
        self.meter.load(report);
        let enters = self.source_of(&report.node).is_some() || grpc_client(&report.node).is_some();
        self.flows.add(report, enters, unix_micros(wall_clock()));
        let now = self.now();
        let mut seen: BTreeMap<ClusterName, Traffic> = BTreeMap::new();
        for cluster in &report.clusters {
            for locality in &cluster.localities {
                // A remote cluster is a locality without a zone, named by its sub-zone (see the crate `envoy`).
                let Ok(peer) = locality.locality.sub_zone.parse::<ClusterName>() else { continue };
                let none = Traffic { window: cluster.interval, ..Traffic::default() };
                let traffic = seen.entry(peer).or_insert(none);
                traffic.window = traffic.window.max(cluster.interval);
                traffic.attempts +=
                    locality.counts.issued + locality.counts.error + locality.counts.in_progress;
                traffic.open += locality.counts.in_progress;
                traffic.successes += locality.counts.success;
            }
        }
        tracing::debug!(node = report.node.id, ?seen, "load report");
        self.peer_client.report(Arc::from(report.node.id.as_str()), seen, now);
    }

    /// Places in doubt are told of what succeeds there, a few times a second whatever the number of gateways.
    async fn tell_successes(&mut self, report: &LoadReport) {
        self.successes.extend(self.core.successes(report));
        let now = self.now();
        if !self.successes.is_empty() && now.since(self.successes_at) >= SUCCESSES_EVERY {
            self.successes_at = now;
            let successes = std::mem::take(&mut self.successes);
            self.handle(Input::Succeeded(successes)).await;
        }
    }

    /// What drains is told of what is still in flight there.
    async fn tell_in_flight(&mut self, report: &LoadReport) {
        let Some(zone) = self.source_of(&report.node) else { return };
        let now = self.now();
        if let Some(input) = self.core.in_flight(&zone, report, now) {
            self.handle(input).await;
        }
    }

    /// What ended at endpoints, at all gateways together.
    async fn tell_requests(&mut self, report: &LoadReport) {
        let (core, now) = (&self.core, self.now());
        if let Some(ended) = self.requests.add(report, |service| core.judges_errors_of(service), now) {
            self.handle(Input::Requests(ended)).await;
        }
    }
}
