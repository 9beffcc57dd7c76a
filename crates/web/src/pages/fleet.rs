//! The fleet: what to look at first, the map, and the same in words.

use super::Ask;
use crate::{
    answer::rendered,
    model::{
        Attention, Capacity, ClusterFacts, ClusterState, DrillFacts, Fleet, Flow, PolicyFacts, RegionFacts,
        Scope, ShiftFacts, Standing,
    },
    picture::map,
    words::{self, Html},
};
use askama::Template;
use serde::Serialize;

/// Things to look at that are shown; the others are counted.
const ATTENTION: usize = 12;
/// Clusters in the table: the worst first, and of those that are as they should be a few.
const ROWS: usize = 60;
const GOOD: usize = 12;

/// The picture without its services, which have a list of their own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Picture<'a> {
    scope: &'a Scope,
    version: u64,
    at_ms: u64,
    regions: &'a [RegionFacts],
    flows: &'a [Flow],
    service_count: usize,
    shifts: &'a [ShiftFacts],
    drills: &'a [DrillFacts],
    policy: &'a PolicyFacts,
    attention: &'a [Attention],
}

pub(super) fn json(fleet: &Fleet) -> Picture<'_> {
    Picture {
        scope: &fleet.scope,
        version: fleet.version,
        at_ms: fleet.at_ms,
        regions: &fleet.regions,
        flows: &fleet.flows,
        service_count: fleet.services.len(),
        shifts: &fleet.shifts,
        drills: &fleet.drills,
        policy: &fleet.policy,
        attention: &fleet.attention,
    }
}

struct Row<'a> {
    region: &'a str,
    facts: &'a ClusterFacts,
    standing: Standing,
    /// The least headroom of its zones, and how full that is.
    tightest: Option<(String, Html)>,
    gateways: String,
    /// Whether it reaches all the others, and whether that is old.
    sees_all: bool,
    is_old: bool,
    heard: Html,
}

#[derive(Template)]
#[template(path = "fleet.html")]
struct Page<'a> {
    attention: Vec<&'a Attention>,
    more: usize,
    /// What a screen reader hears when it changes.
    said: String,
    figures: Vec<(String, String, &'static str)>,
    wide: Html,
    tall: Html,
    flows: Vec<String>,
    rows: Vec<Row<'a>>,
    left_out: usize,
    text: &'a str,
    drills: Vec<super::drills::Running<'a>>,
    shifts: &'a [ShiftFacts],
    now_ms: u64,
}

pub(super) fn main(ask: &Ask) -> String {
    let fleet = &*ask.fleet;
    let text = ask.query.text("q");
    let columns = fleet.regions.len().clamp(1, 3);
    let mut rows: Vec<Row<'_>> = fleet
        .regions
        .iter()
        .flat_map(|region| region.clusters.iter().map(move |facts| (region.name.as_str(), facts)))
        .filter(|(region, it)| text.is_empty() || region.contains(text) || named(it, text))
        .map(|(region, facts)| row(region, facts, ask.now_ms))
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.standing));
    let bad = rows.iter().filter(|row| row.standing != Standing::Good).count();
    let shown = if text.is_empty() { bad.clamp(GOOD, ROWS) } else { ROWS };
    let left_out = rows.len().saturating_sub(shown);
    rows.truncate(shown);
    let crossing = fleet.flows.iter().filter(|flow| flow.from != flow.to);
    rendered(&Page {
        attention: fleet.attention.iter().take(ATTENTION).collect(),
        more: fleet.attention.len().saturating_sub(ATTENTION),
        said: words::summary(&fleet.attention),
        figures: figures(fleet),
        wide: map::map(fleet, columns, text, "map-wide", ask.now_ms),
        tall: map::map(fleet, 1, text, "map-tall", ask.now_ms),
        flows: crossing.take(40).map(map::sentence).collect(),
        rows,
        left_out,
        text,
        drills: fleet.drills.iter().map(|drill| super::drills::running(drill, ask.now_ms)).collect(),
        shifts: &fleet.shifts,
        now_ms: ask.now_ms,
    })
}

