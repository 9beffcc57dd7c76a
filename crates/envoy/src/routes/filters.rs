//! What a route changes on the way, in Envoy's words.

use super::{SERVICE_HEADER, regex};
use crate::proto::{set_header, text};
use envoy_types::pb::envoy::{
    config::{
        common::mutation_rules::v3::{HeaderMutation, header_mutation},
        core::v3::{
            HeaderValue, HeaderValueOption, RuntimeFractionalPercent, header_value_option::HeaderAppendAction,
        },
        route::v3::{
            DirectResponseAction, RedirectAction, RouteAction,
            redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
            route::Action,
            route_action::{HostRewriteSpecifier, RequestMirrorPolicy},
        },
    },
    r#type::{
        matcher::v3::RegexMatchAndSubstitute,
        v3::{FractionalPercent, fractional_percent::DenominatorType},
    },
};
use tidegate_api::{HeaderChanges, HttpMatch, Listener, Mirror, PathChange, PathMatch, Redirect, Rewrite};

/// Parts of Envoy's finest fraction.
const MILLION: u64 = 1_000_000;

/// What is set and added. Envoy removes before it does either.
pub(super) fn added(changes: &HeaderChanges) -> Vec<HeaderValueOption> {
    let set = changes.set.iter().map(|(name, value)| set_header(name, plain(value)));
    let add = changes.add.iter().map(|(name, value)| HeaderValueOption {
        header: Some(HeaderValue { key: name.clone(), value: plain(value), ..Default::default() }),
        append_action: HeaderAppendAction::AppendIfExistsOrAdd.into(),
        // Gateway API allows an empty value; Envoy would leave the header out.
        keep_empty_value: true,
        ..Default::default()
    });
    set.map(|it| HeaderValueOption { keep_empty_value: true, ..it }).chain(add).collect()
}

/// Envoy reads `%...%` in values as what it shall fill in.
fn plain(value: &str) -> String {
    value.replace('%', "%%")
}

pub(super) fn direct(status: u32, body: &str) -> Action {
    Action::DirectResponse(DirectResponseAction { status, body: Some(text(body)), ..Default::default() })
}

pub(super) fn redirect(redirect: &Redirect, matching: &HttpMatch, listener: &Listener) -> Action {
    let code = match redirect.status {
        301 => RedirectResponseCode::MovedPermanently,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    };
    let path = redirect.path.as_ref().map(|change| match replaced(change, matching) {
        Replaced::All(path) => PathRewriteSpecifier::PathRedirect(path),
        Replaced::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
        Replaced::Pattern(pattern) => PathRewriteSpecifier::RegexRewrite(pattern),
    });
    let mut action = RedirectAction {
        host_redirect: redirect.hostname.clone().unwrap_or_default(),
        port_redirect: redirect_port(redirect, listener),
        scheme_rewrite_specifier: redirect.scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path,
        ..Default::default()
    };
    action.set_response_code(code);
    Action::Redirect(action)
}

/// Gateway API: the port that is written, else that of the scheme that is written, else the listener's; and none in
/// the answer where the scheme implies it. Zero leaves what stands there: nothing beside another host name, and
/// beside the request's own host what the client wrote.
fn redirect_port(redirect: &Redirect, listener: &Listener) -> u32 {
    let of_scheme = |scheme: &str| if scheme == "https" { 443 } else { 80 };
    let came_by = if listener.tls.is_some() { "https" } else { "http" };
    let implied = of_scheme(redirect.scheme.as_deref().unwrap_or(came_by));
    let came_to = listener.address.port();
    let port = redirect.port.unwrap_or_else(|| if redirect.scheme.is_some() { implied } else { came_to });
    // A client that came to the port that its scheme implies has written none.
    let nothing_to_replace = redirect.hostname.is_some() || came_to == of_scheme(came_by);
    if port == implied && nothing_to_replace { 0 } else { port.into() }
}

