//! A rule of an `HTTPRoute` or `GRPCRoute` as Envoy routes.

use super::{
    DEFAULT_REQUEST_TIMEOUT, NO_BACKEND, SERVICE_HEADER,
    filters::{self, direct},
    header, prefix, regex, safe_method,
};
use crate::{
    drain,
    proto::{duration, set_header, uint},
    retry, session,
};
use envoy_types::pb::envoy::{
    config::{
        core::v3::HeaderValueOption,
        route::v3::{
            HeaderMatcher, QueryParameterMatcher, Route, RouteAction, RouteMatch, WeightedCluster,
            header_matcher::HeaderMatchSpecifier,
            query_parameter_matcher::QueryParameterMatchSpecifier,
            route::Action,
            route_action::{ClusterNotFoundResponseCode, ClusterSpecifier, MaxStreamDuration},
            route_match::PathSpecifier,
            weighted_cluster::ClusterWeight,
        },
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};
use std::time::Duration;
use tidegate_api::{
    Backend, HeaderFilters, HttpMatch, HttpRule, Listener, NamedMatch, PathMatch, Retry, RouteKind,
    RouteMatch as Found, ServicePolicy, ValueMatch,
};
use tidegate_model::ServiceName;

/// Said to a client whose rule leads nowhere, which the agent's problems name.
const NOBODY: &str = "The route of this request has no backend that can be used.\n";

/// The routes of one match, in their order: where its method may be any, safe methods with everything that a retry can
/// do, and the rest with what cannot repeat work.
pub(super) fn routes<'a>(
    found: &Found<'_>,
    listener: &Listener,
    policy_of: &dyn Fn(&ServiceName) -> Option<&'a ServicePolicy>,
    farthest: Option<Duration>,
) -> Vec<Route> {
    let Found { route, rule, matching } = *found;
    let (name, matched) = path(&route.name, &matching.path);
    let matched = RouteMatch {
        headers: matching.headers.iter().map(header_match).collect(),
        query_parameters: matching.query.iter().map(query_match).collect(),
        ..matched
    };
    if let Some(redirect) = &rule.filters.redirect {
        let action = filters::redirect(redirect, matching, listener);
        return vec![changed(&rule.filters.headers, &name, with_method(matched, matching), action)];
    }
    let Some(target) = target(rule) else {
        let headers = &rule.filters.headers;
        return vec![changed(headers, &name, with_method(matched, matching), direct(500, NOBODY))];
    };
    let base = RouteAction {
        timeout: duration(rule.timeout.unwrap_or(DEFAULT_REQUEST_TIMEOUT)),
        request_mirror_policies: rule.filters.mirrors.iter().map(filters::mirror).collect(),
        max_stream_duration: drain::max_age(&rule.backends, policy_of)
            .map(|age| MaxStreamDuration { max_stream_duration: duration(age), ..Default::default() }),
        ..target.action
    };
    let base = filters::rewritten(base, rule.filters.rewrite.as_ref(), matching);
    let retry = far_enough(patience(rule, policy_of), farthest);
    let route = |name: &str, matched: RouteMatch, action: RouteAction| {
        let mut route = changed(&target.headers, name, matched, Action::Route(action));
        route.request_headers_to_add.extend(target.service.clone());
        if let [Backend { service: Some(service), .. }] = rule.backends.as_slice() {
            route.typed_per_filter_config = session::of_route(rule.session.as_ref(), service);
        }
        route
    };
    if route_is_grpc(found) {
        let action = grpc(base, rule, &retry);
        return vec![route(&name, with_method(matched, matching), action)];
    }
    let mut routes = Vec::new();
    let method = matching.method.as_deref();
    if method.is_none_or(retry::is_safe) {
        let matched = if method.is_some() {
            with_method(matched.clone(), matching)
        } else {
            with_header(matched.clone(), safe_method())
        };
        routes.push(route(&format!("{name} safe"), matched, safe(base.clone(), rule, &retry)));
    }
    if method.is_none_or(|method| !retry::is_safe(method)) {
        let action = unsafe_methods(base, rule, &retry);
        routes.push(route(&format!("{name} unsafe"), with_method(matched, matching), action));
    }
    routes
}

