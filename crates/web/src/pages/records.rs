//! What was: the timeline of the fleet, and who changed what.

use super::{Ask, service};
use crate::{
    Trouble,
    answer::rendered,
    model::{AuditFacts, Event},
    picture::lanes,
    words::{self, Html},
};
use askama::Template;

/// Events that are asked for; as many as a picture can show.
const EVENTS: usize = 500;
/// Events and records of a page.
const ROWS: usize = 100;

/// What the visitor sees of the events asked for.
pub(super) async fn events(ask: &Ask) -> Result<Vec<Event>, Trouble> {
    let mut events = ask.source.timeline(ask.query.number("before"), EVENTS).await?;
    let text = ask.query.text("q");
    events.retain(|event| ask.sight.event(event) && (text.is_empty() || has(event, text)));
    Ok(events)
}

fn has(event: &Event, text: &str) -> bool {
    let service = event.service.as_ref().is_some_and(|service| service.to_string().contains(text));
    service || event.text.contains(text) || event.cluster.as_str().contains(text) || event.kind.contains(text)
}

#[derive(Template)]
#[template(path = "timeline.html")]
struct Timeline<'a> {
    lanes: Html,
    zooms: Vec<(String, &'static str, bool)>,
    events: &'a [Event],
    text: &'a str,
    older: Option<String>,
    newest: String,
    is_older: bool,
}

pub(super) async fn timeline(ask: &Ask) -> Result<String, Trouble> {
    let events = events(ask).await?;
    let (mut span, zooms) = service::zoom(ask, &events);
    if let Some(before) = ask.query.number::<u64>("before") {
        let length = span.to_ms - span.from_ms;
        span = lanes::Span { from_ms: before.saturating_sub(length), to_ms: before };
    }
    let shown = &events[..events.len().min(ROWS)];
    let full = shown.len() == ROWS;
    let older = shown.last().filter(|_| full).map(|it| ask.query.with(&[("before", &it.at_ms.to_string())]));
    Ok(rendered(&Timeline {
        lanes: lanes::lanes(&events, span, "lanes", "What happened in the fleet"),
        zooms,
        events: shown,
        text: ask.query.text("q"),
        older,
        newest: ask.query.with(&[("before", "")]),
        is_older: ask.query.is_set("before"),
    }))
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit<'a> {
    records: &'a [AuditFacts],
    older: Option<String>,
}

/// A record may name anything, so that only who sees all of the fleet sees records.
pub(super) async fn audit_facts(ask: &Ask) -> Result<Vec<AuditFacts>, Trouble> {
    if !ask.sight.is_whole() {
        let text =
            "The audit log is shown to who may see all of the fleet; you are limited to some namespaces.";
        return Err(Trouble::Denied(text.to_owned()));
    }
    ask.source.audit(ask.query.number("before"), ROWS).await
}

pub(super) async fn audit(ask: &Ask) -> Result<String, Trouble> {
    let records = audit_facts(ask).await?;
    let last = records.last().filter(|it| records.len() == ROWS && it.number > 1);
    let older = last.map(|it| ask.query.with(&[("before", &it.number.to_string())]));
    Ok(rendered(&Audit { records: &records, older }))
}
