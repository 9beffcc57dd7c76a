//! What the routes of a gateway say: which requests there are, who serves them, and what is changed on the way.
//! `HTTPRoute` and `GRPCRoute` become the same here.

use crate::{
    config::Gateway,
    rare::{Blank, Rare},
};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::BTreeSet,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tidegate_engine::Origin;
use tidegate_model::ServiceName;

/// The rules of an `HTTPRoute` or `GRPCRoute`, attached to a gateway. A route that has other host names on other
/// listeners comes once for each set of host names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// `namespace/name`.
    pub name: String,
    /// What its requests are.
    #[serde(default)]
    pub kind: RouteKind,
    /// The names of the listeners that serve it; never empty. Most routes of a gateway share one set.
    pub listeners: Arc<BTreeSet<String>>,
    /// The host names, already narrowed to those of the listeners, in order and each once; empty matches all.
    pub hostnames: Box<[String]>,
    /// The rules.
    pub rules: Vec<HttpRule>,
    /// Where it was written.
    pub origin: Origin,
}

/// A `TCPRoute` or `TLSRoute`, attached to a gateway: whose connections go where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRoute {
    /// `namespace/name`.
    pub name: String,
    /// The name of the listener that serves it.
    pub listener: String,
    /// The server names that it is for; empty matches all.
    pub hostnames: BTreeSet<String>,
    /// Who serves it, in proportion to their weights.
    pub backends: Vec<Backend>,
    /// Where it was written.
    pub origin: Origin,
}

/// What the requests of a route are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteKind {
    /// Any HTTP request: its method tells whether it may be repeated.
    #[default]
    Http,
    /// gRPC calls: always POST, and nothing tells whether a call may be repeated.
    Grpc,
}

/// A rule: any of the matches sends to the backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRule {
    /// The requests that it is for; never empty (the default is the prefix `/`).
    pub matches: Vec<HttpMatch>,
    /// Who serves it, in proportion to their weights; empty only where it redirects.
    pub backends: Vec<Backend>,
    /// What is changed on the way.
    #[serde(default)]
    pub filters: Rare<Filters>,
    /// The whole request, retries included; `None` is the gateway's default, zero is no limit.
    pub timeout: Option<Duration>,
    /// One try at a backend; `None` and zero are no limit of its own.
    #[serde(default)]
    pub backend_timeout: Option<Duration>,
    /// How a client's requests keep to one endpoint; `None` when they need not.
    #[serde(default)]
    pub session: Option<Session>,
}

/// How a client's requests keep to the endpoint that served the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The name of the cookie or header; `None` for one that is made from the service's name.
    pub name: Option<String>,
    /// What names the endpoint.
    pub kind: SessionKind,
}

/// What names the endpoint of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionKind {
    /// A cookie.
    Cookie {
        /// How long the client keeps it; `None` for as long as its own session lasts.
        lifetime: Option<Duration>,
    },
    /// A header that the gateway sets in answers and the client repeats.
    Header,
}

/// One of the backends of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// The service; `None` where what was written cannot be used: its part is answered 500.
    pub service: Option<ServiceName>,
    /// Its part among the backends of the rule, 0 to 1000000.
    pub weight: u32,
    /// What is changed on the way to it and back, after what the rule changes.
    #[serde(default)]
    pub headers: Rare<HeaderFilters>,
}

/// Which requests a rule is for: all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// The path.
    pub path: PathMatch,
    /// The method, in capital letters; `None` matches all.
    #[serde(default)]
    pub method: Option<String>,
    /// Headers, each name (in small letters) once.
    #[serde(default)]
    pub headers: Vec<NamedMatch>,
    /// Parameters of the query, each name once.
    #[serde(default)]
    pub query: Vec<NamedMatch>,
}

/// A header or a parameter and what its value must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedMatch {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: ValueMatch,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueMatch {
    /// This.
    Exact(String),
    /// The whole of it matches a regular expression (RE2).
    Regex(String),
}

/// How a path is matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Its first segments: `/a` matches `/a` and `/a/b`, not `/ab`. Without a slash at its end, but for `/` itself.
    Prefix(String),
    /// The whole path, without the query, matches a regular expression (RE2).
    Regex(String),
    /// The last of two segments: a gRPC method, of whatever service.
    GrpcMethod(String),
}

/// Headers that are changed on the way. Names are in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderChanges {
    /// Set, whatever there was.
    pub set: Vec<(String, String)>,
    /// Added to what there was.
    pub add: Vec<(String, String)>,
    /// Removed.
    pub remove: Vec<String>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// These changes and then `later` ones, as one, in which removals come first.
    #[must_use]
    pub fn then(&self, later: &Self) -> Self {
        let gone =
            |name: &String| later.remove.contains(name) || later.set.iter().any(|(set, _)| set == name);
        let kept = |list: &[(String, String)]| -> Vec<(String, String)> {
            list.iter().filter(|(name, _)| !gone(name)).cloned().collect()
        };
        let mut all = Self { set: kept(&self.set), add: kept(&self.add), remove: self.remove.clone() };
        // Envoy sets before it adds: what was set is added to, what was added is gone where it is set anew.
        all.set.extend(later.set.iter().cloned());
        all.add.extend(later.add.iter().cloned());
        all.remove.extend(later.remove.iter().cloned());
        all
    }
}

