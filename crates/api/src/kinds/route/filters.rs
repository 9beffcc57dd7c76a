//! What a rule, or one of its backends, changes on the way.

use super::{
    MirrorSpec, backend,
    matches::{header_name, route_path, value_text},
};
use crate::{
    fields::{Field, Fields, Issues, Wrong},
    object::Meta,
    read,
    routing::{
        Filters, HeaderChanges, HeaderFilters, HttpMatch, PathChange, PathMatch, Redirect, Rewrite, RouteKind,
    },
    yaml::Node,
};

/// Gateway API's limit for filters, and for the headers of each list in one.
const MAX_FILTERS: usize = 16;

/// A filter that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Request,
    Response,
    Redirect,
    Rewrite,
    Mirror,
}

const HTTP: &[(&str, Kind)] = &[
    ("RequestHeaderModifier", Kind::Request),
    ("ResponseHeaderModifier", Kind::Response),
    ("RequestRedirect", Kind::Redirect),
    ("URLRewrite", Kind::Rewrite),
    ("RequestMirror", Kind::Mirror),
];
const GRPC: &[(&str, Kind)] = &[
    ("RequestHeaderModifier", Kind::Request),
    ("ResponseHeaderModifier", Kind::Response),
    ("RequestMirror", Kind::Mirror),
];
const BACKEND: &[(&str, Kind)] =
    &[("RequestHeaderModifier", Kind::Request), ("ResponseHeaderModifier", Kind::Response)];
/// Those of Gateway API that are not done.
const NOT_YET: [&str; 3] = ["ExtensionRef", "CORS", "ExternalAuth"];

/// The filters of a rule.
pub(super) fn read(
    kind: RouteKind,
    rule: &mut Fields<'_>,
    matches: &[HttpMatch],
    meta: &Meta,
    issues: &mut Issues,
) -> (Filters, Vec<MirrorSpec>) {
    let known = match kind {
        RouteKind::Http => HTTP,
        RouteKind::Grpc => GRPC,
    };
    let (mut filters, mut mirrors) = (Filters::default(), Vec::new());
    let mut seen = Vec::new();
    for mut fields in rule.maps_up_to(MAX_FILTERS, "filters", issues) {
        let Some(kind) = read_kind(&mut fields, known, &mut seen, issues) else { continue };
        match kind {
            Kind::Request | Kind::Response => read_changes(kind, &mut fields, &mut filters.headers, issues),
            Kind::Redirect => filters.redirect = read_redirect(&mut fields, matches, issues),
            Kind::Rewrite => filters.rewrite = read_rewrite(&mut fields, matches, issues),
            Kind::Mirror => mirrors.extend(read_mirror(&mut fields, meta, issues)),
        }
        if seen.contains(&Kind::Redirect) && seen.contains(&Kind::Rewrite) {
            let message = "a rule either redirects or rewrites";
            issues.error(fields.at, message, "remove RequestRedirect or URLRewrite");
        }
        fields.finish(issues);
    }
    (filters, mirrors)
}

/// The filters of one backend of several.
pub(super) fn read_of_backend(backend: &mut Fields<'_>, issues: &mut Issues) -> HeaderFilters {
    let mut headers = HeaderFilters::default();
    let mut seen = Vec::new();
    for mut fields in backend.maps_up_to(MAX_FILTERS, "filters", issues) {
        let Some(kind) = read_kind(&mut fields, BACKEND, &mut seen, issues) else { continue };
        read_changes(kind, &mut fields, &mut headers, issues);
        fields.finish(issues);
    }
    headers
}

