//! The map of a fleet: regions as columns, clusters as boxes, zones as rows with a bar of their headroom, and what goes between them.
//!
//! What is as it should be and takes no part in a flow is folded into one tile a region, so that a hundred clusters fit. Pure.

use super::{Anchor, Svg, fitted, labels::Labels};
use crate::{
    model::{ClusterFacts, ClusterState, Fleet, Flow, Place, RegionFacts, Standing, ZoneFacts},
    words::{self, Html},
};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::ClusterName;

const BOX: f64 = 268.0;
const GUTTER: f64 = 118.0;
const EDGE: f64 = 10.0;
const REGION: f64 = 30.0;
const HEAD: f64 = 28.0;
const ROW: f64 = 36.0;
const LINE: f64 = 18.0;
const GAP: f64 = 12.0;
/// Clusters that are drawn whole; the others are folded.
const WHOLE: usize = 24;
/// Fleets of so many clusters are drawn whole, good or not.
const SMALL: usize = 8;
/// Flows that are drawn; more would be a knot.
const FLOWS: usize = 24;

/// Where a place lies: the left and right edge of its row, and its height.
#[derive(Clone, Copy)]
struct Spot {
    column: usize,
    left: f64,
    y: f64,
}

/// The worst of a cluster, for what is drawn first.
pub(crate) fn worst(cluster: &ClusterFacts) -> Standing {
    let zones = cluster.zones.iter().map(|zone| zone.standing).max().unwrap_or(Standing::Good);
    let gateways = cluster.gateways.iter().any(|it| !it.connected || !it.refused.is_empty());
    let refuses = gateways || !cluster.rejected.is_empty() || cluster.held_back.is_some();
    match cluster.state {
        ClusterState::Lost | ClusterState::Unheard => Standing::Unknown,
        ClusterState::Suspect => zones.max(Standing::Reduced),
        _ if refuses => zones.max(Standing::Reduced),
        _ => zones,
    }
}

/// Between places, the greatest first; what stays within a zone is no line.
fn between(flows: &[Flow]) -> Vec<&Flow> {
    flows.iter().filter(|flow| flow.from != flow.to).take(FLOWS).collect()
}

/// Which clusters are drawn whole.
fn whole<'a>(fleet: &'a Fleet, text: &str) -> BTreeSet<&'a ClusterName> {
    let all: Vec<&ClusterFacts> = fleet.regions.iter().flat_map(|region| &region.clusters).collect();
    if all.len() <= SMALL {
        return all.iter().map(|it| &it.name).collect();
    }
    if !text.is_empty() {
        let region_of = |it: &ClusterFacts| {
            let has = |region: &&RegionFacts| region.clusters.iter().any(|other| other.name == it.name);
            fleet.regions.iter().find(has).is_some_and(|region| region.name.as_str().contains(text))
        };
        let found = |it: &&&ClusterFacts| {
            let zone = it.zones.iter().any(|zone| zone.name.as_str().contains(text));
            it.name.as_str().contains(text) || zone || region_of(it)
        };
        return all.iter().filter(found).take(WHOLE).map(|it| &it.name).collect();
    }
    let mut bad: Vec<&ClusterFacts> = all.into_iter().filter(|it| worst(it) != Standing::Good).collect();
    bad.sort_by_key(|it| std::cmp::Reverse(worst(it)));
    let mut names: BTreeSet<&ClusterName> = bad.iter().take(WHOLE).map(|it| &it.name).collect();
    let ends = between(&fleet.flows).into_iter().flat_map(|flow| [&flow.from.cluster, &flow.to.cluster]);
    for end in ends {
        if names.len() < WHOLE {
            names.insert(end);
        }
    }
    names
}

