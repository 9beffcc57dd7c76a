//! What agents saw, as pictures: the waterfall of the recovery, who served over time, how busy they were.

use super::{
    Report,
    chart::{Drawing, HEIGHT, STEPS_MS, linear, milliseconds, short},
    duration,
    svg::{Anchor, LEFT, RIGHT, Svg},
};
use crate::timeline::{AgentPart, AgentsPart};

/// A row of the waterfall.
const ROW: f64 = 26.0;
/// Where its bars begin: names stand before them.
const BARS: f64 = 250.0;
/// Agents that have a row of their own.
const MAX_ROWS: usize = 16;
/// The longest name of a row, in characters.
const MAX_NAME: usize = 32;
/// Colours of pools, in their order; what is broken has one of its own.
const POOLS: [&str; 7] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6"];

/// What a row of the waterfall shows: stretches in milliseconds from the fault, each with its class.
struct Row {
    name: String,
    stretches: Vec<(&'static str, f64, f64)>,
    said: String,
}

/// From the fault to the last request to what was broken, stage by stage, of all and of each agent. `None` where no agent noticed anything.
#[must_use]
pub fn waterfall_chart(report: &Report) -> Option<String> {
    let agents = report.agents.as_ref()?;
    let mut rows = stages(agents)?;
    let each = agents.agents.iter().filter(|it| it.detect_ms.is_some() || it.decide_ms.is_some());
    rows.extend(each.take(MAX_ROWS).map(row_of));
    let marks = marks(report);
    let longest = rows.iter().flat_map(|row| &row.stretches).map(|(_, _, until)| *until);
    let longest = longest.chain(marks.iter().map(|(at, _)| *at)).fold(1.0, f64::max);
    let mut svg = Svg::new();
    svg.text("t", 16.0, 20.0, Anchor::Start, "The recovery, from the fault on");
    legend(
        &mut svg,
        &[("w-detect", "detect"), ("w-decide", "decide"), ("w-push", "push"), ("w-drain", "drain")],
    );
    // Room on the right for what is said of the longest bar.
    let x = |ms: f64| BARS + (RIGHT - BARS - 190.0) * (ms / longest).clamp(0.0, 1.0);
    let (top, bottom) = (64.0, 64.0 + ROW * float(rows.len()));
    let step = STEPS_MS.into_iter().find(|step| longest / step <= 8.0).unwrap_or(7_200_000.0);
    for tick in 0..=8 {
        let at = step * f64::from(tick);
        if at <= longest {
            svg.line("grid", (x(at), top), (x(at), bottom));
            svg.text("s", x(at), bottom + 16.0, Anchor::Middle, &milliseconds(at));
        }
    }
    let mut last = f64::MIN;
    for (at, label) in &marks {
        svg.line("edge", (x(*at), top - 6.0), (x(*at), bottom));
        let above = x(*at) < last + 120.0;
        svg.text("s", x(*at) + 3.0, if above { top - 20.0 } else { top - 8.0 }, Anchor::Start, label);
        last = x(*at);
    }
    for (index, row) in rows.iter().enumerate() {
        let y = top + ROW * float(index);
        svg.text("s", BARS - 8.0, y + 17.0, Anchor::End, &shortened(&row.name, MAX_NAME));
        let mut end = BARS;
        for (class, from, until) in &row.stretches {
            // What took no time is seen all the same.
            svg.area(class, x(*from), y + 5.0, (x(*until) - x(*from)).max(1.5), ROW - 10.0);
            end = f64::max(end, x(*until));
        }
        svg.text("h", end + 6.0, y + 17.0, Anchor::Start, &row.said);
    }
    svg.line("axis", (BARS, top), (BARS, bottom));
    let told: Vec<String> = rows.iter().map(|row| format!("{} {}", row.name, row.said)).collect();
    Some(svg.finish(bottom + 30.0, "waterfall", "The recovery, stage by stage", &told.join("; ")))
}

/// What clients saw of it, to stand beside what agents did.
fn marks(report: &Report) -> Vec<(f64, &'static str)> {
    let costs = report.costs.as_ref();
    let of = [
        (costs.and_then(|it| it.rto_ms).filter(|rto| *rto > 0.0), "recovered"),
        (costs.and_then(|it| it.first_bad_ms), "first bad"),
    ];
    let mut marks: Vec<_> = of.into_iter().filter_map(|(at, label)| Some((at?, label))).collect();
    marks.sort_by(|a, b| a.0.total_cmp(&b.0));
    // What lies long after all that agents did would leave no room for it.
    let done = report.agents.as_ref().map_or(0.0, |agents| {
        let parts =
            [agents.detect_ms, agents.decide_ms, agents.push_first_ms, agents.push_last_ms, agents.drain_ms];
        parts.into_iter().flatten().sum()
    });
    marks.retain(|(at, _)| *at <= (done * 4.0).max(1000.0));
    marks
}

fn stages(agents: &AgentsPart) -> Option<Vec<Row>> {
    let detected = agents.detect_ms?;
    let mut at = 0.0;
    let mut rows = Vec::new();
    let slack = agents.uncertainty_ms.map(|it| format!(" ± {}", milliseconds(it))).unwrap_or_default();
    let drain_slack =
        agents.drain_uncertainty_ms.map(|it| format!(", or {} less", milliseconds(it))).unwrap_or_default();
    for (name, class, took, said) in [
        ("detect", "w-detect", Some(detected), &slack),
        ("decide", "w-decide", agents.decide_ms, &String::new()),
        ("push, first gateway", "w-push", agents.push_first_ms, &String::new()),
        ("push, last gateway", "w-push", agents.push_last_ms, &String::new()),
        ("drain", "w-drain", agents.drain_ms, &drain_slack),
    ] {
        let (stretches, said) = match took {
            Some(took) => (vec![(class, at, at + took)], format!("{}{said}", duration(took))),
            None => (Vec::new(), "not seen".to_owned()),
        };
        at += took.unwrap_or(0.0);
        rows.push(Row { name: name.to_owned(), stretches, said });
    }
    Some(rows)
}

/// One agent in one row.
fn row_of(agent: &AgentPart) -> Row {
    let mut at = 0.0;
    let mut stretches = Vec::new();
    for (class, until) in [
        ("w-detect", agent.detect_ms),
        ("w-decide", agent.decide_ms),
        ("w-push", agent.push_last_ms),
        ("w-drain", agent.drain_ms),
    ] {
        let Some(until) = until else { continue };
        if until >= at {
            stretches.push((class, at, until));
            at = until;
        }
    }
    Row { name: agent.name(), stretches, said: duration(at) }
}

/// Who served: the share of each pool, stacked. `None` where no agent told.
#[must_use]
pub fn shares_chart(report: &Report) -> Option<String> {
    let traffic = report.agents.as_ref()?.traffic.as_ref()?;
    let mut drawing = Drawing::new(report);
    drawing.frame("Who served: share of the requests by pool, as gateways reported");
    for step in 0..=4 {
        let part = f64::from(step) * 25.0;
        drawing.grid(linear(part, 100.0), &format!("{part:.0} %"));
    }
    let bins = traffic.pools.iter().map(|it| it.rps.len()).max().unwrap_or(0);
    let sums: Vec<f64> = (0..bins)
        .map(|bin| traffic.pools.iter().filter_map(|it| it.rps.get(bin).copied().flatten()).sum())
        .collect();
    let mut below = vec![0.0; bins];
    let mut labels = Vec::new();
    let classes = classes(traffic.pools.iter().map(|it| it.broken));
    for (pool, class) in traffic.pools.iter().zip(&classes) {
        let mut widest = (0.0, 0.0, 0.0);
        for bin in (0..bins).filter(|bin| sums[*bin] > 0.0) {
            let share = pool.rps.get(bin).copied().flatten().unwrap_or(0.0) / sums[bin] * 100.0;
            let (from, to) = (drawing.x(at(bin, traffic.bin_ms)), drawing.x(at(bin + 1, traffic.bin_ms)));
            let (y, bottom) = (linear(below[bin] + share, 100.0), linear(below[bin], 100.0));
            if share > 0.0 {
                drawing.svg.area(class, from, y, to - from + 0.4, bottom - y);
            }
            if share > widest.0 && from + width(&pool.pool) + 12.0 < RIGHT {
                widest = (share, from, f64::midpoint(y, bottom));
            }
            below[bin] += share;
        }
        labels.push((widest, pool.pool.clone()));
    }
    drawing.moments();
    for ((share, x, y), name) in labels {
        // A name stands in its area where there is room for it.
        if share >= 12.0 {
            drawing.svg.text("in", x + 6.0, y + 4.0, Anchor::Start, &name);
        }
    }
    let entries: Vec<(&str, String)> = traffic
        .pools
        .iter()
        .zip(&classes)
        .map(|(pool, class)| {
            (*class, if pool.broken { format!("{} (broken)", pool.pool) } else { pool.pool.clone() })
        })
        .collect();
    let height = legend_below(&mut drawing.svg, &entries);
    let description = format!("{} pools. {}", traffic.pools.len(), drawing.told());
    Some(drawing.svg.finish(height, "shares", "Share of the requests by pool", &description))
}

/// How busy pools were. `None` where no capacity is declared.
#[must_use]
pub fn utilisation_chart(report: &Report) -> Option<String> {
    let traffic = report.agents.as_ref()?.traffic.as_ref()?;
    let most = traffic.utilisation.iter().flat_map(|it| &it.used).flatten().copied().fold(0.0, f64::max);
    if traffic.utilisation.is_empty() {
        return None;
    }
    let top = (most * 4.0).ceil().max(4.0) * 25.0;
    let mut drawing = Drawing::new(report);
    drawing.frame("How busy: part of what healthy endpoints can take by declaration");
    for step in 0..=4 {
        let part = top * f64::from(step) / 4.0;
        drawing.grid(linear(part, top), &format!("{} %", short(part)));
    }
    drawing.svg.line("edge", (LEFT, linear(100.0, top)), (RIGHT, linear(100.0, top)));
    drawing.moments();
    let classes = classes(traffic.utilisation.iter().map(|it| it.broken));
    let classes: Vec<String> = classes.iter().map(|class| format!("{class} l")).collect();
    for (pool, class) in traffic.utilisation.iter().zip(&classes) {
        let mut points = Vec::new();
        for (bin, used) in pool.used.iter().enumerate() {
            let Some(used) = used else {
                drawing.stroke(class, &mut points);
                continue;
            };
            let middle = f64::midpoint(at(bin, traffic.bin_ms), at(bin + 1, traffic.bin_ms));
            points.push((drawing.x(middle), linear(used * 100.0, top)));
        }
        drawing.stroke(class, &mut points);
    }
    let entries: Vec<(&str, String)> = traffic
        .utilisation
        .iter()
        .zip(&classes)
        .map(|(pool, class)| {
            let most = pool.most.map(|it| format!(": {:.0} %", it * 100.0)).unwrap_or_default();
            (class.as_str(), format!("{}{}{most}", pool.pool, if pool.broken { " (broken)" } else { "" }))
        })
        .collect();
    let height = legend_below(&mut drawing.svg, &entries);
    let description = drawing.told();
    Some(drawing.svg.finish(height, "utilisation", "Utilisation of pools over time", &description))
}

/// The class of each pool: those that are broken look like what is failed.
fn classes(broken: impl Iterator<Item = bool>) -> Vec<&'static str> {
    let mut next = POOLS.into_iter().cycle();
    broken.map(|broken| if broken { "cb" } else { next.next().unwrap_or(POOLS[0]) }).collect()
}

