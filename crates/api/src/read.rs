//! The kinds of values that fields hold: each reads one node or says what it should have been.

use crate::{
    duration,
    fields::Wrong,
    nearest,
    yaml::{Node, Value},
};
use std::{net::IpAddr, ops::RangeInclusive, time::Duration};
use tidegate_model::{Fraction, NameError};

/// Text that is not empty.
pub(crate) fn text(node: &Node) -> Result<String, Wrong> {
    match &node.value {
        Value::Text(text) if !text.is_empty() => Ok(text.clone()),
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
            Err(Wrong::new("text", format!("put it in quotes: \"{node}\"")))
        }
        _ => Err(Wrong::new("text", "write a word or a quoted text")),
    }
}

/// Text, perhaps empty.
pub(crate) fn any_text(node: &Node) -> Result<String, Wrong> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        _ => self::text(node),
    }
}

/// True or false.
pub(crate) fn boolean(node: &Node) -> Result<bool, Wrong> {
    match node.value {
        Value::Bool(value) => Ok(value),
        _ => Err(Wrong::new("true or false", "write true or false, without quotes")),
    }
}

/// A whole number in a range.
pub(crate) fn integer(range: RangeInclusive<u32>) -> impl Fn(&Node) -> Result<u32, Wrong> {
    move |node| {
        let value = match node.value {
            Value::Integer(value) => u32::try_from(value).ok(),
            _ => None,
        };
        value.filter(|value| range.contains(value)).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            Wrong::new(
                format!("a whole number from {first} to {last}"),
                "write the number without quotes or unit",
            )
        })
    }
}

/// A port.
pub(crate) fn port(node: &Node) -> Result<u16, Wrong> {
    // In range by the check, so the cast is exact.
    #[expect(clippy::cast_possible_truncation)]
    integer(1..=65_535)(node).map(|port| port as u16)
}

/// A percentage, 0 to 100.
pub(crate) fn percentage(node: &Node) -> Result<Fraction, Wrong> {
    let value = match &node.value {
        #[expect(clippy::cast_precision_loss)]
        Value::Integer(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Text(text) if text.ends_with('%') => {
            return Err(Wrong::new("a number from 0 to 100", "write the number without the % sign"));
        }
        _ => f64::NAN,
    };
    Fraction::from_percentage(value)
        .map_err(|_| Wrong::new("a number from 0 to 100", "it is a percentage: write for example 70"))
}

/// The most that one endpoint can be declared to take: more than any machine serves.
const MOST_LOAD: u64 = 1_000_000;

/// A load per endpoint, 0.001 to a million, in thousandths.
pub(crate) fn thousandths(node: &Node) -> Result<u64, Wrong> {
    let value = match node.value {
        Value::Integer(value) => u64::try_from(value).ok().and_then(|it| it.checked_mul(1000)),
        // Saturates, and is nothing for NaN and below; the range is checked then.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Value::Float(value) => Some((value * 1000.0).round() as u64),
        _ => None,
    };
    value.filter(|it| (1..=MOST_LOAD * 1000).contains(it)).ok_or_else(|| {
        let hint =
            "what one endpoint takes at most: write the number without quotes or unit, for example 100";
        Wrong::new(format!("a number from 0.001 to {MOST_LOAD}"), hint)
    })
}

/// A duration in a range.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node) -> Result<Duration, Wrong> {
    move |node| {
        let (first, last) = (duration::text(*range.start()), duration::text(*range.end()));
        let expected = format!("a duration from {first} to {last}");
        match &node.value {
            Value::Text(text) => match duration::parse(text) {
                Some(duration) if range.contains(&duration) => Ok(duration),
                Some(_) => Err(Wrong::new(expected, format!("choose a value between {first} and {last}"))),
                None if text.starts_with('-') => Err(Wrong::new(expected, "a duration cannot be negative")),
                None => Err(Wrong::new(
                    expected,
                    "write a number with its unit (ms, s, m or h): 500ms, 30s, 1m30s",
                )),
            },
            Value::Integer(value) => {
                Err(Wrong::new(expected, format!("add the unit: {}s or {}ms", value.abs(), value.abs())))
            }
            _ => Err(Wrong::new(expected, "write a number with its unit (ms, s, m or h): 500ms, 30s, 1m30s")),
        }
    }
}