fn named(cluster: &ClusterFacts, text: &str) -> bool {
    cluster.name.as_str().contains(text) || cluster.zones.iter().any(|zone| zone.name.as_str().contains(text))
}

/// What one wants to know of the whole, with a class for what is not as it should be.
fn figures(fleet: &Fleet) -> Vec<(String, String, &'static str)> {
    let clusters: Vec<&ClusterFacts> = fleet.regions.iter().flat_map(|region| &region.clusters).collect();
    let live = clusters.iter().filter(|it| it.state == ClusterState::Live).count();
    let zones = || clusters.iter().flat_map(|it| &it.zones);
    let good = zones().filter(|zone| zone.standing == Standing::Good).count();
    let gateways = || clusters.iter().flat_map(|it| &it.gateways);
    let connected = gateways().filter(|it| it.connected).count();
    let services = &fleet.services;
    let of = |test: fn(&crate::model::ServiceRow) -> bool| services.iter().filter(|row| test(row)).count();
    let out = of(|row| row.standing == Standing::Out);
    let away = of(|row| row.away_permille > 0);
    let shed = of(|row| row.shed_permille > 0);
    let risk = of(|row| row.at_risk == Some(true));
    let rate: f64 = fleet.flows.iter().filter_map(|flow| flow.rate).sum();
    let failed: f64 = fleet.flows.iter().filter_map(|flow| flow.failed).sum();
    let parts = |name: &str, part: usize, whole: usize| {
        (name.to_owned(), format!("{part} of {whole}"), if part < whole { "part" } else { "good" })
    };
    let bad = |name: &str, number: usize, class| {
        (name.to_owned(), number.to_string(), if number > 0 { class } else { "good" })
    };
    let mut all = vec![
        ("requests".to_owned(), words::rate(rate), "none"),
        ("failing".to_owned(), words::rate(failed), if failed > 0.0 { "out" } else { "good" }),
        parts("clusters heard", live, clusters.len()),
        parts("zones good", good, zones().count()),
        parts("gateways connected", connected, gateways().count()),
        bad("services out", out, "out"),
        bad("services away", away, "moved"),
        bad("services at risk", risk, "part"),
    ];
    if shed > 0 {
        all.push(bad("services shed", shed, "out"));
    }
    all
}

fn row<'a>(region: &'a str, facts: &'a ClusterFacts, now_ms: u64) -> Row<'a> {
    let fullness = |it: &Capacity| it.load.map(|load| load / it.declared.max(f64::MIN_POSITIVE));
    let zones = facts.zones.iter().flat_map(|zone| zone.capacity.iter().map(move |it| (zone, it)));
    let measured = zones.filter_map(|(zone, it)| Some((zone, it, fullness(it)?)));
    let tightest = measured
        .max_by(|one, two| one.2.total_cmp(&two.2))
        .map(|(zone, it, _)| (zone.name.to_string(), room(it)));
    let connected = facts.gateways.iter().filter(|it| it.connected).count();
    Row {
        region,
        facts,
        standing: map::worst(facts),
        tightest,
        gateways: format!("{connected} of {}", facts.gateways.len()),
        sees_all: facts.peers.iter().all(|peer| peer.state == "Reachable"),
        is_old: matches!(facts.state, ClusterState::Lost | ClusterState::Unheard),
        heard: facts.heard_at_ms.map_or_else(|| Html("never".to_owned()), |at| words::ago(at, now_ms)),
    }
}

/// How full a place is, as a bar and in words.
pub(super) fn room(of: &Capacity) -> Html {
    let mut svg = crate::picture::Svg::default();
    map::bar(&mut svg, (0.0, 3.0), (96.0, 7.0), of);
    if of.declared <= 0.0 {
        return Html("<span class=\"quiet\">nothing of it is healthy</span>".to_owned());
    }
    let load = of.load.map_or_else(|| "?".to_owned(), words::amount);
    let text = words::escaped(&format!("{load} of {} {}", words::amount(of.declared), of.unit));
    let budget = words::amount(of.budget);
    let bar = svg.plain((96.0, 13.0));
    Html(format!(
        "<span class=\"room\">{bar}<span>{text}<span class=\"more\">, budget {budget}</span></span></span>"
    ))
}