/// When a bin begins, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a year in milliseconds is far below 2^52")]
fn at(bin: usize, width_ms: u64) -> f64 {
    (bin as u64).saturating_mul(width_ms) as f64
}

#[expect(clippy::cast_precision_loss, reason = "there are few rows")]
fn float(count: usize) -> f64 {
    count as f64
}

/// How wide a text is, about.
fn width(text: &str) -> f64 {
    float(text.chars().count()) * 6.8
}

fn legend(svg: &mut Svg, entries: &[(&str, &str)]) {
    let mut x = RIGHT;
    for (class, label) in entries.iter().rev() {
        x -= width(label) + 34.0;
        svg.area(class, x + 4.0, 10.0, 14.0, 12.0);
        svg.text("s", x + 26.0, 20.0, Anchor::Start, label);
    }
}

/// Long names stand below the picture, in as many lines as they need; the height of it all.
fn legend_below(svg: &mut Svg, entries: &[(&str, String)]) -> f64 {
    let (mut x, mut y) = (LEFT, HEIGHT + 8.0);
    for (class, label) in entries {
        let label = shortened(label, 60);
        let wide = width(&label) + 40.0;
        if x + wide > RIGHT && x > LEFT {
            (x, y) = (LEFT, y + 20.0);
        }
        if class.ends_with(" l") {
            svg.line(class, (x, y - 4.0), (x + 20.0, y - 4.0));
        } else {
            svg.area(class, x + 3.0, y - 10.0, 14.0, 12.0);
        }
        svg.text("s", x + 25.0, y, Anchor::Start, &label);
        x += wide;
    }
    y + 14.0
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
