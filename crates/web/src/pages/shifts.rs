//! Shifts: those in force, and a new one: first what it would do, then the confirmation.

use super::{Ask, foresight};
use crate::{
    ShiftAsked, Trouble,
    answer::rendered,
    model::{Foresight, LossFacts, ShiftFacts},
    query::Query,
    words::{self, Html},
};
use askama::Template;

/// Losses while a shift lasts that are shown in full.
const THEN: usize = 2;
/// What a form offers, where the query does not say otherwise.
const LASTS: [(&str, &str); 5] =
    [("15m", "15 min"), ("30m", "30 min"), ("1h", "1 h"), ("4h", "4 h"), ("1d", "1 day")];

/// A place that can be chosen: its word, its name, whether it is chosen.
type Option3 = (String, String, bool);

#[derive(Template)]
#[template(path = "shifts.html")]
struct Page<'a> {
    shifts: &'a [ShiftFacts],
    form: Option<Html>,
    seal: &'a str,
    lasts: &'a [(&'static str, &'static str)],
    now_ms: u64,
    is_whole: bool,
}

pub(super) fn main(ask: &Ask) -> String {
    rendered(&Page {
        shifts: &ask.fleet.shifts,
        form: ask.is_operator.then(|| form(ask, "See what would happen")),
        seal: &ask.seal,
        lasts: &LASTS,
        now_ms: ask.now_ms,
        is_whole: ask.sight.is_whole(),
    })
}

#[derive(Template)]
#[template(path = "shift_form.html")]
struct Form<'a> {
    places: Vec<(String, Vec<Option3>)>,
    lasts: Vec<(&'static str, &'static str, bool)>,
    query: &'a Query,
    percent: &'a str,
    button: &'static str,
    is_whole: bool,
}

/// What to move away from, how much, for how long, and why.
fn form(ask: &Ask, button: &'static str) -> Html {
    let chosen = ask.query.text("from");
    let one = |key: String, name: String| {
        let is = key == chosen;
        (key, name, is)
    };
    let regions = ask.fleet.regions.iter().map(|region| {
        let mut all = vec![one(format!("region:{}", region.name), format!("region {}", region.name))];
        for cluster in &region.clusters {
            all.push(one(format!("cluster:{}", cluster.name), format!("cluster {}", cluster.name)));
        }
        let mut zones: Vec<&str> =
            region.clusters.iter().flat_map(|it| &it.zones).map(|it| it.name.as_str()).collect();
        zones.sort_unstable();
        zones.dedup();
        all.extend(
            zones.iter().map(|zone| one(format!("zone:{}/{zone}", region.name), format!("zone {zone}"))),
        );
        (region.name.to_string(), all)
    });
    let lasts = if ask.query.is_set("for") { ask.query.text("for") } else { "30m" };
    Html(rendered(&Form {
        places: regions.collect(),
        lasts: LASTS.map(|(key, name)| (key, name, key == lasts)).to_vec(),
        query: &ask.query,
        percent: if ask.query.is_set("percent") { ask.query.text("percent") } else { "100" },
        button,
        is_whole: ask.sight.is_whole(),
    }))
}

/// The shift that is asked for, and what it would do.
pub(super) async fn preview(ask: &Ask) -> Result<(ShiftAsked, Foresight), Trouble> {
    let shift = ask.query.shift()?;
    match &shift.service {
        Some(service) if !ask.sight.service(service) => {
            return Err(Trouble::Unknown(format!(
                "No service {service} is known. /services has those that are."
            )));
        }
        None if !ask.sight.is_whole() => {
            return Err(Trouble::Denied(
                "You are limited to some namespaces: choose a service of these.".to_owned(),
            ));
        }
        _ => {}
    }
    let foresight = ask.source.preview(&shift).await?;
    Ok((shift, ask.sight.foresight(foresight)))
}

#[derive(Template)]
#[template(path = "shift_new.html")]
struct New<'a> {
    what: String,
    facts: Foresight,
    /// What it would do: a shift moves as a loss does.
    detail: Html,
    holds: bool,
    /// What would not hold if it were lost while the shift lasts, of how many places.
    then: Vec<Html>,
    then_all: usize,
    then_fail: usize,
    shift: ShiftAsked,
    query: &'a Query,
    seal: &'a str,
    is_operator: bool,
    form: Html,
    lasts: String,
}

pub(super) async fn new(ask: &Ask) -> Result<String, Trouble> {
    let (shift, facts) = preview(ask).await?;
    // The shift itself stands before the losses.
    let (own, losses) = match facts.losses.split_first() {
        Some((own, losses)) => (Some(own), losses),
        None => (None, &[][..]),
    };
    let failing: Vec<&LossFacts> = losses.iter().filter(|it| !it.holds).collect();
    let then = failing.iter().take(THEN).enumerate();
    Ok(rendered(&New {
        what: place(&shift),
        detail: own.map(|it| foresight::detail(it, "shift")).unwrap_or_default(),
        holds: own.is_none_or(|it| it.holds),
        then: then.map(|(at, loss)| foresight::detail(loss, &format!("then-{at}"))).collect(),
        then_all: losses.len(),
        then_fail: failing.len(),
        facts,
        lasts: words::lasting(u64::try_from(shift.lasts.as_millis()).unwrap_or(u64::MAX)),
        shift,
        query: &ask.query,
        seal: &ask.seal,
        is_operator: ask.is_operator,
        form: form(ask, "See again"),
    }))
}

fn place(shift: &ShiftAsked) -> String {
    match &shift.from {
        crate::Loss::Zone(Some(region), zone) => format!("zone {zone} of {region}"),
        crate::Loss::Zone(None, zone) => format!("zone {zone}"),
        crate::Loss::Cluster(cluster) => format!("cluster {cluster}"),
        crate::Loss::Region(region) => format!("region {region}"),
    }
}
