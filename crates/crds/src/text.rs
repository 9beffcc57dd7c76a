//! Texts with a form: each is a type of its own, whose schema says the form.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;

/// A microsecond, the unit of the limits of a [`Span`].
pub(crate) const US: u64 = 1;
/// A millisecond.
pub(crate) const MS: u64 = 1_000;
/// A second.
pub(crate) const S: u64 = 1_000 * MS;
/// A minute.
pub(crate) const MIN: u64 = 60 * S;
/// An hour.
pub(crate) const H: u64 = 60 * MIN;
/// A day.
pub(crate) const DAY: u64 = 24 * H;

/// Durations as the readers take them; Go, whose durations CEL has, takes a few more.
const DURATION: &str = r"^(0|([0-9]+(\.[0-9]*)?(ns|us|µs|μs|ms|s|m|h))+)$";
const NAME: &str = "^[A-Za-z0-9._-]+$";
const NAMESPACED: &str = "^[A-Za-z0-9._-]{1,253}/[A-Za-z0-9._-]{1,253}$";
const OBJECT_NAME: &str = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";
const URL: &str = r"^https?://[^/\s]\S*$";
const MOMENT: &str =
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})";
const DATE: &str = "[0-9]{4}-[0-9]{2}-[0-9]{2}";
pub(crate) const HEADER_NAME: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";
const HOST_NAME: &str = r"([a-z0-9-]{1,63}\.)*[a-z0-9-]{1,63}";

/// A duration from so many to so many microseconds, as Go writes it: `500ms`, `30s`, `1m30s`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span<const LEAST_US: u64, const MOST_US: u64>(pub String);

impl<const LEAST_US: u64, const MOST_US: u64> JsonSchema for Span<LEAST_US, MOST_US> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (least, most) = (written(LEAST_US), written(MOST_US));
        json_schema!({
            "type": "string",
            "maxLength": 64,
            "pattern": DURATION,
            "x-kubernetes-validations": [{
                "rule": format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"),
                "message": format!("must be a duration from {least} to {most}, for example {most}"),
            }],
        })
    }
}

