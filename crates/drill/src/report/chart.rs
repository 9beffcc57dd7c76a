//! The two charts of a report: requests by outcome, and latency, over the same time.

use super::{
    Report,
    series::Bin,
    svg::{Anchor, LEFT, RIGHT, Svg},
};

const TOP: f64 = 62.0;
const BOTTOM: f64 = 250.0;
pub(super) const HEIGHT: f64 = 290.0;
/// Steps of the time axis in seconds: those that people count in.
const STEPS: [f64; 13] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0];

/// The same for what takes milliseconds.
pub(super) const STEPS_MS: [f64; 18] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 30_000.0,
    60_000.0, 120_000.0, 300_000.0, 600_000.0,
];

/// Requests per second by outcome, stacked, with the fault marked.
#[must_use]
pub fn requests_chart(report: &Report) -> String {
    let mut drawing = Drawing::new(report);
    let per_second = |count: u64| drawing.per_second(count);
    let total = |bin: &Bin| bin.good + bin.slow + bin.failed + bin.unsent;
    let most = report.series.bins.iter().map(|bin| per_second(total(bin))).fold(0.0, f64::max);
    let top = nice(most);
    drawing.frame("Requests per second, by what became of them");
    drawing.legend(&[("good", "good"), ("slow", "above 1 s"), ("failed", "failed"), ("unsent", "not sent")]);
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        drawing.grid(linear(value, top), &short(value));
    }
    for (index, bin) in report.series.bins.iter().enumerate() {
        let (from, to) = (drawing.x_of(index), drawing.x_of(index + 1));
        let mut below = 0.0;
        for (class, count) in
            [("failed", bin.failed), ("unsent", bin.unsent), ("slow", bin.slow), ("good", bin.good)]
        {
            if count > 0 {
                let above = below + drawing.per_second(count);
                let (y, bottom) = (linear(above, top), linear(below, top));
                // A little over its neighbour: coordinates are rounded, and a gap would look like a loss.
                drawing.svg.area(class, from, y, to - from + 0.4, bottom - y);
                below = above;
            }
        }
    }
    drawing.moments();
    let description = format!("{}. {}", report.verdict(), drawing.told());
    drawing.svg.finish(HEIGHT, "requests", "Requests per second by outcome", &description)
}

/// Percentiles of latency on a logarithmic axis, with the fault marked.
#[must_use]
pub fn latency_chart(report: &Report) -> String {
    let mut drawing = Drawing::new(report);
    let longest = report.series.bins.iter().filter_map(|bin| bin.max_ms).fold(1.0, f64::max);
    let decades = longest.log10().ceil().max(1.0);
    // From 0.1 ms; what is below lies on the axis.
    let y =
        |ms: f64| BOTTOM - (BOTTOM - TOP) * ((ms.max(0.1).log10() + 1.0) / (decades + 1.0)).clamp(0.0, 1.0);
    drawing.frame("Latency from when a request was due, logarithmic");
    drawing.legend(&[("p50", "median"), ("p99", "99 %"), ("p999", "99.9 %"), ("max", "longest")]);
    let mut value = 0.1;
    while value <= 10f64.powf(decades) * 1.001 {
        drawing.grid(y(value), &milliseconds(value));
        value *= 10.0;
    }
    drawing.moments();
    let of: [Line; 4] = [
        ("max", |bin| bin.max_ms),
        ("p999", |bin| bin.p999_ms),
        ("p99", |bin| bin.p99_ms),
        ("p50", |bin| bin.p50_ms),
    ];
    for (class, value) in of {
        let mut points = Vec::new();
        for (index, bin) in report.series.bins.iter().enumerate() {
            match value(bin) {
                Some(ms) => points.push(((drawing.x_of(index) + drawing.x_of(index + 1)) / 2.0, y(ms))),
                // A gap in what was sent is a gap in the line.
                None => drawing.stroke(class, &mut points),
            }
        }
        drawing.stroke(class, &mut points);
    }
    let description = format!("The longest took {}. {}", milliseconds(longest), drawing.told());
    drawing.svg.finish(HEIGHT, "latency", "Latency over time", &description)
}

/// A line of the latency chart: its class, and its value in a bin.
type Line = (&'static str, fn(&Bin) -> Option<f64>);

pub(super) struct Drawing<'a> {
    report: &'a Report,
    pub(super) svg: Svg,
    lasts_ms: f64,
}

