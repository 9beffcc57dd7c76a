//! Drills: those that run with how far they are, those that may be started, and those that are over with their reports.

use super::Ask;
use crate::{
    Trouble,
    answer::rendered,
    model::{DrillFacts, DrillOffered, DrillsFacts},
    query::{Paging, Query},
    words::{self, Html},
};
use askama::Template;

/// Past drills of a page.
const SIZE: usize = 50;

pub(super) async fn facts(ask: &Ask) -> Result<DrillsFacts, Trouble> {
    let mut all = ask.source.drills().await?;
    if !ask.sight.is_whole() {
        all.running.retain(|drill| ask.sight.drill(drill));
        all.past.retain(|drill| ask.sight.drill(drill));
        all.offered.retain(|drill| ask.sight.object(&drill.drill) && ask.sight.text(&drill.target));
    }
    Ok(all)
}

/// A drill under way, with how far it is.
pub(super) struct Running<'a> {
    pub(super) facts: &'a DrillFacts,
    pub(super) since: Html,
    pub(super) left: Option<Html>,
    pub(super) requests: String,
}

pub(super) fn running(facts: &DrillFacts, now_ms: u64) -> Running<'_> {
    Running {
        facts,
        since: words::ago(facts.started_at_ms, now_ms),
        left: facts.phase_ends_at_ms.map(|at| words::left(at, now_ms)),
        requests: requests(facts),
    }
}

fn requests(facts: &DrillFacts) -> String {
    match facts.requests {
        Some((all, 0)) => format!("{all}, none failed"),
        Some((all, failed)) => format!("{all}, {failed} failed"),
        None => "not counted yet".to_owned(),
    }
}

struct Past<'a> {
    facts: &'a DrillFacts,
    /// Its id as it may stand in a path.
    path: String,
    rto: String,
    requests: String,
}

#[derive(Template)]
#[template(path = "drills.html")]
struct Page<'a> {
    running: Vec<Running<'a>>,
    offered: &'a [DrillOffered],
    past: Vec<Past<'a>>,
    pager: Html,
    /// Its place among all, which is its file's name, and its drill.
    trends: Vec<(usize, &'a str)>,
    seal: &'a str,
    may_act: bool,
    now_ms: u64,
}

pub(super) async fn main(ask: &Ask) -> Result<String, Trouble> {
    let all = facts(ask).await?;
    let paging = Paging::new(ask.query.page(), all.past.len(), SIZE);
    let trends = all.trends.iter().enumerate().filter(|(_, (drill, _))| ask.sight.object(drill));
    let past = &all.past[paging.from..paging.to()];
    Ok(rendered(&Page {
        running: all.running.iter().map(|it| running(it, ask.now_ms)).collect(),
        offered: &all.offered,
        past: past.iter().map(over).collect(),
        pager: pager(paging, &ask.query),
        trends: trends.map(|(at, (drill, _))| (at, &**drill)).collect(),
        seal: &ask.seal,
        may_act: ask.is_operator && ask.sight.is_whole(),
        now_ms: ask.now_ms,
    }))
}

fn pager(paging: Paging, query: &Query) -> Html {
    if paging.pages > 1 { super::pager(paging, query, "past drills") } else { Html::default() }
}

fn over(facts: &DrillFacts) -> Past<'_> {
    let rto =
        facts.rto_ms.map(|ms| if ms < 10_000.0 { format!("{ms:.0} ms") } else { words::lasting(ms as u64) });
    let path = form_urlencoded::byte_serialize(facts.id.as_bytes()).collect::<String>().replace('+', "%20");
    Past { facts, path, rto: rto.unwrap_or_default(), requests: requests(facts) }
}
