//! The picture of a simulation: who served how much, what failed, how full the pools were, and the phase of each.

use crate::{
    report::{Report, Sample},
    svg::{Anchor, FAILED, SHED, Svg, pool_colour},
};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::Phase;

const WIDTH: f64 = 980.0;
const LEFT: f64 = 176.0;
const RIGHT: f64 = 956.0;
/// Steps of the time axis in seconds: those that people count in.
const STEPS: [u64; 13] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200];

/// From, until, phase; without a phase no agent ran.
type Strip = Vec<(u64, u64, Option<Phase>)>;

/// Draws a report.
#[must_use]
pub fn picture(report: &Report) -> String {
    let mut drawing = Drawing { report, svg: Svg::new(), y: 34.0, panels: Vec::new() };
    drawing.head();
    drawing.served();
    drawing.errors();
    drawing.utilisation();
    drawing.phases();
    drawing.time_axis();
    let height = drawing.y + 12.0;
    let description = format!("{}. {}", summary(report), broken(report));
    drawing.svg.finish(WIDTH, height, &report.title, &description)
}

struct Drawing<'a> {
    report: &'a Report,
    svg: Svg,
    /// How far down the drawing has come.
    y: f64,
    /// Top and bottom of what the faults' shades cover.
    panels: Vec<(f64, f64)>,
}

/// `cluster/zone` of `service@cluster/zone`.
fn zone_of(pool: &str) -> &str {
    pool.split_once('@').map_or(pool, |(_, zone)| zone)
}

fn seconds(ms: u64) -> String {
    let (whole, tenths) = (ms / 1000, ms % 1000 / 100);
    if tenths == 0 { format!("{whole} s") } else { format!("{whole}.{tenths} s") }
}

fn percent(part: f64) -> String {
    let value = part * 100.0;
    if value == 0.0 {
        "0 %".to_owned()
    } else if value < 0.01 {
        "below 0.01 %".to_owned()
    } else if value < 10.0 {
        format!("{value:.2} %")
    } else {
        format!("{value:.0} %")
    }
}

fn summary(report: &Report) -> String {
    let measures = &report.measures;
    let rto = match report.faults.first().and_then(|fault| fault.measures.rto_ms) {
        _ if measures.worst_second <= 0.001 => "at least 99.9 % succeeded in every second".to_owned(),
        Some(ms) => format!("the first fault was recovered from after {}", seconds(ms)),
        None if report.faults.is_empty() => "nothing broke".to_owned(),
        None => "not recovered while the fault lasted".to_owned(),
    };
    let most = |count: fn(&crate::report::Moves) -> u32| report.moves.iter().map(count).max().unwrap_or(0);
    let mut text = format!(
        "{rto}; {} of all requests failed, {} in the worst second; moves: {} away, {} back",
        percent(measures.error_fraction),
        percent(measures.worst_second),
        most(|it| it.away),
        most(|it| it.back)
    );
    if measures.shed > 0.0 {
        text.push_str(&format!("; {} shed", percent(measures.shed_fraction)));
    }
    text
}

fn broken(report: &Report) -> String {
    let told = report
        .faults
        .iter()
        .take(3)
        .map(|fault| format!("{} to {}: {}", seconds(fault.at_ms), seconds(fault.until_ms), fault.what));
    let mut text = told.collect::<Vec<_>>().join("; ");
    if report.faults.len() > 3 {
        text.push_str(&format!("; and {} more faults", report.faults.len() - 3));
    }
    text
}

/// A round number at or above `value`, so that the axis reads well.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let mut unit = 1e-4;
    loop {
        for factor in [1.0, 2.0, 2.5, 4.0, 5.0] {
            // Sums of rounded means may be a hair above the number that they stand for.
            if unit * factor >= value * 0.9999 {
                return unit * factor;
            }
        }
        unit *= 10.0;
    }
}

/// The zones of all pools; those that served first, so that they get the colours that are told apart best.
fn zones(report: &Report) -> Vec<&str> {
    let pools = || report.samples.iter().flat_map(|it| &it.pools);
    let serving: BTreeSet<&str> =
        pools().filter(|(_, it)| it.rps > 0.0).map(|(pool, _)| zone_of(pool)).collect();
    let all: BTreeSet<&str> = pools().map(|(pool, _)| zone_of(pool)).collect();
    serving.iter().copied().chain(all.difference(&serving).copied()).collect()
}

