//! Objects as YAML: block style, keys in alphabetical order, so that the same object always reads the same.

use crate::values::{BARE, MARKS, wrapped};
use serde_json::Value;
use std::fmt::Write;

/// Words that one version of YAML or another takes for something else than text.
const WORDS: [&str; 12] = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan"];

/// One object as a document, without a separator before it.
#[must_use]
pub fn document(object: &Value) -> String {
    let mut text = String::new();
    block(object, 0, &mut text);
    text
}

/// The same as part of a Helm template, with the separator: places are filled in, conditions and lists stand around what they are for.
pub(crate) fn template(object: &Value) -> String {
    let text = separated(object);
    let bare = [(format!("\"{}", BARE.0), "{{ "), (format!("{}\"", BARE.1), " }}")];
    let marks = [(MARKS.0.to_owned(), "{{ "), (MARKS.1.to_owned(), " }}")];
    let filled = bare.iter().chain(&marks).fold(text, |text, (mark, brace)| text.replace(mark, brace));
    // Expressions are no text of YAML any more, so what quoted them within it goes.
    filled.lines().map(|line| unescape(line) + "\n").collect()
}

/// A document with its separator, within the conditions and lists that stand around it.
fn separated(object: &Value) -> String {
    match wrapped(object) {
        Some((word, what, item)) => format!("{{{{- {word} {what} }}}}\n{}{{{{- end }}}}\n", separated(item)),
        None => format!("---\n{}", document(object)),
    }
}

/// `\"` within `{{ }}` as it was before it stood in a text.
fn unescape(line: &str) -> String {
    let mut rest = line;
    let mut text = String::new();
    while let Some((before, inner)) = rest.split_once("{{") {
        let (expression, after) = inner.split_once("}}").unwrap_or((inner, ""));
        text += &format!("{before}{{{{{}}}}}", expression.replace("\\\"", "\""));
        rest = after;
    }
    text + rest
}

/// Writes what follows a key or a dash on lines of its own, or a scalar on this one.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            for (at, (name, value)) in fields.into_iter().enumerate() {
                // The first field of an entry of a list stands beside its dash.
                if at > 0 || !text.ends_with("- ") {
                    pad(indent, text);
                }
                text.push_str(&scalar(name));
                text.push(':');
                nested(value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                entry(item, indent, text);
            }
        }
        scalar => {
            let _ = writeln!(text, "{}", flat(scalar));
        }
    }
}

fn entry(item: &Value, indent: usize, text: &mut String) {
    if let Some((word, what, item)) = wrapped(item) {
        let _ = writeln!(text, "{{{{- {word} {what} }}}}");
        entry(item, indent, text);
        text.push_str("{{- end }}\n");
        return;
    }
    // The first entry of a list in a list stands beside its dash.
    if !text.ends_with("- ") {
        pad(indent, text);
    }
    text.push_str("- ");
    if is_nested(item) {
        block(item, indent + 2, text);
    } else {
        let _ = writeln!(text, "{}", flat(item));
    }
}

fn nested(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, indent, text);
        }
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            block(value, indent + 2, text);
        }
        // Scripts and files stay readable.
        Value::String(lines) if is_literal(lines) => {
            text.push_str(if lines.ends_with('\n') { " |\n" } else { " |-\n" });
            for line in lines.lines() {
                if !line.is_empty() {
                    pad(indent + 2, text);
                }
                text.push_str(line);
                text.push('\n');
            }
        }
        flat_one => {
            let _ = writeln!(text, " {}", flat(flat_one));
        }
    }
}

fn is_literal(lines: &str) -> bool {
    let fits = lines.chars().all(|c| c == '\n' || !c.is_control());
    fits && lines.contains('\n')
        && !lines.starts_with([' ', '\n'])
        && !lines.ends_with("\n\n")
        && !lines.contains(" \n")
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn pad(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Text without quotes where every parser takes it for the same text; else as JSON writes it, which YAML reads.
fn scalar(text: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || "-_./$ ,()<>=+;'*\"@".contains(c) || (c == ':' && !text.contains(": "))
    };
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '$');
    let word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    if starts && !word && text.chars().all(plain) && !text.ends_with([' ', ':']) {
        return text.to_owned();
    }
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_read_as_people_write_them() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "1", "b": "yes", "c": "x: y", "d": "one\ntwo\n"},
            "list": [{"name": "x", "of": [1, [2], {}]}, "plain", []], "none": {}});
        let expected = "\
apiVersion: v1
data:
  a: \"1\"
  b: \"yes\"
  c: \"x: y\"
  d: |
    one
    two
kind: ConfigMap
list:
- name: x
  of:
  - 1
  - - 2
  - {}
- plain
- []
none: {}
";
        assert_eq!(document(&object), expected);
    }
}