/// In the largest unit in which it is a whole number.
fn written(us: u64) -> String {
    let units = [(H, "h"), (MIN, "m"), (S, "s"), (MS, "ms"), (US, "us")];
    match units.into_iter().find(|(unit, _)| us >= *unit && us.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", us / unit),
        None => "0s".to_owned(),
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $schema:tt),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

pub(crate) use texts;

texts! {
    /// The name of a zone or cluster.
    Name: {"type": "string", "minLength": 1, "maxLength": 253, "pattern": NAME},
    /// The name of a region.
    Region: {"type": "string", "minLength": 1, "maxLength": 253, "pattern": NAME},
    /// The name of a Kubernetes object.
    ObjectName: {"type": "string", "minLength": 1, "maxLength": 253, "pattern": OBJECT_NAME},
    /// `NAMESPACE/NAME`.
    Namespaced: {"type": "string", "maxLength": 507, "pattern": NAMESPACED},
    /// A URL of HTTP.
    Url: {"type": "string", "maxLength": 2048, "pattern": URL},
    /// A point of time as RFC 3339 has it.
    Instant: {"type": "string", "format": "date-time", "maxLength": 64, "pattern": format!("^{MOMENT}$")},
    /// A day, or a point of time.
    DayOrTime: {
        "type": "string",
        "maxLength": 64,
        "pattern": format!("^({DATE}|{MOMENT})$"),
        "x-kubernetes-validations": [{
            "rule": "timestamp(size(self) == 10 ? self + 'T00:00:00Z' : self) == timestamp(size(self) == 10 ? self + 'T00:00:00Z' : self)",
            "message": "must be a day or a time that the calendar has, for example 2026-12-20 or 2026-12-20T09:00:00Z",
        }],
    },
    /// Why something is done.
    Comment: {"type": "string", "minLength": 1, "maxLength": 512, "pattern": r"\S"},
    /// A program's name or one of its arguments.
    Word: {"type": "string", "maxLength": 4096},
    /// The path of a request.
    Path: {"type": "string", "maxLength": 1024, "pattern": r"^/[\x21-\x7e]*$"},
    /// A host, perhaps with a port, as it stands in a request.
    Host: {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[A-Za-z0-9._:\[\]-]+$"},
    /// Text on one line, which a request can hold.
    Line: {"type": "string", "maxLength": 1024, "pattern": r"^[\x20-\x7e]*$"},
    /// The name of a header.
    HeaderName: {
        "type": "string",
        "minLength": 1,
        "maxLength": 1024,
        "pattern": HEADER_NAME,
        "x-kubernetes-validations": [{
            "rule": "!(self.lowerAscii() in ['host', 'connection', 'content-length', 'transfer-encoding', 'te', 'user-agent'])",
            "message": "the check writes this header itself; the host is the field `host` beside `headers`",
        }],
    },
    /// The value of a header.
    HeaderValue: {"type": "string", "maxLength": 1024, "pattern": r"^[\x20-\x7e]*$"},
    /// A file on an agent's machine, or in its pod.
    File: {"type": "string", "minLength": 1, "maxLength": 4096, "pattern": "^/"},
    /// An IP address, or a host name that leads to some.
    Address: {
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "x-kubernetes-validations": [
            host(),
            {
                "rule": "!isIP(self) || !ip(self).isUnspecified()",
                "message": "must be an address that others can reach, not the unspecified one",
            },
        ],
    },
    /// The same where the machine itself may be meant.
    Reached: {"type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [host()]},
    /// An IP address and a port.
    SocketAddress: {
        "type": "string",
        "maxLength": 64,
        "pattern": r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$",
        "x-kubernetes-validations": [{
            "rule": "isIP(self.substring(0, self.lastIndexOf(':')).replace('[', '').replace(']', '')) && int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",
            "message": "must be an address and a port, for example 192.0.2.1:9",
        }],
    },
    /// When, in the five fields of cron.
    Cron: {
        "type": "string",
        "maxLength": 256,
        "pattern": cron(),
        "x-kubernetes-validations": [{
            "rule": "self.findAll('[0-9]+-[0-9]+').all(range, int(range.split('-')[0]) <= int(range.split('-')[1]))",
            "message": "a range of cron rises: write 1-5, not 5-1",
        }],
    },
    /// A time zone as its database names it.
    TimeZone: {"type": "string", "maxLength": 64, "pattern": "^(UTC|[A-Za-z0-9_+-]*/[A-Za-z0-9/_+-]*)$"},
    /// A measure of a drill, and what it may be at most.
    Objective: {"type": "string", "maxLength": 128, "pattern": objective()},
    /// A query of a Prometheus.
    Query: {"type": "string", "minLength": 1, "maxLength": 2048},
    /// A query of a Prometheus over `$window`.
    WindowQuery: {"type": "string", "minLength": 1, "maxLength": 2048, "pattern": r"\$window"},
}

/// That it is an IP address or a host name.
fn host() -> Value {
    json!({
        "rule": format!("isIP(self) || (self.matches('[a-z]') && self.matches('^{}$'))", HOST_NAME.replace('\\', "\\\\")),
        "message": "must be an IP address or a host name in lower-case letters, without port and scheme: 10.0.0.7 or lb.us-east.example",
    })
}

/// Five fields of numbers, ranges, lists and steps, each number in its field's range.
fn cron() -> String {
    let field = |number: &str| {
        let part = format!(r"(\*|0*({number})(-0*({number}))?)(/0*[1-9][0-9]?)?");
        format!("{part}(,{part})*")
    };
    let [minute, hour] = ["[0-5]?[0-9]", "1?[0-9]|2[0-3]"].map(field);
    let [day, month, weekday] = ["[1-9]|[12][0-9]|3[01]", "[1-9]|1[0-2]", "[0-7]"].map(field);
    format!(r"^\s*{}\s*$", [minute, hour, day, month, weekday].join(r"\s+"))
}

/// `MEASURE <= LIMIT`, with the unit that the measure has.
fn objective() -> String {
    let number = "([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]+)?";
    let times = "rto|lastBad|stableRecovery|p50|p99|p999|detect|decide|stableFailback";
    let duration = r"0|([0-9]+(\.[0-9]*)?(ns|us|µs|μs|ms|s|m|h))+";
    let counts = "failed|slow|lost|repeated|moves";
    format!(
        r"^\s*(({times})\s*<=\s*({duration})|(errorRate|utilisation)\s*<=\s*{number}\s*%|({counts})\s*<=\s*\+?[0-9]{{1,10}})\s*$"
    )
}
