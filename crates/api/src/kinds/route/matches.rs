//! Which requests a rule is for.

use crate::{
    fields::{Field, Fields, Issues, Wrong},
    read, regex,
    routing::{HttpMatch, NamedMatch, PathMatch, ValueMatch},
    yaml::Node,
};

/// Gateway API's limit for the headers, and for the parameters, of a match.
const MAX_NAMED: usize = 16;

/// How something is compared.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Exact,
    Prefix,
    Regex,
}

/// `None` when it cannot be honoured, which was told.
pub(super) fn read_http(mut entry: Fields<'_>, issues: &mut Issues) -> Option<HttpMatch> {
    const METHODS: &[(&str, &str)] = &[
        ("GET", "GET"),
        ("HEAD", "HEAD"),
        ("POST", "POST"),
        ("PUT", "PUT"),
        ("DELETE", "DELETE"),
        ("OPTIONS", "OPTIONS"),
        ("TRACE", "TRACE"),
        ("PATCH", "PATCH"),
    ];
    let path = match entry.map("path", issues) {
        Some(path) => read_path(path, issues),
        None => Some(PathMatch::Prefix("/".to_owned())),
    };
    let method = entry.value("method", issues, read::word(METHODS)).map(|it| it.value.to_owned());
    let headers = read_named(&mut entry, "headers", issues);
    let query = read_named(&mut entry, "queryParams", issues);
    entry.finish(issues);
    Some(HttpMatch { path: path?, method, headers, query })
}

fn read_path(mut path: Fields<'_>, issues: &mut Issues) -> Option<PathMatch> {
    const TYPES: &[(&str, How)] =
        &[("PathPrefix", How::Prefix), ("Exact", How::Exact), ("RegularExpression", How::Regex)];
    let how = match path.node("type") {
        None => Some(How::Prefix),
        Some(_) => path.value("type", issues, read::word(TYPES)).map(|how| how.value),
    };
    let matched = if how == Some(How::Regex) {
        let hint = "the expression that the whole path matches";
        path.required_value("value", hint, issues, regex::read).map(|it| PathMatch::Regex(it.value))
    } else if path.node("value").is_none() {
        Some(PathMatch::Prefix("/".to_owned()))
    } else {
        path.value("value", issues, route_path).map(|it| match how {
            Some(How::Exact) => PathMatch::Exact(it.value),
            _ => PathMatch::Prefix(without_trailing_slash(it.value)),
        })
    };
    path.finish(issues);
    how.and(matched)
}

/// Gateway API takes the prefixes `/abc` and `/abc/` for the same.
fn without_trailing_slash(mut prefix: String) -> String {
    if prefix.len() > 1 && prefix.ends_with('/') {
        prefix.pop();
    }
    prefix
}

pub(super) fn route_path(node: &Node) -> Result<String, Wrong> {
    let path = read::text(node)?;
    if path.len() > 1024 {
        return Err(Wrong::new("at most 1024 characters", "match a shorter prefix"));
    }
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'?'));
    if path.starts_with('/') && plain && !path.contains("//") {
        return Ok(path);
    }
    Err(Wrong::new("a path", "begin with `/`; no spaces, `//`, `#` or `?`"))
}

/// Headers or parameters: of several with one name the first counts, as Gateway API has it.
fn read_named(entry: &mut Fields<'_>, list: &'static str, issues: &mut Issues) -> Vec<NamedMatch> {
    const TYPES: &[(&str, How)] = &[("Exact", How::Exact), ("RegularExpression", How::Regex)];
    let mut found: Vec<NamedMatch> = Vec::new();
    for mut fields in entry.maps_up_to(MAX_NAMED, list, issues) {
        let how = fields.value("type", issues, read::word(TYPES)).map_or(How::Exact, |how| how.value);
        let at = fields.at;
        // Names of headers and of parameters have the same letters, but only those of headers have no case.
        let name = fields.required_value("name", "the name that is matched", issues, header_name);
        let hint = "the value that is matched";
        let value = match how {
            How::Regex => fields
                .required_value("value", hint, issues, regex::read)
                .map(|it| ValueMatch::Regex(it.value)),
            _ => {
                fields.required_value("value", hint, issues, value_text).map(|it| ValueMatch::Exact(it.value))
            }
        };
        fields.finish(issues);
        let (Some(name), Some(value)) = (name, value) else { continue };
        let name = if list == "headers" { name.value.to_ascii_lowercase() } else { name.value };
        if found.iter().any(|other| other.name == name) {
            let message = format!("{name:?} is matched twice; the first entry counts");
            issues.warn(at, message, "remove one of them");
            continue;
        }
        found.push(NamedMatch { name, value });
    }
    found
}