fn read_kind(
    fields: &mut Fields<'_>,
    known: &'static [(&'static str, Kind)],
    seen: &mut Vec<Kind>,
    issues: &mut Issues,
) -> Option<Kind> {
    let at = fields.at;
    let written = fields.required("type", "for example RequestHeaderModifier", issues)?;
    let word = read::any_text(written).unwrap_or_default();
    let elsewhere =
        HTTP.iter().any(|(name, _)| *name == word) && !known.iter().any(|(name, _)| *name == word);
    if NOT_YET.contains(&word.as_str()) || elsewhere {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let message =
            format!("not supported{}: a filter of type {word}", if elsewhere { " here" } else { " yet" });
        issues.error(written.at, message, format!("remove it; there are {}", names.join(", ")));
        return None;
    }
    let kind = fields.value("type", issues, read::word(known))?.value;
    if seen.contains(&kind) && kind != Kind::Mirror {
        issues.error(at, format!("a second filter of type {word}"), "put all that it says into the first");
        return None;
    }
    seen.push(kind);
    Some(kind)
}

fn read_changes(kind: Kind, fields: &mut Fields<'_>, into: &mut HeaderFilters, issues: &mut Issues) {
    let (name, changes) = match kind {
        Kind::Request => ("requestHeaderModifier", &mut into.request),
        _ => ("responseHeaderModifier", &mut into.response),
    };
    let Some(mut modifier) = fields.required_map(name, "say what to set, add and remove", issues) else {
        return;
    };
    changes.set = read_values(&mut modifier, "set", issues);
    changes.add = read_values(&mut modifier, "add", issues);
    let removed = modifier.values("remove", issues, changeable).map(|it| it.value).unwrap_or_default();
    changes.remove = removed.into_iter().map(|it| it.value).collect();
    limit(changes, &modifier, issues);
    modifier.finish(issues);
}

fn limit(changes: &HeaderChanges, modifier: &Fields<'_>, issues: &mut Issues) {
    if changes.remove.len() > MAX_FILTERS {
        let message = format!("{} must have at most {MAX_FILTERS} entries", modifier.path_of("remove"));
        issues.error(modifier.key_at("remove"), message, "remove fewer headers");
    }
}

fn read_values(modifier: &mut Fields<'_>, list: &'static str, issues: &mut Issues) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for mut entry in modifier.maps_up_to(MAX_FILTERS, list, issues) {
        let at = entry.at;
        let name = entry.required_value("name", "the name of the header", issues, changeable);
        let value = entry.required_value("value", "its value", issues, value_text);
        entry.finish(issues);
        let (Some(name), Some(value)) = (name, value) else { continue };
        if found.iter().any(|(other, _)| *other == name.value) {
            issues.warn(at, format!("{:?} is here twice; the first entry counts", name.value), "remove one");
            continue;
        }
        found.push((name.value, value.value));
    }
    found
}

