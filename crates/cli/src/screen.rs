//! The terminal, if there is one: how wide it is, and whether it shows colours. Colour says nothing that a word does not say too.

use rustix::termios::tcgetwinsize;
use std::{
    env,
    io::{self, IsTerminal as _},
};

/// What standard output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Columns and lines; nothing if it is no terminal, or does not say.
    pub(crate) size: Option<(usize, usize)>,
    /// Whether words are coloured.
    pub(crate) colour: bool,
    pub(crate) is_terminal: bool,
}

const RED: &str = "31";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// What catches the eye. What is as it should be has no colour.
fn colour_of(word: &str) -> Option<&'static str> {
    match word {
        "Out" | "Unreachable" | "unreachable" | "NO" | "STRANDED" | "STRANDED," | "REFUSED:" | "gone," => {
            Some(RED)
        }
        "Reduced" | "Holding" | "Ramping" | "Suspect" => Some(YELLOW),
        "Shifted" => Some(CYAN),
        _ => None,
    }
}

impl Screen {
    pub(crate) fn stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let size = || tcgetwinsize(io::stdout()).ok().map(|it| (it.ws_col.into(), it.ws_row.into()));
        let size =
            if is_terminal { size().filter(|(columns, lines)| *columns > 0 && *lines > 0) } else { None };
        // See no-color.org.
        let refused = env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        let plain = env::var_os("TERM").is_some_and(|it| it == "dumb");
        Self { size, colour: is_terminal && !refused && !plain, is_terminal }
    }

    /// How wide text may be.
    pub(crate) fn width(self) -> Option<usize> {
        self.size.map(|(columns, _)| columns)
    }

    /// With words coloured that tell how something stands.
    pub(crate) fn painted(self, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let word = |word: &str| match colour_of(word) {
            Some(colour) => format!("\x1b[{colour}m{word}\x1b[0m"),
            None => word.to_owned(),
        };
        let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
        text.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Broken between words before a column, every line but the first indented; a word is never broken.
pub(crate) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("{:indent$}{word}", "")),
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_added_to_words_and_only_where_it_is_shown() {
        let (plain, coloured) = (Screen::default(), Screen { colour: true, ..Screen::default() });
        assert_eq!(plain.painted("zone a  Out"), "zone a  Out");
        assert_eq!(coloured.painted("zone a  Out\nb  Serving"), "zone a  \x1b[31mOut\x1b[0m\nb  Serving");
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 2, 8), "one two\n  three");
        assert_eq!(wrapped("a/very/long/name it", 2, 8), "a/very/long/name\n  it");
    }
}
