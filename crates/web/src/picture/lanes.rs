//! What happened when: a lane for each pool or cluster, with its phase as far as it is told, and a stroke for each event. Pure.

use super::{Anchor, Svg, fitted};
use crate::{
    model::{Event, Place},
    words::{self, Html},
};
use std::collections::BTreeMap;
use tidegate_model::Phase;

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 1090.0;
const LANE: f64 = 26.0;
const TOP: f64 = 10.0;
/// Lanes that are drawn; those with the newest events.
const MOST: usize = 24;

/// A stretch of time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
}

impl Span {
    fn x(self, at_ms: u64) -> f64 {
        let whole = self.to_ms.saturating_sub(self.from_ms).max(1) as f64;
        LEFT + (RIGHT - LEFT) * (at_ms.saturating_sub(self.from_ms) as f64 / whole).min(1.0)
    }

    pub(crate) const fn has(self, at_ms: u64) -> bool {
        self.from_ms <= at_ms && at_ms <= self.to_ms
    }
}

/// What a lane is of.
fn lane(event: &Event) -> String {
    match (&event.pool, &event.service) {
        (Some((Place { cluster, zone: Some(zone) }, _)), _) => format!("{cluster}/{zone}"),
        (Some((Place { cluster, zone: None }, _)), _) => cluster.to_string(),
        (None, Some(_)) => format!("{}: plans", event.cluster),
        (None, None) => event.cluster.to_string(),
    }
}

/// The picture of what happened in this stretch; what came before it says in which phase a lane begins.
pub(crate) fn lanes(events: &[Event], span: Span, id: &str, title: &str) -> Html {
    let mut lanes: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.at_ms <= span.to_ms) {
        lanes.entry(lane(event)).or_default().push(event);
    }
    let mut lanes: Vec<(String, Vec<&Event>)> = lanes.into_iter().collect();
    for (_, events) in &mut lanes {
        events.sort_by_key(|event| (event.at_ms, event.seq));
    }
    lanes.retain(|(_, events)| {
        events.iter().any(|it| span.has(it.at_ms))
            || events.last().is_some_and(|it| is_notable(it.pool.as_ref()))
    });
    if lanes.is_empty() {
        return Html("<p class=\"quiet\">Nothing happened in this time.</p>".to_owned());
    }
    let left_out = lanes.len().saturating_sub(MOST);
    if left_out > 0 {
        lanes.sort_by_key(|(_, events)| std::cmp::Reverse(events.last().map(|it| it.at_ms)));
        lanes.truncate(MOST);
        lanes.sort_by(|one, two| one.0.cmp(&two.0));
    }
    let mut svg = Svg::default();
    let bottom = TOP + lanes.len() as f64 * LANE;
    axis(&mut svg, span, bottom);
    let mut number = 0;
    for (at, (name, events)) in lanes.iter().enumerate() {
        number += draw(&mut svg, span, TOP + at as f64 * LANE, name, events);
    }
    let mut description =
        format!("{} in {}.", words::count(number, "event"), words::count(lanes.len(), "lane"));
    if left_out > 0 {
        description.push_str(&format!(" {left_out} more lanes are left out."));
    }
    svg.finish(
        id,
        "lanes",
        (WIDTH, bottom + 26.0),
        title,
        &format!("{description} The list below has them in words."),
    )
}

fn is_notable(pool: Option<&(Place, Phase)>) -> bool {
    pool.is_some_and(|(_, phase)| !matches!(phase, Phase::Serving | Phase::Empty))
}

fn axis(svg: &mut Svg, span: Span, bottom: f64) {
    for step in 0..=4 {
        let at_ms = span.from_ms + (span.to_ms - span.from_ms) * step / 4;
        let x = span.x(at_ms);
        svg.area("grid", (x, TOP - 4.0), (1.0, bottom - TOP + 8.0), 0.0);
        let whole = words::instant(at_ms);
        let long = span.to_ms - span.from_ms > 86_400_000;
        let text =
            if long { format!("{} {}", &whole[5..10], &whole[11..16]) } else { whole[11..19].to_owned() };
        let anchor = if step == 4 {
            Anchor::End
        } else if step == 0 {
            Anchor::Start
        } else {
            Anchor::Middle
        };
        svg.text("m-small", (x, bottom + 18.0), anchor, &text);
    }
}

/// Draws a lane and gives how many events it shows.
fn draw(svg: &mut Svg, span: Span, y: f64, name: &str, events: &[&Event]) -> usize {
    svg.text("m-name", (LEFT - 10.0, y + 16.0), Anchor::End, &fitted(name, 29));
    svg.area("track", (LEFT, y + 4.0), (RIGHT - LEFT, LANE - 8.0), 2.0);
    let told: Vec<(u64, Phase)> =
        events.iter().filter_map(|it| Some((it.at_ms, it.pool.as_ref()?.1))).collect();
    for (at, (from, phase)) in told.iter().enumerate() {
        let to = told.get(at + 1).map_or(span.to_ms, |(at, _)| *at);
        if to < span.from_ms {
            continue;
        }
        let (x1, x2) = (span.x(*from), span.x(to));
        let mark = words::phase(*phase);
        svg.area(&format!("phase p-{}", mark.class), (x1, y + 4.0), ((x2 - x1).max(2.0), LANE - 8.0), 2.0);
        let word = if x2 - x1 > 76.0 { format!("{} {}", mark.sign, mark.word) } else { mark.sign.to_owned() };
        if x2 - x1 > 14.0 {
            svg.text("in", (x1 + 5.0, y + 17.0), Anchor::Start, &word);
        }
    }
    let shown = events.iter().filter(|it| span.has(it.at_ms));
    let mut number = 0;
    for event in shown.clone() {
        let x = span.x(event.at_ms);
        number += 1;
        // A stroke to be seen, wide enough to be pointed at.
        let path = format!("M{x:.1} {:.1}V{:.1}", y + 2.0, y + LANE - 2.0);
        if number <= 60 {
            svg.path(
                "tick",
                &path,
                Some(2.0),
                &format!("{} {}", &words::instant(event.at_ms)[11..19], event.text),
            );
        }
    }
    number
}
