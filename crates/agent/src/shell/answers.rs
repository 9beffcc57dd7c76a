//! What the admin address and the hub ask the loop, and what it answers.

use super::{Shell, unix_micros, wall_clock};
use crate::{
    admin::{Ask, Trial},
    capacity,
    certificates::{self, out_of_date},
    core::Input,
    drills::{DrillKind, DrillQuery, DrillView, Fault, Refusal},
    gateways::gateway_view,
    hub::{self, HubLink, Report},
    shifts::{NotExtended, ShiftQuery, ShiftView},
    view::{InForceView, PeerStatus, Status, refusal_counts},
};
use std::{collections::BTreeSet, time::Duration};
use tidegate_engine::{FleetState, Location, Shift};
use tidegate_link::PeerView;
use tidegate_model::ClusterName;

const NO_REGION: &str = "the manifests do not name this cluster's region yet";
/// Gateways that are named; a report of a drill has no room for more.
const MAX_NAMED: usize = 1000;

/// So many of the places that there are stand in a hint.
const PLACES: usize = 20;

/// Nothing would move, and most likely it is a typo.
fn no_place(location: &Location, places: &BTreeSet<Location>) -> String {
    let names: Vec<String> = places.iter().map(ToString::to_string).collect();
    let wanted = location.to_string();
    if names.is_empty() {
        return format!("there is no {wanted}: no endpoint of any service is known here yet");
    }
    let nearest = tidegate_api::nearest_first(&wanted, names.iter().map(String::as_str));
    let list: Vec<&str> = nearest.into_iter().take(PLACES).collect();
    format!(
        "the fleet has no {wanted}, as far as it is known here\n  hint: there are, the nearest name first: {}",
        list.join(", ")
    )
}

impl Shell {
    pub(super) async fn answer(&mut self, ask: Ask) {
        // Whoever asked may be gone; that is all an error here means.
        match ask {
            Ask::Pending(answer) => {
                let _ = answer.send(self.core.pending(self.now()));
            }
            Ask::Status(answer) => {
                let links = self.peer_client.view().await;
                let _ = answer.send(self.status(&links));
            }
            Ask::Report(answer) => {
                let links = self.peer_client.view().await;
                let _ = answer.send(self.report(&links));
            }
            Ask::Explain(service, answer) => {
                let _ = answer.send(self.core.explain(&service, self.now()).map(Box::new));
            }
            Ask::Fleet(answer) => {
                let now = self.now();
                let seen = self.core.engine().map(|engine| Box::new(FleetState::seen_by(engine, now)));
                let _ = answer.send(seen);
            }
            Ask::Release(service, target, answer) => {
                let known = self.core.config().services.contains_key(&service);
                if known {
                    self.handle(Input::Release(service, target)).await;
                }
                let _ = answer.send(known);
            }
            Ask::Shifts(answer) => {
                let _ = answer.send(self.core.shift_views(self.now()));
            }
            Ask::Shift(query, answer) => {
                let _ = answer.send(self.shift(*query).await);
            }
            Ask::Drills(answer) => {
                let _ = answer.send(self.core.drill_views(self.now()));
            }
            Ask::Traffic(service, answer) => {
                let (now, unix) = (self.now(), unix_micros(wall_clock()));
                let _ = answer.send(self.flows.view(service.as_ref(), self.core.engine(), now, unix));
            }
            Ask::InForce(answer) => {
                let _ = answer.send(self.in_force());
            }
            Ask::MayDrill(query, answer) => {
                let _ = answer.send(self.may_drill(*query));
            }
            Ask::Drill(fault, answer) => {
                let _ = answer.send(self.drill(*fault).await);
            }
            Ask::EndDrill(id, by, answer) => {
                let known = self.core.drill_views(self.now()).iter().any(|drill| drill.id == id);
                self.tell_time().await;
                self.handle(Input::EndDrill { id, by }).await;
                let _ = answer.send(known);
            }
            Ask::WouldShift(query, answer) => {
                let _ = answer.send(self.would_shift(*query));
            }
            Ask::ExtendShift(name, lasts, answer) => {
                let _ = answer.send(self.extend_shift(name, lasts).await);
            }
            Ask::EndShift(name, answer) => {
                let known = self.core.shifts(self.now()).iter().any(|shift| shift.name == name);
                self.tell_time().await;
                self.handle(Input::EndShift(name)).await;
                let _ = answer.send(known);
            }
        }
    }

    fn report(&self, links: &[PeerView]) -> Report {
        let (now, engine) = (self.now(), self.core.engine());
        let (plans, more_plans) = engine.map(hub::elsewhere).unwrap_or_default();
        let rtt = |peer: &ClusterName| {
            let links = links.iter().filter(|view| view.cluster == *peer).flat_map(|view| &view.links);
            links.filter_map(|link| link.rtt.as_ref()).map(|rtt| rtt.smoothed).min()
        };
        let peers = self.core.peers().iter();
        Report {
            given: self.given,
            pools: engine.map(|it| it.statuses(now).collect()).unwrap_or_default(),
            gateways: self.xds.nodes(),
            plans,
            more_plans,
            at: now,
            region: self.core.region().cloned(),
            peers: peers.map(|(peer, state)| (peer.clone(), state.word(), rtt(peer))).collect(),
            shifts: self.core.shift_views(now),
            declared: self.core.declared_shifts(now),
            counts: self.flows.counts(engine),
            capacity: engine.map(|it| capacity::declared(it, now)).unwrap_or_default(),
        }
    }

