//! `healthCheck` of a `FailoverPolicy`: what is asked of an endpoint, and when one that answers is too slow.

use crate::{
    checks::{CheckKind, ClientCertificate, ExpectedBody, HttpMethod, HttpVersion, TlsCheck},
    fields::{Field, Fields, Issues, Wrong},
    read,
    yaml::{Node, Value},
};
use std::{ops::RangeInclusive, time::Duration};

/// Status ranges of a check, so that a comparison per answer stays cheap.
const MAX_STATUS_RANGES: usize = 20;

/// Headers of a check's request.
const MAX_HEADERS: usize = 20;

/// The longest text of a check's request or expected answer, in bytes.
const MAX_TEXT: usize = 1024;

/// What is checked, `None` for nothing: one decision, so a nearer policy replaces it as a whole.
pub(crate) type Check = Option<(CheckKind, Option<TlsCheck>)>;

/// `healthCheck`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct CheckFields {
    pub(crate) check: Option<Field<Check>>,
    pub(crate) interval: Option<Field<Duration>>,
    pub(crate) timeout: Option<Field<Duration>>,
    pub(crate) unhealthy_threshold: Option<Field<u32>>,
    pub(crate) healthy_threshold: Option<Field<u32>>,
    pub(crate) latency: LatencyFields,
    pub(crate) errors: ErrorFields,
}

/// `healthCheck.passive.errors`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ErrorFields {
    /// Written, or true because `errors` is there.
    pub(crate) enabled: Option<Field<bool>>,
    pub(crate) percentage: Option<Field<u32>>,
    pub(crate) minimum_requests: Option<Field<u32>>,
    pub(crate) window: Option<Field<Duration>>,
    pub(crate) ejection: Option<Field<Duration>>,
    pub(crate) max_ejection_percent: Option<Field<u32>>,
}

/// `healthCheck.passive.latency`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct LatencyFields {
    /// Written, or true because `latency` is there.
    pub(crate) enabled: Option<Field<bool>>,
    pub(crate) ratio_percent: Option<Field<u32>>,
    pub(crate) minimum_difference: Option<Field<Duration>>,
    pub(crate) max_ejection_percent: Option<Field<u32>>,
    pub(crate) minimum_siblings: Option<Field<u32>>,
    pub(crate) consecutive: Option<Field<u32>>,
}

/// The types of a check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CheckType {
    Http,
    Http2,
    Grpc,
    Tcp,
    Tls,
    None,
}

const TYPES: &[(&str, CheckType)] = &[
    ("HTTP", CheckType::Http),
    ("HTTP2", CheckType::Http2),
    ("GRPC", CheckType::Grpc),
    ("TCP", CheckType::Tcp),
    ("TLS", CheckType::Tls),
    ("None", CheckType::None),
];

/// The fields that only some types have, with those types and the first of them.
const FIELDS: [(&str, &[CheckType], &str); 8] = [
    ("path", &[CheckType::Http, CheckType::Http2], "HTTP"),
    ("host", &[CheckType::Http, CheckType::Http2, CheckType::Grpc], "HTTP"),
    ("method", &[CheckType::Http, CheckType::Http2], "HTTP"),
    ("headers", &[CheckType::Http, CheckType::Http2], "HTTP"),
    ("expectedStatuses", &[CheckType::Http, CheckType::Http2], "HTTP"),
    ("expectedBody", &[CheckType::Http, CheckType::Http2], "HTTP"),
    ("service", &[CheckType::Grpc], "GRPC"),
    ("tls", &[CheckType::Http, CheckType::Http2, CheckType::Grpc, CheckType::Tls], "TLS"),
];

/// The fields as they were written, before it is known which of them belong.
struct Written {
    path: Option<Field<String>>,
    host: Option<Field<String>>,
    method: Option<Field<HttpMethod>>,
    headers: Vec<(String, String)>,
    statuses: Option<Vec<RangeInclusive<u16>>>,
    body: Option<Field<ExpectedBody>>,
    service: Option<Field<String>>,
    tls: Option<Field<TlsCheck>>,
}

pub(crate) fn read_check(spec: &mut Fields<'_>, issues: &mut Issues) -> CheckFields {
    let Some(mut health_check) = spec.map("healthCheck", issues) else { return CheckFields::default() };
    let active = health_check.map("active", issues);
    let passive = health_check.map("passive", issues).map(|mut passive| {
        let fields = (read_latency(&mut passive, issues), read_errors(&mut passive, issues));
        passive.finish(issues);
        fields
    });
    health_check.finish(issues);
    let (latency, errors) = passive.unwrap_or_default();
    let Some(mut active) = active else { return CheckFields { latency, errors, ..CheckFields::default() } };
    let check = read_check_kind(&mut active, issues);
    let times = Duration::from_millis(10)..=Duration::from_secs(600);
    let fields = CheckFields {
        check,
        interval: active.value("interval", issues, read::duration(times.clone())),
        timeout: active.value("timeout", issues, read::duration(times)),
        unhealthy_threshold: active.value("unhealthyThreshold", issues, read::integer(1..=100)),
        healthy_threshold: active.value("healthyThreshold", issues, read::integer(1..=100)),
        latency,
        errors,
    };
    active.finish(issues);
    fields
}