/// The path and host that the backend sees.
pub(super) fn rewritten(
    mut action: RouteAction,
    rewrite: Option<&Rewrite>,
    matching: &HttpMatch,
) -> RouteAction {
    let Some(rewrite) = rewrite else { return action };
    action.host_rewrite_specifier = rewrite.hostname.clone().map(HostRewriteSpecifier::HostRewriteLiteral);
    match rewrite.path.as_ref().map(|change| replaced(change, matching)) {
        None => {}
        Some(Replaced::All(path)) => action.regex_rewrite = Some(substitute("^/.*$", &path)),
        Some(Replaced::Prefix(prefix)) => action.prefix_rewrite = prefix,
        Some(Replaced::Pattern(pattern)) => action.regex_rewrite = Some(pattern),
    }
    action
}

enum Replaced {
    All(String),
    /// Instead of what matched.
    Prefix(String),
    Pattern(RegexMatchAndSubstitute),
}

/// Gateway API replaces segments: between the new prefix and the rest there is one slash, where Envoy puts texts
/// together as they are.
fn replaced(change: &PathChange, matching: &HttpMatch) -> Replaced {
    let to = match change {
        PathChange::Full(path) => return Replaced::All(path.clone()),
        PathChange::Prefix(to) => to.trim_end_matches('/'),
    };
    let from = match &matching.path {
        PathMatch::Prefix(from) => from.trim_end_matches('/'),
        // The manifests are refused then; the path as it came is the least surprise.
        _ => "",
    };
    match (from, to) {
        ("", to) => Replaced::Prefix(format!("{to}/")),
        (from, "") => Replaced::Pattern(substitute(&format!("^{}/*", quoted(from)), "/")),
        (_, to) => Replaced::Prefix(to.to_owned()),
    }
}

fn substitute(pattern: &str, with: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute { pattern: Some(regex(pattern)), substitution: with.replace('\\', "\\\\") }
}

/// A text as the regular expression for just that text.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && !matches!(c, '_' | '/') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// The copy names its own service to east-west gateways; in the request stands the one that is answered.
pub(super) fn mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    let parts = u64::from(mirror.numerator) * MILLION / u64::from(mirror.denominator.max(1));
    let service = HeaderMutation {
        action: Some(header_mutation::Action::Append(set_header(SERVICE_HEADER, mirror.service.to_string()))),
    };
    RequestMirrorPolicy {
        cluster: mirror.service.to_string(),
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator: u32::try_from(parts.min(MILLION)).unwrap_or(u32::MAX),
                denominator: DenominatorType::Million.into(),
            }),
            ..Default::default()
        }),
        request_headers_mutations: vec![service],
        disable_shadow_host_suffix_append: true,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_api::{AccessLog, ListenerOptions, ListenerProtocol, ListenerTls};

    #[test]
    fn a_redirect_has_the_port_that_clients_have_to_come_to() {
        let port =
            |ended: bool, listens: u16, scheme: Option<&str>, port: Option<u16>, hostname: Option<&str>| {
                let listener = Listener {
                    name: "l".to_owned(),
                    address: ([127, 0, 0, 1], listens).into(),
                    protocol: ListenerProtocol::Http,
                    hostnames: Default::default(),
                    access_log: AccessLog::None,
                    tls: ended.then(ListenerTls::default),
                    options: ListenerOptions::default(),
                };
                let redirect = Redirect {
                    scheme: scheme.map(str::to_owned),
                    hostname: hostname.map(str::to_owned),
                    path: None,
                    port,
                    status: 302,
                };
                redirect_port(&redirect, &listener)
            };
        let to_https = Some("https");
        assert_eq!(port(false, 80, to_https, None, None), 0, "443 is implied, and a client of 80 wrote none");
        assert_eq!(port(false, 8080, to_https, None, None), 443, "the client wrote 8080");
        assert_eq!(port(false, 8080, to_https, None, Some("b.example")), 0);
        assert_eq!(port(false, 80, to_https, Some(8443), None), 8443);
        assert_eq!(port(true, 443, None, None, None), 0);
        assert_eq!(port(true, 8443, None, None, None), 8443);
        assert_eq!(port(true, 8443, None, None, Some("b.example")), 8443, "it stays at its listener");
        assert_eq!(
            port(true, 443, Some("http"), None, None),
            0,
            "80 is implied, and a client of 443 wrote none"
        );
        assert_eq!(port(true, 80, None, None, None), 80, "which https does not imply");
    }
}