    fn in_force(&self) -> InForceView {
        let nodes = self.xds.nodes().into_iter().filter(|it| it.connected).take(MAX_NAMED);
        let handed = self.handed.as_ref().map(|it| it.borrow());
        let version = handed.filter(|it| it.number == self.given && it.number > 0);
        InForceView {
            cluster: self.core.own().clone(),
            region: self.core.region().cloned(),
            tidegate: env!("CARGO_PKG_VERSION").to_owned(),
            manifests_generation: self.generation,
            policy: self.given,
            policy_version: version.map(|it| it.version.clone()),
            gateways: nodes.map(|it| (it.node.id.clone(), it.node.user_agent_version.clone())).collect(),
        }
    }

    async fn shift(&mut self, query: ShiftQuery) -> Result<ShiftView, String> {
        let region = self.core.region().ok_or(NO_REGION)?;
        let shift = query.shift(region)?;
        self.begin_shift(shift).await
    }

    fn would_shift(&self, query: ShiftQuery) -> Result<Box<Trial>, String> {
        let (engine, region) = self.core.engine().zip(self.core.region()).ok_or(NO_REGION)?;
        let (shift, now) = (query.shift(region)?, self.now());
        let places = FleetState::seen_by(engine, now).locations();
        if !places.contains(&shift.target.location) {
            return Err(no_place(&shift.target.location, &places));
        }
        let service = shift.target.service.as_ref().filter(|it| engine.policy(it).is_none());
        if let Some(service) = service {
            return Err(format!(
                "no service {service} is known here\n  hint: tidegate get services names those that are"
            ));
        }
        Ok(Box::new((shift, engine.clone(), now)))
    }

    async fn begin_shift(&mut self, shift: Shift) -> Result<ShiftView, String> {
        self.tell_time().await;
        self.handle(Input::Shift(shift.clone())).await;
        let in_force = self.core.shifts(self.now()).into_iter().find(|it| it.target == shift.target);
        match in_force {
            Some(found) if found.name == shift.name && found.by == shift.by => {
                let mut views = self.core.shift_views(self.now()).into_iter();
                Ok(views.find(|view| view.name == found.name).unwrap_or_else(|| found.into()))
            }
            Some(found) => Err(format!("an operator's shift, {}, is in force there", found.name)),
            None => Err("too many shifts are in force; end some".to_owned()),
        }
    }

    async fn extend_shift(&mut self, name: String, lasts: Duration) -> Result<ShiftView, NotExtended> {
        self.core.against_extension(&name, lasts, self.now())?;
        self.tell_time().await;
        self.handle(Input::ExtendShift(name.clone(), lasts)).await;
        let found = self.core.shift_views(self.now()).into_iter().find(|view| view.name == name);
        found.ok_or(NotExtended::Unknown(name))
    }

    fn may_drill(&self, query: DrillQuery) -> Result<Box<(Fault, FleetState)>, Refusal> {
        let now = self.now();
        let unready = || Refusal::Harm("the agent has no manifests yet; ask again".to_owned());
        let (engine, region) = self.core.engine().zip(self.core.region()).ok_or_else(unready)?;
        let fault = query.fault(self.core.own(), region).map_err(Refusal::Unread)?;
        if fault.kind == DrillKind::LeaveHub && self.in_force.is_none() {
            return Err(Refusal::Unknown("this agent has joined no hub".to_owned()));
        }
        self.core.against_drill(&fault, now)?;
        Ok(Box::new((fault, FleetState::seen_by(engine, now))))
    }

    async fn drill(&mut self, fault: Fault) -> Result<DrillView, Refusal> {
        self.tell_time().await;
        self.core.against_drill(&fault, self.now())?;
        let id = fault.id.clone();
        self.handle(Input::Drill(Box::new(fault))).await;
        let running = self.core.drill_views(self.now()).into_iter().find(|drill| drill.id == id);
        running.ok_or_else(|| Refusal::Harm(format!("drill {id} was refused")))
    }

    fn status(&self, links: &[PeerView]) -> Status {
        let now = self.now();
        Status {
            cluster: self.core.own().clone(),
            region: self.core.region().cloned(),
            boot: self.boot.0,
            uptime_ms: u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX),
            pending: self.core.pending(now),
            manifests_generation: self.generation,
            problems: [
                self.problems.clone(),
                out_of_date(self.core.config(), wall_clock()),
                self.names.problems(),
            ]
            .concat(),
            pools: self.core.pool_views(now),
            plans: self.core.plan_views(),
            shifts: self.core.shift_views(now),
            drills: self.core.drill_views(now),
            draining: self.core.drain_views(now),
            peers: self.peers(links),
            replicas: self.replicas.as_ref().map(|(link, _)| link.stats().into()).unwrap_or_default(),
            gateways: self.xds.nodes().iter().map(|it| gateway_view(it, self.core.config())).collect(),
            checks: (&self.prober.stats().snapshot()).into(),
            refusals: refusal_counts(self.refusals.as_ref()),
            hub: self.hub.as_ref().map(HubLink::view),
            certificates: certificates::ends(self.core.config()),
            kubernetes: self.api.as_ref().map(|api| api.view().into()),
        }
    }

    fn peers(&self, views: &[PeerView]) -> Vec<PeerStatus> {
        let links = |peer: &ClusterName| -> Vec<String> {
            let links = views.iter().filter(|view| view.cluster == *peer).flat_map(|view| &view.links);
            links
                .map(|link| match &link.rtt {
                    Some(rtt) => format!(
                        "{} {}, round trip {:.1} ms",
                        link.address,
                        link.state,
                        rtt.smoothed.as_secs_f64() * 1e3
                    ),
                    None => format!("{} {}", link.address, link.state),
                })
                .collect()
        };
        let peers = self.core.peers().iter();
        peers
            .map(|(peer, state)| PeerStatus {
                cluster: peer.clone(),
                state: state.word().to_owned(),
                links: links(peer),
            })
            .collect()
    }
}