/// The map, with so many columns side by side; `text` draws the clusters whole that have it in a name.
pub(crate) fn map(fleet: &Fleet, columns: usize, text: &str, id: &str, now_ms: u64) -> Html {
    let columns = columns.min(fleet.regions.len()).max(1);
    let whole = whole(fleet, text);
    let local = local(&fleet.flows);
    let mut map =
        Map { svg: Svg::default(), spots: BTreeMap::new(), labels: Labels::default(), local, now_ms };
    let mut top = EDGE;
    for row in fleet.regions.chunks(columns) {
        let mut bottom = top;
        for (column, region) in row.iter().enumerate() {
            let left = EDGE + column as f64 * (BOX + GUTTER);
            bottom = f64::max(bottom, map.region(region, &whole, (column, left, top)));
        }
        top = bottom + GAP * 1.5;
    }
    let width = 2.0 * EDGE + columns as f64 * (BOX + GUTTER);
    let size = (width, top.max(60.0));
    let flows = map.flows(&fleet.flows, size.1);
    // Lines lie under boxes, and their words above.
    let body = format!("{}{}{}", flows.0, map.svg.body, flows.1);
    Svg { body }.finish(id, "map", size, "Map of the fleet", &described(fleet))
}

/// What is served where it enters, by place.
fn local(flows: &[Flow]) -> BTreeMap<Place, f64> {
    let own = flows.iter().filter(|flow| flow.from == flow.to);
    own.filter_map(|flow| Some((flow.from.clone(), flow.rate?))).collect()
}

fn described(fleet: &Fleet) -> String {
    let clusters: usize = fleet.regions.iter().map(|region| region.clusters.len()).sum();
    let mut text = format!(
        "{} and {}. The table of clusters below has the same in words.",
        words::count(fleet.regions.len(), "region"),
        words::count(clusters, "cluster")
    );
    for flow in between(&fleet.flows).iter().take(8) {
        text.push_str(&format!(" {}.", sentence(flow)));
    }
    text
}

fn place(of: &Place) -> String {
    match &of.zone {
        Some(zone) => format!("{zone} of {}", of.cluster),
        None => of.cluster.to_string(),
    }
}

/// A flow in words.
pub(crate) fn sentence(flow: &Flow) -> String {
    let rate = flow.rate.map_or_else(|| "an unknown rate".to_owned(), words::rate);
    let failed = flow.failed.filter(|it| *it > 0.0).map(|it| format!(", {} of it fail", words::rate(it)));
    let services = words::count(flow.services as usize, "service");
    let standing = words::standing(flow.standing).word;
    format!(
        "From {} to {}: {rate}{} of {services}; what serves it is {standing}",
        place(&flow.from),
        place(&flow.to),
        failed.unwrap_or_default()
    )
}

struct Map {
    svg: Svg,
    spots: BTreeMap<Place, Spot>,
    labels: Labels,
    local: BTreeMap<Place, f64>,
    now_ms: u64,
}

impl Map {
    /// Draws a region and gives its lower edge.
    fn region(&mut self, region: &RegionFacts, whole: &BTreeSet<&ClusterName>, at: (usize, f64, f64)) -> f64 {
        let (column, left, top) = at;
        self.svg.text("m-region", (left, top + 18.0), Anchor::Start, &fitted(region.name.as_str(), 26));
        let number = words::count(region.clusters.len(), "cluster");
        self.svg.text("m-small", (left + BOX, top + 18.0), Anchor::End, &number);
        let mut y = top + REGION;
        let (drawn, folded): (Vec<_>, Vec<_>) =
            region.clusters.iter().partition(|it| whole.contains(&it.name));
        for cluster in drawn {
            y = self.cluster(cluster, (column, left, y)) + GAP;
        }
        if !folded.is_empty() {
            y = self.folded(&folded, (column, left, y)) + GAP;
        }
        y
    }

    /// Clusters that are one tile: how many of them stand how.
    fn folded(&mut self, clusters: &[&ClusterFacts], (column, left, y): (usize, f64, f64)) -> f64 {
        let mut by: BTreeMap<Standing, usize> = BTreeMap::new();
        for cluster in clusters {
            *by.entry(worst(cluster)).or_default() += 1;
            let place = Place { cluster: cluster.name.clone(), zone: None };
            self.spots.insert(place, Spot { column, left, y: y + 15.0 });
        }
        self.svg.area("m-box m-folded", (left, y), (BOX, 30.0), 6.0);
        let mut x = left + 10.0;
        for (standing, number) in by {
            let mark = words::standing(standing);
            let text = format!("{} {number} {}", mark.sign, mark.word);
            self.svg.text(&format!("m-name s-{}", mark.class), (x, y + 20.0), Anchor::Start, &text);
            x += 10.0 + 7.2 * text.chars().count() as f64;
        }
        y + 30.0
    }

