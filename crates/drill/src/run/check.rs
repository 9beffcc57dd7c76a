//! Whether a drill can be run as it is written, and what it asks.

use super::{
    Probe, Setup,
    agents::{MEND_LIMIT, Order},
    prometheus::Watched,
};
use crate::{
    course::Plan,
    generator::{MAX_KEPT, Target, Wire},
};
use std::io;
use tidegate_api::{Drill, DrillFault, DrillGuard, DrillProtocol, DrillTarget};

/// A drill that cannot be run as it is written. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It breaks something that commands cannot be measured on.
    #[error(
        "a fault of type Exec or Kubernetes breaks what answers at a URL, not {0}\n  hint: write `target: {{url: https://shop.example/}}`"
    )]
    Target(String),
    /// It takes something away from a Kubernetes cluster, and nobody said that it may.
    #[error(
        "a fault of type Kubernetes takes away what really serves\n  hint: if that is meant: tidegate drill run FILE --allow-disruption"
    )]
    NotAllowed,
    /// It breaks something that agents cannot be told of.
    #[error(
        "agents break a service, a zone, a cluster, a region, a gateway, a peer link or the way to the hub, not {0}\n  hint: name one of these as spec.target"
    )]
    AgentTarget(String),
    /// A peer link, or the way to the hub.
    #[error(
        "a peer link, or the way to the hub, is only cut: nothing is heard on it any more\n  hint: write `fault: {{type: BlackHole, expiresAfter: 60s}}`, without via"
    )]
    OnlyCut,
    /// Nobody to tell.
    #[error(
        "a fault of this type is carried out by agents, and none is named\n  hint: let a hub run it: --hub ADDR; or add --agent ADDR for each agent's admin address"
    )]
    NoAgent,
    /// Nothing to ask.
    #[error("{0} is about requests, and the drill sends none\n  hint: add spec.load.urls")]
    Urls(String),
    /// Not now.
    #[error("the drill's window {0}\n  hint: choose another spec.window")]
    Window(&'static str),
    /// More requests than are kept.
    #[error(
        "the drill sends {0} requests, and at most {MAX_KEPT} are kept\n  hint: lower load.rateRps, or shorten the steps"
    )]
    TooMany(u64),
    /// An objective that nobody can tell here.
    #[error(
        "{0} is measured by agents, which a drill of a URL does not ask\n  hint: use rto, lastBad or stableRecovery"
    )]
    Objective(&'static str),
    /// A load or guard that cannot be asked.
    #[error(transparent)]
    Load(#[from] crate::generator::GeneratorError),
    /// The keeper did not start.
    #[error(
        "cannot start the process that mends when this one is gone: {0}\n  hint: nothing was broken; try again"
    )]
    Keeper(#[source] io::Error),
}

/// Whether a drill can be run as it is written.
///
/// # Errors
/// Why not.
pub fn check(setup: &Setup) -> Result<Plan, RunError> {
    let drill = &setup.drill;
    match &drill.fault {
        DrillFault::Exec(_) if !matches!(drill.target, DrillTarget::Url(_)) => {
            return Err(RunError::Target(format!("{:?}", drill.target)));
        }
        DrillFault::Exec(_) => {}
        DrillFault::Kubernetes(_) => return Err(RunError::NotAllowed),
        DrillFault::Agents(fault) => {
            Order::new(drill, fault, &setup.agents, &setup.id, (&setup.by, setup.alone))?;
            if drill.load.urls.is_empty() {
                without_load(drill)?;
            }
        }
    }
    if let Some((from, until)) = drill.window {
        if setup.unix_seconds >= until {
            return Err(RunError::Window("is in the past"));
        }
        if setup.unix_seconds < from {
            return Err(RunError::Window("has not begun"));
        }
    }
    let is_of_agents = matches!(drill.fault, DrillFault::Agents(_));
    let mut of_agents = drill.objectives.iter().filter(|it| it.measure.is_of_agents());
    if let Some(objective) = of_agents.next().filter(|_| !is_of_agents) {
        return Err(RunError::Objective(objective.measure.name()));
    }
    let steps = drill.steps;
    // Commands take their time, and the load goes on meanwhile: mending may be tried more than once.
    let mending = match &drill.fault {
        DrillFault::Exec(fault) => fault.timeout,
        DrillFault::Kubernetes(fault) => fault.timeout,
        DrillFault::Agents(_) => MEND_LIMIT,
    };
    let lasts = steps.steady + steps.fault + steps.observe + mending * crate::course::MEND_TRIES;
    let rate_rps = if urls(drill).is_empty() { 0 } else { drill.load.rate_rps };
    let requests = u64::from(rate_rps) * lasts.as_secs();
    if requests > MAX_KEPT as u64 {
        return Err(RunError::TooMany(requests));
    }
    let watched: Vec<Watched> =
        drill.guards.iter().filter_map(|guard| Watched::of(guard, &setup.trust)).collect();
    let watched = watched.iter().map(Watched::target);
    for target in targets(setup).iter().chain(&guard_targets(setup)).chain(watched) {
        Probe::new(target).map_err(crate::generator::GeneratorError::from)?;
    }
    Ok(Plan { steady: steps.steady, fault: steps.fault, observe: steps.observe })
}

/// Without requests there is only what agents tell.
fn without_load(drill: &Drill) -> Result<(), RunError> {
    if let Some(it) = drill.objectives.iter().find(|it| !it.measure.is_of_agents()) {
        return Err(RunError::Urls(format!("the objective {it}")));
    }
    if drill.guards.iter().any(|it| matches!(it, DrillGuard::ErrorRate { .. })) {
        return Err(RunError::Urls("the guard errorRate".to_owned()));
    }
    Ok(())
}

pub(super) fn urls(drill: &Drill) -> Vec<String> {
    match &drill.target {
        DrillTarget::Url(url) if drill.load.urls.is_empty() => vec![url.clone()],
        _ => drill.load.urls.clone(),
    }
}

pub(super) fn targets(setup: &Setup) -> Vec<Target> {
    let wire = match setup.drill.load.protocol {
        DrillProtocol::Http1 => Wire::Http1,
        DrillProtocol::Http2 => Wire::Http2,
        DrillProtocol::Grpc => Wire::Grpc,
    };
    let target =
        |url| Target { wire, trust: setup.trust.clone(), headers: setup.headers.clone(), ..Target::get(url) };
    urls(&setup.drill).into_iter().map(target).collect()
}

pub(super) fn guard_targets(setup: &Setup) -> Vec<Target> {
    let urls = setup.drill.guards.iter().filter_map(|guard| match guard {
        DrillGuard::HttpCheck { url, .. } => Some(url),
        _ => None,
    });
    urls.map(|url| Target { trust: setup.trust.clone(), ..Target::get(url) }).collect()
}
