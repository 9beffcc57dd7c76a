//! A little SVG: what a picture of an incident needs, and no more.

use std::fmt::Write;

/// The colours of pools: Okabe and Ito's palette for all kinds of colour vision, without those that have a meaning here.
const POOLS: [&str; 6] = ["#0072B2", "#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442"];
/// Failures, in every panel.
pub(crate) const FAILED: &str = "#D55E00";
/// What was shed on purpose.
pub(crate) const SHED: &str = "#999999";

/// The colour of the pool with this number.
pub(crate) fn pool_colour(index: usize) -> &'static str {
    POOLS[index % POOLS.len()]
}

/// Text, lines and areas are dark on light, or light on dark where the reader's screen is. Colours of data stay.
const STYLE: &str = "\
.bg{fill:#ffffff}.t{fill:#111827;font-size:13px}.h{fill:#111827;font-size:19px;font-weight:600}\
.p{fill:#111827;font-size:14px;font-weight:600}.s{fill:#374151;font-size:13px}.in{fill:#111827;font-size:12px}\
.axis{stroke:#6b7280;stroke-width:1;fill:none}.grid{stroke:#d1d5db;stroke-width:1}\
.fault{fill:#6b7280;fill-opacity:.13}.edge{stroke:#4b5563;stroke-width:1.2;stroke-dasharray:4 3}\
.none{fill:url(#hatch)}.hatch{stroke:#6b7280;stroke-width:1.5}.sep{stroke:#ffffff;stroke-width:.8}\
@media(prefers-color-scheme:dark){.bg{fill:#14181d}.t,.h,.p{fill:#f3f4f6}.s{fill:#cbd5e1}.axis{stroke:#9ca3af}\
.grid{stroke:#374151}.fault{fill:#cbd5e1}.edge{stroke:#cbd5e1}.sep{stroke:#14181d}.hatch{stroke:#9ca3af}}";

/// A picture under way.
pub(crate) struct Svg {
    body: String,
}

/// Where text is held.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(crate) const fn new() -> Self {
        Self { body: String::new() }
    }

    /// The whole file. `title` and `description` are what a screen reader says.
    pub(crate) fn finish(self, width: f64, height: f64, title: &str, description: &str) -> String {
        let (title, description, body) = (escaped(title), escaped(description), self.body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
             aria-labelledby=\"title desc\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n\
             <title id=\"title\">{title}</title>\n<desc id=\"desc\">{description}</desc>\n<style>{STYLE}</style>\n\
             <defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><line class=\"hatch\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\"/></pattern></defs>\n\
             <rect class=\"bg\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n{body}</svg>\n"
        )
    }

    fn push(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{line}");
    }

    pub(crate) fn text(&mut self, class: &str, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// A rectangle of a class (what the reader's screen colours).
    pub(crate) fn area(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        ));
    }

    /// A rectangle of a colour.
    pub(crate) fn rect(&mut self, colour: &str, x: f64, y: f64, width: f64, height: f64) {
        self.push(format_args!(
            "<rect fill=\"{colour}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        ));
    }

    /// A filled area along points, with a thin edge that tells neighbours apart.
    pub(crate) fn polygon(&mut self, colour: &str, points: &[(f64, f64)]) {
        let points = joined(points);
        self.push(format_args!("<polygon class=\"sep\" fill=\"{colour}\" points=\"{points}\"/>"));
    }

    pub(crate) fn polyline(&mut self, colour: &str, points: &[(f64, f64)]) {
        let points = joined(points);
        self.push(format_args!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\" points=\"{points}\"/>"
        ));
    }
}

fn joined(points: &[(f64, f64)]) -> String {
    points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
