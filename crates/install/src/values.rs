//! Values of options: as they are, or as a place in the values of a Helm chart, to be filled in when it is rendered.

use crate::Wrong;
use serde_json::{Map, Value, json};

/// Where a place in the chart's values begins and ends within a text.
pub(crate) const MARKS: (&str, &str) = ("@{", "}@");
/// The same for what is not text, so that the quotes go, too.
pub(crate) const BARE: (&str, &str) = ("@#{", "}#@");
/// The keys of entries of lists that a chart has under a condition, or once for each value of a list.
pub(crate) const IF: &str = "@if";
pub(crate) const EACH: &str = "@each";
pub(crate) const ITEM: &str = "@item";

/// The expression as a text for a template.
pub(crate) fn place(expression: &str) -> String {
    format!("{}{expression}{}", MARKS.0, MARKS.1)
}

/// A whole number.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// This one.
    Known(u64),
    /// What this expression comes to.
    At(String),
}

impl Number {
    pub(crate) fn at(expression: &str) -> Self {
        Self::At(format!("int {expression}"))
    }

    /// This and so much more.
    pub(crate) fn plus(&self, more: u64) -> Self {
        match self {
            Self::Known(number) => Self::Known(number.saturating_add(more)),
            Self::At(expression) => Self::At(format!("add ({expression}) {more}")),
        }
    }

    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Known(number) => json!(number),
            Self::At(expression) => Value::String(format!("{}{expression}{}", BARE.0, BARE.1)),
        }
    }

    /// Within a text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Known(number) => number.to_string(),
            Self::At(expression) => place(expression),
        }
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Known(number.into())
    }
}

/// Several values, each of which makes an entry of a list, or an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Many<T> {
    /// These.
    These(Vec<T>),
    /// Each of a list in the chart's values: how the template names the list, and one of it.
    Each(&'static str, &'static str, Box<T>),
}

impl<T> Many<T> {
    /// An entry for each.
    pub(crate) fn map(&self, entry: impl Fn(&T) -> Value) -> Vec<Value> {
        match self {
            Self::These(values) => values.iter().map(entry).collect(),
            Self::Each(list, name, value) => vec![each(list, name, &entry(value))],
        }
    }

    /// Several entries for each.
    pub(crate) fn flat_map(&self, entries: impl Fn(&T) -> Vec<Value>) -> Vec<Value> {
        match self {
            Self::These(values) => values.iter().flat_map(entries).collect(),
            Self::Each(list, name, value) => {
                entries(value).into_iter().map(|entry| each(list, name, &entry)).collect()
            }
        }
    }
}

fn each(list: &str, name: &str, item: &Value) -> Value {
    json!({EACH: format!("{name} := {list}"), ITEM: item})
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It is, or is not.
    Known(bool),
    /// As this condition over the chart's values says.
    If(&'static str),
}

impl When {
    /// The entries, if they are there.
    pub(crate) fn then(self, entries: impl IntoIterator<Item = Value>) -> Vec<Value> {
        match self {
            Self::Known(true) => entries.into_iter().collect(),
            Self::Known(false) => Vec::new(),
            Self::If(condition) => {
                entries.into_iter().map(|item| json!({IF: condition, ITEM: item})).collect()
            }
        }
    }

    pub(crate) fn otherwise(self, entries: impl IntoIterator<Item = Value>) -> Vec<Value> {
        match self {
            Self::Known(there) => Self::Known(!there).then(entries),
            Self::If(condition) => {
                let not = format!("not ({condition})");
                entries.into_iter().map(|item| json!({IF: not, ITEM: item})).collect()
            }
        }
    }
}

/// The condition or the list around an entry, and the entry.
pub(crate) fn wrapped(value: &Value) -> Option<(&'static str, &str, &Value)> {
    let fields: &Map<String, Value> = value.as_object()?;
    let item = fields.get(ITEM)?;
    let of = |key: &str| fields.get(key).and_then(Value::as_str);
    match (of(IF), of(EACH)) {
        (Some(condition), _) => Some(("if", condition, item)),
        (_, Some(list)) => Some(("range", list, item)),
        _ => None,
    }
}

/// A name as Kubernetes labels have them, 1 to 63 characters, so that names made of it stay names.
pub(crate) fn name(flag: &str, text: &str) -> Result<(), Wrong> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if (1..=63).contains(&text.len())
        && text.chars().all(good)
        && ends(text.chars().next())
        && ends(text.chars().last())
    {
        return Ok(());
    }
    Err(Wrong::new(
        format!("{flag} {text:?} is no name that Kubernetes takes"),
        "write 1 to 63 lower-case letters, digits and '-', a letter or digit first and last",
    ))
}

/// An image, with its tag or digest: what is installed today must be what is installed tomorrow.
pub(crate) fn image(flag: &str, text: &str) -> Result<(), Wrong> {
    let last = text.rsplit('/').next().unwrap_or_default();
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !"\"'\\{}".contains(c));
    let pinned =
        text.contains('@') || last.split_once(':').is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest");
    if plain && pinned {
        return Ok(());
    }
    Err(Wrong::new(
        format!("{flag} {text:?} does not say which version of the image"),
        "write it with a tag or a digest: registry.example/tidegate:0.1.0",
    ))
}

/// `HOST:PORT`.
pub(crate) fn host_port(flag: &str, text: &str) -> Result<(), Wrong> {
    let split = text.rsplit_once(':');
    let good = |host: &str| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._[]:".contains(c))
    };
    if split.is_some_and(|(host, port)| good(host) && port.parse::<u16>().is_ok_and(|it| it > 0)) {
        return Ok(());
    }
    Err(Wrong::new(format!("{flag} {text:?} is no HOST:PORT"), "write for example hub.example:18100"))
}
