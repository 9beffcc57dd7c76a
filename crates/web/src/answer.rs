//! What is sent: the frame around a page's main part, troubles, and the headers that every answer has.

use crate::{
    Trouble, Visitor,
    model::{Fleet, Scope},
    words::{self, Html},
};
use askama::Template;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::IntoResponse as _,
};

/// Nothing from elsewhere, nothing inline, in nobody's frame. `data:` pictures are none of a page's own: trends are files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types tidegate";
/// For a whole document or picture of another maker: it may have its own styles and pictures, and no script runs.
const APART: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; sandbox";

/// The rooms of the page: path and name.
const ROOMS: [(&str, &str); 8] = [
    ("/", "Fleet"),
    ("/services", "Services"),
    ("/foresight", "Foresight"),
    ("/shifts", "Shifts"),
    ("/drills", "Drills"),
    ("/rollout", "Rollout"),
    ("/timeline", "Timeline"),
    ("/audit", "Audit"),
];

#[derive(Template)]
#[template(path = "frame.html")]
struct Frame<'a> {
    title: &'a str,
    scope: String,
    rooms: Vec<(&'static str, &'static str, bool)>,
    visitor: &'a Visitor,
    /// What a screen reader hears of it.
    said: String,
    version: u64,
    now_ms: u64,
    at: Html,
    policy: String,
    /// Whether it is shown anew by itself: not while somebody fills in a form.
    live: bool,
    main: Html,
}

/// Whose page it is, for people.
pub(crate) fn scope(of: &Scope) -> String {
    match of {
        Scope::Fleet(name) => format!("fleet {name}"),
        Scope::Cluster(name) => format!("cluster {name}"),
    }
}

/// A whole page.
pub(crate) fn page(
    title: &str,
    main: String,
    path: &str,
    fleet: &Fleet,
    visitor: &Visitor,
    (now_ms, live): (u64, bool),
) -> String {
    let is_here = |room: &str| path == room || (room != "/" && path.starts_with(&format!("{room}/")));
    let policy = match fleet.policy.sequence {
        0 => "no policy yet".to_owned(),
        sequence => format!("policy {sequence} ({})", short(&fleet.policy.version)),
    };
    let frame = Frame {
        title,
        scope: scope(&fleet.scope),
        rooms: ROOMS.map(|(path, name)| (path, name, is_here(path))).to_vec(),
        visitor,
        said: words::summary(&fleet.attention),
        version: fleet.version,
        now_ms,
        at: words::ago(fleet.at_ms, now_ms),
        policy,
        live,
        main: Html(main),
    };
    rendered(&frame)
}

/// A commit or a digest, as far as a person compares it.
pub(crate) fn short(version: &str) -> &str {
    version.char_indices().nth(12).map_or(version, |(at, _)| &version[..at])
}

/// Templates write to memory, and what they hold writes itself.
pub(crate) fn rendered(template: &impl Template) -> String {
    template.render().expect("writing to a string does not fail")
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct Troubled<'a> {
    heading: &'a str,
    text: &'a str,
    back: &'a str,
}

/// The main part of a page that has no answer.
pub(crate) fn trouble(of: &Trouble, back: &str) -> String {
    let (_, heading) = kind(of);
    rendered(&Troubled { heading, text: &of.to_string(), back })
}

pub(crate) const fn kind(of: &Trouble) -> (StatusCode, &'static str) {
    match of {
        Trouble::Unknown(_) => (StatusCode::NOT_FOUND, "There is no such thing"),
        Trouble::Denied(_) => (StatusCode::FORBIDDEN, "You may not"),
        Trouble::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Nothing was done"),
        Trouble::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "Not now"),
    }
}

/// For who is not known to the access layer.
pub(crate) fn nobody(is_json: bool) -> Response<Body> {
    let text = "Sign in at /login, or send a token or a client certificate of a viewer.";
    if is_json {
        return json(StatusCode::UNAUTHORIZED, &serde_json::json!({ "error": text }));
    }
    let main = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tidegate</title></head><body><h1>Tidegate</h1>\
         <p>Nothing is shown to who is not known. <a href=\"/login\">Sign in</a>, or send a token or a client certificate of a viewer.</p>\
         </body></html>";
    html(StatusCode::UNAUTHORIZED, main.to_owned())
}

pub(crate) fn html(status: StatusCode, text: String) -> Response<Body> {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Body> {
    (status, axum::Json(value)).into_response()
}

pub(crate) fn to(path: &str) -> Response<Body> {
    (StatusCode::SEE_OTHER, [(header::LOCATION, path)]).into_response()
}

/// A document or a picture of another maker, kept apart from the page.
pub(crate) fn apart(kind: &'static str, content: String) -> Response<Body> {
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, APART)];
    (headers, content).into_response()
}

/// What every answer says to the browser.
pub(crate) fn guarded(headers: &mut HeaderMap) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
