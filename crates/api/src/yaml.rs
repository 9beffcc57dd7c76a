//! YAML (and JSON, which is YAML) as a tree in which every value and every key knows its place.
//!
//! Objects are read from this tree rather than straight into structs: a derived `Deserialize` stops
//! at the first mistake of an object, and all of them are to be reported.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Spanned};
use std::fmt;

/// A place in a file, from 1 in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pos {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Pos,
    pub(crate) value: Value,
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: Pos,
    pub(crate) name: String,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; a key may come twice.
    Map(Vec<(Key, Node)>),
}

/// Why a file is not YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    /// Unknown for errors of the whole file.
    pub(crate) at: Option<Pos>,
    pub(crate) message: String,
    pub(crate) hint: &'static str,
}

/// Reads all documents of a file; empty ones are skipped.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let options = serde_saphyr::options! {
        // The size of the file is limited before; these limits only have to be finite, and to keep a file of
        // that size from unfolding through aliases to much more than itself.
        budget: serde_saphyr::budget! {
            max_events: 8_000_000,
            max_nodes: 4_000_000,
            // Each level costs stack: 40 fit into the 2 MiB of a thread even without optimisation. The deepest
            // schemas of well-known CustomResourceDefinitions have about 35.
            max_depth: 40,
            // "Too many objects" is told by the loader; documents that are no objects of ours do not count there.
            max_documents: 4_000_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        // Reported per object, with the place of the first one.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // As Kubernetes reads YAML: `yes` is text.
        strict_booleans: true,
        // A fault of one field, not of the file.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options::<Node>(text, options)
        .map_err(|error| syntax_error(text, &error))
}

fn syntax_error(text: &str, error: &serde_saphyr::Error) -> SyntaxError {
    let at = error.location().map(pos).filter(|at| at.line > 0);
    let rendered = error.without_snippet().to_string();
    let message = without_place(rendered.lines().next().unwrap_or("unreadable")).to_owned();
    let line = at.and_then(|at| text.lines().nth(at.line as usize - 1)).unwrap_or_default();
    let indentation = &line[..line.len() - line.trim_start().len()];
    let hint = if indentation.contains('\t') {
        "YAML is indented with spaces, not with tabs"
    } else if text.contains("{{") {
        "is this a template (Helm, ...)? render it first: Tidegate reads plain manifests"
    } else {
        "mend the YAML; until then the objects last loaded from this file stay in force"
    };
    SyntaxError { at, message, hint }
}

/// The parser's message without its own "at line 3, column 4": the problem has a place.
fn without_place(message: &str) -> &str {
    let message = match message.split_once(": ") {
        Some((place, rest)) if place.contains("line ") && place.contains("column ") => rest,
        _ => message,
    };
    message.split(" at line ").next().unwrap_or(message).trim_end_matches([',', ':', ' '])
}

fn pos(location: serde_saphyr::Location) -> Pos {
    // Files are at most 8 MiB, so both fit.
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Pos { line: narrow(location.line()), column: narrow(location.column()) }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: pos(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { at: pos(spanned.referenced), name: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                Value::deserialize(deserializer)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                // Nothing here has a meaning above 2^63; as a float it is told as out of range.
                #[expect(clippy::cast_precision_loss)]
                Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(Value::Text(value))
            }

            fn visit_bytes<E: serde::de::Error>(self, value: &[u8]) -> Result<Value, E> {
                // `!!binary`, which a ConfigMap or a Secret may hold; no kind that is read has such a field.
                Ok(Value::Text(String::from_utf8_lossy(value).into_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Key>()? {
                    let value = map.next_value::<Node>()?;
                    entries.push((key, value));
                }
                if u32::try_from(entries.len()).is_err() {
                    return Err(A::Error::custom("a mapping has too many entries"));
                }
                Ok(Value::Map(entries))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

impl fmt::Display for Node {
    /// The value as a message names it: short, and recognisable in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Null => f.write_str("empty"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Text(text) if text.chars().count() > 60 => {
                write!(f, "{:?}...", text.chars().take(60).collect::<String>())
            }
            Value::Text(text) => write!(f, "{text:?}"),
            Value::List(_) => f.write_str("a list"),
            Value::Map(_) => f.write_str("a mapping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_file() {
        let text = "a: 1\n---\nb:\n  - x: [yes, \"2\"]\n    y: &k {z: 2.5}\n  - *k\n---\n---\n# nothing\n";
        let documents = parse(text).unwrap();
        assert_eq!(documents.len(), 2);
        let Value::Map(entries) = &documents[1].value else { panic!() };
        assert_eq!((entries[0].0.at.line, entries[0].0.at.column), (3, 1));
        let Value::List(items) = &entries[0].1.value else { panic!() };
        let Value::Map(first) = &items[0].value else { panic!() };
        assert_eq!((first[0].0.at.line, first[0].0.at.column), (4, 5));
        let Value::List(words) = &first[0].1.value else { panic!() };
        assert_eq!((words[1].at.line, words[1].at.column), (4, 14));
        assert_eq!((words[0].to_string(), words[1].to_string()), ("\"yes\"".to_owned(), "\"2\"".to_owned()));
        assert_eq!((items[1].at.line, items[1].at.column), (6, 5), "an alias is where it is used");
    }

    #[test]
    fn json_with_tabs_is_read() {
        let documents = parse("{\n\t\"a\": [\n\t\t1,\n\t\tnull\n\t]\n}\n").unwrap();
        assert_eq!(documents.len(), 1);
    }

    #[test]
    fn hostile_input_is_refused_and_does_not_crash() {
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).is_err());
        let deep = (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
        assert!(parse(&deep).is_err());
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let item = format!("*a{}, ", n - 1);
            laughs.push_str(&format!("a{n}: &a{n} [{}]\n", item.repeat(10)));
        }
        assert!(parse(&laughs).is_err());
    }
}
