//! What is wrong in the users' files: where, what, and what to do about it.

use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Report};
use serde::Serialize;
use std::{fmt, sync::Arc};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Something that was written is not in force.
    Error,
    /// Everything is in force, but perhaps not what was meant.
    Warning,
}

/// What sort of mistake it is, for whoever tells it in one word: conditions of Kubernetes have such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The object itself is wrong.
    #[default]
    Invalid,
    /// Another object has what this one wants: the oldest keeps it.
    Conflict,
    /// It names something that is not there, or cannot be used.
    NoSuchObject,
    /// What it is about is not there.
    NoSuchTarget,
    /// It names something of another namespace, which does not permit it.
    NotPermitted,
}

/// Something wrong in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file, as it was given to the loader; empty when no file is to blame (something is missing from all).
    pub file: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 when the whole file is meant.
    pub column: u32,
    /// The object, as `Kind namespace/name`, as far as it is known.
    pub object: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What sort of mistake it is.
    #[serde(skip)]
    pub cause: Cause,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Problem {
    /// A problem of a whole file: it could not be read, it is too long.
    #[must_use]
    pub fn of_file(file: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            object: None,
            severity: Severity::Error,
            cause: Cause::Invalid,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// The same, of this cause.
    #[must_use]
    pub(crate) fn because(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    /// Whether something that was written is not in force.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self.severity, Severity::Error)
    }

    /// The problem with its source line, for a terminal; without it where that might be a part of a secret.
    /// `source_text` is the text of [`Self::file`].
    #[must_use]
    pub fn report(&self, source_text: &str) -> Report {
        let severity = if self.is_error() { miette::Severity::Error } else { miette::Severity::Warning };
        let message = match &self.object {
            Some(object) => format!("{object}: {}", self.message),
            None => self.message.clone(),
        };
        let diagnostic = MietteDiagnostic::new(message).with_help(self.hint.clone()).with_severity(severity);
        if self.line == 0 {
            let place = if self.file.is_empty() { "manifests" } else { &self.file };
            return Report::new(diagnostic.with_code(place));
        }
        if may_hold_secrets(source_text) {
            let place = format!("{}:{}:{}", self.file, self.line, self.column);
            return Report::new(diagnostic.with_code(place));
        }
        let (offset, length) = self.span_in(source_text);
        let label = LabeledSpan::new(Some("here".to_owned()), offset, length);
        Report::new(diagnostic.with_label(label))
            .with_source_code(NamedSource::new(&self.file, Arc::<str>::from(source_text)))
    }

    /// The byte offset and length of the word at the problem's place.
    fn span_in(&self, text: &str) -> (usize, usize) {
        let line_start = match self.line {
            0 | 1 => 0,
            line => text.match_indices('\n').nth(line as usize - 2).map_or(text.len(), |(at, _)| at + 1),
        };
        let line = text[line_start..].lines().next().unwrap_or_default();
        let column = self.column.saturating_sub(1) as usize;
        let in_line = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        let word = &line[in_line..];
        let length = word.find([':', ',', ' ', '}', ']']).filter(|&n| n > 0).unwrap_or(word.len());
        (line_start + in_line, length)
    }

    /// The order in which problems are told: by place.
    pub(crate) fn by_place(&self, other: &Self) -> std::cmp::Ordering {
        let key = |p: &Self| (p.line, p.column, p.severity);
        (self.file.cmp(&other.file))
            .then_with(|| key(self).cmp(&key(other)))
            .then_with(|| self.message.cmp(&other.message))
            .then_with(|| self.hint.cmp(&other.hint))
            .then_with(|| self.object.cmp(&other.object))
    }
}

/// Whether lines of a file are better not shown. Its YAML may be what is wrong, so it is a search for words.
fn may_hold_secrets(text: &str) -> bool {
    ["Secret", "kubernetes.io/tls", "tls.key", "PRIVATE KEY"].iter().any(|word| text.contains(word))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", _) => {}
            (file, 0) => write!(f, "{file}: ")?,
            (file, line) => write!(f, "{file}:{line}:{}: ", self.column)?,
        }
        if !self.is_error() {
            f.write_str("warning: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        write!(f, "{}\n  hint: {}", self.message, self.hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_the_source_line() {
        let text = "kind: A\nspec:\n  über: {perçent: 120, x: 1}\n";
        let mut problem = Problem::of_file("a.yaml", "too much", "write less");
        (problem.line, problem.column) = (3, 19);
        let offset = problem.span_in(text);
        assert_eq!(&text[offset.0..offset.0 + offset.1], "120");
        let shown = format!("{:?}", problem.report(text));
        assert!(shown.contains("perçent: 120"), "{shown}");
        assert!(shown.contains("write less"), "{shown}");
        // A file that became shorter meanwhile must not cause a panic.
        let _ = format!("{:?}", problem.report(""));
    }
}