/// A token of RFC 9110, the letters of which names of headers are made.
pub(in crate::kinds) fn header_name(node: &Node) -> Result<String, Wrong> {
    let name = read::text(node)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=256).contains(&name.len()) && name.bytes().all(token) {
        return Ok(name);
    }
    Err(Wrong::new(
        "a name of at most 256 characters",
        "letters, digits and !#$%&'*+-.^_`|~; no colon, no space",
    ))
}

/// What a header or parameter can hold.
pub(super) fn value_text(node: &Node) -> Result<String, Wrong> {
    let value = read::any_text(node)?;
    if value.len() <= 4096 && value.bytes().all(|b| b >= b' ' && b != 0x7f) {
        return Ok(value);
    }
    Err(Wrong::new("at most 4096 characters without control characters", "remove line breaks and tabs"))
}

/// A gRPC method is a path of two segments: service and method.
pub(super) fn read_grpc(mut entry: Fields<'_>, issues: &mut Issues) -> Option<HttpMatch> {
    const TYPES: &[(&str, How)] = &[("Exact", How::Exact), ("RegularExpression", How::Regex)];
    let mut path = Some(PathMatch::Prefix("/".to_owned()));
    if let Some(mut method) = entry.map("method", issues) {
        let how = method.value("type", issues, read::word(TYPES)).map_or(How::Exact, |how| how.value);
        path = match how {
            How::Regex => {
                let service = method.value("service", issues, regex::read);
                let name = method.value("method", issues, regex::read);
                grpc_regex(&method, service, name, issues)
            }
            _ => {
                let service = method.value("service", issues, grpc_name);
                let name = method.value("method", issues, grpc_name);
                grpc_exact(&method, service, name, issues)
            }
        };
        method.finish(issues);
    }
    let headers = read_named(&mut entry, "headers", issues);
    entry.finish(issues);
    Some(HttpMatch { headers, ..HttpMatch::path(path?) })
}

fn grpc_exact(
    fields: &Fields<'_>,
    service: Option<Field<String>>,
    method: Option<Field<String>>,
    issues: &mut Issues,
) -> Option<PathMatch> {
    match (service, method) {
        (Some(service), Some(method)) => {
            Some(PathMatch::Exact(format!("/{}/{}", service.value, method.value)))
        }
        (Some(service), None) => Some(PathMatch::Prefix(format!("/{}", service.value))),
        (None, Some(method)) => Some(PathMatch::GrpcMethod(method.value)),
        (None, None) => no_method(fields, issues),
    }
}

fn grpc_regex(
    fields: &Fields<'_>,
    service: Option<Field<String>>,
    method: Option<Field<String>>,
    issues: &mut Issues,
) -> Option<PathMatch> {
    let part = |part: Option<Field<String>>| {
        part.map_or_else(|| "[^/]+".to_owned(), |it| format!("(?:{})", it.value))
    };
    if service.is_none() && method.is_none() {
        return no_method(fields, issues);
    }
    Some(PathMatch::Regex(format!("/{}/{}", part(service), part(method))))
}

fn no_method(fields: &Fields<'_>, issues: &mut Issues) -> Option<PathMatch> {
    issues.error(fields.at, "the match names neither a service nor a method", "add `service:` or `method:`");
    None
}

fn grpc_name(node: &Node) -> Result<String, Wrong> {
    let name = read::text(node)?;
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
    if name.len() <= 1024 && name.bytes().all(letter) {
        return Ok(name);
    }
    Err(Wrong::new(
        "the name of a gRPC service or method",
        "as in the .proto file: package.Service, and Method",
    ))
}