    fn cluster(&mut self, cluster: &ClusterFacts, (column, left, top): (usize, f64, f64)) -> f64 {
        let words = self.troubles(cluster);
        let height = HEAD + cluster.zones.len() as f64 * ROW + LINE * (1 + words.len()) as f64 + 8.0;
        let mark = words::standing(worst(cluster));
        self.svg.area(&format!("m-box b-{}", mark.class), (left, top), (BOX, height), 6.0);
        let name = format!("{} {}", mark.sign, fitted(cluster.name.as_str(), 22));
        self.svg.text(
            &format!("m-cluster s-{}", mark.class),
            (left + 10.0, top + 19.0),
            Anchor::Start,
            &name,
        );
        let spot = Spot { column, left, y: top + 14.0 };
        self.spots.insert(Place { cluster: cluster.name.clone(), zone: None }, spot);
        if cluster.state != ClusterState::Live {
            let age = cluster.heard_at_ms.map(|at| words::lasting(self.now_ms.saturating_sub(at)));
            let text = age.map_or_else(|| "never heard".to_owned(), |age| format!("not heard for {age}"));
            let text = if cluster.state == ClusterState::Suspect { "suspect".to_owned() } else { text };
            self.svg.text("m-small s-old", (left + BOX - 10.0, top + 19.0), Anchor::End, &text);
        }
        let mut y = top + HEAD;
        for zone in &cluster.zones {
            let place = Place { cluster: cluster.name.clone(), zone: Some(zone.name.clone()) };
            self.zone(zone, &place, (left, y));
            self.spots.insert(place, Spot { column, left, y: y + 12.0 });
            y += ROW;
        }
        y += 10.0;
        self.gateways(cluster, (left, y));
        for (class, text) in words {
            y += LINE;
            self.svg.text(&format!("m-small s-{class}"), (left + 10.0, y), Anchor::Start, &fitted(&text, 42));
        }
        top + height
    }

    fn zone(&mut self, zone: &ZoneFacts, place: &Place, (left, y): (f64, f64)) {
        let mark = words::standing(zone.standing);
        let phases: Vec<String> = zone
            .phases
            .iter()
            .map(|(phase, number)| format!("{number} {}", words::phase(*phase).word))
            .collect();
        if zone.standing != Standing::Good {
            self.svg.area(
                &format!("m-row r-{}", mark.class),
                (left + 3.0, y - 2.0),
                (BOX - 6.0, ROW - 3.0),
                3.0,
            );
        }
        let name = format!("{} {}", mark.sign, fitted(zone.name.as_str(), 18));
        self.svg.text(&format!("m-name s-{}", mark.class), (left + 10.0, y + 13.0), Anchor::Start, &name);
        let mut facts = format!("{}/{}", zone.healthy, zone.expected);
        if let Some(rate) = self.local.get(place) {
            facts = format!("{facts} · {}", words::rate(*rate));
        }
        if !phases.is_empty() {
            facts = format!("{} · {facts}", phases.join(", "));
        }
        self.svg.text("m-small", (left + BOX - 10.0, y + 13.0), Anchor::End, &fitted(&facts, 30));
        // The unit that is the fullest says whether the place can carry it.
        let used = |it: &&crate::model::Capacity| it.load.unwrap_or(0.0) / it.declared.max(f64::MIN_POSITIVE);
        if let Some(capacity) = zone.capacity.iter().max_by(|one, two| used(one).total_cmp(&used(two))) {
            let (at, size) = ((left + 10.0, y + 20.0), (BOX - 20.0, 7.0));
            bar(&mut self.svg, at, size, capacity);
        }
    }

