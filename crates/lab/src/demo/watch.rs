//! What the agents said, gathered, and what follows from it for one fault. Pure but for the gathering.

use crate::{
    clock::LabClock,
    fleet::{
        Fault,
        agent::{AgentEvent, PlanView, Shares, home_share},
    },
    measure::PlanMove,
};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::{ClusterName, ServiceName, Time};

/// Events that are kept; a demo has some hundreds.
const MAX_EVENTS: usize = 200_000;

/// An event and who reported it when.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) cluster: ClusterName,
    pub(super) at: Time,
    pub(super) event: AgentEvent,
}

/// Where the traffic of (service, source) goes without a fault.
pub(super) type Homes = BTreeMap<(String, String), Shares>;

/// Who lives and who does not during a fault, who lost sight of whom, and how it was before.
#[derive(Debug, Default)]
pub(super) struct Cast {
    pub(super) lost: BTreeSet<ClusterName>,
    pub(super) living: BTreeSet<ClusterName>,
    /// A living cluster, and a peer of its own that the fault takes away from it.
    pub(super) parted: BTreeSet<(ClusterName, ClusterName)>,
    pub(super) homes: Homes,
}

/// The events of all agents.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Vec<Seen>,
    last: BTreeMap<ClusterName, u64>,
}

impl Watch {
    /// The number after which events of this agent are new.
    pub(super) fn last(&self, cluster: &ClusterName) -> u64 {
        self.last.get(cluster).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, cluster: &ClusterName, events: Vec<AgentEvent>, clock: LabClock) {
        if let Some(last) = events.last() {
            self.last.insert(cluster.clone(), last.seq);
        }
        let room = MAX_EVENTS.saturating_sub(self.seen.len());
        self.seen.extend(events.into_iter().take(room).map(|event| Seen {
            cluster: cluster.clone(),
            at: clock.from_unix_micros(event.unix_micros),
            event,
        }));
    }

    /// What happened from `since` on, as the agents of these clusters saw it.
    pub(super) fn since<'a>(
        &'a self,
        since: Time,
        observers: &'a BTreeSet<ClusterName>,
    ) -> impl Iterator<Item = &'a Seen> {
        self.seen.iter().filter(move |seen| seen.at >= since && observers.contains(&seen.cluster))
    }

    /// How the plans of these clusters moved since the fault.
    pub(super) fn moves(
        &self,
        fault: Time,
        homes: &Homes,
        observers: &BTreeSet<ClusterName>,
    ) -> Vec<PlanMove> {
        let mut shares: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        let mut moves = Vec::new();
        let mut seen: Vec<&Seen> = self.since(fault, observers).collect();
        seen.sort_by_key(|seen| seen.at);
        for Seen { at, event, .. } in seen {
            let (Some(service), Some(source), Some(after)) = (&event.service, &event.source, &event.after)
            else {
                continue;
            };
            let Ok(name) = service.parse::<ServiceName>() else { continue };
            let Some(home) = homes.get(&(service.clone(), source.clone())) else { continue };
            let current = shares.entry((service, source)).or_insert_with(|| home_share(home, home));
            let home_share_after = home_share(home, after);
            moves.push(PlanMove {
                at: *at,
                service: name,
                source: source.clone(),
                home_share_before: std::mem::replace(current, home_share_after),
                home_share_after,
            });
        }
        moves
    }

    /// When the fault was known to all who had to know: of a zone, the agent of its own cluster for
    /// every service; of a region or a link, every agent of whom it took a peer away, of each such
    /// peer. `None` while one is missing.
    pub(super) fn detected(
        &self,
        fault: &Fault,
        since: Time,
        cast: &Cast,
        services: &[ServiceName],
    ) -> Option<Time> {
        let first = |is_it: &dyn Fn(&Seen) -> bool| {
            self.since(since, &cast.living).filter(|it| is_it(it)).map(|it| it.at).min()
        };
        match fault {
            Fault::Zone { zone, .. } => all(services.iter().map(|service| {
                let service = service.to_string();
                first(&|Seen { event, .. }| {
                    is_loss(event)
                        && event.zone.as_deref() == Some(zone.as_str())
                        && event.service.as_ref() == Some(&service)
                })
            })),
            Fault::Region { .. } | Fault::Link { .. } => all(cast.parted.iter().map(|(observer, peer)| {
                first(&|Seen { cluster, event, .. }| {
                    cluster == observer
                        && event.kind == "peerChanged"
                        && event.state.as_deref() == Some("Unreachable")
                        && event.peer.as_deref() == Some(peer.as_str())
                })
            })),
            Fault::Endpoint { .. }
            | Fault::Workloads { .. }
            | Fault::Far { .. }
            | Fault::Process { .. }
            | Fault::Hub { .. } => first(&|_| true),
        }
    }
}

/// Whether it says that an endpoint or a pool got worse.
fn is_loss(event: &AgentEvent) -> bool {
    match event.kind.as_str() {
        "endpointChanged" => event.state.as_deref() == Some("down"),
        "poolChanged" => event.phase.as_deref() != Some("Serving"),
        _ => false,
    }
}

