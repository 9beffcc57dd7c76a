//! The table of services: filtered, sorted and paged by the query, so that it works without a script.

use super::Ask;
use crate::{
    answer::rendered,
    model::{Fleet, ServiceRow, Standing},
    query::{Paging, Query},
    words::{self, Html},
};
use askama::Template;
use serde::Serialize;
use std::{cmp::Ordering, collections::BTreeSet};
use tidegate_model::Phase;

/// Rows of a page: of up to about 900 bytes each.
const SIZE: usize = 100;
/// Namespaces that are offered to choose from; any can be written.
const NAMESPACES: usize = 200;

const COLUMNS: [(&str, &str); 6] = [
    ("name", "Service"),
    ("standing", "Standing"),
    ("healthy", "Healthy"),
    ("away", "Away"),
    ("rate", "Rate"),
    ("changed", "Changed"),
];

/// So many of all, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed<'a> {
    total: usize,
    page: usize,
    pages: usize,
    services: Vec<&'a ServiceRow>,
}

pub(super) fn json(ask: &Ask) -> Listed<'_> {
    let (services, paging) = listed(&ask.fleet, &ask.query);
    Listed { total: paging.total, page: paging.page, pages: paging.pages, services }
}

#[derive(Template)]
#[template(path = "services.html")]
struct Page<'a> {
    rows: Vec<&'a ServiceRow>,
    pager: Html,
    said: String,
    columns: Vec<(&'static str, String, &'static str)>,
    namespaces: BTreeSet<&'a str>,
    standings: Vec<(&'static str, &'static str, bool)>,
    query: &'a Query,
    now_ms: u64,
}

pub(super) fn main(ask: &Ask) -> String {
    let (rows, paging) = listed(&ask.fleet, &ask.query);
    let namespaces = ask.fleet.services.iter().map(|row| row.name.namespace());
    // The list is by name, so namespaces come together.
    let mut distinct = BTreeSet::new();
    for namespace in namespaces {
        if distinct.len() < NAMESPACES {
            distinct.insert(namespace);
        }
    }
    rendered(&Page {
        pager: super::pager(paging, &ask.query, "services"),
        said: paging.said(),
        rows,
        columns: columns(&ask.query),
        namespaces: distinct,
        standings: STANDINGS
            .map(|(key, of)| (key, words::standing(of).word, ask.query.text("standing") == key))
            .to_vec(),
        query: &ask.query,
        now_ms: ask.now_ms,
    })
}

const STANDINGS: [(&str, Standing); 6] = [
    ("out", Standing::Out),
    ("reduced", Standing::Reduced),
    ("shifted", Standing::Shifted),
    ("recovering", Standing::Recovering),
    ("unknown", Standing::Unknown),
    ("good", Standing::Good),
];

/// The headings: name, the link that sorts by it, and how it is sorted now.
fn columns(query: &Query) -> Vec<(&'static str, String, &'static str)> {
    let by = query.text("sort");
    let column = |(key, name): (&'static str, &'static str)| {
        // The first click shows what is most worth a look at the top.
        let turned = if by == key { !query.is_set("desc") } else { !matches!(key, "name" | "healthy") };
        let link = query.with(&[("sort", key), ("desc", if turned { "1" } else { "" }), ("page", "")]);
        let sorted = if by != key {
            "none"
        } else if query.is_set("desc") {
            "descending"
        } else {
            "ascending"
        };
        (name, link, sorted)
    };
    COLUMNS.map(column).to_vec()
}

fn listed<'a>(fleet: &'a Fleet, query: &Query) -> (Vec<&'a ServiceRow>, Paging) {
    let mut rows: Vec<&ServiceRow> = fleet.services.iter().filter(|row| is_asked(row, query)).collect();
    let paging = Paging::new(query.page(), rows.len(), SIZE);
    rows.sort_by(|one, two| order(one, two, query));
    (rows[paging.from..paging.to()].to_vec(), paging)
}

fn is_asked(row: &ServiceRow, query: &Query) -> bool {
    let namespace = query.text("ns");
    let standing = STANDINGS.iter().find(|(key, _)| *key == query.text("standing"));
    let phase = query.text("phase");
    (namespace.is_empty() || row.name.namespace() == namespace)
        && standing.is_none_or(|(_, standing)| row.standing == *standing)
        && (phase.is_empty() || words::phase(row.phase).word.eq_ignore_ascii_case(phase))
        && (!query.is_set("away") || row.away_permille > 0)
        && (!query.is_set("risk") || row.at_risk == Some(true))
        && (!query.is_set("stuck") || row.cannot_fail_over == Some(true))
        && (query.text("q").is_empty() || has(row, query.text("q")))
}

fn has(row: &ServiceRow, text: &str) -> bool {
    match text.split_once('/') {
        Some((namespace, name)) => {
            row.name.namespace().ends_with(namespace) && row.name.name().starts_with(name)
        }
        None => row.name.namespace().contains(text) || row.name.name().contains(text),
    }
}

/// The worst first, unless something else is asked for.
fn order(one: &ServiceRow, two: &ServiceRow, query: &Query) -> Ordering {
    let parts = |row: &ServiceRow| f64::from(row.healthy) / f64::from(row.expected.max(1));
    let by = match query.text("sort") {
        "name" => Ordering::Equal,
        "standing" => one.standing.cmp(&two.standing),
        "healthy" => parts(one).total_cmp(&parts(two)),
        "away" => one.away_permille.cmp(&two.away_permille),
        "rate" => one.rate.unwrap_or(-1.0).total_cmp(&two.rate.unwrap_or(-1.0)),
        "changed" => one.changed_at_ms.cmp(&two.changed_at_ms),
        _ => {
            let key = |row: &ServiceRow| (row.standing, row.shed_permille, row.away_permille, row.at_risk);
            key(two).cmp(&key(one))
        }
    };
    let by = by.then_with(|| one.name.cmp(&two.name));
    if query.is_set("desc") { by.reverse() } else { by }
}