impl HeaderFilters {
    /// These changes and then `later` ones, as one.
    #[must_use]
    pub fn then(&self, later: &Self) -> Self {
        Self { request: self.request.then(&later.request), response: self.response.then(&later.response) }
    }
}

/// What a rule changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filters {
    /// Headers.
    pub headers: HeaderFilters,
    /// The answer sends the client elsewhere; then there are no backends.
    pub redirect: Option<Redirect>,
    /// The backend is asked for something else.
    pub rewrite: Option<Rewrite>,
    /// Services that get a copy of the request, whose answer nobody waits for.
    pub mirrors: Vec<Mirror>,
}

impl Blank for Filters {
    fn blank() -> &'static Self {
        static BLANK: LazyLock<Filters> = LazyLock::new(Filters::default);
        &BLANK
    }
}

impl Blank for HeaderFilters {
    fn blank() -> &'static Self {
        static BLANK: LazyLock<HeaderFilters> = LazyLock::new(HeaderFilters::default);
        &BLANK
    }
}

/// A redirect. What it does not say stays as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host name.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathChange>,
    /// The port; without it that of the scheme if there is one here, else that of the listener.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A rewrite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewrite {
    /// The `Host` that the backend sees.
    pub hostname: Option<String>,
    /// The path that it sees.
    pub path: Option<PathChange>,
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathChange {
    /// This instead of the whole path; the query stays.
    Full(String),
    /// This instead of the prefix that matched. Only where all matches of the rule are prefixes.
    Prefix(String),
}

/// A service that gets copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// The service.
    pub service: ServiceName,
    /// The part of the requests that is copied: so many ...
    pub numerator: u32,
    /// ... of so many; not zero.
    pub denominator: u32,
}

/// One match of one rule of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteMatch<'g> {
    /// The route.
    pub route: &'g HttpRoute,
    /// Its rule.
    pub rule: &'g HttpRule,
    /// The rule's match.
    pub matching: &'g HttpMatch,
}

impl HttpMatch {
    /// The match that is for every request of a path.
    #[must_use]
    pub const fn path(path: PathMatch) -> Self {
        Self { path, method: None, headers: Vec::new(), query: Vec::new() }
    }

    /// Less comes first: Gateway API's order, in which regular expressions, whose place it leaves open, come after
    /// exact paths. A gRPC method of any service stands below every named service.
    fn precedence(&self) -> impl Ord + use<> {
        let path = match &self.path {
            PathMatch::Exact(path) => (0, Reverse(path.len())),
            PathMatch::Regex(path) => (1, Reverse(path.len())),
            PathMatch::Prefix(path) if path.len() > 1 => (2, Reverse(path.len())),
            PathMatch::GrpcMethod(method) => (3, Reverse(method.len())),
            PathMatch::Prefix(path) => (4, Reverse(path.len())),
        };
        (path, self.method.is_none(), Reverse(self.headers.len()), Reverse(self.query.len()))
    }
}

impl Gateway {
    /// All matches in Gateway API's order of precedence among routes of one host name: exact paths, then regular
    /// expressions, then the longest prefix, then those with a method, the most headers, the most parameters of the
    /// query, the oldest route, the first route by name, the first rule. Which host name is the most specific is not
    /// part of it: Envoy decides that by itself.
    #[must_use]
    pub fn matches(&self) -> Vec<RouteMatch<'_>> {
        let mut matches: Vec<RouteMatch<'_>> = Vec::new();
        for route in &self.routes {
            for rule in &route.rules {
                matches.extend(rule.matches.iter().map(|matching| RouteMatch { route, rule, matching }));
            }
        }
        // Stable, so what is equal stays in the order of routes and rules.
        matches.sort_by_cached_key(|found| found.matching.precedence());
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_changes_of_a_header_the_later_one_counts() {
        let list = |names: &[&str], value: &str| -> Vec<(String, String)> {
            names.iter().map(|name| ((*name).to_owned(), value.to_owned())).collect()
        };
        let first = HeaderChanges {
            set: list(&["a", "b", "c"], "1"),
            add: list(&["d", "e"], "1"),
            remove: vec!["f".into()],
        };
        let later = HeaderChanges {
            set: list(&["a", "d"], "2"),
            add: list(&["c", "f"], "2"),
            remove: vec!["b".into(), "e".into()],
        };
        let all = first.then(&later);
        assert_eq!(all.set, [list(&["c"], "1"), list(&["a", "d"], "2")].concat());
        assert_eq!(all.add, list(&["c", "f"], "2"));
        assert_eq!(all.remove, ["f", "b", "e"]);
    }
}

/// Headers that are changed in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderFilters {
    /// Of the request.
    pub request: HeaderChanges,
    /// Of the response.
    pub response: HeaderChanges,
}