impl Drawing<'_> {
    fn x(&self, at_ms: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a day in milliseconds is far below 2^52")]
        let part = at_ms as f64 / self.report.duration_ms.max(1) as f64;
        LEFT + (RIGHT - LEFT) * part.min(1.0)
    }

    fn head(&mut self) {
        self.svg.text("h", 20.0, self.y, Anchor::Start, &self.report.title);
        self.y += 22.0;
        self.svg.text("s", 20.0, self.y, Anchor::Start, &summary(self.report));
        self.y += 20.0;
        self.svg.text("s", 20.0, self.y, Anchor::Start, &format!("shaded: {}", broken(self.report)));
        self.y += 20.0;
    }

    /// The frame of a panel: title, grid with labels, the faults behind it. Gives its top.
    fn panel(&mut self, title: &str, height: f64, top_value: f64, label: impl Fn(f64) -> String) -> f64 {
        self.y += 26.0;
        self.svg.text("p", LEFT, self.y, Anchor::Start, title);
        self.y += 9.0;
        let top = self.y;
        for step in 0..=2_u32 {
            let part = f64::from(step) / 2.0;
            let y = top + height * (1.0 - part);
            self.svg.line("grid", (LEFT, y), (RIGHT, y));
            self.svg.text("t", LEFT - 8.0, y + 4.5, Anchor::End, &label(top_value * part));
        }
        self.y += height;
        self.panels.push((top, self.y));
        top
    }

    /// The faults' windows over the panel that was drawn last.
    fn shade(&mut self) {
        let Some(&(top, bottom)) = self.panels.last() else { return };
        // Where faults overlap one shade is enough, and a thousand would be black.
        let mut covered = 0;
        let mut faults: Vec<(u64, u64)> =
            self.report.faults.iter().map(|fault| (fault.at_ms, fault.until_ms)).collect();
        faults.sort_unstable();
        for (from, until) in faults {
            let start = from.max(covered);
            if start < until {
                let (left, right) = (self.x(start), self.x(until));
                self.svg.area("fault", left, top, right - left, bottom - top);
            }
            for at in [from, until] {
                if at >= covered && at < self.report.duration_ms {
                    self.svg.line("edge", (self.x(at), top), (self.x(at), bottom));
                }
            }
            covered = covered.max(until);
        }
    }

    fn served(&mut self) {
        let samples = &self.report.samples;
        let zones = zones(self.report);
        let mut x = 20.0;
        self.y += 4.0;
        let served = |zone: &str| {
            let pools = || samples.iter().flat_map(|it| &it.pools);
            pools().any(|(pool, it)| zone_of(pool) == zone && it.rps > 0.0)
        };
        let swatches =
            zones.iter().enumerate().map(|(index, zone)| (*zone, pool_colour(index), served(zone)));
        let bad = [
            ("shed", SHED, samples.iter().any(|it| it.shed_rps > 0.0)),
            ("failed", FAILED, samples.iter().any(|it| it.failed_rps > 0.0)),
        ];
        for (name, colour, _) in swatches.chain(bad).filter(|(_, _, seen)| *seen) {
            let width = 24.0 + 7.9 * f64::from(u32::try_from(name.len()).unwrap_or(0)) + 16.0;
            if x + width > RIGHT {
                x = 20.0;
                self.y += 20.0;
            }
            self.svg.rect(colour, x, self.y - 11.0, 14.0, 14.0);
            self.svg.text("t", x + 20.0, self.y + 1.0, Anchor::Start, name);
            x += width;
        }
        self.y += 6.0;
        let total =
            |it: &Sample| it.pools.values().map(|pool| pool.rps).sum::<f64>() + it.failed_rps + it.shed_rps;
        let most = nice(samples.iter().map(total).fold(0.0, f64::max));
        let height = 190.0;
        let top = self.panel("Requests per second, by the pool that served them", height, most, |it| {
            if most < 10.0 { format!("{it:.1}") } else { format!("{it:.0}") }
        });
        let mut base = vec![0.0; samples.len()];
        let series = zones.iter().enumerate().map(|(index, zone)| {
            let rate = |it: &Sample| -> f64 {
                let pools = it.pools.iter().filter(|(pool, _)| zone_of(pool) == *zone);
                pools.map(|(_, pool)| pool.rps).sum()
            };
            (pool_colour(index), samples.iter().map(rate).collect::<Vec<f64>>())
        });
        let mut series: Vec<(&str, Vec<f64>)> = series.collect();
        series.push((SHED, samples.iter().map(|it| it.shed_rps).collect()));
        series.push((FAILED, samples.iter().map(|it| it.failed_rps).collect()));
        for (colour, values) in series {
            if values.iter().all(|value| *value <= 0.0) {
                continue;
            }
            let y = |value: f64| top + height * (1.0 - value / most);
            let raised: Vec<f64> = base.iter().zip(&values).map(|(base, value)| base + value).collect();
            let mut points = self.stairs(&raised, y);
            let mut lower = self.stairs(&base, y);
            lower.reverse();
            points.append(&mut lower);
            self.svg.polygon(colour, &points);
            base = raised;
        }
        self.shade();
    }

    /// A value for each sample, as steps: a sample is a mean over its time.
    fn stairs(&self, values: &[f64], y: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (sample, value) in self.report.samples.iter().zip(values) {
            let (from, until) = (self.x(sample.at_ms), self.x(sample.at_ms + self.report.sample_ms));
            let y = y(*value);
            // A level stretch needs its two ends only.
            let level = points.len() >= 2
                && points[points.len() - 2..].iter().all(|point| (point.1 - y).abs() < 0.04);
            if level {
                points.pop();
            } else {
                points.push((from, y));
            }
            points.push((until, y));
        }
        points
    }

    fn errors(&mut self) {
        let part = |it: &Sample| if it.offered_rps > 0.0 { it.failed_rps / it.offered_rps } else { 0.0 };
        let parts: Vec<f64> = self.report.samples.iter().map(part).collect();
        let most = nice(parts.iter().copied().fold(0.001, f64::max)).min(1.0);
        let height = 64.0;
        let top = self.panel("Failed part of the requests", height, most, percent);
        let points = self.stairs(&parts, |value| top + height * (1.0 - (value / most).min(1.0)));
        self.shade();
        self.svg.polyline(FAILED, &points);
    }

    fn utilisation(&mut self) {
        let samples = &self.report.samples;
        let zones: Vec<(&str, Vec<f64>)> = zones(self.report)
            .into_iter()
            .map(|zone| {
                let place = format!("zone {zone}");
                let used = |it: &Sample| it.locations.get(&place).and_then(|it| it.utilisation);
                (zone, samples.iter().map(|it| used(it).unwrap_or(0.0)).collect())
            })
            .collect();
        let highest = zones.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
        if highest <= 0.0 {
            return;
        }
        let most = nice(highest.max(1.0));
        let height = 90.0;
        let title = "Asked of the pools of each zone, as a part of what they can answer";
        let top = self.panel(title, height, most, percent);
        let y = |value: f64| top + height * (1.0 - value / most);
        self.shade();
        self.svg.line("edge", (LEFT, y(1.0)), (RIGHT, y(1.0)));
        for (index, (_, values)) in zones.iter().enumerate() {
            if values.iter().any(|value| *value > 0.0) {
                let points = self.stairs(values, y);
                self.svg.polyline(pool_colour(index), &points);
            }
        }
    }

    fn phases(&mut self) {
        self.y += 26.0;
        self.svg.text("p", LEFT, self.y, Anchor::Start, "Phase of each pool");
        self.y += 8.0;
        let top = self.y;
        for (label, strip) in self.strips() {
            self.svg.text("t", LEFT - 8.0, self.y + 14.5, Anchor::End, &label);
            for (from, until, phase) in strip {
                let (left, right) = (self.x(from), self.x(until));
                let width = right - left;
                let (name, colour, class) = look(phase);
                match colour {
                    Some(colour) => self.svg.rect(colour, left, self.y, width, 19.0),
                    None => self.svg.area("none", left, self.y, width, 19.0),
                }
                // About 7.2 px a letter at this size.
                let needed = 7.2 * f64::from(u32::try_from(name.len()).unwrap_or(0)) + 8.0;
                if width >= needed && colour.is_some() {
                    let middle = f64::midpoint(left, right);
                    self.svg.text(class, middle, self.y + 13.8, Anchor::Middle, name);
                }
            }
            self.y += 23.0;
        }
        self.panels.push((top, self.y));
        for fault in self.report.faults.iter().take(50) {
            for at in [fault.at_ms, fault.until_ms] {
                if at < self.report.duration_ms {
                    self.svg.line("edge", (self.x(at), top), (self.x(at), self.y - 3.0));
                }
            }
        }
        let mut x = LEFT;
        self.y += 17.0 + 20.0;
        let all = [
            Some(Phase::Serving),
            Some(Phase::Reduced),
            Some(Phase::Out),
            Some(Phase::Holding),
            Some(Phase::Ramping),
            Some(Phase::Shifted),
            None,
        ];
        for phase in all {
            let (name, colour, _) = look(phase);
            match colour {
                Some(colour) => self.svg.rect(colour, x, self.y - 11.0, 14.0, 14.0),
                None => self.svg.area("none", x, self.y - 11.0, 14.0, 14.0),
            }
            self.svg.text("t", x + 20.0, self.y + 1.0, Anchor::Start, name);
            x += 38.0 + 8.2 * f64::from(u32::try_from(name.len()).unwrap_or(0));
        }
    }

    /// The phases by pool as stretches of time. Services of one zone that always stood alike are one strip.
    fn strips(&self) -> Vec<(String, Strip)> {
        let mut strips: BTreeMap<String, Strip> = BTreeMap::new();
        for sample in &self.report.samples {
            let end = sample.at_ms + self.report.sample_ms;
            for (pool, it) in &sample.pools {
                let strip = strips.entry(pool.clone()).or_default();
                match strip.last_mut() {
                    Some((_, until, phase)) if *phase == it.phase => *until = end,
                    _ => strip.push((sample.at_ms, end, it.phase)),
                }
            }
        }
        let mut by_zone: BTreeMap<String, Vec<(String, Vec<_>)>> = BTreeMap::new();
        for (pool, strip) in strips {
            let alike = by_zone.entry(zone_of(&pool).to_owned()).or_default();
            if !alike.iter().any(|(_, other)| *other == strip) {
                alike.push((pool, strip));
            }
        }
        let label = |zone: &str, pool: &str, alone: bool| {
            let service = pool.split('@').next().unwrap_or_default();
            let name = service.split('/').next_back().unwrap_or_default();
            if alone {
                zone.to_owned()
            } else {
                format!("{name} {}", zone.split('/').next_back().unwrap_or(zone))
            }
        };
        let rows = by_zone.into_iter().flat_map(|(zone, alike)| {
            let alone = alike.len() == 1;
            alike
                .into_iter()
                .map(move |(pool, strip)| (label(&zone, &pool, alone), strip))
                .collect::<Vec<_>>()
        });
        rows.collect()
    }

    fn time_axis(&mut self) {
        let Some(&(_, bottom)) = self.panels.last() else { return };
        let y = bottom - 1.0;
        self.svg.line("axis", (LEFT, y), (RIGHT, y));
        self.svg.text("t", LEFT - 24.0, y + 19.0, Anchor::End, "minutes:seconds");
        let length = self.report.duration_ms / 1000;
        let step = STEPS.into_iter().find(|step| length / step <= 10).unwrap_or(14_400);
        for at in (0..=length).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let x = self.x(at * 1000);
            self.svg.line("axis", (x, y), (x, y + 5.0));
            let label = format!("{}:{:02}", at / 60, at % 60);
            self.svg.text("t", x, y + 19.0, Anchor::Middle, &label);
        }
    }
}

/// A phase's name, its colour (hatched without one), and the class of text that can be read on it.
const fn look(phase: Option<Phase>) -> (&'static str, Option<&'static str>, &'static str) {
    match phase {
        Some(Phase::Serving) => ("Serving", Some("#009E73"), "in"),
        Some(Phase::Reduced) => ("Reduced", Some("#F0E442"), "in"),
        Some(Phase::Out) => ("Out", Some("#D55E00"), "in"),
        Some(Phase::Holding) => ("Holding", Some("#CC79A7"), "in"),
        Some(Phase::Ramping) => ("Ramping", Some("#56B4E9"), "in"),
        Some(Phase::Shifted) => ("Shifted", Some("#999999"), "in"),
        Some(Phase::Empty) => ("Empty", Some("#dddddd"), "in"),
        None => ("no agent", None, "in"),
    }
}
