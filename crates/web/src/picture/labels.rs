//! Where the words of lines stand in the map: beside the columns of boxes, where their line passes, and never on each other. Pure.
//!
//! Between columns, and to the right of the last, lies a gutter in which nothing else is drawn. A label stands in the one that its line
//! passes, and moves a little up or down where another one stands already. Where there is no room near its line it is left out, the
//! smallest flows first: far away it would be taken for another line's. The line's own title, and the list below the map, have it.

/// A letter of the label's font, at its widest that is common.
const LETTER: f64 = 6.8;
/// The height of a line of words.
const HEIGHT: f64 = 13.0;
/// How far a label's baseline is below its upper edge.
const ASCENT: f64 = 10.0;
/// Between a label and what is beside it.
const APART: f64 = 5.0;
/// So many places above and below are tried, each a line away.
const TRIES: i32 = 5;

/// A part of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Rect {
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// How wide a text stands in the picture.
pub(super) fn width(text: &str) -> f64 {
    LETTER * text.chars().count() as f64
}

/// What stands there already.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) taken: Vec<Rect>,
}

impl Labels {
    /// Places lines of words below each other, around `x` if they can, the first with its baseline at `y`; within `gutter` (left and
    /// right) and the picture's height. Gives the middle and the baseline of the first, if there is room.
    pub(super) fn place(
        &mut self,
        lines: &[String],
        (x, y): (f64, f64),
        gutter: (f64, f64),
        height: f64,
    ) -> Option<(f64, f64)> {
        let half = lines.iter().map(|it| width(it)).fold(0.0, f64::max) / 2.0 + APART;
        let (least, most) = (gutter.0 + half, gutter.1 - half);
        if least > most {
            return None;
        }
        let x = x.clamp(least, most);
        let tall = HEIGHT * lines.len() as f64;
        for step in (0..=TRIES).flat_map(|it| [it, -it]) {
            let y = y + HEIGHT * f64::from(step);
            let top = y - ASCENT;
            let there = Rect { left: x - half, top, right: x + half, bottom: top + tall };
            if top >= 0.0 && there.bottom <= height && !self.taken.iter().any(|it| it.meets(&there)) {
                self.taken.push(there);
                return Some((x, y));
            }
        }
        None
    }

    /// Below which the next line of the same label stands.
    pub(super) const fn below(y: f64) -> f64 {
        y + HEIGHT
    }
}
