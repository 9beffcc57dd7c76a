//! Forms that change something: what they ask for, and whether the visitor may. Pure; the source judges again.

use crate::{Action, Trouble, Visitor, model::Fleet, query::Query, sight::Sight};

pub(super) fn action(visitor: &Visitor, path: &str, form: &Query, fleet: &Fleet) -> Result<Action, Trouble> {
    if !visitor.is_operator {
        let text = "Only operators start, extend and end shifts and drills; ask one, or sign in as one.";
        return Err(Trouble::Denied(text.to_owned()));
    }
    let sight = Sight::of(visitor);
    let name = form.text("name").to_owned();
    match path {
        "/shifts" => {
            let shift = form.shift()?;
            match &shift.service {
                Some(service) if !sight.service(service) => Err(elsewhere()),
                None if !sight.is_whole() => Err(elsewhere()),
                _ => Ok(Action::Shift(shift)),
            }
        }
        "/shifts/extend" => Ok(Action::ExtendShift(shift(fleet, &sight, name)?, form.lasting()?)),
        "/shifts/end" => Ok(Action::EndShift(shift(fleet, &sight, name)?)),
        "/drills/start" | "/drills/end" if !sight.is_whole() => Err(elsewhere()),
        "/drills/start" => Ok(Action::StartDrill(name)),
        "/drills/end" => Ok(Action::EndDrill(name)),
        _ => Err(Trouble::Unknown(format!("Nothing can be sent to {path:?}."))),
    }
}

/// A shift of what the visitor may change.
fn shift(fleet: &Fleet, sight: &Sight, name: String) -> Result<String, Trouble> {
    let found = fleet.shifts.iter().find(|shift| shift.name == name);
    let may = found.is_none_or(|it| {
        sight.is_whole() || it.service.as_ref().is_some_and(|service| sight.service(service))
    });
    if may { Ok(name) } else { Err(elsewhere()) }
}

fn elsewhere() -> Trouble {
    Trouble::Denied(
        "You are limited to some namespaces: you may shift services of these, and no whole place. Choose a service, or ask \
         somebody who has all of the fleet."
            .to_owned(),
    )
}
