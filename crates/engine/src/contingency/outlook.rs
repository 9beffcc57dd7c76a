//! What a shift would do, before somebody begins it: the engine's own decision, on a copy of the engine.
//!
//! Where traffic goes is what the engine plans with the shift in force, dead band and refusals included; what would be if a place
//! were lost besides is foreseen from there. Time does not go on: what the rest of the fleet would do about it is not played.

use super::{Clients, Contingency, FleetState, Plans, n_minus_1, outcome};
use crate::{
    engine::{Engine, Event},
    shift::Shift,
};
use serde::{Deserialize, Serialize};
use tidegate_model::{ServiceName, Time};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// Every service before and after. Nothing is lost in it.
    pub moves: Contingency,
    /// Services that it would not move: they would lose their last healthy place.
    pub refused: Vec<ServiceName>,
    /// Each place lost, as things stand.
    pub before: Vec<Contingency>,
    /// The same with the shift in force.
    pub after: Vec<Contingency>,
}

/// Answers; `engine` is a copy, of which nothing is kept.
#[must_use]
pub fn outlook(mut engine: Engine, shift: &Shift, now: Time) -> Outlook {
    let (state, plans) = (FleetState::seen_by(&engine, now), plans_of(&engine));
    engine.handle(Event::Shift(shift.clone()), now);
    let (shifted, planned) = (FleetState::seen_by(&engine, now), plans_of(&engine));
    Outlook {
        moves: outcome::moved((&state, &plans), (&shifted, &planned)),
        refused: engine.refused_shifts().remove(&shift.name).unwrap_or_default(),
        before: n_minus_1(&state, Clients::Move),
        after: n_minus_1(&shifted, Clients::Move),
    }
}

/// The plans that are in force.
fn plans_of(engine: &Engine) -> Plans {
    let of =
        |service: &ServiceName| engine.plans(service).map(|it| (it.source.clone(), it.clone())).collect();
    engine.services().map(|service| (service.clone(), of(service))).collect()
}
