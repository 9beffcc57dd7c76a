//! The rooms of the page: which there are, what each asks the source for, and what its main part says. The frame is `answer`'s.

mod changes;
mod drills;
mod fleet;
mod foresight;
mod records;
mod rollout;
mod service;
mod services;
mod shifts;

use crate::{
    Action, Source, Trouble, Visitor,
    cache::Part,
    model::Fleet,
    query::{Paging, Query},
    sight::Sight,
    words::{self, Html},
};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use tidegate_model::ServiceName;

/// What a page is made of: the facts as far as the visitor sees them, the question, and the time.
pub(crate) struct Ask {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) sight: Sight,
    pub(crate) is_operator: bool,
    pub(crate) query: Query,
    pub(crate) now_ms: u64,
    /// Stands for the seal that each form carries.
    pub(crate) seal: String,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Fleet,
    Services,
    Service(ServiceName),
    Foresight,
    Shifts,
    NewShift,
    Drills,
    Rollout,
    Audit,
    Timeline,
}

impl Room {
    /// All paths of pages and forms, as the router writes them.
    pub(crate) const PATHS: [&str; 13] = [
        "/",
        "/services",
        "/services/{namespace}/{name}",
        "/foresight",
        "/shifts",
        "/shifts/new",
        "/shifts/extend",
        "/shifts/end",
        "/drills",
        "/drills/{what}",
        "/rollout",
        "/audit",
        "/timeline",
    ];

    pub(crate) fn of(path: &str) -> Result<Self, Trouble> {
        Ok(match path {
            "/" => Self::Fleet,
            "/services" => Self::Services,
            "/foresight" => Self::Foresight,
            "/shifts" => Self::Shifts,
            "/shifts/new" => Self::NewShift,
            "/drills" => Self::Drills,
            "/rollout" => Self::Rollout,
            "/audit" => Self::Audit,
            "/timeline" => Self::Timeline,
            _ => {
                let unknown = || Trouble::Unknown(format!("There is no page {path:?}."));
                let name = path.strip_prefix("/services/").ok_or_else(unknown)?;
                Self::Service(crate::query::service(name)?)
            }
        })
    }

    /// Whether it is shown anew by itself: not what somebody is about to confirm.
    pub(crate) fn is_live(&self) -> bool {
        *self != Self::NewShift
    }
}

/// Where one goes back to.
pub(crate) fn above(path: &str) -> &str {
    path.match_indices('/').nth(1).map_or("/", |(at, _)| &path[..at])
}

/// The main part of a page.
pub(crate) async fn part(room: Room, ask: &Ask) -> Result<Part, Trouble> {
    let (title, main) = match room {
        Room::Fleet => ("Fleet".to_owned(), fleet::main(ask)),
        Room::Services => ("Services".to_owned(), services::main(ask)),
        Room::Service(name) => (name.to_string(), service::main(ask, &name).await?),
        Room::Foresight => ("Foresight".to_owned(), foresight::main(ask).await?),
        Room::Shifts => ("Shifts".to_owned(), shifts::main(ask)),
        Room::NewShift => ("New shift".to_owned(), shifts::new(ask).await?),
        Room::Drills => ("Drills".to_owned(), drills::main(ask).await?),
        Room::Rollout => ("Rollout".to_owned(), rollout::main(ask).await?),
        Room::Audit => ("Audit".to_owned(), records::audit(ask).await?),
        Room::Timeline => ("Timeline".to_owned(), records::timeline(ask).await?),
    };
    Ok(Part { title, main })
}

/// The same facts for programs.
pub(crate) async fn json(room: Room, ask: &Ask) -> Result<Value, Trouble> {
    match room {
        Room::Fleet => value(&fleet::json(&ask.fleet)),
        Room::Services => value(&services::json(ask)),
        Room::Service(name) => value(&service::facts(ask, &name).await?),
        Room::Foresight => value(&foresight::facts(ask).await?),
        Room::Shifts => value(&ask.fleet.shifts),
        Room::NewShift => value(&shifts::preview(ask).await?.1),
        Room::Drills => value(&drills::facts(ask).await?),
        Room::Rollout => value(&rollout::facts(ask).await?.0),
        Room::Audit => value(&records::audit_facts(ask).await?),
        Room::Timeline => value(&records::events(ask).await?),
    }
}

fn value(of: &impl Serialize) -> Result<Value, Trouble> {
    serde_json::to_value(of)
        .map_err(|error| Trouble::Unavailable(format!("It cannot be written as JSON: {error}.")))
}

/// What a form asks to be done, if the visitor may.
pub(crate) fn action(visitor: &Visitor, path: &str, form: &Query, fleet: &Fleet) -> Result<Action, Trouble> {
    changes::action(visitor, path, form, fleet)
}

/// What was done, above a page.
pub(crate) fn done(text: &str) -> String {
    format!(
        "<p class=\"done\" role=\"status\"><span aria-hidden=\"true\">✓</span> {}</p>",
        words::escaped(text)
    )
}

/// Links to the pages of a list.
pub(crate) fn pager(paging: Paging, query: &Query, of: &str) -> Html {
    let link = |page: usize, text: &str| {
        let href = words::escaped(&query.with(&[("page", &page.to_string())]));
        format!("<a href=\"{href}\" aria-label=\"{text} page of {of}\">{text}</a>")
    };
    let before = if paging.page > 1 { link(paging.page - 1, "Previous") } else { String::new() };
    let after = if paging.page < paging.pages { link(paging.page + 1, "Next") } else { String::new() };
    Html(format!(
        "<nav class=\"pager\" aria-label=\"Pages of {of}\"><span>{}</span> {before} {after}</nav>",
        paging.said()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_rooms_and_back() {
        assert_eq!(
            Room::of("/services/shop/web"),
            Ok(Room::Service(ServiceName::new("shop", "web").unwrap()))
        );
        for wrong in ["/services/shop", "/services/a/b/c", "/nowhere", "/shifts/end"] {
            assert!(Room::of(wrong).is_err(), "{wrong}");
        }
        assert_eq!((above("/services/shop/web"), above("/services"), above("/")), ("/services", "/", "/"));
    }
}