impl<'a> Drawing<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a year in milliseconds is far below 2^52")]
        let lasts_ms = (report.series.bin_ms * report.series.bins.len() as u64) as f64;
        Self { report, svg: Svg::new(), lasts_ms: lasts_ms.max(1.0) }
    }

    pub(super) fn x(&self, ms: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (ms / self.lasts_ms).clamp(0.0, 1.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a year in milliseconds is far below 2^52")]
    fn x_of(&self, bin: usize) -> f64 {
        self.x((bin as u64 * self.report.series.bin_ms) as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1000.0 / self.report.series.bin_ms.max(1) as f64
    }

    /// The title and the time axis.
    pub(super) fn frame(&mut self, title: &str) {
        self.svg.text("t", LEFT, 20.0, Anchor::Start, title);
        self.svg.line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        let seconds = self.lasts_ms / 1000.0;
        let step = STEPS.into_iter().find(|step| seconds / step <= 12.0).unwrap_or(14_400.0);
        let mut at = 0.0;
        while at <= seconds {
            let x = self.x(at * 1000.0);
            self.svg.line("axis", (x, BOTTOM), (x, BOTTOM + 4.0));
            self.svg.text("s", x, BOTTOM + 18.0, Anchor::Middle, &short(at));
            at += step;
        }
        self.svg.text("s", RIGHT, BOTTOM + 34.0, Anchor::End, "seconds since the load began");
    }

    pub(super) fn grid(&mut self, y: f64, label: &str) {
        self.svg.line("grid", (LEFT, y), (RIGHT, y));
        self.svg.text("s", LEFT - 6.0, y + 4.0, Anchor::End, label);
    }

    fn legend(&mut self, entries: &[(&str, &str)]) {
        let mut x = RIGHT;
        for (class, label) in entries.iter().rev() {
            #[expect(clippy::cast_precision_loss, reason = "labels are short")]
            let width = label.len() as f64 * 6.8 + 42.0;
            x -= width;
            if class.starts_with('p') || *class == "max" {
                self.svg.line(class, (x, 16.0), (x + 22.0, 16.0));
            } else {
                self.svg.area(class, x + 4.0, 10.0, 14.0, 12.0);
            }
            self.svg.text("s", x + 26.0, 20.0, Anchor::Start, label);
        }
    }

    /// When the fault began, ended and was recovered from; and its shade, over what it covers.
    pub(super) fn moments(&mut self) {
        let moments = self.report.moments;
        if let Some(fault) = moments.fault_ms {
            let until = moments.mended_ms.or(moments.done_ms).unwrap_or(self.lasts_ms);
            let (from, to) = (self.x(fault), self.x(until));
            self.svg.area("fault", from, TOP, to - from, BOTTOM - TOP);
        }
        let recovered = self.report.costs.as_ref().and_then(|costs| costs.rto_ms);
        let recovered =
            recovered.filter(|rto| *rto > 0.0).zip(moments.fault_ms).map(|(rto, fault)| fault + rto);
        let mut rows = [f64::MIN; 2];
        let marks = [(moments.fault_ms, "fault"), (recovered, "recovered"), (moments.mended_ms, "mended")];
        for (at, label) in marks {
            let Some(at) = at else { continue };
            let x = self.x(at);
            self.svg.line("edge", (x, TOP - 6.0), (x, BOTTOM));
            // Two labels side by side would be one smudge: the second goes above the first.
            let row = usize::from(x < rows[0] + 70.0);
            rows[row] = x;
            let y = if row == 0 { TOP - 10.0 } else { TOP - 24.0 };
            let anchor = if x > RIGHT - 70.0 { Anchor::End } else { Anchor::Start };
            self.svg.text("s", x, y, anchor, label);
        }
    }

    pub(super) fn stroke(&mut self, class: &str, points: &mut Vec<(f64, f64)>) {
        if let [(x, y)] = points[..] {
            points.push((x + 1.0, y));
        }
        if !points.is_empty() {
            self.svg.polyline(class, points);
        }
        points.clear();
    }

    pub(super) fn told(&self) -> String {
        let seconds =
            |ms: Option<f64>| ms.map_or_else(|| "never".to_owned(), |ms| format!("{:.1} s", ms / 1e3));
        let moments = self.report.moments;
        format!("Fault at {}, mended at {}", seconds(moments.fault_ms), seconds(moments.mended_ms))
    }
}

pub(super) fn linear(value: f64, top: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * (value / top).clamp(0.0, 1.0)
}

/// A round number at or above `value`, so that the axis reads well.
fn nice(value: f64) -> f64 {
    let mut unit = 1.0;
    // A generator sends some ten thousand at most.
    while unit < 1e9 {
        for factor in [1.0, 2.0, 4.0, 5.0, 8.0] {
            if unit * factor >= value {
                return unit * factor;
            }
        }
        unit *= 10.0;
    }
    unit
}

pub(super) fn short(value: f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { format!("{value:.2}") }
}

pub(super) fn milliseconds(ms: f64) -> String {
    if ms < 1000.0 {
        format!("{} ms", (ms * 10.0).round() / 10.0)
    } else {
        format!("{} s", (ms / 100.0).round() / 10.0)
    }
}