/// The name of a header that a route may change, in small letters. Envoy refuses changes of `host`; `connection` and
/// its like belong to one connection; the rest is how gateways talk to each other.
fn changeable(node: &Node) -> Result<String, Wrong> {
    let name = header_name(node)?.to_ascii_lowercase();
    let ours = name.starts_with("x-tidegate-") || name.starts_with("x-envoy-");
    let of_connection = ["connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "te"];
    if name == "host" {
        return Err(Wrong::new(
            "a header that may be changed",
            "use a URLRewrite with hostname for the host",
        ));
    }
    if ours || of_connection.contains(&name.as_str()) {
        return Err(Wrong::new("a header that may be changed", "the gateway itself lives by this one"));
    }
    Ok(name)
}

fn read_redirect(fields: &mut Fields<'_>, matches: &[HttpMatch], issues: &mut Issues) -> Option<Redirect> {
    const SCHEMES: &[(&str, &str)] = &[("http", "http"), ("https", "https")];
    let mut redirect = fields.required_map("requestRedirect", "say where to", issues)?;
    let scheme = redirect.value("scheme", issues, read::word(SCHEMES)).map(|it| it.value.to_owned());
    let hostname = redirect.value("hostname", issues, precise_hostname).map(|it| it.value);
    let path = read_path(&mut redirect, matches, issues);
    let port = redirect.value("port", issues, read::port).map(|it| it.value);
    let status = redirect.value("statusCode", issues, redirect_status).map_or(302, |it| it.value);
    redirect.finish(issues);
    Some(Redirect { scheme, hostname, path, port, status })
}

fn redirect_status(node: &Node) -> Result<u16, Wrong> {
    let status = read::integer(300..=399)(node).ok().and_then(|status| u16::try_from(status).ok());
    let known = status.filter(|status| [301, 302, 303, 307, 308].contains(status));
    known.ok_or_else(|| Wrong::new("301, 302, 303, 307 or 308", "302 is the default"))
}

fn precise_hostname(node: &Node) -> Result<String, Wrong> {
    let name = read::hostname(node)?;
    if name.starts_with('*') {
        return Err(Wrong::new("a host name without `*`", "write the whole name"));
    }
    Ok(name)
}

fn read_rewrite(fields: &mut Fields<'_>, matches: &[HttpMatch], issues: &mut Issues) -> Option<Rewrite> {
    let mut rewrite = fields.required_map("urlRewrite", "say what to rewrite", issues)?;
    let hostname = rewrite.value("hostname", issues, precise_hostname).map(|it| it.value);
    let path = read_path(&mut rewrite, matches, issues);
    rewrite.finish(issues);
    Some(Rewrite { hostname, path })
}

fn read_path(fields: &mut Fields<'_>, matches: &[HttpMatch], issues: &mut Issues) -> Option<PathChange> {
    const TYPES: &[(&str, bool)] = &[("ReplaceFullPath", false), ("ReplacePrefixMatch", true)];
    let mut path = fields.map("path", issues)?;
    let hint = "ReplaceFullPath or ReplacePrefixMatch";
    let by_prefix = path.required_value("type", hint, issues, read::word(TYPES));
    let change = match by_prefix {
        Some(Field { value: true, at }) => {
            let is_prefix = |it: &HttpMatch| matches!(it.path, PathMatch::Prefix(_));
            if !matches.iter().all(is_prefix) {
                let message = "ReplacePrefixMatch needs a rule whose matches are all of type PathPrefix";
                issues.error(at, message, "use ReplaceFullPath, or match by PathPrefix");
            }
            let value = path.required_value("replacePrefixMatch", "the prefix instead", issues, prefix);
            value.map(|it| PathChange::Prefix(it.value))
        }
        Some(Field { value: false, .. }) => {
            let value = path.required_value("replaceFullPath", "the path instead", issues, route_path);
            value.map(|it| PathChange::Full(it.value))
        }
        None => {
            path.ignore(&["replacePrefixMatch", "replaceFullPath"]);
            None
        }
    };
    path.finish(issues);
    change
}

/// A prefix may be empty: what matched is cut off.
fn prefix(node: &Node) -> Result<String, Wrong> {
    match read::any_text(node)? {
        empty if empty.is_empty() => Ok("/".to_owned()),
        _ => route_path(node),
    }
}

fn read_mirror(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<MirrorSpec> {
    let mut mirror = fields.required_map("requestMirror", "say where copies go", issues)?;
    let percent = mirror.value("percent", issues, read::integer(0..=100));
    let (mut numerator, mut denominator) = (percent.as_ref().map_or(100, |it| it.value), 100);
    if let Some(mut fraction) = mirror.map("fraction", issues) {
        if let Some(percent) = percent {
            issues.error(
                percent.at,
                "both percent and fraction say how much is copied",
                "remove one of them",
            );
        }
        let range = || read::integer(0..=i32::MAX.unsigned_abs());
        numerator =
            fraction.required_value("numerator", "how many", issues, range()).map_or(0, |it| it.value);
        let of = fraction.value("denominator", issues, read::integer(1..=i32::MAX.unsigned_abs()));
        denominator = of.map_or(100, |it| it.value);
        if numerator > denominator {
            issues.error(
                fraction.at,
                "the fraction is more than all",
                "the numerator is at most the denominator",
            );
        }
        fraction.finish(issues);
    }
    let hint = "add `backendRef: {name: SERVICE, port: 80}`";
    let backend = mirror.required_map("backendRef", hint, issues);
    mirror.finish(issues);
    let mut backend = backend?;
    let found = backend::read_ref(&mut backend, "nothing is copied to it", meta, issues);
    backend.finish(issues);
    Some(MirrorSpec { backend: found?, numerator, denominator })
}
