//! A little SVG: what two charts over time need, and no more. Colours come from the page (classes), so that it prints and
//! follows the reader's screen; data is told apart by shape and label too, never by colour alone.

use super::escaped;
use std::fmt::Write as _;

pub(super) const WIDTH: f64 = 960.0;
pub(super) const LEFT: f64 = 64.0;
pub(super) const RIGHT: f64 = 944.0;

/// Okabe and Ito's palette, for all kinds of colour vision.
pub(super) const STYLE: &str = "\
.bg{fill:#ffffff}.t{fill:#111827;font-size:13px}.s{fill:#374151;font-size:12px}\
.axis{stroke:#6b7280;stroke-width:1}.grid{stroke:#d1d5db;stroke-width:1}\
.fault{fill:#6b7280;fill-opacity:.14}.edge{stroke:#374151;stroke-width:1.4;stroke-dasharray:5 3}\
rect{shape-rendering:crispEdges}.good{fill:#56B4E9}.slow{fill:#E69F00}.failed{fill:#D55E00}.unsent{fill:#666666}\
.w-detect{fill:#E69F00}.w-decide{fill:#0072B2}.w-push{fill:#56B4E9}.w-drain{fill:#009E73}\
.cb{fill:#D55E00;stroke:#D55E00}.c0{fill:#56B4E9;stroke:#56B4E9}.c1{fill:#F0E442;stroke:#F0E442}.c2{fill:#009E73;stroke:#009E73}\
.c3{fill:#CC79A7;stroke:#CC79A7}.c4{fill:#999999;stroke:#999999}.c5{fill:#E69F00;stroke:#E69F00}.c6{fill:#0072B2;stroke:#0072B2}\
rect{stroke-width:0}.l{fill:none;stroke-width:2.4}.c1.l,.c4.l{stroke-dasharray:7 3}.c2.l,.c5.l{stroke-dasharray:2 3}.cb.l{stroke-dasharray:10 3 3 3}\
.in,.h{fill:#111827;font-size:12px;paint-order:stroke;stroke:#ffffff;stroke-width:4px;stroke-linejoin:round}.in{font-weight:600}\
.p50{stroke:#0072B2;stroke-width:2;fill:none}.p99{stroke:#D55E00;stroke-width:2;fill:none;stroke-dasharray:7 3}\
.p999{stroke:#CC79A7;stroke-width:1.8;fill:none;stroke-dasharray:12 3 2 3}\
.max{stroke:#666666;stroke-width:1.4;fill:none;stroke-dasharray:2 3}";

/// A picture under way.
pub(super) struct Svg {
    body: String,
}

#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) const fn new() -> Self {
        Self { body: String::new() }
    }

    /// The whole picture. `id` is unique on its page; `title` and `description` are what a screen reader says.
    pub(super) fn finish(self, height: f64, id: &str, title: &str, description: &str) -> String {
        let (title, description, body) = (escaped(title), escaped(description), self.body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" \
             aria-labelledby=\"{id}-t {id}-d\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n\
             <title id=\"{id}-t\">{title}</title>\n<desc id=\"{id}-d\">{description}</desc>\n<style>{STYLE}</style>\n\
             <rect class=\"bg\" width=\"{WIDTH:.0}\" height=\"{height:.0}\"/>\n{body}</svg>\n"
        )
    }

    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    pub(super) fn area(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }

    pub(super) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.body,
            "<polyline class=\"{class}\" stroke-linejoin=\"round\" points=\"{}\"/>",
            points.join(" ")
        );
    }
}