/// The latest, if none is missing.
fn all(times: impl Iterator<Item = Option<Time>>) -> Option<Time> {
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Where traffic goes, from the agents' plans.
pub(super) fn homes(plans: impl IntoIterator<Item = PlanView>) -> Homes {
    plans.into_iter().map(|plan| ((plan.service, plan.source), plan.shares)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fleet::spec::known, measure, toy::ToyMode};

    fn shares(list: &[(&str, u32)]) -> Shares {
        list.iter().map(|(target, share)| ((*target).to_owned(), *share)).collect()
    }

    fn clusters(names: &[&str]) -> BTreeSet<ClusterName> {
        names.iter().map(|name| known(name)).collect()
    }

    fn event(clock: LabClock, ms: u64, kind: &str) -> AgentEvent {
        let unix_micros = clock.unix_micros(Time::from_millis(ms));
        AgentEvent { seq: ms, unix_micros, kind: kind.to_owned(), ..AgentEvent::default() }
    }

    fn plan(clock: LabClock, ms: u64, after: &[(&str, u32)]) -> AgentEvent {
        AgentEvent {
            service: Some("shop/web".to_owned()),
            source: Some("us-east/us-east-1a".to_owned()),
            after: Some(shares(after)),
            ..event(clock, ms, "planChanged")
        }
    }

    #[test]
    fn plan_changes_become_moves_of_what_stayed_home() {
        let (clock, east) = (LabClock::start(), known("us-east"));
        let home = PlanView {
            service: "shop/web".to_owned(),
            source: "us-east/us-east-1a".to_owned(),
            shares: shares(&[("zone us-east-1a", 10_000)]),
        };
        let mut watch = Watch::default();
        let events = vec![
            plan(clock, 100, &[("zone us-east-1a", 10_000)]),
            plan(clock, 1100, &[("zone us-east-1b", 10_000)]),
            plan(clock, 4000, &[("zone us-east-1a", 1000), ("zone us-east-1b", 9000)]),
            plan(clock, 5000, &[("zone us-east-1a", 10_000)]),
        ];
        watch.add(&east, events, clock);
        assert_eq!(watch.last(&east), 5000);
        let moves = watch.moves(Time::from_millis(1000), &homes([home]), &clusters(&["us-east"]));
        let stayed: Vec<_> = moves.iter().map(|it| (it.home_share_before, it.home_share_after)).collect();
        assert_eq!(stayed, [(10_000, 0), (0, 1000), (1000, 10_000)]);
        let counted = measure::moves(&moves, Time::ZERO, Time::from_millis(9000));
        assert_eq!((counted.away, counted.back), (1, 1));
    }

    #[test]
    fn a_zone_is_detected_when_the_last_service_is() {
        let clock = LabClock::start();
        let pool = |ms, service: &str| AgentEvent {
            service: Some(service.to_owned()),
            zone: Some("us-east-1a".to_owned()),
            ..event(clock, ms, "poolChanged")
        };
        let mut watch = Watch::default();
        let fault = Fault::Zone { zone: known("us-east-1a"), mode: ToyMode::Refuse };
        let services = [known("shop/web"), known("shop/pay")];
        let cast = Cast { living: clusters(&["us-east", "us-west"]), ..Cast::default() };
        let detected = |watch: &Watch| watch.detected(&fault, Time::from_millis(1000), &cast, &services);
        watch.add(&known("us-east"), vec![pool(900, "shop/pay"), pool(1300, "shop/web")], clock);
        assert_eq!(detected(&watch), None, "pay was seen before the fault only");
        watch.add(&known("us-east"), vec![pool(1700, "shop/pay")], clock);
        assert_eq!(detected(&watch), Some(Time::from_millis(1700)));
    }

    #[test]
    fn a_region_is_detected_when_every_living_agent_calls_it_unreachable() {
        let clock = LabClock::start();
        let peer = |ms, state: &str| AgentEvent {
            peer: Some("us-east".to_owned()),
            state: Some(state.to_owned()),
            ..event(clock, ms, "peerChanged")
        };
        let mut watch = Watch::default();
        let fault = Fault::Region { region: known("us-east") };
        let parted = ["us-west", "eu-west"].map(|observer| (known(observer), known("us-east")));
        let living = clusters(&["us-west", "eu-west", "ap-south"]);
        let cast = Cast { living, parted: parted.into(), ..Cast::default() };
        let detected = |watch: &Watch| watch.detected(&fault, Time::from_millis(1000), &cast, &[]);
        watch.add(&known("us-west"), vec![peer(1300, "Suspect"), peer(1500, "Unreachable")], clock);
        assert_eq!(detected(&watch), None);
        watch.add(&known("eu-west"), vec![peer(1800, "Unreachable")], clock);
        assert_eq!(detected(&watch), Some(Time::from_millis(1800)));
    }
}
