//! Pictures in SVG: a map of the fleet, who serves what, and what happened when. Colours, dashes and fonts come from the stylesheet by
//! class, so that a picture follows the reader's screen and prints; nothing is told by colour alone.

pub(crate) mod bands;
mod labels;
pub(crate) mod lanes;
pub(crate) mod map;

use crate::words::{Html, escaped};
use std::fmt::Write as _;

/// A picture under way.
#[derive(Default)]
pub(crate) struct Svg {
    body: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = write!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    pub(crate) fn area(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), round: f64) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round}\"/>",
            width.max(0.0),
            height.max(0.0)
        );
    }

    pub(crate) fn path(&mut self, class: &str, path: &str, width: Option<f64>, title: &str) {
        let title =
            if title.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(title)) };
        let width = width.map(|it| format!(" stroke-width=\"{it:.1}\"")).unwrap_or_default();
        let _ = write!(self.body, "<path class=\"{class}\" d=\"{path}\"{width}>{title}</path>");
    }

    /// A small picture whose words stand beside it.
    pub(crate) fn plain(self, (width, height): (f64, f64)) -> Html {
        let body = self.body;
        Html(format!(
            "<svg class=\"small\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             aria-hidden=\"true\">{body}</svg>"
        ))
    }

    /// The whole picture; `id` is unique on its page, `title` and `description` are what a screen reader says.
    pub(crate) fn finish(
        self,
        id: &str,
        class: &str,
        (width, height): (f64, f64),
        title: &str,
        description: &str,
    ) -> Html {
        let (title, description, body) = (escaped(title), escaped(description), self.body);
        Html(format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{description}</desc>{body}</svg>"
        ))
    }
}

/// What of a text fits into so many letters.
pub(crate) fn fitted(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    // Names differ at their ends more often than at their beginnings.
    let keep = letters.saturating_sub(1);
    let (head, tail) = (keep / 2, keep - keep / 2);
    let all: Vec<char> = text.chars().collect();
    all[..head].iter().chain(&['…']).chain(&all[all.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_loses_its_middle() {
        assert_eq!(fitted("us-east-1", 9), "us-east-1");
        assert_eq!(fitted("a-rather-long-name-1", 9), "a-ra…me-1");
    }

    #[test]
    fn names_in_a_picture_are_no_markup() {
        let mut svg = Svg::default();
        svg.text("t", (0.0, 0.0), Anchor::Start, "<script>");
        svg.path("p", "M0 0", None, "\"><b>");
        let text = svg.finish("a", "c", (1.0, 1.0), "</title>", "&").0;
        assert!(
            !text.contains("<script") && !text.contains("<b>") && text.contains("&lt;/title&gt;"),
            "{text}"
        );
    }
}