fn read_check_kind(active: &mut Fields<'_>, issues: &mut Issues) -> Option<Field<Check>> {
    let kind = active.value("type", issues, read::word(TYPES));
    let unreadable = kind.is_none() && active.node("type").is_some();
    let written = Written {
        path: active.value("path", issues, http_path),
        host: active.value("host", issues, authority),
        method: active.value("method", issues, read::word(METHODS)),
        headers: read_headers(active, issues),
        statuses: active.node("expectedStatuses").map(|_| read_statuses(active, issues)),
        body: read_body(active, issues),
        service: active.value("service", issues, line),
        tls: read_tls(active, issues),
    };
    if !unreadable {
        tell_strays(active, kind.as_ref().map(|kind| kind.value), issues);
    }
    let kind = kind?;
    tell_contradictions(active, kind.value, &written, issues);
    Some(Field { value: written.check(kind.value), at: kind.at })
}

/// The first field that the type does not have.
fn tell_strays(active: &mut Fields<'_>, kind: Option<CheckType>, issues: &mut Issues) {
    let has = |types: &[CheckType]| kind.is_some_and(|kind| types.contains(&kind));
    let stray = FIELDS.into_iter().find(|(name, types, _)| !has(types) && active.node(name).is_some());
    let Some((name, types, example)) = stray else { return };
    let path = active.path_of(name);
    let (message, hint) = match kind {
        None => (format!("{path} needs a type beside it"), format!("add type: {example}")),
        Some(_) => {
            let words = TYPES.iter().filter(|(_, kind)| types.contains(kind)).map(|(word, _)| *word);
            let words: Vec<&str> = words.collect();
            let message = format!("{path} belongs to checks of type {}", words.join(", "));
            (message, format!("remove it, or write type: {example}"))
        }
    };
    issues.error(active.key_at(name), message, hint);
}

/// Fields that are each right, and cannot be so together.
fn tell_contradictions(active: &Fields<'_>, kind: CheckType, written: &Written, issues: &mut Issues) {
    if kind == CheckType::Tls && written.tls.is_none() && !issues.bad {
        let message = format!("a check of type TLS needs {}", active.path_of("tls"));
        issues.error(active.at, message, TLS_HINT);
    }
    if let (Some(body), Some(HttpMethod::Head)) = (&written.body, written.method.as_ref().map(|it| it.value))
    {
        let message = "an answer to HEAD has no body, so none can be expected";
        issues.error(body.at, message, "remove expectedBody, or write method: GET");
    }
}

impl Written {
    fn check(self, kind: CheckType) -> Check {
        let tls = self.tls.map(|tls| tls.value);
        let host = self.host.map(|host| host.value);
        let version = match kind {
            CheckType::None => return None,
            CheckType::Tcp | CheckType::Tls => return Some((CheckKind::Tcp, tls)),
            CheckType::Grpc => {
                let service = self.service.map(|service| service.value).unwrap_or_default();
                return Some((CheckKind::Grpc { service, host }, tls));
            }
            CheckType::Http => HttpVersion::Http1,
            CheckType::Http2 => HttpVersion::Http2,
        };
        let kind = CheckKind::Http {
            version,
            method: self.method.map_or(HttpMethod::Get, |method| method.value),
            path: self.path.map_or_else(|| "/".to_owned(), |path| path.value),
            host,
            headers: self.headers,
            expected_statuses: self.statuses.unwrap_or_else(|| vec![200..=299]),
            expected_body: self.body.map(|body| body.value),
        };
        Some((kind, tls))
    }
}

const METHODS: &[(&str, HttpMethod)] =
    &[("GET", HttpMethod::Get), ("HEAD", HttpMethod::Head), ("OPTIONS", HttpMethod::Options)];

fn http_path(node: &Node) -> Result<String, Wrong> {
    let path = read::text(node)?;
    // Written into a request line, where a space or a line break would make another request of it.
    if path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()) && path.len() <= MAX_TEXT {
        return Ok(path);
    }
    Err(Wrong::new("a path", "begin with `/`; no spaces; write other characters as %XX"))
}

