//! What would be if something were lost: each loss by itself, or those that are chosen together, with flows and utilisation before and
//! after.

use super::Ask;
use crate::{
    Trouble,
    answer::rendered,
    model::{Fleet, Foresight, LossFacts, Place},
    picture::bands,
    words::{self, Html},
};
use askama::Template;
use std::cmp::Reverse;

/// Rows of the N-1 table: what does not hold comes first.
const ROWS: usize = 100;
/// Rows and sentences of one loss.
const DETAILS: usize = 60;

pub(super) async fn facts(ask: &Ask) -> Result<Foresight, Trouble> {
    let lost = ask.query.losses("lost")?;
    Ok(ask.sight.foresight(ask.source.foresee(&lost).await?))
}

/// A place to be lost: its word in the query, its name, and whether it is chosen.
struct Choice {
    key: String,
    name: String,
    chosen: bool,
}

struct Row<'a> {
    facts: &'a LossFacts,
    name: String,
    link: String,
    fullest: Option<(String, u32)>,
}

#[derive(Template)]
#[template(path = "foresight.html")]
struct Page<'a> {
    facts: &'a Foresight,
    choices: Vec<(String, bool, Vec<Choice>)>,
    is_chosen: bool,
    rows: Vec<Row<'a>>,
    left_out: usize,
    detail: Option<Html>,
    age: Option<String>,
}

pub(super) async fn main(ask: &Ask) -> Result<String, Trouble> {
    let mut facts = facts(ask).await?;
    facts.losses.sort_by_key(|loss| (loss.holds, Reverse(loss.unserved_services)));
    let is_chosen = ask.query.is_set("lost");
    let detail = if is_chosen { facts.losses.first().map(|loss| detail(loss, "loss")) } else { None };
    let rows = facts.losses.iter().take(ROWS).map(|loss| row(loss, &ask.fleet)).collect();
    Ok(rendered(&Page {
        choices: choices(ask),
        is_chosen,
        rows,
        left_out: facts.losses.len().saturating_sub(ROWS),
        detail,
        age: facts.age_ms.map(words::lasting),
        facts: &facts,
    }))
}

/// By region: itself, its clusters, and its zones, each once.
fn choices(ask: &Ask) -> Vec<(String, bool, Vec<Choice>)> {
    let choice = |key: String, name: String| {
        let chosen = ask.query.all("lost").any(|it| it == key);
        Choice { key, name, chosen }
    };
    let regions = ask.fleet.regions.iter().map(|region| {
        let mut all = vec![choice(format!("region:{}", region.name), format!("all of {}", region.name))];
        let clusters = region.clusters.iter();
        all.extend(
            clusters.clone().map(|it| choice(format!("cluster:{}", it.name), format!("cluster {}", it.name))),
        );
        let mut zones: Vec<&str> = clusters.flat_map(|it| &it.zones).map(|zone| zone.name.as_str()).collect();
        zones.sort_unstable();
        zones.dedup();
        all.extend(
            zones.iter().map(|zone| choice(format!("zone:{}/{zone}", region.name), format!("zone {zone}"))),
        );
        (region.name.to_string(), all.iter().any(|it| it.chosen), all)
    });
    regions.collect()
}

fn row<'a>(facts: &'a LossFacts, fleet: &Fleet) -> Row<'a> {
    let keys: Vec<String> = facts.lost.iter().filter_map(|name| key(name, fleet)).collect();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(keys.iter().map(|key| ("lost", key)));
    let fullest = facts.places.iter().filter_map(|(place, _, after)| Some((bands::place(place), (*after)?)));
    Row {
        name: facts.lost.join(", "),
        link: if keys.is_empty() { String::new() } else { format!("?{}", query.finish()) },
        fullest: fullest.max_by_key(|(_, after)| *after),
        facts,
    }
}

/// `zone us-east-1a` as it stands in a query; with its region, where the fleet knows it.
fn key(name: &str, fleet: &Fleet) -> Option<String> {
    let (kind, name) = name.split_once(' ')?;
    let mut regions = fleet.regions.iter();
    let has = |zone: &crate::model::ZoneFacts| zone.name.as_str() == name;
    let region = regions.find(|it| it.clusters.iter().flat_map(|it| &it.zones).any(has));
    match (kind, region) {
        ("zone", Some(region)) if !name.contains('/') => Some(format!("zone:{}/{name}", region.name)),
        ("zone" | "cluster" | "region", _) => Some(format!("{kind}:{name}")),
        _ => None,
    }
}

#[derive(Template)]
#[template(path = "loss.html")]
struct Detail<'a> {
    /// Unique on its page.
    id: &'a str,
    facts: &'a LossFacts,
    name: String,
    before: Html,
    after: Html,
    places: Vec<(String, Html, Html)>,
    more_places: usize,
    sentences: &'a [String],
    more: usize,
}

/// One loss before and after, side by side.
pub(super) fn detail(facts: &LossFacts, id: &str) -> Html {
    let name = facts.lost.join(", ");
    let picture = |flows: &[crate::model::Flow], id: String, when: &str| {
        bands::bands(&bands::of_flows(flows), &id, &format!("Who serves what {when}"))
    };
    let places = facts.places.iter().take(DETAILS);
    Html(rendered(&Detail {
        id,
        before: picture(&facts.before, format!("{id}-before"), "now"),
        after: picture(&facts.after, format!("{id}-after"), &format!("after losing {name}")),
        name,
        places: places.map(|(place, before, after)| place_row(facts, place, (*before, *after))).collect(),
        more_places: facts.places.len().saturating_sub(DETAILS),
        sentences: &facts.sentences[..facts.sentences.len().min(DETAILS)],
        more: facts.sentences.len().saturating_sub(DETAILS),
        facts,
    }))
}

/// How full a place is before and after.
fn place_row(
    facts: &LossFacts,
    place: &Place,
    (before, after): (Option<u32>, Option<u32>),
) -> (String, Html, Html) {
    let is_lost = facts.lost.iter().any(|lost| match lost.split_once(' ') {
        Some(("zone", name)) => place.zone.as_ref().is_some_and(|zone| zone.as_str() == name),
        Some(("cluster", name)) => place.cluster.as_str() == name,
        _ => false,
    });
    let gone = || Html("<span class=\"quiet\">lost</span>".to_owned());
    (bands::place(place), used(before), if is_lost && after.is_none() { gone() } else { used(after) })
}

/// A utilisation as bar and number.
fn used(permille: Option<u32>) -> Html {
    let Some(permille) = permille else {
        return Html("<span class=\"quiet\">not measured</span>".to_owned());
    };
    let mut svg = crate::picture::Svg::default();
    let width = f64::from(permille.min(1500)) * 0.06;
    svg.area("u-track", (0.0, 3.0), (60.0, 7.0), 1.5);
    svg.area(if permille > 1000 { "u-over" } else { "u-load" }, (0.0, 3.0), (width, 7.0), 1.5);
    let over = if permille > 1000 { " <strong class=\"out\">✕ too much</strong>" } else { "" };
    Html(format!(
        "<span class=\"room\">{}<span>{}{over}</span></span>",
        svg.plain((90.0, 13.0)),
        words::permille(permille)
    ))
}
