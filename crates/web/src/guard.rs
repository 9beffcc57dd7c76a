//! That a form was sent by who was shown it: against requests that another site makes a browser send.
//!
//! Each form has a seal: an HMAC, by a key of this process, over the visitor's name and session cookie. Besides, what browsers tell of
//! where a request comes from must be this page. A restart makes all seals void: the visitor is told to send the form again.

use crate::{Trouble, Visitor};
use axum::http::{HeaderMap, HeaderName, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{hmac, rand::SystemRandom};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(crate) struct Guard {
    key: hmac::Key,
    cookie: String,
    /// Stands for the seal in rendered parts, which many share. Nobody outside can guess it, so no foreign text holds it.
    pub(crate) placeholder: String,
}

impl Guard {
    pub(crate) fn new(cookie: &str) -> Self {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).expect("the system has random bytes");
        let placeholder = URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"placeholder"));
        Self { key, cookie: cookie.to_owned(), placeholder }
    }

    /// What this visitor's forms carry.
    pub(crate) fn seal(&self, visitor: &Visitor, headers: &HeaderMap) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, &self.sealed("form", visitor, headers)))
    }

    /// Over a text that is handed to the visitor and comes back.
    pub(crate) fn seal_text(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, format!("text\0{text}").as_bytes()))
    }

    pub(crate) fn is_sealed(&self, text: &str, seal: &str) -> bool {
        let Ok(seal) = URL_SAFE_NO_PAD.decode(seal) else { return false };
        hmac::verify(&self.key, format!("text\0{text}").as_bytes(), &seal).is_ok()
    }

    /// Whether a form may be acted upon.
    pub(crate) fn admit(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        host: &str,
        seal: &str,
    ) -> Result<(), Trouble> {
        let denied = |text: &str| Err(Trouble::Denied(text.to_owned()));
        let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        if text(&FETCH_SITE).is_some_and(|site| site != "same-origin") {
            return denied(
                "The form was sent from another site, so nothing was done. Open the page here and send it again.",
            );
        }
        let from_here =
            |origin: &str| origin.split_once("://").is_some_and(|(_, at)| at.eq_ignore_ascii_case(host));
        if text(&header::ORIGIN).is_some_and(|origin| !from_here(origin)) {
            return denied(
                "The form was sent from another address, so nothing was done. Open the page here and send it again; a proxy \
                 before it must keep the header `Host`.",
            );
        }
        let sealed = self.sealed("form", visitor, headers);
        let seal = URL_SAFE_NO_PAD.decode(seal).unwrap_or_default();
        hmac::verify(&self.key, &sealed, &seal).or_else(|_| {
            denied("The form is older than this process or your sign-in, so nothing was done. Go back, load the page anew, and send it again.")
        })
    }

    fn sealed(&self, what: &str, visitor: &Visitor, headers: &HeaderMap) -> Vec<u8> {
        format!("{what}\0{}\0{}", visitor.name, self.session(headers).unwrap_or_default()).into_bytes()
    }

    fn session<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.cookie).map(|(_, value)| value)
    }
}

/// Whether a host is this machine or an address, and so no name that somebody else's DNS could point here.
pub(crate) fn is_local_or_address(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _)) => inside,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn visitor(name: &str) -> Visitor {
        Visitor { name: name.to_owned(), is_operator: true, namespaces: None }
    }

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_seal_is_of_one_visitor_and_one_session() {
        let guard = Guard::new("session");
        let ann = headers(&[("cookie", "other=1; session=ann")]);
        let seal = guard.seal(&visitor("ann"), &ann);
        assert_eq!(guard.admit(&visitor("ann"), &ann, "hub:1", &seal), Ok(()));
        let later = headers(&[("cookie", "session=later")]);
        for (name, headers, seal) in
            [("bob", &ann, &*seal), ("ann", &later, &seal), ("ann", &ann, ""), ("ann", &ann, "AAAA")]
        {
            assert!(matches!(guard.admit(&visitor(name), headers, "hub:1", seal), Err(Trouble::Denied(_))));
        }
        assert!(
            Guard::new("session").admit(&visitor("ann"), &ann, "hub:1", &seal).is_err(),
            "another process"
        );
    }

    #[test]
    fn what_a_browser_sends_for_another_site_is_refused() {
        let guard = Guard::new("session");
        let seal = guard.seal(&visitor("ann"), &HeaderMap::new());
        for (sent, admitted) in [
            (headers(&[("sec-fetch-site", "same-origin"), ("origin", "http://hub:1")]), true),
            (headers(&[("origin", "https://HUB:1")]), true),
            (headers(&[("sec-fetch-site", "cross-site")]), false),
            (headers(&[("sec-fetch-site", "same-site")]), false),
            (headers(&[("origin", "null")]), false),
            (headers(&[("origin", "http://hub:2")]), false),
            (headers(&[("origin", "http://evil.example")]), false),
        ] {
            assert_eq!(guard.admit(&visitor("ann"), &sent, "hub:1", &seal).is_ok(), admitted, "{sent:?}");
        }
    }

    #[test]
    fn names_that_others_could_point_here_are_told_from_addresses() {
        for (host, local) in [
            ("localhost:1", true),
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("evil.example:1", false),
            ("", false),
        ] {
            assert_eq!(is_local_or_address(host), local, "{host}");
        }
    }
}