/// A host, perhaps with a port, as it stands in a request.
fn authority(node: &Node) -> Result<String, Wrong> {
    let host = read::text(node)?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if host.bytes().all(good) && host.len() <= 255 {
        return Ok(host);
    }
    Err(Wrong::new("a host", "a name or an address, perhaps with a port: web.example, or web.example:8080"))
}

/// Text on one line, which a request can hold.
fn line(node: &Node) -> Result<String, Wrong> {
    let text = read::any_text(node)?;
    if text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) && text.len() <= MAX_TEXT {
        return Ok(text);
    }
    Err(Wrong::new("a line of text", format!("ASCII without line breaks, at most {MAX_TEXT} characters")))
}

/// A header's name. Some are written by the check itself.
fn header_name(node: &Node) -> Result<String, Wrong> {
    const OWN: [&str; 6] = ["host", "connection", "content-length", "transfer-encoding", "te", "user-agent"];
    let name = read::text(node)?.to_ascii_lowercase();
    if OWN.contains(&name.as_str()) {
        let hint = "the check writes it itself; the host is the field `host` beside `headers`";
        return Err(Wrong::new("another header", hint));
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.bytes().all(good) && name.len() <= MAX_TEXT {
        return Ok(name);
    }
    Err(Wrong::new("the name of a header", "letters, digits and -, no colon and no spaces: x-check"))
}

fn read_headers(active: &mut Fields<'_>, issues: &mut Issues) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for mut entry in active.maps_up_to(MAX_HEADERS, "headers", issues) {
        let name =
            entry.required_value("name", "the header's name, for example x-check", issues, header_name);
        let value = entry.required_value("value", "the header's value", issues, line);
        entry.finish(issues);
        if let (Some(name), Some(value)) = (name, value) {
            headers.push((name.value, value.value));
        }
    }
    headers
}

fn read_body(active: &mut Fields<'_>, issues: &mut Issues) -> Option<Field<ExpectedBody>> {
    const HINT: &str = "write `contains: text` or `startsWith: text`; case matters";
    let text = |node: &Node| {
        let found = read::text(node)?;
        if found.len() <= MAX_TEXT {
            Ok(found)
        } else {
            Err(Wrong::new("shorter", format!("at most {MAX_TEXT} bytes")))
        }
    };
    let mut body = active.map("expectedBody", issues)?;
    let at = body.at;
    let contains = body.value("contains", issues, text);
    let starts = body.value("startsWith", issues, text);
    let count = ["contains", "startsWith"].into_iter().filter(|name| body.node(name).is_some()).count();
    body.finish(issues);
    if count != 1 {
        let path = active.path_of("expectedBody");
        issues.error(at, format!("{path} must have one of contains and startsWith"), HINT);
        return None;
    }
    let contains = contains.map(|it| ExpectedBody::Contains(it.value));
    let starts = starts.map(|it| ExpectedBody::StartsWith(it.value));
    Some(Field { value: contains.or(starts)?, at })
}

const TLS_HINT: &str = "say whom to trust: `tls: {caFile: /etc/tidegate/ca.pem}`, a file on the agent's machine; or \
                        `tls: {insecureSkipVerify: true}` to take any certificate";

fn read_tls(active: &mut Fields<'_>, issues: &mut Issues) -> Option<Field<TlsCheck>> {
    let mut tls = active.map("tls", issues)?;
    let at = tls.at;
    let before = issues.list.len();
    let server_name = tls.value("serverName", issues, server_name);
    let authorities = tls.value("caFile", issues, file);
    let chain = tls.value("certificateFile", issues, file);
    let key = tls.value("keyFile", issues, file);
    let skip = tls.value("insecureSkipVerify", issues, read::boolean);
    let path = active.path_of("tls");
    let lone = match (&chain, &key) {
        (Some(chain), None) => Some((chain.at, "certificateFile", "keyFile")),
        (None, Some(key)) => Some((key.at, "keyFile", "certificateFile")),
        _ => None,
    };
    tls.finish(issues);
    if issues.list.len() > before {
        return None;
    }
    if let Some((at, written, missing)) = lone {
        let message = format!("{path} has {written} and no {missing}");
        issues.error(at, message, "a client certificate is both: the chain and its private key, in PEM");
    }
    let skip = skip.is_some_and(|skip| skip.value);
    match (&authorities, skip) {
        (None, false) => issues.error(at, format!("{path} does not say whom to trust"), TLS_HINT),
        (Some(file), true) => {
            let message = format!("{path} has both caFile and insecureSkipVerify");
            issues.error(
                file.at,
                message,
                "remove one: with insecureSkipVerify nobody asks who issued a certificate",
            );
        }
        _ => {}
    }
    let client = chain.zip(key).map(|(chain, key)| ClientCertificate { chain: chain.value, key: key.value });
    let server_name = server_name.map(|name| name.value);
    Some(Field { value: TlsCheck { server_name, authorities: authorities.map(|it| it.value), client }, at })
}

