//! What speaks against a fault.

use super::{DrillKind, DrilledGateway, Drills, Fault, MAX_FAULTS};
use std::collections::BTreeSet;
use tidegate_engine::{
    Clients, Engine, FleetState, Location, Plans, Shift, ShiftTarget, Source, contingency, plans,
};
use tidegate_envoy::FAULT_SLOTS;
use tidegate_model::{ClusterName, Fraction, GatewayName, Locality, Phase, ServiceName, Time};

/// So many services are named where many would be lost.
const NAMED: usize = 5;

/// Why a fault is not begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It cannot be read.
    Unread(String),
    /// Nothing of the target is known, or none of it is here.
    Unknown(String),
    /// It would do harm.
    Harm(String),
}

/// What there is to break, as one agent knows it.
pub(crate) struct Known {
    own: ClusterName,
    pools: Vec<(ServiceName, ClusterName, Locality)>,
    sources: BTreeSet<Source>,
    /// The own cluster's gateways that clients enter by.
    gateways: BTreeSet<GatewayName>,
}

impl Known {
    pub(crate) fn by(engine: &Engine, now: Time) -> Self {
        let own = engine.fleet().own.clone();
        let here = engine.statuses(now).map(|it| (it.service, own.clone(), it.locality));
        let remote = engine.remote_pools().map(|it| (it.status.service, it.cluster, it.status.locality));
        let pools = here.chain(remote).collect();
        Self { pools, sources: engine.fleet().sources.clone(), own, gateways: BTreeSet::new() }
    }

    pub(crate) fn with_gateways(self, gateways: BTreeSet<GatewayName>) -> Self {
        Self { gateways, ..self }
    }

    fn covered<'a>(
        &'a self,
        target: &'a ShiftTarget,
    ) -> impl Iterator<Item = &'a (ServiceName, ClusterName, Locality)> {
        self.pools.iter().filter(|(service, cluster, locality)| {
            target.service.as_ref().is_none_or(|it| it == service)
                && target.location.covers(cluster, locality)
        })
    }

    fn touches(&self, one: &ShiftTarget, other: &ShiftTarget) -> bool {
        one == other
            || self.covered(one).any(|(service, cluster, locality)| {
                other.service.as_ref().is_none_or(|it| it == service)
                    && other.location.covers(cluster, locality)
            })
    }

    fn has_gateways(&self, location: &Location) -> bool {
        self.sources.iter().any(|source| location.covers(&source.cluster, &source.locality))
    }

    /// Whether a fault may begin beside what acts already.
    pub(crate) fn speaks_against(
        &self,
        fault: &Fault,
        drills: &Drills,
        shifts: &[Shift],
        now: Time,
    ) -> Result<(), Refusal> {
        let Fault { id, target, .. } = fault;
        let harm = |why: String| Err(Refusal::Harm(why));
        if drills.get(id).is_some() {
            return harm(format!("drill {id} runs here already"));
        }
        if fault.kind == DrillKind::LeaveHub {
            // Nothing moves by it.
            return match drills.leaves_hub() {
                true => harm("another drill keeps this agent away from its hub".to_owned()),
                false if drills.at(now).count() >= MAX_FAULTS => {
                    harm(format!("{MAX_FAULTS} drills run here already"))
                }
                false => Ok(()),
            };
        }
        if self.covered(target).next().is_none() {
            return Err(Refusal::Unknown(format!(
                "there is no pool of {target}; tidegate get pools lists them"
            )));
        }
        self.here(fault)?;
        if let Some(other) = drills.at(now).find(|other| self.touches(&other.target, target)) {
            return harm(format!(
                "drill {} touches {target}: {other}, for {} s more",
                other.id,
                other.remaining.as_secs()
            ));
        }
        // A shift of the same drill came from another agent that was told.
        let mut others = shifts.iter().filter(|shift| shift.name != fault.name());
        if let Some(shift) = others.find(|shift| self.touches(&shift.target, target)) {
            return harm(format!("shift {} touches {target}: end it first", shift.name));
        }
        if fault.at_gateways().is_some() && drills.at_gateways().count() >= FAULT_SLOTS {
            return harm(format!("{FAULT_SLOTS} drills break requests at these gateways already"));
        }
        if drills.at(now).count() >= MAX_FAULTS {
            return harm(format!("{MAX_FAULTS} drills run here already"));
        }
        self.not_everything(fault).map_or(Ok(()), harm)
    }

    /// Whether this agent has a part in it.
    fn here(&self, fault: &Fault) -> Result<(), Refusal> {
        let Fault { target, .. } = fault;
        if let Some(gateway) = &fault.gateway
            && target.location == Location::Cluster(self.own.clone())
            && !self.gateways.contains(&gateway.name)
        {
            let known: Vec<String> = self.gateways.iter().map(ToString::to_string).collect();
            return Err(Refusal::Unknown(format!(
                "clients enter cluster {} by no gateway {}; there are: {}",
                self.own,
                gateway.name,
                known.join(", ")
            )));
        }
        let elsewhere = |what: &str| {
            Err(Refusal::Unknown(format!(
                "{what} of {target} are not in cluster {}: tell its own agent",
                self.own
            )))
        };
        match &fault.kind {
            DrillKind::CutLink(from) if *from != self.own => elsewhere("the agents that hear"),
            DrillKind::Verdict if !self.covered(target).any(|(_, cluster, _)| *cluster == self.own) => {
                elsewhere("the pools")
            }
            _ if fault.at_gateways().is_some() && !self.has_gateways(&target.location) => {
                elsewhere("the gateways")
            }
            _ => Ok(()),
        }
    }

    fn not_everything(&self, fault: &Fault) -> Option<String> {
        let Fault { target, .. } = fault;
        let rest = match fault.at_gateways() {
            Some(_) if fault.marked_only => true,
            // Where no cluster is named, those of others of this name may be broken, too.
            Some(_) if fault.gateway.as_ref().is_some_and(|it| it.everywhere) => self.gateways.len() > 1,
            Some(_) if fault.gateway.is_some() && self.gateways.len() > 1 => true,
            // Gateways of other clusters are not known here; their pools are.
            Some(_) => {
                let outside = |it: &Source| !target.location.covers(&it.cluster, &it.locality);
                self.sources.iter().any(outside)
                    || self
                        .pools
                        .iter()
                        .any(|(_, cluster, locality)| !target.location.covers(cluster, locality))
            }
            None => self.covered(target).count() < self.pools.len(),
        };
        let all = !rest && target.service.is_none();
        let hint = match fault.gateway {
            Some(DrilledGateway { everywhere: true, .. }) => "; say in which cluster the gateway is",
            _ => "",
        };
        let target = fault.whereabouts();
        all.then(|| format!("{target} is everything at once: a drill leaves something that serves{hint}"))
    }
}

