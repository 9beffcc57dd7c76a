//! What a fault did: to requests, to plans, to the view that clusters have of each other.

use super::fleet::{CLUSTERS, Fleet};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};
use tidegate_lab::{
    fleet::agent::AgentEvent,
    load::Sample,
    measure::{Incident, SLOW, measure},
};
use tidegate_model::Time;

/// Requests that entered in one cluster for one service.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) all: usize,
    /// By outcome.
    pub(crate) failed: BTreeMap<String, usize>,
    /// Above a second.
    pub(crate) slow: usize,
    pub(crate) longest: Duration,
    /// Of those that were slow, when they were due after the fault, how long they took, and who served them.
    late: Vec<String>,
    /// From the fault to lasting success; `None` if there was none before it was mended.
    pub(crate) rto: Option<Duration>,
}

/// A service whose traffic one cluster's agent moved, with what it has said.
pub(crate) type Moved = BTreeMap<(&'static str, String), Vec<String>>;

#[derive(Debug)]
pub(crate) struct Seen {
    what: String,
    /// By cluster of entry and service.
    pub(crate) requests: BTreeMap<(&'static str, String), Requests>,
    /// Changes of plans while the fault lasted and after, the end of the failback included.
    pub(crate) moved: Moved,
    /// How long after the fault a cluster called another one unreachable.
    pub(crate) unreachable: BTreeMap<(&'static str, String), Duration>,
    /// From the healing until all was as before.
    pub(crate) converged: Duration,
}

/// A fault that lasts.
pub(crate) struct Watch {
    what: String,
    fault: Time,
}

impl Watch {
    pub(crate) fn start(fleet: &Fleet, what: &str) -> Self {
        fleet.until_converged();
        Self { what: what.to_owned(), fault: fleet.clock.now() }
    }

    /// After the healing: waits until all is as before, and says what was seen since the fault.
    pub(crate) fn end(self, fleet: &Fleet) -> Seen {
        let (healed, began) = (fleet.clock.now(), Instant::now());
        fleet.until_converged();
        let converged = began.elapsed();
        fleet.flow(1);
        let mut seen = Seen {
            what: self.what,
            requests: BTreeMap::new(),
            moved: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            converged,
        };
        for cluster in CLUSTERS {
            seen.count(fleet, cluster, self.fault, healed);
            let events = fleet.events(cluster).unwrap();
            for event in events {
                let at = fleet.told_at(cluster, &event);
                if at >= self.fault {
                    seen.note(cluster, &event, at.since(self.fault));
                }
            }
        }
        eprintln!("MEASURED {seen}");
        seen
    }
}

impl Seen {
    fn count(&mut self, fleet: &Fleet, cluster: &'static str, fault: Time, healed: Time) {
        let samples = fleet.requests(cluster);
        assert_eq!(samples.dropped, 0);
        let now = fleet.clock.now();
        for (index, service) in samples.services.iter().enumerate() {
            let is_own = |it: &&Sample| usize::from(it.service) == index && it.ended() >= fault;
            let own: Vec<Sample> = samples.requests.iter().filter(is_own).copied().collect();
            let measures = measure(&Incident {
                fault,
                restored: Some(healed),
                observed_until: now,
                samples: &own,
                detections: &[],
                moves: &[],
                quiet: Duration::ZERO,
            });
            let mut failed = BTreeMap::new();
            for sample in own.iter().filter(|it| !it.outcome.is_success()) {
                *failed.entry(sample.outcome.to_string()).or_default() += 1;
            }
            let late = own.iter().filter(|it| it.latency() > SLOW).map(|it| {
                let by = samples.served_by(it).map_or("nobody", |it| it.cluster.as_str());
                let (due, took) = (it.due().since_origin().as_millis(), it.latency().as_millis());
                let due = i128::from(u64::try_from(due).unwrap());
                let fault = i128::from(u64::try_from(fault.since_origin().as_millis()).unwrap());
                format!("due at {} ms, {took} ms, by {by}", due - fault)
            });
            let requests = Requests {
                all: own.len(),
                failed,
                slow: own.iter().filter(|it| it.latency() > SLOW).count(),
                late: late.collect(),
                longest: own.iter().map(Sample::latency).max().unwrap_or_default(),
                rto: measures.rto,
            };
            self.requests.insert((cluster, service.name().to_owned()), requests);
        }
    }

    fn note(&mut self, cluster: &'static str, event: &AgentEvent, after: Duration) {
        if event.state.as_deref() == Some("Unreachable") {
            let peer = event.peer.clone().unwrap();
            self.unreachable.entry((cluster, peer)).or_insert(after);
        }
        if event.kind == "planChanged" && event.before.is_some() && event.before != event.after {
            let service = event.service.clone().unwrap();
            let said = format!("after {after:?}: {}", event.reason.clone().unwrap_or_default());
            self.moved.entry((cluster, service)).or_default().push(said);
        }
    }

    /// What failed or took above a second, leaving out these pairs of cluster and service.
    pub(crate) fn bad(&self, but: &[(&str, &str)]) -> Vec<String> {
        let counted = self
            .requests
            .iter()
            .filter(|((cluster, service), _)| !but.iter().any(|it| it.0 == *cluster && it.1 == service));
        let bad = counted.filter(|(_, it)| !it.failed.is_empty() || it.slow > 0);
        bad.map(|((cluster, service), it)| {
            format!(
                "{}: {service} in {cluster}: of {} failed {:?}, slow {}",
                self.what, it.all, it.failed, it.slow
            )
        })
        .collect()
    }

    /// Forgets that a cluster moved a service: it may.
    pub(crate) fn leave_out(&mut self, cluster: &'static str, service: &str) {
        self.moved.remove(&(cluster, format!("shop/{service}")));
    }

    /// Which clusters moved which services.
    pub(crate) fn movers(&self) -> BTreeSet<(&str, &str)> {
        self.moved.keys().map(|(cluster, service)| (*cluster, service.trim_start_matches("shop/"))).collect()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: usize = self.requests.values().map(|it| it.all).sum();
        let longest = self.requests.values().map(|it| it.longest).max().unwrap_or_default();
        writeln!(
            f,
            "{}: {all} requests, longest {} ms, converged {} ms after healing",
            self.what,
            longest.as_millis(),
            self.converged.as_millis()
        )?;
        for ((cluster, service), it) in &self.requests {
            if !it.failed.is_empty() || it.slow > 0 {
                let rto = it.rto.map_or_else(|| "none".to_owned(), |it| format!("{} ms", it.as_millis()));
                writeln!(
                    f,
                    "    {service} in {cluster}: of {} failed {:?}, above 1 s {}, RTO {rto}; {:?}",
                    it.all, it.failed, it.slow, it.late
                )?;
            }
        }
        for ((cluster, peer), after) in &self.unreachable {
            writeln!(f, "    {cluster} calls {peer} unreachable after {} ms", after.as_millis())?;
        }
        for ((cluster, service), said) in &self.moved {
            writeln!(f, "    {cluster} moved {service} {} times; first {}", said.len(), said[0])?;
        }
        Ok(())
    }
}