fn server_name(node: &Node) -> Result<String, Wrong> {
    let name = read::hostname(node)?;
    if name.contains('*') {
        return Err(Wrong::new("a host name", "the name itself, as it is sent to the server: no `*`"));
    }
    Ok(name)
}

/// A file on the agent's machine.
fn file(node: &Node) -> Result<String, Wrong> {
    let path = read::text(node)?;
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(path);
    }
    let hint =
        "begin with `/`: a PEM file on the machine (in the pod) of each agent, for example a mounted Secret";
    Err(Wrong::new("an absolute path", hint))
}

fn read_statuses(active: &mut Fields<'_>, issues: &mut Issues) -> Vec<RangeInclusive<u16>> {
    let at = active.key_at("expectedStatuses");
    let mut ranges = Vec::new();
    let entries = active.maps("expectedStatuses", issues);
    let count = entries.len();
    for mut entry in entries {
        let hint = "the first status of the range, for example 200";
        let start = entry.required_value("start", hint, issues, read::integer(100..=599));
        let hint = "the last status of the range, itself included, for example 299";
        let end = entry.required_value("end", hint, issues, read::integer(100..=599));
        let entry_at = entry.at;
        entry.finish(issues);
        let (Some(start), Some(end)) = (start, end) else { continue };
        if start.value > end.value {
            let message = format!("the range of statuses {} to {} is empty", start.value, end.value);
            issues.error(entry_at, message, "start must not be above end");
        } else if let (Ok(start), Ok(end)) = (u16::try_from(start.value), u16::try_from(end.value)) {
            ranges.push(start..=end);
        }
    }
    if count == 0 || count > MAX_STATUS_RANGES {
        let message = format!("expectedStatuses must have 1 to {MAX_STATUS_RANGES} ranges, not {count}");
        issues.error(at, message, "for example `[{start: 200, end: 299}]`");
    }
    ranges
}

fn read_latency(passive: &mut Fields<'_>, issues: &mut Issues) -> LatencyFields {
    let Some(mut latency) = passive.map("latency", issues) else { return LatencyFields::default() };
    let at = latency.at;
    let differences = Duration::from_millis(1)..=Duration::from_secs(60);
    let enabled = latency.value("enabled", issues, read::boolean);
    let fields = LatencyFields {
        enabled: enabled.or(Some(Field { value: true, at })),
        ratio_percent: latency.value("ratio", issues, ratio),
        minimum_difference: latency.value("minimumDifference", issues, read::duration(differences)),
        // At half of them nobody could say which half is right.
        max_ejection_percent: latency.value("maxEjectionPercent", issues, read::integer(1..=49)),
        // With fewer than three there is no majority.
        minimum_siblings: latency.value("minimumSiblings", issues, read::integer(3..=1000)),
        consecutive: latency.value("consecutive", issues, read::integer(1..=100)),
    };
    latency.finish(issues);
    fields
}

fn read_errors(passive: &mut Fields<'_>, issues: &mut Issues) -> ErrorFields {
    let Some(mut errors) = passive.map("errors", issues) else { return ErrorFields::default() };
    let at = errors.at;
    let enabled = errors.value("enabled", issues, read::boolean);
    let windows = Duration::from_secs(1)..=Duration::from_secs(60);
    let ejections = Duration::from_secs(1)..=Duration::from_secs(300);
    let fields = ErrorFields {
        enabled: enabled.or(Some(Field { value: true, at })),
        percentage: errors.value("percentage", issues, read::integer(1..=100)),
        minimum_requests: errors.value("minimumRequests", issues, read::integer(1..=1_000_000)),
        window: errors.value("window", issues, read::duration(windows)),
        ejection: errors.value("ejection", issues, read::duration(ejections)),
        max_ejection_percent: errors.value("maxEjectionPercent", issues, read::integer(1..=100)),
    };
    errors.finish(issues);
    fields
}

/// How many times the siblings' median, in percent.
fn ratio(node: &Node) -> Result<u32, Wrong> {
    let value = match node.value {
        #[expect(clippy::cast_precision_loss, reason = "compared with 1 to 100")]
        Value::Integer(value) => value as f64,
        Value::Float(value) => value,
        _ => f64::NAN,
    };
    if (1.1..=100.0).contains(&value) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked"
        )]
        return Ok((value * 100.0).round() as u32);
    }
    Err(Wrong::new(
        "a number from 1.1 to 100",
        "so many times the siblings' median is slow: write for example 3",
    ))
}