fn route_is_grpc(found: &Found<'_>) -> bool {
    found.route.kind == RouteKind::Grpc
}

/// Where requests go, and which headers change on the way wherever they go.
struct Place {
    action: RouteAction,
    headers: HeaderFilters,
    /// The header that names the service, where there is but one.
    service: Option<HeaderValueOption>,
}

/// `None` when nobody gets any. Envoy would let a rule's headers come after those of its backends, so where there are
/// several the rule's are said with each of them.
fn target(rule: &HttpRule) -> Option<Place> {
    let used: Vec<&Backend> = rule.backends.iter().filter(|it| it.weight > 0).collect();
    if used.iter().all(|it| it.service.is_none()) {
        return None;
    }
    if let [Backend { service: Some(service), headers, .. }] = used.as_slice() {
        let action = RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(service.to_string())),
            ..Default::default()
        };
        let service = Some(set_header(SERVICE_HEADER, service.to_string()));
        return Some(Place { action, headers: rule.filters.headers.then(headers), service });
    }
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: used.iter().map(|it| weighted(it, &rule.filters.headers)).collect(),
            ..Default::default()
        })),
        ..Default::default()
    };
    if used.iter().any(|it| it.service.is_none()) {
        action.set_cluster_not_found_response_code(ClusterNotFoundResponseCode::InternalServerError);
    }
    Some(Place { action, headers: HeaderFilters::default(), service: None })
}

/// Each backend names itself to the east-west gateways of other clusters.
fn weighted(backend: &Backend, of_rule: &HeaderFilters) -> ClusterWeight {
    let HeaderFilters { request, response } = of_rule.then(&backend.headers);
    let mut cluster = ClusterWeight {
        name: backend.service.as_ref().map_or_else(|| NO_BACKEND.to_owned(), ToString::to_string),
        weight: uint(backend.weight),
        request_headers_to_add: filters::added(&request),
        request_headers_to_remove: request.remove,
        response_headers_to_add: filters::added(&response),
        response_headers_to_remove: response.remove,
        ..Default::default()
    };
    let service = backend.service.as_ref().map(|it| set_header(SERVICE_HEADER, it.to_string()));
    cluster.request_headers_to_add.extend(service);
    cluster
}

/// Envoy has one retry policy for all backends of a route: the longest patience of theirs, because too little of it
/// would take a slow service's hosts for frozen.
fn patience<'a>(rule: &HttpRule, policy_of: &dyn Fn(&ServiceName) -> Option<&'a ServicePolicy>) -> Retry {
    let default = ServicePolicy::default().retry;
    let used = rule.backends.iter().filter(|it| it.weight > 0).filter_map(|it| it.service.as_ref());
    let all = used.map(|service| policy_of(service).map_or_else(|| default.clone(), |it| it.retry.clone()));
    all.reduce(|a, b| Retry {
        per_try_timeout: a.per_try_timeout.max(b.per_try_timeout),
        attempts: a.attempts.max(b.attempts),
    })
    .unwrap_or(default)
}

/// A try to the farthest region must not look like one to a frozen host: three late tries in a row eject the gateway that
/// leads there. Envoy has one limit for near and far tries. A round trip for the request, as much for a connection that
/// the way needs first, and some work.
fn far_enough(mut retry: Retry, farthest: Option<Duration>) -> Retry {
    const WORK: Duration = Duration::from_millis(30);
    let least = farthest.filter(|way| !way.is_zero()).map_or(Duration::ZERO, |way| way * 2 + WORK);
    retry.per_try_timeout = retry.per_try_timeout.max(least);
    retry
}

/// A try that is late gets another one beside it; the rule's own limit of one try ends it.
fn safe(base: RouteAction, rule: &HttpRule, retry: &Retry) -> RouteAction {
    match rule.backend_timeout {
        Some(limit) if limit <= retry.per_try_timeout => RouteAction {
            retry_policy: Some(retry::edge_safe(&Retry { per_try_timeout: limit, ..retry.clone() })),
            ..base
        },
        limit => {
            // Envoy has no limit of a try that others run beside. The last one begins when all before it are late.
            let last = retry.per_try_timeout * retry.attempts;
            let whole = rule.timeout.unwrap_or(DEFAULT_REQUEST_TIMEOUT);
            let timeout = match limit.map(|limit| limit + last) {
                Some(all) if whole.is_zero() || all < whole => duration(all),
                _ => base.timeout,
            };
            RouteAction {
                timeout,
                retry_policy: Some(retry::edge_safe(retry)),
                hedge_policy: Some(retry::hedge()),
                ..base
            }
        }
    }
}

