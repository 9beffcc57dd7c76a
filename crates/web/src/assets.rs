//! The files that pages need: one stylesheet, one script, one icon. They are part of the binary.

use axum::{
    body::Body,
    http::{HeaderMap, Response, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;

struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset { name: "page.css", kind: "text/css; charset=utf-8", content: include_str!("../assets/page.css") },
    Asset {
        name: "page.js",
        kind: "text/javascript; charset=utf-8",
        content: include_str!("../assets/page.js"),
    },
    Asset { name: "icon.svg", kind: "image/svg+xml", content: include_str!("../assets/icon.svg") },
];

/// A file, or nothing new if the browser has it. Browsers ask each time: a new binary must not be looked at with an old script.
pub(crate) fn asset(name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let digest = digest::digest(&digest::SHA256, asset.content.as_bytes());
    let etag = format!("\"{}\"", &URL_SAFE_NO_PAD.encode(digest)[..22]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_known = known.split(',').any(|it| it.trim().trim_start_matches("W/") == etag);
    let answer = Response::builder().header(header::ETAG, etag).header(header::CACHE_CONTROL, "no-cache");
    let answer = if is_known {
        answer.status(StatusCode::NOT_MODIFIED).body(Body::empty())
    } else {
        answer.header(header::CONTENT_TYPE, asset.kind).body(Body::from(asset.content))
    };
    Some(answer.expect("all parts are valid"))
}
