//! `sessionPersistence` of a rule, as Gateway API has it (GEP-1619).

use super::backend::BackendSpec;
use crate::{
    fields::{Fields, Issues, Wrong},
    read,
    routing::{Session, SessionKind},
    yaml::Node,
};
use std::time::Duration;

/// Longer names are no names.
const MAX_NAME: usize = 128;

/// Headers that mean something to gateways on the way.
const RESERVED: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "cookie",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a cookie lives as long as.
#[derive(Clone, Copy, PartialEq)]
enum Lifetime {
    /// The client's own session.
    Session,
    /// `absoluteTimeout`.
    Permanent,
}

/// `None` where nobody asked for it, or it cannot be honoured, which was told.
pub(super) fn read(rule: &mut Fields<'_>, backends: &[BackendSpec], issues: &mut Issues) -> Option<Session> {
    let mut session = rule.map("sessionPersistence", issues)?;
    let at = session.at;
    let types = &[("Cookie", SessionKind::Cookie { lifetime: None }), ("Header", SessionKind::Header)];
    let kind = session.value("type", issues, read::word(types)).map(|it| it.value);
    let name = session.value("sessionName", issues, token);
    let timeout = session.value(
        "absoluteTimeout",
        issues,
        read::duration(Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600)),
    );
    let lifetime = session.map("cookieConfig", issues).and_then(|mut cookie| {
        let words = &[("Session", Lifetime::Session), ("Permanent", Lifetime::Permanent)];
        let lifetime = cookie.value("lifetimeType", issues, read::word(words));
        cookie.finish(issues);
        lifetime
    });
    session.unsupported(&["idleTimeout"], issues);
    session.finish(issues);
    if backends.len() > 1 {
        let message = "not supported yet: sessionPersistence of a rule with several backends";
        issues.error(at, message, "make a rule for each backend, or remove it");
    }
    let permanent = lifetime.as_ref().is_some_and(|it| it.value == Lifetime::Permanent);
    let kind = match (kind.unwrap_or(SessionKind::Cookie { lifetime: None }), &timeout) {
        (SessionKind::Header, Some(timeout)) => {
            let message = "not supported yet: absoluteTimeout of a session by header";
            issues.error(timeout.at, message, "remove it, or use `type: Cookie`");
            SessionKind::Header
        }
        (SessionKind::Header, None) => {
            if let Some(lifetime) = &lifetime {
                issues.error(lifetime.at, "cookieConfig means nothing with `type: Header`", "remove it");
            }
            SessionKind::Header
        }
        (SessionKind::Cookie { .. }, Some(timeout)) if !permanent => {
            let message =
                "not supported yet: absoluteTimeout of a cookie that lives as long as the client's session";
            issues.error(timeout.at, message, "add `cookieConfig: {lifetimeType: Permanent}`, or remove it");
            SessionKind::Cookie { lifetime: None }
        }
        (SessionKind::Cookie { .. }, None) if permanent => {
            let message = "a permanent cookie needs absoluteTimeout";
            issues.error(at, message, "add for example `absoluteTimeout: 12h`");
            SessionKind::Cookie { lifetime: None }
        }
        (SessionKind::Cookie { .. }, timeout) => {
            SessionKind::Cookie { lifetime: timeout.as_ref().map(|it| it.value) }
        }
    };
    Some(Session { name: name.map(|it| it.value), kind })
}

/// The name of a cookie or a header (RFC 9110, section 5.6.2).
fn token(node: &Node) -> Result<String, Wrong> {
    let name = read::text(node)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("x-tidegate-") {
        return Err(Wrong::new(
            "the name of a cookie or header of your own",
            "this one means something else; choose another",
        ));
    }
    if name.len() <= MAX_NAME && name.bytes().all(is_token) {
        return Ok(name);
    }
    Err(Wrong::new("the name of a cookie or header", "letters, digits, `-` and `_`, at most 128 of them"))
}