/// Whether what is left serves all services when the target is lost: no one is without a healthy place, none shed, none loaded above
/// its declared capacity. Of a large fleet this is seconds of work.
pub(crate) fn headroom(mut state: FleetState, fault: &Fault) -> Result<(), Refusal> {
    if fault.at_gateways().is_some() || fault.kind == DrillKind::LeaveHub {
        // Nothing moves: what gateways answer themselves asks nobody else.
        return Ok(());
    }
    let ShiftTarget { location, service } = &fault.target;
    if let Some(service) = service {
        state.services.retain(|name, _| name == service);
    }
    let before = unserved(&plans(&state));
    let lost = without(state.clone(), location);
    let stranded = unserved(&plans(&lost));
    let stranded: Vec<&ServiceName> = stranded.difference(&before).collect();
    refuse(&stranded, &fault.target, "would be served by nothing healthy")?;
    let foreseen = contingency(&state, std::slice::from_ref(location), Clients::Move);
    let overloaded: BTreeSet<&ServiceName> = foreseen.overloaded().map(|(service, _)| service).collect();
    let overloaded: Vec<&ServiceName> = overloaded.into_iter().collect();
    refuse(&overloaded, &fault.target, "would be asked for more than its declared capacity")
}

fn refuse(services: &[&ServiceName], target: &ShiftTarget, what: &str) -> Result<(), Refusal> {
    if services.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = services.iter().take(NAMED).map(ToString::to_string).collect();
    let more = services.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(Refusal::Harm(format!("no headroom: without {target} {}{more} {what}", named.join(", "))))
}

/// The same fleet whose pools in a place are dead; its clients are where they were.
fn without(mut state: FleetState, location: &Location) -> FleetState {
    for service in state.services.values_mut() {
        for ((cluster, zone), pool) in &mut service.pools {
            let Some(member) = state.clusters.get(cluster) else { continue };
            let locality = Locality { region: member.region.clone(), zone: zone.clone() };
            if location.covers(cluster, &locality) {
                (pool.healthy, pool.admit, pool.phase, pool.capacity) = (0, Fraction::ZERO, Phase::Out, None);
            }
        }
    }
    state
}

/// The services that somebody cannot be served: nothing healthy, or shed.
fn unserved(plans: &Plans) -> BTreeSet<ServiceName> {
    let unserved =
        plans.iter().filter(|(_, plans)| plans.values().any(|plan| plan.last_resort || !plan.shed.is_none()));
    unserved.map(|(service, _)| service.clone()).collect()
}