fn unsafe_methods(base: RouteAction, rule: &HttpRule, retry: &Retry) -> RouteAction {
    let mut policy = retry::edge_unsafe(retry);
    policy.per_try_timeout = rule.backend_timeout.and_then(duration);
    RouteAction { retry_policy: Some(policy), ..base }
}

/// A call has the deadline that its client told (`grpc-timeout`), a stream none; nothing says which calls may be
/// repeated, so they are what POST is. A server's own `UNAVAILABLE` may come after it began to work.
fn grpc(base: RouteAction, rule: &HttpRule, retry: &Retry) -> RouteAction {
    RouteAction {
        timeout: duration(Duration::ZERO),
        max_stream_duration: Some(MaxStreamDuration {
            grpc_timeout_header_max: duration(Duration::ZERO),
            ..base.max_stream_duration.unwrap_or_default()
        }),
        ..unsafe_methods(base, rule, retry)
    }
}

fn changed(headers: &HeaderFilters, name: &str, matched: RouteMatch, action: Action) -> Route {
    Route {
        name: name.to_owned(),
        r#match: Some(matched),
        request_headers_to_add: filters::added(&headers.request),
        request_headers_to_remove: headers.request.remove.clone(),
        response_headers_to_add: filters::added(&headers.response),
        response_headers_to_remove: headers.response.remove.clone(),
        action: Some(action),
        ..Default::default()
    }
}

fn path(route: &str, path: &PathMatch) -> (String, RouteMatch) {
    let with = |specifier| RouteMatch { path_specifier: Some(specifier), ..Default::default() };
    match path {
        PathMatch::Exact(path) => (format!("{route} exact {path}"), with(PathSpecifier::Path(path.clone()))),
        PathMatch::Prefix(path) => (format!("{route} prefix {path}"), segments(path)),
        PathMatch::Regex(path) => {
            (format!("{route} regex {path}"), with(PathSpecifier::SafeRegex(regex(path))))
        }
        PathMatch::GrpcMethod(method) => {
            let any_service = regex(&format!("/[^/]+/{}", filters::quoted(method)));
            (format!("{route} method {method}"), with(PathSpecifier::SafeRegex(any_service)))
        }
    }
}

/// Whole segments. Envoy matches segments by a prefix without a slash at its end, and the root as what it is.
fn segments(path: &str) -> RouteMatch {
    match path.trim_end_matches('/') {
        "" => prefix("/"),
        path => RouteMatch {
            path_specifier: Some(PathSpecifier::PathSeparatedPrefix(path.to_owned())),
            ..Default::default()
        },
    }
}

fn with_method(matched: RouteMatch, matching: &HttpMatch) -> RouteMatch {
    match &matching.method {
        Some(method) => with_header(matched, exact_header(":method", method)),
        None => matched,
    }
}

fn with_header(mut matched: RouteMatch, header: HeaderMatcher) -> RouteMatch {
    matched.headers.push(header);
    matched
}

fn header_match(wanted: &NamedMatch) -> HeaderMatcher {
    match &wanted.value {
        ValueMatch::Exact(value) => exact_header(&wanted.name, value),
        ValueMatch::Regex(value) => header(&wanted.name, value),
    }
}

fn exact_header(name: &str, value: &str) -> HeaderMatcher {
    let specifier = HeaderMatchSpecifier::StringMatch(exact(value));
    HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}

fn query_match(wanted: &NamedMatch) -> QueryParameterMatcher {
    let value = match &wanted.value {
        ValueMatch::Exact(value) => exact(value),
        ValueMatch::Regex(value) => {
            StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(regex(value))), ..Default::default() }
        }
    };
    QueryParameterMatcher {
        name: wanted.name.clone(),
        query_parameter_match_specifier: Some(QueryParameterMatchSpecifier::StringMatch(value)),
    }
}

fn exact(value: &str) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Exact(value.to_owned())), ..Default::default() }
}