    fn gateways(&mut self, cluster: &ClusterFacts, (left, y): (f64, f64)) {
        let connected = cluster.gateways.iter().filter(|it| it.connected).count();
        let all = cluster.gateways.len();
        let signs: String = cluster
            .gateways
            .iter()
            .take(12)
            .map(|it| {
                if !it.refused.is_empty() {
                    '✕'
                } else if it.connected {
                    '●'
                } else {
                    '○'
                }
            })
            .collect();
        let text = match all {
            0 => "no gateway".to_owned(),
            _ if connected == all => format!("{signs} {}", words::count(all, "gateway")),
            _ => format!("{signs} {connected} of {} connected", words::count(all, "gateway")),
        };
        self.svg.text("m-small", (left + 10.0, y), Anchor::Start, &text);
    }

    /// What does not show in its zones.
    fn troubles(&self, cluster: &ClusterFacts) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for peer in cluster.peers.iter().filter(|peer| !matches!(&*peer.state, "Reachable")).take(3) {
            let mark = words::peer(&peer.state);
            found.push((mark.class, format!("{} {}: {}", mark.sign, peer.cluster, mark.word)));
        }
        let refused = cluster.gateways.iter().filter(|it| !it.refused.is_empty()).count();
        if refused > 0 {
            found.push(("out", format!("✕ {} refused a configuration", words::count(refused, "gateway"))));
        }
        if !cluster.rejected.is_empty() {
            found.push(("part", format!("! {} rejected", words::count(cluster.rejected.len(), "object"))));
        }
        if let Some(why) = &cluster.held_back {
            found.push(("part", format!("! no policy: {why}")));
        }
        found
    }

    /// The lines, and their words.
    fn flows(&mut self, flows: &[Flow], height: f64) -> (String, String) {
        let (mut lines, mut words) = (Svg::default(), Svg::default());
        let shown = between(flows);
        let most = shown.iter().filter_map(|flow| flow.rate).fold(1.0, f64::max);
        let mut used: BTreeMap<(usize, i64), f64> = BTreeMap::new();
        // How many lines swing out beside a column already.
        let mut beside: BTreeMap<usize, usize> = BTreeMap::new();
        for flow in shown {
            let (Some(from), Some(to)) = (self.spot(&flow.from), self.spot(&flow.to)) else { continue };
            let mark = words::standing(flow.standing);
            let thick = flow.rate.map_or(1.5, |rate| 2.0 + 8.0 * (rate / most).sqrt());
            let mut end = |spot: Spot| {
                // Lines that begin or end at one row lie beside each other.
                let at = used.entry((spot.column, spot.y as i64)).or_insert(-thick / 2.0);
                *at += thick / 2.0 + 2.0;
                Spot { y: spot.y + (*at).min(14.0) - 4.0, ..spot }
            };
            let number = beside.entry(from.column).or_default();
            let curve = Curve::between(end(from), end(to), *number);
            *number += usize::from(from.column == to.column);
            lines.path(&format!("flow f-{}", mark.class), &curve.path(), Some(thick), &sentence(flow));
            lines.path(&format!("head h-{}", mark.class), &curve.head(thick), None, "");
            let rate = flow.rate.map_or_else(|| "planned".to_owned(), words::rate);
            let failed = flow.failed.filter(|failed| *failed > 0.0);
            let said = [
                Some(format!("{} {rate}", mark.sign)),
                failed.map(|it| format!("✕ {} fail", words::rate(it))),
            ];
            let said: Vec<String> = said.into_iter().flatten().collect();
            let Some((x, mut y)) = self.labels.place(&said, curve.label(), curve.gutter(), height) else {
                continue;
            };
            for (text, class) in said.iter().zip([mark.class, "out"]) {
                words.text(&format!("m-flow s-{class}"), (x, y), Anchor::Middle, text);
                y = Labels::below(y);
            }
        }
        (lines.body, words.body)
    }

    /// Where a place is drawn; a zone that is not drawn is where its cluster is.
    fn spot(&self, place: &Place) -> Option<Spot> {
        let cluster = Place { cluster: place.cluster.clone(), zone: None };
        self.spots.get(place).or_else(|| self.spots.get(&cluster)).copied()
    }
}

/// A line between two rows; it leaves and arrives level.
struct Curve {
    from: (f64, f64),
    to: (f64, f64),
    /// How far the line swings out of its ends, to the right if positive.
    swing: (f64, f64),
}

