//! How a browser shows a token: a form, and a cookie that has what was typed into it.
//!
//! The cookie is good for looking, and for what the page's own forms do. It is none for the JSON API's changes: a browser sends cookies
//! whoever made it ask. `SameSite=Strict` keeps it at home, and the page's forms have tokens of their own.

use super::Denied;
use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{Html, IntoResponse as _, Response},
};
use serde::Deserialize;

/// The cookie by which a browser is known.
pub const COOKIE: &str = "tidegate-session";
/// The form.
pub(super) const LOGIN: &str = "/login";
/// Where a browser is forgotten.
pub(super) const LOGOUT: &str = "/logout";
/// A form with a token is no longer.
pub(super) const MAX_FORM: usize = 4096;

/// Whether a path is the page's, and not the API's.
#[must_use]
pub fn is_page(path: &str) -> bool {
    !path.starts_with("/api/") && !matches!(path, "/metrics" | "/healthz" | "/readyz")
}

/// What a cookie holds, if it is good for such a request.
pub(super) fn shown<'r>(method: &Method, path: &str, headers: &'r HeaderMap) -> Option<&'r str> {
    if !(matches!(*method, Method::GET | Method::HEAD) || (*method == Method::POST && is_page(path))) {
        return None;
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut pairs = cookies.flat_map(|it| it.split(';')).filter_map(|it| it.trim().split_once('='));
    pairs.find(|(name, value)| *name == COOKIE && !value.is_empty()).map(|(_, value)| value)
}

/// Whether somebody wrote a token into an address, where logs and histories keep it.
pub(super) fn is_in_address(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    let mut names = query.split('&').map(|it| it.split_once('=').map_or(it, |(name, _)| name));
    query.contains("tidegate-access.") || names.any(|it| matches!(it, "token" | "access_token"))
}

/// Whether another site made the browser ask.
pub(super) fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|it| it.to_str().ok());
    site.is_some_and(|it| !matches!(it, "same-origin" | "none"))
}

#[derive(Deserialize)]
struct Form {
    token: String,
}

/// The token of a form.
pub(super) fn typed(body: &str) -> Option<String> {
    let uri: Uri = format!("/?{}", body.trim()).parse().ok()?;
    let Query(Form { token }) = Query::try_from_uri(&uri).ok()?;
    Some(token.trim().to_owned())
}

/// The form, with what was wrong with the last try.
pub(super) fn form(denied: Option<&Denied>) -> Response {
    let wrong = denied.map(|denied| match denied {
        Denied::Expired(_) => "<p role=\"alert\">This token has expired.</p>".to_owned(),
        Denied::Limited(seconds) => format!(
            "<p role=\"alert\">Too many wrong tokens came from your address. Try again in {seconds} s.</p>"
        ),
        _ => "<p role=\"alert\">No such token is known here, or it was revoked.</p>".to_owned(),
    });
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Tidegate: token</title>\n</head>\n<body>\n<main>\n\
         <h1>Tidegate</h1>\n{}<form method=\"post\" action=\"{LOGIN}\">\n\
         <p><label for=\"token\">Token</label></p>\n\
         <p><input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"off\" required autofocus size=\"40\"></p>\n\
         <p><button type=\"submit\">Look</button></p>\n</form>\n\
         <p>It is the line that <code>tidegate access grant NAME --role viewer</code> prints.</p>\n\
         </main>\n</body>\n</html>\n",
        wrong.unwrap_or_default()
    );
    let status = match denied {
        Some(Denied::Limited(_)) => StatusCode::TOO_MANY_REQUESTS,
        Some(_) => StatusCode::UNAUTHORIZED,
        None => StatusCode::OK,
    };
    let mut response = (status, Html(page)).into_response();
    if let Some(Denied::Limited(seconds)) = denied {
        response.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
    }
    let headers = response.headers_mut();
    let rules = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, rules),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// To another page, with another cookie.
pub(super) fn leads(to: &'static str, token: Option<&str>) -> Response {
    let (value, age) = token.map_or(("", "; Max-Age=0"), |it| (it, ""));
    let cookie = format!("{COOKIE}={value}; HttpOnly; Secure; SameSite=Strict; Path=/{age}");
    let Ok(cookie) = HeaderValue::from_str(&cookie) else { return form(Some(&Denied::Unknown)) };
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// To the form.
pub(super) fn needed() -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, LOGIN), (header::CACHE_CONTROL, "no-store")]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(method: &Method, path: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; tidegate-session=secret; c"));
        shown(method, path, &headers).map(str::to_owned)
    }

    #[test]
    fn a_cookie_is_good_for_looking_and_for_the_pages_own_forms_only() {
        let some = Some("secret".to_owned());
        assert_eq!(cookie(&Method::GET, "/"), some);
        assert_eq!(cookie(&Method::GET, "/api/v1/fleet"), some);
        assert_eq!(cookie(&Method::POST, "/shifts"), some);
        for (method, path) in [
            (Method::POST, "/api/v1/shifts"),
            (Method::DELETE, "/api/v1/shifts/a"),
            (Method::DELETE, "/shifts/a"),
            (Method::PUT, "/"),
        ] {
            assert_eq!(cookie(&method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn a_token_in_an_address_is_seen() {
        let is = |it: &str| is_in_address(&it.parse().unwrap());
        assert!(is("/?token=x") && is("/?a=1&access_token=x") && is("/?a=tidegate-access.a.b.c"));
        assert!(!is("/") && !is("/?service=shop/token"));
    }

    #[test]
    fn what_is_typed_is_read_as_browsers_send_it() {
        assert_eq!(typed("token=tidegate-access.a%40b.00.11%0A").unwrap(), "tidegate-access.a@b.00.11");
        assert_eq!(typed("other=1"), None);
    }
}