/// One of a few words.
pub(crate) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node) -> Result<T, Wrong> {
    move |node| {
        let written = match &node.value {
            Value::Text(text) => text.as_str(),
            _ => "",
        };
        words.iter().find(|(word, _)| *word == written).map(|&(_, value)| value).ok_or_else(|| {
            let all: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
            let hint = match nearest::nearest(written, all.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => "choose one of them; upper and lower case matter".to_owned(),
            };
            Wrong::new(list_of(&all), hint)
        })
    }
}

fn list_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A name of Tidegate's vocabulary.
pub(crate) fn name<T>(
    what: &'static str,
    new: impl Fn(&str) -> Result<T, NameError>,
) -> impl Fn(&Node) -> Result<T, Wrong> {
    move |node| {
        let written = any_text(node)?;
        new(&written).map_err(|error| Wrong::new(format!("the name of a {what}"), error.to_string()))
    }
}

/// The name of a Kubernetes object or namespace.
pub(crate) fn object_name(node: &Node) -> Result<String, Wrong> {
    let written = any_text(node)?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if (1..=253).contains(&written.len())
        && written.chars().all(good)
        && written.starts_with(ends)
        && written.ends_with(ends)
    {
        return Ok(written);
    }
    let rule = "Kubernetes names have 1 to 253 lower-case letters, digits, '-' and '.', and begin and end with a \
                letter or digit";
    Err(Wrong::new("a Kubernetes name", rule))
}

/// An IP address.
pub(crate) fn ip(node: &Node) -> Result<IpAddr, Wrong> {
    text(node)?.parse().map_err(|_| {
        Wrong::new("an IP address", "host names are not supported here; write for example 10.0.0.7")
    })
}

/// A host name, perhaps with `*.` before it.
/// An address, or a name that leads to some.
pub(crate) enum Host {
    Ip(IpAddr),
    Name(String),
}

pub(crate) fn host(node: &Node) -> Result<Host, Wrong> {
    let written = text(node)?;
    if let Ok(address) = written.parse() {
        return Ok(Host::Ip(address));
    }
    match hostname(node) {
        // Digits and dots alone are an address that went wrong.
        Ok(name) if !name.starts_with('*') && name.contains(|c: char| c.is_ascii_lowercase()) => {
            Ok(Host::Name(name))
        }
        _ => Err(Wrong::new(
            "an IP address or a host name",
            "write for example 10.0.0.7 or lb.us-east.example: lower-case letters, digits, '-' and '.', no port and no scheme",
        )),
    }
}

pub(crate) fn hostname(node: &Node) -> Result<String, Wrong> {
    let written = text(node)?;
    let host = written.strip_prefix("*.").unwrap_or(&written);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if written.len() <= 253 && host.split('.').all(label) && written.parse::<IpAddr>().is_err() {
        return Ok(written);
    }
    Err(Wrong::new(
        "a host name",
        "lower-case letters, digits, '-' and '.'; the first label may be `*`; no port and no scheme",
    ))
}

/// A creation time as Kubernetes writes it, which sorts as text.
pub(crate) fn timestamp(node: &Node) -> Result<String, Wrong> {
    let written = text(node)?;
    let shape = b"0000-00-00T00:00:00Z";
    let fits = written.len() == shape.len()
        && written.bytes().zip(shape).all(|(c, &s)| if s == b'0' { c.is_ascii_digit() } else { c == s });
    if fits {
        return Ok(written);
    }
    Err(Wrong::new("a time in UTC", "write it as Kubernetes does: 2026-11-01T12:00:00Z"))
}