impl Curve {
    fn between(from: Spot, to: Spot, number: usize) -> Self {
        let right = |spot: Spot| (spot.left + BOX, spot.y);
        if from.column == to.column {
            let far = 34.0 + (24 * (number % 3)) as f64;
            let (mut one, mut two) = (right(from), right(to));
            // One that comes back from where another one goes is not on top of it.
            (one.1, two.1) = (one.1 - 2.0, two.1 + 2.0);
            return Self { from: one, to: two, swing: (far * 1.33, far * 1.33) };
        }
        let (one, two, sign) = if from.column < to.column {
            (right(from), (to.left, to.y), 1.0)
        } else {
            ((from.left, from.y), right(to), -1.0)
        };
        let far = sign * (two.0 - one.0).abs() * 0.5;
        Self { from: one, to: two, swing: (far, -far) }
    }

    /// Where the head begins; the line must not show beyond its point.
    fn neck(&self) -> (f64, f64) {
        (self.to.0 + 8.0 * self.swing.1.signum(), self.to.1)
    }

    fn path(&self) -> String {
        let ((x1, y1), (x2, y2), (a, b)) = (self.from, self.neck(), self.swing);
        format!("M{x1:.1} {y1:.1}C{:.1} {y1:.1} {:.1} {y2:.1} {x2:.1} {y2:.1}", x1 + a, x2 + b)
    }

    fn head(&self, width: f64) -> String {
        let (x, y) = self.neck();
        let half = width / 2.0 + 3.5;
        format!("M{:.1} {:.1}L{x:.1} {:.1}L{x:.1} {:.1}Z", self.to.0, y, y - half, y + half)
    }

    /// Where it is after so much of its way, of 1.
    fn at(&self, t: f64) -> (f64, f64) {
        let ((x1, y1), (x2, y2), (a, b)) = (self.from, self.to, self.swing);
        let u = 1.0 - t;
        let near = |one: f64, two: f64, three: f64, four: f64| {
            u * u * u * one + 3.0 * u * u * t * two + 3.0 * u * t * t * three + t * t * t * four
        };
        (near(x1, x1 + a, x2 + b, x2), near(y1, y1, y2, y2))
    }

    /// Beside which column its words stand, from left to right: where it swings out, or where it arrives, where fewer lines cross.
    fn gutter(&self) -> (f64, f64) {
        // One that arrives from the right swings out to the right before.
        let left = if self.swing.1 > 0.0 { self.to.0 } else { self.to.0 - GUTTER };
        (left, left + GUTTER)
    }

    /// Where its words stand: where it is farthest out, or in the middle of the gutter that it arrives by.
    fn label(&self) -> (f64, f64) {
        if self.swing.0.signum() == self.swing.1.signum() {
            let (x, y) = self.at(0.5);
            return (x, y + 4.0);
        }
        let (left, right) = self.gutter();
        let middle = f64::midpoint(left, right);
        // Between columns a line goes one way only, so halving finds where it passes.
        let (mut before, mut after) = (0.0, 1.0);
        for _ in 0..16 {
            let t = f64::midpoint(before, after);
            let is_past = (self.at(t).0 - middle) * self.swing.0.signum() > 0.0;
            (before, after) = if is_past { (before, t) } else { (t, after) };
        }
        (middle, self.at(before).1 + 4.0)
    }
}

/// How full a place is: its load on what is declared, with a stroke at the budget.
pub(crate) fn bar(
    svg: &mut Svg,
    (x, y): (f64, f64),
    (width, height): (f64, f64),
    of: &crate::model::Capacity,
) {
    let most = of.declared.max(of.load.unwrap_or(0.0)).max(f64::MIN_POSITIVE);
    let wide = |value: f64| width * (value / most).clamp(0.0, 1.0);
    svg.area("u-track", (x, y), (wide(of.declared), height), 1.5);
    let load = of.load.unwrap_or(0.0);
    let class = if load > of.declared {
        "u-over"
    } else if load > of.budget {
        "u-full"
    } else {
        "u-load"
    };
    svg.area(class, (x, y), (wide(load), height), 1.5);
    svg.area("u-budget", (x + wide(of.budget) - 1.0, y - 2.0), (2.0, height + 4.0), 0.0);
}

#[cfg(test)]
mod tests;
